//! What the DHCP server counts: every question, every answer, and each reason not to answer.

use super::message::Kind;

/// Kinds of messages with their names, in the order of their numbers.
pub const KINDS: [(Kind, &str); 8] = [
    (Kind::Discover, "discover"),
    (Kind::Offer, "offer"),
    (Kind::Request, "request"),
    (Kind::Decline, "decline"),
    (Kind::Ack, "ack"),
    (Kind::Nak, "nak"),
    (Kind::Release, "release"),
    (Kind::Inform, "inform"),
];

/// Why a question has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It cannot be read, or an option has a wrong length.
    Malformed,
    /// It is an answer.
    Answer,
    /// It came without a relay and without an address, by a way on which nobody can be answered.
    NoRelay,
    /// The address plan does not know the relay's network.
    UnknownNetwork,
    /// Its network asks too often.
    Limited,
    /// The leases of the store are not read yet.
    NotReady,
    /// Too many wait for the store.
    Busy,
    /// No address is free in the network.
    Exhausted,
    /// The client chose another server.
    OtherServer,
    /// It does not name the address that it must name.
    NoAddress,
    /// It gives back, or complains of, an address that it has not.
    NotOwner,
    /// The store did not take the lease, or could not be read.
    Store,
    /// The answer is longer than what the client takes.
    TooLong,
    /// The kernel did not take the answer.
    Unsent,
}

impl Refused {
    /// All of them, with their names.
    pub const ALL: [(Self, &'static str); 14] = [
        (Self::Malformed, "malformed"),
        (Self::Answer, "answer"),
        (Self::NoRelay, "no_relay"),
        (Self::UnknownNetwork, "unknown_network"),
        (Self::Limited, "limited"),
        (Self::NotReady, "not_ready"),
        (Self::Busy, "busy"),
        (Self::Exhausted, "exhausted"),
        (Self::OtherServer, "other_server"),
        (Self::NoAddress, "no_address"),
        (Self::NotOwner, "not_owner"),
        (Self::Store, "store"),
        (Self::TooLong, "too_long"),
        (Self::Unsent, "unsent"),
    ];
}

/// Since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    received: [u64; KINDS.len()],
    sent: [u64; KINDS.len()],
    refused: [u64; Refused::ALL.len()],
    /// Answers to a client that wanted to boot, for which the rules have nothing.
    pub nothing_to_boot: u64,
}

impl Counts {
    pub(super) fn receive(&mut self, kind: Kind) {
        bump(&mut self.received, KINDS.iter().position(|(one, _)| *one == kind));
    }

    pub(super) fn send(&mut self, kind: Kind) {
        bump(&mut self.sent, KINDS.iter().position(|(one, _)| *one == kind));
    }

    pub(super) fn refuse(&mut self, why: Refused) {
        bump(&mut self.refused, Refused::ALL.iter().position(|(one, _)| *one == why));
    }

    /// Questions by kind.
    pub fn received(&self) -> impl Iterator<Item = (&'static str, u64)> {
        KINDS.iter().map(|(_, name)| *name).zip(self.received)
    }

    /// Answers by kind.
    pub fn sent(&self) -> impl Iterator<Item = (&'static str, u64)> {
        KINDS.iter().map(|(_, name)| *name).zip(self.sent)
    }

    /// Questions without an answer, by reason.
    pub fn refused(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Refused::ALL.iter().map(|(_, name)| *name).zip(self.refused)
    }
}

fn bump(counts: &mut [u64], at: Option<usize>) {
    if let Some(count) = at.and_then(|at| counts.get_mut(at)) {
        *count += 1;
    }
}
