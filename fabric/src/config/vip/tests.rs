//! Section `vips`: defaults, URLs, and slips with their remedy.

use super::super::parse;
use super::*;
use crate::config::NodeConfig;

const HEAD: &str = "role: host\nasn: 4200000104\naddresses: [10.69.0.4/32]\nuplinks: [eth0]\nvips:\n  web: ";

fn read(entry: &str) -> Result<NodeConfig, String> {
    let text = format!("{HEAD}{entry}\n");
    parse("weft.yaml", &text).and_then(|config| config.node()).map_err(|error| error.to_string())
}

fn probe(entry: &str) -> ProbeConfig {
    let CheckConfig::Probe(probe) = read(entry).unwrap().vips[0].check.clone() else { panic!("{entry}: no probe") };
    probe
}

#[test]
fn what_is_left_out_has_a_default() {
    let node = read("{address: 10.71.255.6/32, check: {tcp: '127.0.0.1:80'}}").unwrap();
    let vip = &node.vips[0];
    assert_eq!((vip.name.as_str(), vip.on_last), ("web", OnLast::Withdraw));
    assert_eq!(
        (vip.drain, vip.shed, vip.hold_down),
        (Duration::from_secs(5), Duration::from_secs(1), Duration::from_secs(1))
    );
    let check = probe("{address: 10.71.255.6/32, check: {tcp: '127.0.0.1:80'}}");
    assert_eq!((check.rise, check.fall, check.every), (2, 2, Duration::from_secs(1)));
    assert_eq!(
        probe("{address: 10.7.0.1/32, check: {file: /run/ok, every: 200ms}}").timeout,
        Duration::from_millis(200)
    );
    let boot = HEAD.replace("host", "boot") + "{address: 10.71.255.6/32}\n";
    assert_eq!(parse("t", &boot).unwrap().node().unwrap().vips[0].on_last, OnLast::Keep, "boot servers keep");
}

#[test]
fn urls_name_addresses() {
    let of = |url: &str| {
        let probe = probe(&format!("{{address: 10.71.255.6/32, check: {{http: '{url}'}}}}")).probe;
        let Probe::Http { address, host, target, tls: None } = probe else { panic!("{url}: {probe:?}") };
        format!("{address} {host} {target}")
    };
    assert_eq!(of("http://127.0.0.1:10080/health?full=1"), "127.0.0.1:10080 127.0.0.1:10080 /health?full=1");
    assert_eq!(of("http://localhost"), "127.0.0.1:80 localhost /");
    assert_eq!(of("http://[::1]:8080/"), "[::1]:8080 [::1]:8080 /");
    assert_eq!(of("http://[::1]/x"), "[::1]:80 [::1] /x");
}

#[test]
fn who_is_believed_over_tls_is_said_or_the_system_says_it() {
    let of = |check: &str| {
        let probe = probe(&format!("{{address: 10.71.255.6/32, check: {{{check}}}}}")).probe;
        let text = probe.to_string();
        let Probe::Http { address, tls: Some(tls), .. } = probe else { panic!("{check}: {probe:?}") };
        (address.to_string(), text, tls.server_name, tls.trust)
    };
    let said =
        |address: &str, text: &str, name: &str, trust| (address.to_owned(), text.to_owned(), name.to_owned(), trust);
    assert_eq!(
        of("http: 'https://127.0.0.1/health'"),
        said("127.0.0.1:443", "https://127.0.0.1/health", "127.0.0.1", Trust::System)
    );
    assert_eq!(of("http: 'https://localhost:8443'").2, "localhost");
    assert_eq!(of("http: 'https://[::1]:8443/'").2, "::1");
    assert_eq!(
        of("http: 'https://127.0.0.1:6443/livez', ca_file: /etc/pki/ca.crt, server_name: kubernetes"),
        said("127.0.0.1:6443", "https://127.0.0.1:6443/livez", "kubernetes", Trust::File("/etc/pki/ca.crt".into()))
    );
    assert_eq!(of("http: 'https://127.0.0.1/', insecure: true").3, Trust::Anything);
    assert_eq!(of("http: 'https://127.0.0.1/', insecure: false, ca_file: /ca").3, Trust::File("/ca".into()));
}

#[test]
fn slips_are_named_with_their_field_and_remedy() {
    for (entry, field, words) in [
        ("{check: {tcp: '127.0.0.1:80'}}", "vips.web", "no address"),
        ("{address: 10.71.255.0/24}", "vips.web", "is a range"),
        ("{address: 10.69.0.4/32}", "vips.web", "already"),
        ("{addresses: [10.7.0.1/32, 10.7.0.1/32]}", "vips.web", "already"),
        ("{address: 10.7.0.1/32, weight: 0}", "vips.web.weight", "no share"),
        ("{address: 10.7.0.1/32, drain: 2h}", "vips.web.drain", "more than an hour"),
        ("{address: 10.7.0.1/32, check: {}}", "vips.web.check", "one kind"),
        ("{address: 10.7.0.1/32, check: {tcp: '127.0.0.1:80', file: /x}}", "vips.web.check", "one kind"),
        ("{address: 10.7.0.1/32, check: {file: run/x}}", "vips.web.check.file", "absolute"),
        ("{address: 10.7.0.1/32, check: {file: /x, user: me}}", "vips.web.check.user", "command"),
        ("{address: 10.7.0.1/32, check: {exec: [curl]}}", "vips.web.check.exec", "absolute"),
        ("{address: 10.7.0.1/32, check: {exec: []}}", "vips.web.check.exec", "absolute"),
        ("{address: 10.7.0.1/32, check: {http: 'ftp://127.0.0.1/'}}", "vips.web.check.http", "no such URL"),
        (
            "{address: 10.7.0.1/32, check: {http: 'http://127.0.0.1/', ca_file: /x}}",
            "vips.web.check.ca_file",
            "only TLS",
        ),
        ("{address: 10.7.0.1/32, check: {file: /x, insecure: true}}", "vips.web.check.insecure", "only TLS"),
        (
            "{address: 10.7.0.1/32, check: {http: 'https://127.0.0.1/', ca_file: x}}",
            "vips.web.check.ca_file",
            "absolute",
        ),
        (
            "{address: 10.7.0.1/32, check: {http: 'https://127.0.0.1/', ca_file: /x, insecure: true}}",
            "check.insecure",
            "leave one",
        ),
        (
            "{address: 10.7.0.1/32, check: {http: 'https://127.0.0.1/', server_name: 'a b'}}",
            "check.server_name",
            "neither",
        ),
        ("{address: 10.7.0.1/32, check: {http: 'http://example.net/'}}", "vips.web.check.http", "no such URL"),
        ("{address: 10.7.0.1/32, check: {file: /x, every: 1ms}}", "vips.web.check.every", "too often"),
        ("{address: 10.7.0.1/32, check: {file: /x, fall: 0}}", "vips.web.check.fall", "decide nothing"),
        ("{address: 10.7.0.1/32, check: {file: /x, every: 200}}", "vips.web.check.every", "200ms"),
        ("{address: 10.7.0.1/32, chek: {}}", "vips.web", "did you mean `check`"),
    ] {
        let refused = read(entry).unwrap_err();
        assert!(refused.contains(field) && refused.contains(words), "{entry}: {refused}");
        assert!(refused.contains("remedy") || words == "200ms", "{entry}: {refused}");
    }
}
