//! Speakers joined by pipes on virtual time: what arrives, what is passed on, what is left after a loss.

mod aggregates;
mod explain;
mod groups;
mod handover;
mod links;
mod originate;
mod paths;
mod policy;
mod reconfigure;
mod settle;
mod walks;

use super::*;
use crate::peer::{Endpoint, PeerConfig, RemoteAs};
use crate::policy::Policies;
use crate::speaker::{LinkState, Originate};
use crate::time::Duration;
use crate::types::{Asn, IfIndex, RouterId};

/// Speakers, and for each connection where its other end is.
struct Net {
    now: Instant,
    speakers: Vec<Speaker>,
    far: BTreeMap<(usize, ConnId), (usize, ConnId)>,
    accepted: u64,
    updates: u64,
    /// Speakers that do not read now, and connections on which something waits for them.
    deaf: BTreeSet<usize>,
    waiting: Vec<(usize, ConnId)>,
    /// Who was held back or released by whom, and whether the peer's session stood then and how many of its paths were left.
    holds: Vec<(bool, bool, u64)>,
    /// Changes that kernels were asked for.
    fib: Vec<(usize, crate::speaker::FibChange)>,
}

/// Every speaker `n` has address 192.0.2.n on one shared link, and originates 10.n.0.0/16.
fn address(at: usize) -> IpAddr {
    IpAddr::from([192, 0, 2, u8::try_from(at).unwrap()])
}

fn config(to: usize, asn: u32, passive: bool) -> PeerConfig {
    let accept_all = Some("accept-all".to_owned());
    PeerConfig {
        passive,
        graceful_restart_s: Some(30),
        import: accept_all.clone(),
        export: accept_all,
        ..PeerConfig::new(&format!("r{to}"), Endpoint::Address(address(to)), RemoteAs::Is(Asn(asn)))
    }
}

impl Net {
    fn new(asns: &[u32]) -> Self {
        let mut net = Self {
            now: Instant::ZERO,
            speakers: Vec::new(),
            far: BTreeMap::new(),
            accepted: ConnId::ACCEPTED,
            updates: 0,
            deaf: BTreeSet::new(),
            waiting: Vec::new(),
            holds: Vec::new(),
            fib: Vec::new(),
        };
        for (at, asn) in (1_u8..).zip(asns) {
            let router_id = RouterId::new(10, 0, 0, at);
            let mut speaker = Speaker::new(SpeakerConfig {
                asn: Asn(*asn),
                router_id,
                cluster_id: router_id,
                multipath: 64,
                advertise_after_install: false,
                hold_back_ms: 0,
                restarting: false,
                seed: u64::from(at),
                policies: Arc::new(Policies::default()),
                aggregates: Vec::new(),
                addresses: Vec::new(),
            });
            let net24 = IpNet::new(address(usize::from(at)), 24).unwrap();
            speaker.handle(Instant::ZERO, Input::Links(vec![LinkState { link: IfIndex(2), addrs: vec![net24] }]));
            let route = Originate {
                prefix: format!("10.{at}.0.0/16").parse().unwrap(),
                communities: Vec::new(),
                large_communities: Vec::new(),
                weight: None,
                why: "test".to_owned(),
            };
            speaker.handle(Instant::ZERO, Input::SetOriginated(vec![route]));
            net.speakers.push(speaker);
        }
        net
    }

    /// Joins `a` and `b` (numbered from 1); `b` dials. The closures change the configurations.
    fn join(&mut self, a: usize, b: usize, change: impl Fn(&mut PeerConfig, &mut PeerConfig)) {
        let asn = |at: usize| self.speakers[at - 1].config.asn.0;
        let (mut at_a, mut at_b) = (config(b, asn(b), true), config(a, asn(a), false));
        change(&mut at_a, &mut at_b);
        for (at, to, config) in [(a, b, at_a), (b, a, at_b)] {
            let peer = PeerId(u32::try_from(to).unwrap());
            self.give(at - 1, Input::SetPeer { peer, config: Box::new(config) });
        }
        self.settle();
    }

    fn give(&mut self, at: usize, input: Input) {
        self.speakers[at].handle(self.now, input);
    }

    fn settle(&mut self) {
        for _ in 0..500 {
            let mut quiet = true;
            for at in 0..self.speakers.len() {
                while let Some(output) = self.speakers[at].poll() {
                    quiet = false;
                    self.act(at, output);
                }
            }
            if quiet {
                return;
            }
        }
        panic!("does not settle");
    }

    fn act(&mut self, at: usize, output: Output) {
        match output {
            Output::Connect { conn, remote, .. } => {
                let to = (0..self.speakers.len()).find(|&to| address(to + 1) == remote.ip()).unwrap();
                let far = ConnId(self.accepted);
                self.accepted += 1;
                self.far.insert((at, conn), (to, far));
                self.far.insert((to, far), (at, conn));
                let (from, target) = (SocketAddr::new(address(at + 1), 40_000), SocketAddr::new(address(to + 1), 179));
                self.give(at, Input::Connected { conn, local: from });
                self.give(to, Input::Accepted { conn: far, local: target, remote: from });
            }
            Output::Writable(conn) if self.far.get(&(at, conn)).is_some_and(|(to, _)| self.deaf.contains(to)) => {
                self.waiting.push((at, conn));
            }
            Output::Writable(conn) => self.transfer(at, conn),
            Output::Close { conn, flush } => {
                if flush {
                    self.transfer(at, conn);
                }
                self.cut(at, conn, false);
            }
            Output::Event(_) => {}
            Output::HoldBack { addr, held, .. } => {
                let member = self.speakers[at]
                    .members
                    .values()
                    .find(|member| matches!(member.peer.config().endpoint, Endpoint::Address(known) if known == addr));
                let member = member.unwrap();
                self.holds.push((held, member.peer.session().is_some(), member.held.all()[0]));
            }
            Output::FibReady => {
                let changes = self.speakers[at].poll_fib(usize::MAX);
                self.fib.extend(changes.iter().map(|change| (at, change.clone())));
                if let Some(last) = changes.last() {
                    self.give(at, Input::FibAck { seq: last.seq, failed: Vec::new() });
                }
            }
        }
    }

    fn transfer(&mut self, at: usize, conn: ConnId) {
        loop {
            let mut buf = BytesMut::new();
            let more = self.speakers[at].poll_transmit(self.now, conn, &mut buf, 10_000);
            if let Some(&(to, far)) = self.far.get(&(at, conn)).filter(|_| !buf.is_empty()) {
                self.updates += 1;
                self.give(to, Input::Received { conn: far, data: buf.freeze() });
            }
            if !more {
                return;
            }
        }
    }

    /// All read again.
    fn listen(&mut self) {
        self.deaf.clear();
        for (at, conn) in std::mem::take(&mut self.waiting) {
            self.transfer(at, conn);
        }
        self.settle();
    }

    fn cut(&mut self, at: usize, conn: ConnId, both: bool) {
        if let Some((to, far)) = self.far.remove(&(at, conn)) {
            self.far.remove(&(to, far));
            self.give(to, Input::Closed { conn: far });
            if both {
                self.give(at, Input::Closed { conn });
            }
        }
    }

    /// Kills a speaker (from 1) and starts another in its place, which found forwarding state and originates nothing.
    fn restart(&mut self, at: usize, change: impl Fn(&mut SpeakerConfig)) {
        let at = at - 1;
        let conns: Vec<ConnId> = self.far.keys().filter(|(of, _)| *of == at).map(|(_, conn)| *conn).collect();
        for conn in conns {
            self.cut(at, conn, false);
        }
        let mut config = SpeakerConfig { restarting: true, ..self.speakers[at].config.clone() };
        change(&mut config);
        let peers = self.speakers[at].members.iter();
        let peers: Vec<_> = peers.map(|(id, member)| (*id, member.peer.config().clone())).collect();
        self.speakers[at] = Speaker::new(config);
        let net24 = IpNet::new(address(at + 1), 24).unwrap();
        self.give(at, Input::Links(vec![LinkState { link: IfIndex(2), addrs: vec![net24] }]));
        for (peer, config) in peers {
            self.give(at, Input::SetPeer { peer, config: Box::new(config) });
        }
    }

    fn run(&mut self, seconds: u64) {
        let end = self.now + Duration::from_secs(seconds);
        while let Some((at, _)) = self.speakers.iter().filter_map(Speaker::next_timeout).min() {
            if at > end {
                break;
            }
            self.now = at.max(self.now);
            for speaker in 0..self.speakers.len() {
                self.give(speaker, Input::Tick);
            }
            self.settle();
        }
        self.now = end;
    }

    /// What a speaker (from 1) knows: prefix, then each path's AS_PATH and next hop.
    fn routes(&self, at: usize) -> Vec<String> {
        let line = |route: crate::speaker::RouteInfo| {
            let used = route.paths.iter().filter(|path| path.used);
            let paths: Vec<_> = used.map(|path| format!("[{}] {}", path.as_path, path.next_hop)).collect();
            format!("{} {}", route.prefix, paths.join(" + "))
        };
        let learnt = self.speakers[at - 1].routes(None, 1_000).into_iter().filter(|route| !route.hops.is_empty());
        learnt.map(line).collect()
    }
}

#[test]
fn external_routes_get_the_as_in_front_and_the_next_hop_of_the_teller() {
    // RFC 4271 §5.1.2, §5.1.3
    let mut net = Net::new(&[65_001, 65_002, 65_003]);
    net.join(1, 2, |_, _| {});
    net.join(2, 3, |_, _| {});
    assert_eq!(net.routes(3), ["10.1.0.0/16 [65002 65001] 192.0.2.2", "10.2.0.0/16 [65002] 192.0.2.2"]);
    assert_eq!(net.routes(1), ["10.2.0.0/16 [65002] 192.0.2.2", "10.3.0.0/16 [65002 65003] 192.0.2.2"]);
}

#[test]
fn without_a_policy_external_peers_get_and_give_nothing() {
    // RFC 8212 §3
    let mut net = Net::new(&[65_001, 65_002]);
    net.join(1, 2, |a, _| {
        a.import = None;
        a.export = None;
    });
    assert_eq!(net.routes(1), [""; 0]);
    assert_eq!(net.routes(2), [""; 0]);
}

#[test]
fn internal_routes_are_reflected_to_and_from_clients_only() {
    // RFC 4456 §6: 2 is a reflector, 1 its client, 3 and 4 are not.
    let mut net = Net::new(&[65_000; 4]);
    net.join(2, 1, |reflector, _| reflector.route_reflector_client = true);
    net.join(2, 3, |_, _| {});
    net.join(2, 4, |_, _| {});
    assert_eq!(net.routes(1).len(), 3, "a client hears everybody");
    assert_eq!(net.routes(3), ["10.1.0.0/16 [] 192.0.2.1", "10.2.0.0/16 [] 192.0.2.2"]);
}

#[test]
fn a_role_that_never_transits_tells_only_its_own() {
    let mut net = Net::new(&[65_001, 65_002, 65_003]);
    net.join(1, 2, |_, host| host.originated_only = true);
    net.join(3, 2, |_, host| host.originated_only = true);
    assert_eq!(net.routes(1), ["10.2.0.0/16 [65002] 192.0.2.2"]);
    assert_eq!(net.routes(2).len(), 2);
}

#[test]
fn equal_paths_over_two_peers_are_used_together() {
    let mut net = Net::new(&[65_001, 65_002, 65_002, 65_004]);
    net.join(2, 1, |_, _| {});
    net.join(3, 1, |_, _| {});
    net.join(2, 4, |_, _| {});
    net.join(3, 4, |_, _| {});
    assert_eq!(net.routes(4)[0], "10.1.0.0/16 [65002 65001] 192.0.2.2 + [65002 65001] 192.0.2.3");
}

#[test]
fn a_notification_withdraws_and_a_lost_connection_keeps_until_the_restart_time() {
    // RFC 4724 §4.2
    let mut net = Net::new(&[65_001, 65_002]);
    net.join(1, 2, |_, _| {});
    net.give(1, Input::Clear { peer: PeerId(1), hard: true });
    net.settle();
    net.run(0);
    assert_eq!(net.routes(1), [""; 0]);
    net.run(5);
    assert_eq!(net.routes(1).len(), 1, "back again");
    net.give(1, Input::Shutdown { cease: false });
    net.settle();
    net.run(29);
    assert_eq!(net.routes(1).len(), 1, "retained");
    assert!(net.speakers[0].routes(None, 10).iter().any(|route| route.paths.iter().any(|path| path.stale)));
    net.run(3);
    assert_eq!(net.routes(1), [""; 0], "the restart time is over");
}

#[test]
fn what_a_restarted_peer_does_not_announce_again_is_swept_at_its_end_of_rib() {
    // RFC 4724 §4.2
    let mut net = Net::new(&[65_001, 65_002]);
    net.join(1, 2, |_, _| {});
    net.restart(2, |_| {});
    assert_eq!(net.routes(1).len(), 1, "stale but used");
    net.run(5);
    assert_eq!(net.routes(1), [""; 0]);
    assert_eq!(net.speakers[0].neighbors(net.now)[0].prefixes_received, [0, 0]);
}

#[test]
fn after_a_restart_the_kernel_and_the_peers_wait_for_everybodys_end_of_rib() {
    // RFC 4724 §4.1
    let mut net = Net::new(&[65_001, 65_002, 65_003]);
    net.join(1, 2, |_, _| {});
    net.join(3, 2, |_, _| {});
    let third = net.speakers[1].members[&PeerId(3)].peer.config().clone();
    net.restart(2, |_| {});
    net.give(1, Input::RemovePeer { peer: PeerId(3) });
    net.give(1, Input::SetPeer { peer: PeerId(9), config: Box::new(config(9, 65_009, true)) });
    net.run(3);
    assert_eq!(net.speakers[1].neighbors(net.now)[0].state, "Established");
    assert!(net.speakers[1].route_to(&"10.1.0.0/16".parse().unwrap()).is_some());
    assert_eq!(net.speakers[1].summary().fib_changes_waiting, 1);
    assert_eq!(net.speakers[1].summary().waiting_for, ["r9"]);
    assert!(net.routes(1).iter().any(|route| route.starts_with("10.3.0.0/16")), "stale, still used");
    net.give(1, Input::RemovePeer { peer: PeerId(9) });
    net.give(1, Input::SetPeer { peer: PeerId(3), config: Box::new(third) });
    net.run(3);
    assert!(net.speakers[1].summary().converged);
    assert_eq!(net.speakers[1].summary().fib_changes_waiting, 0);
}

#[test]
fn the_wait_after_a_restart_ends_though_a_peer_stays_away() {
    // RFC 4724 §4.1: Selection_Deferral_Timer
    let mut net = Net::new(&[65_001, 65_002]);
    net.join(1, 2, |_, _| {});
    net.restart(2, |_| {});
    net.give(1, Input::SetPeer { peer: PeerId(9), config: Box::new(config(9, 65_009, true)) });
    net.run(14);
    assert_eq!(net.speakers[1].summary().fib_changes_waiting, 1);
    net.run(2);
    assert_eq!(net.speakers[1].summary().fib_changes_waiting, 0);
}

#[test]
fn after_a_restart_nothing_is_over_before_the_first_peer_is_named() {
    // RFC 4724 §4.1
    let mut net = Net::new(&[65_001]);
    let config = SpeakerConfig { restarting: true, ..net.speakers[0].config.clone() };
    net.speakers[0] = Speaker::new(config);
    net.now = Instant(1_000_000_000);
    net.give(0, Input::SetOriginated(Vec::new()));
    net.give(0, Input::Tick);
    assert!(!net.speakers[0].summary().converged);
    net.run(20);
    assert!(net.speakers[0].summary().converged, "nor does a node without peers wait forever");
}

#[test]
fn after_a_restart_a_listen_range_gets_time_to_dial() {
    let mut net = Net::new(&[65_001, 65_002]);
    net.join(1, 2, |_, _| {});
    net.restart(1, |_| {});
    net.give(0, Input::RemovePeer { peer: PeerId(2) });
    let range = DynamicRange { prefix: "192.0.2.0/24".parse().unwrap(), template: config(0, 65_002, true), limit: 9 };
    net.give(0, Input::SetDynamicRanges(vec![range]));
    net.run(4);
    assert_eq!(net.speakers[0].neighbors(net.now)[0].state, "Established");
    assert_eq!(net.speakers[0].summary().fib_changes_waiting, 1);
    net.run(2);
    assert_eq!(net.speakers[0].summary().fib_changes_waiting, 0);
}

#[test]
fn speakers_that_start_together_do_not_wait_for_each_other() {
    // RFC 4724 §3: the R bit
    let mut net = Net::new(&[65_001, 65_002]);
    for at in [1, 2] {
        net.restart(at, |config| (config.restarting, config.hold_back_ms) = (false, 60_000));
    }
    net.join(1, 2, |_, _| {});
    net.run(1);
    assert!(net.speakers.iter().all(|speaker| speaker.summary().converged));
}

#[test]
fn the_maximum_of_prefixes_ends_the_session() {
    // RFC 4486 §4
    let mut net = Net::new(&[65_001, 65_002]);
    net.join(1, 2, |a, _| a.max_prefixes = Some(0));
    net.run(0);
    assert_eq!(net.routes(1), [""; 0]);
    let neighbor = &net.speakers[1].neighbors(net.now)[0];
    assert!(neighbor.last_error.as_ref().unwrap().contains("(6/1)"), "{neighbor:?}");
}

#[test]
fn nothing_is_told_before_the_kernel_holds_it() {
    let mut net = Net::new(&[65_001, 65_002, 65_003]);
    net.speakers[1].config.advertise_after_install = true;
    net.join(2, 3, |_, _| {});
    let peer = PeerId(1);
    let member = config(1, 65_001, true);
    net.give(1, Input::SetPeer { peer, config: Box::new(member) });
    net.speakers[1].fib_signalled = true; // the kernel side does not answer
    net.join(2, 1, |_, _| {});
    assert_eq!(net.routes(3), ["10.2.0.0/16 [65002] 192.0.2.2"]);
    net.speakers[1].fib_signalled = false;
    net.give(1, Input::Tick);
    net.settle();
    assert_eq!(net.routes(3).len(), 2);
}

#[test]
fn end_of_rib_waits_for_what_the_kernel_is_busy_with() {
    // RFC 4724 §4.2: the peer drops what it kept as stale when End-of-RIB comes.
    let mut net = Net::new(&[65_001, 65_002, 65_003]);
    net.speakers[1].config.advertise_after_install = true;
    net.join(1, 2, |_, _| {});
    net.join(2, 3, |_, _| {});
    assert_eq!(net.routes(3).len(), 2);
    let before = net.speakers[2].table.log_end();
    net.restart(2, |_| {});
    net.speakers[1].fib_signalled = true; // the kernel side does not answer
    net.run(3);
    assert!(net.speakers[1].summary().converged);
    assert!(net.routes(3).iter().any(|route| route.starts_with("10.1.0.0/16")), "stale, still used");
    net.speakers[1].fib_signalled = false;
    net.give(1, Input::Tick);
    net.settle();
    net.run(1);
    assert_eq!(
        net.speakers[2].table.log_end(),
        before + 1,
        "10.2.0.0/16 went, which nobody originates now, and nothing else changed"
    );
    assert!(!net.speakers[2].route_to(&"10.1.0.0/16".parse().unwrap()).unwrap().paths[0].stale);
}

#[test]
fn a_peer_that_comes_while_the_kernel_works_misses_nothing() {
    let mut net = Net::new(&[65_001, 65_002, 65_003]);
    net.speakers[1].config.advertise_after_install = true;
    net.join(2, 1, |_, _| {});
    let own = |prefix: &str| Originate {
        prefix: prefix.parse().unwrap(),
        communities: Vec::new(),
        large_communities: Vec::new(),
        weight: None,
        why: "test".to_owned(),
    };
    net.give(1, Input::SetOriginated(vec![own("10.2.0.0/16"), own("10.8.0.0/16")]));
    net.settle();
    let done = net.speakers[1].kernel_done();
    net.speakers[1].fib_signalled = true; // the kernel side is slow
    net.give(0, Input::SetOriginated(vec![own("10.1.0.0/16"), own("10.9.0.0/16")]));
    net.settle();
    let changes = net.speakers[1].poll_fib(usize::MAX);
    net.speakers[1].fib_signalled = true;
    assert_eq!(changes.len(), 1);
    assert!(net.speakers[1].kernel_done() >= done, "what is done stays done");
    net.join(2, 3, |_, _| {});
    assert_eq!(net.routes(3).len(), 3, "all but what the kernel is busy with");
    net.give(1, Input::FibAck { seq: changes[0].seq, failed: Vec::new() });
    net.settle();
    assert_eq!(net.routes(3).len(), 4);
}

#[test]
fn our_own_routes_do_not_wait_for_the_kernel() {
    let mut net = Net::new(&[65_001, 65_002]);
    net.speakers[0].config.advertise_after_install = true;
    net.join(1, 2, |_, _| {});
    net.speakers[0].fib_signalled = true; // the kernel side does not answer
    net.give(0, Input::SetOriginated(Vec::new()));
    net.settle();
    assert_eq!(net.routes(2), [""; 0]);
}

#[test]
fn an_unknown_sender_is_closed_and_a_range_takes_up_to_its_limit() {
    let mut net = Net::new(&[65_001, 65_002, 65_003]);
    let range = DynamicRange {
        prefix: "192.0.2.0/24".parse().unwrap(),
        template: PeerConfig { remote_asn: RemoteAs::External, ..config(0, 0, true) },
        limit: 1,
    };
    for (at, conn) in [(2, 0), (3, 1)] {
        let peer = PeerId(1);
        net.give(at - 1, Input::SetPeer { peer, config: Box::new(config(1, 65_001, false)) });
        if conn == 0 {
            net.settle();
            assert_eq!(net.speakers[0].neighbors(net.now).len(), 0);
            net.give(0, Input::SetDynamicRanges(vec![range.clone()]));
            net.run(6);
        }
    }
    net.run(6);
    let names: Vec<_> = net.speakers[0].neighbors(net.now).into_iter().map(|neighbor| neighbor.name).collect();
    assert_eq!(names, ["192.0.2.2"]);
    assert_eq!(net.routes(1).len(), 1);
}

#[test]
fn a_lost_next_hop_withdraws_everywhere() {
    // RFC 4271 §9.1.2.1
    let mut net = Net::new(&[65_001, 65_002, 65_003]);
    net.join(1, 2, |_, _| {});
    net.join(2, 3, |_, _| {});
    net.give(1, Input::Links(Vec::new()));
    net.settle();
    assert_eq!(net.routes(3), ["10.2.0.0/16 [65002] 192.0.2.2"]);
}
