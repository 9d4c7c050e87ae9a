//! Reports of machines that nobody registered, and what people say of them, on an inventory with rules.

use super::{World, admin, named};
use std::collections::BTreeSet;
use weft_netboot::Refusal;
use weft_netboot::inventory::Inventory;
use weft_netboot::inventory::access::{Access, Actor};
use weft_netboot::inventory::command::Command;
use weft_netboot::inventory::enrol::{Acceptance, Candidate, Rules, SAID_BYTES_MAX, Sighting};
use weft_netboot::ipam::Meaning;

/// Steps of one input.
const STEPS_MAX: usize = 32;
/// Others that are remembered with a candidate.
const DISPUTES_MAX: usize = 4;

/// Parts between lines of `---`: first the rules, then a step each. Its first octet says what it is:
///
/// ```text
/// sADDRESS SIGHTING   somebody without a certificate reports     a SERIAL ACCEPTANCE   accepted by hand
/// mADDRESS SIGHTING   the machine itself does                    r SERIAL REASON       rejected
/// o SIGHTING          an operator does                           f SERIAL              forgotten
/// R RULES             other rules                                g IPAM                another address plan begins
/// ```
pub fn enrol(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut parts = text.split("\n---\n");
    let mut world = World::new();
    if let Some(Ok(rules)) = parts.next().map(serde_json::from_str::<Rules>)
        && let Err(refusal) = world.run(&Command::SetRules { rules })
    {
        named(&refusal);
    }
    for part in parts.take(STEPS_MAX) {
        let before = world.inventory.clone();
        let Some((command, actor)) = step(part) else { continue };
        let audited = world.audited();
        let done = world.run_as(&command, &actor);
        let audited = world.audited() - audited;
        if let Err(refusal) = &done {
            named(refusal);
            assert_eq!(
                (world.inventory.revision(), audited),
                (before.revision(), 0),
                "{part}: refused, but something has changed"
            );
        }
        if let Command::Sight { said } = &command {
            report(&before, &world.inventory, &actor, &said.serial, audited);
        }
        whole(&world.inventory);
    }
}

fn step(part: &str) -> Option<(Command, Actor)> {
    let (kind, rest) = part.split_at_checked(1)?;
    let by = |access: Access, name: &str, via: &str| Actor { name: name.to_owned(), access, via: via.to_owned() };
    let (word, document) = rest.split_once(' ').unwrap_or((rest, ""));
    let said = || Some(Box::new(serde_json::from_str::<Sighting>(document).ok()?));
    Some(match kind {
        "s" => (Command::Sight { said: said()? }, by(Access::Stranger, "stranger", word)),
        "m" => {
            let said = said()?;
            let serial = said.serial.clone();
            (Command::Sight { said }, by(Access::Machine, &serial, word))
        }
        "o" => (Command::Sight { said: said()? }, by(Access::Operator, "ops", word)),
        "R" => (Command::SetRules { rules: serde_json::from_str(document).ok()? }, admin()),
        "g" => (Command::BeginMigration { to: serde_json::from_str(document).ok()? }, admin()),
        _ => {
            let (serial, rest) = document.split_once(' ').unwrap_or((document, ""));
            let serial = serial.to_owned();
            let command = match kind {
                "a" => {
                    let wish = serde_json::from_str::<Acceptance>(rest).unwrap_or_default();
                    Command::Accept { serial, wish }
                }
                "r" => Command::Reject { serial, reason: rest.to_owned() },
                "f" => Command::Forget { serial },
                _ => return None,
            };
            (command, by(Access::Operator, "ops", ""))
        }
    })
}

/// What a report did: to its own serial number, and only as much as who reports is believed.
fn report(before: &Inventory, after: &Inventory, actor: &Actor, serial: &str, audited: usize) {
    for machine in before.machines() {
        let now = after.machine(&machine.serial).map(|held| &held.value);
        assert_eq!(now, Some(machine), "a report changes no machine that is registered");
    }
    let came = after.machines().len() - before.machines().len();
    assert!(came <= 1 && audited == came, "{came} machines came, {audited} audit entries");
    if came == 1 {
        let machine = after.machine(serial).map(|held| held.value.clone()).unwrap();
        let vouched =
            actor.access > Access::Stranger || before.candidate(serial).is_some_and(|candidate| candidate.vouched);
        let open =
            after.rules().is_some_and(|rules| rules.0.iter().any(|rule| rule.gives().is_some_and(|gives| gives.open)));
        assert!(vouched || open, "nobody vouches for {serial}, and no rule is open: {:?}", machine.state);
    }
    for candidate in before.candidates() {
        let Some(now) = after.candidate(&candidate.said.serial) else { continue };
        if candidate.said.serial != serial {
            assert_eq!(now, candidate, "a report changes no other candidate");
        } else if actor.access == Access::Stranger && candidate.vouched {
            assert!(
                now.vouched
                    && (&now.said, &now.source, now.rack) == (&candidate.said, &candidate.source, candidate.rack)
            );
        }
        let rejected = |one: &Candidate| one.rejected.clone();
        assert_eq!(rejected(now), rejected(candidate), "only people reject, and forgive");
    }
}

/// No place, name, identifier or address is of two machines; no candidate is a machine too, and each is bounded.
fn whole(inventory: &Inventory) {
    let mut seen = BTreeSet::new();
    for machine in inventory.machines() {
        let ids = &machine.ids;
        let own = ids.macs.iter().chain(&ids.uuid).chain(&ids.tpm_ek).map(|id| format!("id {id}"));
        let place = [format!("place {} {}", machine.rack, machine.index), format!("name {}", machine.name)];
        let addresses = machine.own_addresses().map(|address| format!("address {address}"));
        for what in own.chain(place).chain(addresses) {
            assert!(seen.insert(what.clone()), "{what} is of two machines");
        }
        let plan = inventory.ipam_of(machine).unwrap();
        for address in machine.own_addresses() {
            let meaning = Meaning::Node { rack: machine.rack, network: 0, index: machine.index };
            assert_eq!(plan.meaning(address), Some(meaning), "{address}");
        }
    }
    for candidate in inventory.candidates() {
        assert!(inventory.machine(&candidate.said.serial).is_none(), "{} is registered", candidate.said.serial);
        assert!(candidate.disputed_by.len() <= DISPUTES_MAX);
        assert!(serde_json::to_vec(&candidate.said).unwrap().len() <= SAID_BYTES_MAX);
        let waiting = inventory.waiting(candidate, candidate.last_seen);
        assert!(!waiting.why.is_empty() && serde_json::to_string(&waiting).is_ok());
    }
}

impl World {
    fn audited(&self) -> usize {
        self.memory.read("audit/").entries.len()
    }

    /// As `run`, by somebody else.
    fn run_as(&mut self, command: &Command, actor: &Actor) -> Result<(), Refusal> {
        let admin = std::mem::replace(&mut self.actor, actor.clone());
        let done = self.run(command);
        self.actor = admin;
        done
    }
}
