//! Drawings of small networks, of a running one, of hostile texts, and of a large one in little time.
#![expect(clippy::disallowed_types, reason = "drawing has a time to keep")]

use std::collections::BTreeMap;
use std::path::Path;

use super::seen::{EndSeen, Session};
use super::*;
use crate::sim::clos::Clos;

const FILE: &str = "name: t\ntopology:\n  defaults: {image: weft}\n  nodes: {spine1: {}, leaf1: {group: rack}, srv: {image: alpine}}\n  links:\n    \
    - endpoints: ['leaf1:up', 'spine1:down']\n    - endpoints: ['leaf1:eth1', 'srv:eth0']\n";

fn topology(text: &str) -> Topology {
    Topology::parse(text, Path::new("/t.clab.yml"), &|_| None).unwrap()
}

fn seen(topology: &Topology) -> Seen {
    let node = |up, all| NodeSeen { state: "running".into(), sessions: Some((up, all)) };
    let mut seen = Seen::default();
    seen.nodes.extend([("spine1".to_owned(), node(1, 1)), ("leaf1".to_owned(), node(1, 2))]);
    seen.nodes.insert("srv".into(), NodeSeen { state: "exited".into(), sessions: None });
    let end = |up, bits_per_s| EndSeen { up, bits_per_s, sessions: (0, 0) };
    for (port, state) in [
        (("leaf1", "up"), end(true, 12_345_678)),
        (("spine1", "down"), end(true, 99)),
        (("leaf1", "eth1"), end(false, 0)),
        (("srv", "eth0"), end(true, 0)),
    ] {
        seen.ends.insert((port.0.into(), port.1.into()), state);
    }
    let session = |interface: Option<&str>, address: Option<&str>, established| Session {
        interface: interface.map(str::to_owned),
        address: address.map(|address| address.parse().unwrap()),
        established,
    };
    let sessions = BTreeMap::from([
        ("spine1".to_owned(), vec![session(None, Some("10.0.0.1"), true), session(None, Some("10.9.9.9"), false)]),
        ("leaf1".to_owned(), vec![session(Some("up"), None, true), session(Some("eth1"), None, false)]),
    ]);
    let owners = BTreeMap::from([("10.0.0.1".parse().unwrap(), ("leaf1".to_owned(), "up".to_owned()))]);
    seen.add_sessions(topology, &sessions, &owners);
    seen
}

#[test]
fn sessions_are_found_on_their_links_by_interface_and_by_address() {
    let topology = topology(FILE);
    let seen = seen(&topology);
    let links = topology.links.iter().map(|link| seen.link(&link.a, &link.b).unwrap());
    let found: Vec<_> = links.map(|link| (link.up, link.sessions, link.bits_per_s)).collect();
    assert_eq!(found, [(true, (1, 1), [12_345_678, 99]), (false, (0, 1), [0, 0])]);
}

#[test]
fn a_running_lab_in_every_language() {
    let topology = topology(FILE);
    let picture = Picture::new(&topology, Some(&seen(&topology)));
    let dot = picture.draw(Language::Dot);
    assert!(dot.contains("\"leaf1\" [label=\"leaf1\\nweft 1/2\", color=\"#cf222e\", style=dashed];"), "{dot}");
    assert!(dot.contains("\"spine1\" -- \"leaf1\" [taillabel=\"down\", headlabel=\"up\", "), "{dot}");
    let mermaid = picture.draw(Language::Mermaid);
    for part in ["n0[\"spine1 (weft 1/1)\"]", "n0 ---|\"down – up\"| n1", "class n0 good", "linkStyle 1 stroke:#cf222e"]
    {
        assert!(mermaid.contains(part), "no `{part}` in {mermaid}");
    }
    let svg = picture.draw(Language::Svg);
    for part in [
        "leaf1:up – spine1:down: up, 1 of 1 sessions established, 12 Mbit/s one way, 99 bit/s the other",
        "<g class=\"link bad\"><title>leaf1:eth1 – srv:eth0: down, 0 of 1 sessions",
        ">12 Mbit/s</text>",
        "3 nodes, 2 links; 1 of 2 sessions over links established, links down: 1",
        "plain, exited",
    ] {
        assert!(svg.contains(part), "no `{part}` in {svg}");
    }
    let page = picture.draw(Language::Html);
    assert!(page.contains(
        "<tr class=\"bad\"><td>leaf1</td><td>linux</td><td>weft</td><td>rack</td><td>running</td><td>1 of 2</td></tr>"
    ));
    assert!(page.contains("<td>up</td><td>1 of 1</td><td>12 Mbit/s</td><td>99 bit/s</td>"), "{page}");
    let json: serde_json::Value = serde_json::from_str(&picture.draw(Language::Json)).unwrap();
    assert_eq!((json["nodes"][1]["name"].as_str(), json["nodes"][1]["row"].as_u64()), (Some("leaf1"), Some(1)));
    assert_eq!(json["links"][0]["bits_per_s"][0], 12_345_678);
    assert_eq!(json["nodes"][1]["sessions"], serde_json::json!([1, 2]));
}

/// A group is the author's free text; in none of the languages may it end what it stands in.
#[test]
fn a_hostile_text_stays_a_text() {
    let text =
        "name: t\ntopology:\n  nodes:\n    a: {image: weft, group: '</title><script>alert(1)</script>\"];x--y'}\n";
    let picture = Picture::new(&topology(text), None);
    for language in [Language::Svg, Language::Html] {
        let drawn = picture.draw(language);
        assert!(!drawn.contains("<script") && drawn.contains("&lt;script&gt;"), "{drawn}");
    }
    let mut picture = Picture::new(&topology(FILE), None);
    "a\"]; evil -- x\\\u{7}<b>#".clone_into(&mut picture.nodes[0].name);
    assert!(picture.draw(Language::Dot).contains(r#""a\"]; evil -- x\\ <b>#" ["#));
    assert!(picture.draw(Language::Mermaid).contains("n0[\"a#34;]#59; evil -- x#92; #60;b#62;#35; (weft)\"]"));
}

#[test]
fn no_box_covers_another_and_all_are_on_the_sheet() {
    let clos = Clos { spines: 4, leaves: 24, servers: 200, cables: 2, stubs: false };
    let picture = Picture::new(&clos.topology().unwrap(), None);
    let layout = layout::Layout::new(&picture);
    let height = layout::box_height();
    for (at, a) in layout.boxes.iter().enumerate() {
        assert!(a.x >= 0.0 && a.x + a.width <= layout.width && a.y + height <= layout.height, "{a:?}");
        for b in &layout.boxes[at + 1..] {
            let apart = a.x + a.width <= b.x || b.x + b.width <= a.x || a.y + height <= b.y || b.y + height <= a.y;
            assert!(apart, "{a:?} and {b:?}");
        }
    }
    let rows: Vec<usize> = picture.nodes.iter().map(|node| node.row).collect();
    assert_eq!((rows[0], rows[3], rows[4], rows[27], rows[28], rows[227]), (0, 0, 1, 1, 2, 2));
}

#[test]
fn a_thousand_nodes_are_drawn_at_once() {
    let topology = Clos { spines: 8, leaves: 32, servers: 960, cables: 1, stubs: false }.topology().unwrap();
    // a page has everything that the others have
    let begin = std::time::Instant::now();
    let page = Picture::new(&topology, None).draw(Language::Html);
    let took = begin.elapsed();
    assert!(took.as_secs_f64() < 1.0, "{took:?}");
    assert_eq!(page.matches("class=\"box\"").count(), 1_000);
}

#[test]
fn rates_have_two_or_three_digits() {
    let cases = [
        (0, "0 bit/s"),
        (999, "999 bit/s"),
        (1_234, "1.2 kbit/s"),
        (56_789, "56 kbit/s"),
        (12_000_000_000, "12 Gbit/s"),
    ];
    for (bits, text) in cases {
        assert_eq!(rate(bits), text);
    }
}

/// The top README shows the default lab as this code draws it.
#[test]
fn the_drawing_of_the_default_lab_is_what_the_code_draws() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let topology = Topology::load(&folder.join("topologies/two-racks.clab.yml"), &|_| None).unwrap();
    let drawn = Picture::new(&topology, None).draw(Language::Svg);
    let kept = std::fs::read_to_string(folder.join("two-racks.svg")).unwrap();
    assert!(drawn == kept, "draw it again: cargo lab graph two-racks --format svg --output labs/two-racks.svg");
    let readme = std::fs::read_to_string(folder.join("../README.md")).unwrap();
    assert!(readme.contains("](labs/two-racks.svg)"), "the README does not show it");
}
