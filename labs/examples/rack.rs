//! Writes a lab of one rack into a folder: two switches below two spines, so many servers with a link to each switch, and a server
//! elsewhere. Its steps take a switch out of service, stop it, unplug it, and bring it back, with a flow of every server both ways.
//!
//! ```text
//! cargo run -p weft-labs --example rack -- 64 /tmp/rack && cargo lab verify /tmp/rack/rack.clab.yml
//! ```
#![expect(clippy::print_stderr, reason = "a command line talks to a person")]

use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::process::ExitCode;

/// Ports of a switch that has two spines above it, and addresses of the plan below.
const SERVERS_MAX: u32 = 200;
/// Packets a second of each flow and direction.
const RATE: u32 = 200;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (Some(Ok(servers)), Some(folder)) = (words.first().map(|word| word.parse::<u32>()), words.get(1)) else {
        eprintln!("write a number of servers and a folder: 64 /tmp/rack");
        return ExitCode::from(2);
    };
    if !(1..=SERVERS_MAX).contains(&servers) {
        eprintln!("1 to {SERVERS_MAX} servers, not {servers}");
        return ExitCode::from(2);
    }
    match write(servers, Path::new(folder)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{folder}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn write(servers: u32, folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let node = |name: &str, role: &str, (asn, address): (u32, String), links: &[String], more: &str| {
        let peers: String =
            links.iter().map(|link| format!("  {link}: {{interface: {link}, remote_asn: external}}\n")).collect();
        let text =
            format!("role: {role}\nhostname: {name}\nasn: {asn}\naddresses: [{address}/32]\npeers:\n{peers}{more}");
        std::fs::write(folder.join(format!("{name}.yaml")), text)
    };
    let eths = |count: u32| -> Vec<String> { (1..=count).map(|at| format!("eth{at}")).collect() };
    let dual = ["eth0".to_owned(), "eth1".to_owned()];
    for at in 1..=2 {
        node(&format!("spine{at}"), "spine", (4_200_000_000, format!("10.69.255.10{at}")), &eths(3), "")?;
        node(&format!("tor{at}"), "tor", (4_200_000_010 + at, format!("10.69.255.{at}")), &eths(2 + servers), "")?;
    }
    node("far", "host", (4_200_000_999, "10.69.1.1".to_owned()), &dual, "")?;
    for at in 1..=servers {
        node(&format!("h{at}"), "host", (4_200_001_000 + at, format!("10.69.0.{at}")), &dual, "")?;
    }
    std::fs::write(folder.join("rack.clab.yml"), topology(servers))
}

fn topology(servers: u32) -> String {
    let mut text = String::from("name: rack\ntopology:\n  defaults: {kind: linux, image: weft}\n  nodes:\n");
    let names = ["spine1", "spine2", "tor1", "tor2", "far"].map(str::to_owned).into_iter();
    for (seed, name) in (1..).zip(names.chain((1..=servers).map(|at| format!("h{at}")))) {
        let seed = seed * 7_919;
        // Writing to a string never fails, here and below.
        let _ = writeln!(
            text,
            "    {name}: {{binds: [\"{name}.yaml:/etc/weft/weft.yaml\"], sysctls: {{net.ipv4.fib_multipath_hash_seed: {seed}}}}}"
        );
    }
    text.push_str("  links:\n");
    for at in 1..=2 {
        for tor in 1..=2 {
            let _ = writeln!(text, "    - endpoints: [\"spine{at}:eth{tor}\", \"tor{tor}:eth{at}\"]");
        }
        let _ = writeln!(text, "    - endpoints: [\"spine{at}:eth3\", \"far:eth{}\"]", at - 1);
    }
    for at in 1..=servers {
        for tor in 1..=2 {
            let _ = writeln!(text, "    - endpoints: [\"tor{tor}:eth{}\", \"h{at}:eth{}\"]", at + 2, tor - 1);
        }
    }
    text.push_str("expect: &whole\n");
    for at in 1..=servers {
        let _ = writeln!(text, "  - {{at: h{at}, route: 10.69.1.1/32, via: [tor1, tor2], within: 120s}}");
    }
    for spine in ["spine1", "spine2"] {
        let _ = writeln!(text, "  - {{at: {spine}, route: 10.69.0.{servers}/32, via: [tor1, tor2], within: 120s}}");
    }
    steps(&mut text, servers);
    text
}

fn steps(text: &mut String, servers: u32) {
    let flows: Vec<String> = (1..=servers).map(|at| format!("{{from: h{at}, to: far, count: 1}}")).collect();
    let ports = "for port in /sys/class/net/eth*; do ip link set ${port##*/}";
    let _ = write!(
        text,
        "steps:
  - step: tor1 is drained
    at: tor1
    run: weft drain --wait
    rate: {RATE}
    flows: &all [{}]
    expect: [{{at: h1, route: 10.69.1.1/32, via: [tor2]}}, {{at: spine1, route: 10.69.0.1/32, via: [tor2]}}]
  - {{step: tor1 is stopped and unplugged, at: tor1, run: \"sh -c 'weft stop && {ports} down; done'\", rate: {RATE}, flows: *all}}
  - {{step: tor1 is plugged in, at: tor1, run: \"sh -c '{ports} up; done'\", rate: {RATE}, flows: *all}}
  - step: tor1 starts, and is drained
    start: tor1
    rate: {RATE}
    flows: *all
    expect: [{{at: tor1, run: weft show neighbors, says: \"{} of {} neighbors Established\", within: 120s}}]
  - {{step: tor1 is back in service, at: tor1, run: weft undrain --wait, rate: {RATE}, flows: *all, expect: *whole}}
",
        flows.join(", "),
        servers + 2,
        servers + 2,
    );
}
