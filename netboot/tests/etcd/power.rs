//! Wishes of power with two servers over one etcd: one dies, the other one goes on; without etcd nothing is pressed.

#[path = "../../src/bmc/ipmi/session/peer.rs"]
mod peer;

use super::servers::{actor, plan, register};
use super::{Cluster, LIMIT, until};
use peer::Peer;
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use weft_netboot::NetbootError;
use weft_netboot::bmc::power::Wish;
use weft_netboot::inventory::command::Command;
use weft_netboot::inventory::machine::Machine;
use weft_netboot::io::bmc::{Bmcs, Wishing};
use weft_netboot::io::service::Service;
use weft_netboot::ipam::Pool;
use weft_netboot::store::Store;

const PASSWORD: &str = "calvin-0815";
/// Chassis controls (table 28-4).
const HARD_OFF: u8 = 0;
const SOFT_OFF: u8 = 5;

/// A controller whose machine is on and does not listen to a soft power-off; its port, and what answers there.
async fn controller() -> (Arc<Mutex<Peer>>, u16, JoinSet<()>) {
    let mut peer = Peer::new(true);
    (peer.password, peer.on, peer.deaf) = (PASSWORD.as_bytes().to_vec(), true, true);
    let socket = UdpSocket::bind(("127.72.20.4", 0)).await.unwrap();
    let port = socket.local_addr().unwrap().port();
    let peer = Arc::new(Mutex::new(peer));
    let heard = peer.clone();
    let mut answers = JoinSet::new();
    answers.spawn(async move {
        let mut buffer = [0; 1024];
        loop {
            let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
            let answer = heard.lock().unwrap().hear(&buffer[..length]);
            if let Some(answer) = answer {
                socket.send_to(&answer, from).await.unwrap();
            }
        }
    });
    (peer, port, answers)
}

/// A boot server, as far as it speaks to controllers.
struct Server {
    service: Arc<Service>,
    bmcs: Arc<Bmcs>,
}

impl Server {
    async fn start(store: Arc<dyn Store>, rules: Value) -> Self {
        let service = Service::start(store).await.unwrap();
        let bmcs = Bmcs::start(&serde_json::from_value(rules).unwrap(), service.clone()).unwrap();
        Self { service, bmcs }
    }

    fn machine(&self) -> Option<Arc<Machine>> {
        self.service.inventory().machine("m0").map(|held| held.value.clone())
    }

    async fn wish(&self, wish: Wish) -> Result<(), NetbootError> {
        let machine = self.machine().unwrap();
        self.service.run(&self.bmcs.power(&machine, wish, false).unwrap(), &actor()).await?;
        self.bmcs.wished(&machine).unwrap();
        Ok(())
    }

    async fn task(&self) -> Wishing {
        self.bmcs.show(&self.machine().unwrap(), false).await.unwrap().task.unwrap()
    }

    async fn until(&self, what: &str, holds: impl Fn(&Wishing) -> bool) -> Wishing {
        let deadline = Instant::now() + LIMIT;
        loop {
            let task = self.task().await;
            if holds(&task) {
                return task;
            }
            assert!(Instant::now() < deadline, "{what}: {task:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wish_goes_on_at_another_server_and_not_without_the_store() {
    let mut cluster = Cluster::start("power", 1);
    cluster.ready().await;
    let (peer, port, _answers) = controller().await;
    let controls = || peer.lock().unwrap().controls.clone();
    let secret = cluster.folder.join("secret");
    std::fs::write(&secret, json!({ "user": "root", "password": PASSWORD }).to_string()).unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    let times = json!({ "soft_off_s": 4, "hard_off_s": 5, "on_s": 5, "steady_s": 0, "away_s": 30 });
    let rules = json!({ "pins": cluster.folder.join("pins"), "rules": [{ "credentials": secret, "trust": "learn",
        "ipmi": "only", "ipmi_port": port, "gap_ms": 0, "times": times }] });
    let Command::SetIpam { mut ipam } = plan() else { panic!("a plan") };
    let pool = Pool { prefix: "127.72.20.0/24".parse().unwrap(), range_bits: 5, mask: 24, ..ipam.node[0].clone() };
    ipam.bmc.push(pool);
    // The first server has a runtime of its own: when that ends, it ends as if it had been killed.
    let first = tokio::runtime::Runtime::new().unwrap();
    let one = first.spawn(Server::start(cluster.store(), rules.clone())).await.unwrap();
    let two = Server::start(cluster.store(), rules).await;
    two.service.run(&Command::SetIpam { ipam }, &actor()).await.unwrap();
    two.service.run(&register("m0".to_owned(), 0), &actor()).await.unwrap();
    until("the first one hears of the machine", || std::future::ready(one.machine().is_some())).await;
    let one = first
        .spawn(async move {
            one.wish(Wish::Off).await.unwrap();
            one.until("the press is taken", |task| task.says == "soft power-off: taken").await.server
        })
        .await
        .unwrap();
    // The other one knows, and takes no other wish meanwhile.
    let seen = two.until("the other one hears of it", |task| task.says == "soft power-off: taken").await;
    assert_eq!((&seen.server, seen.end), (&one, None));
    let refused = two.wish(Wish::On).await.unwrap_err().to_string();
    assert!(refused.contains("`off` by test is under way at ") && refused.contains(one.as_ref().unwrap()), "{refused}");
    first.shutdown_background();
    let taken = two.until("the wish is taken", |task| task.server != one).await;
    let step = taken.steps.iter().find(|step| step.says.starts_with("taken from")).unwrap();
    assert!(step.says.contains(one.as_ref().unwrap()), "{step:?}");
    // Its operating system has its time again; when that is over, there is no store.
    cluster.kill(0);
    two.until("it says why", |task| task.says.starts_with("the store is away, so nothing is pressed")).await;
    assert_eq!(controls(), [SOFT_OFF]);
    cluster.run(0);
    let ended = two.until("it ends", |task| task.end.is_some()).await;
    assert_eq!((ended.end.as_deref(), controls()), (Some("done"), vec![SOFT_OFF, HARD_OFF]), "{ended:?}");
    // A wish that cannot be stored is none.
    cluster.kill(0);
    two.wish(Wish::On).await.unwrap_err();
    assert_eq!((controls().len(), two.task().await.wish), (2, Wish::Off));
}
