//! A kernel that refuses, delays and lies, and sockets that hold next to nothing: nobody dies of it, nothing is wrong for good, and
//! nothing of others is touched.

use super::bed::{Bed, FOREIGN, METRIC, PROTOCOL, config, via};
use super::inject::{self, Switch};
use rustix::thread::UnshareFlags;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;
use tokio::sync::mpsc;
use weft_bgp::speaker::{ForeignRoute, Want};
use weft_bgp::types::IpNet;
use weft_fabric::config::{KernelRule, Terms};
use weft_fabric::io::netlink::{self, Event, Handle, Kernel};
use weft_fabric::node::Imported;

/// The filter, or a word for who reads why there is none.
fn begin(thread: &'static str, seed: u64) -> Option<Switch> {
    match inject::begin(thread, seed) {
        Ok(switch) => Some(switch),
        Err(error) => {
            println!("*** SKIPPED: faults of netlink sockets: {error}");
            None
        }
    }
}

/// In a thread and a namespace of its own.
fn apart(body: impl FnOnce() + Send + 'static) {
    let run = || {
        super::unshare(UnshareFlags::NEWNET).unwrap();
        body();
    };
    std::thread::spawn(run).join().unwrap();
}

fn prefix(at: u32) -> IpNet {
    format!("10.64.{}.{}/32", at / 250, at % 250).parse().unwrap()
}

/// Routes, addresses and links change while every third call fails or is late; then the kernel is well again.
pub(super) fn a_kernel_that_refuses_delays_and_lies_ends_as_it_should() {
    for seed in 1..=3 {
        apart(move || suffer(seed));
    }
}

fn suffer(seed: u64) {
    let mut bed = Bed::new();
    let a = bed.veth("a", "10.1.0.1/24", "2001:db8:1::1/64");
    let b = bed.veth("b", "10.2.0.1/24", "2001:db8:2::1/64");
    let theirs: IpNet = "10.99.0.0/16".parse().unwrap();
    bed.foreign_route(theirs, METRIC, true);
    let Some(switch) = begin("netlink", seed) else { return };
    let (kernel, mut events) = bed.start(&config());
    let vip: IpNet = "10.71.0.6/32".parse().unwrap();
    kernel.add_address(vip);
    // As the daemon does once it has converged: until then, what it finds and does not know of is kept as left over from an earlier run.
    kernel.sweep();
    for round in 0..20 {
        let both = via(&[(a, "10.1.0.2"), (b, "10.2.0.2")]);
        let changes = (0..40).map(|at| bed.change(&prefix(round * 40 + at).to_string(), both.clone())).collect();
        kernel.install(changes);
        // Seldom enough not to count as a link that flaps.
        if [5, 6, 12, 13].contains(&round) {
            bed.set_link("ap", round % 5 == 1 || round == 13);
        }
        // Whoever asks is answered all the same.
        bed.wait(kernel.report());
    }
    let changes = (0..400).map(|at| bed.change(&prefix(at).to_string(), Want::Nothing)).collect();
    kernel.install(changes);
    bed.until("faults were felt", || {
        switch.injected() > 50 || {
            bed.wait(kernel.report());
            false
        }
    });
    switch.off();
    let wanted: BTreeSet<IpNet> = (400..800).map(prefix).collect();
    let is_right = || {
        let routes = bed.routes();
        let ours = routes.iter().filter(|route| route.protocol == PROTOCOL);
        let whole = |nhid: Option<u32>| nhid.is_some_and(|id| bed.links_of(id) == [a, b]);
        ours.clone().map(|route| route.prefix).collect::<BTreeSet<_>>() == wanted
            && ours.clone().all(|route| whole(route.nhid))
    };
    bed.patiently("the kernel holds what is wanted", is_right);
    bed.patiently("the address is there", || bed.has_address(vip));
    assert!(bed.routes().iter().any(|route| route.prefix == theirs && route.protocol == FOREIGN), "somebody else's");
    // Links are still heard of.
    bed.set_link("bp", false);
    loop {
        if let Some(Event::Links(links)) = bed.wait(events.recv())
            && links.iter().all(|link| link.carrier == (link.index != b) || ![a, b].contains(&link.index))
        {
            break;
        }
    }
    println!("     seed {seed}: {} calls failed or were late", switch.injected());
}

fn rule() -> KernelRule {
    KernelRule { table: 254, protocol: FOREIGN, terms: Terms::default() }
}

/// What the daemon would know of other software's routes.
struct Known {
    imported: mpsc::Receiver<Imported>,
    foreign: mpsc::Receiver<Vec<ForeignRoute>>,
    announced: BTreeMap<IpNet, usize>,
    reached: BTreeSet<IpNet>,
}

impl Known {
    fn hear(&mut self) {
        while let Ok(imported) = self.imported.try_recv() {
            if imported.all {
                self.announced.clear();
            }
            for (prefix, rule) in imported.changes {
                match rule {
                    Some(rule) => drop(self.announced.insert(prefix, rule)),
                    None => drop(self.announced.remove(&prefix)),
                }
            }
        }
        while let Ok(routes) = self.foreign.try_recv() {
            self.reached = routes.into_iter().map(|route| route.prefix).collect();
        }
    }

    fn is(&mut self, wanted: &BTreeSet<IpNet>) -> bool {
        self.hear();
        self.announced.keys().copied().collect::<BTreeSet<_>>() == *wanted && self.reached == *wanted
    }
}

fn listeners() -> (Handle, Handle, Known) {
    let (imports, imported) = mpsc::channel(2);
    let (pictures, foreign) = mpsc::channel(2);
    let known = Known { imported, foreign, announced: BTreeMap::new(), reached: BTreeSet::new() };
    let import = Kernel::new().unwrap().0.import(vec![rule()], (254, PROTOCOL), 3, imports).unwrap();
    (import, netlink::foreign(254, PROTOCOL, pictures).unwrap(), known)
}

/// Adds and deletes so that every second prefix is left.
fn churn(bed: &Bed, count: u32) -> BTreeSet<IpNet> {
    for at in 0..count {
        bed.foreign_route(prefix(at), METRIC, true);
    }
    for at in (0..count).step_by(2) {
        bed.foreign_route(prefix(at), METRIC, false);
    }
    (0..count).filter(|at| at % 2 == 1).map(prefix).collect()
}

pub(super) fn routes_of_other_software_are_known_though_sockets_fail() {
    for (seed, thread) in [(1, "netlink-import"), (2, "netlink-foreign"), (3, "netlink-import")] {
        apart(move || deaf(seed, thread));
    }
}

fn deaf(seed: u64, thread: &'static str) {
    let bed = Bed::new();
    let Some(switch) = begin(thread, seed) else { return };
    let (_import, _foreign, mut known) = listeners();
    let left = churn(&bed, 600);
    let known = std::cell::RefCell::new(&mut known);
    bed.patiently("all is known, faults or not", || known.borrow_mut().is(&left));
    bed.until("faults were felt", || {
        bed.foreign_route(prefix(700), METRIC, true);
        bed.foreign_route(prefix(700), METRIC, false);
        switch.injected() > 5
    });
    switch.off();
    bed.patiently("all is known", || known.borrow_mut().is(&left));
}

/// The sockets that were opened by `open`, as others of the same process see them.
fn sockets_of<T>(open: impl FnOnce() -> T) -> io::Result<(T, Vec<OwnedFd>)> {
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
    let all = || -> io::Result<BTreeSet<i32>> {
        let entries = std::fs::read_dir("/proc/self/fd")?.flatten();
        let is_socket = |entry: &std::fs::DirEntry| {
            std::fs::read_link(entry.path()).is_ok_and(|to| to.to_string_lossy().starts_with("socket:"))
        };
        Ok(entries.filter(is_socket).filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
    };
    let before = all()?;
    let opened = open();
    let pidfd = pidfd_open(getpid(), PidfdFlags::empty())?;
    let fresh = all()?.into_iter().filter(|fd| !before.contains(fd));
    let fds = fresh.map(|fd| pidfd_getfd(&pidfd, fd, PidfdGetfdFlags::empty()));
    Ok((opened, fds.collect::<Result<_, _>>()?))
}

pub(super) fn sockets_that_hold_next_to_nothing_cost_dumps_and_no_truth() {
    let bed = Bed::new();
    let ((_import, _foreign, mut known), sockets) = match sockets_of(listeners) {
        Ok(opened) => opened,
        Err(error) => {
            println!("*** SKIPPED: small receive buffers: {error}");
            return;
        }
    };
    assert_eq!(sockets.len(), 4, "one that listens and one that asks, twice");
    for socket in &sockets {
        // As little as the kernel lets anybody have: 2,304 octets, which is one notification with its overhead, or two.
        rustix::net::sockopt::set_socket_recv_buffer_size(socket, 1).unwrap();
    }
    let left = churn(&bed, 2_000);
    let known = std::cell::RefCell::new(&mut known);
    bed.patiently("all is known", || known.borrow_mut().is(&left));
    let ours = bed.routes().iter().filter(|route| route.protocol == FOREIGN).count();
    assert_eq!(ours, left.len(), "nothing is changed");
}

/// While IPv6 is off the kernel refuses the address; nothing tells when that is over.
pub(super) fn an_address_that_is_refused_is_tried_again() {
    const OFF: &str = "/proc/sys/net/ipv6/conf/lo/disable_ipv6";
    let bed = Bed::new();
    std::fs::write(OFF, "1").unwrap();
    let (kernel, _events) = bed.start(&config());
    let (refused, taken): (IpNet, IpNet) = ("fd00:71::6/128".parse().unwrap(), "10.71.0.6/32".parse().unwrap());
    kernel.add_address(refused);
    kernel.add_address(taken);
    bed.until("the other one is there", || bed.has_address(taken));
    assert!(!bed.has_address(refused));
    std::fs::write(OFF, "0").unwrap();
    let took = bed.until("it is there", || bed.has_address(refused));
    assert!(took < Duration::from_secs(5), "{took:?}");
    kernel.remove_address(refused);
    bed.until("it is gone", || !bed.has_address(refused));
}
