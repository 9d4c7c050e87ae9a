//! What another address plan would change: for each machine its addresses, for each switch the lines of its configuration, and what
//! stands against it. Nothing is done.

use super::{Plan, generate};
use crate::inventory::machine::Machine;
use crate::ipam::{Ipam, Step, addresses_of, passes};
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeSet;

/// Machines named in an answer; the rest is counted.
pub const STEPS_MAX: usize = 1_000;
/// Conflicts named in an answer.
const CONFLICTS_MAX: usize = 100;
/// Switches whose lines are in an answer.
const SWITCHES_MAX: usize = 64;

/// What would change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Preview {
    /// How many machines there are.
    pub machines: usize,
    /// How many of them would get other addresses.
    pub moved: usize,
    /// The first 1,000 of these.
    pub steps: Vec<Step>,
    /// Why it cannot be done: the first 100.
    pub conflicts: Vec<Conflict>,
    /// Switches whose configuration would be another one afterwards: the first 64.
    pub switches: Vec<SwitchChange>,
    /// Changed machines, conflicts and switches beyond these.
    pub left_off: usize,
}

/// What stands against it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Conflict {
    /// Which machine; none when it is the plan itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// Field of the plan.
    pub field: String,
    /// What is wrong.
    pub message: String,
    /// The rule that it breaks.
    pub rule: String,
}

/// How the configuration of a switch would change, when all machines are through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SwitchChange {
    /// Its name.
    pub name: String,
    /// Lines that go with `-` before them, then those that come with `+`.
    pub lines: Vec<String>,
}

/// What would change.
#[must_use]
pub fn preview<'m>(
    plan: Option<&Plan>,
    from: &Ipam,
    to: &Ipam,
    machines: impl Iterator<Item = &'m Machine>,
) -> Preview {
    let mut answer =
        Preview { machines: 0, moved: 0, steps: Vec::new(), conflicts: Vec::new(), switches: Vec::new(), left_off: 0 };
    let conflict = |answer: &mut Preview, serial: Option<&str>, refusal: crate::Refusal| {
        let serial = serial.map(str::to_owned);
        let found = Conflict { serial, field: refusal.field, message: refusal.message, rule: refusal.rule };
        push(&mut answer.conflicts, found, CONFLICTS_MAX, &mut answer.left_off);
    };
    if let Err(refusal) = to.check() {
        conflict(&mut answer, None, refusal);
        return answer;
    }
    let (mut before, mut after) = (Vec::new(), Vec::new());
    let mut racks = BTreeSet::new();
    for machine in machines {
        answer.machines += 1;
        if let Err(refusal) = passes(from, to, machine) {
            conflict(&mut answer, Some(&machine.serial), refusal);
        }
        let Ok(addresses) = to.addresses(machine.rack, machine.index) else { continue };
        let mut moved = machine.clone();
        before.push(machine);
        if addresses != addresses_of(machine) {
            answer.moved += 1;
            racks.insert(machine.rack);
            let asn = plan.and_then(|plan| plan.asn.machine(machine.rack, machine.index).ok());
            push(&mut answer.steps, Step::of(machine, asn, &addresses), STEPS_MAX, &mut answer.left_off);
            (moved.ipv4, moved.ipv6) = (addresses.ipv4, addresses.ipv6);
        }
        after.push(moved);
    }
    let Some(plan) = plan else { return answer };
    for (name, _) in plan.switches.iter().filter(|(_, switch)| racks.contains(&switch.rack)) {
        if answer.switches.len() >= SWITCHES_MAX {
            answer.left_off += 1;
            continue;
        }
        let old = generate(name, plan, from, before.iter().copied()).map(|document| document.to_string());
        match generate(name, plan, to, after.iter()) {
            Ok(new) => {
                let lines = changed(&old.unwrap_or_default(), &new.to_string());
                answer.switches.push(SwitchChange { name: name.clone(), lines });
            }
            Err(refusal) => conflict(&mut answer, None, refusal.within(&format!("switches.{name}"))),
        }
    }
    answer
}

fn push<T>(list: &mut Vec<T>, item: T, most: usize, left_off: &mut usize) {
    if list.len() < most { list.push(item) } else { *left_off += 1 }
}

/// Lines that are in one text alone.
fn changed(old: &str, new: &str) -> Vec<String> {
    let (before, after): (BTreeSet<&str>, BTreeSet<&str>) = (old.lines().collect(), new.lines().collect());
    let gone = old.lines().filter(|line| !after.contains(line)).map(|line| format!("-{line}"));
    gone.chain(new.lines().filter(|line| !before.contains(line)).map(|line| format!("+{line}"))).collect()
}
