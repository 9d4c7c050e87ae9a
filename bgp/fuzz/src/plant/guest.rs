//! The guest's own choices: what its OPEN says, how it is configured with the speaker, what it heard.

use super::Plant;
use bytes::{Bytes, BytesMut};
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use weft_bgp::peer::{AddPath, AddPathSend, PeerConfig, PeerHistory};
use weft_bgp::speaker::Input;
use weft_bgp::types::{ConnId, Family, IfIndex, IpNet, NextHop};
use weft_bgp::wire::attrs::{Attrs, flag, kind, put};
use weft_bgp::wire::capability::PathDirections;
use weft_bgp::wire::framer::Framer;
use weft_bgp::wire::open::Open;
use weft_bgp::wire::update::put_announce;
use weft_bgp::wire::{EXTENDED_MESSAGE_BYTES, Kind, MAX_MESSAGE_BYTES, put_keepalive};

impl Plant {
    /// Changes how the guest is configured.
    pub fn configure(&mut self, change: impl FnOnce(&mut PeerConfig)) {
        change(&mut self.guest.config);
        let (peer, config) = (self.guest.id, Box::new(self.guest.config.clone()));
        self.speaker.handle(self.now, Input::SetPeer { peer, config });
        self.run();
    }

    /// The guest, configured as whoever answers on a link, connects from its link-local address.
    pub fn accept_link_local(&mut self) {
        self.leave();
        let (theirs, link) = (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1), IfIndex(2));
        self.speaker.handle(self.now, Input::SetRemote { peer: self.guest.id, remote: Some((theirs, link)) });
        let conn = ConnId(self.next_conn);
        self.next_conn += 1;
        let end = |address, port| SocketAddr::V6(SocketAddrV6::new(address, port, 0, link.0));
        let ours = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 9);
        let (local, remote) = (end(ours, 179), end(theirs, 40_000));
        self.speaker.handle(self.now, Input::Accepted { conn, local, remote });
        self.guest.conn = Some(conn);
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

    /// The guest and the speaker are to send each other several paths of a prefix (RFC 7911), for both families.
    pub fn offer_paths(&mut self, send: AddPathSend) {
        self.configure(|config| config.add_path = AddPath { receive: true, send, ..AddPath::default() });
        self.offer(|open| open.can.add_path = [PathDirections { receive: true, send: true }; 2]);
        self.expect_paths(send != AddPathSend::None);
    }

    /// What the guest is told has path identifiers, or not.
    pub fn expect_paths(&mut self, identifiers: bool) {
        self.guest.codec.add_path_rx = [identifiers; 2];
    }

    /// The path identifiers under which the guest was told a prefix, each with the AS_PATH.
    #[must_use]
    pub fn guest_paths(&self, prefix: &str) -> Vec<(u32, String)> {
        let prefix = prefix.parse().unwrap();
        let told = self.guest.routes.range((prefix, 0)..=(prefix, u32::MAX));
        told.map(|((_, id), (block, _))| (*id, Attrs(block).as_path().to_string())).collect()
    }

    /// The guest connects anew and sends its OPEN, and a KEEPALIVE.
    pub fn try_open(&mut self) {
        self.accept();
        self.send_open();
        let mut bytes = BytesMut::new();
        put_keepalive(&mut bytes);
        self.send(&bytes);
    }

    /// The guest sends its OPEN.
    pub fn send_open(&mut self) {
        let mut bytes = BytesMut::new();
        self.guest.open.put(&mut bytes);
        self.send(&bytes);
    }

    /// What the guest's OPEN says.
    #[must_use]
    pub const fn guest_open(&self) -> &Open {
        &self.guest.open
    }

    /// Whether the guest leaves everything unread; when it reads again, it reads all that waits.
    pub fn set_deaf(&mut self, deaf: bool) {
        self.deaf = deaf;
        if let Some(conn) = self.guest.conn.filter(|_| !deaf) {
            self.transfer(conn);
        }
        self.run();
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

    /// Whether the speaker has not closed the guest's connection.
    #[must_use]
    pub const fn is_connected(&self) -> bool {
        self.guest.conn.is_some()
    }

    /// Connects once more from the guest's address, beside the connection that it has; what is said on it is in `second_heard`.
    pub fn second_connection(&mut self) -> ConnId {
        let conn = self.connect(self.guest.address);
        self.second = Some((conn, Vec::new()));
        self.run();
        conn
    }

    /// The guest's OPEN on its second connection.
    pub fn second_open(&mut self, conn: ConnId) {
        let mut data = BytesMut::new();
        self.guest.open.put(&mut data);
        self.speaker.handle(self.now, Input::Received { conn, data: data.freeze() });
        self.run();
    }

    /// Messages on the second connection.
    #[must_use]
    pub fn second_heard(&self) -> Vec<Bytes> {
        let mut framer = Framer::new(MAX_MESSAGE_BYTES);
        self.second.iter().for_each(|(_, heard)| framer.push(heard));
        std::iter::from_fn(|| framer.next_message()).map(|next| next.unwrap().1).collect()
    }

    /// Everything that the guest was sent, in order.
    #[must_use]
    pub fn all_heard(&self) -> &[(Kind, Bytes)] {
        &self.guest.heard
    }

    /// The canary announces one more prefix, with a path of two.
    pub fn canary_tells(&mut self, prefix: &str) {
        let mut path = Vec::new();
        put(&mut path, flag::TRANSITIVE, kind::ORIGIN, &[0]);
        put(&mut path, flag::TRANSITIVE, kind::AS_PATH, &[2, 2, 0, 0, 0xfc, 0x5a, 0, 0, 0xfd, 0xe8]);
        let mut bytes = BytesMut::new();
        let mut prefixes = std::iter::once(prefix.parse::<IpNet>().unwrap()).peekable();
        let hop = NextHop::new(self.canary.address);
        put_announce(&mut bytes, &self.canary.codec, Family::Ipv4Unicast, &path, &hop, &mut prefixes);
        self.canary_sends(&bytes);
    }

    /// How the guest is configured.
    #[must_use]
    pub const fn guest_config(&self) -> &PeerConfig {
        &self.guest.config
    }

    /// What is kept of the guest's last transitions and messages.
    #[must_use]
    pub fn guest_history(&self) -> PeerHistory {
        self.speaker.peer_history(self.guest.id).unwrap()
    }
}
