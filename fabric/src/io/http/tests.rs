//! The server on temporary sockets, in front of a loop that is not a daemon: bounds, bad clients, and what becomes of the file.

use super::*;
use crate::api::{Body, Command, Done, Health, Question};
use crate::news::{Kind, Line, RouteNews};
use std::os::unix::net::UnixListener as StdListener;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

mod port;
mod remote;

/// A folder of one test, gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("weft-http-{}-{test}", std::process::id()));
        // Left by a test that was killed, under the same process id.
        let _ = std::fs::remove_dir_all(&folder);
        Self(folder)
    }

    fn config(&self) -> ApiConfig {
        ApiConfig {
            socket: self.0.join("run/weft.sock"),
            group: None,
            http: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
            web: true,
            remote: None,
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A server, and a loop that answers each request with its own words.
fn start(folder: &Folder) -> Server {
    serve(&folder.config(), (None, None), answering()).unwrap()
}

/// The loop. Call it within a runtime.
fn answering() -> mpsc::Sender<Ask> {
    let (asked, mut asks) = mpsc::channel::<Ask>(4);
    tokio::spawn(async move {
        while let Some(ask) = asks.recv().await {
            let body = match &ask.request {
                api::Request::Show(Question::Metrics) => Body::Metrics { text: "weft_converged 1\n".to_owned() },
                api::Request::Show(Question::Health) => Body::Health(Health {
                    healthy: false,
                    reason: Some("waiting for End-of-RIB of tor1".to_owned()),
                    established: 0,
                    neighbors: 1,
                    kernel_waiting: 0,
                    kernel_refused: 0,
                    checks: Vec::new(),
                }),
                other @ (api::Request::Show(_)
                | api::Request::Do(_)
                | api::Request::Plan
                | api::Request::Record(_)
                | api::Request::Watch(_)) => Body::Done(Done { done: format!("{other:?}") }),
            };
            let _ = ask.reply.send(Answer::new("tor1", body));
        }
    });
    asked
}

async fn talk<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, bytes: &[u8]) -> String {
    // A server that closes early breaks the pipe; what it said before is what counts.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

async fn local(folder: &Folder, bytes: &[u8]) -> String {
    talk(UnixStream::connect(folder.config().socket).await.unwrap(), bytes).await
}

async fn request(folder: &Folder, line: &str) -> String {
    local(folder, format!("{line} HTTP/1.1\r\nhost: weft\r\n\r\n").as_bytes()).await
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or("closed")
}

#[tokio::test]
async fn requests_reach_the_loop_and_answers_come_back() {
    let folder = Folder::new("answers");
    let server = start(&folder);
    let socket = folder.config().socket;
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o660);
    let answer = request(&folder, "POST /v1/clear?peer=spine%201&hard=true").await;
    let wanted = api::Request::Do(Command::Clear { peer: "spine 1".to_owned(), hard: true });
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(body, serde_json::json!({ "schema": "weft/v1", "node": "tor1", "done": format!("{wanted:?}") }));
    assert_eq!(status(&request(&folder, "GET /v1/nothing").await), "404");
    let wrong_method = request(&folder, "GET /v1/stop").await;
    assert!(wrong_method.contains("405") && wrong_method.contains("allow: POST"), "{wrong_method}");
    drop(server);
    assert!(!socket.exists(), "the file goes with the server");
}

#[tokio::test]
async fn a_connection_is_kept_for_whoever_asks_for_that_and_for_nobody_else() {
    let folder = Folder::new("kept");
    let _server = start(&folder);
    let more = "GET /v1/version HTTP/1.1\r\nhost: weft\r\nconnection: keep-alive\r\n\r\n";
    let last = "GET /v1/version HTTP/1.1\r\nhost: weft\r\n\r\n";
    // What comes after the last one is not read any more.
    let answers = local(&folder, format!("{more}{more}{last}{more}").as_bytes()).await;
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 3, "{answers}");
    assert_eq!(answers.matches("connection: close").count(), 1, "{answers}");
}

#[tokio::test]
async fn nonsense_and_excess_are_refused_and_hurt_nobody_else() {
    let folder = Folder::new("nonsense");
    let _server = start(&folder);
    assert_eq!(status(&local(&folder, b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n").await), "400");
    assert_eq!(status(&local(&folder, b"GET\r\n\r\n").await), "400");
    let long = format!("GET /v1/version HTTP/1.1\r\nhost: weft\r\nx: {}\r\n\r\n", "y".repeat(2 * MAX_HEAD_BYTES));
    assert_eq!(status(&local(&folder, long.as_bytes()).await), "431");
    let body = "z".repeat(MAX_BODY_BYTES + 1);
    let big = format!("POST /v1/reload HTTP/1.1\r\nhost: weft\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    assert_eq!(status(&local(&folder, big.as_bytes()).await), "413");
    let fits = "POST /v1/reload HTTP/1.1\r\nhost: weft\r\ncontent-length: 2\r\n\r\n{}";
    assert_eq!(status(&local(&folder, fits.as_bytes()).await), "200");
}

#[tokio::test]
async fn one_connection_too_many_is_told_so_and_a_place_that_is_left_is_given_away() {
    let folder = Folder::new("many");
    let _server = start(&folder);
    let socket = folder.config().socket;
    let mut held = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        held.push(UnixStream::connect(&socket).await.unwrap());
    }
    let refused = request(&folder, "GET /v1/version").await;
    assert!(refused.contains(" 503 ") && refused.contains("64 connections are open already"), "{refused}");
    held.pop();
    // The server notices the end of a connection when its task runs.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
    while status(&request(&folder, "GET /v1/version").await) != "200" {
        assert!(tokio::time::Instant::now() < deadline, "no place became free");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_ends_its_request_is_closed() {
    let folder = Folder::new("slow");
    let _server = start(&folder);
    let began = tokio::time::Instant::now();
    let answer = local(&folder, b"GET /v1/version HTTP/1.1\r\nhost: w").await;
    assert!(["408", "closed"].contains(&status(&answer)), "{answer}");
    assert!(began.elapsed() >= HEAD_LIMIT && began.elapsed() <= CONNECTION_LIMIT);
}

#[tokio::test(start_paused = true)]
async fn a_loop_that_is_busy_stuck_or_gone_is_named() {
    let folder = Folder::new("stuck");
    let (asked, mut asks) = mpsc::channel::<Ask>(1);
    let server = serve(&folder.config(), (None, None), asked).unwrap();
    // Nobody takes the first ask; the second finds the queue full.
    let first = request(&folder, "GET /v1/version").await;
    assert_eq!(status(&first), "504");
    let second = request(&folder, "GET /v1/version").await;
    assert!(second.contains(" 503 ") && second.contains("too many requests are waiting"), "{second}");
    asks.close();
    let third = request(&folder, "GET /v1/version").await;
    assert!(third.contains(" 503 ") && third.contains("the daemon is ending"), "{third}");
    drop(server);
}

#[tokio::test(start_paused = true)]
async fn the_end_waits_for_answers_under_way_and_for_nobody_else() {
    let folder = Folder::new("finish");
    let (asked, mut asks) = mpsc::channel::<Ask>(1);
    let server = serve(&folder.config(), (None, None), asked).unwrap();
    let idle = UnixStream::connect(folder.config().socket).await.unwrap();
    let mut client = UnixStream::connect(folder.config().socket).await.unwrap();
    client.write_all(b"POST /v1/stop HTTP/1.1\r\nhost: weft\r\n\r\n").await.unwrap();
    let ask = asks.recv().await.unwrap();
    ask.reply.send(Answer::new("tor1", Body::Done(Done { done: "stopping".to_owned() }))).unwrap();
    server.finish().await;
    assert!(talk(client, b"").await.contains("stopping"));
    assert!(!folder.config().socket.exists());
    drop(idle);
}

/// Its whole second goes to answers under way: who keeps a connection and asks nothing has none.
#[tokio::test]
async fn a_kept_connection_that_is_idle_does_not_delay_the_end() {
    let folder = Folder::new("idle");
    let mut server = start(&folder);
    let mut kept = UnixStream::connect(folder.config().socket).await.unwrap();
    kept.write_all(b"GET /v1/version HTTP/1.1\r\nhost: weft\r\nconnection: keep-alive\r\n\r\n").await.unwrap();
    let mut answer = [0; 1_024];
    let length = kept.read(&mut answer).await.unwrap();
    assert!(answer[..length].starts_with(b"HTTP/1.1 200 OK"));
    server.open = None;
    let ended = async { while server.listeners.join_next().await.is_some() {} };
    // Left alone it would stay until the head of its next request is overdue.
    tokio::time::timeout(HEAD_LIMIT / 2, ended).await.unwrap();
    assert_eq!(kept.read(&mut answer).await.unwrap(), 0);
}

/// Whoever may make a file of a group of his own makes the socket so, again and again.
#[tokio::test]
async fn the_socket_belongs_to_the_group() {
    let folder = Folder::new("group");
    let own = rustix::process::getegid().as_raw();
    // Root may take any.
    let group = if rustix::process::geteuid().is_root() { own + 7 } else { own };
    for _ in 0..2 {
        let (asked, _asks) = mpsc::channel(1);
        let server = serve(&folder.config(), (Some(group), None), asked).unwrap();
        let file = std::fs::metadata(folder.config().socket).unwrap();
        assert_eq!((file.gid(), file.mode() & 0o777), (group, SOCKET_MODE));
        drop(server);
    }
}

#[tokio::test]
async fn a_stale_file_is_replaced_and_a_living_daemon_is_not() {
    let folder = Folder::new("stale");
    let config = folder.config();
    std::fs::create_dir_all(config.socket.parent().unwrap()).unwrap();
    drop(StdListener::bind(&config.socket).unwrap());
    assert!(config.socket.exists(), "a closed listener leaves its file");
    let server = start(&folder);
    assert_eq!(status(&request(&folder, "GET /v1/version").await), "200");
    let (asked, _asks) = mpsc::channel(1);
    let error = serve(&config, (None, None), asked.clone()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    assert!(error.to_string().contains("another daemon answers there"), "{error}");
    assert_eq!(status(&request(&folder, "GET /v1/version").await), "200", "it still answers");
    // Whoever replaced the file keeps it.
    std::fs::remove_file(&config.socket).unwrap();
    std::fs::write(&config.socket, "precious").unwrap();
    drop(server);
    let error = serve(&config, (None, None), asked).unwrap_err();
    assert!(error.to_string().contains("is no socket"), "{error}");
    assert_eq!(std::fs::read_to_string(&config.socket).unwrap(), "precious");
}

#[tokio::test]
async fn a_path_that_no_socket_can_have_is_named() {
    let (asked, _asks) = mpsc::channel(1);
    let config = ApiConfig {
        socket: PathBuf::from(format!("/tmp/{}", "x".repeat(120))),
        group: None,
        http: None,
        web: true,
        remote: None,
    };
    let error = serve(&config, (None, None), asked).unwrap_err().to_string();
    assert!(error.contains("longer than 107 bytes") && error.contains("api.socket"), "{error}");
}

/// What a loop with a table answers: one session, and a path from it for each prefix.
fn table(question: &Question, routes: &[(&str, bool)]) -> Body {
    let route = |(prefix, stale): &(&str, bool)| {
        serde_json::from_value::<api::BgpRoute>(serde_json::json!({
            "prefix": prefix, "installed": true, "paths": [{
                "from": "tor1", "best": true, "used": true, "stale": stale, "external": true, "reason": "", "next_hop": "10.0.0.1",
                "via": null, "as_path": "", "origin": "igp", "local_pref": null, "med": null, "communities": [],
                "large_communities": [], "ext_communities": [], "originator_id": null, "cluster_list": [], "age_s": 0 }]
        }))
        .unwrap()
    };
    let all: Vec<api::BgpRoute> = routes.iter().map(route).collect();
    let found = |wanted: &dyn Fn(&api::BgpRoute) -> bool| all.iter().filter(|route| wanted(route)).cloned().collect();
    if matches!(question, Question::Neighbors) {
        return Body::Neighbors(api::Neighbors { asn: 1, router_id: [10, 0, 0, 1].into(), neighbors: Vec::new() });
    }
    let Question::Bgp(selection) = question else {
        // A watcher asks for its node's name too.
        return Body::Done(Done { done: format!("{question:?}") });
    };
    let routes: Vec<api::BgpRoute> = match selection {
        api::Selection::One(target) => found(&|route| route.prefix == target.net()),
        api::Selection::Page { after, .. } => found(&|route| Some(route.prefix) > *after),
    };
    let none = api::PerFamily { ipv4: 0, ipv6: 0 };
    Body::Bgp(api::Bgp { asn: 1, router_id: [10, 0, 0, 1].into(), prefixes: 0, paths: none, routes, next: None })
}

type Table = Arc<std::sync::Mutex<Vec<(&'static str, bool)>>>;

/// A server before a loop that has such a table.
fn start_with_table(folder: &Folder, known: Table) -> Server {
    let (asked, mut asks) = mpsc::channel::<Ask>(4);
    tokio::spawn(async move {
        while let Some(ask) = asks.recv().await {
            let api::Request::Show(question) = &ask.request else { panic!("{ask:?}") };
            let body = table(question, &known.lock().unwrap().clone());
            let _ = ask.reply.send(Answer::new("boot1", body));
        }
    });
    serve(&folder.config(), (None, None), asked).unwrap()
}

const WATCH: &[u8] = b"GET /v1/watch/routes?within=10.69.0.0/16 HTTP/1.1\r\nhost: weft\r\n\r\n";

#[tokio::test]
async fn a_watch_says_what_is_there_and_then_what_changes() {
    let folder = Folder::new("watch");
    let now: Table = Arc::default();
    *now.lock().unwrap() = vec![("10.69.0.4/32", false), ("10.69.0.5/32", false), ("192.0.2.0/24", false)];
    let server = start_with_table(&folder, now.clone());
    let mut stream = UnixStream::connect(folder.config().socket).await.unwrap();
    stream.write_all(WATCH).await.unwrap();
    let mut heard = String::new();
    let mut until = async |heard: &mut String, text: &str| {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        while !heard.contains(text) {
            let mut some = [0; 4_096];
            let read =
                tokio::time::timeout_at(deadline, stream.read(&mut some)).await.expect("it comes in time").unwrap();
            assert_ne!(read, 0, "{heard}");
            heard.push_str(&String::from_utf8_lossy(&some[..read]));
        }
    };
    until(&mut heard, r#"{"synced":true}"#).await;
    for line in [r#""watch":"routes""#, r#""prefix":"10.69.0.4/32","stale":false"#, r#""prefix":"10.69.0.5/32""#] {
        assert!(heard.contains(line), "{line}: {heard}");
    }
    assert!(!heard.contains("192.0.2.0"), "{heard}");
    heard.clear();
    // One goes; another one, of which nobody asked, comes.
    *now.lock().unwrap() = vec![("10.69.0.5/32", false), ("192.0.2.0/24", false), ("192.0.3.0/24", false)];
    for prefix in ["192.0.3.0/24", "10.69.0.4/32"] {
        server.changes.send(Changed::Route(prefix.parse().unwrap())).unwrap();
    }
    until(&mut heard, r#"{"from":[],"prefix":"10.69.0.4/32","stale":false}"#).await;
    assert!(!heard.contains("192.0.3.0"), "{heard}");
    // A session is lost with graceful restart: no route changes, but they are stale.
    *now.lock().unwrap() = vec![("10.69.0.5/32", true)];
    server.changes.send(Changed::Sessions).unwrap();
    until(&mut heard, r#"{"from":["tor1"],"prefix":"10.69.0.5/32","stale":true}"#).await;
    // More changes than anybody remembers: everything is looked at again.
    *now.lock().unwrap() = Vec::new();
    for _ in 0..2 * CHANGES_MAX {
        let _ = server.changes.send(Changed::Route("192.0.2.0/24".parse().unwrap()));
    }
    until(&mut heard, r#"{"from":[],"prefix":"10.69.0.5/32","stale":false}"#).await;
}

/// A server before a loop that knows its name and no links.
fn start_with_events(folder: &Folder) -> Server {
    let (asked, mut asks) = mpsc::channel::<Ask>(4);
    tokio::spawn(async move {
        while let Some(ask) = asks.recv().await {
            let body = Body::Interfaces(api::Interfaces { interfaces: Vec::new() });
            let _ = ask.reply.send(Answer::new("tor1", body));
        }
    });
    serve(&folder.config(), (None, None), asked).unwrap()
}

/// What was heard until some text stood in it.
async fn hear(stream: &mut UnixStream, text: &str) -> String {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    let mut heard = String::new();
    while !heard.contains(text) {
        let mut some = [0; 4_096];
        let read = tokio::time::timeout_at(deadline, stream.read(&mut some)).await.expect("it comes in time").unwrap();
        assert_ne!(read, 0, "{heard}");
        heard.push_str(&String::from_utf8_lossy(&some[..read]));
    }
    heard
}

fn event(number: u64, kind: Kind) -> Line {
    let text = format!("{number} {}", "x".repeat(400));
    Line::new(weft_bgp::time::Instant(number * 1_000_000), kind, text, serde_json::json!({"event": "test"}))
}

#[tokio::test]
async fn a_watch_of_events_says_what_happens_of_the_kinds_that_were_asked_for() {
    let folder = Folder::new("events");
    let server = start_with_events(&folder);
    assert!(!server.events.is_watched(), "nobody");
    let mut stream = UnixStream::connect(folder.config().socket).await.unwrap();
    stream.write_all(b"GET /v1/watch/events?kinds=peers,routes HTTP/1.1\r\nhost: weft\r\n\r\n").await.unwrap();
    hear(&mut stream, r#"{"node":"tor1","schema":"weft/v1","watch":"events"}"#).await;
    assert!(server.events.is_watched() && server.events.has_routes_watched());
    server.events.say(event(1, Kind::Links));
    server.events.say(event(2, Kind::Peers));
    let want = weft_bgp::speaker::Want::Nothing;
    server.events.say_route(RouteNews { at: weft_bgp::time::Instant(3), prefix: "10.0.0.0/8".parse().unwrap(), want });
    let heard = hear(&mut stream, "10.0.0.0/8 is no longer routed").await;
    assert!(heard.contains(r#""at_ms":2,"kind":"peers""#) && !heard.contains(r#""kind":"links""#), "{heard}");
    let refused = request(&folder, "GET /v1/watch/events?kinds=x").await;
    assert!(refused.contains("write one of peers, routes"), "{refused}");
}

#[tokio::test]
async fn who_does_not_read_events_loses_them_and_hears_how_many() {
    const SAID: u64 = 20_000;
    let folder = Folder::new("deaf");
    let server = start_with_events(&folder);
    let mut stream = UnixStream::connect(folder.config().socket).await.unwrap();
    stream.write_all(b"GET /v1/watch/events?kinds=peers HTTP/1.1\r\nhost: weft\r\n\r\n").await.unwrap();
    hear(&mut stream, "watch").await;
    // The loop says them one after the other, and waits for nobody.
    for number in 0..SAID {
        server.events.say(event(number, Kind::Peers));
        tokio::task::yield_now().await;
    }
    let mut heard = hear(&mut stream, &format!("\"at_ms\":{}", SAID - 1)).await;
    heard.push_str(&rest(&stream));
    let lines = heard.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let (mut told, mut lost) = (0, 0);
    for line in lines {
        lost += line["lost"].as_u64().unwrap_or_default();
        told += u64::from(line["at_ms"].is_u64());
    }
    assert!(lost > SAID / 2, "{told} told, {lost} lost");
    assert_eq!(told + lost, SAID);
}

/// What is there already.
fn rest(stream: &UnixStream) -> String {
    let mut some = [0; 65_536];
    match stream.try_read(&mut some) {
        Ok(read) => String::from_utf8_lossy(&some[..read]).into_owned(),
        Err(_) => String::new(),
    }
}

#[tokio::test]
async fn a_watcher_does_not_hold_up_the_end_and_the_ninth_is_refused() {
    let folder = Folder::new("watchers");
    let server = start_with_table(&folder, Arc::default());
    let mut held = Vec::new();
    for _ in 0..WATCHERS_MAX {
        let mut stream = UnixStream::connect(folder.config().socket).await.unwrap();
        stream.write_all(WATCH).await.unwrap();
        let mut some = [0; 16];
        stream.read_exact(&mut some).await.unwrap();
        held.push(stream);
    }
    let ninth = local(&folder, WATCH).await;
    assert!(ninth.contains(" 503 ") && ninth.contains("8 watchers are there already"), "{ninth}");
    let began = tokio::time::Instant::now();
    server.finish().await;
    assert!(began.elapsed() < FINISH_LIMIT);
}
