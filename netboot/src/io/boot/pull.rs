//! Gets the files that images have and this server has not from other servers, over their plain boot service: the digest is known from the
//! store, so neither server nor way has to be believed. What came of a file stays when a server or this one ends, and is gone on with.

use super::blobs::{Blobs, Half, blocking};
use super::one;
use crate::boot::pull::{Holds, Pace, Pull, Step};
use crate::boot::rules::Rules;
use crate::boot::{Blob, Digest};
use crate::io::client::exchange;
use crate::io::service::Service;
use anyhow::{Context as _, bail};
use axum::http::{HeaderName, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

/// Files that come at a time.
const PULLS_MAX: usize = 4;
/// Longest wait for a connection, and for the head of an answer.
const HEAD_WITHIN: Duration = Duration::from_secs(5);
/// Longest wait for the next octets.
const PART_WITHIN: Duration = Duration::from_secs(20);
/// Says of a file that is not whole how many octets of it a server has.
pub(super) const HAS: HeaderName = HeaderName::from_static("weft-has-octets");

/// What came of it, since the start.
#[derive(Debug, Default)]
pub struct Counts {
    /// Files that came whole.
    pub done: AtomicU64,
    /// A server had not got the file, did not answer, or ended before its end.
    pub broken: AtomicU64,
    /// All octets came, and they were wrong.
    pub wrong: AtomicU64,
    /// Octets that came.
    pub octets: AtomicU64,
}

/// Gets files.
#[derive(Debug)]
pub struct Puller {
    service: Arc<Service>,
    blobs: Arc<Blobs>,
    peers: Vec<SocketAddr>,
    pace: Option<Mutex<Pace>>,
    places: Semaphore,
    /// Files on their way, with the octets that are here.
    under_way: Mutex<BTreeMap<Digest, u64>>,
    started: Instant,
    /// Since the start.
    pub counts: Counts,
}

impl Puller {
    /// Begins to look for files that are missing; must be called within a runtime.
    pub(super) fn start(rules: &Rules, service: Arc<Service>, blobs: Arc<Blobs>) -> Arc<Self> {
        // One list may be in the configuration of all servers.
        let peers: Vec<_> = rules.peers.iter().copied().filter(|peer| !rules.listen.contains(peer)).collect();
        let pace = rules.pull_mbit_s.map(|rate| Mutex::new(Pace::new(u64::from(rate) * 1_000_000 / 8)));
        let (places, under_way) = (Semaphore::new(PULLS_MAX), Mutex::default());
        let (started, counts) = (Instant::now(), Counts::default());
        let puller = Arc::new(Self { service, blobs, peers, pace, places, under_way, started, counts });
        tokio::spawn(puller.clone().follow());
        puller
    }

    /// What other servers have of files.
    pub async fn ask_peers(&self, files: &[Blob]) -> Vec<Vec<Holds>> {
        let all = self.peers.iter().map(|peer| async move {
            let mut held = Vec::new();
            for blob in files {
                let (octets, error) = match ask(*peer, Method::HEAD, blob, None).await {
                    Ok(answer) if answer.status() == StatusCode::OK => (Some(blob.bytes), None),
                    Ok(answer) => {
                        (Some(one(answer.headers(), &HAS).and_then(|text| text.parse().ok()).unwrap_or(0)), None)
                    }
                    Err(error) => (None, Some(format!("{error:#}"))),
                };
                let is_silent = error.is_some();
                held.push(Holds { server: peer.to_string(), octets, error });
                if is_silent {
                    break;
                }
            }
            held
        });
        futures_util::future::join_all(all).await
    }

    /// Octets that are here of a file which is not whole.
    pub fn here(&self, digest: &Digest) -> u64 {
        self.lock().get(digest).copied().unwrap_or(0)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Digest, u64>> {
        // A map of numbers is whole whoever left it.
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wanted(&self) -> BTreeMap<Digest, u64> {
        let boots = self.service.inventory().boots().cloned();
        let images = boots.iter().flat_map(|boots| boots.images.values());
        images.flat_map(crate::boot::Image::blobs).map(|blob| (blob.sha256.clone(), blob.bytes)).collect()
    }

    /// Each time that something changes, and now and then: a file may have been deleted.
    async fn follow(self: Arc<Self>) {
        loop {
            let known = self.service.inventory().revision();
            if let Err(error) = self.look().await {
                tracing::warn!(%error, "cannot see which files of images are here");
            }
            self.service.changed(known).await;
        }
    }

    async fn look(self: &Arc<Self>) -> std::io::Result<()> {
        let wanted = self.wanted();
        let known: BTreeSet<Digest> = wanted.keys().cloned().collect();
        let blobs = self.blobs.clone();
        let has = blocking(move || {
            blobs.forget_halves(&known)?;
            blobs.list()
        })
        .await?;
        if self.peers.is_empty() {
            return Ok(());
        }
        for (sha256, bytes) in wanted.into_iter().filter(|(digest, _)| !has.contains_key(digest)) {
            if !self.lock().contains_key(&sha256) {
                self.lock().insert(sha256.clone(), 0);
                let (puller, blob) = (self.clone(), Blob { sha256, bytes });
                tokio::spawn(async move {
                    if let Err(error) = puller.get(&blob).await {
                        tracing::warn!(sha256 = %blob.sha256, %error, "a file of an image cannot be written");
                    }
                    puller.lock().remove(&blob.sha256);
                });
            }
        }
        Ok(())
    }

    /// Gets one file: until it is here, or no image has it any more.
    async fn get(&self, blob: &Blob) -> std::io::Result<()> {
        let (blobs, wanted) = (self.blobs.clone(), blob.clone());
        let mut half = blocking(move || blobs.half(&wanted.sha256, wanted.bytes)).await?;
        let mut pull = Pull::new(&blob.sha256, blob.bytes, half.octets, self.peers.len());
        loop {
            self.lock().insert(blob.sha256.clone(), pull.here());
            if self.blobs.has(&blob.sha256) || !self.wanted().contains_key(&blob.sha256) {
                return self.blobs.forget(&blob.sha256);
            }
            match pull.next(self.started.elapsed()) {
                Step::Wait(until) => {
                    let known = self.service.inventory().revision();
                    tokio::select! {
                        () = tokio::time::sleep_until(self.started + until) => {}
                        // Perhaps no image has it any more, or somebody brings it.
                        () = self.service.changed(known) => {}
                    }
                }
                Step::Ask { peer, from } => half = self.ask_one(blob, (&mut pull, half), peer, from).await?,
                Step::Check if half.is(&blob.sha256) => {
                    let (blobs, digest) = (self.blobs.clone(), blob.sha256.clone());
                    blocking(move || blobs.keep(half, &digest)).await?;
                    self.counts.done.fetch_add(1, Ordering::Relaxed);
                    tracing::info!(sha256 = %blob.sha256, octets = blob.bytes, "has a file from other servers");
                    return Ok(());
                }
                Step::Check => {
                    self.counts.wrong.fetch_add(1, Ordering::Relaxed);
                    let peer = pull.was_wrong(self.started.elapsed()).and_then(|at| self.peers.get(at));
                    tracing::warn!(sha256 = %blob.sha256, peer = peer.map(ToString::to_string), "wrong octets came");
                    half = blocking(move || half.cut(0)).await?;
                }
            }
        }
    }

    /// Asks one server for the rest of a file.
    async fn ask_one(
        &self,
        blob: &Blob,
        (pull, mut half): (&mut Pull, Half),
        at: usize,
        from: u64,
    ) -> std::io::Result<Half> {
        let Some(peer) = self.peers.get(at) else { return Ok(half) };
        let Ok(_place) = self.places.acquire().await else { return Ok(half) };
        if half.octets != from {
            half = blocking(move || half.cut(from)).await?;
        }
        let mut body = match ask(*peer, Method::GET, blob, Some(from)).await {
            Ok(answer) => answer.into_body(),
            Err(error) => return Ok(self.broke(blob, (pull, half), at, &error)),
        };
        while half.octets < blob.bytes {
            let frame = match timeout(PART_WITHIN, body.frame()).await {
                Ok(Some(Ok(frame))) => frame,
                Ok(None) => return Ok(self.broke(blob, (pull, half), at, &anyhow::anyhow!("it ended early"))),
                Ok(Some(Err(error))) => return Ok(self.broke(blob, (pull, half), at, &error.into())),
                Err(late) => return Ok(self.broke(blob, (pull, half), at, &late.into())),
            };
            let Ok(octets) = frame.into_data() else { continue };
            let room = usize::try_from(blob.bytes - half.octets).unwrap_or(usize::MAX);
            let octets = octets.slice(..octets.len().min(room));
            let count = u64::try_from(octets.len()).unwrap_or(u64::MAX);
            half = blocking(move || half.add(&octets)).await?;
            pull.got(at, count);
            self.counts.octets.fetch_add(count, Ordering::Relaxed);
            self.lock().insert(blob.sha256.clone(), half.octets);
            let wait = self.pace.as_ref().map(|pace| {
                let mut pace = pace.lock().unwrap_or_else(PoisonError::into_inner);
                pace.wait(self.started.elapsed(), count)
            });
            tokio::time::sleep(wait.unwrap_or_default()).await;
        }
        Ok(half)
    }

    fn broke(&self, blob: &Blob, (pull, half): (&mut Pull, Half), at: usize, why: &anyhow::Error) -> Half {
        self.counts.broken.fetch_add(1, Ordering::Relaxed);
        let peer = self.peers.get(at).map(ToString::to_string);
        tracing::debug!(sha256 = %blob.sha256, peer, octets = half.octets, "{why:#}");
        pull.broke(self.started.elapsed(), at);
        half
    }
}

/// Asks a server for a file, or for what it has from an octet on.
async fn ask(peer: SocketAddr, method: Method, blob: &Blob, from: Option<u64>) -> anyhow::Result<Response<Incoming>> {
    let path = format!("{}{}", crate::boot::ipxe::BLOBS, blob.sha256);
    let mut request = Request::builder().method(method).uri(path).header(header::HOST, peer.to_string());
    if let Some(from) = from {
        request = request.header(header::RANGE, format!("bytes={from}-"));
    }
    let request = request.body(Empty::<Bytes>::new())?;
    let stream = timeout(HEAD_WITHIN, TcpStream::connect(peer)).await.context("no connection in time")??;
    let answer = timeout(HEAD_WITHIN, exchange(stream, request)).await.context("no answer in time")??;
    let Some(from) = from else { return Ok(answer) };
    // RFC 9110 §15.3.7: only this says that it begins there.
    let (status, part) = (answer.status(), one(answer.headers(), &header::CONTENT_RANGE).unwrap_or_default());
    let wanted = format!("bytes {from}-{}/{}", blob.bytes.saturating_sub(1), blob.bytes);
    if status != StatusCode::PARTIAL_CONTENT || part != wanted {
        bail!("it answers {status}, `{}`", part.escape_debug());
    }
    Ok(answer)
}
