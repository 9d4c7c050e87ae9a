//! Kernel routes: 100,000 /32 by way of one group, through the whole of the daemon's kernel side, in a network namespace of its own.
//! `cargo bench -p weft-benches --bench fib [-- ROUTES]`; needs root, or user namespaces. Before that, what the kernel alone takes for
//! the same messages, ready made. CPU time is of the whole process; what the kernel does for it elsewhere (RCU) is in nobody's.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a measurement that fails has nothing to say"
)]

#[path = "fib/floor.rs"]
mod floor;

use rtnetlink::{LinkUnspec, LinkVeth};
use rustix::thread::UnshareFlags;
use rustix::time::{ClockId, clock_gettime};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::Receiver;
use weft_bgp::speaker::{FibChange, Want};
use weft_bgp::types::{Hop, IfIndex, IpNet, Ipv4Net};
use weft_fabric::config::{FibConfig, NexthopCompat};
use weft_fabric::io::clock::Clock;
use weft_fabric::io::netlink::{Event, Kernel};

/// As the daemon does it.
const BATCH: usize = 4_096;
const UNACKNOWLEDGED: usize = 2;

fn main() {
    let number = std::env::args().skip(1).find_map(|argument| argument.parse().ok());
    let number: u32 = number.unwrap_or(100_000);
    if let Err(error) = enter() {
        println!("*** SKIPPED: no network namespace: {error}");
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(measure(number));
}

/// Into a namespace of our own; must precede the first thread.
fn enter() -> std::io::Result<()> {
    let (uid, gid) = (rustix::process::getuid(), rustix::process::getgid());
    if !uid.is_root() {
        unshare(UnshareFlags::NEWUSER)?;
        std::fs::write("/proc/self/setgroups", "deny")?;
        std::fs::write("/proc/self/uid_map", format!("0 {} 1", uid.as_raw()))?;
        std::fs::write("/proc/self/gid_map", format!("0 {} 1", gid.as_raw()))?;
    }
    unshare(UnshareFlags::NEWNET)
}

fn unshare(flags: UnshareFlags) -> std::io::Result<()> {
    #[expect(unsafe_code, reason = "the call has no safe form")]
    // SAFETY: neither flag touches file descriptors or memory, and there is one thread.
    let outcome = unsafe { rustix::thread::unshare_unsafe(flags) };
    Ok(outcome?)
}

async fn measure(number: u32) {
    let links = veths().await;
    floor::measure(number, &links);
    let config = FibConfig {
        install: true,
        table: 254,
        metric: 77,
        protocol: 193,
        nexthop_base: 0xF000_0000,
        nexthop_count: 0x0100_0000,
        prefer_source_v4: None,
        prefer_source_v6: None,
        keep_on_exit: true,
        unreachable: Vec::new(),
        resilient: Vec::new(),
        nexthop_compat: NexthopCompat::Keep,
        link_damping: true,
        receive_buffer_bytes: 16 << 20,
    };
    let group = set(&links);
    let single = set(&links[..1]);
    let (kernel, events) = Kernel::start(&config).unwrap();
    let mut bench = Bench { kernel, events, seq: 0, number };
    bench.run("add, group of 2", &group).await;
    bench.run("the same again", &group).await;
    bench.run("replace by one neighbour", &single).await;
    bench.run("delete", &Want::Nothing).await;
    bench.run("add, one neighbour", &single).await;
    bench.kernel.finish(true).await;
    let meter = Meter::start();
    let (kernel, events) = Kernel::start(&config).unwrap();
    meter.stop("start, leftovers dumped", number);
    let mut bench = Bench { kernel, events, seq: 0, number };
    bench.run("adopt", &single).await;
    let meter = Meter::start();
    bench.kernel.finish(false).await;
    meter.stop("finish, everything removed", number);
}

/// Time on the clock, and on the processors.
struct Meter {
    clock: Clock,
    cpu: f64,
}

impl Meter {
    fn start() -> Self {
        Self { clock: Clock::start(), cpu: cpu() }
    }

    fn stop(self, what: &str, number: u32) {
        let wall = self.clock.now().since(Default::default()).as_secs_f64();
        let cpu = cpu() - self.cpu;
        let each = |seconds: f64| seconds * 1e6 / f64::from(number);
        println!("{what:<28} {:>6.2} µs per route, {:>5.2} of CPU", each(wall), each(cpu));
    }
}

/// Seconds that this process has had so far: its own, and the kernel's for it.
fn cpu() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap().as_secs_f64()
}

struct Bench {
    kernel: Kernel,
    events: Receiver<Event>,
    seq: u64,
    number: u32,
}

impl Bench {
    async fn run(&mut self, what: &str, want: &Want) {
        let first = u32::from(Ipv4Addr::new(100, 0, 0, 0));
        let prefixes = (first..first + self.number).map(|addr| IpNet::V4(Ipv4Net::from(Ipv4Addr::from(addr))));
        let changes: Vec<_> = prefixes
            .map(|prefix| {
                self.seq += 1;
                FibChange { prefix, want: want.clone(), seq: self.seq }
            })
            .collect();
        let meter = Meter::start();
        let mut batches = changes.chunks(BATCH).map(<[FibChange]>::to_vec).peekable();
        let mut open = std::collections::VecDeque::new();
        let mut acked = 0;
        while acked < self.seq {
            while open.len() < UNACKNOWLEDGED
                && let Some(batch) = batches.next()
            {
                open.push_back(batch.last().unwrap().seq);
                self.kernel.install(batch);
            }
            match tokio::time::timeout(Duration::from_secs(60), self.events.recv()).await.unwrap() {
                Some(Event::Acked { seq, failed }) => {
                    assert_eq!(failed, [], "{what}");
                    acked = seq;
                    open.retain(|last| *last > acked);
                }
                Some(Event::Links(_) | Event::LinkDown(_) | Event::Reachable(_)) => {}
                None => panic!("the thread ended"),
            }
        }
        meter.stop(what, self.number);
    }
}

fn set(links: &[IfIndex]) -> Want {
    let hop = |link: &IfIndex| Hop { link: *link, gateway: IpAddr::V6("fe80::2".parse().unwrap()), weight: 1 };
    Want::Hops(Arc::from(links.iter().map(hop).collect::<Vec<_>>()))
}

async fn veths() -> Vec<IfIndex> {
    let (connection, handle, _) = rtnetlink::new_connection().unwrap();
    let work = async {
        let mut links = Vec::new();
        for name in ["a", "b"] {
            let peer = format!("{name}p");
            handle.link().add(LinkVeth::new(name, &peer).build()).execute().await.unwrap();
            for name in [name, &peer] {
                let text = std::fs::read_to_string(format!("/proc/thread-self/net/dev_snmp6/{name}")).unwrap();
                let index = text.split_whitespace().nth(1).unwrap().parse().unwrap();
                let up = LinkUnspec::new_with_index(index).up().build();
                handle.link().set(up).execute().await.unwrap();
                links.push(IfIndex(index));
            }
        }
        vec![links[0], links[2]]
    };
    tokio::select! { links = work => links, () = connection => panic!("the connection ended") }
}
