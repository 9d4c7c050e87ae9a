//! What faults do to real packets: three plain nodes in a row, sockets in them, and a measurement for each kind of fault.
//!
//! The lab runs in this process, which needs root (a test has threads, and those cannot enter a user namespace); others are told. Figures
//! are those of the fault's seed, or bounds that a busy machine does not move.
#![expect(clippy::unwrap_used, reason = "a lab that cannot be asked has failed the test")]
#![expect(clippy::print_stdout, reason = "a skip, and what was measured, are said aloud")]
#![expect(clippy::disallowed_types, clippy::disallowed_methods, reason = "measures real packets on real time")]

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use weft_fabric::io::files::lab_root;
use weft_labs::fault::{Fault, Words};
use weft_labs::lab::home::Home;
use weft_labs::lab::progress::Progress;
use weft_labs::lab::{Lab, Options};
use weft_labs::probe::{End, Flows, Loss};
use weft_labs::topology::Topology;
use weft_labs::verify::Plant;

/// Packets of a measurement, and the time between two.
const PACKETS: u64 = 2_000;
const PERIOD: Duration = Duration::from_micros(500);
/// How often a relay comes and goes under load.
const SPLICES: u64 = 6;
/// After the last, how long stragglers have.
const DRAIN: Duration = Duration::from_millis(400);

/// `a – b – c`, with addresses and routes; taken down whatever happens.
struct Row {
    lab: Lab,
}

impl Row {
    /// `None` when this is not root's process.
    fn new(test: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            println!("SKIPPED: needs root: a lab in a process with threads");
            return None;
        }
        let name = format!("f{}-{test}", std::process::id());
        let text = format!(
            "name: {name}\ntopology:\n  defaults: {{kind: linux, image: alpine}}\n  nodes:\n    a: {{cmd: 'sleep 3600'}}\n    b:\n    c:\n  \
             links:\n    - {{endpoints: ['a:eth0', 'b:eth0'], ipv4: [10.9.0.1/24, 10.9.0.2/24]}}\n    \
             - {{endpoints: ['b:eth1', 'c:eth0'], ipv4: [10.9.1.2/24, 10.9.1.3/24]}}\n"
        );
        let topology = Topology::parse(&text, Path::new("/faults.clab.yml"), &|_| None).unwrap();
        let home = Arc::new(Home::claim(&lab_root(), &name).unwrap());
        let options = Options {
            overrides: BTreeMap::new(),
            weft: None,
            netboot: None,
            program: env!("CARGO_BIN_EXE_weft-lab").into(),
            ordinary: false,
        };
        let row = Self { lab: Lab::start(topology, home, &options, &Progress::new()).unwrap() };
        row.introduce();
        assert_eq!([false, true].map(|back| row.measure(back, 100, 20, PERIOD).len()), [20, 20]);
        Some(row)
    }

    /// a and b know each other's hardware addresses: else what is lost may be a question for them.
    fn introduce(&self) {
        for (node, other, address) in [("a", "b", "10.9.0.2"), ("b", "a", "10.9.0.1")] {
            let mac = self.text(other, "cat /sys/class/net/eth0/address");
            let said =
                self.text(node, &format!("ip neighbor replace {address} lladdr {} dev eth0 nud permanent", mac.trim()));
            assert_eq!(said, "");
        }
    }

    fn socket(&self, node: &str, address: &str) -> UdpSocket {
        let address: SocketAddr = address.parse().unwrap();
        let open = Box::new(move || UdpSocket::bind(address).map(OwnedFd::from));
        UdpSocket::from(self.lab.open(node, open).unwrap())
    }

    /// Makes a fault at a's end of the link to b.
    fn cable(&self, words: &Words) -> u64 {
        self.lab.make_fault(&words.at_link("a:eth0".parse().unwrap()).unwrap()).unwrap()
    }

    fn undo(&self, number: u64) {
        self.lab.undo_fault(number).unwrap();
        self.lab.settle_faults();
    }

    /// Sends from a to b, or back; each packet that arrived, in its order, with the time that it took.
    fn measure(&self, back: bool, bytes: usize, packets: u64, period: Duration) -> Vec<(u64, Duration)> {
        let (a, b) = (self.socket("a", "10.9.0.1:0"), self.socket("b", "10.9.0.2:0"));
        let (from, to) = if back { (b, a) } else { (a, b) };
        let _ = rustix::net::sockopt::set_socket_recv_buffer_size_force(&to, 16 * 1024 * 1024);
        let target = to.local_addr().unwrap();
        let begin = Instant::now();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let receiver = scope.spawn(|| {
                to.set_read_timeout(Some(DRAIN)).unwrap();
                let (mut arrived, mut buffer) = (Vec::new(), vec![0; 2_000]);
                loop {
                    match to.recv(&mut buffer) {
                        Ok(_) => {
                            let number = u64::from_be_bytes(buffer[..8].try_into().unwrap());
                            let sent = Duration::from_nanos(u64::from_be_bytes(buffer[8..16].try_into().unwrap()));
                            arrived.push((number, begin.elapsed().saturating_sub(sent)));
                        }
                        Err(_) if done.load(Ordering::Relaxed) => return arrived,
                        Err(_) => {}
                    }
                }
            });
            let mut frame = vec![0; bytes];
            for number in 0..packets {
                let due = period * u32::try_from(number).unwrap();
                std::thread::sleep(due.saturating_sub(begin.elapsed()));
                frame[..8].copy_from_slice(&number.to_be_bytes());
                let now = u64::try_from(begin.elapsed().as_nanos()).unwrap();
                frame[8..16].copy_from_slice(&now.to_be_bytes());
                from.send_to(&frame, target).unwrap();
            }
            done.store(true, Ordering::Relaxed);
            receiver.join().unwrap()
        })
    }

    fn quick(&self, back: bool) -> Vec<(u64, Duration)> {
        self.measure(back, 100, PACKETS, PERIOD)
    }

    /// Interfaces with index, address and state, and the filters, of every node.
    fn picture(&self) -> String {
        let look = "ip -o -4 address show; ip -o link show | cut -d' ' -f1,2,4,5,20-; tc qdisc show";
        let words = ["sh", "-c", look].map(str::to_owned);
        ["a", "b", "c"].map(|node| self.lab.run(node, &words).unwrap().1).join("--\n")
    }

    fn text(&self, node: &str, line: &str) -> String {
        self.lab.run(node, &["sh", "-c", line].map(str::to_owned)).unwrap().1
    }
}

impl Drop for Row {
    fn drop(&mut self) {
        self.lab.down(&Progress::new());
    }
}

fn words(set: impl FnOnce(&mut Words)) -> Words {
    let mut words = Words::default();
    set(&mut words);
    words
}

/// Within five standard deviations of what so many draws give: once in two million tries it is not.
fn is_about(found: usize, draws: u64, share: f64) -> bool {
    let draws = f64::from(u32::try_from(draws).unwrap());
    let found = f64::from(u32::try_from(found).unwrap());
    println!("{found} of {draws}, {share} each");
    (found - draws * share).abs() <= 5.0 * (draws * share * (1.0 - share)).sqrt()
}

fn distinct(arrived: &[(u64, Duration)]) -> usize {
    arrived.iter().map(|(number, _)| number).collect::<BTreeSet<_>>().len()
}

fn median(arrived: &[(u64, Duration)]) -> Duration {
    let mut times: Vec<Duration> = arrived.iter().map(|(_, time)| *time).collect();
    times.sort();
    times[times.len() / 2]
}

#[test]
fn a_cable_loses_its_share_in_either_direction_and_is_as_before() {
    let Some(row) = Row::new("loss") else { return };
    let before = row.picture();
    assert_eq!(distinct(&row.quick(false)), 2_000);
    let fault = row.cable(&words(|w| (w.loss, w.seed) = (Some("10%".to_owned()), Some(7))));
    for back in [false, true] {
        assert!(is_about(2_000 - distinct(&row.quick(back)), PACKETS, 0.1), "back: {back}");
    }
    let [sent, received] = row.lab.shown_faults()[0].frames.unwrap();
    assert!(sent.lost > 100 && received.lost > 100, "{sent:?} {received:?}");
    row.undo(fault);
    assert_eq!(distinct(&row.quick(false)), 2_000);
    assert_eq!(row.picture(), before, "nothing is left, and interfaces are those of before");
}

#[test]
fn one_way_and_deaf_cables_keep_their_carrier() {
    let Some(row) = Row::new("deaf") else { return };
    let out = row.cable(&words(|w| (w.deed, w.way) = (Some("deafen".to_owned()), Some(weft_labs::fault::Way::Out))));
    assert_eq!((distinct(&row.quick(false)), distinct(&row.quick(true))), (0, 2_000));
    let both = row.cable(&words(|w| w.deed = Some("deafen".to_owned())));
    assert_eq!((distinct(&row.quick(false)), distinct(&row.quick(true))), (0, 0));
    for node in ["a", "b"] {
        assert_eq!(row.text(node, "cat /sys/class/net/eth0/carrier").trim(), "1");
    }
    row.undo(both);
    assert_eq!((distinct(&row.quick(false)), distinct(&row.quick(true))), (0, 2_000));
    row.undo(out);
    let unplugged =
        row.lab.make_fault(&words(|w| w.deed = Some("unplug".to_owned())).at_link("a:eth0".parse().unwrap()).unwrap());
    assert_eq!(row.text("b", "cat /sys/class/net/eth0/carrier").trim(), "0");
    row.undo(unplugged.unwrap());
    assert_eq!(row.text("b", "cat /sys/class/net/eth0/carrier").trim(), "1");
    row.introduce();
    assert_eq!(distinct(&row.quick(false)), 2_000);
}

#[test]
fn delay_jitter_and_reordering_are_those_of_the_fault() {
    let Some(row) = Row::new("delay") else { return };
    let fault = row.cable(&words(|w| (w.delay, w.jitter) = (Some("20ms".to_owned()), Some("5ms".to_owned()))));
    let arrived = row.quick(false);
    assert_eq!(distinct(&arrived), 2_000);
    assert!(arrived.is_sorted_by_key(|(number, _)| *number), "jitter keeps the order");
    let least = arrived.iter().map(|(_, time)| *time).min().unwrap();
    println!("least {least:?}, median {:?}", median(&arrived));
    assert!(least >= Duration::from_millis(15) && least < Duration::from_millis(20), "{least:?}");
    assert!(median(&arrived) < Duration::from_millis(40));
    row.undo(fault);
    let fault = row.cable(&words(|w| (w.delay, w.reorder) = (Some("20ms".to_owned()), Some("5%".to_owned()))));
    let arrived = row.quick(false);
    assert_eq!(distinct(&arrived), 2_000);
    let early = arrived.iter().filter(|(_, time)| *time < Duration::from_millis(20)).count();
    // one that was held up by the machine looks as if it had waited
    assert!((20..=160).contains(&early), "{early}");
    assert!(!arrived.is_sorted_by_key(|(number, _)| *number));
    row.undo(fault);
    assert!(median(&row.quick(false)) < Duration::from_millis(10));
}

#[test]
fn copies_arrive_and_flipped_bits_are_found_by_checksums() {
    let Some(row) = Row::new("copies") else { return };
    let fault = row.cable(&words(|w| w.duplicate = Some("5%".to_owned())));
    let arrived = row.quick(false);
    assert_eq!(distinct(&arrived), 2_000);
    assert!(is_about(arrived.len() - 2_000, PACKETS, 0.05));
    row.undo(fault);
    let fault = row.cable(&words(|w| (w.corrupt, w.way) = (Some("5%".to_owned()), Some(weft_labs::fault::Way::Out))));
    assert!(is_about(2_000 - distinct(&row.quick(false)), PACKETS, 0.05));
    let errors = row.text("b", "grep '^Udp:' /proc/net/snmp | tail -1 | cut -d' ' -f8");
    assert!(errors.trim().parse::<u64>().unwrap() > 20, "InCsumErrors: {errors}");
    row.undo(fault);
}

#[test]
fn a_rate_is_kept() {
    let Some(row) = Row::new("rate") else { return };
    let fault = row.cable(&words(|w| w.rate = Some("4mbit".to_owned())));
    // frames of 1,000 bytes, 2 ms each, sent twice as fast
    let begin = Instant::now();
    let arrived = row.measure(false, 1_000 - 42, 500, Duration::from_millis(1));
    let took = begin.elapsed().saturating_sub(DRAIN);
    // the cable holds 200 ms of what came in 500 ms
    println!("{} of 500 in {took:?}, median wait {:?}", arrived.len(), median(&arrived));
    assert!((330..=360).contains(&arrived.len()), "{}", arrived.len());
    assert!(took >= Duration::from_millis(650), "{took:?}");
    row.undo(fault);
}

#[test]
fn nothing_passes_between_the_sides_of_a_partition() {
    let Some(row) = Row::new("parts") else { return };
    let nodes = ["b", "c"].map(str::to_owned).into_iter().collect();
    let fault = row.lab.make_fault(&Fault::Partition { nodes }).unwrap();
    assert_eq!((distinct(&row.quick(false)), distinct(&row.quick(true))), (0, 0));
    assert!(!row.picture().contains("relay3"), "the link within a side has no relay");
    row.undo(fault);
    assert_eq!(distinct(&row.quick(false)), 2_000);
    assert!(row.lab.make_fault(&Fault::Partition { nodes: BTreeSet::from(["x".to_owned()]) }).is_err());
}

#[test]
fn a_paused_daemon_stands_still_and_clocks_are_its_own() {
    let Some(row) = Row::new("node") else { return };
    let at = |words: Words| row.lab.make_fault(&words.at_node("a".to_owned()).unwrap());
    let uptime = |node| {
        let text = row.text(node, "cut -d. -f1 /proc/uptime");
        text.trim().parse::<i64>().unwrap()
    };
    let state = || row.text("a", "cat /proc/[0-9]*/stat | grep '(sleep)' | cut -d' ' -f3");
    let paused = at(words(|w| w.deed = Some("pause".to_owned()))).unwrap();
    wait("it stands still", || state().trim() == "T");
    row.undo(paused);
    wait("it goes on", || state().trim() == "S");
    let killed = at(words(|w| w.deed = Some("kill".to_owned()))).unwrap();
    assert_eq!(state(), "");
    row.undo(killed);
    wait("it runs again", || state().trim() == "S");
    let skewed = at(words(|w| w.clock = Some("1h".to_owned()))).unwrap();
    assert!((3_590..=3_610).contains(&(uptime("a") - uptime("b"))), "{} {}", uptime("a"), uptime("b"));
    wait("it runs", || state().trim() == "S");
    row.undo(skewed);
    assert!((-10..=10).contains(&(uptime("a") - uptime("b"))));
    // before the machine was booted there is no time
    assert!(at(words(|w| w.clock = Some("-80000h".to_owned()))).is_err());
    wait("it runs as before", || state().trim() == "S");
    assert!(row.lab.shown_faults().is_empty());
}

#[test]
fn a_relay_comes_and_goes_without_losing_a_packet() {
    let Some(row) = Row::new("splice") else { return };
    let open = |node: &str, address: SocketAddr| -> io::Result<UdpSocket> {
        row.lab.open(node, Box::new(move || UdpSocket::bind(address).map(OwnedFd::from))).map(UdpSocket::from)
    };
    let end = |node: &str, address: &str| End { node: node.to_owned(), address: address.parse().unwrap() };
    let flows = Flows::start(&open, &end("a", "10.9.0.1"), &end("b", "10.9.0.2"), 8).unwrap();
    // others want the processors too
    let busy = AtomicBool::new(true);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while busy.load(Ordering::Relaxed) {
                    std::hint::spin_loop()
                }
            });
        }
        for turn in 0..SPLICES {
            let begin = Instant::now();
            let fault = row.cable(&words(|w| w.delay = Some(if turn % 2 == 0 { "1ms" } else { "30ms" }.to_owned())));
            let into = begin.elapsed();
            std::thread::sleep(Duration::from_millis(50));
            let begin = Instant::now();
            row.undo(fault);
            println!("in after {into:?}, out after {:?}", begin.elapsed());
            std::thread::sleep(Duration::from_millis(20));
        }
        busy.store(false, Ordering::Relaxed);
    });
    let losses = flows.stop();
    let (sent, lost) = (losses.iter().map(|loss| loss.sent).sum::<u64>(), losses.iter().map(Loss::lost).sum::<u64>());
    println!("{SPLICES} times in and out: {lost} of {sent} packets lost");
    assert!(sent > 10_000, "{sent}");
    assert_eq!(lost, 0);
}

/// Polls until it holds.
fn wait(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "{what} does not come true");
        std::thread::sleep(Duration::from_millis(10));
    }
}
