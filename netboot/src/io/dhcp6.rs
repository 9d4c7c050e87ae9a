//! The DHCPv6 server at work: its socket, and what it asks of the store. Relays send to the service address; no group is joined, because
//! no link is shared with clients.

use super::dhcp::{AGAIN, FAILED_WAIT, PATIENCE, QUEUE, commit, host, look};
use super::service::{Service, now};
use crate::dhcp::lease::WATCHED;
use crate::dhcp::v4::server::Said;
use crate::dhcp::v6::counts::Counts;
use crate::dhcp::v6::message::MESSAGE_MAX;
use crate::dhcp::v6::rules::Rules;
use crate::dhcp::v6::server::{Input, Output, Server};
use crate::store::{Snapshot, StoreError};
use anyhow::Context as _;
use socket2::{Domain, Protocol, Socket, Type};
use std::net::{SocketAddr, SocketAddrV6};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::UdpSocket;

/// A DHCPv6 server that runs.
#[derive(Debug)]
pub struct Dhcp6 {
    mind: Mutex<Server>,
    service: Arc<Service>,
    socket: UdpSocket,
}

/// What it counts, and what it holds.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    /// Since the start.
    pub counts: Counts,
    /// Now.
    pub holds: [(&'static str, usize); 4],
}

impl Dhcp6 {
    /// Begins to answer; must be called within a runtime.
    ///
    /// # Errors
    /// When the rules are wrong, or the socket cannot be had; says which.
    pub fn start(rules: &Rules, service: Arc<Service>) -> anyhow::Result<Arc<Self>> {
        rules.check().map_err(anyhow::Error::msg)?;
        let at = SocketAddrV6::new(rules.address, rules.port, 0, 0);
        let socket = open(at).with_context(|| format!("dhcp6.address: {at}"))?;
        let name = rules.name.clone().unwrap_or_else(host);
        let mind = Mutex::new(Server::new(rules.clone(), name, now()));
        let dhcp = Arc::new(Self { mind, service, socket });
        tokio::spawn(dhcp.clone().hear());
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

    /// Something happened: does what comes of it.
    fn handle(self: &Arc<Self>, input: Input<'_>) {
        // What ended early leaves a server that answers the next question.
        let mut mind = self.mind.lock().unwrap_or_else(PoisonError::into_inner);
        mind.handle(now(), &self.service.inventory(), input);
        while let Some(output) = mind.poll() {
            match output {
                Output::Send { to, octets } => {
                    if let Err(error) = self.socket.try_send_to(&octets, SocketAddr::V6(to)) {
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

    async fn hear(self: Arc<Self>) {
        // One octet more than is read: what is too long shows.
        let mut buffer = vec![0; MESSAGE_MAX + 1];
        loop {
            match self.socket.recv_from(&mut buffer).await {
                Ok((length, SocketAddr::V6(from))) => {
                    self.handle(Input::Datagram { from, octets: buffer.get(..length).unwrap_or_default() });
                }
                Ok((_, SocketAddr::V4(_))) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot hear DHCPv6");
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

fn open(at: SocketAddrV6) -> std::io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    socket.set_only_v6(true)?;
    // The address may come later: `weft daemon` puts it on `lo` while its check passes.
    socket.set_freebind_v6(true)?;
    if let Err(error) = socket.set_recv_buffer_size(QUEUE) {
        tracing::debug!(%error, "the kernel keeps fewer questions");
    }
    socket.bind(&SocketAddr::V6(at).into())?;
    UdpSocket::from_std(socket.into())
}
