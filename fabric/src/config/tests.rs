//! Golden files: `tests/configs/bad/*.yaml` with the words an operator reads, and what a full file becomes.

use super::{Config, NodeConfig, Role, parse};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use weft_bgp::peer::{Endpoint, LinkLocalForm, LocalAs, MaxPrefixesAction, NextHopRule, RemoteAs, RemovePrivateAs};
use weft_bgp::types::Asn;

fn crate_dir() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn yaml_files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "yaml"))
        .collect();
    files.sort();
    files
}

fn node_of(path: &Path) -> NodeConfig {
    let text = fs::read_to_string(path).unwrap();
    let config = parse(&path.display().to_string(), &text).unwrap_or_else(|e| panic!("{e}"));
    config.node().unwrap_or_else(|e| panic!("{e}"))
}

fn node_from(text: &str) -> NodeConfig {
    parse("weft.yaml", text).unwrap().node().unwrap()
}

#[test]
fn bad_files_are_answered_with_line_field_and_remedy() {
    let mut all = String::new();
    for path in yaml_files(&crate_dir().join("tests/configs/bad")) {
        let name = path.file_name().unwrap().to_str().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let error = parse(name, &text).and_then(|config: Config| config.node()).expect_err(name);
        write!(all, "{error}\n\n").unwrap();
    }
    insta::assert_snapshot!("bad", all);
}

#[test]
fn every_key_arrives_where_it_belongs() {
    let node = node_of(&crate_dir().join("tests/configs/every-key.yaml"));
    let mut text = format!("{} {:?} {:?}\n", node.hostname, node.role, node.on_sigterm);
    for peer in &node.peers {
        writeln!(text, "{peer:?}").unwrap();
    }
    for range in &node.dynamic {
        writeln!(text, "{range:?}").unwrap();
    }
    for route in &node.originate {
        writeln!(text, "{route:?}").unwrap();
    }
    for vip in &node.vips {
        writeln!(text, "{vip:?}").unwrap();
    }
    writeln!(text, "{:?}", node.import).unwrap();
    writeln!(text, "{:?}\n{:?}", node.fib, node.api).unwrap();
    for protection in &node.protections {
        writeln!(text, "{protection:?}").unwrap();
    }
    writeln!(text, "{:?}", node.bfd).unwrap();
    let speaker = &node.speaker;
    writeln!(
        text,
        "{} {} cluster {} multipath {} hold back {} ms, after install {}, aggregates {:?}",
        speaker.asn,
        speaker.router_id,
        speaker.cluster_id,
        speaker.multipath,
        speaker.hold_back_ms,
        speaker.advertise_after_install,
        speaker.aggregates
    )
    .unwrap();
    insta::assert_snapshot!("every-key", text);
}

#[test]
fn every_topology_parses() {
    let topologies = crate_dir().join("../labs/topologies");
    let mut count = 0;
    for entry in fs::read_dir(topologies).unwrap() {
        let dir = entry.unwrap().path();
        if dir.is_dir() {
            for file in yaml_files(&dir) {
                // Other daemons' files carry their name before the ending.
                if !file.file_stem().unwrap().to_str().unwrap().contains('.') {
                    node_of(&file);
                    count += 1;
                }
            }
        }
    }
    assert!(count >= 22, "{count}");
}

#[test]
fn a_host_never_transits_and_takes_a_default_and_loopbacks_only() {
    let node = node_from("role: host\nasn: 4200000104\naddresses: [10.69.0.4/32]\nuplinks: [eth0, eth1]\n");
    assert_eq!(node.role, Some(Role::Host));
    assert_eq!(node.peers.len(), 2);
    assert_eq!(node.unnumbered_links().collect::<Vec<_>>(), ["eth0", "eth1"]);
    for peer in &node.peers {
        assert!(peer.originated_only);
        assert_eq!(peer.remote_asn, RemoteAs::External);
        assert_eq!(peer.max_prefixes, Some(10_000));
        assert_eq!(peer.import.as_deref(), Some("accept-all"));
        assert_eq!(peer.families.len(), 2);
        assert_eq!(peer.connect_retry_ms, (1_000, 2_000));
    }
    assert_eq!(node.fib.prefer_source_v4, Some("10.69.0.4".parse().unwrap()));
    assert_eq!(node.originate.len(), 1);
}

#[test]
fn what_a_peers_routes_are_asked_arrives_from_peer_group_and_file() {
    let node = node_from(
        "asn: 64600\nrouter_id: 10.0.0.1\ngraceful_shutdown: true\n\
         groups: {edge: {allow_own_as: 2, remove_private_as: leading, local_as: {asn: 65010, replace_as: true}}}\n\
         peers:\n  a: {address: 10.0.0.2, remote_asn: external, group: edge, as_override: true, graceful_shutdown: false}\n  \
         b: {address: 10.0.0.3, remote_asn: 7, local_as: 65011, max_prefixes_action: discard, link_local_form: single}\n",
    );
    let [a, b] = [node.peers[0].routes, node.peers[1].routes];
    assert_eq!((a.allow_own_as, a.as_override, a.graceful_shutdown), (2, true, false));
    assert_eq!(a.remove_private_as, RemovePrivateAs::Leading);
    assert_eq!(a.local_as, Some(LocalAs { asn: Asn(65_010), no_prepend: false, replace_as: true }));
    assert_eq!(b.local_as, Some(LocalAs { asn: Asn(65_011), no_prepend: false, replace_as: false }));
    assert_eq!((b.max_prefixes_action, b.link_local_form), (MaxPrefixesAction::Discard, LinkLocalForm::Single));
    assert!(b.graceful_shutdown, "the file's word");
    for (wrong, field) in [
        ("remote_asn: internal, local_as: 7", "local_as"),
        ("remote_asn: 7, local_as: 7", "local_as"),
        ("remote_asn: 7, local_as: 64600", "local_as"),
        ("remote_asn: 7, allow_own_as: 99", "allow_own_as"),
        ("remote_asn: 7, long_lived_partial: true", "long_lived_partial"),
        ("remote_asn: 7, hold_s: 30, send_hold_s: 30", "send_hold_s"),
        ("remote_asn: 7, max_prefixes_warn_percent: 0", "max_prefixes_warn_percent"),
        ("remote_asn: 7, max_prefixes_action: warn, max_prefixes_restart_s: 9", "max_prefixes_restart_s"),
    ] {
        let text = format!("asn: 64600\nrouter_id: 10.0.0.1\npeers: {{a: {{address: 10.0.0.2, {wrong}}}}}\n");
        let refused = parse("weft.yaml", &text).and_then(|config| config.node()).unwrap_err().to_string();
        assert!(refused.contains(field), "{wrong}: {refused}");
    }
}

#[test]
fn a_guard_that_no_prefix_can_satisfy_is_refused() {
    let text = |hops: &str| {
        format!(
            "asn: 64600\nrouter_id: 10.0.0.1\nfib: {{multipath: 4}}\n\
             policy: {{guards: [{{prefix: 0.0.0.0/0, minimum_next_hops: {hops}}}]}}\n"
        )
    };
    assert_eq!(node_from(&text("4")).speaker.policies.guards().iter().count(), 1);
    let refused = parse("weft.yaml", &text("5")).and_then(|config| config.node()).unwrap_err().to_string();
    assert!(refused.contains("policy.guards[0].minimum_next_hops") && refused.contains("multipath"), "{refused}");
}

#[test]
fn without_a_role_rfc_8212_holds() {
    let node = node_from("asn: 1\nrouter_id: 10.0.0.1\npeers: {a: {address: 10.0.0.2, remote_asn: external}}\n");
    assert_eq!(node.peers[0].import, None);
    assert_eq!(node.peers[0].export, None);
}

#[test]
fn internal_peers_of_a_host_become_the_next_hop() {
    let node = node_from(
        "role: host\nasn: 64600\naddresses: [10.69.0.4/32]\npeers: {tor1: {address: 10.69.0.65, remote_asn: internal}}\n",
    );
    assert_eq!(node.peers[0].next_hop, NextHopRule::PeerOnImport);
    assert_eq!(node.peers[0].remote_asn, RemoteAs::Is(Asn(64_600)));
    assert_eq!(node.peers[0].endpoint, Endpoint::Address("10.69.0.65".parse().unwrap()));
}

#[test]
fn switches_advertise_after_install_and_spines_are_next_hop() {
    let tor = node_from(
        "role: tor\nasn: 64600\naddresses: [10.69.255.1/32]\nlisten: [{prefix: 10.69.0.64/26, remote_asn: 64600}]\n",
    );
    assert!(tor.speaker.advertise_after_install && tor.speaker.hold_back_ms > 0);
    assert!(tor.dynamic[0].template.passive);
    assert_eq!(tor.dynamic[0].template.next_hop, NextHopRule::Standard);
    let spine = node_from(
        "role: spine\nasn: 64599\naddresses: [10.69.255.101/32]\npeers: {tor1: {address: 10.72.1.1, remote_asn: 64600}}\n",
    );
    assert_eq!(spine.peers[0].next_hop, NextHopRule::SelfOnExport);
}

#[test]
fn a_prefix_alone_is_an_entry_of_originate_and_a_hundred_thousand_fit_one_file() {
    let entry = |number: u32| format!("- {}/32\n", std::net::Ipv4Addr::from_bits(0x0a80_0000 + number));
    let many: String = (0..100_000).map(entry).collect();
    let head = "asn: 64600\naddresses: [10.69.0.4/32]\noriginate:\n";
    let node = node_from(&format!("{head}{many}- {{prefix: 10.0.0.0/9, communities: [\"65000:1\"]}}\n"));
    // The node's address is the first.
    assert_eq!(node.originate.len(), 100_002);
    assert_eq!(node.originate[100_000].prefix.to_string(), "10.129.134.159/32");
    assert_eq!((node.originate[1].communities.len(), node.originate[100_001].communities.len()), (0, 1));
}
