//! The guest's own choices: what its OPEN says, how it is configured with the speaker, what it heard.

use super::Plant;
use bytes::{Bytes, BytesMut};
use weft_bgp::peer::PeerConfig;
use weft_bgp::speaker::Input;
use weft_bgp::wire::framer::Framer;
use weft_bgp::wire::open::Open;
use weft_bgp::wire::{EXTENDED_MESSAGE_BYTES, Kind, MAX_MESSAGE_BYTES, put_keepalive};

impl Plant {
    /// Changes how the guest is configured.
    pub fn configure(&mut self, change: impl FnOnce(&mut PeerConfig)) {
        change(&mut self.guest.config);
        let (peer, config) = (self.guest.id, Box::new(self.guest.config.clone()));
        self.speaker.handle(self.now, Input::SetPeer { peer, config });
        self.run();
    }

    /// Changes what the guest's next OPEN says.
    pub fn offer(&mut self, change: impl FnOnce(&mut Open)) {
        change(&mut self.guest.open);
        self.guest.codec.max_message = self.guest_max();
        self.guest.framer = Framer::new(self.guest_max());
    }

    pub(super) const fn guest_max(&self) -> usize {
        if self.guest.open.can.extended_message { EXTENDED_MESSAGE_BYTES } else { MAX_MESSAGE_BYTES }
    }

    /// The guest connects anew and sends its OPEN, and a KEEPALIVE.
    pub fn try_open(&mut self) {
        self.accept();
        let mut bytes = BytesMut::new();
        self.guest.open.put(&mut bytes);
        put_keepalive(&mut bytes);
        self.send(&bytes);
    }

    /// The OPEN that the guest was sent last.
    #[must_use]
    pub fn our_open(&self) -> Open {
        Open::decode(&self.heard(Kind::Open).pop().unwrap()).unwrap()
    }

    /// Messages of one kind that the guest was sent.
    #[must_use]
    pub fn heard(&self, kind: Kind) -> Vec<Bytes> {
        self.guest.heard.iter().filter(|(heard, _)| *heard == kind).map(|(_, message)| message.clone()).collect()
    }

    /// Code and subcode of each NOTIFICATION that the guest was sent.
    #[must_use]
    pub fn notified(&self) -> Vec<(u8, u8)> {
        self.notifications().iter().map(|sent| (sent.code, sent.subcode)).collect()
    }
}
