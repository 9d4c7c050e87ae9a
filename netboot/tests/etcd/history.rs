//! What clients of etcd see is one history, whatever dies: members killed, stopped as if the network were cut, compacted, and full.

#[path = "../store/clients.rs"]
mod clients;
#[path = "../store/linear.rs"]
mod linear;

use super::{Cluster, LIMIT, until};
use clients::Clients;
use linear::{Call, History};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use weft_netboot::NetbootError;
use weft_netboot::inventory::access::{Access, Actor};
use weft_netboot::inventory::command::Command as Change;
use weft_netboot::inventory::state::State;
use weft_netboot::io::service::Service;
use weft_netboot::store::StoreError;

/// Calls that are to be answered between two faults.
const BETWEEN: u64 = 60;

/// A member hears and says nothing, and does not know it: to the others as if the network were cut, and when it goes on, it believes what
/// was true before.
fn signal(cluster: &Cluster, member: usize, signal: &str) {
    let id = cluster.members[member].as_ref().unwrap().id().to_string();
    assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
}

async fn more(clients: &Clients, count: u64) {
    let wanted = clients.answered.load(Ordering::Relaxed) + count;
    let deadline = Instant::now() + LIMIT;
    while clients.answered.load(Ordering::Relaxed) < wanted {
        assert!(Instant::now() < deadline, "{} of {wanted} calls", clients.answered.load(Ordering::Relaxed));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn believed(name: &str, history: &History) {
    let (answered, lost) = history.counts();
    println!("etcd, {name}: {answered} calls answered, {lost} not");
    history.check().unwrap_or_else(|wrong| panic!("{wrong}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_clients_see_is_one_history_while_members_die() {
    let mut cluster = Cluster::start("history", 3);
    let store = cluster.ready().await;
    let clients = Clients::start(&store);
    for turn in 0..6 {
        more(&clients, BETWEEN).await;
        let member = turn % 3;
        cluster.kill(member);
        more(&clients, BETWEEN).await;
        store
            .compact(store.read("linear/").await.map(|found| found.revision).unwrap_or_default())
            .await
            .unwrap_or_default();
        cluster.run(member);
    }
    more(&clients, BETWEEN).await;
    believed("members killed", clients.finish().await.as_ref());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_clients_see_is_one_history_while_members_are_cut_off() {
    let cluster = Cluster::start("cut", 3);
    let store = cluster.ready().await;
    let clients = Clients::start(&store);
    for turn in 0..6 {
        more(&clients, BETWEEN).await;
        signal(&cluster, turn % 3, "-STOP");
        more(&clients, BETWEEN).await;
        signal(&cluster, turn % 3, "-CONT");
    }
    more(&clients, BETWEEN).await;
    believed("members cut off", clients.finish().await.as_ref());
}

/// Etcd has a limit for its disk; beyond it changes are refused, and questions answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_etcd_refuses_changes_and_loses_none() {
    let mut cluster = Cluster::new("full", 1);
    cluster.more = vec!["--quota-backend-bytes=2000000".to_owned()];
    cluster.run(0);
    let store = cluster.ready().await;
    let clients = Clients::start(&store);
    more(&clients, BETWEEN).await;
    let deadline = Instant::now() + LIMIT;
    let mut at = 0_u8;
    let refused = loop {
        at += 1;
        match store.commit(super::put("large", &vec![at; 500_000])).await {
            Ok(_) => assert!(Instant::now() < deadline && at < 100, "etcd takes everything"),
            Err(error) => break error,
        }
    };
    println!("etcd, full after {at} large changes: {refused}");
    let held = store.read("large").await.unwrap();
    // Questions are answered, and what was taken is there; the change that filled it may be, as it says.
    let value = held.entries.first().map_or(0, |entry| entry.value[0]);
    let may_be_there = matches!(refused, StoreError::Full(_) | StoreError::Unknown(_));
    assert!(value == at - 1 || (may_be_there && value == at), "{value} after {at} changes: {refused}");
    let history = clients.finish().await;
    for key in 0..4 {
        let key = format!("linear/{key}");
        let began = history.begin();
        let found = store.read(&key).await.unwrap().entries.into_iter().find(|entry| entry.key == key);
        let value = found.map(|entry| u64::from_be_bytes(entry.value.as_ref().try_into().unwrap()));
        history.end(&key, began, Call::Read(value));
    }
    believed("full", &history);
}

/// Servers that register and remove machines while members die: no place has two machines at any time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_address_is_given_twice_while_members_die() {
    let mut cluster = Cluster::start("places", 3);
    let store = cluster.ready().await;
    let actor = Actor { name: "test".to_owned(), access: Access::Admin, via: "test".to_owned() };
    let mut servers = Vec::new();
    for _ in 0..3 {
        servers.push(Service::start(cluster.store()).await.unwrap());
    }
    servers[0].run(&super::servers::plan(), &actor).await.unwrap();
    for server in &servers {
        until("every server hears of the plan", || {
            let knows = server.inventory().ipam().is_some();
            async move { knows }
        })
        .await;
    }
    let history: Arc<History> = Arc::default();
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..6_usize {
        let (server, history, actor) = (servers[client % 3].clone(), history.clone(), actor.clone());
        clients.spawn(async move {
            for turn in 0..12 {
                lives(&server, &history, &actor, u64::try_from(client * 100 + turn).unwrap()).await;
            }
        });
    }
    let deadline = Instant::now() + 3 * LIMIT;
    let mut turn = 0;
    while !clients.is_empty() {
        assert!(Instant::now() < deadline, "clients do not come to an end");
        let before = history.counts().0;
        cluster.kill(turn % 3);
        until("machines come and go without it", || {
            let gone_on = history.counts().0 > before + 4 || clients.is_empty();
            while let Some(ended) = clients.try_join_next() {
                ended.unwrap();
            }
            async move { gone_on }
        })
        .await;
        cluster.run(turn % 3);
        turn += 1;
    }
    println!("etcd: places given and freed while members died {turn} times: {:?} (answered, not)", history.counts());
    history.check().unwrap_or_else(|wrong| panic!("{wrong}"));
    drop(store);
}

/// A machine from registration to removal: it takes the lowest place that is free, and frees it. Written down as changes of that place.
async fn lives(server: &Service, history: &History, actor: &Actor, number: u64) {
    let serial = format!("m{number}");
    let began = history.begin();
    let place = match server.run(&super::servers::register(serial.clone(), 0), actor).await {
        Ok(machines) => format!("place {}", machines[0].index),
        // Whether it has a place, and which, nobody knows: it keeps it for the rest of this history, and is nobody else's.
        Err(NetbootError::Unknown(_) | NetbootError::Store(_) | NetbootError::Busy(_)) => return,
        Err(error @ (NetbootError::Refused(_) | NetbootError::Bmc(_))) => panic!("{error}"),
    };
    history.end(&place, began, Call::Swap { from: None, to: Some(number) });
    let began = history.begin();
    let freed = Call::Swap { from: Some(number), to: None };
    for to in [State::Retiring, State::Retired] {
        let change = Change::SetState { serial: serial.clone(), to, reason: String::new() };
        if !done(server, actor, &change).await {
            return;
        }
    }
    if done(server, actor, &Change::Remove { serial }).await {
        history.end(&place, began, freed);
    } else {
        history.lost(&place, began, freed);
    }
}

/// Tries until it is sure that it happened; a server that says it may have happened is asked again.
async fn done(server: &Service, actor: &Actor, change: &Change) -> bool {
    for _ in 0..100 {
        match server.run(change, actor).await {
            Ok(_) => return true,
            // Removed by the try before.
            Err(NetbootError::Refused(_)) => return true,
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
    false
}
