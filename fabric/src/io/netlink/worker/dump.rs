//! Dumps of all that is ours, piece by piece. Half a second may pass over a million routes, so what cannot wait is done in between:
//! links and neighbours that die or come back. What that changes voids what was read so far, and the dump begins again.

use super::super::request::{DUMP_TRIES, Piece};
use super::super::watch::Note;
use super::super::{Command, MAX_COMMANDS, nexthop, route};
use super::{BATCH, Requests, Worker};
use crate::fib::{Dump, Fib, Found};
use netlink_packet_core::Emitable;
use std::io;

impl Worker {
    /// Compares the kernel with what is believed of it, and follows it; how much was different.
    pub(super) fn compare(&mut self) -> io::Result<u64> {
        let mut survey = self.fib.survey();
        self.read_all(&mut |fib, found| match found {
            Some(found) => fib.look(&mut survey, found),
            None => survey = fib.survey(),
        })?;
        Ok(self.fib.conclude(survey))
    }

    /// All that the kernel holds of ours.
    pub(super) fn dump(&mut self) -> io::Result<Dump> {
        let mut dump = Dump::default();
        self.read_all(&mut |_, found| match found {
            Some(Found::Nexthop(object)) => dump.nexthops.push(object),
            Some(Found::Route(route)) => dump.routes.push(route),
            None => dump = Dump::default(),
        })?;
        Ok(dump)
    }

    /// Reads all of it. `take` is given each thing, and `None` where an attempt was disturbed and all it was given is void.
    fn read_all(&mut self, take: &mut dyn FnMut(&Fib, Option<Found>)) -> io::Result<()> {
        for _ in 0..DUMP_TRIES {
            // A socket of its own: operations go on beside it, and the kernel forgets a dump whose socket is closed.
            let mut socket = Requests::open()?;
            if self.read_once(&mut socket, take)? {
                return Ok(());
            }
            self.watch.health.interrupted += 1;
            take(&self.fib, None);
        }
        Err(io::ErrorKind::Interrupted.into())
    }

    /// Whether it was whole: nexthop objects, IPv4 and IPv6 routes.
    fn read_once(&mut self, socket: &mut Requests, take: &mut dyn FnMut(&Fib, Option<Found>)) -> io::Result<bool> {
        let config = self.fib.config().clone();
        let ids = config.nexthop_base..config.nexthop_base.saturating_add(config.nexthop_count);
        let routes = |v6| {
            let filter = route::filter(v6, &config);
            let mut body = vec![0; filter.buffer_len()];
            filter.emit(&mut body);
            (route::RTM_GETROUTE, body)
        };
        for (kind, body) in [(nexthop::RTM_GETNEXTHOP, vec![0; nexthop::HEADER]), routes(false), routes(true)] {
            socket.begin_dump(kind, &body)?;
            loop {
                let fib = &self.fib;
                let piece = socket.next_piece(|message| {
                    if kind == nexthop::RTM_GETNEXTHOP {
                        let found = nexthop::parse(message.payload, config.protocol);
                        let found = found.filter(|object| ids.contains(&object.id.0));
                        found.into_iter().for_each(|object| take(fib, Some(Found::Nexthop(object))));
                    } else if let Some(seen) = route::parse(message.payload)
                        // The filter is the kernel's; whether it obeyed is ours to check.
                        && seen.protocol == config.protocol
                        && seen.route.key.table == config.table
                    {
                        take(fib, Some(Found::Route(seen.route)));
                    }
                })?;
                if piece == (Piece::Last { whole: false }) || self.attend() {
                    return Ok(false);
                }
                if piece != Piece::Inner {
                    break;
                }
            }
        }
        Ok(true)
    }

    /// Takes commands aside, as many as the channel holds: then the daemon waits, as it does otherwise. Only who lives is followed at
    /// once, for which nothing else matters; whether that was said of anybody.
    pub(super) fn hear_commands(&mut self) -> bool {
        let mut is_pressed = false;
        while self.put_off.len() < MAX_COMMANDS
            && let Ok(command) = self.commands.try_recv()
        {
            if let Command::SetAlive(member, alive) = command {
                self.fib.set_alive(member, alive);
                is_pressed = true;
            } else if let Command::HoldBack(member, held) = command {
                self.fib.hold_back(member, held);
                is_pressed = true;
            } else {
                self.put_off.push_back(command);
            }
        }
        is_pressed
    }

    /// Does what cannot wait, and nothing else; whether the kernel was asked for anything.
    pub(super) fn attend(&mut self) -> bool {
        let now = self.clock.now();
        self.watch.read(now);
        self.watch.undamp(now);
        let (links, others) = std::mem::take(&mut self.watch.notes).into_iter().partition(Note::is_link);
        self.watch.notes = others;
        for note in links {
            self.follow_note(note);
        }
        self.hear_commands();
        let mut was_asked = false;
        loop {
            let ops = self.fib.urgent_ops(BATCH);
            if ops.is_empty() {
                return was_asked;
            }
            self.carry_out(now, &ops);
            was_asked = true;
        }
    }
}
