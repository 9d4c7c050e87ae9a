//! A connection that another process handed to this one, Established: what was agreed on is worked out again from both OPENs as they were on
//! the wire, and what had been read of an unfinished message is read on.

use super::{Connection, Direction, State};
use crate::peer::{Handed, Local, PeerConfig};
use crate::rng::Rng;
use crate::time::{Duration, Instant};
use crate::types::ConnId;
use crate::wire::Notification;
use crate::wire::open::Open;

impl Connection {
    /// Goes on with a session; a KEEPALIVE says so at once.
    ///
    /// # Errors
    /// When these OPENs make no session under our configuration.
    pub(crate) fn take_over(
        now: Instant,
        id: ConnId,
        handed: &Handed,
        (config, local): (&PeerConfig, &Local),
        rng: &mut Rng,
    ) -> Result<Self, Notification> {
        let open = Open::decode(&handed.our_open)?;
        let direction = if handed.dialled { Direction::Dialled } else { Direction::Accepted };
        let mut own = Self::new(now, id, direction, (handed.local, handed.remote), (open, Duration::ZERO));
        own.open(now, &handed.their_open, config, local);
        // Our OPEN is out long since.
        own.out.clear();
        own.sent = [0; 5];
        match std::mem::replace(&mut own.state, State::Ended(None)) {
            State::OpenConfirm(session) => own.state = State::Established(session),
            State::Delayed(_) | State::OpenSent | State::Established(_) | State::Ended(_) => {
                return Err(Notification::new(Notification::OPEN, 0));
            }
        }
        own.push(&handed.unread);
        own.send_keepalive(now, rng);
        Ok(own)
    }

    /// What the next process needs to go on with this session; `None` before it is Established.
    pub(crate) fn hand_over(&self) -> Option<Handed> {
        let State::Established(session) = &self.state else {
            return None;
        };
        let (our_open, their_open) = self.opens();
        Some(Handed {
            local: session.local,
            remote: session.remote,
            dialled: self.direction == Direction::Dialled,
            our_open: our_open.to_vec(),
            their_open: their_open.to_vec(),
            unread: self.framer.rest().to_vec(),
            unsent: self.out.to_vec(),
            since: Instant::ZERO,
            established: 0,
            dropped: 0,
        })
    }
}
