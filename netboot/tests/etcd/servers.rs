//! Boot servers over one etcd: nothing is given twice, and what a change costs beside a plain write of etcd's.

use super::{Cluster, LIMIT, put, until};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;
use weft_netboot::NetbootError;
use weft_netboot::inventory::access::{Access, Actor};
use weft_netboot::inventory::command::Command;
use weft_netboot::inventory::machine::Spec;
use weft_netboot::inventory::state::State;
use weft_netboot::inventory::{AUDIT, Inventory};
use weft_netboot::io::service::Service;
use weft_netboot::ipam::{Ipam, Pool};
use weft_netboot::store::Store as _;

/// Clients that write at the same time.
const CLIENTS: u32 = 64;
/// Writes of each.
const WRITES: u32 = 20;
/// What a change of state writes: the record of a machine with some history, and its audit entry.
const CHANGE_OCTETS: usize = 2_500;

pub(super) fn actor() -> Actor {
    Actor { name: "test".to_owned(), access: Access::Admin, via: "test".to_owned() }
}

pub(super) fn plan() -> Command {
    let node = Pool {
        prefix: "10.69.0.0/16".parse().unwrap(),
        offset: None,
        range_bits: 6,
        mask: 26,
        gateway_offset: 1,
        first_rack: 0,
        last_rack: None,
    };
    let ipam =
        Ipam { max_nodes_in_rack: 28, node_index_offset: 3, node_networks: 3, node: vec![node], bmc: Vec::new() };
    Command::SetIpam { ipam }
}

pub(super) fn register(serial: String, rack: u32) -> Command {
    Command::Register { machines: vec![Spec { serial, rack, role: "cs".to_owned(), ..Spec::default() }] }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_give_no_place_twice() {
    let cluster = Cluster::start("two", 1);
    let store = cluster.ready().await;
    let servers = [Service::start(store.clone()).await.unwrap(), Service::start(cluster.store()).await.unwrap()];
    servers[0].run(&plan(), &actor()).await.unwrap();
    until("the other server hears of the plan", || {
        let knows = servers[1].inventory().ipam().is_some();
        async move { knows }
    })
    .await;
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..40 {
        let server = servers[client % 2].clone();
        clients.spawn(async move { server.run(&register(format!("m{client}"), 0), &actor()).await.map(drop) });
    }
    let (mut registered, mut full) = (0, 0);
    while let Some(ended) = clients.join_next().await {
        match ended.unwrap() {
            Ok(()) => registered += 1,
            Err(NetbootError::Refused(refusal)) if refusal.message == "rack 0 is full" => full += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!((registered, full), (28, 12));
    let truth = Inventory::load(&store.read("").await.unwrap()).unwrap();
    let places: BTreeSet<u32> = truth.machines().map(|machine| machine.index).collect();
    assert_eq!((truth.machines().len(), places.len()), (28, 28));
    assert_eq!(store.read(AUDIT).await.unwrap().entries.len(), 29, "one for each change, and none else");
}

/// State changes (two writes and a condition each) beside plain writes of one key each, in the same etcd. Printed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn state_changes_beside_plain_writes() {
    let cluster = Cluster::start("rate", 1);
    let store = cluster.ready().await;
    let server = Service::start(store.clone()).await.unwrap();
    server.run(&plan(), &actor()).await.unwrap();
    for client in 0..CLIENTS {
        server.run(&register(format!("m{client}"), client), &actor()).await.unwrap();
    }
    let plain_client = cluster.client();
    // Plain writes of four octets, and of as many as a change writes; each twice, in turn.
    let sizes = [Some(4), None, Some(CHANGE_OCTETS), Some(4), None, Some(CHANGE_OCTETS)];
    let mut rates = Vec::new();
    for plain in sizes {
        let begin = Instant::now();
        let mut clients = tokio::task::JoinSet::new();
        for client in 0..CLIENTS {
            // What one client of etcd is asked for at the same time goes in one request: plain writes have a client each.
            let (server, store): (Arc<Service>, _) = (server.clone(), plain_client.apart());
            clients.spawn(async move {
                for turn in 0..WRITES {
                    if let Some(octets) = plain {
                        let value = [&turn.to_be_bytes()[..], &vec![b'x'; octets - 4]].concat();
                        store.commit(put(&format!("plain/{client}"), &value)).await.unwrap();
                    } else {
                        let to = if turn % 2 == 0 { State::Healthy } else { State::Unhealthy };
                        let change = Command::SetState { serial: format!("m{client}"), to, reason: String::new() };
                        server.run(&change, &actor()).await.unwrap();
                    }
                }
            });
        }
        while let Some(ended) = clients.join_next().await {
            ended.unwrap();
        }
        assert!(begin.elapsed() < LIMIT);
        rates.push(f64::from(CLIENTS * WRITES) / begin.elapsed().as_secs_f64());
    }
    let best = |at: usize| rates[at].max(rates[at + 3]);
    let (plain, changes, large) = (best(0), best(1), best(2));
    println!(
        "etcd: {plain:.0} plain writes of 4 octets per second, {large:.0} of {CHANGE_OCTETS}; {changes:.0} state changes: {:.0} % and {:.0} %",
        100.0 * changes / plain,
        100.0 * changes / large
    );
}
