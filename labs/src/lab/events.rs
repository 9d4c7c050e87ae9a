//! What happens in a running lab, told as it happens: interfaces that come, change and go, daemons that end and return, verdicts of
//! health checks. The kernel tells of interfaces; daemons are looked at.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::Lab;
use crate::verify::kernel::{self, Change, KernelLink};

/// How often daemons and health checks are looked at, nanoseconds.
const LOOK_NS: i64 = 100_000_000;

/// Something that happened; the keys are containerlab's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When, as RFC 3339 has it.
    pub timestamp: String,
    /// `container` for a node, `interface`, or `lab`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Of a node `start`, `die` or `health_status`; of an interface `create`, `update` or `delete`; of a lab `up` or `down`.
    pub action: String,
    /// The node's first process on the host, or the interface's index.
    pub actor_id: String,
    /// Long name of the node, or name of the lab.
    pub actor_name: String,
    /// More, by name.
    pub attributes: BTreeMap<String, String>,
}

/// What is known of a node.
struct Watched<'a> {
    name: &'a str,
    socket: Option<OwnedFd>,
    links: BTreeMap<String, KernelLink>,
    state: String,
    health: String,
}

impl Event {
    /// Of a lab as a whole, now.
    #[must_use]
    pub fn of_lab(lab: &str, action: &str) -> Self {
        Self::now("lab", action, (String::new(), lab.to_owned()), &[])
    }

    fn now(kind: &str, action: &str, (actor_id, actor_name): (String, String), attributes: &[(&str, &str)]) -> Self {
        Self {
            timestamp: jiff::Timestamp::now().to_string(),
            kind: kind.to_owned(),
            action: action.to_owned(),
            actor_id,
            actor_name,
            attributes: attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        }
    }
}

/// Tells what happens until the asker goes away, or does not take what it is told.
///
/// # Errors
/// When a node cannot be watched, or what `tell` answers.
pub(super) fn watch(lab: &Lab, asker: BorrowedFd<'_>, tell: &dyn Fn(&Event) -> io::Result<()>) -> io::Result<()> {
    let mut all = Vec::new();
    for machine in lab.machines() {
        // one that uses another's network has no interfaces of its own
        let has_own = lab.topology().nodes.get(machine.name()).is_some_and(|spec| spec.network.is_none());
        let socket = has_own.then(|| machine.in_network(kernel::listen)).transpose()?;
        // listened first: what happens between the two is told, maybe without need
        let links = machine.netlink().links()?;
        let (state, health) = (machine.state().to_owned(), health(lab, machine.name()));
        all.push(Watched { name: machine.name(), socket, links, state, health });
    }
    let pause = Timespec { tv_sec: 0, tv_nsec: LOOK_NS };
    loop {
        let sockets = all.iter().map(|one| one.socket.as_ref());
        let mut polled = vec![PollFd::from_borrowed_fd(asker, PollFlags::IN)];
        polled.extend(sockets.flatten().map(|socket| PollFd::new(socket, PollFlags::IN)));
        poll(&mut polled, Some(&pause))?;
        if !polled[0].revents().is_empty() {
            return Ok(());
        }
        let ready: Vec<bool> = polled[1..].iter().map(|one| !one.revents().is_empty()).collect();
        let mut ready = ready.into_iter();
        for one in &mut all {
            let is_ready = one.socket.is_some() && ready.next() == Some(true);
            if is_ready {
                one.interfaces(lab, tell)?;
            }
            one.daemons(lab, tell)?;
        }
    }
}

fn health(lab: &Lab, node: &str) -> String {
    lab.health(node).map_or_else(String::new, |verdict| verdict.name().to_owned())
}

impl Watched<'_> {
    /// Tells of the interfaces that the kernel spoke of.
    fn interfaces(&mut self, lab: &Lab, tell: &dyn Fn(&Event) -> io::Result<()>) -> io::Result<()> {
        let Some(socket) = &self.socket else { return Ok(()) };
        let changes = match kernel::changes(socket) {
            // more happened than the socket holds: what is different now
            Err(error) if Errno::from_io_error(&error) == Some(Errno::NOBUFS) => self.difference(lab)?,
            other => other?,
        };
        for Change { gone, name, link } in changes {
            let before = if gone { self.links.remove(&name) } else { self.links.insert(name.clone(), link.clone()) };
            let same = before.as_ref().is_some_and(|before| shown(before) == shown(&link));
            let action = match (gone, before) {
                (true, _) => "delete",
                (false, None) => "create",
                (false, Some(_)) if same => continue, // its counters alone
                (false, Some(_)) => "update",
            };
            let (mtu, long) = (link.mtu.to_string(), lab.topology().long_name(self.name));
            let attributes = [
                ("ifname", name.as_str()),
                ("state", &link.state),
                ("mtu", &mtu),
                ("mac", &link.mac),
                ("type", &link.kind),
            ];
            tell(&Event::now(
                "interface",
                action,
                (link.index.to_string(), long),
                &[&attributes[..], &self.place(lab)].concat(),
            ))?;
        }
        Ok(())
    }

    /// The interfaces that are not as they were known.
    fn difference(&self, lab: &Lab) -> io::Result<Vec<Change>> {
        let now = lab.machine(self.name)?.netlink().links()?;
        let gone = self.links.iter().filter(|(name, _)| !now.contains_key(*name));
        let gone = gone.map(|(name, link)| Change { gone: true, name: name.clone(), link: link.clone() });
        let gone: Vec<Change> = gone.collect();
        Ok(gone.into_iter().chain(now.into_iter().map(|(name, link)| Change { gone: false, name, link })).collect())
    }

    /// Tells of its daemons and its health check, when they are not as they were.
    fn daemons(&mut self, lab: &Lab, tell: &dyn Fn(&Event) -> io::Result<()>) -> io::Result<()> {
        let machine = lab.machine(self.name)?;
        let actor = || (machine.process().pid.to_string(), lab.topology().long_name(self.name));
        let runs = machine.personality().name();
        let state = machine.state();
        if state != self.state {
            let action = if state == "running" { "start" } else { "die" };
            let attributes = [("state", state), ("runs", runs)];
            tell(&Event::now("container", action, actor(), &[&attributes[..], &self.place(lab)].concat()))?;
            state.clone_into(&mut self.state);
        }
        let health = health(lab, self.name);
        if health != self.health {
            let attributes = [("health", health.as_str()), ("runs", runs)];
            tell(&Event::now("container", "health_status", actor(), &[&attributes[..], &self.place(lab)].concat()))?;
            self.health = health;
        }
        Ok(())
    }

    /// Where it is.
    fn place<'a>(&'a self, lab: &'a Lab) -> [(&'a str, &'a str); 2] {
        [("lab", &lab.topology().name), ("node", self.name)]
    }
}

/// What of an interface is worth telling.
fn shown(link: &KernelLink) -> (u32, &str, u32, &str, &str) {
    (link.index, &link.mac, link.mtu, &link.state, &link.alias)
}
