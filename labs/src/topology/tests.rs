//! Topology files that are read, and those that are refused with line and field.

use std::path::Path;

use super::*;

fn parse(text: &str) -> Result<Topology, String> {
    Topology::parse(text, Path::new("/lab/t.clab.yml"), &|_| None).map_err(|error| error.to_string())
}

/// A file with these nodes, and links if any.
fn with(nodes: &str, links: &str) -> String {
    format!("name: t\ntopology:\n  nodes:\n    {nodes}\n  links:\n    - {links}\n")
}

#[test]
fn inheritance_merges_maps_and_lists_and_overrides_scalars() {
    let text = "\
name: t
topology:
  defaults: {kind: linux, image: weft, env: {A: d, B: d}, exec: [one]}
  kinds: {linux: {sysctls: {net.core.somaxconn: 7}}}
  groups: {leaf: {image: alpine, env: {B: g}}}
  nodes:
    a: {group: leaf, env: {C: n}, exec: ['two \"three four\"'], binds: [\"x.yaml:/etc/x.yaml:ro\"]}
    b:
";
    let topology = parse(text).unwrap();
    let a = &topology.nodes["a"];
    assert_eq!((a.image.as_str(), a.personality), ("alpine", Personality::Plain));
    assert_eq!(a.env.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>(), ["A=d", "B=g", "C=n"]);
    assert_eq!(a.exec, [vec!["one".to_owned()], vec!["two".to_owned(), "three four".to_owned()]]);
    assert_eq!(a.sysctls["net.core.somaxconn"], "7");
    assert_eq!(a.binds[0].host, Path::new("/lab/x.yaml"));
    assert!(a.binds[0].read_only);
    assert_eq!(topology.nodes["b"].personality, Personality::Weft);
    assert_eq!(topology.long_name("a"), "clab-t-a");
}

#[test]
fn both_forms_of_a_link_are_read() {
    let text = with(
        "a: {}\n    b: {}",
        "{endpoints: [\"a:eth1\", \"b:eth1\"], mtu: 1500, ipv4: [10.0.0.0/31, 10.0.0.1/31]}\n    \
         - type: veth\n      endpoints:\n        - {node: a, interface: eth2, mac: \"02:00:00:00:00:01\", ipv6: \"fd00::1/64\"}\n        \
         - {node: b, interface: eth2}",
    );
    let topology = parse(&text).unwrap();
    assert_eq!(topology.links[0].mtu, 1500);
    assert_eq!(topology.links[0].b.addresses, ["10.0.0.1/31".parse::<IpNet>().unwrap()]);
    assert_eq!(topology.links[1].a.mac, [2, 0, 0, 0, 0, 1]);
    assert_eq!(topology.nodes["a"].addresses["eth2"], ["fd00::1/64".parse::<IpNet>().unwrap()]);
    assert_ne!(topology.links[0].a.mac, topology.links[0].b.mac);
}

#[test]
fn what_is_wrong_is_named_with_its_line_and_field() {
    let cases = [
        ("name: t\ntopology:\n  nodes:\n    a: {knid: linux}\n", "t.clab.yml:4:", "knid"),
        (
            "name: t\ntopology:\n  nodes:\n    a:\n      stages: {created: {}}\n",
            "t.clab.yml:5:",
            "unknown field `created`",
        ),
        ("name: t\ntopology:\n  nodes:\n    a: {kind: srl}\n", "t.clab.yml:4:", "kind `srl` is not supported"),
        ("name: t\ntopology:\n  nodes:\n    a: {sysctls: {vm.x: 1}}\n", "t.clab.yml:4:", "only `net.` settings"),
        ("name: a b\ntopology: {nodes: {}}\n", "t.clab.yml:1:", "`a b`"),
    ];
    for (text, place, what) in cases {
        let error = parse(text).unwrap_err();
        assert!(error.contains(place) && error.contains(what), "{error}");
    }
    let links = [
        ("{endpoints: [\"a:eth1\", \"c:eth1\"]}", "topology.links[0].endpoints[1]: there is no node `c`"),
        ("{endpoints: [\"a:eth1\", \"vxlan:eth1\"]}", "there is no node `vxlan`"),
        ("{endpoints: [\"a:eth1\", \"a:eth1\"]}", "already the end"),
        ("{endpoints: [\"a:eth1\"]}", "two endpoints, not 1"),
        ("{endpoints: [\"a:averylonginterfacename\", \"b:eth1\"]}", "1 to 15 characters"),
        ("{endpoints: [\"a-eth1\", \"b:eth1\"]}", "write \"node:interface\""),
        ("{type: vxlan-stitch, endpoint: \"a:eth1\"}", "links of type `vxlan-stitch`"),
        ("{type: vxlan, endpoint: \"a:eth1\", remote: 10.0.0.1}", "needs `vni`"),
        ("{type: vxlan, endpoint: \"a:eth1\", remote: there, vni: 5}", "`there` is no address"),
        ("{type: macvlan, endpoint: \"a:eth1\", host-interface: eno1, mode: odd}", "a macvlan is bridge"),
        ("{type: host, endpoint: \"a:eth1\"}", "needs `host-interface`"),
    ];
    for (link, what) in links {
        let error = parse(&with("a: {}\n    b: {}", link)).unwrap_err();
        assert!(error.contains(what) && error.contains("t.clab.yml:7:"), "{error}");
    }
}

#[test]
fn a_bridge_needs_ports_that_exist() {
    let text = with("a: {}\n    b: {}", "{endpoints: [\"a:eth1\", \"b:eth1\"]}");
    let good =
        format!("{text}weft: {{nodes: {{a: {{bridges: {{rack: {{ports: [eth1], address: 10.0.0.1/26}}}}}}}}}}\n");
    assert_eq!(parse(&good).unwrap().nodes["a"].bridges["rack"].ports, ["eth1"]);
    let error = parse(&good.replace("ports: [eth1]", "ports: [eth2]")).unwrap_err();
    assert!(error.contains("no link ends at `a:eth2`"), "{error}");
}

#[test]
fn the_topologies_in_the_tree_are_whole() {
    for (name, nodes, links, expect) in [("two-racks", 13, 22, 10), ("unnumbered", 13, 22, 10), ("add-path", 7, 6, 4)] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("topologies/{name}.clab.yml"));
        let topology = Topology::load(&path, &|_| None).unwrap();
        assert_eq!((topology.nodes.len(), topology.links.len()), (nodes, links));
        assert!(topology.nodes.values().all(|node| node.personality == Personality::Weft));
        assert!(topology.nodes.values().all(|node| node.binds.iter().all(|bind| bind.host.is_file())), "{name}");
        let macs: std::collections::BTreeSet<[u8; 6]> =
            topology.links.iter().flat_map(|link| [link.a.mac, link.b.mac]).collect();
        assert_eq!(macs.len(), 2 * links, "hardware addresses differ");
        assert!(topology.expect.len() > expect);
    }
}

#[test]
fn every_topology_in_the_tree_has_its_files() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("topologies");
    let mut count = 0;
    for folder in [folder.clone(), folder.join("clab")] {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if !path.is_file() || !path.to_string_lossy().ends_with(".clab.yml") {
                continue;
            }
            count += 1;
            let topology = Topology::load(&path, &|_| None).unwrap();
            assert!(!topology.expect.is_empty(), "{}", path.display());
            for node in topology.nodes.values() {
                for bind in &node.binds {
                    assert!(bind.host.exists(), "{}", bind.host.display());
                    let is_config = bind.target == Path::new("/etc/weft/weft.yaml");
                    let config = node.personality.config_file(&bind.host);
                    assert!(!is_config || config.is_file(), "{}", config.display());
                }
            }
        }
    }
    assert!(count > 18, "the walk finds the topologies");
}

#[test]
fn links_of_every_type_are_read() {
    let text = "\
name: t
topology:
  defaults: {kind: linux, image: alpine}
  nodes: {a: {}, b: {network-mode: host}, c: {network-mode: \"container:clab-t-a\"}, d: {network-mode: \"container:elsewhere\"}}
  links:
    - endpoints: [\"a:eth1\", \"host:up0\"]
    - {type: mgmt-net, endpoint: \"a:eth2\", host-interface: m1}
    - endpoints: [\"macvlan:eno1\", \"a:eth3\"]
    - {type: vxlan, endpoint: {node: a, interface: eth4}, remote: 10.0.0.1, vni: 7, parent-interface: up0}
    - {type: dummy, endpoint: {node: a, interface: eth5, ipv4: 10.0.0.9/24}}
";
    let topology = parse(text).unwrap();
    assert_eq!(topology.nodes.keys().collect::<Vec<_>>(), ["a", "b", "c", "d", "elsewhere", "host", "mgmt-net"]);
    assert_eq!(
        (topology.nodes["host"].kind.as_str(), topology.nodes["mgmt-net"].bridges["br0"].ports.len()),
        ("host", 1)
    );
    let network = |node: &str| topology.nodes[node].network.as_deref();
    assert_eq!(
        [network("a"), network("b"), network("c"), network("d")],
        [None, Some("host"), Some("a"), Some("elsewhere")]
    );
    // the macvlan's parent has nobody else to make it
    let devices: Vec<String> =
        topology.devices.iter().map(|device| format!("{}:{}", device.end.node, device.end.interface)).collect();
    assert_eq!(devices, ["host:eno1", "a:eth3", "a:eth4", "a:eth5"]);
    assert_eq!(topology.interfaces("a").count(), 5);
    assert_eq!(topology.nodes["a"].addresses["eth5"].len(), 1);
    assert!(topology.warnings.iter().any(|warning| warning.contains("elsewhere")));
    let managed = parse(&text.replace("a: {}", "a: {mgmt-ipv4: 172.20.20.9}, z: {mgmt-ipv6: fd00::1}")).unwrap();
    assert_eq!(managed.nodes["a"].addresses["eth2"], ["172.20.20.9/24".parse::<IpNet>().unwrap()]);
    assert!(managed.warnings.iter().any(|warning| warning.contains("z: no effect without a link to mgmt-net")));
    assert!(parse(&text.replace("a: {}", "a: {mgmt-ipv4: 'fd00::1'}")).unwrap_err().contains("no such address"));
}

#[test]
fn what_is_automatic_follows_its_rule() {
    let text = "\
name: t
topology:
  nodes:
    h: {kind: linux, image: alpine}
    l1: {image: weft, group: leaf}
    l2: {image: weft, group: leaf}
    s1: {image: weft, group: spine}
    s2: {image: weft, group: spine}
    server: {image: weft, group: servers}
  links:
    - endpoints: [\"l2:eth8\", \"server:eth1\"]
    - endpoints: [\"l1:eth1\", \"s1:eth1\"]
    - endpoints: [\"l1:eth2\", \"s2:eth1\"]
    - endpoints: [\"l2:eth1\", \"s1:eth2\"]
    - endpoints: [\"h:eth1\", \"l2:eth3\"]
    - endpoints: [\"l1:eth4\", \"s1:eth4\"]
weft: {auto: true, nodes: {l2: {asn: 65002}}}
";
    let topology = parse(text).unwrap();
    let config = |node: &str| topology.nodes[node].config.clone().unwrap();
    assert_eq!(
        config("l1"),
        "# Made by `weft: auto`.\nhostname: l1\nasn: 4200000002\naddresses: [10.255.0.2/32, \"fdff::2/128\"]\ngroups:\n  fabric: \
         {import: accept-all, export: accept-all}\npeers:\n  s1: {interface: eth1, remote_asn: 4200000004, group: fabric}\n  \
         s2: {interface: eth2, remote_asn: 4200000004, group: fabric}\n  \
         s1-eth4: {interface: eth4, remote_asn: 4200000004, group: fabric}\n"
    );
    assert!(config("s1").contains("l2: {interface: eth2, remote_asn: 65002"), "{}", config("s1"));
    assert!(config("l2").contains("originate: [{prefix: 10.240.0.8/31}]"), "{}", config("l2"));
    assert!(config("server").contains("\nrole: host\n"), "{}", config("server"));
    let h = &topology.nodes["h"];
    assert_eq!(h.addresses["eth1"], ["10.240.0.8/31".parse::<IpNet>().unwrap()]);
    assert_eq!(h.exec, [["ip", "route", "replace", "default", "via", "10.240.0.9"].map(str::to_owned).to_vec()]);
    for node in ["l1", "l2", "s1", "s2", "server"] {
        weft_fabric::config::parse("auto.yaml", &config(node)).unwrap().node().unwrap();
    }
}

#[test]
fn servers_that_are_told_a_default_route_share_an_as_and_have_leaves_with_a_role() {
    let text = "\
name: t
topology:
  nodes:
    leaf1: {image: weft, group: leaf}
    server1: {image: weft, group: server}
    server2: {image: weft, group: server}
    spine1: {image: weft, group: spine}
  links:
    - endpoints: [\"leaf1:eth1\", \"spine1:eth1\"]
    - endpoints: [\"leaf1:eth2\", \"server1:eth1\"]
    - endpoints: [\"leaf1:eth3\", \"server2:eth1\"]
weft: {auto: true, servers: default}
";
    let topology = parse(text).unwrap();
    let config = |node: &str| topology.nodes[node].config.clone().unwrap();
    for node in ["leaf1", "server1", "server2", "spine1"] {
        weft_fabric::config::parse("auto.yaml", &config(node)).unwrap().node().unwrap();
    }
    assert!(config("leaf1").contains("role: tor\n") && config("leaf1").contains("originate: [0.0.0.0/0]\n"));
    assert!(config("leaf1").contains("server2: {interface: eth3, remote_asn: 4200000002, group: servers}"));
    assert!(config("leaf1").contains("spine1: {interface: eth1, remote_asn: 4200000004, group: fabric}"));
    assert!(config("server2").contains("asn: 4200000002\naddresses: [10.255.0.3/32]\nrole: host\n"));
    assert!(config("spine1").contains("role: spine\n"));
    let error = parse(&text.replace("servers: default", "servers: some")).unwrap_err();
    assert!(error.contains("some") && error.contains("default"), "{error}");
}

#[test]
fn stages_health_and_folders_are_read() {
    let text = "\
name: t
topology:
  defaults: {image: alpine}
  nodes:
    a: {healthcheck: {test: [CMD-SHELL, \"true\"], interval: 2, retries: 1}, user: \"1000:0\", startup-delay: 3}
    b:
      volumes: [\"data:/data:ro\", \"./x:/x\", /anonymous]
      tmpfs: {/scratch: \"rw,size=1m\"}
      stages:
        create: {wait-for: [{node: a, stage: healthy}]}
        configure: {exec: [{command: \"echo a b\", target: host, phase: on-exit}]}
";
    let topology = parse(text).unwrap();
    let (a, b) = (&topology.nodes["a"], &topology.nodes["b"]);
    assert_eq!(a.health.as_ref().unwrap().words, ["sh", "-c", "true"]);
    assert_eq!((a.startup_delay, a.user.as_deref()), (Duration::from_secs(3), Some("1000:0")));
    assert_eq!(b.stages[&Stage::Create].wait_for, [("a".to_owned(), Stage::Healthy)]);
    assert!(b.stages[&Stage::Configure].on_exit[0].at_host && topology.nodes.contains_key("host"));
    assert!(b.volumes[0].read_only && b.volumes[0].name == "data");
    assert_eq!(b.binds[0].host, Path::new("/lab/./x"));
    assert_eq!(
        b.tmpfs.iter().map(|(k, v)| format!("{}={v}", k.display())).collect::<Vec<_>>(),
        ["/anonymous=", "/scratch=size=1m"]
    );
    assert!(topology.is_staged());
}

#[test]
fn some_nodes_alone_and_under_another_name() {
    let text = "name: t\ntopology:\n  defaults: {image: weft}\n  nodes: {a: {}, b: {}, c: {}}\n  links:\n    \
                - endpoints: ['a:e1', 'b:e1']\n    - endpoints: ['b:e2', 'c:e1']\n    - endpoints: ['a:e2', 'host:x']\n\
                weft: auto\nexpect: [{from: a, ping: c}]\n";
    let mut reading = Reading { name: Some("u".to_owned()), ..Reading::new(&|_| None) };
    reading.only = vec!["a".to_owned(), "b".to_owned()];
    let read = |reading: &Reading<'_>| Topology::read_with(text, Path::new("/lab/t.clab.yml"), reading);
    let topology = read(&reading).unwrap();
    assert_eq!((topology.name.as_str(), topology.long_name("a").as_str()), ("u", "clab-u-a"));
    assert_eq!(topology.nodes.keys().collect::<Vec<_>>(), ["a", "b", "host"]);
    assert_eq!((topology.links.len(), topology.expect.len()), (2, 0));
    // nobody is told of a peer that is not there
    assert!(!topology.nodes["b"].config.as_ref().unwrap().contains(" c: {"));
    assert!(topology.warnings[0].contains("without 1 nodes, 1 links, and 1 expectations"), "{:?}", topology.warnings);
    reading.only.push("x".to_owned());
    assert!(read(&reading).unwrap_err().to_string().contains("there is no node `x` to choose: a, b, c"));
    reading.name = Some("../u".to_owned());
    reading.only.clear();
    assert!(read(&reading).unwrap_err().to_string().contains("a name has letters"));
}

#[test]
fn a_link_local_address_is_made_of_a_hardware_address_as_the_standard_says() {
    // RFC 4291 appendix A: the universal bit is turned, FFFE stands in the middle
    assert_eq!(link_local([0xaa, 0xc1, 0xab, 0x5d, 0x00, 0x0d]).to_string(), "fe80::a8c1:abff:fe5d:d");
}
