//! Carries what observers hear: to BMP collectors over TCP, to a file of MRT records. A task or thread for each; the loop that owns
//! the node hands it a piece whenever it has room, and never waits.
//!
//! ```text
//! task: connect ──▶ Up ──▶ loop: open_monitor, pieces ──▶ task: write ──▶ Room ──▶ loop: more pieces …  Lost ──▶ close_monitor
//! ```

mod collector;
mod file;

use super::clock;
use crate::api::Observer as Status;
use crate::config::NodeConfig;
use crate::node::Node;
use crate::record::Recorder;
use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use weft_bgp::bmp;
use weft_bgp::speaker::{Form, MonitorConfig, Progress, Views};
use weft_bgp::time::{Duration, Instant};

/// Octets handed over at a time.
const PIECE_BYTES: usize = 64 << 10;
/// Pieces under way to each observer.
const PIECES: usize = 2;
/// Reports of the tasks that wait for the loop; each task has at most two.
const EVENTS: usize = 64;
/// For the last words at the end.
const FINISH_LIMIT: Duration = Duration::from_secs(1);

/// What a task reports.
#[derive(Debug)]
pub enum Event {
    /// It is connected, or the file is open: pieces go here.
    Up(u32, mpsc::Sender<Bytes>),
    /// A piece was taken.
    Room(u32),
    /// The connection is over, or could not be made.
    Lost(u32, String),
    /// The file could not be written.
    Failed(u32, String),
}

/// One observer.
#[derive(Debug)]
struct Observer {
    id: u32,
    name: String,
    config: MonitorConfig,
    task: JoinHandle<()>,
    pieces: Option<mpsc::Sender<Bytes>>,
    /// It knew everything when last asked.
    idle: bool,
    connected: u64,
    overflows: u64,
    last_error: Option<String>,
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// All observers.
#[derive(Debug)]
pub struct Observers {
    all: Vec<Observer>,
    events: mpsc::Sender<Event>,
    next_id: u32,
    epoch: Duration,
}

impl Observers {
    /// None yet, and where tasks report. `now` is the node's time.
    #[must_use]
    pub fn new(now: Instant) -> (Self, mpsc::Receiver<Event>) {
        let (events, heard) = mpsc::channel(EVENTS);
        let epoch = clock::wall().saturating_sub(Duration::from_nanos(now.0));
        (Self { all: Vec::new(), events, next_id: 1, epoch }, heard)
    }

    /// Begins to serve what a configuration names; what was served before ends.
    pub fn start(&mut self, node: &mut Recorder) {
        for observer in self.all.drain(..) {
            node.close_monitor(observer.id);
        }
        let config = node.config().clone();
        self.start_collectors(&config);
        self.start_dump(&config);
    }

    fn start_collectors(&mut self, config: &NodeConfig) {
        let description = format!("weft {} AS {}", env!("CARGO_PKG_VERSION"), config.speaker.asn);
        for collector in &config.bmp {
            let id = self.take_id();
            let task = tokio::spawn(collector::serve(id, collector.address, self.events.clone()));
            let form = Form::Bmp { description: description.clone(), name: config.hostname.clone() };
            let (views, statistics) = (collector.views, collector.statistics);
            self.add(id, collector.address.to_string(), task, (form, views, statistics));
        }
    }

    fn start_dump(&mut self, config: &NodeConfig) {
        if let Some(dump) = &config.mrt {
            let id = self.take_id();
            let name = dump.file.display().to_string();
            let (dump, events) = (dump.clone(), self.events.clone());
            let task = tokio::task::spawn_blocking(move || file::serve(id, &dump, &events));
            let views = Views { pre_policy: true, ..Views::default() };
            self.add(id, name, task, (Form::Mrt, views, Duration::ZERO));
        }
    }

    const fn take_id(&mut self) -> u32 {
        self.next_id += 1;
        self.next_id
    }

    fn add(&mut self, id: u32, name: String, task: JoinHandle<()>, wanted: (Form, Views, Duration)) {
        let (form, views, statistics) = wanted;
        let config = MonitorConfig { form, views, statistics, epoch: self.epoch };
        let (pieces, idle, connected, overflows, last_error) = (None, true, 0, 0, None);
        self.all.push(Observer { id, name, config, task, pieces, idle, connected, overflows, last_error });
    }

    /// A task reports.
    pub fn on_event(&mut self, now: Instant, node: &mut Recorder, event: Event) {
        let (Event::Up(id, _) | Event::Room(id) | Event::Lost(id, _) | Event::Failed(id, _)) = &event;
        let Some(observer) = self.all.iter_mut().find(|observer| observer.id == *id) else {
            return;
        };
        match event {
            Event::Up(id, pieces) => {
                tracing::info!(observer = observer.name, "observer is there");
                node.open_monitor(now, id, observer.config.clone());
                observer.connected += 1;
                observer.pieces = Some(pieces);
                observer.last_error = None;
                observer.feed(now, node, &self.events);
            }
            Event::Failed(_, error) => observer.last_error = Some(error),
            Event::Room(_) => observer.feed(now, node, &self.events),
            Event::Lost(id, error) => {
                if observer.pieces.take().is_some() {
                    tracing::warn!(observer = observer.name, error, "observer is gone");
                }
                node.close_monitor(id);
                observer.last_error = Some(error);
            }
        }
    }

    /// The node did something: those who knew everything may have more to hear.
    pub fn feed(&mut self, now: Instant, node: &mut Recorder) {
        for observer in &mut self.all {
            if observer.idle && observer.pieces.is_some() && node.has_news_for(observer.id) {
                observer.feed(now, node, &self.events);
            }
        }
    }

    /// How they are doing.
    #[must_use]
    pub fn status(&self, node: &Node) -> Vec<Status> {
        let one = |observer: &Observer| {
            let info = node.monitor(observer.id);
            Status {
                name: observer.name.clone(),
                kind: if observer.config.form == Form::Mrt { "mrt" } else { "bmp" }.to_owned(),
                connected: observer.pieces.is_some(),
                synchronized: info.is_some_and(|info| info.synchronized),
                messages: info.map_or(0, |info| info.messages),
                waiting_bytes: info.map_or(0, |info| info.waiting),
                dropped: info.map_or(0, |info| info.dropped),
                connects: observer.connected,
                overflows: observer.overflows,
                last_error: observer.last_error.clone(),
            }
        };
        self.all.iter().map(one).collect()
    }

    /// Tells everybody the rest, and collectors that this is the end (RFC 7854 §4.5). Who does not take it within a second misses it.
    pub async fn finish(mut self, now: Instant, node: &mut Recorder) {
        let until = tokio::time::Instant::now() + FINISH_LIMIT;
        for observer in &mut self.all {
            let Some(pieces) = observer.pieces.take() else {
                continue;
            };
            // Slow ones miss it.
            let _ = tokio::time::timeout_at(until, async {
                loop {
                    let mut piece = BytesMut::new();
                    let progress = node.poll_monitor(now, observer.id, &mut piece, PIECE_BYTES);
                    if progress != Progress::More && observer.config.form != Form::Mrt {
                        bmp::put_termination(&mut piece, bmp::termination::ADMINISTRATIVE);
                    }
                    if !piece.is_empty() && pieces.send(piece.freeze()).await.is_err() {
                        return;
                    }
                    if progress != Progress::More {
                        return;
                    }
                }
            })
            .await;
            drop(pieces);
            let _ = tokio::time::timeout_at(until, &mut observer.task).await;
        }
    }
}

impl Observer {
    /// Hands over pieces while there is room for them.
    fn feed(&mut self, now: Instant, node: &mut Recorder, events: &mpsc::Sender<Event>) {
        self.idle = false;
        while let Some(pieces) = &self.pieces {
            // Without room, the task says when there is some; if it is gone, it said so.
            let Ok(place) = pieces.try_reserve() else {
                return;
            };
            let mut piece = BytesMut::new();
            let progress = node.poll_monitor(now, self.id, &mut piece, PIECE_BYTES);
            if progress == Progress::Overflowed {
                tracing::warn!(observer = self.name, "observer is too slow: its connection is dropped");
                self.overflows += 1;
                node.close_monitor(self.id);
                drop(place);
                // The task ends the connection when nothing can come any more.
                self.pieces = None;
                return;
            }
            let is_empty = piece.is_empty();
            if !is_empty {
                place.send(piece.freeze());
            }
            match progress {
                Progress::Idle => {
                    self.idle = true;
                    return;
                }
                // A long walk that yields little: the loop has other things to do in between.
                Progress::More if is_empty => {
                    self.idle = events.try_send(Event::Room(self.id)).is_err();
                    return;
                }
                Progress::More | Progress::Overflowed => {}
            }
        }
    }
}
