//! How well the truth is known, and who deletes what is ours: counted, and named as far as the kernel tells. A notification carries the
//! port of the socket that asked for the change, and the first netlink socket of a process has the number of the process as port.

use crate::fib::{Deleter, FibHealth};
use std::collections::VecDeque;
use weft_bgp::time::{Duration, Instant};

/// Deletions by one port that follow each other closer than this are one event.
const GAP: Duration = Duration::from_secs(1);
/// So many in one event are no slip of a person's: software that holds all routes to be its own.
const MASS: u64 = 100;
/// Events kept for people.
const KEPT: usize = 8;

#[derive(Debug)]
struct Event {
    port: u32,
    who: String,
    count: u64,
    begun: Instant,
    last: Instant,
}

/// Counters of the thread.
#[derive(Debug, Default)]
pub(super) struct Health {
    pub(super) dumps: u64,
    pub(super) dumped_at: Option<Instant>,
    pub(super) last_drift: u64,
    pub(super) interrupted: u64,
    pub(super) failed_dumps: u64,
    pub(super) overruns: u64,
    foreign_deletions: u64,
    events: VecDeque<Event>,
}

impl Health {
    /// Somebody else deleted a route or an object of ours.
    pub(super) fn deleted(&mut self, now: Instant, port: u32) {
        self.foreign_deletions += 1;
        let open = self.events.back_mut().filter(|event| event.port == port && now < event.last + GAP);
        if let Some(event) = open {
            event.count += 1;
            event.last = now;
            if event.count == MASS {
                tracing::warn!(by = event.who, "{}", remedy(&event.who));
            }
            return;
        }
        let who = who(port);
        tracing::warn!(by = who, "somebody else deletes routes of ours; they are put back");
        if self.events.len() == KEPT {
            self.events.pop_front();
        }
        self.events.push_back(Event { port, who, count: 1, begun: now, last: now });
    }

    /// For people.
    pub(super) fn report(&self, now: Instant) -> FibHealth {
        let deleter = |event: &Event| Deleter {
            who: event.who.clone(),
            count: event.count,
            ago_s: now.since(event.begun).as_secs(),
        };
        FibHealth {
            dumps: self.dumps,
            dump_age_s: self.dumped_at.map_or(0, |at| now.since(at).as_secs()),
            last_drift: self.last_drift,
            interrupted: self.interrupted,
            failed_dumps: self.failed_dumps,
            overruns: self.overruns,
            foreign_deletions: self.foreign_deletions,
            deleters: self.events.iter().map(deleter).collect(),
            nexthop_compat_fast: false,
        }
    }
}

fn remedy(who: &str) -> &'static str {
    if who.starts_with("systemd-network") {
        "systemd-networkd deletes all routes that it does not know: write ManageForeignRoutes=no and ManageForeignNextHops=no under \
         [Network] in /etc/systemd/networkd.conf"
    } else {
        "a mass deletion of our routes: other software on this host holds all routes to be its own; have it leave alone those of our \
         protocol (`fib.protocol`)"
    }
}

/// The name of the process whose number is a port.
fn who(port: u32) -> String {
    let comm = std::fs::read_to_string(format!("/proc/{port}/comm"));
    match comm {
        Ok(name) => format!("{} (process {port})", name.trim()),
        // A second socket of a process, one of another namespace of processes, or a process that is gone already, as `ip` is.
        Err(_) => format!("a process that is gone or not seen from here (netlink port {port})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deletions_of_one_go_are_one_event_with_the_name_of_the_process() {
        let mut health = Health::default();
        let own = std::process::id();
        let at = |milliseconds| Instant::ZERO + Duration::from_millis(milliseconds);
        for number in 0..150 {
            health.deleted(at(number), own);
        }
        health.deleted(at(5_000), u32::MAX);
        let report = health.report(at(65_000));
        assert_eq!((report.foreign_deletions, report.deleters.len()), (151, 2));
        assert_eq!((report.deleters[0].count, report.deleters[0].ago_s), (150, 65));
        assert!(report.deleters[0].who.ends_with(&format!("(process {own})")), "{report:?}");
        assert!(report.deleters[1].who.contains("netlink port 4294967295"), "{report:?}");
    }

    #[test]
    fn systemd_networkd_is_named_with_its_remedy() {
        // The kernel cuts the name of a process to fifteen octets.
        assert!(remedy("systemd-network (process 312)").contains("ManageForeignRoutes=no"));
        assert!(remedy("ip (process 9)").contains("mass deletion"));
    }
}
