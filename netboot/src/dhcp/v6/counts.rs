//! What the DHCPv6 server counts: every question, every answer, and each reason not to answer, by the words of DHCPv4.

use super::message::Kind;
use crate::dhcp::v4::counts::Refused;

/// Since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    received: [u64; Kind::ALL.len()],
    sent: [u64; Kind::ALL.len()],
    refused: [u64; Refused::ALL.len()],
    /// Answers to a client that wanted to boot, for which the rules have nothing.
    pub nothing_to_boot: u64,
}

impl Counts {
    pub(super) fn receive(&mut self, kind: Kind) {
        self.received.iter_mut().skip(kind.place()).take(1).for_each(|count| *count += 1);
    }

    pub(super) fn send(&mut self, kind: Kind) {
        self.sent.iter_mut().skip(kind.place()).take(1).for_each(|count| *count += 1);
    }

    pub(super) fn refuse(&mut self, why: Refused) {
        let place = Refused::ALL.iter().position(|(one, _)| *one == why);
        self.refused.iter_mut().skip(place.unwrap_or(0)).take(1).for_each(|count| *count += 1);
    }

    /// Questions by kind.
    pub fn received(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Kind::ALL.iter().map(|(_, name)| *name).zip(self.received)
    }

    /// Answers by kind.
    pub fn sent(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Kind::ALL.iter().map(|(_, name)| *name).zip(self.sent)
    }

    /// Questions without an answer, by reason.
    pub fn refused(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Refused::ALL.iter().map(|(_, name)| *name).zip(self.refused)
    }
}
