//! The web page: a few files that are in the program, and who may have them and what they read. The port is one that everybody on this
//! machine can reach, and a browser is asked by pages of others too. So what is not a metric is given only to who calls from this machine
//! and by a name that means this machine (a page of somebody else's, whose name was made to point here, gets nothing), and never to a
//! page of another origin. What is asked is read as on the socket, by `api::parse`, which knows no command behind this door.

use crate::api::Refusal;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue,
    REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::http::uri::Authority;
use hyper::{Method, Request, Response};
use std::net::{IpAddr, SocketAddr};

/// Path, kind and text of each file. In pieces, so that a browser may be forbidden every script that is written into a page.
const FILES: [(&str, &str, &str); 4] = [
    ("/", "text/html; charset=utf-8", include_str!("page/page.html")),
    ("/page.css", "text/css; charset=utf-8", include_str!("page/page.css")),
    ("/page.js", "text/javascript; charset=utf-8", include_str!("page/page.js")),
    ("/topology.js", "text/javascript; charset=utf-8", include_str!("page/topology.js")),
];
/// Answered as ever: Prometheus may come from elsewhere and by any name.
const FOR_ALL: [&str; 2] = ["/metrics", "/healthz"];
/// Nothing from elsewhere, nothing to elsewhere, in nobody's frame, and no text becomes a script or markup.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; \
    form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";
/// Fetch Metadata: whose page it is that lets a browser ask. Other programs do not send it.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// See there.
const FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// Both ends of a connection to the port.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    from: IpAddr,
    to: IpAddr,
}

impl Ends {
    pub(super) fn new(from: SocketAddr, to: SocketAddr) -> Self {
        // An IPv4 caller of a socket for both families has an address of IPv6.
        Self { from: from.ip().to_canonical(), to: to.ip().to_canonical() }
    }

    /// Who has our address, or one that never leaves a machine, is at this one.
    fn is_here(self) -> bool {
        self.from.is_loopback() || self.from == self.to
    }
}

/// A file of the page, or `None` for what `api::parse` reads.
///
/// # Errors
/// With the reason for which who asks gets neither.
pub(super) fn serve<B>(ends: Ends, request: &Request<B>) -> Result<Option<Response<Full<Bytes>>>, Refusal> {
    let path = request.uri().path();
    if FOR_ALL.contains(&path) {
        return Ok(None);
    }
    if !ends.is_here() {
        let remedy =
            "there, or with `ssh -L 9179:127.0.0.1:9179 NODE` open http://localhost:9179 (with the port of `api.http`)";
        return Err(Refusal::new(403, "the web page is for whoever is at this machine", remedy));
    }
    if !is_meant(ends, request) {
        return Err(Refusal::new(421, "this address has other names", "open http://localhost, with the port"));
    }
    if is_of_another_page(path, request.headers()) {
        return Err(Refusal::new(403, "a page of another origin asks", "open http://localhost, with the port"));
    }
    let Some((_, kind, text)) = FILES.into_iter().find(|(name, ..)| *name == path) else {
        return Ok(None);
    };
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        return Err(Refusal::new(405, format!("{} {path} is not possible", request.method()), "use GET"));
    }
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    Ok(Some(response))
}

/// What every answer of the port tells a browser.
pub(super) fn dress<B>(mut response: Response<B>) -> Response<B> {
    let said = [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ];
    for (name, value) in said {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    if let Some(allowed) = response.headers_mut().get_mut(ALLOW) {
        *allowed = HeaderValue::from_static("GET, HEAD");
    }
    response
}

/// The request names this machine, once, and wherever it can.
fn is_meant<B>(ends: Ends, request: &Request<B>) -> bool {
    let mut hosts = request.headers().get_all(HOST).iter();
    let (host, second) = (hosts.next().and_then(|host| host.to_str().ok()), hosts.next());
    let in_target = request.uri().authority().is_none_or(|authority| is_name_of(ends, authority.as_str()));
    second.is_none() && in_target && host.is_some_and(|host| is_name_of(ends, host))
}

/// A name that cannot mean another machine: `localhost`, an address of the loopback, or the one that was called.
fn is_name_of(ends: Ends, host: &str) -> bool {
    // RFC 9110 §7.2: a host with an optional port, and nobody's name before it.
    let Some(authority) = host.parse::<Authority>().ok().filter(|_| !host.contains('@')) else { return false };
    let name = authority.host();
    match name.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback() || address.to_canonical() == ends.to,
        Err(_) => name.eq_ignore_ascii_case("localhost"),
    }
}

/// A browser asks for a page of another origin: that one may lead to our page, and nowhere else.
fn is_of_another_page(path: &str, headers: &HeaderMap) -> bool {
    let is_led_here = path == "/" && headers.get(FETCH_MODE).is_some_and(|mode| mode == "navigate");
    headers.get(FETCH_SITE).is_some_and(|site| site != "same-origin" && site != "none") && !is_led_here
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(from: &str, to: &str) -> Ends {
        let end = |ip: &str| SocketAddr::new(ip.parse().unwrap(), 9_179);
        Ends::new(end(from), end(to))
    }

    /// What becomes of a request: a file, nothing of it here, or a refusal.
    #[derive(Debug, PartialEq)]
    enum Becomes {
        File,
        Question,
        Refused(u16),
    }
    use Becomes::{File, Question, Refused};

    fn ask(ends: Ends, line: &str, headers: &[(&str, &str)]) -> Becomes {
        let (method, target) = line.split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        match serve(ends, &request.body(()).unwrap()) {
            Ok(Some(_)) => File,
            Ok(None) => Question,
            Err(refusal) => Refused(refusal.status),
        }
    }

    #[test]
    fn names_of_this_machine() {
        let called = ends("127.0.0.1", "127.0.0.1");
        for name in
            ["localhost", "LOCALHOST:9179", "127.0.0.1", "127.1.2.3:1", "[::1]:9179", "[::1]", "[::ffff:127.0.0.1]:80"]
        {
            assert!(is_name_of(called, name), "{name}");
        }
        let others = [
            "",
            "example.com",
            "localhost.example.com",
            "localhost.",
            "10.69.0.3:9179",
            "[fd00::1]",
            "user@localhost",
            "a b",
            "localhost/x",
            "http://localhost/",
            "2130706433",
            "0x7f.1",
            "0.0.0.0",
        ];
        for name in others {
            assert!(!is_name_of(called, name), "{name}");
        }
        assert!(is_name_of(ends("10.69.0.3", "10.69.0.3"), "10.69.0.3:9179"), "the address that was called");
        assert!(!is_name_of(ends("10.69.0.3", "10.69.0.3"), "10.69.0.4:9179"));
    }

    #[test]
    fn who_is_at_this_machine() {
        for (from, to) in
            [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("10.69.0.4", "10.69.0.4"), ("::ffff:127.0.0.1", "::1")]
        {
            assert!(ends(from, to).is_here(), "{from} {to}");
        }
        for (from, to) in [("10.69.0.5", "10.69.0.4"), ("fe80::1", "fe80::2"), ("::ffff:10.0.0.1", "::1")] {
            assert!(!ends(from, to).is_here(), "{from} {to}");
        }
    }

    #[test]
    fn files_and_questions_are_for_this_machine_alone() {
        let here = ends("127.0.0.1", "127.0.0.1");
        let host = ("host", "localhost:9179");
        for (path, ..) in FILES {
            assert_eq!(ask(here, &format!("GET {path}"), &[host]), File, "{path}");
            assert_eq!(ask(here, &format!("HEAD {path}"), &[host]), File, "{path}");
            assert_eq!(ask(here, &format!("POST {path}"), &[host]), Refused(405), "{path}");
        }
        let question = "GET /v1/neighbors";
        assert_eq!(ask(here, question, &[host]), Question, "read by the API");
        for line in ["GET /", "GET /page.js", question, "GET /nothing"] {
            assert_eq!(ask(here, line, &[("host", "evil.example:9179")]), Refused(421), "{line}");
            assert_eq!(ask(here, line, &[]), Refused(421), "{line}");
            assert_eq!(ask(here, line, &[host, ("host", "evil.example")]), Refused(421), "{line}");
            assert_eq!(ask(ends("10.69.0.9", "10.69.0.4"), line, &[("host", "10.69.0.4")]), Refused(403), "{line}");
        }
        assert_eq!(ask(here, "GET http://evil.example/v1/neighbors", &[host]), Refused(421));
        assert_eq!(ask(here, "GET http://localhost/v1/neighbors", &[host]), Question);
        for line in ["GET /metrics", "GET /healthz", "POST /metrics"] {
            let far = ends("10.69.0.9", "10.69.0.4");
            assert_eq!(ask(far, line, &[("host", "tor1.example")]), Question, "{line}: as ever");
        }
    }

    #[test]
    fn a_page_of_another_origin_may_lead_here_and_read_nothing() {
        let here = ends("127.0.0.1", "127.0.0.1");
        let from = |line, site, mode| {
            let headers = [("host", "localhost"), ("sec-fetch-site", site), ("sec-fetch-mode", mode)];
            ask(here, line, &headers)
        };
        let watch = "GET /v1/watch/events";
        assert_eq!(from(watch, "same-origin", "cors"), Question);
        assert_eq!(from(watch, "none", "navigate"), Question);
        assert_eq!(from("GET /", "cross-site", "navigate"), File);
        assert_eq!(from("GET /", "cross-site", "no-cors"), Refused(403));
        assert_eq!(from(watch, "cross-site", "navigate"), Refused(403));
        assert_eq!(from(watch, "cross-site", "no-cors"), Refused(403));
        assert_eq!(from(watch, "same-site", "cors"), Refused(403), "another port of this machine");
    }

    #[test]
    fn nothing_that_is_written_into_the_page_runs() {
        let page = FILES[0].2;
        assert!(!POLICY.contains("unsafe") && !POLICY.contains("http"), "{POLICY}");
        for word in ["<style", "style=", "javascript:", "http:", "https:", "<script>"] {
            assert!(!page.contains(word), "{word}");
        }
        let handler = |text: &str| text.split([' ', '\n']).any(|word| word.starts_with("on") && word.contains("=\""));
        assert!(handler("<b onclick=\"x\">") && !handler(page));
        // What peers say is text: nothing makes markup of it, and the policy would stop it.
        for (path, _, text) in FILES {
            for word in
                ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "DOMParser"]
            {
                assert!(!text.contains(word), "{path}: {word}");
            }
        }
    }

    #[test]
    fn answers_tell_a_browser_what_not_to_do() {
        let dressed = dress(Response::new(()));
        let said = |name: &str| dressed.headers()[name].to_str().unwrap();
        assert_eq!((said("x-content-type-options"), said("cross-origin-resource-policy")), ("nosniff", "same-origin"));
        assert_eq!(said("content-security-policy"), POLICY);
        assert!(dressed.headers().keys().all(|name| !name.as_str().starts_with("access-control")), "no CORS");
    }
}
