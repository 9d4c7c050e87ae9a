//! Verbs against a real server before real nodes: what a person or a program at the command line gets, and what it costs when
//! something is missing.

use super::*;
use crate::api::tests::{HOST_AT, Plant, converged, views};
use crate::api::{Answer, Body, Command, Done, Refusal, Request};
use crate::config::ApiConfig;
use crate::io::http::{self, Ask};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::mpsc::channel;
use std::thread::JoinHandle;
use tokio::sync::mpsc;

/// A daemon in a thread: the server, and a loop before a plant that stands still. `Stop` ends it.
struct Daemon {
    folder: PathBuf,
    thread: Option<JoinHandle<()>>,
}

impl Daemon {
    fn start(test: &str, at: usize, plant: impl FnOnce() -> Plant + Send + 'static) -> Self {
        let folder = std::env::temp_dir().join(format!("weft-verbs-{}-{test}", std::process::id()));
        // Left by a test that was killed, under the same process id.
        let _ = std::fs::remove_dir_all(&folder);
        let config = ApiConfig { socket: folder.join("weft.sock"), group: None, http: None, web: true, remote: None };
        let (ready, wait) = channel();
        let thread = std::thread::spawn(move || {
            let plant = plant();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let (asked, mut asks) = mpsc::channel::<Ask>(4);
                let server = http::serve(&config, (None, None), asked).unwrap();
                ready.send(()).unwrap();
                while let Some(ask) = asks.recv().await {
                    let stop = ask.request == Request::Do(Command::Stop);
                    let _ = ask.reply.send(reply(&plant, at, &ask.request));
                    if stop {
                        break;
                    }
                }
                server.finish().await;
            });
        });
        wait.recv().unwrap();
        Self { folder, thread: Some(thread) }
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("weft.sock")
    }

    fn run(&self, verb: &Verb, form: Form) -> Result<String, VerbError> {
        let mut out = Vec::new();
        run(verb, &self.socket().as_path().into(), form, &mut out).map(|()| String::from_utf8(out).unwrap())
    }

    fn table(&self, verb: &Verb) -> String {
        self.run(verb, Form::Table).unwrap()
    }

    fn json(&self, verb: &Verb) -> Value {
        serde_json::from_str(&self.run(verb, Form::Json).unwrap()).unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            // Stopped already by the test, perhaps.
            let _ = self.run(&Verb::Stop, Form::Table);
            let _ = thread.join();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn reply(plant: &Plant, at: usize, request: &Request) -> Answer {
    match request {
        Request::Show(question) => plant.ask(at, question),
        Request::Do(Command::Clear { peer, .. }) if peer == "nobody" => {
            Answer::new("host", Body::Refused(Refusal::new(404, "there is no peer `nobody`", "look")))
        }
        Request::Do(command) => Answer::new("host", Body::Done(Done { done: format!("{command:?}") })),
        Request::Plan => Answer::new("host", Body::Plan(Box::new(plant.planned(at)))),
        Request::Record(_) => panic!("a verb of its own"),
        Request::Watch(_) => panic!("the server makes questions of it"),
    }
}

#[test]
fn every_verb_prints_a_table_and_json() {
    let daemon = Daemon::start("every", HOST_AT, converged);
    let named = |text: &str| Some(text.to_owned());
    for (verb, table, field) in [
        (Verb::Neighbors(None), "host, AS 65004", "neighbors"),
        (Verb::Drains, "What  State  Target", "drains"),
        (Verb::Neighbors(named("10.0.3.1")), "spine: Established", "neighbors"),
        (Verb::Bgp(None, None), "host, AS 65004", "routes"),
        (Verb::Bgp(named("10.72.0.0/16"), None), "host, AS 65004", "routes"),
        (Verb::Routes(None, Some(2)), "Prefix ", "routes"),
        (Verb::Routes(named("10.72.1.2"), None), "Prefix ", "routes"),
        (Verb::Interfaces, "Interface ", "interfaces"),
        (Verb::Version, "node ", "version"),
        (Verb::History, "At ", "history"),
        (Verb::Policy, "Neighbor ", "neighbors"),
        (Verb::Health(false), "ok  convergence", "checks"),
        (Verb::Health(true), "ok  convergence", "checks"),
        (Verb::Explain("10.72.0.0/16".to_owned()), "10.72.0.0/16  installed", "paths"),
        (Verb::Plan, "weft.yaml: nothing is different\n4 neighbors: nothing\n", "peers"),
        (Verb::Reload(api::Reload::default()), "host: Reload", "done"),
        (Verb::ConfirmReload, "host: ConfirmReload", "done"),
        (Verb::Clear("tor1".to_owned(), true), "host: Clear { peer: \"tor1\", hard: true }", "done"),
    ] {
        let text = daemon.table(&verb);
        assert!(text.starts_with(table), "{verb:?}: {text}");
        let json = daemon.json(&verb);
        assert_eq!((json["schema"].as_str(), json["node"].as_str()), (Some("weft/v1"), Some("host")), "{verb:?}");
        assert!(!json[field].is_null(), "{verb:?}: {json}");
    }
    assert_eq!(daemon.json(&Verb::Routes(None, Some(2)))["routes"].as_array().unwrap().len(), 2);
    assert_eq!(daemon.json(&Verb::Neighbors(named("spine")))["neighbors"][0]["router_id"], "10.69.255.101");
}

#[test]
fn what_is_bad_is_an_exit_code_of_health_alone() {
    // The second node's address is on no interface.
    let daemon = Daemon::start("health", 1, converged);
    let error = daemon.run(&Verb::Health(true), Form::Table).unwrap_err();
    assert_eq!((error.exit_code(), error.to_string().as_str()), (1, "tor1: bad: addresses"));
    assert!(daemon.table(&Verb::Health(false)).contains("remedy: "));
}

#[test]
fn all_pages_make_one_document() {
    let daemon = Daemon::start("pages", 0, || Plant::lone(2_100));
    for verb in [Verb::Routes(None, None), Verb::Bgp(None, None)] {
        let json = daemon.json(&verb);
        let routes = json["routes"].as_array().unwrap();
        assert_eq!(routes.len(), 2_100);
        assert_eq!(routes[2_099]["prefix"], "10.8.51.0/24");
        assert_eq!(json["next"], Value::Null);
    }
    assert_eq!(daemon.json(&Verb::Routes(None, Some(1_500)))["routes"].as_array().unwrap().len(), 1_500);
    // A line of the daemon is a line of the document.
    let text = daemon.run(&Verb::Routes(None, None), Form::Json).unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some(r#"{"node":"lone","prefixes":2100,"schema":"weft/v1","routes":["#));
    let first = r#"{"age_s":0,"from":["local"],"installed":true,"kernel":"none","kind":"local","prefix":"10.0.0.0/24","via":[]},"#;
    assert_eq!(lines.next(), Some(first));
    assert!(text.ends_with("\"prefix\":\"10.8.51.0/24\",\"via\":[]}]}\n"), "{}", &text[text.len() - 200..]);
    for (verb, head) in
        [(Verb::Routes(None, None), 1), (Verb::Bgp(None, None), 4), (Verb::Routes(None, Some(1_500)), 1)]
    {
        let (table, Verb::Routes(_, limit) | Verb::Bgp(_, limit)) = (daemon.table(&verb), &verb) else { panic!() };
        assert_eq!(table.lines().count(), limit.unwrap_or(2_100) + head, "{verb:?}: one header");
        let widths: BTreeSet<_> = table.lines().skip(head).map(|line| line.find("local")).collect();
        assert_eq!(widths.len(), 1, "{verb:?}: columns are as wide on each page");
    }
}

#[test]
fn a_drain_waits_and_says_what_it_waits_for() {
    use crate::drain::{Scope, State};
    let daemon = Daemon::start("drain", HOST_AT, converged);
    let order = |state, wait| Verb::Drain(Order { scope: Scope::Node, state, force: false, wait });
    let ordered = "host: Drain { scope: Node, state: Drained, force: false }\n";
    assert_eq!(daemon.table(&order(State::Drained, None)), ordered);
    let waited = daemon.table(&order(State::Live, Some(Duration::from_secs(60))));
    assert!(waited.ends_with("host: node is back in service\n"), "{waited}");
    // This daemon does nothing, and nobody waits for that.
    let error = daemon.run(&order(State::Drained, Some(Duration::ZERO)), Form::Table).unwrap_err();
    assert_eq!(error.exit_code(), 1);
    assert!(error.to_string().contains("not there after 0 s: node: live"), "{error}");
}

#[test]
fn stop_returns_when_the_daemon_is_gone() {
    let daemon = Daemon::start("stop", 0, || Plant::lone(1));
    assert_eq!(daemon.table(&Verb::Stop), "host: stopped\n");
    assert!(!daemon.socket().exists());
    let error = daemon.run(&Verb::Version, Form::Table).unwrap_err();
    assert_eq!(error.exit_code(), 3);
}

#[test]
fn a_route_that_was_only_refused_is_explained() {
    let text = r#"{"target":"10.41.2.0/24","route":null,"paths":[],"kernel":null,"originated":null,"told":[],"no_session":[],
        "refused":[{"prefix":"10.41.2.0/24","from":"bird","reason":"rejected by rule valid[0]","age_s":18}]}"#;
    let mut answer: Explanation = serde_json::from_str(text).unwrap();
    assert!(is_known(&answer) && show::explain::text(&answer).contains("rejected by rule valid[0]"));
    answer.refused.clear();
    assert!(!is_known(&answer));
}

#[test]
fn what_is_not_there_is_said_with_a_remedy() {
    let daemon = Daemon::start("missing", HOST_AT, converged);
    let failure = |verb: Verb| {
        let error = daemon.run(&verb, Form::Table).unwrap_err();
        format!("{}: {error}", error.exit_code())
    };
    assert_eq!(
        failure(Verb::Neighbors(Some("tor9".to_owned()))),
        "1: host has no neighbor `tor9`\n  known: old, spine, tor1, tor2"
    );
    assert_eq!(
        failure(Verb::Routes(Some("10.99.0.0/16".to_owned()), None)),
        "1: 10.99.0.0/16 is not in the table\n  `weft explain` shows what covers it"
    );
    assert_eq!(failure(Verb::Explain("fd00::1".to_owned())), "1: host: no prefix of the table covers fd00::1");
    assert_eq!(failure(Verb::Clear("nobody".to_owned(), false)), "1: there is no peer `nobody`\n  remedy: look");
    assert!(failure(Verb::Explain("tor1".to_owned())).contains("`tor1` is no address and no prefix"));
}

#[test]
fn a_missing_daemon_is_named_with_its_socket() {
    let nowhere = PathBuf::from("/nowhere/weft.sock");
    let error = run(&Verb::Version, &Target::Socket(nowhere), Form::Table, &mut Vec::new()).unwrap_err();
    assert_eq!(error.exit_code(), 3);
    assert_eq!(
        error.to_string(),
        "no daemon answers on /nowhere/weft.sock: No such file or directory\n  remedy: start it (`weft daemon`, or \
         `systemctl start weft`), or name another one with --socket PATH or --lab NAME/NODE"
    );
}

#[test]
fn the_daemon_follows_from_the_command_line_and_the_environment() {
    let nothing = |_: &str| None;
    let said = |named: Named<'_>| target(named, nothing).map(|target| target.to_string());
    assert_eq!(said(Named::default()).unwrap(), "/run/weft/weft.sock");
    assert_eq!(said(Named { socket: Some(Path::new("/tmp/x")), ..Named::default() }).unwrap(), "/tmp/x");
    let lab = |lab| said(Named { lab: Some(lab), ..Named::default() });
    assert!(lab("two-racks/tor1").unwrap().ends_with("two-racks/tor1/weft.sock"));
    for wrong in ["two-racks", "/tor1", "a/", "a/b/c"] {
        assert!(lab(wrong).unwrap_err().contains("--lab two-racks/tor1"), "{wrong}");
    }
    let error = said(Named { remote: Some("tor1"), cert: Some(Path::new("c")), ..Named::default() }).unwrap_err();
    assert!(error.contains("--ca FILE (or WEFT_CA) is missing"), "{error}");
    let environment = |name: &str| match name {
        "WEFT_REMOTE" => Some("tor1:1".into()),
        "WEFT_CA" | "WEFT_CERT" | "WEFT_KEY" => Some(name.into()),
        _ => None,
    };
    let said = |named| target(named, environment).map(|target| target.to_string());
    assert_eq!(said(Named::default()).unwrap(), "tor1:1");
    assert_eq!(said(Named { remote: Some("tor2"), ..Named::default() }).unwrap(), "tor2:9180");
    // What is said wins over what is in the environment.
    assert_eq!(said(Named { socket: Some(Path::new("/tmp/x")), ..Named::default() }).unwrap(), "/tmp/x");
}

#[test]
fn a_reader_that_leaves_is_no_fault() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let daemon = Daemon::start("pipe", 0, || Plant::lone(1));
    let error = run(&Verb::Routes(None, None), &daemon.socket().as_path().into(), Form::Json, &mut Closed).unwrap_err();
    assert!(error.is_closed_pipe(), "{error}");
}

#[test]
fn views_are_as_recorded() {
    const RENEW: &str = "WEFT_RENEW=1 cargo test -p weft-fabric --lib views";
    let text = views::text(RENEW);
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/VIEWS.md");
    if std::env::var_os("WEFT_RENEW").is_some() {
        std::fs::write(file, &text).unwrap();
        return;
    }
    let recorded = std::fs::read_to_string(file).unwrap();
    let other = text.lines().zip(recorded.lines()).find(|(now, then)| now != then);
    assert_eq!(text, recorded, "first difference: {other:?}; if it is meant: {RENEW}");
}
