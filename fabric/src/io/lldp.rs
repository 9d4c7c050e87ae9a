//! The sockets that hear LLDP: one per link where somebody is expected, each with a task that hands on what it hears. Nothing is sent.

use super::raw;
use crate::link::LinkInfo;
use crate::lldp::{ETHERTYPE, Heard, NEAREST};
use crate::node::Input;
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::BTreeMap;
use std::io;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use weft_bgp::types::IfIndex;

/// Frames heard and not yet looked at; neighbours speak every half minute, and a flood waits in the kernel, which drops the rest.
const HEARD: usize = 16;
/// The longest frame of an ordinary Ethernet.
const FRAME_BYTES: usize = 1_514;

#[derive(Debug)]
struct Watched(AbortHandle);

impl Drop for Watched {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// All watched links.
#[derive(Debug)]
pub struct Ears {
    watched: BTreeMap<IfIndex, Watched>,
    heard: mpsc::Sender<Input>,
}

impl Ears {
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
            match open(link.index) {
                Ok(socket) => {
                    let task = tokio::spawn(listen(link.index, socket, self.heard.clone())).abort_handle();
                    self.watched.insert(link.index, Watched(task));
                }
                Err(error) => tracing::error!(
                    link = link.name, %error,
                    "LLDP is not heard: peers that must be wired as expected get no session on this link (needs CAP_NET_RAW)"
                ),
            }
        }
    }
}

fn open(link: IfIndex) -> io::Result<UdpSocket> {
    // Without a protocol nothing comes before it is bound to its link.
    let socket = Socket::new(Domain::PACKET, Type::RAW.nonblocking().cloexec(), None::<Protocol>)?;
    raw::bind_packet(&socket, ETHERTYPE, link.0)?;
    raw::join_packet(&socket, link.0, NEAREST)?;
    // Any socket of datagrams, for the runtime: it only waits and receives.
    UdpSocket::from_std(socket.into())
}

async fn listen(link: IfIndex, socket: UdpSocket, heard: mpsc::Sender<Input>) {
    let mut frame = vec![0; FRAME_BYTES];
    loop {
        let length = match socket.recv(&mut frame).await {
            Ok(length) => length,
            // Said once when the interface goes down, which may come up again.
            Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => continue,
            Err(error) => {
                // The interface is gone; the next picture of the links says so too.
                tracing::debug!(%error, "LLDP ends on a link");
                return;
            }
        };
        if let Some(said) = frame.get(..length).and_then(Heard::read)
            && heard.send(Input::Lldp { link, heard: said }).await.is_err()
        {
            return;
        }
    }
}
