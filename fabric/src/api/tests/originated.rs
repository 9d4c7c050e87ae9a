//! Routes of programs: asked for over the API, and gone when nobody renews them.

use super::*;
use crate::node::{Imported, LeftOut};

const FILE: &str = "
role: host
asn: 65004
addresses: [10.69.0.4/32]
import_kernel: [{table: 119, protocol: 30, communities: ['65004:30']}]
import_connected: [{interface: 'eth*', within: [10.0.0.0/8]}]
";

struct Lone {
    node: Node,
    now: Instant,
}

impl Lone {
    fn start() -> Self {
        let node = Node::new(config::parse("t", FILE).unwrap().node().unwrap(), Instant::ZERO);
        let mut lone = Self { node, now: Instant::ZERO };
        lone.node.handle(lone.now, Input::Links(Vec::new()));
        lone
    }

    /// A request, and the words of a refusal.
    fn ask(&mut self, method: &str, target: &str) -> Result<(), (u16, String)> {
        let refused = |refusal: Refusal| (refusal.status, refusal.error);
        let Request::Do(command) = parse(Door::Local, method, target).map_err(refused)? else { panic!("{target}") };
        match command {
            Command::AddRoute(lease) => {
                let prefix = lease.route.prefix;
                self.node.lease(self.now, *lease).map_err(|why| refused(refusal(why, &prefix)))
            }
            Command::RemoveRoutes { owner, prefix: Some(prefix) } => {
                self.node.release(self.now, &owner, &prefix).map_err(|why| refused(refusal(why, &prefix)))
            }
            Command::RemoveRoutes { owner, prefix: None } => {
                self.node.release_all(self.now, &owner);
                Ok(())
            }
            Command::Reload(_)
            | Command::ConfirmReload
            | Command::Stop
            | Command::Upgrade { .. }
            | Command::Clear { .. }
            | Command::SetVip { .. }
            | Command::Drain { .. } => panic!("{command:?}"),
        }
    }

    fn wait(&mut self, seconds: u64) {
        let end = self.now + Duration::from_secs(seconds);
        while let Some((at, _)) = self.node.next_timeout().filter(|(at, _)| *at <= end) {
            self.now = at.max(self.now);
            self.node.handle(self.now, Input::Tick);
        }
        self.now = end;
    }

    fn originated(&self) -> Originated {
        let body = answer(&self.node, self.now, &Surroundings::default(), &Question::Originated).body;
        let Body::Originated(originated) = body else { panic!("{body:?}") };
        originated
    }

    fn table(&self) -> Vec<String> {
        self.node.speaker().routes(None, 20).iter().map(|route| route.prefix.to_string()).collect()
    }
}

#[test]
fn a_route_lives_as_long_as_its_lease_is_renewed() {
    let mut lone = Lone::start();
    let add = "/v1/routes?prefix=10.72.32.1/32&owner=lb&lease_s=10&communities=65004:1,no-export&weight=5";
    assert_eq!(lone.ask("POST", add), Ok(()));
    assert_eq!(lone.table(), ["10.69.0.4/32", "10.72.32.1/32"]);
    lone.wait(8);
    assert_eq!(lone.ask("POST", add), Ok(()), "renewed");
    lone.wait(9);
    assert_eq!(lone.table().len(), 2);
    lone.wait(1);
    assert_eq!(lone.table(), ["10.69.0.4/32"], "its owner is dead");
    assert_eq!(lone.node.next_timeout(), None);
}

#[test]
fn a_route_belongs_to_its_owner() {
    let mut lone = Lone::start();
    let add = |owner: &str| format!("/v1/routes?prefix=10.72.32.1/32&owner={owner}&lease_s=10");
    lone.ask("POST", &add("lb")).unwrap();
    assert_eq!(lone.ask("POST", &add("other")), Err((409, "10.72.32.1/32 belongs to lb".to_owned())));
    let remove = |owner: &str| format!("/v1/routes?prefix=10.72.32.1/32&owner={owner}");
    assert_eq!(lone.ask("DELETE", &remove("other")).unwrap_err().0, 409);
    assert_eq!(lone.ask("DELETE", &remove("lb")), Ok(()));
    assert_eq!(lone.ask("DELETE", &remove("lb")).unwrap_err().0, 404);
    lone.ask("POST", &add("other")).unwrap();
    lone.ask("DELETE", "/v1/routes?owner=other").unwrap();
    assert_eq!(lone.table(), ["10.69.0.4/32"]);
}

#[test]
fn routes_of_programs_are_bounded_and_asked_for_strictly() {
    let mut lone = Lone::start();
    for at in 0..crate::node::MAX_LEASES {
        let (high, low) = (at >> 8, at & 0xff);
        lone.ask("POST", &format!("/v1/routes?prefix=10.{high}.{low}.0/24&owner=lb&lease_s=10")).unwrap();
    }
    assert_eq!(lone.ask("POST", "/v1/routes?prefix=fd00::/64&owner=lb&lease_s=10").unwrap_err().0, 507);
    for slip in [
        "/v1/routes?owner=lb&lease_s=10",
        "/v1/routes?prefix=10.0.0.0/8&lease_s=10",
        "/v1/routes?prefix=10.0.0.0/8&owner=lb",
        "/v1/routes?prefix=10.0.0.0/8&owner=lb&lease_s=0",
        "/v1/routes?prefix=10.0.0.0/8&owner=lb&lease_s=100000",
        "/v1/routes?prefix=10.0.0.1/8&owner=lb&lease_s=10",
        "/v1/routes?prefix=10.0.0.0/8&owner=lb&lease_s=10&communities=x",
        "/v1/routes?prefix=10.0.0.0/8&owner=lb&lease_s=10&weight=0",
        "/v1/routes?prefix=10.0.0.0/8&owner=lb&lease_s=10&metric=1",
    ] {
        assert_eq!(lone.ask("POST", slip).unwrap_err().0, 400, "{slip}");
    }
    assert_eq!(
        parse(Door::Metrics, "POST", "/v1/routes?prefix=10.0.0.0/8&owner=lb&lease_s=10").unwrap_err().status,
        404
    );
    assert_eq!(parse(Door::Local, "PUT", "/v1/routes").unwrap_err().status, 405);
}

#[test]
fn several_may_want_a_prefix_and_the_most_trusted_is_heard() {
    let mut lone = Lone::start();
    lone.ask("POST", "/v1/routes?prefix=10.69.0.4/32&owner=lb&lease_s=10").unwrap();
    lone.ask("POST", "/v1/routes?prefix=10.64.4.0/27&owner=lb&lease_s=10&large_communities=65004:1:2").unwrap();
    let changes = ["10.64.4.0/27", "10.64.4.32/27"].map(|prefix| (prefix.parse().unwrap(), Some(0))).to_vec();
    lone.node.handle(
        lone.now,
        Input::Imported(Imported {
            run: 1,
            all: true,
            changes,
            left_out: vec![LeftOut { table: 119, protocol: 30, routes: 3 }],
        }),
    );
    let mut down = link(3, "eth1", "10.2.0.2/24");
    down.carrier = false;
    let links =
        vec![link(2, "eth0", "10.1.0.2/24"), down, link(4, "br0", "10.3.0.2/24"), link(5, "eth3", "192.0.2.1/24")];
    lone.node.handle(lone.now, Input::Links(links));
    insta::assert_snapshot!("originated", crate::show::originated::table_of(&lone.originated()));
    let text = serde_json::to_string(&lone.originated()).unwrap();
    assert_eq!(serde_json::from_str::<Originated>(&text).unwrap(), lone.originated());
    lone.wait(10);
    let changes = vec![("10.64.4.32/27".parse().unwrap(), None)];
    lone.node.handle(lone.now, Input::Imported(Imported { run: 1, all: false, changes, left_out: Vec::new() }));
    lone.node.handle(lone.now, Input::LinkDown(IfIndex(2)));
    assert_eq!(lone.table(), ["10.64.4.0/27", "10.69.0.4/32"]);
    lone.node
        .handle(lone.now, Input::Imported(Imported { run: 2, all: true, changes: Vec::new(), left_out: Vec::new() }));
    assert_eq!(lone.table(), ["10.69.0.4/32"]);
}
