//! Replays the committed corpus of every fuzz target (`netboot/fuzz/corpus/TARGET/*`) without a fuzzer.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests")]

#[path = "../fuzz/src/lib.rs"]
#[allow(unreachable_pub, dead_code, reason = "a library for the fuzz targets, a module here")]
mod harness;

#[path = "../../bgp/fuzz/src/replay.rs"]
mod replay;

use replay::replay;

#[test]
fn query() {
    replay("query", harness::query);
}

#[test]
fn documents() {
    replay("documents", harness::documents);
}

#[test]
fn store() {
    replay("store", harness::store);
}

#[test]
fn enrol() {
    replay("enrol", harness::enrol::enrol);
}

#[test]
fn rest() {
    replay("rest", harness::api::rest);
}

#[test]
fn graphql() {
    replay("graphql", harness::api::graphql);
}

#[test]
fn dhcp4() {
    replay("dhcp4", harness::dhcp::dhcp4);
}

#[test]
fn dhcp4_server() {
    replay("dhcp4_server", harness::dhcp::dhcp4_server);
}

#[test]
fn dhcp6() {
    replay("dhcp6", harness::dhcp6::dhcp6);
}

#[test]
fn dhcp6_server() {
    replay("dhcp6_server", harness::dhcp6::dhcp6_server);
}

#[test]
fn keys() {
    replay("keys", harness::keys::keys);
}

#[test]
fn tftp() {
    replay("tftp", harness::tftp::tftp);
}

#[test]
fn redfish() {
    replay("redfish", harness::redfish::redfish);
}

#[test]
fn ipmi() {
    replay("ipmi", harness::ipmi::ipmi);
}

#[test]
fn template() {
    replay("template", harness::template::template);
}
