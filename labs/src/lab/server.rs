//! Answers other terminals: a thread per connection, in the runner.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use serde::Serialize;

use super::capture::{Capture, Captured, Limits};
use super::control::{Answer, InspectedNode, Inspection, Interface, Request, receive};
use super::progress::Progress;
use super::{Lab, events, namespace};
use crate::fault::Fault;
use crate::probe::{End, Flows};
use crate::verify::kernel::KernelLink;
use crate::verify::{Plant as _, udp};

/// Connections served at once; more are told so. Each is a person's terminal or a script's command.
const MAX_CLIENTS: usize = 64;
/// Most flows of one question: each is a thousand packets a second in both directions.
const MAX_FLOWS: usize = 64;

/// Listens until the process ends. `stop` is called when somebody asks for the end.
///
/// # Errors
/// When the socket cannot be made.
#[expect(clippy::disallowed_methods, reason = "the server is a thread of the runner")]
pub fn serve(lab: Arc<Lab>, socket: &std::path::Path, stop: impl Fn() + Send + Sync + 'static) -> io::Result<()> {
    let listener = UnixListener::bind(socket)?;
    let stop = Arc::new(stop);
    let clients = Arc::new(AtomicUsize::new(0));
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            if clients.fetch_add(1, Ordering::Relaxed) >= MAX_CLIENTS {
                clients.fetch_sub(1, Ordering::Relaxed);
                let _ = reply(&connection, &Answer::Refused(format!("{MAX_CLIENTS} others are being served")));
                continue;
            }
            let (lab, stop, clients) = (Arc::clone(&lab), Arc::clone(&stop), Arc::clone(&clients));
            thread::spawn(move || {
                // an asker that went away is no fault
                let _ = handle(&lab, &connection, &*stop);
                clients.fetch_sub(1, Ordering::Relaxed);
            });
        }
    });
    Ok(())
}

fn reply(mut connection: &UnixStream, answer: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer).map_err(io::Error::other)?;
    line.push(b'\n');
    connection.write_all(&line)
}

fn handle(lab: &Arc<Lab>, connection: &UnixStream, stop: &dyn Fn()) -> io::Result<()> {
    let (request, streams) = receive(connection)?;
    let done = |result: io::Result<()>| match result {
        Ok(()) => Answer::Done,
        Err(error) => Answer::Refused(error.to_string()),
    };
    let answer = match request {
        Request::Inspect => Answer::Lab(inspect(lab)),
        Request::Interfaces { node } => {
            interfaces(lab, &node).map_or_else(|error| Answer::Refused(error.to_string()), Answer::Interfaces)
        }
        Request::Events => {
            reply(connection, &Answer::Done)?;
            return events::watch(lab, connection.as_fd(), &|event| reply(connection, event));
        }
        Request::Link { node, interface, up } => done(lab.set_links(&[(node, interface)], up)),
        Request::Kill { node } => done(lab.kill_daemon(&node)),
        Request::Start { node } => done(lab.start_daemon(&node)),
        Request::Faults => Answer::Faults(lab.shown_faults()),
        Request::Mend { place } => done(lab.mend(place.as_deref())),
        Request::Fault { fault, lasts_ms } => done(fault_for(lab, &fault, lasts_ms)),
        Request::Down => {
            reply(connection, &Answer::Done)?;
            stop();
            return Ok(());
        }
        Request::Flow { from, to, flows } => match flow(lab, (&from, &to), flows, connection) {
            Ok(losses) => Answer::Losses(losses),
            Err(error) => Answer::Refused(error.to_string()),
        },
        Request::Capture { node, interface, limits } => {
            match capture(lab, (&node, &interface), limits, (streams, connection)) {
                Ok(captured) => Answer::Captured(captured),
                Err(error) => Answer::Refused(error.to_string()),
            }
        }
        Request::Exec { node, command, terminal, kind } => {
            match exec(lab, &node, &command, (terminal, kind), streams) {
                Ok(child) => Answer::Exit(attend(child, connection)?),
                Err(error) => Answer::Refused(error.to_string()),
            }
        }
    };
    reply(connection, &answer)
}

/// Makes a fault, and undoes it when its time is over.
#[expect(clippy::disallowed_methods, reason = "a thread of the runner waits for the end of a fault")]
fn fault_for(lab: &Arc<Lab>, fault: &Fault, lasts_ms: Option<u64>) -> io::Result<()> {
    let number = lab.make_fault(fault)?;
    if let Some(lasts) = lasts_ms.map(Duration::from_millis) {
        // it ends with the lab, which it does not keep
        let lab = Arc::downgrade(lab);
        thread::Builder::new().name("fault".to_owned()).spawn(move || {
            thread::sleep(lasts);
            if let Some(Err(error)) = lab.upgrade().map(|lab| lab.undo_fault(number)) {
                Progress::new().say(&error.to_string());
            }
        })?;
    }
    Ok(())
}

/// Answers `Done` when packets flow, and what was lost when the asker has said that it is enough.
fn flow(
    lab: &Lab,
    (from, to): (&str, &str),
    flows: usize,
    connection: &UnixStream,
) -> io::Result<Vec<crate::probe::Loss>> {
    if flows == 0 || flows > MAX_FLOWS {
        return Err(io::Error::other(format!("{flows} flows: between 1 and {MAX_FLOWS} are possible")));
    }
    let open = |node: &str, address: SocketAddr| udp(lab, node, address);
    let end = |node: &str| -> io::Result<End> {
        let address = addresses(lab.machine(node)?)?.into_iter().find(IpAddr::is_ipv4);
        let address = address.ok_or_else(|| io::Error::other(format!("{node} has no address of its own on lo")))?;
        Ok(End { node: node.to_owned(), address })
    };
    let flows = Flows::start(&open, &end(from)?, &end(to)?, flows)?;
    reply(connection, &Answer::Done)?;
    poll(&mut [PollFd::new(connection, PollFlags::IN)], None)?;
    Ok(flows.stop())
}

fn capture(
    lab: &Lab,
    (node, interface): (&str, &str),
    limits: Limits,
    (streams, connection): (Vec<OwnedFd>, &UnixStream),
) -> io::Result<Captured> {
    let Ok([file]) = <[OwnedFd; 1]>::try_from(streams) else {
        return Err(io::Error::other("a capture needs a stream to write to"));
    };
    Capture::begin(lab, node, interface)?.write(file, limits, connection)
}

fn exec(
    lab: &Lab,
    node: &str,
    words: &[String],
    (terminal, kind): (bool, Option<String>),
    streams: Vec<OwnedFd>,
) -> io::Result<Child> {
    let machine = lab.machine(node)?;
    let Ok([input, output, errors]) = <[OwnedFd; 3]>::try_from(streams) else {
        return Err(io::Error::other("a command needs three streams"));
    };
    let mut command = machine.command(words);
    command.stdin(Stdio::from(input)).stdout(Stdio::from(output)).stderr(Stdio::from(errors));
    if let Some(kind) = kind {
        command.env("TERM", kind);
    }
    if terminal {
        namespace::own_terminal(&mut command);
    } else {
        command.process_group(0);
    }
    let program = words.first().map_or("", String::as_str);
    machine.spawn(&mut command).map_err(|error| io::Error::new(error.kind(), format!("{node}: {program}: {error}")))
}

/// Waits for a command to end; kills it when its asker goes away first.
fn attend(mut child: Child, connection: &UnixStream) -> io::Result<i32> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or_else(|| io::Error::other("no process"))?;
    let handle = pidfd_open(pid, PidfdFlags::empty())?;
    loop {
        let mut watched = [
            PollFd::from_borrowed_fd(handle.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(connection.as_fd(), PollFlags::IN),
        ];
        poll(&mut watched, None)?;
        let [process, asker] = watched.map(|watched| !watched.revents().is_empty());
        if !process && asker {
            let _ = kill_process_group(pid, Signal::KILL);
        }
        if process || asker {
            let status = child.wait()?;
            return Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)));
        }
    }
}

fn inspect(lab: &Lab) -> Inspection {
    let topology = lab.topology();
    let nodes = lab.machines().filter_map(|machine| {
        let spec = topology.nodes.get(machine.name())?;
        let addresses = addresses(machine).unwrap_or_default();
        Some(InspectedNode {
            name: spec.name.clone(),
            long_name: topology.long_name(&spec.name),
            kind: spec.kind.clone(),
            image: spec.image.clone(),
            group: spec.group.clone(),
            personality: machine.personality().name().to_owned(),
            state: machine.state().to_owned(),
            health: lab.health(machine.name()).map(|verdict| verdict.name().to_owned()),
            pid: machine.process().pid,
            ipv4: addresses.iter().find(|address| address.is_ipv4()).map(|address| format!("{address}/32")),
            ipv6: addresses.iter().find(|address| address.is_ipv6()).map(|address| format!("{address}/128")),
        })
    });
    Inspection { name: topology.name.clone(), path: topology.path.display().to_string(), nodes: nodes.collect() }
}

fn interfaces(lab: &Lab, node: &str) -> io::Result<Vec<Interface>> {
    let netlink = lab.machine(node)?.netlink();
    let mut addresses: BTreeMap<u32, Vec<IpAddr>> = BTreeMap::new();
    for (link, address) in netlink.addresses()? {
        addresses.entry(link).or_default().push(address);
    }
    let interface = |(name, link): (String, KernelLink)| {
        let addresses = addresses.remove(&link.index).unwrap_or_default();
        Interface { name, link, addresses }
    };
    Ok(netlink.links()?.into_iter().map(interface).collect())
}

/// A node's own addresses: those of lo that others can reach.
fn addresses(machine: &super::machine::Machine) -> io::Result<Vec<IpAddr>> {
    let netlink = machine.netlink();
    let loopback = netlink.indices()?.get("lo").copied();
    let all = netlink.addresses()?.into_iter();
    Ok(all.filter(|(link, address)| Some(*link) == loopback && !address.is_loopback()).map(|(_, a)| a).collect())
}
