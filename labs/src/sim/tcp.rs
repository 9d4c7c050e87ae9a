//! Connections between daemons: dialling finds whoever has the address on the segment; bytes arrive in order and in random pieces,
//! wait while the way is broken, and meet a reset where nobody knows the connection any more.

use super::network::{NodeId, Port};
use super::node::socket;
use super::pipe::{End, Half, Pipe, PipeId, messages, pause, piece};
use super::{Event, Sim, accepted};
use bytes::BytesMut;
use std::net::{IpAddr, SocketAddr};
use weft_bgp::speaker;
use weft_bgp::time::Duration;
use weft_bgp::types::ConnId;
use weft_bgp::wire::Kind;
use weft_fabric::node::Input;

/// A SYN without answer is sent again after this, up to [`SYN_TRIES`] times.
const SYN_WAIT: Duration = Duration::from_secs(1);
/// Tries of a dial; the driver gives up after three seconds.
const SYN_TRIES: u32 = 3;
/// How long a closed connection tries to bring over its last words.
const LINGER: Duration = Duration::from_secs(1);

impl Sim {
    pub(super) fn connect(&mut self, node: NodeId, conn: ConnId, remote: SocketAddr, local: Option<IpAddr>) {
        let id = PipeId(self.next_pipe);
        self.next_pipe += 1;
        let source = self.machines[node.0].source(node, remote);
        let port = source.map_or(Port { node, link: super::network::LOOPBACK }, |(port, _)| port);
        let mut addr = source.map_or(remote, |(_, addr)| addr);
        addr =
            socket(local.unwrap_or_else(|| addr.ip()), 32_768 + u16::try_from(id.0 % 28_000).unwrap_or(0), port.link);
        let near = End { port, addr, conn, open: true };
        // Who is at the far end is found out when the SYN arrives.
        let far = End { port, addr: remote, conn, open: false };
        let halves = [Half::new(self.rng.next_u64()), Half::new(self.rng.next_u64())];
        let pipe = Pipe { ends: [near, far], halves, stands: false, latency: Duration::ZERO, linger: None };
        self.pipes.insert(id, pipe);
        self.machines[node.0].conns.insert(conn, (id, 0));
        match source {
            Ok(_) => {
                let latency = self.latency_to(port, remote.ip()).unwrap_or_default();
                self.queue.push(self.now + latency, Event::Syn(id, 1));
            }
            Err(error) => self.queue.push(self.now, Event::SynAck(id, Err(error))),
        }
    }

    fn latency_to(&self, port: Port, address: IpAddr) -> Option<Duration> {
        self.network.distance(port, self.plane().owner(port, address)?)
    }

    pub(super) fn on_syn(&mut self, id: PipeId, tries: u32) {
        let Some(pipe) = self.pipes.get_mut(&id) else {
            return;
        };
        let [near, far] = pipe.ends;
        if !near.open {
            self.pipes.remove(&id);
            return;
        }
        let Some(owner) = self.plane().owner(near.port, far.addr.ip()) else {
            let event = if tries < SYN_TRIES {
                Event::Syn(id, tries + 1)
            } else {
                Event::SynAck(id, Err("Connection timed out"))
            };
            self.queue.push(self.now + SYN_WAIT, event);
            return;
        };
        let latency = self.network.distance(near.port, owner).unwrap_or_default();
        let machine = &mut self.machines[owner.node.0];
        if machine.daemon.is_none() {
            self.queue.push(self.now + latency, Event::SynAck(id, Err("Connection refused")));
            return;
        }
        let conn = accepted(machine.accepted);
        machine.accepted += 1;
        machine.conns.insert(conn, (id, 1));
        let local = socket(far.addr.ip(), far.addr.port(), owner.link);
        let remote = socket(near.addr.ip(), near.addr.port(), owner.link);
        if let Some(pipe) = self.pipes.get_mut(&id) {
            pipe.ends[1] = End { port: owner, addr: local, conn, open: true };
            pipe.latency = latency;
        }
        self.queue.push(self.now + latency, Event::SynAck(id, Ok(())));
        self.handle(owner.node, Input::Bgp(speaker::Input::Accepted { conn, local, remote }));
    }

    pub(super) fn on_syn_ack(&mut self, id: PipeId, result: Result<(), &'static str>) {
        let Some(pipe) = self.pipes.get_mut(&id) else {
            return;
        };
        let [near, far] = pipe.ends;
        match result {
            Ok(()) if near.open => {
                pipe.stands = true;
                let local = near.addr;
                self.handle(near.port.node, Input::Bgp(speaker::Input::Connected { conn: near.conn, local }));
            }
            Ok(()) if far.open => {
                let latency = pipe.latency;
                self.queue.push(self.now + latency, Event::Reset(id, 1));
            }
            Ok(()) => {
                self.pipes.remove(&id);
            }
            Err(error) => {
                self.pipes.remove(&id);
                self.machines[near.port.node.0].conns.remove(&near.conn);
                let failed = speaker::Input::ConnectFailed { conn: near.conn, error: error.to_owned() };
                if near.open {
                    self.handle(near.port.node, Input::Bgp(failed));
                }
            }
        }
    }

    /// Takes bytes from a daemon while the window has room.
    pub(super) fn pump(&mut self, node: NodeId, conn: ConnId) {
        let Some((id, side)) = self.machines[node.0].conns.get(&conn).copied() else {
            return;
        };
        loop {
            let Some(half) = self.pipes.get_mut(&id).map(|pipe| &mut pipe.halves[side]) else {
                return;
            };
            let room = self.settings.window_bytes.saturating_sub(half.bytes);
            half.blocked = room == 0;
            if half.blocked {
                return;
            }
            if !self.write(node, conn, (id, side), room.min(self.settings.write_bytes)) {
                return;
            }
        }
    }

    /// One write; true if there is more.
    fn write(&mut self, node: NodeId, conn: ConnId, (id, side): (PipeId, usize), limit: usize) -> bool {
        let mut buf = BytesMut::new();
        let Some(daemon) = self.machines[node.0].daemon.as_mut() else {
            return false;
        };
        let more = daemon.poll_transmit(self.now, conn, &mut buf, limit);
        let Some(pipe) = self.pipes.get_mut(&id).filter(|_| !buf.is_empty()) else {
            return false;
        };
        let (data, far) = (buf.freeze(), pipe.ends[1 - side].port.node);
        pipe.halves[side].push(self.now + pipe.latency, data.clone());
        for (kind, length) in messages(&data) {
            self.counters.messages[kind.index()] += 1;
            if kind != Kind::Keepalive {
                self.last_activity = self.now;
                let (from, to) = (&self.machines[node.0].name, &self.machines[far.0].name);
                self.trace.line(self.now, from, format_args!("▶ {to:<8} {kind:?} {length} bytes"));
            }
        }
        self.schedule(id, side);
        more
    }

    /// Arranges the next delivery of what an end sent.
    fn schedule(&mut self, id: PipeId, side: usize) {
        let Some(pipe) = self.pipes.get_mut(&id) else {
            return;
        };
        let half = &mut pipe.halves[side];
        if half.armed || (half.is_empty() && !half.fin) {
            return;
        }
        half.armed = true;
        let at = half.next_arrival().unwrap_or(self.now + pipe.latency).max(self.now);
        let at = at + pause(&mut half.rng);
        self.queue.push(at, Event::Deliver(id, side));
    }

    pub(super) fn on_deliver(&mut self, id: PipeId, side: usize) {
        let Some(pipe) = self.pipes.get_mut(&id) else {
            return;
        };
        let [from, to] = [pipe.ends[side], pipe.ends[1 - side]];
        let half = &mut pipe.halves[side];
        if self.network.distance(from.port, to.port).is_none() {
            if pipe.linger.is_some_and(|until| until <= self.now) {
                half.armed = false;
                half.lose();
                self.retire(id);
                return;
            }
            let wait = half.back_off();
            self.queue.push(self.now + wait, Event::Deliver(id, side));
            return;
        }
        half.armed = false;
        if !to.open {
            // Nobody there knows this connection: a reset answers.
            half.lose();
            let latency = pipe.latency;
            if from.open {
                self.queue.push(self.now + latency, Event::Reset(id, side));
            }
            self.retire(id);
            return;
        }
        let most = piece(&mut half.rng, self.settings.chunk_bytes);
        let data = half.take(self.now, most);
        if !data.is_empty() {
            let blocked = std::mem::take(&mut half.blocked);
            self.schedule(id, side);
            self.handle(to.port.node, Input::Bgp(speaker::Input::Received { conn: to.conn, data }));
            if blocked && from.open {
                self.pump(from.port.node, from.conn);
            }
        } else if half.is_empty() && half.fin {
            half.fin = false;
            self.on_end_of_stream(id, 1 - side, "end of stream");
        } else {
            self.schedule(id, side);
        }
    }

    /// An end hears that the connection is over, and its driver drops it.
    pub(super) fn on_end_of_stream(&mut self, id: PipeId, side: usize, how: &str) {
        let Some(pipe) = self.pipes.get_mut(&id).filter(|pipe| pipe.ends[side].open) else {
            return;
        };
        let end = &mut pipe.ends[side];
        end.open = false;
        let (node, conn) = (end.port.node, end.conn);
        let far = pipe.ends[1 - side].port.node;
        self.machines[node.0].conns.remove(&conn);
        let (name, far) = (&self.machines[node.0].name, &self.machines[far.0].name);
        self.trace.line(self.now, name, format_args!("◀ {far:<8} {how}"));
        self.retire(id);
        self.handle(node, Input::Bgp(speaker::Input::Closed { conn }));
    }

    /// A daemon closes; `flush`: what it still has to say goes first.
    pub(super) fn close(&mut self, node: NodeId, conn: ConnId, flush: bool) {
        let Some((id, side)) = self.machines[node.0].conns.get(&conn).copied() else {
            return;
        };
        if flush {
            // A NOTIFICATION is short: it finds room however full the window is.
            self.write(node, conn, (id, side), 0);
        }
        self.machines[node.0].conns.remove(&conn);
        self.abandon(id, side);
    }

    /// A process lets go of its socket: the kernel sends the rest and the end of the stream.
    pub(super) fn abandon(&mut self, id: PipeId, side: usize) {
        let Some(pipe) = self.pipes.get_mut(&id) else {
            return;
        };
        pipe.ends[side].open = false;
        pipe.linger.get_or_insert(self.now + LINGER);
        if pipe.stands || side == 1 {
            pipe.halves[side].fin = true;
            self.schedule(id, side);
        }
        self.retire(id);
    }

    /// A machine vanished: what it had sent and not yet got across is gone, and nobody tells the other end.
    pub(super) fn vanish(&mut self, id: PipeId, side: usize) {
        if let Some(pipe) = self.pipes.get_mut(&id) {
            pipe.ends[side].open = false;
            pipe.halves[side].lose();
            self.retire(id);
        }
    }

    /// Forgets a connection that neither end holds and that carries nothing.
    fn retire(&mut self, id: PipeId) {
        let over = |pipe: &Pipe| {
            let quiet = |half: &Half| half.is_empty() && !half.fin;
            pipe.stands && pipe.ends.iter().all(|end| !end.open) && pipe.halves.iter().all(quiet)
        };
        if self.pipes.get(&id).is_some_and(over) {
            self.pipes.remove(&id);
        }
    }
}
