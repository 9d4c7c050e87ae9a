//! Answers of real nodes that speak over pipes in virtual time: a host below two ToRs and, against all custom, a spine.
//!
//! ```text
//!            spine 64599 (10.72.0.0/16)
//!           /     |      \
//!     tor1 64601  |   tor2 64602       both originate 0.0.0.0/0
//!           \     |      /
//!            host 65004
//! ```

mod dhcp;
mod drain;
mod lines;
mod originated;
mod reload;
mod upgrade;
pub(crate) mod views;
mod vips;

use super::*;
use crate::config;
use crate::link::{AddrInfo, LinkInfo};
use crate::node::{Input, Node, Output};
use crate::sandbox::Sandbox;
use bytes::BytesMut;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use weft_bgp::speaker;
use weft_bgp::time::{Duration, Instant};
use weft_bgp::types::{ConnId, IfIndex};
use weft_bgp::wire::attrs::Attrs;

const SPINE: &str = "
role: spine
asn: 64599
hostname: spine
addresses: [10.69.255.101/32]
originate: [{prefix: 10.72.0.0/16, communities: ['64599:7']}]
peers: {tor1: {address: 10.0.1.2, remote_asn: 64601}, tor2: {address: 10.0.2.2, remote_asn: 64602}, host: {address: 10.0.3.2, remote_asn: 65004}}
";
const TOR: &str = "
role: tor
asn: 6460N
hostname: torN
addresses: [10.69.255.N/32]
originate: [{prefix: 0.0.0.0/0}]
peers: {spine: {address: 10.0.N.1, remote_asn: external}}
groups: {servers: {import: plan}}
aggregates: [10.69.0.0/26]
listen: [{prefix: 10.0.1N.0/24, remote_asn: external, limit: 4, group: servers}]
policy:
  sets: {nodes: [10.69.0.0/26 ge 32]}
  plan: [{match: {prefix: nodes}, then: accept}]
";
const HOST: &str = "
role: host
asn: 65004
hostname: host
addresses: [10.69.0.4/32]
peers: {tor1: {address: 10.0.11.1, remote_asn: 64601}, tor2: {address: 10.0.12.1, remote_asn: 64602}, spine: {address: 10.0.3.1, remote_asn: 64599},
  old: {address: 10.0.11.9, remote_asn: [64701, 64702], shutdown: being moved}}
";

/// Nodes, and the pipes between their sockets.
pub(crate) struct Plant {
    now: Instant,
    nodes: Vec<Node>,
    pipes: BTreeMap<(usize, ConnId), (usize, ConnId)>,
    accepted: u64,
    /// What is on its way, in order.
    flight: VecDeque<(usize, Input)>,
    /// What the kernels refuse.
    refused: Vec<IpNet>,
    /// The kernels do not answer.
    is_silent: bool,
}

fn link(index: u32, name: &str, net: &str) -> LinkInfo {
    LinkInfo {
        index: IfIndex(index),
        name: name.to_owned(),
        mac: [2, 0, 0, 0, 0, u8::try_from(index).unwrap()],
        mtu: 1_500,
        up: true,
        carrier: true,
        damped: 0,
        loopback: name == "lo",
        master: None,
        kind: (name != "lo").then(|| "veth".to_owned()),
        addrs: vec![AddrInfo::new(net.parse().unwrap())],
    }
}

impl Plant {
    fn start() -> Self {
        let files = [SPINE.to_owned(), TOR.replace('N', "1"), TOR.replace('N', "2"), HOST.to_owned()];
        let links = [
            vec![link(2, "eth1", "10.0.1.1/24"), link(3, "eth2", "10.0.2.1/24"), link(4, "eth3", "10.0.3.1/24")],
            vec![link(2, "eth1", "10.0.1.2/24"), link(3, "eth2", "10.0.11.1/24")],
            vec![link(2, "eth1", "10.0.2.2/24"), link(3, "eth2", "10.0.12.1/24")],
            vec![
                link(1, "lo", "10.69.0.4/32"),
                link(2, "eth0", "10.0.11.2/24"),
                link(3, "eth1", "10.0.12.2/24"),
                link(4, "eth2", "10.0.3.2/24"),
            ],
        ];
        Self::of(&files, links)
    }

    /// Nodes with these configurations, on these links.
    fn of(files: &[String], links: impl IntoIterator<Item = Vec<LinkInfo>>) -> Self {
        let node = |text: &String| Node::new(config::parse("t", text).unwrap().node().unwrap(), Instant::ZERO);
        let mut plant = Self {
            now: Instant::ZERO,
            nodes: files.iter().map(node).collect(),
            pipes: BTreeMap::new(),
            accepted: 0,
            flight: VecDeque::new(),
            refused: Vec::new(),
            is_silent: false,
        };
        for (at, links) in links.into_iter().enumerate() {
            plant.handle(at, Input::Links(links));
        }
        plant
    }

    fn handle(&mut self, at: usize, input: Input) {
        self.flight.push_back((at, input));
        while let Some((at, input)) = self.flight.pop_front() {
            self.nodes[at].handle(self.now, input);
            self.act(at);
        }
    }

    fn send(&mut self, at: usize, input: speaker::Input) {
        self.flight.push_back((at, Input::Bgp(input)));
    }

    /// A router without links that originates `count` prefixes.
    pub(crate) fn lone(count: u32) -> Self {
        let prefixes: Vec<String> =
            (0..count).map(|at| format!("{{prefix: 10.{}.{}.0/24}}", at / 256, at % 256)).collect();
        let text = format!("asn: 1\nrouter_id: 10.0.0.1\nhostname: lone\noriginate: [{}]\n", prefixes.join(", "));
        Self::of(&[text], [Vec::new()])
    }

    fn act(&mut self, at: usize) {
        while let Some(output) = self.nodes[at].poll() {
            match output {
                Output::Bgp(speaker::Output::Connect { conn, remote, .. }) => self.connect(at, conn, remote),
                Output::Bgp(speaker::Output::Writable(conn)) => self.carry(at, conn),
                Output::Bgp(speaker::Output::Close { conn, .. }) => {
                    self.carry(at, conn);
                    if let Some((other, far)) = self.pipes.remove(&(at, conn)) {
                        self.pipes.remove(&(other, far));
                        self.send(other, speaker::Input::Closed { conn: far });
                    }
                }
                Output::FibReady => {
                    let changes = self.nodes[at].poll_fib(usize::MAX);
                    let prefixes = changes.iter().map(|change| change.prefix);
                    let failed = prefixes.filter(|prefix| self.refused.contains(prefix)).collect();
                    if let Some(seq) = changes.last().map(|change| change.seq).filter(|_| !self.is_silent) {
                        self.flight.push_back((at, Input::FibAck { seq, failed }));
                    }
                }
                Output::Bgp(
                    speaker::Output::Event(_) | speaker::Output::FibReady | speaker::Output::HoldBack { .. },
                )
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
                | Output::Vip(_)
                | Output::Drain(_)
                | Output::RollBack
                | Output::Event(_) => {}
            }
        }
    }

    fn address_on(&self, at: usize, peer: IpAddr) -> Option<SocketAddr> {
        let nets = self.nodes[at].links().iter().flat_map(|link| &link.addrs);
        let net = nets.map(|addr| addr.net).find(|net| net.contains(&peer))?;
        Some((net.addr(), 179).into())
    }

    fn connect(&mut self, at: usize, conn: ConnId, remote: SocketAddr) {
        let owner = (0..self.nodes.len()).find(|&other| {
            self.nodes[other].links().iter().any(|link| link.addrs.iter().any(|a| a.net.addr() == remote.ip()))
        });
        let (Some(other), Some(local)) = (owner, self.address_on(at, remote.ip())) else {
            let error = "No route to host".to_owned();
            return self.send(at, speaker::Input::ConnectFailed { conn, error });
        };
        self.accepted += 1;
        let far = ConnId(ConnId::ACCEPTED | self.accepted);
        self.pipes.insert((at, conn), (other, far));
        self.pipes.insert((other, far), (at, conn));
        self.send(other, speaker::Input::Accepted { conn: far, local: remote, remote: local });
        self.send(at, speaker::Input::Connected { conn, local });
    }

    fn carry(&mut self, at: usize, conn: ConnId) {
        let mut data = BytesMut::new();
        while self.nodes[at].poll_transmit(self.now, conn, &mut data, 4_096) {}
        if let Some(&(other, far)) = self.pipes.get(&(at, conn))
            && !data.is_empty()
        {
            self.send(other, speaker::Input::Received { conn: far, data: data.freeze() });
        }
    }

    /// Lets time pass, deadline by deadline.
    fn run(&mut self, seconds: u64) {
        let end = self.now + Duration::from_secs(seconds);
        loop {
            let due = self.nodes.iter().enumerate().filter_map(|(at, node)| Some((node.next_timeout()?.0, at))).min();
            let Some((when, at)) = due.filter(|(when, _)| *when <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(when);
            self.handle(at, Input::Tick);
        }
    }

    /// What a reload of the file as it is would do.
    pub(crate) fn planned(&self, at: usize) -> Planned {
        let plan = self.nodes[at].plan(self.nodes[at].config()).0;
        Planned { file: "weft.yaml".to_owned(), summary: plan.summary(), refused: plan.refusal(), plan }
    }

    pub(crate) fn ask(&self, at: usize, question: &Question) -> Answer {
        let around = Surroundings {
            config: "/etc/weft/weft.yaml".to_owned(),
            pid: 42,
            upgrades: 1,
            upgrades_undone: 0,
            upgrade_sessions: Some((2, 2)),
            resident_bytes: Some(6_000_000),
            kernel: Some(KernelCounts { routes: 3, nexthops: 4, ..KernelCounts::default() }),
            observers: Vec::new(),
            fib: Some(crate::fib::FibReport { install: true, routes: 3, ..crate::fib::FibReport::default() }),
            bfd: None,
            drain: DrainAround::default(),
            sandbox: Some(Sandbox {
                capabilities: vec!["NET_BIND_SERVICE".to_owned(), "NET_ADMIN".to_owned()],
                bounding: vec!["NET_BIND_SERVICE".to_owned(), "NET_ADMIN".to_owned()],
                no_new_privs: true,
                landlock: true,
                seccomp: true,
                ..Sandbox::default()
            }),
            pace: Some(crate::pace::Pace::new().unwrap().histograms()),
            doors: Doors {
                certificate: Some(Certificate { expires_in_s: Some(90 * 86_400), ..Certificate::default() }),
                ..Doors::default()
            },
        };
        answer(&self.nodes[at], self.now, &around, question)
    }
}

pub(crate) const HOST_AT: usize = 3;

pub(crate) fn converged() -> Plant {
    let mut plant = Plant::start();
    plant.run(60);
    plant
}

/// How many messages it took and when is the speaker's business: these tests are not to change with it.
const UNSTEADY: [&str; 9] = [
    "messages_received",
    "messages_sent",
    "updates_received",
    "updates_sent",
    "age_s",
    "since_s",
    "at_ms",
    "since_ms",
    "ago_ms",
];

fn steady(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Array(list) => list.iter_mut().for_each(steady),
        serde_json::Value::Object(fields) => {
            for (name, field) in fields.iter_mut() {
                if UNSTEADY.contains(&name.as_str()) && field.is_u64() {
                    *field = 58.into();
                } else {
                    steady(field);
                }
            }
        }
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::String(_) => {}
    }
}

fn steady_json(answer: &Answer) -> serde_json::Value {
    let mut value = serde_json::to_value(answer).unwrap();
    steady(&mut value);
    value
}

fn read<T: serde::de::DeserializeOwned>(value: serde_json::Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn all_pages() -> Selection {
    Selection::Page { after: None, limit: 100 }
}

fn explain_on(plant: &Plant, at: usize, target: &str) -> String {
    let question = Question::Explain(Target::read(target).unwrap());
    table_of(&question, &plant.ask(at, &question))
}

#[test]
fn the_json_of_every_answer_is_stable() {
    let plant = converged();
    let prefix = Target::read("10.72.0.0/16").unwrap();
    for (name, question) in [
        ("version", Question::Version),
        ("neighbors", Question::Neighbors),
        ("routes", Question::Routes(all_pages())),
        ("bgp", Question::Bgp(Selection::One(prefix))),
        ("interfaces", Question::Interfaces),
        ("explain", Question::Explain(prefix)),
        ("history", Question::History),
        ("policy", Question::Policy),
        ("health", Question::Health),
    ] {
        insta::assert_snapshot!(format!("json-{name}"), format!("{:#}", steady_json(&plant.ask(HOST_AT, &question))));
    }
}

#[test]
fn every_answer_is_read_back_as_what_it_was() {
    fn back<T: serde::de::DeserializeOwned>(answer: &Answer, wrap: impl Fn(T) -> Body) {
        let text = serde_json::to_string(answer).unwrap();
        assert_eq!(wrap(serde_json::from_str(&text).unwrap()), answer.body);
    }
    let plant = converged();
    let ask = |question| plant.ask(HOST_AT, &question);
    back(&ask(Question::Version), Body::Version);
    back(&ask(Question::Neighbors), Body::Neighbors);
    back(&ask(Question::Routes(all_pages())), Body::Routes);
    back(&ask(Question::Bgp(all_pages())), Body::Bgp);
    back(&ask(Question::Interfaces), Body::Interfaces);
    back(&ask(Question::Explain(Target::read("10.72.1.1").unwrap())), |answer| Body::Explain(Box::new(answer)));
    back(&ask(Question::History), Body::History);
    back(&ask(Question::Policy), Body::Policy);
    back(&ask(Question::Health), Body::Health);
}

#[test]
fn tables_say_what_the_answers_say() {
    let plant = converged();
    let mut all = String::new();
    for at in [HOST_AT, 1] {
        for question in [
            Question::Version,
            Question::Neighbors,
            Question::Routes(all_pages()),
            Question::Bgp(all_pages()),
            Question::Interfaces,
            Question::History,
            Question::Policy,
            Question::Health,
        ] {
            let answer = plant.ask(at, &question);
            all.push_str(&format!("--- {question:?} on {}\n{}", answer.node, table_of(&question, &answer)));
        }
    }
    insta::assert_snapshot!("tables", all);
}

fn table_of(question: &Question, answer: &Answer) -> String {
    use crate::show;
    let node = &answer.node;
    let value = steady_json(answer);
    match question {
        Question::Version => show::version::text(node, &read(value)),
        Question::Neighbors => {
            let body: Neighbors = read(value);
            let details = body.neighbors.iter().map(show::neighbors::details);
            show::neighbors::table_of(node, &body) + &details.collect::<String>()
        }
        Question::NeighborHistory(_) => show::trail::tables_of(&read(value)),
        Question::Routes(_) | Question::RoutesWithin { .. } => show::routes::page(&read(value), true),
        Question::Bgp(_) => {
            let body = read(value);
            show::bgp::head(node, &body) + &show::bgp::page(&body, true)
        }
        Question::Interfaces => show::interfaces::table_of(&read(value)),
        Question::History => show::history::table_of(&read(value)),
        Question::Policy => show::policy::text(&read(value)),
        Question::Explain(_) => show::explain::text(&read(value)),
        Question::Observers => show::observers::table_of(&read(value)),
        Question::Originated => show::originated::table_of(&read(value)),
        Question::Vips => show::vips::table_of(&read(value)),
        Question::Dhcp => {
            let body = read(value);
            show::dhcp::relay(&body) + &show::dhcp::leases(&body)
        }
        Question::Drains => show::drain::table_of(&read(value)),
        Question::Rpki => show::rpki::table_of(&read(value)),
        Question::Bfd => show::bfd::table_of(&read(value)),
        Question::Fib { .. } => show::fib::text(&read(value)),
        Question::Health => show::health::text(node, &read(value)),
        Question::Configuration => read::<record::Written>(value).text,
        Question::Dump(_) | Question::Lines { .. } | Question::Metrics => panic!("{question:?} has no table"),
    }
}

#[test]
fn an_explanation_needs_no_second_command() {
    let mut plant = converged();
    let mut all = String::new();
    let mut add = |title: &str, text: String| all.push_str(&format!("--- {title}\n{text}"));
    add("best, and two longer paths", explain_on(&plant, HOST_AT, "10.72.0.0/16"));
    add("an address, ECMP", explain_on(&plant, HOST_AT, "8.8.8.8"));
    add("our own address", explain_on(&plant, HOST_AT, "10.69.0.4"));
    add("a prefix that is not in the table", explain_on(&plant, HOST_AT, "10.72.5.0/24"));
    add("on a ToR: who was told", explain_on(&plant, 1, "10.72.0.0/16"));
    add("on a ToR: the host", explain_on(&plant, 1, "10.69.0.4"));
    add("on a ToR: its aggregate", explain_on(&plant, 1, "10.69.0.0/26"));
    plant.handle(HOST_AT, Input::LinkDown(IfIndex(2)));
    plant.handle(HOST_AT, Input::LinkDown(IfIndex(3)));
    plant.handle(HOST_AT, Input::LinkDown(IfIndex(4)));
    add("nothing left", explain_on(&plant, HOST_AT, "8.8.8.8"));
    insta::assert_snapshot!("explain", all);
}

#[test]
fn pages_cover_the_table_once() {
    let plant = converged();
    let Body::Routes(whole) = plant.ask(HOST_AT, &Question::Routes(all_pages())).body else { panic!("no routes") };
    let mut joined = Vec::new();
    let mut after = None;
    loop {
        let page = Selection::Page { after, limit: 2 };
        let Body::Routes(routes) = plant.ask(HOST_AT, &Question::Routes(page)).body else { panic!("no routes") };
        assert!(routes.routes.len() <= 2);
        joined.extend(routes.routes);
        after = routes.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(joined, whole.routes);
    assert!(joined.len() >= 4, "{joined:?}");
}

#[test]
fn routes_within_a_prefix_come_in_pages_with_how_many_there_are() {
    let plant = converged();
    let within = |net: &str, after, limit| {
        let question = Question::RoutesWithin { net: net.parse().unwrap(), after, limit };
        let Body::Routes(routes) = plant.ask(HOST_AT, &question).body else { panic!("no routes") };
        routes
    };
    let Body::Routes(whole) = plant.ask(HOST_AT, &Question::Routes(all_pages())).body else { panic!("no routes") };
    let all = within("0.0.0.0/0", None, 100);
    assert_eq!((&all.routes, all.prefixes), (&whole.routes, u64::try_from(whole.routes.len()).unwrap()));
    assert_eq!((whole.prefixes, whole.within, all.next), (all.prefixes, None, None));
    let first = within("10.69.0.0/16", None, 1);
    let count = whole.routes.iter().filter(|route| first.within.unwrap().prefix.contains(&route.prefix)).count();
    assert_eq!(first.within.map(|within| (within.prefixes, within.more)), Some((u64::try_from(count).unwrap(), false)));
    assert!(count > 1 && count < whole.routes.len(), "{count}");
    let second = within("10.69.0.0/16", first.next, 1);
    assert_ne!((second.routes.len(), &second.routes), (0, &first.routes));
}

#[test]
fn a_dump_has_every_path_of_the_table_with_its_attributes() {
    let plant = converged();
    let Body::Dump(dump) = plant.ask(HOST_AT, &Question::Dump(all_pages())).body else { panic!("no dump") };
    let Body::Bgp(bgp) = plant.ask(HOST_AT, &Question::Bgp(all_pages())).body else { panic!("no paths") };
    let count = |route: &BgpRoute| (route.prefix, route.paths.len());
    let dumped: Vec<_> = dump.routes.iter().map(|route| (route.prefix, route.paths.len())).collect();
    assert_eq!(dumped, bgp.routes.iter().map(count).collect::<Vec<_>>());
    for (dumped, shown) in dump.routes.iter().zip(&bgp.routes) {
        for path in &dumped.paths {
            let block = path.block().unwrap();
            let as_path = Attrs(&block).as_path().to_string();
            assert!(shown.paths.iter().any(|shown| (&shown.as_path, shown.next_hop) == (&as_path, path.next_hop)));
            assert!(dump.peers.iter().any(|peer| peer.peer == path.peer));
        }
    }
    let second = Selection::Page { after: Some(dump.routes[0].prefix), limit: 1 };
    let Body::Dump(page) = plant.ask(HOST_AT, &Question::Dump(second)).body else { panic!("no dump") };
    assert_eq!((page.routes.len(), &page.routes[0], page.peers.len()), (1, &dump.routes[1], 0));
}

#[test]
fn health_names_who_is_waited_for() {
    let mut plant = Plant::start();
    let health = |plant: &Plant, at| {
        let Body::Health(health) = plant.ask(at, &Question::Health).body else { panic!("no health") };
        health
    };
    assert!(health(&plant, HOST_AT).healthy, "pipes connect at once");
    let lone = Node::new(config::parse("t", SPINE).unwrap().node().unwrap(), Instant::ZERO);
    plant.nodes[0] = lone;
    plant.handle(0, Input::Links(Vec::new()));
    let waiting = health(&plant, 0);
    assert_eq!(waiting.reason.as_deref(), Some("waiting for End-of-RIB of host, tor1, tor2"));
    plant.run(60);
    let alone = health(&plant, 0);
    assert_eq!(alone.reason.as_deref(), Some("no session: none of 3 neighbors is Established"));
}

#[test]
fn metrics_are_as_documented() {
    let plant = converged();
    let Body::Metrics { text } = plant.ask(HOST_AT, &Question::Metrics).body else { panic!("no metrics") };
    let masked = |line: &str| match line.rsplit_once(' ') {
        Some((name, _)) if name.contains("messages") || name.contains("updates_") || name.contains("seconds{") => {
            format!("{name} …\n")
        }
        _ => format!("{line}\n"),
    };
    insta::assert_snapshot!("metrics", text.lines().map(masked).collect::<String>());
    let told = include_str!("../../docs/metrics.md");
    for name in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()) {
        assert!(told.contains(&format!("`{name}`")), "{name} is not in docs/metrics.md");
    }
}

#[test]
fn metrics_of_observers_are_there_with_the_observers_and_as_documented() {
    let plant = converged();
    let observer = Observer {
        name: "192.0.2.9:5000".to_owned(),
        kind: "bmp".to_owned(),
        connected: true,
        synchronized: false,
        messages: 5,
        waiting_bytes: 6,
        dropped: 0,
        connects: 2,
        overflows: 1,
        last_error: None,
    };
    let around = Surroundings { observers: vec![observer], ..Surroundings::default() };
    let Body::Metrics { text } = answer(&plant.nodes[0], plant.now, &around, &Question::Metrics).body else {
        panic!("no metrics")
    };
    let lines: Vec<_> = text.lines().filter(|line| line.starts_with("weft_observer")).collect();
    let labels = "{kind=\"bmp\",observer=\"192.0.2.9:5000\"}";
    for (name, value) in [("up", 1), ("waiting_bytes", 6), ("messages", 5), ("dropped", 0), ("overflows_total", 1)] {
        assert!(lines.contains(&format!("weft_observer_{name}{labels} {value}").as_str()), "{name}: {lines:#?}");
        assert!(include_str!("../../docs/metrics.md").contains(&format!("`weft_observer_{name}`")), "{name}");
    }
}

/// One session that failed, at a peer of the plant.
fn bfd_report(plant: &Plant, at: usize) -> crate::io::bfd::Report {
    use crate::bfd::{Diagnostic, Endpoint, Path, State, Status, Totals};
    let peer = plant.nodes[at].peer("tor1").unwrap();
    let path = Path::SingleHop(IfIndex(2));
    let status = Status {
        peer,
        endpoint: Endpoint { remote: "10.0.11.1".parse().unwrap(), local: None, path },
        state: State::Down,
        since: Instant::ZERO,
        diagnostic: Diagnostic::TIME_EXPIRED,
        remote_state: State::Down,
        remote_diagnostic: Diagnostic::NONE,
        discriminator: 7,
        remote_discriminator: 0,
        remote_independent: false,
        transmit_us: 1_000_000,
        detection_us: 0,
        received: 41,
        transmitted: 42,
        ups: 1,
        failures: 1,
        is_dead: true,
    };
    let totals = Totals { discarded: [0, 0, 0, 0, 0, 0, 0, 3, 1], starved: 2, ..Totals::default() };
    crate::io::bfd::Report {
        sessions: vec![(status, Some("Network is unreachable".to_owned()))],
        totals,
        scheduling: crate::io::bfd::Scheduling::RealTime,
    }
}

#[test]
fn bfd_is_told_in_a_table_in_json_and_in_metrics_as_documented() {
    let plant = converged();
    let around = Surroundings { bfd: Some(bfd_report(&plant, HOST_AT)), ..Surroundings::default() };
    let ask = |question| answer(&plant.nodes[HOST_AT], plant.now, &around, &question);
    let Body::Bfd(sessions) = ask(Question::Bfd).body else { panic!("no sessions") };
    let json = serde_json::to_string_pretty(&ask(Question::Bfd)).unwrap();
    let Body::Metrics { text } = ask(Question::Metrics).body else { panic!("no metrics") };
    let metrics: Vec<&str> = text.lines().filter(|line| line.starts_with("weft_bfd")).collect();
    let table = crate::show::bfd::table_of(&sessions);
    insta::assert_snapshot!("bfd", format!("{table}\n{json}\n\n{}", metrics.join("\n")));
    let told = include_str!("../../docs/metrics.md");
    for name in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()) {
        assert!(told.contains(&format!("`{name}`")), "{name} is not in docs/metrics.md");
    }
}

#[test]
fn peers_are_found_by_name_and_by_address() {
    let plant = converged();
    let tor = &plant.nodes[1];
    assert_eq!(find_peer(tor, plant.now, "spine"), find_peer(tor, plant.now, "10.0.1.1"));
    assert!(find_peer(tor, plant.now, "10.0.11.2").is_some(), "a dynamic one");
    assert_eq!(find_peer(tor, plant.now, "nobody"), None);
}
