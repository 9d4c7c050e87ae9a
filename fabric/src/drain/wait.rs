//! What `weft drain --wait` waits for: everybody was told, and packets no longer come. Pure: answers of the daemon in, words out.

use super::traffic::Traffic;
use super::{Scope, State};
use crate::api::{Drain, Drains};

/// Packets a second below which a link carries nothing but control: BGP, BFD to a few neighbours, neighbour discovery.
const LINK_CONTROL: u64 = 100;
/// Packets a second below which a node passes on nothing worth a wait: what strays.
const NODE_STRAY: u64 = 10;
/// Looks in a row with so little.
const QUIET_LOOKS: u32 = 2;
/// Looks closer to each other than this say nothing about a rate, milliseconds.
const RATE_MS: u64 = 400;

/// How far the waiting is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Not there; in the words that are new.
    Waiting(Option<String>),
    /// There.
    Done(String),
}

/// One wait.
#[derive(Debug)]
pub struct Wait {
    scope: Scope,
    target: State,
    said: String,
    before: Option<Traffic>,
    rate: Option<u64>,
    quiet: u32,
}

impl Wait {
    /// For something to get into a state.
    #[must_use]
    pub const fn new(scope: Scope, target: State) -> Self {
        Self { scope, target, said: String::new(), before: None, rate: None, quiet: 0 }
    }

    /// An answer of the daemon.
    pub fn look(&mut self, answer: &Drains) -> Step {
        let found = answer.drains.iter().find(|drain| drain.scope == self.scope);
        // What is back in service is listed no longer.
        let state = found.map_or(State::Live, |drain| drain.state);
        let is_there = state == self.target && found.is_none_or(|drain| drain.settled);
        let counted = self.count(&answer.traffic);
        if !is_there {
            self.quiet = 0;
            return self.say(found.map_or_else(|| format!("{}: {state}", self.scope), Self::progress));
        }
        if self.target == State::Live || matches!(self.scope, Scope::Vip(_)) {
            return Step::Done(self.words(found, ""));
        }
        match (self.rate, counted) {
            (None, _) if self.before.is_some() && !self.can_count(&answer.traffic) => {
                Step::Done(self.words(found, "; its packets are not counted here"))
            }
            (Some(rate), true) if rate <= self.control() => {
                self.quiet += 1;
                let few = format!("; {rate} packets/s are left");
                if self.quiet >= QUIET_LOOKS { Step::Done(self.words(found, &few)) } else { Step::Waiting(None) }
            }
            (Some(rate), true) => {
                self.quiet = 0;
                self.say(format!("{}: {state}, {} {rate} packets/s", self.scope, self.carries()))
            }
            (Some(_) | None, _) => Step::Waiting(None),
        }
    }

    /// What is to be said when nobody waits any longer.
    #[must_use]
    pub fn given_up(&self, limit_s: u64) -> String {
        match self.rate.filter(|rate| *rate > self.control()) {
            Some(rate) => format!(
                "after {limit_s} s {} {} {rate} packets/s\n  remedy: who sends them has no other way, or does not heed GRACEFUL_SHUTDOWN; `weft undrain` takes it back",
                self.scope,
                self.carries()
            ),
            None => format!(
                "not there after {limit_s} s: {}\n  remedy: `weft show drain` says who is waited for",
                self.said
            ),
        }
    }

    const fn carries(&self) -> &'static str {
        if matches!(self.scope, Scope::Node) { "still passes on" } else { "still carries" }
    }

    const fn control(&self) -> u64 {
        if matches!(self.scope, Scope::Node) { NODE_STRAY } else { LINK_CONTROL }
    }

    fn can_count(&self, traffic: &Traffic) -> bool {
        match self.scope.name() {
            Some(link) => traffic.interfaces.iter().any(|one| one.name == link),
            None => traffic.forwarded_packets.is_some(),
        }
    }

    /// A new rate, if enough time passed.
    fn count(&mut self, traffic: &Traffic) -> bool {
        let is_due = self.before.as_ref().is_none_or(|before| traffic.at_ms >= before.at_ms + RATE_MS);
        if !is_due {
            return false;
        }
        let before = self.before.replace(traffic.clone());
        self.rate = before.and_then(|before| traffic.rate(&before, self.scope.name()));
        true
    }

    fn progress(drain: &Drain) -> String {
        let way = if drain.state == drain.target { String::new() } else { format!(", on the way to {}", drain.target) };
        let whom = match drain.waiting_for.as_slice() {
            [] => "; time for traffic to move".to_owned(),
            names if drain.state == State::Live => format!("; waiting for {}", names.join(", ")),
            names => format!("; not acknowledged yet by {}", names.join(", ")),
        };
        format!("{}: {}{way}{whom}", drain.scope, drain.state)
    }

    fn words(&self, found: Option<&Drain>, more: &str) -> String {
        let late = match found.map(|drain| drain.late.as_slice()) {
            None | Some([]) => String::new(),
            Some(names) => format!("; not acknowledged in time by {}", names.join(", ")),
        };
        if self.target == State::Live {
            return format!("{} is back in service{}", self.scope, late.replace("acknowledged", "there"));
        }
        format!("{} is {}{late}{more}", self.scope, self.target)
    }

    fn say(&mut self, words: String) -> Step {
        if self.said == words {
            return Step::Waiting(None);
        }
        self.said.clone_from(&words);
        Step::Waiting(Some(words))
    }
}

#[cfg(test)]
mod tests {
    use super::super::traffic::LinkTraffic;
    use super::*;
    use crate::drain::By;

    fn answer(at_ms: u64, state: State, settled: bool, packets: u64) -> Drains {
        let drain = Drain {
            scope: Scope::Interface("eth1".to_owned()),
            state,
            target: State::Drained,
            settled,
            by: By::Operator,
            since_ms: 0,
            waiting_for: if settled { Vec::new() } else { vec!["tor1".to_owned()] },
            late: Vec::new(),
        };
        let eth1 = LinkTraffic { name: "eth1".to_owned(), received_packets: packets, sent_packets: 0 };
        let traffic = Traffic { at_ms, forwarded_packets: None, interfaces: vec![eth1] };
        Drains { drains: vec![drain], traffic, file: String::new(), not_kept: None }
    }

    fn wait() -> Wait {
        Wait::new(Scope::Interface("eth1".to_owned()), State::Drained)
    }

    #[test]
    fn it_is_over_when_everybody_was_told_and_packets_stay_away() {
        let mut wait = wait();
        let first = wait.look(&answer(0, State::Soft, false, 0));
        let words = "interface eth1: soft, on the way to drained; not acknowledged yet by tor1";
        assert_eq!(first, Step::Waiting(Some(words.to_owned())));
        assert_eq!(wait.look(&answer(200, State::Soft, false, 2_000)), Step::Waiting(None), "nothing new");
        let Step::Waiting(Some(busy)) = wait.look(&answer(1_000, State::Drained, true, 10_000)) else { panic!() };
        assert_eq!(busy, "interface eth1: drained, still carries 10000 packets/s");
        assert_eq!(wait.look(&answer(1_100, State::Drained, true, 10_001)), Step::Waiting(None), "too soon for a rate");
        assert_eq!(wait.look(&answer(1_500, State::Drained, true, 10_005)), Step::Waiting(None), "once is no proof");
        let done = wait.look(&answer(2_000, State::Drained, true, 10_010));
        assert_eq!(done, Step::Done("interface eth1 is drained; 10 packets/s are left".to_owned()));
    }

    #[test]
    fn packets_that_do_not_stay_away_are_said_at_the_end() {
        let mut wait = wait();
        for second in 0..10 {
            assert!(matches!(
                wait.look(&answer(second * 1_000, State::Drained, true, second * 5_000)),
                Step::Waiting(_)
            ));
        }
        assert!(wait.given_up(60).starts_with("after 60 s interface eth1 still carries 5000 packets/s"));
    }

    #[test]
    fn what_nobody_counts_is_not_waited_for() {
        let mut wait = Wait::new(Scope::Interface("eth1".to_owned()), State::Drained);
        let mut blind = answer(0, State::Drained, true, 0);
        blind.traffic.interfaces.clear();
        assert!(matches!(wait.look(&blind), Step::Done(words) if words.contains("not counted")));
    }

    #[test]
    fn what_is_back_is_listed_no_longer() {
        let mut wait = Wait::new(Scope::Interface("eth1".to_owned()), State::Live);
        let mut none = answer(0, State::Live, true, 0);
        none.drains.clear();
        assert_eq!(wait.look(&none), Step::Done("interface eth1 is back in service".to_owned()));
    }
}
