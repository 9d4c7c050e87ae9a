//! Serves what machines boot, over HTTP to everybody: scripts and files, for reading only. Firmware wants HEAD, a length always and no
//! chunks; what resumes wants ranges.
//!
//! Whoever asks may be hostile: places are few of one source, heads are short and come soon, and who stops reading ends (`patience`).

pub mod blobs;
mod config;
mod content;
mod direct;
mod https;
mod known;
mod measured;
mod own;
mod patience;
pub mod pull;
mod rollback;
pub mod seen;
pub(in crate::io) mod sign;
pub mod tftp;
mod uki;

use super::listen::open;
use super::server::counts::Tls;
use super::server::places::Places;
use super::service::Service;
use crate::boot::attempts::What;
use crate::boot::own::Door;
use crate::boot::range::{self, Part};
use crate::boot::rules::Rules;
use crate::boot::{Boots, Digest, Said, ipxe};
use crate::inventory::access::source;
use anyhow::Context as _;
use axum::http::{HeaderMap, HeaderName, Method, Request, Response, StatusCode, header};
use blobs::{Blobs, blocking};
use bytes::Bytes;
use content::{Chunk, Content};
use direct::End;
use hyper_util::rt::{TokioIo, TokioTimer};
use patience::Patience;
use pull::Puller;
use seen::Seen;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

/// Connections at a time: some racks that load at once.
const CONNECTIONS_MAX: usize = 2_048;
/// Of these from one source: firmware has one, a program that loads in parts some.
const OF_SOURCE_MAX: usize = 16;
/// Longest wait for the head of a request, also of the next one on a connection.
const HEAD_WITHIN: Duration = Duration::from_secs(20);
/// Octets of a head; hyper takes no less than 8 KiB.
const HEAD_MAX: usize = 8 * 1024;
/// Longest wait for the other side to read anything.
const READ_WITHIN: Duration = Duration::from_secs(30);
/// Octets of a file that are read at a time, where they go through hyper. The next ones are read while these are sent.
const CHUNK: usize = 512 * 1024;
/// The image of the machine that asks, as one file.
const UKI: &str = "/boot/uki.efi";
/// Octets of a loader: iPXE has 0.2 to 1.1 MB, with everything.
const LOADER_MAX: u64 = 16 * 1024 * 1024;
/// Wait after the system refused a connection.
const REFUSED_WAIT: Duration = Duration::from_millis(50);

/// The boot service of a server.
#[derive(Debug)]
pub struct Booter {
    service: Arc<Service>,
    /// Its files.
    pub blobs: Arc<Blobs>,
    /// What firmware loads first, by name.
    loaders: BTreeMap<String, Loader>,
    /// Gets files from other servers.
    pub puller: Arc<Puller>,
    /// What is seen of machines that boot.
    pub seen: Arc<Seen>,
    /// Makes one file of an image.
    maker: Option<uki::Maker>,
    /// Where machines find boot servers.
    door: Door,
    /// Since the start.
    pub counts: Counts,
}

/// What firmware loads first.
#[derive(Debug)]
struct Loader {
    octets: Bytes,
    tag: String,
}

/// What was asked for, and what came of it.
#[derive(Debug, Default)]
pub struct Counts {
    /// The script that all machines load first.
    pub entries: AtomicU64,
    /// Scripts of machines.
    pub scripts: AtomicU64,
    /// Configurations of machines, or why there is none.
    pub configs: AtomicU64,
    /// Files, or parts of them.
    pub files: AtomicU64,
    /// Files that an image has and this server has not.
    pub missing: AtomicU64,
    /// Requests for anything else.
    pub refused: AtomicU64,
    /// Connections for which there was no place.
    pub full: AtomicU64,
    /// Octets of files that were read to be sent.
    pub octets: AtomicU64,
    /// By TFTP.
    pub tftp: tftp::Counts,
    /// With TLS.
    pub tls: Arc<Tls>,
}

type Answer = Response<Content>;

impl Booter {
    /// Begins to listen; must be called within a runtime.
    ///
    /// # Errors
    /// When the rules are wrong, or a folder or address cannot be used; says which.
    pub fn start(rules: &Rules, enrol: Option<SocketAddr>, service: Arc<Service>) -> anyhow::Result<Arc<Self>> {
        rules.check().map_err(anyhow::Error::msg)?;
        let signer = rules.uki.as_ref().and_then(|uki| uki.sign.as_ref()).map(sign::Signer::open).transpose()?;
        let signer = signer.map(Arc::new);
        let loaders = rules.loaders.iter().map(|(name, file)| Ok((name.clone(), load(name, file, signer.as_deref())?)));
        let loaders = loaders.collect::<anyhow::Result<_>>()?;
        let maker = rules.uki.as_ref().map(|uki| uki::Maker::new(uki, signer)).transpose()?;
        let blobs = Blobs::open(&rules.images)?;
        if rules.auto_rollback {
            tokio::spawn(rollback::watch(service.clone()));
        }
        let puller = Puller::start(rules, service.clone(), blobs.clone());
        let door = Door::new(&rules.listen, enrol);
        let seen = Seen::new(service.clone(), rules.loops);
        let booter = Arc::new(Self { service, blobs, loaders, puller, seen, maker, door, counts: Counts::default() });
        let places = Places::new(CONNECTIONS_MAX, OF_SOURCE_MAX);
        for address in &rules.listen {
            let listener = open(*address).with_context(|| format!("boot.listen: {address}"))?;
            tokio::spawn(booter.clone().listen(listener, places.clone()));
        }
        if let Some(rules) = &rules.https {
            https::start(rules, &booter)?;
        }
        if let Some(address) = rules.tftp {
            tftp::start(address, booter.clone()).with_context(|| format!("boot.tftp: {address}"))?;
        }
        Ok(booter)
    }

    async fn listen(self: Arc<Self>, listener: TcpListener, places: Places) {
        loop {
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection of a machine that boots");
                    tokio::time::sleep(REFUSED_WAIT).await;
                    continue;
                }
            };
            let Some(place) = places.enter(source(peer.ip())) else {
                self.counts.full.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            let booter = self.clone();
            tokio::spawn(async move {
                booter.receive(stream, peer.ip().to_canonical()).await;
                drop(place);
            });
        }
    }

    /// Plain requests on a socket of its own the kernel may answer by itself; all others go through hyper.
    async fn receive(self: Arc<Self>, mut stream: TcpStream, from: IpAddr) {
        let _ = stream.set_nodelay(true);
        match self.direct(&mut stream, from).await {
            Ok(End::Rest) => self.serve(stream, from).await,
            Ok(End::Over) => {}
            Err(error) => tracing::debug!(%from, %error, "connection of a machine that boots"),
        }
    }

    async fn serve(self: Arc<Self>, stream: impl AsyncRead + AsyncWrite + Unpin + 'static, from: IpAddr) {
        let service = hyper::service::service_fn(move |request| {
            let booter = self.clone();
            async move { Ok::<_, Infallible>(booter.answer(&request, from).await.map(Content::into_body)) }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_WITHIN)
            .max_buf_size(HEAD_MAX)
            .serve_connection(TokioIo::new(Patience::new(stream, READ_WITHIN)), service);
        if let Err(error) = connection.await {
            tracing::debug!(%from, %error, "connection of a machine that boots");
        }
    }

    async fn answer<T>(&self, request: &Request<T>, from: IpAddr) -> Answer {
        let path = request.uri().path();
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        if !is_read {
            self.counts.refused.fetch_add(1, Ordering::Relaxed);
            return text(
                StatusCode::METHOD_NOT_ALLOWED,
                &[(header::ALLOW, "GET, HEAD".to_owned())],
                "this is for reading\n",
            );
        }
        if path == ipxe::ENTRY {
            self.counts.entries.fetch_add(1, Ordering::Relaxed);
            return text(StatusCode::OK, &[], &ipxe::entry());
        }
        if path == ipxe::SCRIPT {
            self.counts.scripts.fetch_add(1, Ordering::Relaxed);
            return text(StatusCode::OK, &[], &self.script(request.uri().query().unwrap_or_default(), from));
        }
        if path == ipxe::OWN {
            return self.archive(request, from);
        }
        if let Some(name) = path.strip_prefix('/').filter(|name| self.loaders.contains_key(*name)) {
            return self.loader(name, request);
        }
        if let Some(maker) = self.maker.as_ref().filter(|_| [UKI, ipxe::SIGNED].contains(&path)) {
            return self.uki(maker, request, from).await;
        }
        if let Some(answer) = self.config(path, request.uri().query().unwrap_or_default(), from) {
            self.counts.configs.fetch_add(1, Ordering::Relaxed);
            return answer;
        }
        let name = path.strip_prefix(ipxe::BLOBS).and_then(|rest| rest.split('/').next());
        match name.and_then(|name| Digest::try_from(name.to_owned()).ok()) {
            Some(digest) => self.blob(&digest, request, from).await,
            None => {
                self.counts.refused.fetch_add(1, Ordering::Relaxed);
                text(StatusCode::NOT_FOUND, &[], "here are the scripts and files of images\n")
            }
        }
    }

    fn loader<T>(&self, name: &str, request: &Request<T>) -> Answer {
        let Some(loader) = self.loaders.get(name) else {
            return text(StatusCode::NOT_FOUND, &[], "there is no such loader\n");
        };
        self.counts.files.fetch_add(1, Ordering::Relaxed);
        let octets = loader.octets.clone();
        let length = u64::try_from(octets.len()).unwrap_or(u64::MAX);
        part_answer(request, &loader.tag, length, |from, to| {
            let at = |octet: u64| usize::try_from(octet).unwrap_or(octets.len()).min(octets.len());
            self.counts.octets.fetch_add(to - from, Ordering::Relaxed);
            Content::from(octets.slice(at(from)..at(to)))
        })
    }

    fn script(&self, query: &str, from: IpAddr) -> String {
        let inventory = self.service.inventory();
        let machine = Said::of(query).machine(&inventory, from).map(Arc::as_ref);
        let nothing = Boots::default();
        let boots = inventory.boots().map_or(&nothing, Arc::as_ref);
        let serial = machine.map(|machine| machine.serial.as_str());
        if let Some((machine, hold)) = machine.and_then(|machine| Some((machine, inventory.hold(machine)?))) {
            tracing::info!(%from, serial, why = hold.why, "holds a machine");
            self.seen.told(machine, from, What::Held);
            return ipxe::held(machine, &hold.why);
        }
        let choice = boots.choice(machine).map(ToString::to_string);
        tracing::info!(%from, serial, image = choice, "says what to boot");
        if let Some(machine) = machine {
            self.seen.told(machine, from, What::Told { boots: choice });
        }
        ipxe::script(boots, machine, self.maker.as_ref().and_then(uki::Maker::signs_for))
    }

    async fn blob<T>(&self, digest: &Digest, request: &Request<T>, from: IpAddr) -> Answer {
        let Ok((file, length)) = self.blobs.open_file(digest).await else {
            let is_known = self.service.inventory().boots().is_some_and(|boots| boots.blobs().contains(digest));
            let (count, status, why) = if is_known {
                let why = "an image has this file, and this server has not got it yet\n";
                (&self.counts.missing, StatusCode::SERVICE_UNAVAILABLE, why)
            } else {
                (&self.counts.refused, StatusCode::NOT_FOUND, "no image has this file\n")
            };
            // Servers ask each other so what they have.
            if request.method() == Method::GET {
                count.fetch_add(1, Ordering::Relaxed);
            }
            let has = (pull::HAS, self.puller.here(digest).to_string());
            return text(status, &[(header::RETRY_AFTER, "2".to_owned()), has], why);
        };
        self.counts.files.fetch_add(1, Ordering::Relaxed);
        part_answer(request, &format!("\"{digest}\""), length, |first, to| {
            let kernel = self.seen.kernel(digest, from).filter(|_| to == length);
            let whole = kernel.map(|(serial, image)| (serial, What::Kernel { image }));
            self.counts.octets.fetch_add(to - first, Ordering::Relaxed);
            Content {
                chunks: vec![Chunk::File { file: Arc::new(file), from: first, to }],
                whole: whole.map(|whole| self.seen.when_whole(to - first, whole, from)),
            }
        })
    }
}

/// The file that is asked for, the part of it, or why not (RFC 9110 §13 and §14).
fn part_answer<T>(request: &Request<T>, tag: &str, length: u64, body: impl FnOnce(u64, u64) -> Content) -> Answer {
    let (headers, is_get) = (request.headers(), request.method() == Method::GET);
    let said = |name: HeaderName| one(headers, &name);
    if said(header::IF_NONE_MATCH).is_some_and(|list| range::names(list, tag)) {
        return file_answer(StatusCode::NOT_MODIFIED, tag, None, None, Content::default());
    }
    // RFC 9110 §14.2: only GET has ranges.
    let asked = said(header::RANGE).filter(|_| is_get && range::is_rest(said(header::IF_RANGE), tag));
    match range::part(asked, length) {
        Part::Nothing => {
            let part = Some(format!("bytes */{length}"));
            file_answer(StatusCode::RANGE_NOT_SATISFIABLE, tag, Some(0), part, Content::default())
        }
        Part::Some { from, to } => {
            let part = Some(format!("bytes {from}-{}/{length}", to - 1));
            file_answer(StatusCode::PARTIAL_CONTENT, tag, Some(to - from), part, body(from, to))
        }
        Part::Whole if is_get => file_answer(StatusCode::OK, tag, Some(length), None, body(0, length)),
        Part::Whole => file_answer(StatusCode::OK, tag, Some(length), None, Content::default()),
    }
}

fn load(name: &str, file: &Path, signer: Option<&sign::Signer>) -> anyhow::Result<Loader> {
    let shown = || format!("boot.loaders.{name}: {}", file.display());
    let length = std::fs::metadata(file).with_context(shown)?.len();
    anyhow::ensure!(length <= LOADER_MAX, "{}: {length} octets: at most {LOADER_MAX}", shown());
    let octets = Bytes::from(std::fs::read(file).with_context(shown)?);
    let octets = signer.map_or_else(|| Ok(octets.clone()), |signer| signer.loader(name, octets.clone()))?;
    let digest = Digest::of(ring::digest::digest(&ring::digest::SHA256, &octets).as_ref());
    Ok(Loader { octets, tag: format!("\"{digest}\"") })
}

/// The value of a header that is text.
fn one<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn text(status: StatusCode, headers: &[(HeaderName, String)], body: &str) -> Answer {
    let mut answer = Response::builder().status(status);
    answer = answer.header(header::CONTENT_TYPE, "text/plain").header(header::CONTENT_LENGTH, body.len());
    answer = answer.header(header::CACHE_CONTROL, "no-store");
    for (name, value) in headers {
        answer = answer.header(name, value);
    }
    answer.body(Content::from(Bytes::from(body.to_owned()))).unwrap_or_default()
}

fn file_answer(status: StatusCode, tag: &str, length: Option<u64>, part: Option<String>, body: Content) -> Answer {
    let mut answer = Response::builder().status(status).header(header::ETAG, tag);
    answer = answer.header(header::ACCEPT_RANGES, "bytes").header(header::CACHE_CONTROL, "public, immutable");
    answer = answer.header(header::CONTENT_TYPE, "application/octet-stream");
    if let Some(length) = length {
        answer = answer.header(header::CONTENT_LENGTH, length);
    }
    if let Some(part) = part {
        answer = answer.header(header::CONTENT_RANGE, part);
    }
    answer.body(body).unwrap_or_default()
}
