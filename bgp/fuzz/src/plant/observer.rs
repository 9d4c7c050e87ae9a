//! An observer of the plant: what a collector would read.

use super::Plant;
use bytes::BytesMut;
use std::time::Duration;
use weft_bgp::speaker::{Form, MonitorConfig, MonitorInfo, Progress, Views};

/// The only observer's id.
const ID: u32 = 7;
/// What is read at a time: small, so that messages come in parts.
const PIECE: usize = 1_000;

impl Plant {
    /// A collector comes, and hears everything from the beginning.
    pub fn observe(&mut self, views: Views) {
        let form = Form::Bmp { description: "weft".to_owned(), name: "plant".to_owned() };
        self.observe_as(form, views);
    }

    /// The same in another form.
    pub fn observe_as(&mut self, form: Form, views: Views) {
        let (statistics, epoch) = (Duration::from_secs(60), Duration::from_micros(1_700_000_000_000_007));
        self.speaker.open_monitor(self.now, ID, MonitorConfig { form, views, statistics, epoch });
    }

    /// What it reads until there is no more; `None` if it was too slow.
    pub fn overheard(&mut self) -> Option<Vec<u8>> {
        let mut all = Vec::new();
        let mut piece = BytesMut::new();
        loop {
            let progress = self.speaker.poll_monitor(self.now, ID, &mut piece, PIECE);
            all.extend_from_slice(&piece.split());
            match progress {
                Progress::Idle => {
                    assert!(!self.speaker.has_news_for(ID));
                    return Some(all);
                }
                Progress::More => assert!(self.speaker.has_news_for(ID) || !all.is_empty()),
                Progress::Overflowed => {
                    self.speaker.close_monitor(ID);
                    return None;
                }
            }
        }
    }

    /// How it is doing.
    #[must_use]
    pub fn observer(&self) -> Option<MonitorInfo> {
        self.speaker.monitor(ID)
    }

    /// The speaker ends, without a word or with Cease.
    pub fn stop(&mut self, cease: bool) {
        self.speaker.handle(self.now, weft_bgp::speaker::Input::Shutdown { cease });
    }
}
