//! Real packets between two nodes: an answered datagram, a steady flow whose loss is counted at both ends, and a burst
//! of many flows for the spread over equal paths.
//!
//! All sockets are opened inside the nodes' namespaces by the caller's [`Open`]; everything else happens in threads of
//! the verifier. Sequence numbers, not clocks, say what was lost: at one packet per millisecond the longest run of
//! missing numbers is the outage in milliseconds.
#![expect(clippy::disallowed_types, reason = "measures real time")]
#![expect(clippy::disallowed_methods, reason = "paces real packets and receives them in threads")]

pub mod plot;

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_recv_buffer_size_force;
use serde::{Deserialize, Serialize};

/// Opens a UDP socket bound to an address inside a node.
pub type Open<'a> = &'a dyn Fn(&str, SocketAddr) -> io::Result<UdpSocket>;

/// Time between two packets of a flow, in each direction, unless said.
pub const PERIOD: Duration = Duration::from_millis(1);
/// After the last packet, how long receivers wait for stragglers.
const DRAIN: Duration = Duration::from_millis(300);
/// Room for what arrives while a receiver cannot run: five seconds.
const RECEIVE_BYTES: usize = 4 * 1_024 * 1_024;
/// How far a sender that could not run catches up at once.
const LATE_MAX: Duration = Duration::from_millis(10);
/// Longest flow, in packets per direction: ten minutes.
const MAX_PACKETS: usize = 600_000;
/// Parts of a flow's time for which it is known what they lost: about one for each point of a plot.
const PARTS: u64 = 600;
/// Datagrams of one ping.
const PING_COUNT: u64 = 20;
/// Longest wait for an answer before the next datagram is sent.
const PING_PERIOD: Duration = Duration::from_millis(10);
/// Answers that come later after the last datagram are lost.
const PING_LATEST: Duration = Duration::from_millis(300);

/// One end: a node and its own address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// Name in the lab.
    pub node: String,
    /// The address that packets carry.
    pub address: IpAddr,
}

/// Sends datagrams that the far node returns; answers how many came back, of how many.
///
/// # Errors
/// When a socket cannot be opened.
pub fn ping(open: Open<'_>, from: &End, to: &End) -> io::Result<(u64, u64)> {
    let far = open(&to.node, SocketAddr::new(to.address, 0))?;
    let near = open(&from.node, SocketAddr::new(from.address, 0))?;
    let target = far.local_addr()?;
    far.set_read_timeout(Some(PING_PERIOD))?;
    near.set_read_timeout(Some(PING_PERIOD))?;
    let stop = Arc::new(AtomicBool::new(false));
    let echo = {
        let stop = Arc::clone(&stop);
        thread::spawn(move || {
            let mut buffer = [0; 64];
            while !stop.load(Ordering::Relaxed) {
                if let Ok((length, sender)) = far.recv_from(&mut buffer) {
                    let _ = far.send_to(&buffer[..length], sender);
                }
            }
        })
    };
    let mut back = std::collections::BTreeSet::new();
    // until so many are back: an answer that is there at once costs no waiting
    let mut receive = |wanted: u64, limit: Instant| -> u64 {
        let mut buffer = [0; 64];
        let count = |back: &std::collections::BTreeSet<u64>| u64::try_from(back.len()).unwrap_or(u64::MAX);
        while count(&back) < wanted && Instant::now() < limit {
            if let Ok((8, _)) = near.recv_from(&mut buffer) {
                back.insert(u64::from_be_bytes(first_eight(&buffer)));
            }
        }
        count(&back)
    };
    for number in 0..PING_COUNT {
        // An unreachable destination is a lost packet, not an error of the probe.
        let _ = near.send_to(&number.to_be_bytes(), target);
        receive(number + 1, Instant::now() + PING_PERIOD);
    }
    let count = receive(PING_COUNT, Instant::now() + PING_LATEST);
    stop.store(true, Ordering::Relaxed);
    let _ = echo.join();
    Ok((count, PING_COUNT))
}

/// What one direction of one flow lost.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// Packets that the system took.
    pub sent: u64,
    /// Different packets that arrived.
    pub received: u64,
    /// Longest run of missing packets; at 1 kHz also the outage in milliseconds.
    pub longest_run: u64,
    /// Packets missing in each [`Loss::part`] of the flow, in the order of sending; at most 600.
    #[serde(default)]
    pub missing: Vec<u64>,
}

impl Loss {
    /// Packets missing.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.sent.saturating_sub(self.received)
    }

    /// Packets of a part of the flow's time; the last part may have fewer.
    #[must_use]
    pub fn part(&self) -> u64 {
        self.sent.div_ceil(PARTS).max(1)
    }
}

/// Several steady flows, both directions, until [`Flows::stop`].
#[derive(Debug)]
pub struct Flows {
    stop: Arc<AtomicBool>,
    senders: Vec<JoinHandle<Vec<u64>>>,
    receivers: Vec<JoinHandle<Vec<Vec<bool>>>>,
}

impl Flows {
    /// Starts `count` flows of 1 kHz that differ in their ports, so that equal paths share them.
    ///
    /// # Errors
    /// When a socket cannot be opened.
    pub fn start(open: Open<'_>, a: &End, b: &End, count: usize) -> io::Result<Self> {
        Self::start_all(open, &vec![(a.clone(), b.clone()); count], PERIOD)
    }

    /// Starts a flow for each of these pairs; all are sent from, and received by, as few threads as those of one.
    ///
    /// # Errors
    /// When a socket cannot be opened.
    pub fn start_all(open: Open<'_>, pairs: &[(End, End)], period: Duration) -> io::Result<Self> {
        let mut ends = [Vec::new(), Vec::new()];
        for (a, b) in pairs {
            for (end, sockets) in [a, b].into_iter().zip(&mut ends) {
                let socket = open(&end.node, SocketAddr::new(end.address, 0))?;
                socket.set_nonblocking(true)?;
                // Only root may; without it a receiver that does not run for a quarter of a second misses some.
                let _ = set_socket_recv_buffer_size_force(&socket, RECEIVE_BYTES);
                sockets.push(socket);
            }
        }
        let mut targets = [Vec::new(), Vec::new()];
        for (sockets, addresses) in ends.iter().zip(&mut targets) {
            for socket in sockets {
                addresses.push(socket.local_addr()?);
            }
        }
        let stop = Arc::new(AtomicBool::new(false));
        let (mut senders, mut receivers) = (Vec::new(), Vec::new());
        let [targets_a, targets_b] = targets;
        for (sockets, targets) in ends.into_iter().zip([targets_b, targets_a]) {
            let sockets = Arc::new(sockets);
            let (stop_send, send_from) = (Arc::clone(&stop), Arc::clone(&sockets));
            senders.push(thread::spawn(move || send_all(&send_from, &targets, period, &stop_send)));
            let stop_receive = Arc::clone(&stop);
            receivers.push(thread::spawn(move || receive_all(&sockets, &stop_receive)));
        }
        Ok(Self { stop, senders, receivers })
    }

    /// Ends the flows; the losses of each flow from a to b, then of each from b to a.
    #[must_use]
    pub fn stop(self) -> Vec<Loss> {
        self.stop.store(true, Ordering::Relaxed);
        let sent: Vec<Vec<u64>> = self.senders.into_iter().filter_map(|thread| thread.join().ok()).collect();
        let mut seen: Vec<Vec<Vec<bool>>> =
            self.receivers.into_iter().filter_map(|thread| thread.join().ok()).collect();
        seen.reverse(); // what a sent is counted at b
        let mut losses = Vec::new();
        for (sent, seen) in sent.iter().zip(&seen) {
            losses.extend(sent.iter().zip(seen).map(|(sent, seen)| loss(*sent, seen)));
        }
        losses
    }
}

fn send_all(sockets: &[UdpSocket], targets: &[SocketAddr], period: Duration, stop: &AtomicBool) -> Vec<u64> {
    let mut begin = Instant::now();
    let mut number: u64 = 0;
    while !stop.load(Ordering::Relaxed) && number < u64::try_from(MAX_PACKETS).unwrap_or(u64::MAX) {
        for (socket, target) in sockets.iter().zip(targets) {
            // No route counts as sent and lost: that is what the application sees.
            let _ = socket.send_to(&number.to_be_bytes(), target);
        }
        number += 1;
        let due = period.saturating_mul(u32::try_from(number).unwrap_or(u32::MAX));
        match due.checked_sub(begin.elapsed()) {
            Some(wait) => thread::sleep(wait),
            // Held up by the machine: what is late beyond this goes later, or the burst would fill the kernel's queues.
            None => begin += begin.elapsed().saturating_sub(due + LATE_MAX),
        }
    }
    vec![number; sockets.len()]
}

fn receive_all(sockets: &[UdpSocket], stop: &AtomicBool) -> Vec<Vec<bool>> {
    let mut seen = vec![Vec::new(); sockets.len()];
    let mut buffer = [0; 64];
    let mut end = None;
    loop {
        for (socket, seen) in sockets.iter().zip(&mut seen) {
            while let Ok((8, _)) = socket.recv_from(&mut buffer) {
                let number = usize::try_from(u64::from_be_bytes(first_eight(&buffer))).unwrap_or(usize::MAX);
                if number >= MAX_PACKETS {
                    continue;
                }
                if seen.len() <= number {
                    seen.resize(number + 1, false);
                }
                seen[number] = true;
            }
        }
        if stop.load(Ordering::Relaxed) && Instant::now() > *end.get_or_insert_with(|| Instant::now() + DRAIN) {
            return seen;
        }
        thread::sleep(PERIOD / 2);
    }
}

fn first_eight(buffer: &[u8; 64]) -> [u8; 8] {
    let mut eight = [0; 8];
    eight.copy_from_slice(&buffer[..8]);
    eight
}

fn loss(sent: u64, seen: &[bool]) -> Loss {
    let mut loss = Loss { sent, ..Loss::default() };
    let (mut run, part) = (0, loss.part());
    for number in 0..sent {
        if number % part == 0 {
            loss.missing.push(0);
        }
        if usize::try_from(number).is_ok_and(|number| seen.get(number) == Some(&true)) {
            loss.received += 1;
            run = 0;
        } else {
            run += 1;
            loss.longest_run = loss.longest_run.max(run);
            if let Some(missing) = loss.missing.last_mut() {
                *missing += 1;
            }
        }
    }
    loss
}

/// Sends `flows` flows of `packets` datagrams each, told apart by destination port; nobody needs to listen.
///
/// # Errors
/// When the socket cannot be opened.
pub fn burst(open: Open<'_>, from: &End, to: &End, flows: u16, packets: u32) -> io::Result<()> {
    const FIRST_PORT: u16 = 20_000;
    let socket = open(&from.node, SocketAddr::new(from.address, 0))?;
    for _ in 0..packets {
        for flow in 0..flows {
            // A refused earlier datagram shows up as an error of this one: send it again.
            let target = SocketAddr::new(to.address, FIRST_PORT + flow);
            if socket.send_to(&[0; 8], target).is_err() {
                let _ = socket.send_to(&[0; 8], target);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(_: &str, address: SocketAddr) -> io::Result<UdpSocket> {
        UdpSocket::bind(address)
    }

    fn end(last: u8) -> End {
        End { node: format!("n{last}"), address: IpAddr::from([127, 0, 0, last]) }
    }

    #[test]
    fn an_answered_ping_loses_nothing() {
        assert_eq!(ping(&open, &end(1), &end(2)).unwrap(), (PING_COUNT, PING_COUNT));
    }

    #[test]
    fn flows_over_loopback_count_both_directions() {
        let flows = Flows::start(&open, &end(1), &end(2), 2).unwrap();
        thread::sleep(Duration::from_millis(100));
        let losses = flows.stop();
        assert_eq!(losses.len(), 4);
        for loss in losses {
            assert!(loss.received > 0, "{loss:?}");
            assert_eq!(loss.lost(), 0, "{loss:?}");
        }
    }

    #[test]
    fn the_longest_run_of_missing_numbers_is_the_outage() {
        let found = loss(6, &[true, false, false, true, false]);
        assert_eq!(found, Loss { sent: 6, received: 2, longest_run: 2, missing: vec![0, 1, 1, 0, 1, 1] });
        assert_eq!(found.lost(), 4);
    }

    #[test]
    fn a_long_flow_knows_its_loss_part_by_part() {
        let mut seen = vec![true; 60_500];
        seen[101..110].fill(false);
        let found = loss(60_600, &seen);
        assert_eq!((found.part(), found.missing.len(), found.lost()), (101, 600, 109));
        assert_eq!((found.missing[1], found.missing[599]), (9, 100));
    }
}
