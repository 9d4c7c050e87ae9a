//! A controller's port of IPMI: one socket and one session, datagrams one after the other and not too fast.

use super::secret::Secret;
use crate::bmc::Trouble;
use crate::bmc::ipmi::packet::DATAGRAM_MAX;
use crate::bmc::ipmi::{Session, Step};
use crate::bmc::redfish::{Goal, Outcome};
use ring::rand::{SecureRandom as _, SystemRandom};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::time::{Instant, sleep_until, timeout_at};

/// Datagrams that are read while one answer is waited for: more is somebody who floods.
const HEARD_MAX: u32 = 64;

/// What is kept of one controller.
#[derive(Debug, Default)]
pub(super) struct Ipmi {
    /// Whether it answered by IPMI where there was no Redfish.
    pub(super) found: bool,
    held: Option<(SocketAddr, UdpSocket, Session)>,
    /// When the last datagram was sent.
    last: Option<Instant>,
}

impl Ipmi {
    pub(super) fn is_open(&self) -> bool {
        self.held.as_ref().is_some_and(|(_, _, session)| session.is_open())
    }

    /// Whether nothing was sent for this long.
    pub(super) fn is_idle(&self, longest: Duration) -> bool {
        self.last.is_none_or(|last| last.elapsed() >= longest)
    }

    /// Ends the session, if the controller says so or not.
    pub(super) async fn leave(&mut self, gap: Duration, requests: &AtomicU64) {
        if let Some((address, socket, mut session)) = self.held.take()
            && session.is_open()
            && let Err(error) = self.drive(&socket, &mut session, Goal::Leave, gap, requests).await
        {
            tracing::debug!(%address, %error, "a session of IPMI was not ended");
        }
    }

    /// One dialogue.
    pub(super) async fn run(
        &mut self,
        address: SocketAddr,
        goal: Goal,
        secret: &Secret,
        gap: Duration,
        requests: &AtomicU64,
    ) -> Result<Outcome, Trouble> {
        let same = |(held, _, session): &(SocketAddr, UdpSocket, Session)| {
            *held == address && session.is_of(&secret.user, &secret.password)
        };
        if !self.held.as_ref().is_some_and(same) {
            self.leave(gap, requests).await;
        }
        let (address, socket, mut session) = match self.held.take() {
            Some(held) => held,
            None => {
                let session = Session::new(&secret.user, &secret.password)?;
                let socket = connect(address).await.map_err(|error| Trouble::Silent(format!("{address}: {error}")))?;
                (address, socket, session)
            }
        };
        let end = self.drive(&socket, &mut session, goal, gap, requests).await;
        self.held = Some((address, socket, session));
        end.map_err(|trouble| match trouble {
            Trouble::Silent(why) => Trouble::Silent(format!("{address} (UDP): {why}")),
            Trouble::Unsupported(_)
            | Trouble::Credentials(_)
            | Trouble::Untrusted(_)
            | Trouble::Absent(_)
            | Trouble::Refused(_) => trouble,
        })
    }

    async fn drive(
        &mut self,
        socket: &UdpSocket,
        session: &mut Session,
        goal: Goal,
        gap: Duration,
        requests: &AtomicU64,
    ) -> Result<Outcome, Trouble> {
        let start = Instant::now();
        let random = SystemRandom::new();
        let mut heard = 0;
        session.begin(goal);
        loop {
            let mut fresh = [0; 16];
            random.fill(&mut fresh).map_err(|_| Trouble::Silent("there is no randomness".to_owned()))?;
            match session.poll(start.elapsed(), fresh) {
                Step::Send(datagram) => {
                    if let Some(last) = self.last {
                        sleep_until(last + gap).await;
                    }
                    (self.last, heard) = (Some(Instant::now()), 0);
                    requests.fetch_add(1, Ordering::Relaxed);
                    session.sent(start.elapsed());
                    // A port that is closed says so here or at the next one: the session has its own patience.
                    let _ = socket.send(&datagram).await;
                }
                Step::Wait(until) => {
                    let mut buffer = [0; DATAGRAM_MAX];
                    let until = start + until;
                    match timeout_at(until, socket.recv(&mut buffer)).await {
                        Ok(Ok(length)) if heard < HEARD_MAX => {
                            heard += 1;
                            session.handle(buffer.get(..length).unwrap_or_default());
                        }
                        Ok(Ok(_) | Err(_)) => sleep_until(until).await,
                        Err(_) => {}
                    }
                }
                Step::End(end) => return end,
            }
        }
    }
}

/// A socket that hears only this address.
async fn connect(address: SocketAddr) -> std::io::Result<UdpSocket> {
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(address).await?;
    Ok(socket)
}
