//! A reload of a whole node without sockets: one that changes nothing under a full table, and one of the export policy of one of many
//! peers. `cargo bench -p weft-benches --bench reload`. What every peer hears is counted.
#![allow(
    clippy::print_stdout,
    clippy::disallowed_types,
    clippy::cast_possible_truncation,
    reason = "a program for people"
)]

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::time::Instant as Clock;

use anyhow::{Result, ensure};
use bytes::{Bytes, BytesMut};
use clap::Parser;
use weft_benches::alone::{address, conn, session};
use weft_benches::table::{Table, hosts};
use weft_bgp::speaker::{Input as Bgp, Output as Wanted};
use weft_bgp::time::Instant;
use weft_bgp::types::{ConnId, IfIndex};
use weft_fabric::config;
use weft_fabric::link::{AddrInfo, LinkInfo};
use weft_fabric::node::{Input, Node, Output};

/// Octets of one read, and of one write, of the driver.
const READ: usize = 1 << 16;
const WRITE: usize = 1 << 15;
/// Changes that the kernel side takes at once.
const FIB: usize = 4_096;

#[derive(Debug, Parser)]
struct Arguments {
    /// Peers.
    #[arg(long, default_value_t = 64)]
    peers: usize,
    /// Routes under which nothing changes.
    #[arg(long, default_value_t = 1_000_000)]
    full: usize,
    /// Routes of which one peer is told otherwise.
    #[arg(long, default_value_t = 100_000)]
    routes: u32,
    /// Times that each is tried.
    #[arg(long, default_value_t = 5)]
    tries: usize,
    /// Cargo passes it.
    #[arg(long, hide = true)]
    bench: bool,
}

/// The file: every peer under policies of its own, of which peer `other` gives its routes another MED.
fn file(peers: usize, other: Option<(usize, usize)>) -> Result<String> {
    let mut text = "asn: 65000\nrouter_id: 10.0.0.1\nfib: {install: false}\npeers:\n".to_owned();
    for at in 0..peers {
        let (place, asn) = (address(at), 4_200_000_001 + at as u64);
        writeln!(
            text,
            "  p{at}: {{address: {place}, remote_asn: {asn}, passive: true, hold_s: 180, families: [ipv4, ipv6], import: in{at}, export: out{at}}}"
        )?;
    }
    text.push_str("policy:\n");
    for at in 0..peers {
        let med = other.filter(|(peer, _)| *peer == at).map_or(1, |(_, turn)| turn + 2);
        writeln!(text, "  in{at}: [{{then: accept}}]\n  out{at}: [{{then: {{set: {{med: {med}}}, do: accept}}}}]")?;
    }
    Ok(text)
}

fn read(text: &str) -> Result<Box<config::NodeConfig>> {
    let config = config::parse("reload.yaml", text).map_err(|error| anyhow::anyhow!("{error}"))?;
    Ok(Box::new(config.node().map_err(|error| anyhow::anyhow!("{error}"))?))
}

struct Bench {
    node: Node,
    octets: Vec<u64>,
    writable: Vec<bool>,
    fib: bool,
    buf: BytesMut,
}

impl Bench {
    /// A node with all its peers Established, the first of which has told `stream`.
    fn new(peers: usize, stream: Vec<u8>) -> Result<Self> {
        let node = Node::new(*read(&file(peers, None)?)?, Instant::ZERO);
        let (octets, writable) = (vec![0; peers], vec![false; peers]);
        let mut bench = Self { node, octets, writable, fib: false, buf: BytesMut::new() };
        bench.give(Input::Links(vec![LinkInfo {
            index: IfIndex(2),
            name: "eth0".to_owned(),
            mac: [2, 0, 0, 0, 0, 1],
            mtu: 1_500,
            up: true,
            carrier: true,
            damped: 0,
            loopback: false,
            master: None,
            kind: None,
            addrs: vec![AddrInfo::new("10.0.0.1/8".parse()?)],
        }]));
        for at in 0..peers {
            // The peer itself is in the file.
            session(at).into_iter().skip(1).for_each(|input| bench.give(Input::Bgp(input)));
        }
        bench.serve();
        let mut stream = Bytes::from(stream);
        while !stream.is_empty() {
            let data = stream.split_to(stream.len().min(READ));
            bench.give(Input::Bgp(Bgp::Received { conn: conn(0), data }));
            bench.serve();
        }
        Ok(bench)
    }

    fn give(&mut self, input: Input) {
        self.node.handle(Instant::ZERO, input);
        while let Some(output) = self.node.poll() {
            match output {
                Output::Bgp(Wanted::Writable(conn)) => self.writable[(conn.0 & !ConnId::ACCEPTED) as usize] = true,
                Output::FibReady => self.fib = true,
                Output::Bgp(_)
                | Output::SendRa { .. }
                | Output::SendRs { .. }
                | Output::RaLinks(_)
                | Output::LldpLinks(_)
                | Output::DhcpSockets(_)
                | Output::KeepLeases
                | Output::Dhcp(_)
                | Output::Bfd(_)
                | Output::AddAddress(_)
                | Output::RemoveAddress(_)
                | Output::Check(_)
                | Output::Event(_)
                | Output::Vip(_)
                | Output::Drain(_)
                | Output::RollBack => {}
            }
        }
    }

    /// What a driver does when it has no input: the kernel's changes, the sockets' room, slices of work.
    fn serve(&mut self) {
        loop {
            let mut idle = true;
            if std::mem::take(&mut self.fib) {
                let changes = self.node.poll_fib(FIB);
                self.fib = changes.len() == FIB;
                if let Some(last) = changes.last() {
                    self.give(Input::FibAck { seq: last.seq, failed: Vec::new() });
                    idle = false;
                }
            }
            for at in 0..self.writable.len() {
                if std::mem::take(&mut self.writable[at]) {
                    self.buf.clear();
                    self.writable[at] = self.node.poll_transmit(Instant::ZERO, conn(at), &mut self.buf, WRITE);
                    self.octets[at] += self.buf.len() as u64;
                    idle = false;
                }
            }
            if self.node.next_timeout().is_some_and(|(at, _)| at == Instant::ZERO) {
                self.give(Input::Tick);
                idle = false;
            }
            if idle {
                return;
            }
        }
    }

    /// The octets that each peer heard of a reload, and the milliseconds: until the file is read and compared, and until all was told.
    fn reload(&mut self, text: &str) -> Result<(Vec<u64>, f64, f64)> {
        let before = self.octets.clone();
        let clock = Clock::now();
        let new = read(text)?;
        let (plan, _) = self.node.plan(&new);
        let compared = clock.elapsed().as_secs_f64() * 1e3;
        if !plan.is_empty() {
            self.give(Input::Reload(new));
        }
        self.serve();
        let all = clock.elapsed().as_secs_f64() * 1e3;
        Ok((self.octets.iter().zip(before).map(|(now, before)| now - before).collect(), compared, all))
    }
}

fn main() -> Result<()> {
    let Arguments { peers, full, routes, tries, bench: _ } = Arguments::parse();
    let mut bench = Bench::new(peers, Table::full(full, 4_200_000_001, address(0)).stream)?;
    println!("{peers} peers, {} prefixes", bench.node.speaker().summary().prefixes);
    let same = file(peers, None)?;
    for _ in 0..tries {
        let (heard, compared, all) = bench.reload(&same)?;
        println!(
            "nothing changed: {} octets told, read and compared in {compared:.2} ms, over after {all:.2} ms",
            heard.iter().sum::<u64>()
        );
        ensure!(heard.iter().all(|octets| *octets == 0), "somebody heard of it");
        // As if it were not known that nothing changed.
        let clock = Clock::now();
        bench.give(Input::Reload(read(&same)?));
        bench.serve();
        println!("  put into force nevertheless: {:.2} ms", clock.elapsed().as_secs_f64() * 1e3);
    }
    drop(bench);
    let first = Ipv4Addr::new(11, 0, 0, 0);
    let mut bench = Bench::new(peers, hosts(routes, first, 4_200_000_001, address(0)))?;
    println!("{peers} peers, {} prefixes", bench.node.speaker().summary().prefixes);
    let one = peers - 1;
    for turn in 0..tries {
        let text = file(peers, Some((one, turn)))?;
        let (mut plan, mut forecast) = bench.node.plan(&*read(&text)?);
        let (clock, mut longest) = (Clock::now(), 0.0_f64);
        loop {
            let slice = Clock::now();
            let over = bench.node.forecast_on(&mut forecast);
            longest = longest.max(slice.elapsed().as_secs_f64() * 1e3);
            if over {
                break;
            }
        }
        plan.add_routes(&forecast);
        let found = plan.peers.iter().filter_map(|peer| peer.routes.as_ref()).map(|routes| routes.told_otherwise.count);
        println!(
            "plan: {} routes told otherwise, {:.1} ms in slices of at most {longest:.2} ms",
            found.sum::<u64>(),
            clock.elapsed().as_secs_f64() * 1e3
        );
        let (heard, compared, all) = bench.reload(&text)?;
        let others: u64 = heard[..one].iter().sum();
        println!(
            "export policy of one changed: {} octets to it, {others} to all others, compared in {compared:.2} ms, told after {all:.1} ms",
            heard[one]
        );
        ensure!(others == 0 && heard[one] > 0, "not that peer alone heard of it");
    }
    Ok(())
}
