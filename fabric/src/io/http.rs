//! Carries the API: HTTP/1.1 on a unix socket, metrics, health and the web page (`http::web`) on a TCP port, and the API for other machines
//! (`http::remote`), which has a thread of its own. A request becomes an [`Ask`] for the daemon's loop; everything that a client can make
//! large or slow has a bound here, so that the loop never waits for one.
//! A watch of routes asks the loop again and again (`http::watch`).

mod counts;
mod events;
mod follower;
pub mod remote;
mod render;
mod watch;
mod web;

pub use events::{EVENTS_MAX, Events, FOLLOWERS_MAX, ROUTES_MAX};
pub use watch::{CHANGES_MAX, Changed, WATCHERS_MAX};

use crate::api::{self, Answer, Caller, Door, Refusal};
use crate::config::ApiConfig;
use bytes::Bytes;
use counts::Counts;
use follower::Lines;
use http_body_util::{BodyExt as _, Either, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use remote::Certificates;
use render::{refused, render, too_many};
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch::{Receiver as Watched, Sender as Watching};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, mpsc, oneshot};
use tokio::task::JoinSet;
use watch::Watcher;
use web::Ends;
use weft_bgp::time::Duration;

/// Connections at a time, for each of the listeners. More are answered with 503 at once.
pub const MAX_CONNECTIONS: usize = 64;
/// Longest head of a request; a peer's name is the longest thing in it.
const MAX_HEAD_BYTES: usize = 8 * 1024;
/// No request of this API has a body.
const MAX_BODY_BYTES: usize = 4 * 1024;
/// For the head of a request to come, the next one of a connection too.
const HEAD_LIMIT: Duration = Duration::from_secs(10);
/// For the loop to answer: it is asked between two slices of work.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// For a connection in all: who does not read an answer loses it.
const CONNECTION_LIMIT: Duration = Duration::from_secs(30);
/// Wait after an accept that failed because we have too many files open.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// For answers under way when the daemon ends.
const FINISH_LIMIT: Duration = Duration::from_secs(1);
/// Longest path of a unix socket (unix(7)).
const MAX_PATH_BYTES: usize = 107;
/// Longest target of a request in the log.
const NOTED_MAX: usize = 256;
/// For its owner and its group.
const SOCKET_MODE: u32 = 0o660;

/// A request on its way to the daemon's loop.
#[derive(Debug)]
pub struct Ask {
    /// What is wanted.
    pub request: api::Request,
    /// Where the answer goes; dropped without one, the client is told that the daemon is ending.
    pub reply: oneshot::Sender<Answer>,
}

/// The listeners. They end, and the socket's file goes, when this is dropped.
#[derive(Debug)]
pub struct Server {
    socket: PathBuf,
    /// Device and inode: a file that somebody else put there since is not ours to remove.
    file: (u64, u64),
    metrics: Option<SocketAddr>,
    /// Who watches hears here what to ask about again.
    pub changes: broadcast::Sender<Changed>,
    /// And who follows events, what happens.
    pub events: Events,
    remote: Vec<SocketAddr>,
    certificates: Option<Certificates>,
    counts: Arc<Counts>,
    listeners: JoinSet<()>,
    /// Dropped, it tells the listeners to end.
    open: Option<Watching<()>>,
}

impl Server {
    /// Takes no more connections, and lets those under way have their answers; whoever asked for the end hears of it.
    pub async fn finish(mut self) {
        self.open = None;
        // Slower ones lose their answer.
        let _ = tokio::time::timeout(FINISH_LIMIT, async { while self.listeners.join_next().await.is_some() {} }).await;
    }

    /// Where metrics are served.
    #[must_use]
    pub const fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics
    }

    /// Where other machines are served.
    #[must_use]
    pub fn remote_addresses(&self) -> &[SocketAddr] {
        &self.remote
    }

    /// What the listeners counted, and how the certificates are.
    #[must_use]
    pub fn report(&self) -> api::Doors {
        self.counts.report(self.certificates.as_ref().map(Certificates::state))
    }

    /// Reads the certificates again; whether there are others now.
    ///
    /// # Errors
    /// What is wrong with them, and the remedy; those before stay in use then.
    pub fn renew(&self) -> Result<bool, String> {
        self.certificates.as_ref().map_or(Ok(false), Certificates::renew)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if inode(&self.socket).is_ok_and(|file| file == self.file) {
            // Gone already is as good.
            let _ = std::fs::remove_file(&self.socket);
        }
    }
}

/// Opens the listeners and serves until the result is dropped. Call it within the runtime. `group` is the number of `config.group`,
/// `certificates` are those of `config.remote`.
///
/// # Errors
/// When another daemon answers on the socket, or the socket or a port cannot be opened; the text names which.
pub fn serve(
    config: &ApiConfig,
    (group, certificates): (Option<u32>, Option<Certificates>),
    asks: mpsc::Sender<Ask>,
) -> io::Result<Server> {
    let at_socket = |error| context(&format!("API socket {}", config.socket.display()), &error);
    let local = bind(&config.socket, group).map_err(at_socket)?;
    let file = inode(&config.socket).map_err(at_socket)?;
    let (open, closing) = tokio::sync::watch::channel(());
    let hall = Hall::new(asks, closing);
    let mut server = Server {
        socket: config.socket.clone(),
        file,
        metrics: None,
        changes: hall.changes.clone(),
        events: hall.events.clone(),
        remote: Vec::new(),
        certificates,
        counts: hall.counts.clone(),
        listeners: JoinSet::new(),
        open: Some(open),
    };
    if let Some(address) = config.http {
        let at_port = |error| context(&format!("metrics port {address} (`api.http`)"), &error);
        let listener = super::sockopt::listen(address, None).map_err(at_port)?;
        server.metrics = Some(listener.local_addr().map_err(at_port)?);
        server.listeners.spawn(accept_port(listener, config.web, hall.clone()));
    }
    if let (Some(remote), Some(certificates)) = (&config.remote, &server.certificates) {
        let (addresses, over) = remote::serve(remote, certificates.clone(), hall.elsewhere())?;
        server.remote = addresses;
        server.listeners.spawn(async move {
            // Nothing is ever sent: it ends with the thread.
            let _ = over.await;
        });
    }
    server.listeners.spawn(accept_local(local, hall));
    Ok(server)
}

fn context(what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    std::fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

/// Binds the socket, and gives it to the group. A file left by a daemon that is gone is replaced; one on which somebody answers is not.
fn bind(path: &Path, group: Option<u32>) -> io::Result<UnixListener> {
    if path.as_os_str().len() > MAX_PATH_BYTES {
        let text = format!("the path is longer than {MAX_PATH_BYTES} bytes, choose a shorter one (`api.socket`)");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    match std::fs::symlink_metadata(path) {
        Ok(file) if !file.file_type().is_socket() => {
            let text = "there is a file of this name that is no socket; move it away, or set `api.socket`";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
        }
        Ok(_) if is_answered(path)? => {
            let text = "another daemon answers there; stop it (`weft stop`), or set `api.socket`";
            return Err(io::Error::new(io::ErrorKind::AddrInUse, text));
        }
        Ok(_) => std::fs::remove_file(path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = UnixListener::bind(path)?;
    if let Some(group) = group {
        std::os::unix::fs::chown(path, None, Some(group)).map_err(|error| context("`api.group`", &error))?;
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(SOCKET_MODE))?;
    Ok(listener)
}

/// Whether somebody listens, without waiting for them: a full backlog is an answer too.
fn is_answered(path: &Path) -> io::Result<bool> {
    let probe = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None)?;
    probe.set_nonblocking(true)?;
    match probe.connect(&socket2::SockAddr::unix(path)?) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

async fn accept_local(listener: UnixListener, hall: Hall) {
    let mut closing = hall.closing.clone();
    let mut room = Room::new(hall);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = closing.changed() => break,
        };
        match accepted {
            Ok((stream, _)) => {
                // A client that is too many and does not read even this is simply closed.
                let refused = room.enter(stream, Way::Socket).map(|stream| stream.try_write(&too_many()));
                drop(refused);
            }
            Err(error) => pause(&error).await,
        }
    }
    drop(listener);
    room.empty().await;
}

async fn accept_port(listener: TcpListener, has_page: bool, hall: Hall) {
    let mut closing = hall.closing.clone();
    let mut room = Room::new(hall);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = closing.changed() => break,
        };
        match accepted {
            Ok((stream, from)) => {
                // A connection that is gone already has no address any more.
                let Ok(to) = stream.local_addr() else { continue };
                let way = Way::Port(has_page.then(|| Ends::new(from, to)));
                // A client that is too many and does not read even this is simply closed.
                let refused = room.enter(stream, way).map(|stream| stream.try_write(&too_many()));
                drop(refused);
            }
            Err(error) => pause(&error).await,
        }
    }
    drop(listener);
    room.empty().await;
}

async fn pause(error: &io::Error) {
    tracing::debug!(%error, "accept failed");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

/// What the listeners share.
#[derive(Clone, Debug)]
struct Hall {
    asks: mpsc::Sender<Ask>,
    /// Who watches subscribes.
    changes: broadcast::Sender<Changed>,
    events: Events,
    watchers: Arc<Semaphore>,
    followers: Arc<Semaphore>,
    /// Who follows events on the port: browsers take no place away from `weft monitor`.
    visitors: Arc<Semaphore>,
    counts: Arc<Counts>,
    /// Changes when the listeners are to end.
    closing: Watched<()>,
}

impl Hall {
    fn new(asks: mpsc::Sender<Ask>, closing: Watched<()>) -> Self {
        let (changes, events) = (broadcast::Sender::new(CHANGES_MAX), Events::default());
        let [watchers, followers, visitors] =
            [WATCHERS_MAX, FOLLOWERS_MAX, FOLLOWERS_MAX].map(|places| Arc::new(Semaphore::new(places)));
        Self { asks, changes, events, watchers, followers, visitors, counts: Arc::default(), closing }
    }

    /// For other machines: who watches from there takes no place away from programs of this one.
    fn elsewhere(&self) -> Self {
        let apart = Self::new(self.asks.clone(), self.closing.clone());
        Self { watchers: apart.watchers, followers: apart.followers, ..self.clone() }
    }
}

/// How a connection came.
#[derive(Clone, Debug)]
enum Way {
    /// Over the unix socket.
    Socket,
    /// Over TCP: from where to where, where there is a web page.
    Port(Option<Ends>),
    /// With a certificate, from there: whose it is, or why it is nobody's.
    Remote(Arc<Result<Caller, String>>, IpAddr),
}

impl Way {
    /// What is behind it, or why nothing is.
    fn door(&self) -> Result<Door, Refusal> {
        Ok(match self {
            Self::Socket => Door::Local,
            Self::Port(Some(_)) => Door::Web,
            Self::Port(None) => Door::Metrics,
            Self::Remote(caller, _) => match caller.as_ref() {
                Ok(caller) => Door::Remote(caller.access),
                Err(error) => return Err(Refusal::new(403, error.as_str(), remote::IDENTITY_REMEDY)),
            },
        })
    }

    /// What another machine orders is on record.
    fn note(&self, method: &str, target: &str, status: u16) {
        if let Self::Remote(caller, from) = self
            && let Ok(caller) = caller.as_ref()
            && method != "GET"
        {
            let (name, role) = (&caller.name, caller.access);
            let target: String = target.chars().take(NOTED_MAX).collect();
            tracing::info!(name, %role, %from, status, "{method} {target}");
        }
    }
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    /// One answer.
    Answer,
    /// A watch, which has no end of its own.
    Watch,
    /// A watch that ended: what is left of it has as long as an answer.
    Over,
}

/// The connections of one listener; they end with it.
struct Room {
    hall: Hall,
    places: Arc<Semaphore>,
    tasks: JoinSet<()>,
}

impl Room {
    fn new(hall: Hall) -> Self {
        Self { hall, places: Arc::new(Semaphore::new(MAX_CONNECTIONS)), tasks: JoinSet::new() }
    }

    /// Serves a connection, or hands it back when there is no place for it.
    fn enter<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(&mut self, stream: S, way: Way) -> Option<S> {
        while self.tasks.try_join_next().is_some() {}
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            return Some(stream);
        };
        let hall = self.hall.clone();
        self.tasks.spawn(async move {
            converse(stream, way, hall).await;
            drop(place);
        });
        None
    }

    /// Waits until everybody has left.
    async fn empty(&mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

/// A connection from its first octet to its end.
async fn converse<S: AsyncRead + AsyncWrite + Unpin>(stream: S, way: Way, hall: Hall) {
    let (life, lives) = tokio::sync::watch::channel(Life::Answer);
    let life = Arc::new(life);
    let mut closing = hall.closing.clone();
    let service = service_fn(move |request| respond(way.clone(), hall.clone(), life.clone(), request));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_LIMIT);
    http.max_buf_size(MAX_HEAD_BYTES);
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    let to_its_end = async {
        tokio::select! {
            biased;
            _ = connection.as_mut() => return,
            // Who is idle has nothing to wait for, and whoever is served has no more after that.
            _ = closing.changed() => connection.as_mut().graceful_shutdown(),
        }
        // A client that spoke nonsense, left, or was too slow: its own loss.
        let _ = connection.await;
    };
    bounded(to_its_end, lives).await;
}

/// A connection to its end, or to that of its time; a watch has as long as it goes on.
async fn bounded(connection: impl Future, mut life: Watched<Life>) {
    let mut connection = pin!(connection);
    let mut over = tokio::time::timeout(CONNECTION_LIMIT, connection.as_mut()).await.is_ok();
    if !over && *life.borrow() == Life::Watch {
        over = tokio::select! {
            _ = connection.as_mut() => true,
            _ = life.wait_for(|life| *life == Life::Over) => false,
        };
    }
    if !over && *life.borrow() == Life::Over {
        let _ = tokio::time::timeout(CONNECTION_LIMIT, connection).await;
    }
}

type Said = Response<Either<Full<Bytes>, Lines>>;

async fn respond(
    way: Way,
    hall: Hall,
    life: Arc<Watching<Life>>,
    request: Request<Incoming>,
) -> Result<Said, Infallible> {
    let (counts, count, is_kept) = (hall.counts.clone(), Counts::of(&way), is_kept(&way, &request));
    let mut said = match &way {
        Way::Socket | Way::Remote(..) => answered(&way, &hall, life, request).await,
        Way::Port(ends) => web::dress(match ends.map_or(Ok(None), |ends| web::serve(ends, &request)) {
            Ok(Some(file)) => file.map(Either::Left),
            Ok(None) => answered(&way, &hall, life, request).await,
            Err(refusal) => refused(&refusal).map(Either::Left),
        }),
    };
    counts.answered(count, said.status());
    if !is_kept {
        said.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(said)
}

/// One question for each connection, unless its client says that he has more: whoever reads to the end has always had it. Browsers say so
/// whether they have more or not, and would keep places of the port.
fn is_kept<B>(way: &Way, request: &Request<B>) -> bool {
    let is_asked = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"keep-alive");
    !matches!(way, Way::Port(_)) && request.headers().get(CONNECTION).is_some_and(is_asked)
}

async fn answered(way: &Way, hall: &Hall, life: Arc<Watching<Life>>, request: Request<Incoming>) -> Said {
    let (head, body) = request.into_parts();
    let (method, target) = (head.method.as_str(), head.uri.path_and_query().map_or("/", |target| target.as_str()));
    let asked = way.door().and_then(|door| api::parse(door, method, target));
    let response = match asked {
        Ok(api::Request::Watch(wanted)) => {
            match read_to_end(body).await.and_then(|()| begin_watch(way, hall, life, wanted)) {
                Ok(lines) => return watched(lines),
                Err(refusal) => refused(&refusal),
            }
        }
        Ok(wanted) => match ask(&hall.asks, wanted, body).await {
            Ok(answer) => render(head.uri.path(), &answer),
            Err(refusal) => refused(&refusal),
        },
        Err(refusal) => refused(&refusal),
    };
    way.note(method, target, response.status().as_u16());
    response.map(Either::Left)
}

/// Starts a watcher; it ends when its lines are no longer wanted.
fn begin_watch(way: &Way, hall: &Hall, life: Arc<Watching<Life>>, wanted: api::Watch) -> Result<Lines, Refusal> {
    let (places, most) = match &wanted {
        api::Watch::Routes(_) => (&hall.watchers, WATCHERS_MAX),
        api::Watch::Events(_) if matches!(way, Way::Port(_)) => (&hall.visitors, FOLLOWERS_MAX),
        api::Watch::Events(_) => (&hall.followers, FOLLOWERS_MAX),
    };
    let place = Arc::clone(places).try_acquire_owned();
    let place = place.map_err(|_| Refusal::new(503, format!("{most} watchers are there already"), "try again"))?;
    life.send_replace(Life::Watch);
    let (asks, closing) = (hall.asks.clone(), hall.closing.clone());
    let lines = match wanted {
        api::Watch::Routes(within) => {
            let (watcher, lines) = Watcher::new(within, asks, hall.changes.subscribe(), closing);
            tokio::spawn(until_over(watcher.run(), life, place));
            lines
        }
        api::Watch::Events(kinds) => {
            let (watcher, lines) = events::Watcher::new(kinds, &hall.events, asks, closing);
            tokio::spawn(until_over(watcher.run(), life, place));
            lines
        }
    };
    Ok(lines)
}

/// A watcher to its end; its place is free then.
async fn until_over(watcher: impl Future<Output = ()>, life: Arc<Watching<Life>>, place: OwnedSemaphorePermit) {
    watcher.await;
    life.send_replace(Life::Over);
    drop(place);
}

fn watched(lines: Lines) -> Said {
    let mut response = Response::new(Either::Right(lines));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/jsonl"));
    response
}

async fn ask(asks: &mpsc::Sender<Ask>, wanted: api::Request, body: Incoming) -> Result<Answer, Refusal> {
    read_to_end(body).await?;
    let (reply, answer) = oneshot::channel();
    asks.try_send(Ask { request: wanted, reply }).map_err(|error| match error {
        mpsc::error::TrySendError::Full(_) => Refusal::new(503, "too many requests are waiting", "try again"),
        mpsc::error::TrySendError::Closed(_) => ending(),
    })?;
    match tokio::time::timeout(ANSWER_LIMIT, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_)) => Err(ending()),
        Err(_) => Err(Refusal::new(
            504,
            format!("the daemon did not answer within {} s", ANSWER_LIMIT.as_secs()),
            "look at its log",
        )),
    }
}

fn ending() -> Refusal {
    Refusal { status: 503, error: "the daemon is ending".to_owned(), remedy: None }
}

/// Whatever body a client sends is read, so that it hears the answer, and forgotten.
async fn read_to_end(body: Incoming) -> Result<(), Refusal> {
    match Limited::new(body, MAX_BODY_BYTES).collect().await {
        Ok(_) => Ok(()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(Refusal::new(413, format!("the body is longer than {MAX_BODY_BYTES} bytes"), "send none"))
        }
        Err(error) => Err(Refusal { status: 400, error: format!("the body cannot be read: {error}"), remedy: None }),
    }
}

#[cfg(test)]
mod tests;
