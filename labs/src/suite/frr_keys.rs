//! The stage of `weft --output frr`: two spines of one plant, one of them FRR, are asked the same, and what weft says must have FRR's
//! keys and types. Situations that no plant has (communities, BFD, a neighbor that is shut down) are held to recorded keys by weft's tests.

use std::io;
use std::process::Stdio;

use serde_json::Value;

use crate::count::Outcome;
use crate::interop::Stage;
use crate::packages;
use crate::run::{Context, find_program};
use crate::vip::Lab;
use shape::shape;

// Of weft's own tests, which hold its documents to recorded keys.
#[path = "../../../fabric/src/show/frr/shape.rs"]
mod shape;

/// The plant, and which of the two spines is FRR.
const PLANT: &str = "two-racks";
const FRR: &str = "spine1";
const WEFT: &str = "spine2";

/// A document: FRR's command, weft's, whether it is by name itself, and keys that programs cannot do without.
struct Document {
    frr: &'static str,
    weft: &'static [&'static str],
    by_name: bool,
    needed: &'static [&'static str],
}

const DOCUMENTS: [Document; 5] = [
    Document {
        frr: "show bgp summary json",
        weft: &["show", "summary"],
        by_name: false,
        needed: &[
            "ipv4Unicast.routerId string",
            "ipv4Unicast.as number",
            "ipv4Unicast.totalPeers number",
            "ipv4Unicast.peers.*.remoteAs number",
            "ipv4Unicast.peers.*.state string",
            "ipv4Unicast.peers.*.pfxRcd number",
            "ipv4Unicast.peers.*.pfxSnt number",
            "ipv4Unicast.peers.*.msgRcvd number",
            "ipv4Unicast.peers.*.peerUptimeMsec number",
        ],
    },
    Document {
        frr: "show bgp neighbors json",
        weft: &["show", "neighbors"],
        by_name: true,
        needed: &[
            "*.bgpState string",
            "*.remoteAs number",
            "*.addressFamilyInfo.ipv4Unicast.acceptedPrefixCounter number",
        ],
    },
    Document {
        frr: "show bgp ipv4 unicast json",
        weft: &["show", "bgp"],
        by_name: false,
        needed: &[
            "localAS number",
            "routes.*.[].bestpath bool",
            "routes.*.[].multipath bool",
            "routes.*.[].path string",
            "routes.*.[].nexthops.[].ip string",
        ],
    },
    Document {
        frr: "show bgp ipv4 unicast 10.69.0.196/32 json",
        weft: &["show", "bgp", "10.69.0.196/32"],
        by_name: false,
        needed: &[
            "paths.[].aspath.string string",
            "paths.[].aspath.segments.[].list.[] number",
            "paths.[].bestpath.overall bool",
            "paths.[].peer.peerId string",
        ],
    },
    Document {
        frr: "show ip route json",
        weft: &["show", "routes"],
        by_name: true,
        needed: &[
            "*.[].protocol string",
            "*.[].installed bool",
            "*.[].nexthops.[].ip string",
            "*.[].nexthops.[].interfaceName string",
        ],
    },
];

pub(crate) fn frr_keys(context: &Context) -> io::Result<Outcome> {
    let log = context.log("frr-keys")?;
    let is_root = rustix::process::geteuid().is_root();
    if find_program("vtysh").is_none() && is_root && find_program("apt-get").is_some() {
        packages::install_each(context, &log, &["frr"])?;
    }
    if find_program("vtysh").is_none() {
        return Ok(Outcome::skipped("FRR's keys: `vtysh` is not installed and could not be"));
    }
    let Some(stage) = Stage::prepare(context, &log)? else {
        return Ok(Outcome::failed("the lab's binaries do not build"));
    };
    let name = format!("{PLANT}-{}", std::process::id());
    let lab = Lab { context, log: &log, folder: stage.folder.clone(), name };
    let weft = lab.folder.join("weft").display().to_string();
    let (file, node) = (format!("topologies/{PLANT}.clab.yml"), format!("{FRR}=frr"));
    let words = ["up", "--detach", "--weft", &weft, "--node", &node, &file];
    let mut outcome = Outcome::default();
    if log.run(&mut lab.lab_command(&words))? {
        for document in &DOCUMENTS {
            outcome.add(&compare(&lab, document).unwrap_or_else(|error| Outcome::failed(error.to_string())));
        }
    } else {
        outcome.add(&Outcome::failed(format!("lab {PLANT} with FRR does not come up as expected")));
    }
    lab.down()?;
    Ok(outcome)
}

fn compare(lab: &Lab<'_>, document: &Document) -> io::Result<Outcome> {
    // weft has a name for every neighbor; the neighbors of the other one get some too.
    let words = "vtysh -c 'configure terminal' -c 'router bgp 64599' -c 'neighbor 10.72.1.1 description tor1'";
    lab.shell(FRR, words)?;
    let theirs = read(document.frr, lab.shell(FRR, &format!("vtysh -c '{}'", document.frr))?.as_bytes())?;
    let place = format!("{}/{WEFT}", lab.name);
    let mut command = lab.context.command(&lab.folder.join("weft"), &["--lab", &place, "--output", "frr"]);
    let output = command.args(document.weft).stdin(Stdio::null()).output()?;
    let ours = read(&document.weft.join(" "), &output.stdout)?;
    let (theirs, ours) = (shape(&theirs, document.by_name), shape(&ours, document.by_name));
    let mut outcome = Outcome::default();
    let foreign: Vec<&String> = ours.difference(&theirs).collect();
    let what = format!("`{}`: FRR has no {foreign:?}", document.frr);
    outcome.add(&Outcome::check(foreign.is_empty() && !ours.is_empty(), what));
    let missing: Vec<&&str> = document.needed.iter().filter(|key| !ours.contains(**key)).collect();
    outcome.add(&Outcome::check(missing.is_empty(), format!("`{}`: weft has no {missing:?}", document.frr)));
    Ok(outcome)
}

fn read(what: &str, text: &[u8]) -> io::Result<Value> {
    serde_json::from_slice(text)
        .map_err(|error| io::Error::other(format!("{what}: {error}: {}", String::from_utf8_lossy(text))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_shape_has_types_and_no_names() {
        let document =
            json!({"as": 1, "peers": {"10.0.0.1": {"state": "Idle"}, "10.0.0.2": {"up": true}}, "list": [{"a": null}]});
        let found: Vec<String> = shape(&document, false).into_iter().collect();
        assert_eq!(found, ["as number", "list.[].a null", "peers.*.state string", "peers.*.up bool"]);
        assert_eq!(shape(&json!({"eth0": {"peers": 1}}), true).into_iter().collect::<Vec<_>>(), ["*.peers number"]);
    }
}
