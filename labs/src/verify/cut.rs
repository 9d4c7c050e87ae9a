//! Cuts single links of a running lab, each from either end: the end that is set down knows at once, the other one sees its carrier go.
//! So what a server, a switch below a server, a switch and a spine each lose is measured apart (upstream, downstream, and between
//! switches), and no packet may circle until its time to live ends.
#![expect(clippy::disallowed_methods, reason = "lets flows run for a while after each event")]

use std::io;
use std::thread;
use std::time::Duration;

use crate::expect::Expectation;
use crate::verify::check::Site;
use crate::verify::failover::{Path, SWITCH_LIMIT_MS, first_of_several, measure, settle};
use crate::verify::{Check, LinkEnd, Outcome, Report};

/// Traffic while the link is down: what waits for a timer of BGP loses as much of it as is there.
const CUT: Duration = Duration::from_secs(2);
/// Traffic after everything is as before.
const AFTER_RETURN: Duration = Duration::from_secs(1);
/// The kernel's counters of a node : `icmpStatsOutMsgs` by type (RFC 4293).
const COUNTERS: &str = "/proc/net/snmp";
/// Packets that a node dropped because their time to live had ended.
const EXCEEDED: &str = "OutTimeExcds";

/// Cuts the link of the first server to the victim, and the victim's to a spine, each from both ends.
///
/// # Errors
/// When the lab cannot be asked or changed.
pub(super) fn run(site: &Site<'_>, path: &Path, expectations: &[Expectation], report: &mut Report) -> io::Result<()> {
    let spine = first_of_several(expectations, &path.victim);
    for neighbor in [Some(path.from.clone()), spine].into_iter().flatten() {
        let Some((near, far)) = link(site, &path.victim, &neighbor) else {
            continue;
        };
        for (cut, sees) in [(&far, &near), (&near, &far)] {
            let event = format!("{}'s link to {} loses its carrier, and comes back", sees.0, cut.0);
            let before = exceeded(site, path)?;
            measure(site, path, report, (&event, SWITCH_LIMIT_MS), || {
                site.plant().set_links(std::slice::from_ref(cut), false)?;
                thread::sleep(CUT);
                site.plant().set_links(std::slice::from_ref(cut), true)?;
                settle(site, expectations, AFTER_RETURN)
            })?;
            let circled = exceeded(site, path)?.saturating_sub(before);
            let outcome = if circled == 0 { Outcome::Passed } else { Outcome::Failed };
            let detail = format!("{circled} packets went round until their time to live ended");
            report.checks.push(Check { name: format!("{event}: no loop"), outcome, detail, seconds: 0.0 });
        }
    }
    Ok(())
}

/// The ends of a link between two nodes, each at its own node.
fn link(site: &Site<'_>, near: &str, far: &str) -> Option<(LinkEnd, LinkEnd)> {
    site.plant().links().into_iter().find_map(|[a, b]| {
        if a.0 == near && b.0 == far {
            return Some((a, b));
        }
        (a.0 == far && b.0 == near).then_some((b, a))
    })
}

/// Packets of either server that somebody dropped because their time to live had ended.
fn exceeded(site: &Site<'_>, path: &Path) -> io::Result<u64> {
    let mut all = 0;
    for node in [&path.from, &path.to] {
        let (_, text) = site.plant().run(node, &["cat".to_owned(), COUNTERS.to_owned()])?;
        all += counter(&text, EXCEEDED)
            .ok_or_else(|| io::Error::other(format!("{node}: no {EXCEEDED} in {COUNTERS}: {text}")))?;
    }
    Ok(all)
}

/// A counter of `/proc/net/snmp`: lines in pairs, names and then values.
fn counter(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines();
    while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
        if let Some(at) = names.split_whitespace().position(|other| other == name) {
            return values.split_whitespace().nth(at)?.parse().ok();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_stands_below_its_name() {
        let text = "Ip: Forwarding DefaultTTL\nIp: 1 64\nIcmp: InMsgs InTimeExcds OutEchos\nIcmp: 5 7 9\n";
        assert_eq!(counter(text, "InTimeExcds"), Some(7));
        assert_eq!(counter(text, "DefaultTTL"), Some(64));
        assert_eq!(counter(text, "InErrors"), None);
    }
}
