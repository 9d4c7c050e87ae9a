//! The sockets of router discovery: one per link that the node watches, each with a task that hands on what it hears.

use super::icmp6::RaSocket;
use crate::link::LinkInfo;
use crate::node::Input;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use weft_bgp::types::IfIndex;

/// Packets heard and not yet looked at; a flood beyond it waits in the kernel, which drops the rest.
const HEARD: usize = 64;

#[derive(Debug)]
struct Watched {
    socket: Arc<RaSocket>,
    task: AbortHandle,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// All watched links.
#[derive(Debug)]
pub struct Discovery {
    watched: BTreeMap<IfIndex, Watched>,
    heard: mpsc::Sender<Input>,
}

impl Discovery {
    /// Watches nothing yet; what is heard later comes out of the receiver.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<Input>) {
        let (heard, inputs) = mpsc::channel(HEARD);
        (Self { watched: BTreeMap::new(), heard }, inputs)
    }

    /// Watches exactly these links from now on.
    pub fn watch(&mut self, wanted: &[IfIndex], links: &[LinkInfo]) {
        self.watched.retain(|link, _| wanted.contains(link));
        for link in links.iter().filter(|link| wanted.contains(&link.index)) {
            if self.watched.contains_key(&link.index) {
                continue;
            }
            match RaSocket::open(link.index, &link.name, link.mac) {
                Ok(socket) => {
                    let socket = Arc::new(socket);
                    let task = tokio::spawn(listen(Arc::clone(&socket), self.heard.clone())).abort_handle();
                    self.watched.insert(link.index, Watched { socket, task });
                }
                Err(error) => tracing::error!(
                    link = link.name, %error,
                    "no router discovery: unnumbered peers on this link are not found (needs CAP_NET_RAW)"
                ),
            }
        }
    }

    /// Sends a router advertisement; a failure shows in the log only, the next one comes soon.
    pub fn advertise(&self, link: IfIndex, managed: bool) {
        if let Some(watched) = self.watched.get(&link)
            && let Err(error) = watched.socket.advertise(managed)
        {
            tracing::debug!(link = link.0, %error, "router advertisement not sent");
        }
    }

    /// Sends a router solicitation, likewise.
    pub fn solicit(&self, link: IfIndex) {
        if let Some(watched) = self.watched.get(&link)
            && let Err(error) = watched.socket.solicit()
        {
            tracing::debug!(link = link.0, %error, "router solicitation not sent");
        }
    }
}

async fn listen(socket: Arc<RaSocket>, heard: mpsc::Sender<Input>) {
    loop {
        match socket.receive().await {
            Ok(input) => {
                if heard.send(input).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                // The interface is gone; the next picture of the links says so too.
                tracing::debug!(%error, "router discovery ends on a link");
                return;
            }
        }
    }
}
