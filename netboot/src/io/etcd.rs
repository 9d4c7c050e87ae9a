//! etcd as a store: three or more members, so that a boot server can die without anybody waiting. Everything is below one prefix, which
//! an etcd user can be limited to.
//!
//! Reads are linearizable. A request that fails before etcd can have seen it is "unavailable", any other "unknown": the transaction may
//! have been done, and who sent it looks. A member that is gone without a word is given up after seconds, not after TCP's quarter of
//! an hour.

mod group;
mod messages;

use crate::store::{
    Answer, Change, Entry, Event, Outcome, Revision, Snapshot, Span, Store, StoreError, Transaction, Watch,
};
use futures_util::{StreamExt as _, stream};
use messages::{
    CompactionRequest, CompactionResponse, RangeRequest, RangeResponse, WatchCreateRequest, WatchEvent, WatchRequest,
    WatchResponse,
};
use prost::Message;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tonic::codec::Streaming;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

/// Longest wait for an answer: etcd elects a leader within 2 s.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// Longest wait for a connection.
const CONNECT_WITHIN: Duration = Duration::from_millis(500);
/// A connection without a sign of life for so long is asked for one: etcd closes those that ask more often than every 5 s.
const KEEPALIVE: Duration = Duration::from_secs(6);
/// And closed if none comes within this.
const ALIVE_WITHIN: Duration = Duration::from_secs(2);
/// Entries of one answer, so that no answer is larger than a few megabytes.
const PAGE: i64 = 512;
/// Octets of one answer: a page of the largest values.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Where etcd is, and who we are to it.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Its members, as `http://10.69.0.3:2379`.
    pub endpoints: Vec<String>,
    /// Everything of ours is below this.
    pub prefix: String,
    /// Certificate authority of the members, PEM.
    pub ca: Option<Vec<u8>>,
    /// Our certificate and key, PEM.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

/// A store in etcd.
#[derive(Clone, Debug)]
pub struct Etcd {
    /// One for each member.
    channels: Arc<[Channel]>,
    /// The member that answered last.
    current: Arc<AtomicUsize>,
    queue: group::Queue,
    prefix: String,
    name: String,
}

impl Etcd {
    /// Prepares connections; they are made when they are needed.
    ///
    /// # Errors
    /// When an endpoint is no URL, or a certificate cannot be read.
    pub fn new(settings: &Settings) -> Result<Self, StoreError> {
        let refused = |what: &str, why: &dyn std::fmt::Display| StoreError::Unavailable(format!("{what}: {why}"));
        if settings.endpoints.is_empty() {
            return Err(refused("etcd", &"no endpoint is given"));
        }
        let mut endpoints = Vec::new();
        for url in &settings.endpoints {
            let endpoint = Endpoint::from_shared(url.clone()).map_err(|error| refused(url, &error))?;
            let mut endpoint = endpoint
                .connect_timeout(CONNECT_WITHIN)
                .tcp_nodelay(true)
                .tcp_keepalive(Some(KEEPALIVE))
                .http2_keep_alive_interval(KEEPALIVE)
                .keep_alive_timeout(ALIVE_WITHIN)
                .keep_alive_while_idle(true);
            if settings.ca.is_some() || settings.identity.is_some() {
                let mut tls = ClientTlsConfig::new();
                if let Some(ca) = &settings.ca {
                    tls = tls.ca_certificate(Certificate::from_pem(ca));
                }
                if let Some((certificate, key)) = &settings.identity {
                    tls = tls.identity(Identity::from_pem(certificate, key));
                }
                endpoint = endpoint.tls_config(tls).map_err(|error| refused(url, &error))?;
            }
            endpoints.push(endpoint);
        }
        let channels = endpoints.iter().map(Endpoint::connect_lazy).collect();
        let prefix = format!("{}/", settings.prefix.trim_end_matches('/'));
        Ok(Self {
            channels,
            current: Arc::default(),
            queue: group::Queue::default(),
            name: format!("etcd at {}, {prefix}", settings.endpoints.join(", ")),
            prefix,
        })
    }

    /// Another client over the same connections: no request of etcd has what both are asked for.
    #[must_use]
    pub fn apart(&self) -> Self {
        Self { queue: group::Queue::default(), ..self.clone() }
    }

    /// Asks the member that answered last; another one when it does not, if nothing can have happened twice by that.
    async fn ask<Q, A>(&self, path: &'static str, question: &Q, changes: bool) -> Result<A, Status>
    where
        Q: Message + Clone + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        let mut tried = 1;
        loop {
            let (at, channel) = self.member();
            let mut patience = Patience { etcd: self, at, answered: false };
            let mut client = tonic::client::Grpc::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
            let codec = ProstCodec::<Q, A>::default();
            let answer = match client.ready().await {
                Ok(()) => {
                    let mut request = Request::new(question.clone());
                    request.set_timeout(ANSWER_WITHIN);
                    client.unary(request, PathAndQuery::from_static(path), codec).await
                }
                Err(error) => Err(Status::failed_precondition(format!("no member answers: {error}"))),
            };
            patience.answered = true;
            match answer {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(status) if is_away(&status) => {
                    self.leave(at);
                    if tried >= self.channels.len() || (changes && !was_never_sent(&status)) {
                        return Err(status);
                    }
                    tried += 1;
                }
                Err(status) => return Err(status),
            }
        }
    }

    fn member(&self) -> (usize, Channel) {
        let at = self.current.load(Ordering::Relaxed) % self.channels.len();
        (at, self.channels[at].clone())
    }

    /// The next member, unless somebody else has chosen one already.
    fn leave(&self, at: usize) {
        let next = (at + 1) % self.channels.len();
        let _ = self.current.compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    fn key(&self, key: &str) -> Vec<u8> {
        format!("{}{key}", self.prefix).into_bytes()
    }

    /// Our own name of a key; `None` when it is none of ours.
    fn name_of(&self, key: Vec<u8>) -> Option<String> {
        String::from_utf8(key).ok()?.strip_prefix(&self.prefix).map(str::to_owned)
    }

    async fn read_range(&self, span: &Span) -> Result<Snapshot, StoreError> {
        let mut snapshot = Snapshot::default();
        let mut key = self.key(&span.from);
        let mut end = if span.to.is_empty() { end_of(self.key("")) } else { self.key(&span.to) };
        loop {
            // The first answer says at which revision the others are to be.
            let revision = i64::try_from(snapshot.revision.0).unwrap_or(i64::MAX);
            let missing = span.limit.saturating_sub(snapshot.entries.len());
            let limit = if span.limit == 0 { PAGE } else { PAGE.min(i64::try_from(missing).unwrap_or(PAGE)) };
            let question = RangeRequest {
                key: key.clone(),
                range_end: end.clone(),
                limit,
                revision,
                sort_order: if span.backwards { RangeRequest::DESCEND } else { RangeRequest::UNSORTED },
            };
            let asked = self.ask("/etcdserverpb.KV/Range", &question, false).await;
            let answer: RangeResponse = asked.map_err(|status| failed(&status))?;
            if snapshot.revision.0 == 0 {
                snapshot.revision = revision_of(answer.header.map_or(0, |header| header.revision));
            }
            if let Some(last) = answer.kvs.last() {
                let next = if span.backwards { &mut end } else { &mut key };
                next.clone_from(&last.key);
                if !span.backwards {
                    next.push(0);
                }
            }
            for pair in answer.kvs {
                if let Some(key) = self.name_of(pair.key) {
                    let modified = revision_of(pair.mod_revision);
                    snapshot.entries.push(Entry { key, value: pair.value.into(), modified });
                }
            }
            if !answer.more || (span.limit > 0 && snapshot.entries.len() >= span.limit) {
                return Ok(snapshot);
            }
        }
    }

    async fn begin_watch(&self, prefix: &str, after: Revision) -> Result<Box<dyn Watch>, StoreError> {
        let create = WatchCreateRequest {
            key: self.key(prefix),
            range_end: end_of(self.key(prefix)),
            start_revision: i64::try_from(after.0.saturating_add(1)).unwrap_or(i64::MAX),
        };
        // The stream stays open behind the one request: etcd ends watchers whose client has closed its half.
        let requests = stream::once(async { WatchRequest { create: Some(create) } }).chain(stream::pending());
        let (at, channel) = self.member();
        let mut client = tonic::client::Grpc::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
        client.ready().await.map_err(|error| StoreError::Unavailable(format!("no member answers: {error}")))?;
        let codec = ProstCodec::<WatchRequest, WatchResponse>::default();
        let path = PathAndQuery::from_static("/etcdserverpb.Watch/Watch");
        // A watch lasts; only its beginning has a limit.
        let asked = tokio::time::timeout(ANSWER_WITHIN, client.streaming(Request::new(requests), path, codec)).await;
        let answers = asked.unwrap_or_else(|_| Err(Status::unavailable("no answer in time"))).map_err(|status| {
            self.leave(at);
            failed(&status)
        })?;
        let mut watch = EtcdWatch { etcd: self.clone(), answers: answers.into_inner(), pending: VecDeque::new() };
        // Etcd's first word is that the watcher is there, or why not.
        let first = tokio::time::timeout(ANSWER_WITHIN, watch.hear()).await;
        first.unwrap_or_else(|_| Err(StoreError::Unavailable("etcd does not begin the watch".to_owned())))?;
        Ok(Box::new(watch))
    }
}

impl Store for Etcd {
    fn range(&self, span: Span) -> Answer<'_, Result<Snapshot, StoreError>> {
        Box::pin(async move { self.read_range(&span).await })
    }

    fn commit(&self, transaction: Transaction) -> Answer<'_, Result<Outcome, StoreError>> {
        Box::pin(self.transact(transaction))
    }

    fn watch<'a>(&'a self, prefix: &'a str, after: Revision) -> Answer<'a, Result<Box<dyn Watch>, StoreError>> {
        Box::pin(self.begin_watch(prefix, after))
    }

    fn compact(&self, upto: Revision) -> Answer<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let question = CompactionRequest { revision: i64::try_from(upto.0).unwrap_or(i64::MAX) };
            let done: Result<CompactionResponse, Status> = self.ask("/etcdserverpb.KV/Compact", &question, false).await;
            match done {
                Ok(_) => Ok(()),
                // Somebody compacted further already.
                Err(status) if status.code() == Code::OutOfRange && status.message().contains("compacted") => Ok(()),
                Err(status) => Err(failed(&status)),
            }
        })
    }

    fn describe(&self) -> String {
        self.name.clone()
    }
}

struct EtcdWatch {
    etcd: Etcd,
    answers: Streaming<WatchResponse>,
    pending: VecDeque<Event>,
}

impl EtcdWatch {
    /// Takes one message. Etcd keeps the changes of a transaction together in one.
    async fn hear(&mut self) -> Result<(), StoreError> {
        let answer = self.answers.message().await.map_err(|status| failed(&status))?;
        let answer = answer.ok_or_else(|| StoreError::Unavailable("etcd ended the watch".to_owned()))?;
        if answer.compact_revision > 0 {
            return Err(StoreError::Compacted(revision_of(answer.compact_revision)));
        }
        if answer.canceled {
            return Err(StoreError::Unavailable(format!("etcd ended the watch: {}", answer.cancel_reason)));
        }
        for WatchEvent { kind, kv } in answer.events {
            let Some(pair) = kv else { continue };
            let revision = revision_of(pair.mod_revision);
            let value = (kind != WatchEvent::DELETE).then(|| pair.value.into());
            let Some(key) = self.etcd.name_of(pair.key) else { continue };
            match self.pending.back_mut() {
                Some(event) if event.revision == revision => event.changes.push(Change { key, value }),
                _ => self.pending.push_back(Event { revision, changes: vec![Change { key, value }] }),
            }
        }
        Ok(())
    }
}

impl Watch for EtcdWatch {
    fn next(&mut self) -> Answer<'_, Result<Event, StoreError>> {
        Box::pin(async move {
            loop {
                if let Some(mut event) = self.pending.pop_front() {
                    event.changes.sort_by(|a, b| a.key.cmp(&b.key));
                    return Ok(event);
                }
                self.hear().await?;
            }
        })
    }
}

/// A question that its asker stopped waiting for: the next one goes to another member. A machine that lost its power refuses nothing,
/// so that nothing else would tell before the limit of an answer.
struct Patience<'a> {
    etcd: &'a Etcd,
    at: usize,
    answered: bool,
}

impl Drop for Patience<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.etcd.leave(self.at);
        }
    }
}

/// The first key behind all that begin with this one.
fn end_of(mut key: Vec<u8>) -> Vec<u8> {
    while let Some(last) = key.pop() {
        if last < u8::MAX {
            key.push(last + 1);
            return key;
        }
    }
    // Etcd's word for "to the end".
    vec![0]
}

/// The member does not answer, whatever was asked.
fn is_away(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown)
}

/// Nobody listened, so nobody heard.
fn was_never_sent(status: &Status) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<std::io::Error>()
            && io.kind() == std::io::ErrorKind::ConnectionRefused
        {
            return true;
        }
        cause = error.source();
    }
    false
}

fn revision_of(number: i64) -> Revision {
    Revision(u64::try_from(number).unwrap_or(0))
}

/// Something that changes nothing has failed.
fn failed(status: &Status) -> StoreError {
    if status.code() == Code::OutOfRange && status.message().contains("compacted") {
        return StoreError::Compacted(Revision(0));
    }
    StoreError::Unavailable(said(status))
}

/// A write has failed: etcd says so itself, or nobody knows.
fn maybe_done(status: &Status) -> StoreError {
    let refused = matches!(
        status.code(),
        Code::ResourceExhausted
            | Code::FailedPrecondition
            | Code::InvalidArgument
            | Code::PermissionDenied
            | Code::Unauthenticated
            | Code::OutOfRange
    );
    if status.code() == Code::ResourceExhausted && status.message().contains("space exceeded") {
        return StoreError::Full(said(status));
    }
    if refused || was_never_sent(status) {
        return StoreError::Unavailable(said(status));
    }
    StoreError::Unknown(said(status))
}

fn said(status: &Status) -> String {
    format!("etcd: {} ({:?})", status.message(), status.code())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Etcd looks for room before it takes a change, and again after it; the second time it says the same of what it has taken.
    #[test]
    fn what_finds_no_room_may_have_been_stored_and_what_is_refused_was_not() {
        let full = Status::resource_exhausted("etcdserver: mvcc: database space exceeded");
        assert!(matches!(maybe_done(&full), StoreError::Full(_)));
        let busy = Status::resource_exhausted("etcdserver: too many requests");
        assert!(matches!(maybe_done(&busy), StoreError::Unavailable(_)));
        assert!(matches!(maybe_done(&Status::unavailable("etcdserver: request timed out")), StoreError::Unknown(_)));
    }

    #[test]
    fn a_prefix_ends_before_the_next_one() {
        assert_eq!(end_of(b"/weft/".to_vec()), b"/weft0");
        assert_eq!(end_of(b"a\xff".to_vec()), b"b");
        assert_eq!(end_of(b"\xff\xff".to_vec()), b"\0");
    }
}
