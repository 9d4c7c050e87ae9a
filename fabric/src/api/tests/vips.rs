//! Service addresses, asked for over the API.

use super::*;
use crate::vip;

const FILE: &str = "
role: host
asn: 65004
hostname: host
addresses: [10.69.0.4/32]
vips:
  boot: {addresses: [10.71.255.6/32, 'fd00:71::6/128'], weight: 20, on_last: keep, check: {http: 'http://127.0.0.1:10080/health', every: 200ms, rise: 3}}
  dns: {address: 10.71.255.53/32, check: {api: down}, communities: ['65004:7']}
";

/// A node whose loopback interface gets what it asks for, and the checks it ordered.
struct Lone {
    node: Node,
    now: Instant,
    addrs: Vec<IpNet>,
    orders: Vec<vip::Order>,
}

impl Lone {
    fn start() -> Self {
        Self::with(Vec::new())
    }

    /// One that finds these addresses, which an earlier run left.
    fn with(addrs: Vec<IpNet>) -> Self {
        let node = Node::new(config::parse("t", FILE).unwrap().node().unwrap(), Instant::ZERO);
        let mut lone = Self { node, now: Instant::ZERO, addrs, orders: Vec::new() };
        lone.links();
        lone
    }

    fn links(&mut self) {
        let mut lo = link(1, "lo", "127.0.0.1/8");
        let protocol = self.node.config().fib.protocol;
        lo.addrs.extend(self.addrs.iter().map(|net| AddrInfo { protocol, ..AddrInfo::new(*net) }));
        self.give(Input::Links(vec![lo]));
    }

    fn give(&mut self, input: Input) {
        self.node.handle(self.now, input);
        let mut changed = false;
        while let Some(output) = self.node.poll() {
            match output {
                Output::AddAddress(net) => self.addrs.push(net),
                Output::RemoveAddress(net) => self.addrs.retain(|own| *own != net),
                Output::Check(order) => self.orders.push(order),
                Output::Bgp(_)
                | Output::SendRa { .. }
                | Output::SendRs { .. }
                | Output::RaLinks(_)
                | Output::LldpLinks(_)
                | Output::DhcpSockets(_)
                | Output::KeepLeases
                | Output::Dhcp(_)
                | Output::FibReady
                | Output::Event(_)
                | Output::Vip(_)
                | Output::Drain(_)
                | Output::RollBack
                | Output::Bfd(_) => continue,
            }
            changed = true;
        }
        if changed {
            self.links();
        }
    }

    fn checked(&mut self, outcome: Result<(), String>) {
        for order in std::mem::take(&mut self.orders) {
            let outcome = outcome.clone();
            self.give(Input::Vip(vip::Input::Checked { name: order.name, run: order.run, outcome }));
        }
    }

    fn wait(&mut self, millis: u64) {
        let end = self.now + Duration::from_millis(millis);
        while let Some((at, _)) = self.node.next_timeout().filter(|(at, _)| *at <= end) {
            self.now = at.max(self.now);
            self.give(Input::Tick);
        }
        self.now = end;
    }

    fn ask(&self, question: &Question) -> Body {
        answer(&self.node, self.now, &Surroundings::default(), question).body
    }

    fn originated(&self) -> Vec<String> {
        let routes = self.node.speaker().routes(None, 10);
        routes.iter().map(|route| format!("{} {}", route.prefix, route.paths[0].communities.join(" "))).collect()
    }
}

#[test]
fn a_service_is_announced_while_it_is_well_and_shown_with_its_reason() {
    let mut lone = Lone::start();
    assert_eq!(lone.originated(), ["10.69.0.4/32 "]);
    lone.checked(Ok(()));
    assert_eq!(lone.originated(), ["10.69.0.4/32 ", "10.71.255.6/32 ", "fd00:71::6/128 "]);
    lone.give(Input::Vip(vip::Input::Set { name: "dns".to_owned(), up: true }));
    for _ in 0..2 {
        lone.wait(200);
        lone.checked(Err("127.0.0.1:10080: status 503 Service Unavailable".to_owned()));
    }
    lone.wait(30);
    // Nobody else announces it.
    assert_eq!(
        lone.originated(),
        ["10.69.0.4/32 ", "10.71.255.6/32 65535:0", "10.71.255.53/32 65004:7", "fd00:71::6/128 65535:0"]
    );
    let Body::Vips(answer) = lone.ask(&Question::Vips) else { panic!("no vips") };
    let text = serde_json::to_string(&answer).unwrap();
    assert_eq!(serde_json::from_str::<Vips>(&text).unwrap(), answer);
    insta::assert_snapshot!("vips", crate::show::vips::table_of(&answer));
    let Body::History(history) = lone.ask(&Question::History) else { panic!("no history") };
    let text = serde_json::to_string(&history).unwrap();
    assert_eq!(serde_json::from_str::<History>(&text).unwrap(), history);
    insta::assert_snapshot!("vip-history", crate::show::history::table_of(&history));
}

#[test]
fn a_daemon_that_starts_again_while_its_check_fails_goes_on_as_the_last_origin() {
    let nets = ["10.71.255.6/32", "fd00:71::6/128"].map(|net| net.parse().unwrap());
    let mut lone = Lone::with(nets.to_vec());
    lone.checked(Err("127.0.0.1:10080: status 503 Service Unavailable".to_owned()));
    assert_eq!(lone.originated(), ["10.69.0.4/32 ", "10.71.255.6/32 65535:0", "fd00:71::6/128 65535:0"]);
    lone.wait(600_000);
    assert!(nets.iter().all(|net| lone.addrs.contains(net)));
    let Body::Vips(answer) = lone.ask(&Question::Vips) else { panic!("no vips") };
    assert!(answer.vips[0].alarm, "{answer:?}");
}

#[test]
fn an_address_goes_only_after_its_route_and_its_time() {
    let mut lone = Lone::start();
    lone.give(Input::Vip(vip::Input::Set { name: "dns".to_owned(), up: true }));
    assert_eq!(lone.originated(), ["10.69.0.4/32 ", "10.71.255.53/32 65004:7"]);
    lone.give(Input::Vip(vip::Input::Set { name: "dns".to_owned(), up: false }));
    assert_eq!(lone.originated(), ["10.69.0.4/32 ", "10.71.255.53/32 65004:7 65535:0"]);
    lone.wait(1_000);
    assert_eq!(lone.originated(), ["10.69.0.4/32 "]);
    let vip = "10.71.255.53/32".parse().unwrap();
    assert!(lone.addrs.contains(&vip));
    lone.wait(5_000);
    assert!(!lone.addrs.contains(&vip));
    assert!(lone.addrs.contains(&"10.69.0.4/32".parse().unwrap()), "the node's own address stays");
}

#[test]
fn metrics_of_service_addresses_are_as_documented() {
    let mut lone = Lone::start();
    lone.checked(Ok(()));
    let Body::Metrics { text } = lone.ask(&Question::Metrics) else { panic!("no metrics") };
    let ours: Vec<_> = text.lines().filter(|line| line.starts_with("weft_vip_")).collect();
    assert!(ours.contains(&"weft_vip_announced{vip=\"boot\"} 1"), "{ours:#?}");
    assert!(ours.contains(&"weft_vip_state{state=\"down\",vip=\"dns\"} 1"), "{ours:#?}");
    for line in ours {
        let name = line.split('{').next().unwrap();
        assert!(
            include_str!("../../../docs/metrics.md").contains(&format!("`{name}`")),
            "{name} is not in docs/metrics.md"
        );
    }
}
