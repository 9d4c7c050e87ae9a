//! Each check in every state, from a picture in which all is well.

use super::*;
use crate::api::Dhcp;
use serde_json::{Value, json};

/// All of a node whose things are as `changes` says: lists of the API's answers by their names.
fn lines(changes: Value) -> Vec<Check> {
    let read = |name: &str| changes.get(name).cloned();
    fn list<T: serde::de::DeserializeOwned>(value: Option<Value>) -> Vec<T> {
        value.map(|value| serde_json::from_value(value).unwrap()).unwrap_or_default()
    }
    let summary = SpeakerSummary {
        prefixes: 12,
        paths_received: [20, 0],
        originated: 1,
        converged: read("waiting").is_none(),
        waiting_for: list(read("waiting")),
        fib_changes_waiting: 0,
        fib_failed: read("fib_failed").and_then(|value| value.as_u64()).unwrap_or_default(),
        held_back: read("held_back").and_then(|value| value.as_u64()).unwrap_or_default(),
    };
    let bfd: BfdSessions = read("bfd").map(|value| serde_json::from_value(value).unwrap()).unwrap_or_default();
    let fib: Option<FibReport> = read("fib").map(|value| serde_json::from_value(value).unwrap());
    let imports: Option<Vec<LeftOut>> = read("imports").map(|value| serde_json::from_value(value).unwrap());
    let certificate = read("certificate").map(|value| Certificate {
        expires_in_s: value["expires_in_s"].as_i64(),
        broken: value["broken"].as_str().map(str::to_owned),
        renewed: 0,
    });
    examine(&Picture {
        uptime_s: 3_000,
        neighbors: &list(read("neighbors")),
        interfaces: &list(read("interfaces")),
        addresses: &list(read("addresses")),
        losses: &list(read("losses")),
        unresolved: &list(read("unresolved")),
        summary: &summary,
        fib: fib.as_ref(),
        imports: imports.as_deref(),
        bfd: &bfd,
        vips: &list(read("vips")),
        dhcp: &read("dhcp").map_or_else(Dhcp::default, |value| serde_json::from_value(value).unwrap()),
        drains: &list(read("drains")),
        rpki: &list(read("rpki")),
        observers: &list(read("observers")),
        sandbox: read("sandbox").map(|value| serde_json::from_value(value).unwrap()).as_ref(),
        certificate: certificate.as_ref(),
    })
}

/// `base` with other fields.
fn with(mut base: Value, changes: Value) -> Value {
    if let (Some(base), Value::Object(changes)) = (base.as_object_mut(), changes) {
        base.extend(changes);
    }
    base
}

fn neighbor(changes: Value) -> Value {
    let base = json!({
        "name": "tor1", "address": "10.0.0.1", "interface": null, "remote_asn": 64601, "expected_asn": "64601", "router_id": null,
        "state": "Established", "since_s": 70, "hold_time_s": 9, "prefixes_received": {"ipv4": 3, "ipv6": 0},
        "prefixes_sent": {"ipv4": 1, "ipv6": 0}, "max_prefixes": null, "updates_rejected": 0, "prefixes_rejected": 0, "withdraw_faults": 0,
        "updates_received": 1, "updates_sent": 1, "messages_received": 9, "messages_sent": 9, "established": 1, "dropped": 0,
        "last_error": null, "shutdown": null, "dynamic": false
    });
    with(base, changes)
}

fn interface(changes: Value) -> Value {
    let base = json!({
        "name": "eth0", "index": 2, "up": true, "carrier": true, "damped": 0, "kind": "veth", "master": null, "mtu": 1500, "mac": "",
        "addresses": [{"net": "10.0.0.2/24", "tentative": false}], "discovered": null, "neighbors": ["tor1"]
    });
    with(base, changes)
}

pub(crate) fn session(changes: Value) -> Value {
    let base = json!({
        "neighbor": "tor1", "address": "10.0.0.1", "interface": "eth0", "state": "Up", "since_s": 3, "diagnostic": "no diagnostic",
        "remote_state": "Up", "remote_diagnostic": "", "discriminator": 1, "remote_discriminator": 2, "remote_independent": false,
        "transmit_us": 300000, "detection_us": 900000, "received": 1, "transmitted": 1, "ups": 1, "failures": 0, "out_of_use": false,
        "error": null
    });
    with(base, changes)
}

pub(crate) fn bfd(sessions: Value, starved: u64) -> Value {
    json!({
        "sessions": sessions, "scheduling": "nice -20", "starved": starved, "starved_longest_us": 140_000, "refused": 0, "discarded": {}
    })
}

pub(crate) fn vip(changes: Value) -> Value {
    let base = json!({
        "name": "boot", "addresses": ["10.71.255.6/32"], "state": "up", "announced": true, "alarm": false, "since_ms": 1, "reason": "",
        "check": null, "good": null, "checked_ms_ago": null, "last_error": null, "set_down": false, "held_down_ms": null,
        "on_last": "keep", "other_origin": false, "weight": null, "checks": 0, "checks_failed": 0, "announced_times": 1,
        "withdrawn_times": 0
    });
    with(base, changes)
}

pub(crate) fn cache(address: &str, expires: Option<u64>, active: bool) -> Value {
    let error = if expires.is_none() { Some("Connection refused") } else { None };
    json!({
        "address": address, "state": "established", "active": active, "version": 1, "session": 7, "serial": 1, "vrps": [9, 1],
        "expires_in_s": expires, "pdus": 1, "last_error": error
    })
}

pub(crate) fn observer(changes: Value) -> Value {
    let base = json!({
        "name": "192.0.2.100:5000", "kind": "bmp", "connected": true, "synchronized": true, "messages": 1, "waiting_bytes": 0,
        "dropped": 0, "connects": 1, "overflows": 0, "last_error": null
    });
    with(base, changes)
}

pub(crate) fn fib(changes: Value) -> Value {
    let base = serde_json::to_value(FibReport { install: true, routes: 12, ..FibReport::default() }).unwrap();
    with(base, changes)
}

pub(crate) fn health(changes: Value) -> Value {
    with(
        serde_json::to_value(crate::fib::FibHealth { dumps: 9, dump_age_s: 12, ..Default::default() }).unwrap(),
        changes,
    )
}

#[test]
fn every_check_has_its_name_and_nothing_is_wrong_where_nothing_is_wanted() {
    let all = lines(json!({}));
    assert_eq!(all.iter().map(|check| check.name.as_str()).collect::<Vec<_>>(), NAMES);
    let readme = include_str!("../../README.md");
    assert!(NAMES.iter().all(|name| readme.contains(&format!("| `{name}` |"))), "the README has all of them");
    for check in &all {
        assert_eq!((check.state, check.remedy.as_deref()), (State::Ok, None), "{check:?}");
    }
}

/// Sessions and links.
fn cases_of_neighbors() -> Vec<(&'static str, Value)> {
    vec![
        ("waiting for a table", json!({"waiting": ["tor1", "tor2"]})),
        (
            "all is well",
            json!({
                "neighbors": [neighbor(json!({})), neighbor(json!({"name": "old", "state": "Idle", "shutdown": "being moved"}))],
                "interfaces": [interface(json!({}))], "addresses": ["10.0.0.2/32"], "fib": fib(json!({"health": health(json!({}))})),
                "bfd": bfd(json!([session(json!({}))]), 0), "vips": [vip(json!({}))], "rpki": [cache("192.0.2.50:323", Some(60), true)],
                "observers": [observer(json!({}))], "losses": [["tor1", 1]]
            }),
        ),
        (
            "no session",
            json!({"neighbors": [
            neighbor(json!({})), neighbor(json!({"name": "tor2", "state": "Active", "last_error": "Connection refused"})),
            neighbor(json!({"name": "eth1", "interface": "eth1", "address": null, "state": "Idle"})),
            neighbor(json!({"name": "eth2", "interface": "eth2", "address": null, "state": "Idle"})),
            neighbor(json!({"name": "eth3", "interface": "eth3", "address": null, "state": "Idle"}))
        ], "interfaces": [interface(json!({"carrier": false})), interface(json!({"name": "eth1", "up": false, "neighbors": ["eth1"]}))]}),
        ),
        (
            "a link without IPv6",
            json!({"neighbors": [
                neighbor(json!({"interface": "eth0", "address": null, "state": "Idle"})),
                neighbor(json!({"name": "eth1", "interface": "eth1", "address": null, "state": "Idle"})),
            ], "interfaces": [interface(json!({})), interface(json!({
                "name": "eth1", "neighbors": ["eth1"], "addresses": [{"net": "fe80::1/64", "tentative": true}]
            }))]}),
        ),
        (
            "a caller that left",
            json!({"neighbors": [neighbor(json!({"name": "10.0.0.9", "state": "Idle", "dynamic": true}))]}),
        ),
        ("flaps", json!({"losses": [["tor1", 5], ["tor2", 2]], "interfaces": [interface(json!({"damped": 6}))]})),
        (
            "a rest",
            json!({"neighbors": [neighbor(json!({"state": "Active", "resting_s": 12, "last_error": "hold timer expired"}))]}),
        ),
        ("near a limit", json!({"neighbors": [neighbor(json!({"max_prefixes": 3}))]})),
        ("an old policy", json!({"neighbors": [neighbor(json!({"old_policy": 17}))]})),
        ("held back", json!({"held_back": 2})),
        ("cabling", json!({"interfaces": [interface(json!({"miswired": "tor2 is there, tor1 must be"}))]})),
        ("a third router", json!({"interfaces": [interface(json!({"other_router": "fe80::3"}))]})),
    ]
}

/// All the rest.
fn other_cases() -> Vec<(&'static str, Value)> {
    let dead = json!({"state": "Down", "out_of_use": true, "diagnostic": "control detection time expired"});
    let silent = json!({"state": "Down", "remote_discriminator": 0});
    let down = json!({"state": "down", "announced": false, "last_error": "status 503"});
    vec![
        ("addresses", json!({"addresses": ["10.69.0.4/32"]})),
        (
            "somebody else's address",
            json!({"interfaces": [interface(json!({
            "addresses": [{"net": "10.0.0.2/24", "tentative": false, "duplicate": true}]}))]}),
        ),
        ("next hops", json!({"unresolved": [["10.9.9.9", 4], ["10.9.9.8", 1]]})),
        (
            "refused",
            json!({"fib": fib(json!({"failed": 2, "failures": [
            {"what": "10.0.0.0/8", "reason": "exists", "tries": 3}, {"what": "10.1.0.0/16", "reason": "exists", "tries": 1}],
            "conflicts": ["10.0.0.0/8"]}))}),
        ),
        ("not as wanted", json!({"fib": fib(json!({})), "fib_failed": 2})),
        ("not compared", json!({"fib": fib(json!({"health": health(json!({"dump_age_s": 900}))}))})),
        ("nobody alive", json!({"fib": fib(json!({"waiting": 1}))})),
        (
            "disturbed",
            json!({"fib": fib(json!({"health": health(json!({"deleters": [
            {"who": "systemd-networkd (process 312)", "count": 40, "ago_s": 60}, {"who": "ip", "count": 1, "ago_s": 9000}]}))}))}),
        ),
        ("imports", json!({"imports": []})),
        ("too many imports", json!({"imports": [{"table": 119, "protocol": 30, "routes": 3}]})),
        ("a broken path", json!({"bfd": bfd(json!([session(dead), session(json!({}))]), 9)})),
        (
            "BFD at one end",
            json!({"bfd": bfd(json!([session(silent), session(json!({"state": "Down", "remote_state": "AdminDown"}))]), 1)}),
        ),
        (
            "the last origin",
            json!({"vips": [vip(json!({"state": "kept", "alarm": true, "last_error": "status 503"}))]}),
        ),
        ("announced by nobody", json!({"vips": [vip(down.clone())]})),
        ("announced by others", json!({"vips": [vip(with(down.clone(), json!({"other_origin": true})))]})),
        ("held down", json!({"vips": [vip(with(down, json!({"set_down": true})))]})),
        ("no cache", json!({"rpki": [cache("192.0.2.50:323", None, false)]})),
        (
            "the second cache",
            json!({"rpki": [cache("192.0.2.50:323", None, false), cache("192.0.2.51:323", Some(9), true)]}),
        ),
        (
            "observers",
            json!({"observers": [
            observer(json!({"connected": false, "last_error": "Connection refused"})), observer(json!({"overflows": 2})),
            observer(json!({"name": "/var/log/updates.mrt", "kind": "mrt", "dropped": 7}))]}),
        ),
        (
            "an old kernel",
            json!({"sandbox": {"capabilities": ["NET_ADMIN"], "bounding": ["NET_ADMIN"], "no_new_privs": true, "landlock": false,
            "seccomp": true, "missing": ["landlock: this kernel has none (CONFIG_SECURITY_LANDLOCK, Linux 5.13)"]}}),
        ),
        ("a certificate that expires next week", json!({"certificate": {"expires_in_s": 7 * 86_400}})),
        ("a certificate that has expired", json!({"certificate": {"expires_in_s": -90}})),
        (
            "certificates that do not fit together",
            json!({"certificate": {"expires_in_s": 86_400 * 90, "broken": "api.remote.cert: /etc/weft/a.pem: keys may not be consistent\n  remedy: …"}}),
        ),
    ]
}

#[test]
fn every_check_says_what_is_wrong_and_what_to_do() {
    let mut text = String::new();
    for (title, changes) in cases_of_neighbors().into_iter().chain(other_cases()) {
        text.push_str(&format!("--- {title}\n"));
        let all = lines(changes);
        let whole = title == "all is well";
        for check in
            all.iter().filter(|check| whole || check.state != State::Ok || title == "held down" && check.name == "vips")
        {
            text.push_str(&format!("{:4}  {}: {}\n", check.state, check.name, check.fact));
            assert_eq!(check.remedy.is_none(), check.state == State::Ok, "{check:?}");
            if let Some(remedy) = &check.remedy {
                text.push_str(&format!("      {remedy}\n"));
            }
        }
    }
    insta::assert_snapshot!("checks", text);
}

#[test]
fn a_relay_whose_machines_get_no_address_is_told() {
    let of = |port: Value, of_servers: Value| {
        let base =
            json!({"name": "eth4", "family": "ipv4", "to_servers": 2, "to_clients": 2, "leases": 1, "dropped": {}});
        let relay = json!({"servers": ["10.72.0.1"], "giaddr": "10.69.255.1", "gateway": "10.69.1.1/26", "unnumbered": true,
            "ports": [with(base, port)], "dropped": of_servers});
        let all = lines(json!({"dhcp": {"relay": relay, "leases": []}}));
        let check = all.into_iter().find(|check| check.name == "dhcp").unwrap();
        format!("{} {}", check.state, check.fact)
    };
    let none = json!({});
    assert_eq!(of(none.clone(), none.clone()), "ok 1 server port, 0 leases");
    for (port, of_servers, fact) in [
        (json!({"dropped": {"rogue": 3}}), none.clone(), "warn a DHCP server speaks on eth4 (3)"),
        (json!({"dropped": {"full": 1}}), none.clone(), "warn there are as many leases as there may be on eth4 (1)"),
        (
            json!({"dropped": {"outside": 1}}),
            none.clone(),
            "warn servers lend what is not of `gateway`'s network on eth4 (1)",
        ),
        (
            none.clone(),
            json!({"circuit": 4}),
            "warn 4 replies named no port: their server does not echo option 82 (RFC 3046 §2.2) or the Interface-Id (RFC 8415 §21.18)",
        ),
        (json!({"to_clients": 0}), none.clone(), "warn no server has ever answered machines on eth4"),
        (
            json!({"to_clients": 0, "family": "ipv6"}),
            none.clone(),
            "warn no server has ever answered machines on eth4 by DHCPv6",
        ),
        (json!({"dropped": {"rate": 9}}), none, "ok 1 server port, 0 leases"),
    ] {
        assert_eq!(of(port, of_servers), fact);
    }
}
