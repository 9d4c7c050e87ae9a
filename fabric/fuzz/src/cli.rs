//! What may stand on the command line, and what it asks of a daemon.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use weft_fabric::api::{self, CONFIRM_MAX_S, Door};
use weft_fabric::cli::{Arguments, Mrt, Policy, PolicyTest, Reload, Verb, Whom};
use weft_fabric::config::{self, NodeConfig};
use weft_fabric::io::verbs;
use weft_fabric::trial;

/// Most words of one line: bounds what is made of them.
const WORDS_MAX: usize = 64;
/// What `weft policy test` is tried on.
const CONFIGURATION: &str = "
role: tor
asn: 64600
addresses: [10.69.255.1/32]
peers:
  tor1: {address: 10.72.1.0, remote_asn: 64599, import: taken, export: told}
listen:
  - {prefix: 10.69.0.64/26, remote_asn: 64600}
policy:
  sets: {node4: [10.69.0.4/32, 10.72.32.0/20 ge 32]}
  taken:
    - {match: {prefix: node4}, then: accept}
    - {match: {community: '64600:1'}, then: {set: {local_pref: 200}, do: accept}}
  told:
    - {then: {prepend: 2, do: accept}}
";

thread_local! {
    static NODE: NodeConfig = config::parse("weft.yaml", CONFIGURATION).and_then(|config| config.node()).unwrap();
}

/// The words behind `weft`, each ended by a zero octet, which no word can have.
pub fn run(data: &[u8]) {
    let words: Vec<&OsStr> = data.split(|octet| *octet == 0).take(WORDS_MAX).map(OsStr::from_bytes).collect();
    match (read(&words), read(&words)) {
        (Ok(one), Ok(again)) => {
            assert_eq!(format!("{one:?}"), format!("{again:?}"), "read twice");
            taken(one);
        }
        (Err(error), Err(again)) => {
            assert_eq!(error.to_string(), again.to_string(), "read twice");
            // Help and the version are asked for.
            assert_eq!(error.exit_code(), if error.use_stderr() { 2 } else { 0 }, "{error}");
            assert!(!error.to_string().trim().is_empty());
        }
        (one, other) => panic!("read once as {one:?}, once as {other:?}"),
    }
}

fn read(words: &[&OsStr]) -> Result<Arguments, clap::Error> {
    Arguments::read([OsStr::new("weft")].into_iter().chain(words.iter().copied()).map(OsString::from))
}

fn taken(Arguments { whom, output: _, verb }: Arguments) {
    named(&whom);
    match verb {
        Verb::Show(wanted) => drop(wanted.asked()),
        Verb::Drain(wanted) => drop(wanted.asked()),
        Verb::Undrain(what) => drop(what.undrained()),
        Verb::Reload(wanted) => reloaded(&wanted),
        Verb::Dhcp(wanted) => drop(wanted.asked()),
        Verb::Route(wanted) => asked(&wanted.asked()),
        Verb::Mrt(Mrt::Replay(wanted)) => drop(wanted.wanted()),
        Verb::Policy(Policy::Test(test)) => tried(*test),
        Verb::External(words) => assert!(!words.is_empty(), "nobody is executed"),
        Verb::Daemon { .. }
        | Verb::Check { .. }
        | Verb::Doctor { .. }
        | Verb::Health
        | Verb::Monitor { .. }
        | Verb::Record { .. }
        | Verb::Top
        | Verb::Explain { .. }
        | Verb::Trace { .. }
        | Verb::Upgrade { .. }
        | Verb::Stop
        | Verb::Clear { .. }
        | Verb::Vip(_)
        | Verb::Mrt(Mrt::Show { .. } | Mrt::Dump { .. })
        | Verb::Man { .. }
        | Verb::Completions { .. } => {}
    }
}

/// Who is meant can be said, or what is missing.
fn named(whom: &Whom) {
    let place = whom.target(|_| None).map(|target| target.to_string());
    assert!(place.is_ok_and(|place| !place.is_empty()) || whom.target(|_| None).is_err_and(|error| error.len() > 10));
}

/// A time is one that the daemon takes.
fn reloaded(wanted: &Reload) {
    if let verbs::Verb::Reload(api::Reload { confirm_within_s: Some(seconds), .. }) = wanted.asked() {
        assert!((1..=CONFIRM_MAX_S).contains(&seconds), "{seconds}");
    }
}

/// What is asked is understood at the other end, or refused with a remedy.
fn asked(verb: &verbs::Verb) {
    let verbs::Verb::AddRoute(route) = verb else { return };
    if let Err(refusal) = api::parse(Door::Local, "POST", &route.target()) {
        assert_eq!(refusal.status, 400, "{route:?}: {refusal:?}");
        assert!(!refusal.error.is_empty() && refusal.remedy.is_some_and(|text| !text.is_empty()), "{route:?}");
    }
}

/// The policies decide on whatever route it is.
fn tried(test: PolicyTest) {
    let Ok(wanted) = test.trial() else { return };
    match NODE.with(|node| trial::run(node, &wanted)) {
        Ok(report) => assert!(report.to_string().contains(&report.prefix.to_string()), "{report}"),
        Err(error) => assert!(!error.is_empty(), "{wanted:?}"),
    }
}
