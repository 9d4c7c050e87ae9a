//! Listings of a million lines: the same as the typed answers, for people and as JSON, in whatever pages they come.

use super::*;
use serde_json::Value;

/// What a listing of a million lines says is what the typed answer says, in whatever pages it comes.
#[test]
fn lines_say_what_the_table_of_the_typed_answer_says() {
    let mut plant = converged();
    let words = |text: &str| -> Vec<Vec<String>> {
        text.lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
    };
    let same = |plant: &Plant, at: usize| {
        let Body::Bgp(bgp) = plant.ask(at, &Question::Bgp(all_pages())).body else { panic!("no paths") };
        let Body::Routes(routes) = plant.ask(at, &Question::Routes(all_pages())).body else { panic!("no routes") };
        let tables = [
            (Listing::Paths, crate::show::bgp::page(&bgp, true)),
            (Listing::Routes, crate::show::routes::page(&routes, true)),
        ];
        for (of, table) in &tables {
            let (whole, next) = lines_of(plant, at, (*of, LineForm::Text), None, 100);
            assert_eq!((words(&whole), next), (words(table), None));
            let (mut joined, mut after) = (String::new(), None);
            loop {
                let (text, next) = lines_of(plant, at, (*of, LineForm::Text), after, 2);
                joined += &text;
                after = next;
                if after.is_none() {
                    break;
                }
            }
            assert_eq!(joined, whole, "columns are as wide on each page");
        }
        let [(_, paths), (_, routes)] = tables;
        (bgp.routes.iter().any(|route| route.paths.len() > 1), paths + &routes)
    };
    let mut all = String::new();
    for at in 0..plant.nodes.len() {
        let (_, text) = same(&plant, at);
        all += &text;
    }
    assert!(same(&plant, HOST_AT).0, "a prefix with two paths");
    for index in 2..=4 {
        plant.handle(HOST_AT, Input::LinkDown(IfIndex(index)));
    }
    all += &same(&plant, HOST_AT).1;
    for word in ["discard", "local", "installed"] {
        assert!(all.contains(word), "{word}: {all}");
    }
}

fn lines_of(
    plant: &Plant,
    at: usize,
    (of, form): (Listing, LineForm),
    after: Option<IpNet>,
    limit: usize,
) -> (String, Option<IpNet>) {
    let Body::Lines { text, next, .. } = plant.ask(at, &Question::Lines { of, form, after, limit }).body else {
        panic!("no lines")
    };
    (text, next)
}

const LEFT: &str = "
asn: 65001
hostname: left
router_id: 10.69.0.1
originate: [{prefix: 10.71.0.0/16, communities: ['65001:7', '65001:8'], large_communities: ['65001:1:2']}]
peers: {rr: {address: 10.0.1.2, remote_asn: internal}}
";
const REFLECTOR: &str = "
asn: 65001
hostname: rr
router_id: 10.69.0.2
originate: [{prefix: 10.71.0.0/16}, {prefix: 10.72.0.0/16}, {prefix: 10.77.0.0/16}]
peers:
  left: {address: 10.0.1.1, remote_asn: internal, route_reflector_client: true}
  right: {address: 10.0.2.2, remote_asn: internal, route_reflector_client: true, add_path: {send: all}}
";
const RIGHT: &str = "
asn: 65001
hostname: right
router_id: 10.69.0.3
originate: [{prefix: 10.73.0.0/16}]
aggregates: [10.72.0.0/15]
rpki: {caches: [{address: 192.0.2.50}]}
peers:
  rr: {address: 10.0.2.1, remote_asn: internal, add_path: {receive: true}}
  ext: {address: 10.0.3.1, remote_asn: external, import: all, export: all}
policy: {all: [{then: accept}], guards: [{prefix: 10.75.0.0/16, minimum_next_hops: 2}]}
";
const OUTSIDE: &str = "
asn: 65009
hostname: ext
router_id: 10.69.0.9
originate: [{prefix: 10.75.0.0/16}, {prefix: 10.76.0.0/16}, {prefix: 10.77.0.0/16}, {prefix: 'fd00:70::/32'}]
peers: {right: {address: 10.0.3.2, remote_asn: external, import: all, export: told}}
policy:
  all: [{then: accept}]
  told: [{match: {prefix: 10.76.0.0/16}, then: {set: {link_bandwidth: 10G, med: 5}, prepend: 2, do: accept}}, {then: accept}]
";

/// What `--output json` makes of the answers that were read: fields in the order of their names.
fn objects(answers: &impl Serialize) -> Vec<String> {
    let Value::Array(answers) = serde_json::to_value(answers).unwrap() else { panic!("no list") };
    answers.iter().map(Value::to_string).collect()
}

/// The listing as JSON, octet for octet what it was; returns all of it.
fn same_objects(plant: &Plant, at: usize) -> String {
    let Body::Bgp(bgp) = plant.ask(at, &Question::Bgp(all_pages())).body else { panic!("no paths") };
    let Body::Routes(routes) = plant.ask(at, &Question::Routes(all_pages())).body else { panic!("no routes") };
    let mut all = String::new();
    for (of, expected) in [(Listing::Paths, objects(&bgp.routes)), (Listing::Routes, objects(&routes.routes))] {
        let (whole, next) = lines_of(plant, at, (of, LineForm::Json), None, 100);
        assert_eq!((whole.lines().collect::<Vec<_>>(), next), (expected.iter().map(String::as_str).collect(), None));
        let (first, next) = lines_of(plant, at, (of, LineForm::Json), None, 2);
        let (rest, end) = lines_of(plant, at, (of, LineForm::Json), next, 100);
        assert_eq!((first + &rest, end), (whole.clone(), None), "pages");
        all += &whole;
    }
    all
}

#[test]
fn objects_of_lines_are_those_of_the_typed_answer_for_every_kind_of_route() {
    const AT: usize = 2;
    let files = [LEFT, REFLECTOR, RIGHT, OUTSIDE].map(str::to_owned);
    let links = [
        vec![link(2, "eth0", "10.0.1.1/24")],
        vec![link(2, "eth0", "10.0.1.2/24"), link(3, "eth1", "10.0.2.1/24")],
        vec![link(2, "eth0", "10.0.2.2/24"), link(3, "eth1", "10.0.3.2/24")],
        vec![link(2, "eth0", "10.0.3.1/24")],
    ];
    let mut plant = Plant::of(&files, links.clone());
    let now = plant.now;
    plant.nodes[AT].set_caches(now);
    // What comes back is refused by the kernel.
    plant.refused = vec!["10.76.0.0/16".parse().unwrap()];
    plant.handle(AT, Input::LinkDown(IfIndex(3)));
    plant.handle(AT, Input::Links(links[AT].clone()));
    plant.run(60);
    let mut all: String = (0..files.len()).map(|at| same_objects(&plant, at)).collect();
    plant.is_silent = true;
    plant.handle(AT, Input::LinkDown(IfIndex(2)));
    all += &same_objects(&plant, AT);
    plant.handle(AT, Input::Links(vec![link(2, "eth0", "10.0.2.2/24")]));
    all += &same_objects(&plant, AT);
    let ours: Vec<_> = plant.pipes.keys().filter(|(at, _)| *at == AT).copied().collect();
    for (at, conn) in ours {
        plant.handle(at, Input::Bgp(speaker::Input::Closed { conn }));
    }
    all += &same_objects(&plant, AT);
    for word in [
        r#""kind":"none""#,
        r#""kind":"local""#,
        r#""kind":"aggregate""#,
        r#""kind":"bgp""#,
        r#""kernel":"refused""#,
        r#""kernel":"waiting""#,
        r#""kernel":"installed""#,
        r#""kernel":"none""#,
        r#""held_back":"held back: 1 of 2 next hops""#,
        r#""communities":["65001:7","65001:8"]"#,
        r#""large_communities":["65001:1:2"]"#,
        r#""ext_communities":["link-bandwidth:"#,
        r#""originator_id":"10.69.0.1""#,
        r#""cluster_list":["10.69.0.2"]"#,
        r#""path_id":"#,
        r#""rpki":"not-found""#,
        r#""stale":true"#,
        r#""med":5"#,
        r#""as_path":"65009 65009 65009""#,
        r#""reason":"the only path""#,
        r#""via":null"#,
        r#""prefix":"fd00:70::/32""#,
    ] {
        assert!(all.contains(word), "{word}: {all}");
    }
}
