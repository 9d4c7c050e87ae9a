//! The other end of the API: asks a daemon on its unix socket, or another machine's with certificates. What can go wrong is said with its
//! remedy, because this is what a person sees first when something is not running.

mod target;

pub use target::{PORT, Remote, Target};

use super::sockopt::plain;
use crate::api::{Done, NEXT_HEADER, Refusal, SCHEMA};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1::SendRequest;
use hyper::header::{CONNECTION, HeaderMap, HeaderValue};
use hyper::http::response::Parts;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use target::Missed;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use weft_bgp::time::Duration;

/// For one request in all: more than the daemon allows itself.
const REQUEST_LIMIT: Duration = Duration::from_secs(20);
/// Largest answer: a page of routes with 64 paths each stays below it.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;
/// A watch that says nothing for so long is dead: there is a sign of life every few seconds.
const SILENCE_LIMIT: Duration = Duration::from_secs(30);
/// Longest line of a watch.
const MAX_LINE_BYTES: usize = 1024 * 1024;
/// How often a daemon that is ending is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("no daemon answers on {target}: {}\n  remedy: {}", plain(why), absent(target))]
    Absent {
        /// Where.
        target: Target,
        /// The system's words.
        why: io::Error,
    },
    /// Somebody may be there, but not for us.
    #[error(
        "you may not talk to the daemon on {target}: {}\n  remedy: become root, or a member of the group that owns the socket (`api.group`)",
        plain(why)
    )]
    Forbidden {
        /// Where.
        target: Target,
        /// The system's words.
        why: io::Error,
    },
    /// It is not who it should be, or does not know us.
    #[error(
        "the daemon on {target} and you do not know each other: {why}\n  remedy: --ca names the authority of its certificate, which must have the name after --remote; --cert and --key a certificate of its `api.remote.client_ca`"
    )]
    Unknown {
        /// Where.
        target: Target,
        /// What was wrong.
        why: String,
    },
    /// The daemon refused the request.
    #[error("{}{}", .0.error, .0.remedy.as_ref().map(|text| format!("\n  remedy: {text}")).unwrap_or_default())]
    Refused(Refusal),
    /// Somebody answered, but not as a daemon does.
    #[error("the answer on {target} cannot be used: {why}\n  remedy: look at the daemon's log")]
    Broken {
        /// Where.
        target: Target,
        /// What was wrong.
        why: String,
    },
}

const fn absent(target: &Target) -> &'static str {
    match target {
        Target::Socket(_) => {
            "start it (`weft daemon`, or `systemctl start weft`), or name another one with --socket PATH or --lab NAME/NODE"
        }
        Target::Remote(_) => "start it, and let it listen there (`api.remote` in its configuration)",
    }
}

/// An answer, with the name of the node that gave it.
#[derive(Debug, Deserialize)]
pub struct Reply<T> {
    /// [`SCHEMA`] of the daemon.
    pub schema: String,
    /// Name of the node.
    pub node: String,
    /// The answer.
    #[serde(flatten)]
    pub body: T,
}

/// A client of one daemon.
#[derive(Debug)]
pub struct Client {
    target: Target,
    /// Of a remote one.
    tls: Option<Arc<ClientConfig>>,
    /// The connection over which the last page came.
    kept: RefCell<Option<SendRequest<Empty<Bytes>>>>,
    runtime: Runtime,
}

impl Client {
    /// A client; nothing is asked yet.
    ///
    /// # Errors
    /// When the system has no file descriptors left, or files with certificates cannot be used.
    pub fn new(target: &Target) -> io::Result<Self> {
        let tls = match target {
            Target::Socket(_) => None,
            Target::Remote(remote) => Some(remote.config().map_err(io::Error::other)?),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { target: target.clone(), tls, kept: RefCell::default(), runtime })
    }

    /// Asks; the answer as text.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn text(&self, target: &str) -> Result<String, ClientError> {
        self.send(Method::GET, target).map(|(text, _)| text)
    }

    /// Asks for a page of several: all of them come over one connection, or over another one if the daemon has closed that.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn page(&self, target: &str) -> Result<String, ClientError> {
        self.answer(self.next_page(target)).map(|(text, _)| text)
    }

    /// Asks for a page of lines, likewise; the lines, and after what to ask for more of them.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn lines(&self, target: &str) -> Result<(String, Option<String>), ClientError> {
        let (text, headers) = self.answer(self.next_page(target))?;
        let next = headers.get(NEXT_HEADER).and_then(|value| value.to_str().ok());
        Ok((text, next.map(str::to_owned)))
    }

    /// Asks; the answer as data.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn get<T: DeserializeOwned>(&self, target: &str) -> Result<Reply<T>, ClientError> {
        self.read(&self.send(Method::GET, target)?.0)
    }

    /// Orders something.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn post(&self, target: &str) -> Result<Reply<Done>, ClientError> {
        self.read(&self.send(Method::POST, target)?.0)
    }

    /// Ends something.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn delete(&self, target: &str) -> Result<Reply<Done>, ClientError> {
        self.read(&self.send(Method::DELETE, target)?.0)
    }

    /// Makes data of an answer.
    ///
    /// # Errors
    /// When it is none of ours.
    // Reading an answer is much code for each type: once in the binary is enough.
    #[inline(never)]
    pub fn read<T: DeserializeOwned>(&self, text: &str) -> Result<Reply<T>, ClientError> {
        let reply: Reply<T> = serde_json::from_str(text).map_err(|error| self.broken(error.to_string()))?;
        if reply.schema != SCHEMA {
            let why =
                format!("it speaks `{}` and this command `{SCHEMA}`: use the command of its version", reply.schema);
            return Err(self.broken(why));
        }
        Ok(reply)
    }

    /// Follows a watch line by line until it ends, or `on_line` wants no more.
    ///
    /// # Errors
    /// See [`ClientError`]; and what `on_line` says.
    pub fn follow<E: From<ClientError>>(
        &self,
        target: &str,
        mut on_line: impl FnMut(&str) -> Result<(), E>,
    ) -> Result<(), E> {
        self.runtime.block_on(async {
            let (mut sender, carrier) = self.connect().await?;
            let request = self.request(Method::GET, target)?;
            let response = sender.send_request(request).await.map_err(|error| self.failed(&error))?;
            let (status, mut body) = (response.status(), response.into_body());
            if status != StatusCode::OK {
                let text = Limited::new(body, MAX_ANSWER_BYTES).collect().await;
                let text = text.map_err(|error| self.broken(error.to_string()))?.to_bytes();
                return Err(self.refused(status, &String::from_utf8_lossy(&text)).into());
            }
            let mut waiting = Vec::new();
            loop {
                let frame = tokio::time::timeout(SILENCE_LIMIT, body.frame()).await;
                let frame = frame.map_err(|_| self.broken(format!("silent for {} s", SILENCE_LIMIT.as_secs())))?;
                let Some(frame) = frame else { break };
                let frame = frame.map_err(|error| self.broken(error.to_string()))?;
                waiting.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
                while let Some(end) = waiting.iter().position(|octet| *octet == b'\n') {
                    let line: Vec<u8> = waiting.drain(..=end).collect();
                    let line = std::str::from_utf8(&line).map_err(|_| self.broken("it is no UTF-8".to_owned()))?;
                    if !line.trim_end().is_empty() {
                        on_line(line.trim_end())?;
                    }
                }
                if waiting.len() > MAX_LINE_BYTES {
                    return Err(self.broken("a line has no end".to_owned()).into());
                }
            }
            carrier.abort();
            Ok(())
        })
    }

    /// Waits until nobody answers any more; whether that came true within `limit`.
    #[must_use]
    pub fn wait_gone(&self, limit: Duration) -> bool {
        let gone = async {
            while self.is_there().await {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        self.runtime.block_on(async { tokio::time::timeout(limit, gone).await.is_ok() })
    }

    /// Asks again and again until an answer is the right one, `None` if there is none within `limit`. That nobody answers is no answer either.
    pub fn wait_for<T: DeserializeOwned>(
        &self,
        target: &str,
        limit: Duration,
        is_right: impl Fn(&T) -> bool,
    ) -> Option<Reply<T>> {
        let end = self.runtime.block_on(async { tokio::time::Instant::now() }) + limit;
        loop {
            if let Ok(reply) = self.get::<T>(target)
                && is_right(&reply.body)
            {
                return Some(reply);
            }
            let now = self.runtime.block_on(async {
                tokio::time::sleep(LOOK_EVERY).await;
                tokio::time::Instant::now()
            });
            if now > end {
                return None;
            }
        }
    }

    fn send(&self, method: Method, target: &str) -> Result<(String, HeaderMap), ClientError> {
        self.answer(self.exchange(method, target))
    }

    /// What comes of an exchange within its time.
    fn answer(
        &self,
        exchange: impl Future<Output = Result<(Parts, Bytes), ClientError>>,
    ) -> Result<(String, HeaderMap), ClientError> {
        let (head, body) = self.runtime.block_on(async {
            match tokio::time::timeout(REQUEST_LIMIT, exchange).await {
                Ok(result) => result,
                Err(_) => Err(self.broken(format!("it did not come within {} s", REQUEST_LIMIT.as_secs()))),
            }
        })?;
        let text = String::from_utf8(body.into()).map_err(|_| self.broken("it is no UTF-8".to_owned()))?;
        if head.status == StatusCode::OK {
            return Ok((text, head.headers));
        }
        Err(self.refused(head.status, &text))
    }

    fn refused(&self, status: StatusCode, text: &str) -> ClientError {
        match serde_json::from_str(text) {
            Ok(refusal) => ClientError::Refused(refusal),
            Err(_) => self.broken(format!("status {status}")),
        }
    }

    fn request(&self, method: Method, target: &str) -> Result<Request<Empty<Bytes>>, ClientError> {
        let request = Request::builder().method(method).uri(target).header("host", "weft").body(Empty::new());
        request.map_err(|error| self.broken(error.to_string()))
    }

    async fn is_there(&self) -> bool {
        match &self.target {
            Target::Socket(socket) => UnixStream::connect(socket).await.is_ok(),
            Target::Remote(remote) => remote.is_there().await,
        }
    }

    /// A connection, and the task that carries it.
    async fn connect(&self) -> Result<(SendRequest<Empty<Bytes>>, JoinHandle<()>), ClientError> {
        let target = self.target.clone();
        match (&self.target, &self.tls) {
            (Target::Remote(remote), Some(tls)) => {
                let stream = remote.connect(Arc::clone(tls)).await.map_err(|missed| match missed {
                    Missed::Absent(why) => ClientError::Absent { target, why },
                    Missed::Unknown(why) => ClientError::Unknown { target, why },
                })?;
                self.converse(stream).await
            }
            (Target::Socket(socket), _) => {
                let stream = UnixStream::connect(socket).await.map_err(|why| {
                    if why.kind() == io::ErrorKind::PermissionDenied {
                        ClientError::Forbidden { target, why }
                    } else {
                        ClientError::Absent { target, why }
                    }
                })?;
                self.converse(stream).await
            }
            (Target::Remote(_), None) => Err(self.broken("no certificates".to_owned())),
        }
    }

    async fn converse<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
        &self,
        stream: S,
    ) -> Result<(SendRequest<Empty<Bytes>>, JoinHandle<()>), ClientError> {
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.failed(&error))?;
        // It ends with the exchange; what goes wrong in it the sender reports.
        let carrier = tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok((sender, carrier))
    }

    /// With TLS 1.3 a client hears that it is not known when it waits for the first answer (RFC 8446 §4.4.2.4).
    fn failed(&self, error: &hyper::Error) -> ClientError {
        let is_alert = |inner: &(dyn std::error::Error + Send + Sync + 'static)| {
            matches!(inner.downcast_ref(), Some(rustls::Error::AlertReceived(_)))
        };
        let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>());
        match source.and_then(|source| source.get_ref().filter(|inner| is_alert(*inner))) {
            Some(alert) => ClientError::Unknown { target: self.target.clone(), why: format!("TLS: {alert}") },
            None => self.broken(error.to_string()),
        }
    }

    async fn exchange(&self, method: Method, target: &str) -> Result<(Parts, Bytes), ClientError> {
        let (mut sender, carrier) = self.connect().await?;
        let answer = self.ask(&mut sender, self.request(method, target)?).await?;
        carrier.abort();
        Ok(answer)
    }

    /// Over the connection of the page before, if it is still there: the daemon closes what is idle, and an upgrade does.
    async fn next_page(&self, target: &str) -> Result<(Parts, Bytes), ClientError> {
        let request = || {
            let mut request = self.request(Method::GET, target)?;
            request.headers_mut().insert(CONNECTION, HeaderValue::from_static("keep-alive"));
            Ok(request)
        };
        let before = self.kept.take();
        if let Some(mut sender) = before
            && sender.ready().await.is_ok()
            && let Ok(answer) = self.ask(&mut sender, request()?).await
            // One that is ending says so; another may be in its place.
            && answer.0.status != StatusCode::SERVICE_UNAVAILABLE
        {
            self.kept.replace(Some(sender));
            return Ok(answer);
        }
        // Asked once more, and not again: whoever does not answer over a new connection has nothing to say.
        let (mut sender, _carrier) = self.connect().await?;
        let answer = self.ask(&mut sender, request()?).await?;
        self.kept.replace(Some(sender));
        Ok(answer)
    }

    async fn ask(
        &self,
        sender: &mut SendRequest<Empty<Bytes>>,
        request: Request<Empty<Bytes>>,
    ) -> Result<(Parts, Bytes), ClientError> {
        let response = sender.send_request(request).await.map_err(|error| self.failed(&error))?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await;
        let body = body.map_err(|error| self.broken(error.to_string()))?.to_bytes();
        Ok((head, body))
    }

    fn broken(&self, why: String) -> ClientError {
        ClientError::Broken { target: self.target.clone(), why }
    }
}
