//! Makes the checks of service addresses: one task for each check under way, which always ends with a result, and in time. Everything
//! that a checked service, a command or a file system can make large, slow or many has a bound here.

pub mod exec;
pub mod runner;
pub(super) mod tls;

use crate::config::{Probe, Tls};
use crate::vip::{Input, Order};
use http_body_util::Empty;
use hyper::Request;
use hyper_util::rt::TokioIo;
use runner::Runner;
use std::io;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tls::Trusted;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use weft_bgp::time::Duration;

/// Connections that checks have open at a time; the others wait for their turn, within their own time.
const CONNECTIONS: usize = 64;
/// Commands at a time: each is a process.
const COMMANDS: usize = 8;
/// Looks at files at a time: one that hangs in a file system takes a thread until it ends.
const FILES: usize = 8;
/// Results that wait for the loop; a task with a result waits for room.
const RESULTS: usize = 64;
/// Octets of a head that an HTTP service may answer with.
const HEAD_BYTES: usize = 16 << 10;

/// The checks under way.
#[derive(Clone, Debug)]
pub struct Checks {
    results: mpsc::Sender<Input>,
    connections: Arc<Semaphore>,
    commands: Arc<Semaphore>,
    files: Arc<Semaphore>,
    trusted: Trusted,
    /// Who runs commands, where the daemon has given up the right to; and the socket to it.
    runner: Option<(Runner, Arc<UnixStream>)>,
}

impl Checks {
    /// None yet, and where results come out.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<Input>) {
        let (results, receiver) = mpsc::channel(RESULTS);
        let places = |count| Arc::new(Semaphore::new(count));
        let (connections, commands, files) = (places(CONNECTIONS), places(COMMANDS), places(FILES));
        (Self { results, connections, commands, files, trusted: Trusted::default(), runner: None }, receiver)
    }

    /// Has commands run by another process from now on, if there is one.
    ///
    /// # Errors
    /// What the system says.
    pub fn set_runner(&mut self, socket: Option<UnixStream>) -> io::Result<()> {
        if let Some(socket) = socket {
            self.runner = Some((Runner::new(socket.try_clone()?)?, Arc::new(socket)));
        }
        Ok(())
    }

    /// The socket to that process, for a program that takes over.
    #[must_use]
    pub fn runner(&self) -> Option<&UnixStream> {
        self.runner.as_ref().map(|(_, socket)| &**socket)
    }

    /// Begins a check. Its result comes within its longest time; a service has one under way at a time.
    pub fn start(&self, order: Order) {
        let checks = self.clone();
        tokio::spawn(async move {
            let Order { name, run, probe, timeout } = order;
            let outcome = match tokio::time::timeout(timeout, checks.try_once(&probe, timeout)).await {
                Ok(outcome) => outcome,
                Err(_) => Err(format!("no answer within {} ms", timeout.as_millis())),
            };
            // The loop is gone only when the daemon is.
            let _ = checks.results.send(Input::Checked { name, run, outcome }).await;
        });
    }

    async fn try_once(&self, probe: &Probe, limit: Duration) -> Result<(), String> {
        let places = match probe {
            Probe::Tcp(_) | Probe::Http { .. } => &self.connections,
            Probe::Exec { .. } => &self.commands,
            Probe::File(_) => &self.files,
        };
        let place = Arc::clone(places).acquire_owned().await.map_err(|error| error.to_string())?;
        match probe {
            Probe::Tcp(address) => connect(*address).await.map(drop),
            Probe::Http { address, host, target, tls: None } => {
                http(connect(*address).await?, *address, host, target).await
            }
            Probe::Http { address, host, target, tls: Some(tls) } => {
                let stream = self.secured(*address, tls).await?;
                http(stream, *address, host, target).await
            }
            Probe::Exec { command, user } => match &self.runner {
                Some((runner, _)) => runner.run(command, user, limit).await,
                None => exec::run(command, user).await,
            },
            Probe::File(path) => {
                let path = path.clone();
                // The place is given back when the file system answers, not when we stop waiting for it.
                let looked = tokio::task::spawn_blocking(move || {
                    let outcome = look(&path);
                    drop(place);
                    outcome
                });
                looked.await.unwrap_or_else(|error| Err(error.to_string()))
            }
        }
    }

    /// A connection whose other end has proved itself.
    async fn secured(&self, address: SocketAddr, tls: &Tls) -> Result<impl AsyncRead + AsyncWrite + Unpin, String> {
        // Certificates are in a file, and a file system may hang: it has a place of its own until it answers.
        let place = Arc::clone(&self.files).acquire_owned().await.map_err(|error| error.to_string())?;
        let (trusted, trust) = (self.trusted.clone(), tls.trust.clone());
        let looked = tokio::task::spawn_blocking(move || {
            let config = trusted.config(&trust);
            drop(place);
            config
        });
        let config = looked.await.unwrap_or_else(|error| Err(error.to_string()))?;
        tls::secure(connect(address).await?, config, &tls.server_name)
            .await
            .map_err(|error| format!("{address}: {error}"))
    }
}

fn look(path: &Path) -> Result<(), String> {
    match std::fs::metadata(path) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("{}: {}", PathBuf::from(path).display(), super::sockopt::plain(&error))),
    }
}

async fn connect(address: SocketAddr) -> Result<TcpStream, String> {
    TcpStream::connect(address).await.map_err(|error| format!("{address}: {}", super::sockopt::plain(&error)))
}

async fn http(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    address: SocketAddr,
    host: &str,
    target: &str,
) -> Result<(), String> {
    ask(stream, host, target).await.map_err(|error| format!("{address}: {error}"))
}

/// Asks a service over a connection to it; the head of its answer is all that is read.
///
/// # Errors
/// What is wrong with the answer: no success, or none that HTTP knows.
pub async fn ask(stream: impl AsyncRead + AsyncWrite + Unpin, host: &str, target: &str) -> Result<(), String> {
    let mut client = hyper::client::conn::http1::Builder::new();
    client.max_buf_size(HEAD_BYTES);
    let (mut sender, connection) = client.handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let request = Request::get(target).header("host", host).header("user-agent", "weft").header("connection", "close");
    let request = request.body(Empty::<bytes::Bytes>::new()).map_err(|error| error.to_string())?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = response.status();
        if status.is_success() { Ok(()) } else { Err(format!("status {status}")) }
    };
    // Both are polled here: when this ends, whatever way, nothing is left running.
    let mut exchange = std::pin::pin!(exchange);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        biased;
        outcome = &mut exchange => outcome,
        _ = &mut connection => exchange.await,
    }
}

#[cfg(test)]
mod tests;
