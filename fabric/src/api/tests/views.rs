//! `VIEWS.md`: what each verb prints, of a host below two ToRs and a spine. A test of the verbs holds the file to this.

use super::*;
use crate::drain::traffic::{LinkTraffic, Traffic};
use crate::drain::wait::{Step, Wait};
use crate::drain::{By, Scope};
use crate::fib::{FibDiff, FibReport};
use crate::health::tests as made;
use crate::show;
use crate::show::top::{Sample, View, draw};
use crate::trace;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use serde_json::{Value, json};
use std::fmt::Write as _;

const HEAD: &str = "# weft: what it shows

A host with sessions to two ToRs and, against all custom, to a spine. Numbers that depend on time are made equal. A test holds this file
to the code; `{RENEW}` writes it anew.
";

/// One view: the command, and what it prints.
fn view(text: &mut String, command: &str, printed: &str) {
    write!(text, "\n## `weft {command}`\n\n```\n{printed}```\n").unwrap();
}

/// The answers of the host.
fn of_the_plant(text: &mut String, plant: &Plant) {
    let prefix = || Target::read("10.72.0.0/16").unwrap();
    for (command, question) in [
        ("show version", Question::Version),
        ("show routes", Question::Routes(all_pages())),
        ("show bgp", Question::Bgp(all_pages())),
        ("show bgp 10.72.0.0/16", Question::Bgp(Selection::One(prefix()))),
        ("show interfaces", Question::Interfaces),
        ("show history", Question::History),
        ("show policy", Question::Policy),
        ("health", Question::Health),
        ("route list", Question::Originated),
        ("explain 8.8.8.8", Question::Explain(Target::read("8.8.8.8").unwrap())),
        ("explain 10.72.0.0/16", Question::Explain(prefix())),
    ] {
        view(text, command, &table_of(&question, &plant.ask(HOST_AT, &question)));
    }
    let drained = drain::shown();
    view(text, "show drain", &table_of(&Question::Drains, &drained.ask(HOST_AT, &Question::Drains)));
    let found: Neighbors = read(steady_json(&plant.ask(HOST_AT, &Question::Neighbors)));
    view(text, "show summary", &show::neighbors::table_of("host", &found));
    let spine = found.neighbors.iter().find(|peer| peer.name == "spine").unwrap();
    view(text, "show neighbors spine", &show::neighbors::details(spine));
    let Body::NeighborHistory(mut history) = plant.ask(HOST_AT, &Question::NeighborHistory("spine".to_owned())).body
    else {
        panic!("no history")
    };
    history.transitions.truncate(6);
    history.messages.truncate(4);
    history.transitions.iter_mut().for_each(|step| step.at = Instant(1_000_000_000));
    history.messages.iter_mut().for_each(|message| (message.at, message.times) = (Instant(1_000_000_000), 1));
    history.now = Instant(60_000_000_000);
    view(text, "show neighbors spine --history", &show::trail::tables_of(&history));
}

/// What the plant has none of.
fn of_other_nodes(text: &mut String) {
    let fib: FibReport = read(made::fib(json!({
        "nexthops": 2, "groups": 1, "failed": 1, "failures": [{"what": "10.9.0.0/16", "reason": "exists", "tries": 3}],
        "conflicts": ["10.9.0.0/16"], "health": made::health(json!({"foreign_deletions": 1}))
    })));
    let diff = FibDiff { missing: 1, routes_wanted: 13, routes_found: 12, took_ms: 2, ..FibDiff::default() };
    view(text, "show fib", &show::fib::text(&Kernel { fib: fib.clone(), diff: None }));
    view(text, "show fib --diff", &show::fib::text(&Kernel { fib, diff: Some(diff) }));
    let down = json!({"neighbor": "tor2", "state": "Down", "failures": 1, "out_of_use": true, "diagnostic": "control detection time expired"});
    let sessions = json!([made::session(json!({})), made::session(down)]);
    view(text, "show bfd", &show::bfd::table_of(&read(made::bfd(sessions, 1))));
    let failed = json!({
        "name": "dns", "state": "kept", "alarm": true, "check": "http://127.0.0.1:80/", "good": false, "last_error": "status 503",
        "reason": "nobody else announces it"
    });
    let vips = json!({"vips": [made::vip(json!({"reason": "its check passes"})), made::vip(failed)]});
    view(text, "show vips", &show::vips::table_of(&read(vips)));
    let caches = [made::cache("192.0.2.50:323", Some(3_600), true), made::cache("192.0.2.51:323", None, false)];
    view(text, "show rpki", &show::rpki::table_of(&read(json!({"caches": caches}))));
    let slow = made::observer(json!({"name": "/var/log/weft/updates.mrt", "kind": "mrt", "dropped": 7}));
    let observers = json!({"observers": [made::observer(json!({})), slow]});
    view(text, "show observers", &show::observers::table_of(&read(observers)));
}

/// Every daemon of the plant is asked.
fn a_trace(text: &mut String, plant: &Plant) {
    let name = |at: usize| plant.nodes[at].config().hostname.clone();
    let mut directory = trace::Directory::default();
    let links = |at| {
        let Body::Interfaces(found) = plant.ask(at, &Question::Interfaces).body else { panic!("no interfaces") };
        found.interfaces
    };
    for at in 0..plant.nodes.len() {
        directory.add(&name(at), plant.nodes[at].config().speaker.router_id, &links(at));
    }
    let target = "10.72.1.1".parse().unwrap();
    let found = trace::walk(target, "host", &directory, |wanted| {
        let at = (0..plant.nodes.len()).find(|at| name(*at) == wanted).unwrap();
        let Body::Explain(explanation) = plant.ask(at, &Question::Explain(Target::Address(target))).body else {
            panic!("no explanation")
        };
        let Body::Neighbors(found) = plant.ask(at, &Question::Neighbors).body else { panic!("no neighbors") };
        Ok(trace::Seen { explanation: *explanation, neighbors: found.neighbors, interfaces: links(at) })
    });
    view(text, "trace 10.72.1.1", &show::trace::text(&found));
}

fn a_screen(text: &mut String, plant: &Plant) {
    let ask = |question| steady_json(&plant.ask(HOST_AT, &question));
    let mut kernel = Kernel::default();
    (kernel.fib.install, kernel.fib.routes) = (true, 3);
    let sample = Sample {
        node: "host".to_owned(),
        at_ms: 0,
        version: read(ask(Question::Version)),
        neighbors: read(ask(Question::Neighbors)),
        health: read(ask(Question::Health)),
        kernel,
        bfd: BfdSessions::default(),
        history: read(ask(Question::History)),
    };
    let later = Sample { at_ms: 1_000, ..sample.clone() };
    let area = Rect::new(0, 0, 120, 20);
    let mut buffer = Buffer::empty(area);
    draw(area, &mut buffer, &View { now: &later, before: Some(&sample), skipped: 0, trouble: None });
    let row = |y| (0..area.width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    let screen: String = (0..area.height).map(|y| format!("{}\n", row(y).trim_end())).collect();
    view(text, "top", &screen);
}

/// What is said while a link is drained, on a plant whose time passes.
fn a_wait(text: &mut String) {
    let scope = Scope::Interface("eth0".to_owned());
    let (mut plant, mut wait) = (converged(), Wait::new(scope.clone(), drain::State::Drained));
    plant.handle(HOST_AT, Input::Drain { scope, target: drain::State::Drained, by: By::Operator });
    let mut printed = String::from("host: interface eth0: on the way to drained\n");
    for second in 0..10 {
        let Body::Drains(mut found) = plant.ask(HOST_AT, &Question::Drains).body else { panic!("no drains") };
        let received_packets = 50_000.min(second * 25_000);
        let eth0 = LinkTraffic { name: "eth0".to_owned(), received_packets, sent_packets: second * 6 };
        found.traffic = Traffic { at_ms: second * 1_000, forwarded_packets: None, interfaces: vec![eth0] };
        match wait.look(&found) {
            Step::Waiting(words) => words.into_iter().for_each(|words| printed += &format!("host: {words}\n")),
            Step::Done(words) => {
                printed += &format!("host: {words}\n");
                break;
            }
        }
        plant.run(1);
    }
    view(text, "drain --interface eth0 --wait", &printed);
}

fn a_stream(text: &mut String) {
    let lines: [Value; 4] = [
        json!({"schema": SCHEMA, "node": "host", "watch": "events"}),
        json!({"at_ms": 12_297, "kind": "links", "text": "eth0 lost its carrier", "event": "link_down"}),
        json!({"at_ms": 12_298, "kind": "peers", "text": "tor1: session down: carrier lost; its routes are gone", "event": "session_down"}),
        json!({"at_ms": 12_298, "kind": "routes", "text": "0.0.0.0/0 via 10.0.12.1 eth1", "event": "route"}),
    ];
    let printed: String = lines.iter().map(|line| format!("{}\n", show::monitor::line(line))).collect();
    view(text, "monitor", &printed);
}

/// All of them; `renew` is the command that writes them anew.
pub(crate) fn text(renew: &str) -> String {
    let plant = converged();
    let mut text = HEAD.replace("{RENEW}", renew);
    of_the_plant(&mut text, &plant);
    of_other_nodes(&mut text);
    a_trace(&mut text, &plant);
    a_screen(&mut text, &plant);
    a_wait(&mut text);
    a_stream(&mut text);
    text
}
