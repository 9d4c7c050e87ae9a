//! Writes the lab of a Clos network twice into a folder: every node with weft (`clos.clab.yml`) and every node with BIRD (`bird.clab.yml`), with
//! the same cables, addresses, AS numbers and unnumbered sessions of both address families.
//!
//! ```text
//! cargo run -p weft-labs --example clos -- 8 32 960 /tmp/clos && cargo lab up /tmp/clos/clos.clab.yml
//! ```
#![expect(clippy::print_stderr, reason = "a command line talks to a person")]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, anyhow};
use weft_fabric::config;
use weft_labs::sim::clos::Clos;
use weft_labs::topology::{Topology, link_local};

/// What must be true of both: spines share an AS, so they do not hear of each other.
const EXPECT: &str = "expect:
  - {each: leaf, reaches: all, within: 600s}
  - {each: server, reaches: all, within: 600s}
  - {each: spine, reaches: leaf, within: 600s}
  - {each: spine, reaches: server, within: 600s}
";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let numbers: Vec<u32> = words.iter().take(3).filter_map(|word| word.parse().ok()).collect();
    let (&[spines, leaves, servers], [.., folder], 4) = (numbers.as_slice(), words.as_slice(), words.len()) else {
        eprintln!("write the numbers of spines, leaves and servers, and a folder: 8 32 960 /tmp/clos");
        return ExitCode::from(2);
    };
    match write(Clos { spines, leaves, servers, cables: 1, stubs: false }, Path::new(folder)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn write(clos: Clos, folder: &Path) -> Result<()> {
    let topology = clos.topology().map_err(|error| anyhow!(error))?;
    fs::create_dir_all(folder.join("bird")).with_context(|| folder.display().to_string())?;
    let text = clos.file();
    fs::write(folder.join("clos.clab.yml"), format!("{text}{EXPECT}"))?;
    let bind = "binds: [\"bird/__clabNodeName__.conf:/etc/bird/bird.conf\"]";
    let text = text.replace("image: weft}", &format!("image: bird, {bind}}}")).replace("weft: auto\n", "");
    let mut nodes = "weft:\n  nodes:\n".to_owned();
    for (name, node) in &topology.nodes {
        let text = node.config.as_deref().ok_or_else(|| anyhow!("{name} has no configuration"))?;
        let config = config::parse(name, text)?.node()?;
        let addresses: Vec<String> = config.addresses.iter().map(ToString::to_string).collect();
        let _ = writeln!(nodes, "    {name}: {{addresses: {{lo: [{}]}}}}", addresses.join(", "));
        let is_server = node.group.as_deref() == Some("server");
        let text = bird(&topology, name, (config.speaker.router_id.to_string(), config.speaker.asn.0), is_server);
        fs::write(folder.join(format!("bird/{name}.conf")), text)?;
    }
    fs::write(folder.join("bird.clab.yml"), format!("{text}{nodes}{EXPECT}"))?;
    Ok(())
}

/// BIRD's configuration of a node. Its neighbours are written down, for BIRD 2.0 does not find them by itself.
fn bird(topology: &Topology, name: &str, (router_id, asn): (String, u32), is_server: bool) -> String {
    let export = if is_server { "where source = RTS_DEVICE" } else { "all" };
    let mut text = format!(
        "router id {router_id};\nprotocol device {{}}\nprotocol direct {{ ipv4; ipv6; interface \"lo\"; }}\n\
         protocol kernel {{ merge paths on; ipv4 {{ export where source = RTS_BGP; }}; }}\n\
         protocol kernel {{ merge paths on; ipv6 {{ export where source = RTS_BGP; }}; }}\n\
         template bgp fabric {{\n  local as {asn}; connect delay time 1; connect retry time 5; error wait time 1, 5; hold time 90;\n  \
         ipv4 {{ import all; export {export}; extended next hop on; }};\n  ipv6 {{ import all; export {export}; }};\n}}\n"
    );
    for (near, far) in topology.links.iter().flat_map(|link| [(&link.a, &link.b), (&link.b, &link.a)]) {
        if near.node == name {
            let _ = writeln!(
                text,
                "protocol bgp {}_{} from fabric {{ neighbor {}%{} external; }}",
                far.node,
                near.interface,
                link_local(far.mac),
                near.interface
            );
        }
    }
    text
}
