//! The line to one controller: one connection and one session, requests one after the other and not too fast, a deadline for each.

use super::Site;
use super::ipmi::Ipmi;
use super::secret::Secret;
use super::trust::{self, Pins};
use crate::bmc::Trouble;
use crate::bmc::ipmi::Use;
use crate::bmc::redfish::{Answer, Ask, Content, Dialog, Goal, Identity, Known, Method, Outcome, Step};
use crate::bmc::rules::Trust;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};

/// Octets of one answer: a system with all its links has less than a tenth.
const BODY_MAX: usize = 1024 * 1024;
/// Octets of the head of one.
const HEAD_MAX: usize = 32 * 1024;
/// Credentials that were refused are not shown again so soon, if they are the same: controllers lock a user after a few tries.
const LOCKED: Duration = Duration::from_secs(300);

/// Everything that is kept of a controller.
#[derive(Debug, Default)]
pub(super) struct Line {
    site: Option<Site>,
    known: Known,
    connection: Option<SendRequest<Full<Bytes>>>,
    /// When the last request was sent.
    last: Option<Instant>,
    refused: Option<(Secret, Instant)>,
    /// Whether the last connection that was begun came to be.
    met: bool,
    ipmi: Ipmi,
}

impl Site {
    fn gap(&self) -> Duration {
        Duration::from_millis(self.rule.gap_ms)
    }

    pub(super) fn by_ipmi(&self) -> SocketAddr {
        SocketAddr::new(self.address.ip(), self.rule.ipmi_port)
    }
}

impl Line {
    /// Forgets everything: another controller may be there.
    pub(super) fn reset(&mut self) {
        *self = Self { last: self.last, ..Self::default() };
    }

    /// Whether something is held that nobody used for a while.
    pub(super) fn is_idle(&self, longest: Duration) -> bool {
        let holds = self.connection.is_some() || self.known.has_session();
        (holds && self.last.is_none_or(|last| last.elapsed() >= longest))
            || (self.ipmi.is_open() && self.ipmi.is_idle(longest))
    }

    /// Ends session and connection.
    pub(super) async fn leave(&mut self, pins: &Pins, requests: &AtomicU64) {
        if let Some(site) = self.site.clone() {
            self.ipmi.leave(site.gap(), requests).await;
            if self.known.has_session()
                && let Ok(secret) = Secret::read(&site.rule.credentials)
                && let Err(error) = self.redfish(&site, Goal::Leave, &secret, pins, requests).await
            {
                tracing::debug!(serial = site.serial, %error, "a session with a BMC was not ended");
            }
        }
        self.connection = None;
        // Whether the controller still has it or not: it is not used again.
        self.known.forget_session();
    }

    /// One dialogue.
    pub(super) async fn run(
        &mut self,
        site: &Site,
        goal: Goal,
        pins: &Pins,
        requests: &AtomicU64,
    ) -> Result<Outcome, Trouble> {
        if self.site.as_ref().is_some_and(|known| known.address != site.address) {
            self.reset();
        }
        self.site = Some(site.clone());
        let secret = Secret::read(&site.rule.credentials)?;
        if let Some((refused, at)) = &self.refused
            && *refused == secret
            && at.elapsed() < LOCKED
        {
            let wait = (LOCKED - at.elapsed()).as_secs();
            return Err(Trouble::Credentials(format!("{} (not tried again for {wait} s)", secret.user)));
        }
        let end = match self.is_by_ipmi(site) {
            true => self.ipmi.run(site.by_ipmi(), goal, &secret, site.gap(), requests).await,
            false => self.redfish_first(site, goal, &secret, pins, requests).await,
        };
        if let Err(Trouble::Credentials(_)) = &end {
            self.refused = Some((secret, Instant::now()));
        }
        end
    }

    /// Whether Redfish is not asked.
    pub(super) fn is_by_ipmi(&self, site: &Site) -> bool {
        match site.rule.ipmi {
            Use::Never => false,
            Use::Only => true,
            Use::AfterRedfish => self.ipmi.found,
        }
    }

    /// By IPMI when there is no Redfish: nobody takes a connection, or there is another service. Whoever only swallows packets must not get a
    /// session that is less protected: a controller whose certificate is known has Redfish.
    async fn redfish_first(
        &mut self,
        site: &Site,
        goal: Goal,
        secret: &Secret,
        pins: &Pins,
        requests: &AtomicU64,
    ) -> Result<Outcome, Trouble> {
        self.met = true;
        let end = self.redfish(site, goal.clone(), secret, pins, requests).await;
        let is_known = site.rule.trust != Trust::Learn || pins.of(&site.serial).is_some();
        let trouble = match end {
            Err(trouble @ Trouble::Absent(_)) => trouble,
            Err(trouble @ Trouble::Silent(_)) if !self.met && !is_known => trouble,
            other => return other,
        };
        if site.rule.ipmi == Use::Never {
            return Err(trouble);
        }
        match self.ipmi.run(site.by_ipmi(), goal, secret, site.gap(), requests).await {
            // Two that are silent: which of them it has is not known yet.
            Err(Trouble::Silent(why)) => Err(if let Trouble::Absent(first) = trouble {
                Trouble::Absent(format!("{first}; and no IPMI: {why}"))
            } else {
                Trouble::Silent(format!("{trouble}; and no IPMI: {why}"))
            }),
            end => {
                tracing::info!(serial = site.serial, %trouble, "a BMC is asked by IPMI from now on");
                self.ipmi.found = true;
                self.connection = None;
                end
            }
        }
    }

    /// One dialogue by Redfish.
    async fn redfish(
        &mut self,
        site: &Site,
        goal: Goal,
        secret: &Secret,
        pins: &Pins,
        requests: &AtomicU64,
    ) -> Result<Outcome, Trouble> {
        let mut dialog = Dialog::new(goal, site.uuid.as_deref(), &site.serial, &secret.user);
        loop {
            match dialog.next(&self.known) {
                Step::Ask(ask) => {
                    let answer = self.send(site, &ask, secret, pins, requests).await;
                    dialog.handle(&mut self.known, answer);
                }
                Step::Wait(rest) => tokio::time::sleep(rest).await,
                Step::End(end) => return end,
            }
        }
    }

    /// One request, in its turn. What was read on a connection that turned out to be closed is asked once more on a new one.
    async fn send(
        &mut self,
        site: &Site,
        ask: &Ask,
        secret: &Secret,
        pins: &Pins,
        requests: &AtomicU64,
    ) -> Result<Answer, Trouble> {
        let was_open = self.connection.is_some();
        let first = self.send_once(site, ask, secret, pins, requests).await;
        match first {
            Err(Lost::Closed { was_sent, .. }) if was_open && (!was_sent || ask.method == Method::Get) => {
                self.send_once(site, ask, secret, pins, requests).await.map_err(Lost::trouble)
            }
            other => other.map_err(Lost::trouble),
        }
    }

    async fn send_once(
        &mut self,
        site: &Site,
        ask: &Ask,
        secret: &Secret,
        pins: &Pins,
        requests: &AtomicU64,
    ) -> Result<Answer, Lost> {
        let gap = site.gap();
        if let Some(last) = self.last {
            sleep_until(last + gap).await;
        }
        self.last = Some(Instant::now());
        requests.fetch_add(1, Ordering::Relaxed);
        let within = Duration::from_secs(site.rule.answer_s);
        let answer = timeout(within, self.exchange(site, ask, secret, pins)).await;
        let answer = answer.unwrap_or_else(|_| {
            Err(Lost::Trouble(Trouble::Silent(format!("nothing from {} within {} s", site.address, within.as_secs()))))
        });
        if answer.is_err() {
            self.connection = None;
        }
        answer
    }

    async fn exchange(&mut self, site: &Site, ask: &Ask, secret: &Secret, pins: &Pins) -> Result<Answer, Lost> {
        let mut sender = match self.connection.take().filter(|sender| !sender.is_closed()) {
            Some(sender) => sender,
            None => {
                self.met = false;
                connect(site, pins, &mut self.met).await.map_err(Lost::Trouble)?
            }
        };
        let silent = |error: &dyn std::fmt::Display| Trouble::Silent(format!("{}: {error}", site.address));
        let request = request(site, ask, secret).map_err(|error| Lost::Trouble(silent(&error)))?;
        let unsent = |error| Lost::Closed { was_sent: false, why: silent(&error) };
        sender.ready().await.map_err(unsent)?;
        let sent = sender.send_request(request).await;
        let lost = |error: hyper::Error| Lost::Closed { was_sent: !error.is_canceled(), why: silent(&error) };
        let answer = read(sent.map_err(lost)?).await;
        let answer = answer.map_err(|error| Lost::Trouble(silent(&error)))?;
        self.connection = Some(sender);
        Ok(answer)
    }
}

/// Why there is no answer.
enum Lost {
    /// The connection ended; an old one may have been closed long ago, before anything was sent on it.
    Closed {
        was_sent: bool,
        why: Trouble,
    },
    Trouble(Trouble),
}

impl Lost {
    fn trouble(self) -> Trouble {
        match self {
            Self::Closed { why, .. } | Self::Trouble(why) => why,
        }
    }
}

/// A connection with its TLS; `met` says whether somebody took it.
async fn connect(site: &Site, pins: &Pins, met: &mut bool) -> Result<SendRequest<Full<Bytes>>, Trouble> {
    let silent = |error: &dyn std::fmt::Display| Trouble::Silent(format!("{}: {error}", site.address));
    let (config, seen) = trust::client(&site.rule.trust, pins, &site.serial).map_err(Trouble::Untrusted)?;
    let stream = TcpStream::connect(site.address).await.map_err(|error| silent(&error))?;
    *met = true;
    let _ = stream.set_nodelay(true);
    let name = ServerName::IpAddress(site.address.ip().into());
    let stream =
        tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(|error| {
            match (
                seen.objection(&site.serial),
                error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()),
            ) {
                (Some(why), _) => Trouble::Untrusted(why),
                (None, Some(rustls::Error::InvalidCertificate(why))) => {
                    Trouble::Untrusted(format!("its certificate: {why}"))
                }
                (None, _) => silent(&error),
            }
        })?;
    seen.learn(pins, &site.serial).map_err(Trouble::Untrusted)?;
    let made = Builder::new().max_buf_size(HEAD_MAX).handshake(TokioIo::new(stream)).await;
    let (sender, connection) = made.map_err(|error| silent(&error))?;
    // It ends with its sender, or with what is wrong, which the request says too.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

fn request(site: &Site, ask: &Ask, secret: &Secret) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
    let method = match ask.method {
        Method::Get => hyper::Method::GET,
        Method::Patch => hyper::Method::PATCH,
        Method::Post => hyper::Method::POST,
        Method::Delete => hyper::Method::DELETE,
    };
    let mut request = Request::builder().method(method).uri(&ask.path);
    request = request.header("host", site.address.to_string()).header("accept", "application/json");
    // DSP0266 §6.5: a client says which version it knows.
    request = request.header("odata-version", "4.0");
    request = match &ask.identity {
        Identity::Nobody => request,
        Identity::Basic => request.header("authorization", sensitive(&secret.basic())?),
        Identity::Token(token) => request.header("x-auth-token", sensitive(token)?),
    };
    if let Some(tag) = &ask.if_match {
        request = request.header("if-match", tag);
    }
    let body = match &ask.content {
        Content::Nothing => return request.body(Full::default()),
        Content::Document(document) => document.to_string(),
        Content::Login => json!({ "UserName": secret.user, "Password": secret.password }).to_string(),
    };
    request.header("content-type", "application/json").body(Full::new(Bytes::from(body)))
}

/// A header that no log shows.
fn sensitive(text: &str) -> Result<HeaderValue, hyper::http::Error> {
    let mut value = HeaderValue::try_from(text)?;
    value.set_sensitive(true);
    Ok(value)
}

async fn read(response: Response<hyper::body::Incoming>) -> anyhow::Result<Answer> {
    let (head, body) = response.into_parts();
    let octets = Limited::new(body, BODY_MAX).collect().await.map_err(|error| anyhow::anyhow!("{error}"))?.to_bytes();
    let text = |name: &str| header(&head.headers, name);
    Ok(Answer {
        status: head.status.as_u16(),
        retry_after_s: text("retry-after").and_then(|text| text.trim().parse().ok()),
        etag: text("etag"),
        location: text("location"),
        token: text("x-auth-token"),
        // What is no JSON says nothing: the dialogue misses what it needs.
        body: serde_json::from_slice(&octets).unwrap_or_default(),
    })
}

fn header(all: &HeaderMap, name: &str) -> Option<String> {
    let name = HeaderName::try_from(name).ok()?;
    all.get(name)?.to_str().ok().map(str::to_owned)
}
