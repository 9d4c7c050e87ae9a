//! The DHCP server at work: its sockets, and what it asks of the store.
//!
//! ```text
//!   service address:67 ──┐                      ┌──▶ sockets, at once
//!   device, 0.0.0.0:67 ──┼──▶ Server (pure) ────┤
//!   store ──── watch ────┘         ▲            └──▶ store, each question a task of its own
//!                                  └────── done ─────────┘
//! ```
//!
//! A socket of the service address hears no broadcasts, so a port with clients on it has a socket of its own, bound to the device.

use super::service::{Service, now};
use crate::dhcp::lease::WATCHED;
use crate::dhcp::v4::counts::Counts;
use crate::dhcp::v4::message::MESSAGE_MAX;
use crate::dhcp::v4::rules::Rules;
use crate::dhcp::v4::server::{Input, Output, Said, Server, Via};
use crate::store::{Outcome, Snapshot, Store, StoreError, Transaction};
use anyhow::Context as _;
use socket2::{Domain, Protocol, Socket, Type};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::UdpSocket;

/// Octets that the kernel keeps while the server is busy: some thousands of questions.
pub(super) const QUEUE: usize = 4 * 1024 * 1024;
/// Wait for the answer to a transaction before it is looked for; each time twice as long. A client asks again after four seconds.
pub(super) const PATIENCE: Duration = Duration::from_millis(600);
/// How often a transaction whose answer was lost is looked for and sent again.
const TRIES_MAX: u32 = 3;
/// Wait before something that failed is tried again.
pub(super) const AGAIN: Duration = Duration::from_millis(250);
/// Wait after a socket failed: the device is gone, or the system has no memory.
pub(super) const FAILED_WAIT: Duration = Duration::from_millis(50);

/// A DHCP server that runs.
#[derive(Debug)]
pub struct Dhcp {
    mind: Mutex<Server>,
    service: Arc<Service>,
    own: UdpSocket,
    devices: Vec<UdpSocket>,
}

/// What it counts, and what it holds.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    /// Since the start.
    pub counts: Counts,
    /// Now.
    pub holds: [(&'static str, usize); 4],
}

impl Dhcp {
    /// Begins to answer; must be called within a runtime.
    ///
    /// # Errors
    /// When the rules are wrong, or a socket cannot be had; says which.
    pub fn start(rules: &Rules, service: Arc<Service>) -> anyhow::Result<Arc<Self>> {
        rules.check().map_err(anyhow::Error::msg)?;
        let many = !rules.devices.is_empty();
        let at = SocketAddrV4::new(rules.address, rules.port);
        let own = open(at, None, many).with_context(|| format!("dhcp.address: {at}"))?;
        let mut devices = Vec::new();
        for device in &rules.devices {
            let at = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, rules.port);
            let socket = open(at, Some(&device.name), many);
            devices.push(socket.with_context(|| format!("dhcp.devices: {}", device.name))?);
        }
        let name = rules.name.clone().unwrap_or_else(host);
        let mind = Mutex::new(Server::new(rules.clone(), name, now()));
        let dhcp = Arc::new(Self { mind, service, own, devices });
        tokio::spawn(dhcp.clone().hear(Via::Service));
        for at in 0..dhcp.devices.len() {
            tokio::spawn(dhcp.clone().hear(Via::Device(at)));
        }
        tokio::spawn(dhcp.clone().follow());
        tokio::spawn(dhcp.clone().tick());
        Ok(dhcp)
    }

    /// What it counts, and what it holds.
    #[must_use]
    pub fn shown(&self) -> Shown {
        let mind = self.mind.lock().unwrap_or_else(PoisonError::into_inner);
        Shown { counts: mind.counts().clone(), holds: mind.holds(now()) }
    }

    fn socket(&self, via: Via) -> Option<&UdpSocket> {
        match via {
            Via::Service => Some(&self.own),
            Via::Device(at) => self.devices.get(at),
        }
    }

    /// Something happened: does what comes of it.
    fn handle(self: &Arc<Self>, input: Input<'_>) {
        // What ended early leaves a server that answers the next question.
        let mut mind = self.mind.lock().unwrap_or_else(PoisonError::into_inner);
        mind.handle(now(), &self.service.inventory(), input);
        while let Some(output) = mind.poll() {
            match output {
                Output::Send { via, to, octets } => {
                    let socket = self.socket(via);
                    if let Some(Err(error)) = socket.map(|socket| socket.try_send_to(&octets, SocketAddr::V4(to))) {
                        tracing::debug!(%to, %error, "not sent");
                        mind.unsent();
                    }
                }
                // At most as many as the server lets wait.
                Output::Commit { id, transaction } => {
                    let dhcp = self.clone();
                    tokio::spawn(async move {
                        let said = commit(dhcp.service.store().as_ref(), transaction).await;
                        dhcp.handle(Input::Done { id, said });
                    });
                }
                Output::Look { id, key } => {
                    let dhcp = self.clone();
                    tokio::spawn(async move {
                        let said = look(dhcp.service.store().as_ref(), &key, PATIENCE).await;
                        dhcp.handle(Input::Done { id, said: said.unwrap_or(Said::Failed) });
                    });
                }
            }
        }
    }

    /// Datagrams of one socket.
    async fn hear(self: Arc<Self>, via: Via) {
        let Some(socket) = self.socket(via) else { return };
        // One octet more than is read: what is too long shows.
        let mut buffer = vec![0; MESSAGE_MAX + 1];
        loop {
            match socket.recv_from(&mut buffer).await {
                Ok((length, _)) => {
                    self.handle(Input::Datagram { via, octets: buffer.get(..length).unwrap_or_default() });
                }
                Err(error) => {
                    tracing::warn!(?via, %error, "cannot hear DHCP");
                    tokio::time::sleep(FAILED_WAIT).await;
                }
            }
        }
    }

    /// Leases of the store, as they are and as they change.
    async fn follow(self: Arc<Self>) {
        loop {
            if let Err(error) = self.follow_once().await {
                tracing::debug!(%error, "leases are read again");
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn follow_once(self: &Arc<Self>) -> Result<(), StoreError> {
        let Snapshot { entries, revision } = self.service.store().read(WATCHED).await?;
        self.handle(Input::Whole(entries));
        let mut watch = self.service.store().watch(WATCHED, revision).await?;
        loop {
            let event = watch.next().await?;
            for change in event.changes {
                self.handle(Input::Heard { key: change.key, value: change.value, modified: event.revision });
            }
        }
    }

    async fn tick(self: Arc<Self>) {
        loop {
            let (at, _) = self.mind.lock().unwrap_or_else(PoisonError::into_inner).next_timeout();
            let wait = u64::try_from(at.duration_since(now()).as_millis()).unwrap_or(0);
            // A clock that jumps delays this by no more than the usual time.
            tokio::time::sleep(Duration::from_millis(wait.clamp(100, 10_000))).await;
            self.handle(Input::Tick);
        }
    }
}

fn open(at: SocketAddrV4, device: Option<&str>, many: bool) -> std::io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    // The address may come later: `weft daemon` puts it on `lo` while its check passes.
    socket.set_freebind_v4(true)?;
    if let Some(device) = device {
        socket.bind_device(Some(device.as_bytes()))?;
        socket.set_broadcast(true)?;
    }
    // One port, an address and devices: the kernel takes that only when all say so. Alone, a second server is refused.
    socket.set_reuse_address(many)?;
    if let Err(error) = socket.set_recv_buffer_size(QUEUE) {
        tracing::debug!(%error, "the kernel keeps fewer questions");
    }
    socket.bind(&SocketAddr::V4(at).into())?;
    UdpSocket::from_std(socket.into())
}

/// This server among others, unless its configuration says another name.
pub(super) fn host() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    host.trim().to_owned()
}

/// Writes one entry, or says what it is. When the answer is lost, the entry says whether it was written: its value is of this server and
/// this moment.
pub(super) async fn commit(store: &dyn Store, transaction: Transaction) -> Said {
    let Some(wanted) = transaction.writes.first().cloned() else { return Said::Failed };
    for turn in 0..TRIES_MAX {
        let patience = PATIENCE * 2_u32.pow(turn);
        let is_conflict = match tokio::time::timeout(patience, store.commit(transaction.clone())).await {
            Ok(Ok(Outcome::Committed(revision))) => return Said::Committed(revision),
            Ok(Ok(Outcome::Conflict)) => true,
            Err(_) | Ok(Err(StoreError::Unknown(_) | StoreError::Full(_))) => false,
            Ok(Err(error)) => {
                tracing::warn!(%error, "a lease is not stored");
                return Said::Failed;
            }
        };
        match look(store, &wanted.key, patience).await {
            Some(Said::Is { value, modified }) if value == wanted.value => return Said::Committed(modified),
            Some(is) if is_conflict => return is,
            Some(_) | None => {}
        }
    }
    tracing::warn!(key = wanted.key, "a lease is not stored: the store does not answer");
    Said::Failed
}

/// One entry, as it is.
pub(super) async fn look(store: &dyn Store, key: &str, patience: Duration) -> Option<Said> {
    let found = tokio::time::timeout(patience, store.read(key)).await.ok()?.ok()?;
    // Others may begin with the same: 10.69.1.4 and 10.69.1.47.
    let entry = found.entries.into_iter().find(|entry| entry.key == key);
    Some(match entry {
        Some(entry) => Said::Is { value: Some(entry.value), modified: entry.modified },
        None => Said::Is { value: None, modified: found.revision },
    })
}
