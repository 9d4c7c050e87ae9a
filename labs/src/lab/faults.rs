//! Makes faults in a running lab, and undoes them.
//!
//! Several may be there at once: what a cable does to frames is what all of its faults together say, a later one where they differ. A cable
//! with harm has a relay in it, and only as long as it has. A fault that cannot be made leaves nothing behind.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::limbo::Limbo;
use super::machine::Machine;
use super::relay::Relay;
use super::splice::{self, Detour};
use super::{Lab, init, netlink};
use crate::fault::channel::Counts;
use crate::fault::{End, Fault, Harm, NodeDeed, Way};
use crate::topology::{Endpoint, LinkSpec};
use crate::verify::Plant as _;

/// Faults that are there at once: more is a script that forgot to undo them.
pub const MAX_FAULTS: usize = 1_024;

/// What is wrong in a lab.
#[derive(Debug, Default)]
pub(super) struct Faults {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Number of the last fault.
    last: u64,
    active: BTreeMap<u64, Fault>,
    /// By the link's place in the file.
    relays: BTreeMap<usize, Relay>,
    /// Where far ends of helpers are.
    limbo: Option<Limbo>,
    /// Of the last helper.
    helper: u64,
}

/// A fault as `fault show` tells of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// Its number in this lab.
    pub number: u64,
    /// What it is.
    pub fault: Fault,
    /// What the relay did to frames that the named end sent and was sent, all its faults together; not for other faults.
    pub frames: Option<[Counts; 2]>,
}

/// A link, and whether an end is its first.
fn find(lab: &Lab, end: &End) -> io::Result<(usize, bool)> {
    let is = |one: &Endpoint| one.node == end.node && one.interface == end.interface;
    let found = lab.topology().links.iter().position(|link| is(&link.a) || is(&link.b));
    match found.and_then(|at| Some((at, is(&lab.topology().links.get(at)?.a)))) {
        Some(found) => Ok(found),
        None => Err(io::Error::other(format!("no link of {} ends at {end}", lab.topology().name))),
    }
}

impl Faults {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lab ends: relays go at once.
    pub(super) fn end(&self) {
        self.inner().relays.clear();
    }
}

impl Lab {
    /// Makes a fault; its number, by which it is undone.
    ///
    /// # Errors
    /// When there is no such place, or the system refuses it; then all is as before.
    pub fn make_fault(&self, fault: &Fault) -> io::Result<u64> {
        let mut inner = self.faults.inner();
        if inner.active.len() >= MAX_FAULTS {
            return Err(io::Error::other(format!("{MAX_FAULTS} faults are there already: clear some")));
        }
        for node in fault.nodes() {
            self.machine(node)?;
        }
        let touched = self.touched(fault)?;
        inner.last += 1;
        let number = inner.last;
        inner.active.insert(number, fault.clone());
        let made = match fault {
            Fault::Unplug { end } => self.set_links(&[(end.node.clone(), end.interface.clone())], false),
            Fault::Cable { .. } | Fault::Partition { .. } => self.relay_all(&mut inner, &touched),
            Fault::Node { node, deed } => do_to(self.machine(node)?, *deed),
        };
        if let Err(error) = made {
            inner.active.remove(&number);
            let _ = self.relay_all(&mut inner, &touched);
            return Err(io::Error::new(error.kind(), format!("{fault}: {error}")));
        }
        if matches!(fault, Fault::Node { deed: NodeDeed::Restart, .. }) {
            inner.active.remove(&number);
        }
        Ok(number)
    }

    /// Undoes a fault; one that is not there any more is none to undo.
    ///
    /// # Errors
    /// When the system refuses it.
    pub fn undo_fault(&self, number: u64) -> io::Result<()> {
        let mut inner = self.faults.inner();
        let Some(fault) = inner.active.remove(&number) else {
            return Ok(());
        };
        // another of the same kind at the same place still needs it
        if inner.active.values().any(|other| *other == fault) && !matches!(fault, Fault::Cable { .. }) {
            return Ok(());
        }
        let undone = match &fault {
            Fault::Unplug { end } => self.set_links(&[(end.node.clone(), end.interface.clone())], true),
            Fault::Cable { .. } | Fault::Partition { .. } => {
                let touched = self.touched(&fault)?;
                self.relay_all(&mut inner, &touched)
            }
            Fault::Node { node, deed } => undo_to(self.machine(node)?, *deed),
        };
        undone.map_err(|error| io::Error::new(error.kind(), format!("undo {fault}: {error}")))
    }

    /// Undoes all faults at a place, or everywhere.
    ///
    /// # Errors
    /// When the system refuses one; the others are undone all the same.
    pub fn mend(&self, place: Option<&str>) -> io::Result<()> {
        let faults = self.shown_faults().into_iter();
        let mut result = Ok(());
        for shown in faults.filter(|shown| place.is_none_or(|place| shown.fault.place() == place)) {
            let undone = self.undo_fault(shown.number);
            result = result.and(undone);
        }
        result
    }

    /// Everything that is wrong now.
    #[must_use]
    pub fn shown_faults(&self) -> Vec<Shown> {
        let inner = self.faults.inner();
        let frames = |fault: &Fault| {
            let (link, is_first) = find(self, fault.end()?).ok()?;
            let [a, b] = inner.relays.get(&link)?.counts();
            Some(if is_first { [a, b] } else { [b, a] })
        };
        let shown = |(number, fault): (&u64, &Fault)| Shown {
            number: *number,
            fault: fault.clone(),
            frames: matches!(fault, Fault::Cable { .. }).then(|| frames(fault)).flatten(),
        };
        inner.active.iter().map(shown).collect()
    }

    /// Waits until no relay is in a link that needs none: what was sent through them has arrived.
    pub fn settle_faults(&self) {
        let mut inner = self.faults.inner();
        let idle: Vec<usize> = inner.relays.keys().copied().filter(|link| !self.harm(&inner, *link).1).collect();
        for link in idle {
            if let Some(relay) = inner.relays.remove(&link) {
                relay.join();
            }
        }
    }

    /// Links whose frames a fault is about.
    fn touched(&self, fault: &Fault) -> io::Result<Vec<usize>> {
        Ok(match fault {
            Fault::Unplug { end } | Fault::Cable { end, .. } => vec![find(self, end)?.0],
            Fault::Node { .. } => Vec::new(),
            Fault::Partition { nodes } => {
                let links = self.topology().links.iter().enumerate();
                let crosses = |link: &LinkSpec| nodes.contains(&link.a.node) != nodes.contains(&link.b.node);
                links.filter(|(_, link)| crosses(link)).map(|(number, _)| number).collect()
            }
        })
    }

    /// What is done to frames of a link, by what its first end and its second send; and whether anything is.
    fn harm(&self, inner: &Inner, link: usize) -> ([Harm; 2], bool) {
        let mut both = [Harm::default(); 2];
        for fault in inner.active.values() {
            match fault {
                Fault::Cable { end, way, harm } => {
                    let Ok((found, is_first)) = find(self, end) else { continue };
                    let (own, other) = (usize::from(!is_first), usize::from(is_first));
                    if found == link && *way != Way::In {
                        both[own] = both[own].with(harm);
                    }
                    if found == link && *way != Way::Out {
                        both[other] = both[other].with(harm);
                    }
                }
                Fault::Partition { .. } if self.touched(fault).is_ok_and(|touched| touched.contains(&link)) => {
                    for harm in &mut both {
                        harm.deaf = true;
                    }
                }
                Fault::Partition { .. } | Fault::Unplug { .. } | Fault::Node { .. } => {}
            }
        }
        // chance is another in either direction
        both[1].seed = both[1].seed.wrapping_add(1);
        let is_harmed = both.iter().any(Harm::is_any);
        (both, is_harmed)
    }

    /// Sets the relays of some links to what all faults say.
    fn relay_all(&self, inner: &mut Inner, links: &[usize]) -> io::Result<()> {
        for link in links {
            let (harm, is_harmed) = self.harm(inner, *link);
            if !is_harmed {
                if let Some(relay) = inner.relays.get(link) {
                    relay.end();
                }
                continue;
            }
            if inner.relays.get(link).is_some_and(|relay| relay.set(harm)) {
                continue;
            }
            if let Some(leaving) = inner.relays.remove(link) {
                leaving.join();
            }
            let relay = self.splice(inner, *link, harm)?;
            inner.relays.insert(*link, relay);
        }
        inner.relays.retain(|_, relay| !relay.is_gone());
        Ok(())
    }

    /// Puts a relay into a link.
    fn splice(&self, inner: &mut Inner, link: usize, harm: [Harm; 2]) -> io::Result<Relay> {
        let link = self.topology().links.get(link).ok_or_else(|| io::Error::other("there is no such link"))?;
        let limbo = match &mut inner.limbo {
            Some(limbo) => limbo,
            none @ None => none.insert(Limbo::quiet(&self.runtime)?),
        };
        let mut helpers: Vec<(Arc<Machine>, String)> = Vec::new();
        let mut detours = [&link.a, &link.b].into_iter().map(|end| {
            let machine =
                self.machines.get(&end.node).ok_or_else(|| io::Error::other(format!("no node {}", end.node)))?;
            inner.helper += 1;
            detour(machine, end, link.mtu, inner.helper, limbo, &mut helpers)
        });
        let made: io::Result<Vec<Detour>> = detours.by_ref().collect();
        drop(detours);
        let clean = move || {
            for (machine, helper) in helpers {
                let _ = machine.netlink().delete(&helper);
            }
        };
        let made =
            made.and_then(|made| <[Detour; 2]>::try_from(made).map_err(|_| io::Error::other("a link has two ends")));
        match made {
            Ok(made) => Relay::start(made, harm, clean),
            Err(error) => {
                clean();
                Err(error)
            }
        }
    }
}

/// Makes all that leads an interface's frames elsewhere; nothing is led yet.
fn detour(
    machine: &Arc<Machine>,
    end: &Endpoint,
    mtu: u32,
    number: u64,
    limbo: &Limbo,
    helpers: &mut Vec<(Arc<Machine>, String)>,
) -> io::Result<Detour> {
    let index = |name: &str, all: &BTreeMap<String, u32>| {
        let gone = || io::Error::other(format!("there is no interface `{name}` in {}", machine.name()));
        all.get(name).copied().ok_or_else(gone)
    };
    let interface = index(&end.interface, &machine.netlink().indices()?)?;
    let (near, far) = (format!("relay{interface}"), format!("r{number}"));
    let made = |interface: &str, first: u8| {
        let mut mac = end.mac;
        mac[0] = first;
        Endpoint { node: String::new(), interface: interface.to_owned(), mac, addresses: Vec::new() }
    };
    machine.netlink().add_link(&LinkSpec { a: made(&near, 0x0e), b: made(&far, 0x1e), mtu }, limbo.network())?;
    helpers.push((Arc::clone(machine), near.clone()));
    // without IPv6 nothing of the node's own goes into it; a kernel that has none has no such setting
    let silent = machine.in_network(|| init::set_sysctl(&format!("net.ipv6.conf.{near}.disable_ipv6"), "1"));
    silent.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })?;
    let (near_up, far_up) = (machine.netlink().set_up(&near, true), limbo.netlink().set_up(&far, true));
    // the far end first: then the near one has carrier when it comes up, and sends at once; else it drops what it gets until the kernel has
    // looked after its carriers, which it does once a second
    netlink::all(machine.netlink().runtime(), [far_up])?;
    netlink::all(machine.netlink().runtime(), [near_up])?;
    let helper = index(&near, &machine.netlink().indices()?)?;
    let far = index(&far, &limbo.netlink().indices()?)?;
    let from = limbo.within(|| splice::listen(far))?;
    machine.in_network(|| splice::prepare((interface, &end.interface), (helper, &near), from))
}

fn do_to(machine: &Machine, deed: NodeDeed) -> io::Result<()> {
    match deed {
        NodeDeed::Kill => machine.kill_daemons(),
        NodeDeed::Pause => machine.pause_daemons(true),
        NodeDeed::Restart => restart(machine),
        NodeDeed::Clock(seconds) => {
            machine.set_clock(seconds)?;
            restart(machine).inspect_err(|_| drop(machine.set_clock(0).and_then(|()| start(machine))))
        }
    }
}

fn undo_to(machine: &Machine, deed: NodeDeed) -> io::Result<()> {
    match deed {
        NodeDeed::Kill => start(machine),
        NodeDeed::Pause => machine.pause_daemons(false),
        NodeDeed::Restart => Ok(()),
        NodeDeed::Clock(_) => {
            machine.set_clock(0)?;
            restart(machine)
        }
    }
}

fn restart(machine: &Machine) -> io::Result<()> {
    machine.kill_daemons()?;
    start(machine)
}

fn start(machine: &Machine) -> io::Result<()> {
    machine.start_daemons().map_err(|error| io::Error::other(format!("{error:#}")))
}
