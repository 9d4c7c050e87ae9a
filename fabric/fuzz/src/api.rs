//! What may be asked of the API, by whom, and where the command line is told to ask it.

use std::path::PathBuf;
use weft_fabric::api::{self, Access, Caller, Door, MAX_LIMIT, PORT_LIMIT, Question, Request, Selection};
use weft_fabric::io::client::{Remote, Target};

/// Methods that exist, and some that do not.
const METHODS: [&str; 6] = ["GET", "POST", "DELETE", "HEAD", "PUT", ""];
/// Most names of one certificate.
const NAMES_MAX: usize = 8;

/// First octet: what the rest is, the target of a request (its method in the upper half), names of a certificate, a place of a daemon, or a
/// word for a query.
pub fn run(data: &[u8]) {
    let Some((what, text)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    match what & 0x0f {
        0..=7 => request(METHODS[usize::from(what >> 4) % METHODS.len()], text),
        8 | 9 => certificate(text),
        10 | 11 => place(text),
        _ => word(text),
    }
}

fn request(method: &str, target: &str) {
    let local = api::parse(Door::Local, method, target);
    assert_eq!(local, api::parse(Door::Local, method, target), "read twice");
    for door in [Door::Web, Door::Metrics] {
        match api::parse(door, method, target) {
            Ok(Request::Do(_) | Request::Plan | Request::Record(_)) => {
                panic!("the port takes an order: {method} {target}")
            }
            Ok(Request::Show(question)) => bounded(&question, PORT_LIMIT),
            Ok(Request::Watch(_)) => {}
            Err(refusal) => refused(&refusal),
        }
    }
    for access in Access::ALL {
        match api::parse(Door::Remote(access), method, target) {
            Ok(request) => {
                assert!(Access::needed(&request) <= access, "{access}: {method} {target}");
                let always = ["/metrics", "/healthz"].iter().any(|path| target.starts_with(path));
                assert!(always || local.as_ref() == Ok(&request), "{access}: {method} {target}: not as on the socket");
            }
            Err(refusal) => {
                // Whom his role keeps out is told so only where there is something.
                assert!(refusal.status != 403 || local.is_ok() && access != Access::Admin, "{method} {target}");
                refused(&refusal);
            }
        }
    }
    match local {
        Ok(Request::Show(question)) => bounded(&question, MAX_LIMIT),
        Ok(Request::Do(_) | Request::Plan | Request::Record(_) | Request::Watch(_)) => {}
        Err(refusal) => refused(&refusal),
    }
}

/// No answer is larger than its way permits.
fn bounded(question: &Question, most: usize) {
    let (Question::Routes(Selection::Page { limit, .. })
    | Question::Bgp(Selection::Page { limit, .. })
    | Question::Dump(Selection::Page { limit, .. })
    | Question::RoutesWithin { limit, .. }
    | Question::Lines { limit, .. }) = question
    else {
        return;
    };
    assert!((1..=most).contains(limit), "{question:?}");
}

fn refused(refusal: &api::Refusal) {
    assert!([400, 403, 404, 405].contains(&refusal.status), "{refusal:?}");
    assert!(!refusal.error.is_empty() && refusal.remedy.as_ref().is_some_and(|text| !text.is_empty()), "{refusal:?}");
}

/// A line for each name.
fn certificate(text: &str) {
    let names: Vec<&str> = text.split('\n').take(NAMES_MAX).collect();
    match Caller::of("weft", names.iter().copied()) {
        Ok(caller) => {
            let uri = format!("spiffe://weft/weft/{}/{}", caller.access, caller.name);
            assert_eq!(names.iter().filter(|name| name.starts_with("spiffe://weft/weft/")).count(), 1, "{names:?}");
            assert!(names.contains(&uri.as_str()), "{names:?} is taken for {uri}");
            assert!(caller.name.len() <= 64 && caller.name.chars().all(|c| c.is_ascii_graphic()), "{caller:?}");
        }
        Err(error) => assert!(!error.is_empty() && !error.chars().any(char::is_control), "{error:?}"),
    }
}

fn place(text: &str) {
    let read = |text: &str| Remote::new(text, PathBuf::new(), PathBuf::new(), PathBuf::new()).map(Target::Remote);
    match read(text) {
        Ok(target) => assert_eq!(read(&target.to_string()).as_ref(), Ok(&target), "{text}"),
        Err(error) => assert!(error.contains("write HOST"), "{error}"),
    }
}

/// Whatever a name is, a query carries it unchanged.
fn word(text: &str) {
    let target = format!("/v1/neighbors/history?peer={}", api::query(text));
    match api::parse(Door::Local, "GET", &target) {
        Ok(request) => assert_eq!(request, Request::Show(Question::NeighborHistory(text.to_owned()))),
        Err(refusal) => assert!(text.is_empty(), "{target}: {refusal:?}"),
    }
}
