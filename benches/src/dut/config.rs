//! The configuration of each daemon: as the reference of the comparison says, with as many neighbors as the case needs.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::Path;

use super::{Manner, Variant};
use crate::session::Seat;

/// Our AS in every case.
pub const ASN: u32 = 65_000;

pub(super) fn bird(manner: Manner, seats: &[Seat]) -> String {
    let mode = if manner.is_passive() { "passive yes;" } else { "connect delay time 1; connect retry time 1;" };
    let kernel = if manner.installs() {
        "protocol kernel { ipv4 { import none; export all; }; merge paths yes limit 64; }\n"
    } else {
        ""
    };
    let bfd = if seats.iter().any(|seat| seat.has_bfd) {
        "protocol bfd { interface \"*\" { interval 50 ms; multiplier 3; }; }\n"
    } else {
        ""
    };
    let mut out = format!(
        "log \"bird.log\" {{ warning, error, fatal }};\nrouter id 10.0.0.1;\nprotocol device {{ }}\n{kernel}\
         {bfd}template bgp T {{\n  {mode} hold time 180; check link yes; error wait time 1, 1;\n  ipv4 {{ import all; export all; next hop self; }};\n}}\n"
    );
    for (number, seat) in seats.iter().enumerate() {
        let mute = if seat.is_told { "" } else { " ipv4 { export none; };" };
        let bfd = if seat.has_bfd { " bfd on;" } else { "" };
        let Seat { theirs, ours, asn, .. } = seat;
        let _ = writeln!(
            out,
            "protocol bgp p{number} from T {{ local {theirs} as {ASN}; neighbor {ours} as {asn};{mute}{bfd} }}"
        );
    }
    out
}

pub(super) fn weft(manner: Manner, seats: &[Seat], socket: &Path, variant: Variant) -> String {
    let (passive, install) = (manner.is_passive(), manner.installs());
    let compat = if variant.keeps { "keep" } else { "fast" };
    let import = if variant.imports { "import_kernel: [{table: 119, protocol: 30}]\n" } else { "" };
    let mut out = format!(
        "role: spine\nasn: {ASN}\nrouter_id: 10.0.0.1\nfib: {{install: {install}, nexthop_compat: {compat}}}\n\
         {import}timers: {{hold_s: 180, connect_retry_ms: 1000}}\napi: {{socket: {}}}\npeers:\n",
        socket.display()
    );
    for (number, seat) in seats.iter().enumerate() {
        let mute = if seat.is_told { "" } else { ", export: reject-all" };
        let bfd = if seat.has_bfd { ", bfd: {interval: 50ms, multiplier: 3}" } else { "" };
        let kept = if seat.is_kept { ", graceful_restart_s: 120, keep_over_link_loss: true" } else { "" };
        let Seat { ours, asn, .. } = seat;
        let _ =
            writeln!(out, "  p{number}: {{address: {ours}, remote_asn: {asn}, passive: {passive}{mute}{bfd}{kept}}}");
    }
    out
}

pub(super) fn frr(manner: Manner, seats: &[Seat], is_tuned: bool) -> String {
    let mode = if manner.is_passive() { " neighbor T passive\n" } else { " neighbor T timers connect 1\n" };
    // Its default is min(10 s, peers × 50 ms) before a group of peers is told for the first time.
    let tuned = if is_tuned { " coalesce-time 0\n" } else { "" };
    let mut out = format!(
        "frr defaults traditional\nlog file bgpd.log warnings\nip prefix-list NONE seq 5 deny any\nrouter bgp {ASN}\n \
         bgp router-id 10.0.0.1\n no bgp ebgp-requires-policy\n no bgp network import-check\n \
         bgp bestpath as-path multipath-relax\n timers bgp 60 180\n{tuned} neighbor T peer-group\n \
         neighbor T advertisement-interval 0\n{mode}"
    );
    for Seat { ours, asn, .. } in seats {
        let _ = write!(out, " neighbor {ours} remote-as {asn}\n neighbor {ours} peer-group T\n");
    }
    for Seat { ours, .. } in seats.iter().filter(|seat| seat.has_bfd) {
        let _ = writeln!(out, " neighbor {ours} bfd 3 50 50");
    }
    out.push_str(" address-family ipv4 unicast\n  neighbor T next-hop-self\n  maximum-paths 64\n");
    for Seat { ours, .. } in seats.iter().filter(|seat| !seat.is_told) {
        let _ = writeln!(out, "  neighbor {ours} prefix-list NONE out");
    }
    out.push_str(" exit-address-family\n");
    out
}

pub(super) fn gobgp(manner: Manner, seats: &[Seat]) -> String {
    let passive = manner.is_passive();
    let mut out = format!(
        "[global.config]\n as = {ASN}\n router-id = \"10.0.0.1\"\n[global.use-multiple-paths.config]\n enabled = true\n"
    );
    for Seat { ours, asn, .. } in seats {
        let _ = write!(
            out,
            "[[neighbors]]\n[neighbors.config]\n neighbor-address = \"{ours}\"\n peer-as = {asn}\n\
             [neighbors.timers.config]\n hold-time = 180\n keepalive-interval = 60\n connect-retry = 1\n \
             idle-hold-time-after-reset = 1\n[neighbors.transport.config]\n passive-mode = {passive}\n\
             [[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\n afi-safi-name = \"ipv4-unicast\"\n"
        );
    }
    out
}

pub(super) fn openbgpd(manner: Manner, seats: &[Seat], socket: &Path) -> String {
    let passive = if manner.is_passive() { " passive\n" } else { "" };
    let mut listen: Vec<Ipv4Addr> = seats.iter().map(|seat| seat.theirs).collect();
    listen.dedup();
    let mut out = format!("AS {ASN}\nrouter-id 10.0.0.1\nholdtime 180\nfib-update no\n");
    for address in listen {
        let _ = writeln!(out, "listen on {address}");
    }
    let _ = writeln!(out, "socket \"{}\"\n", socket.display());
    for Seat { ours, asn, .. } in seats {
        let _ = write!(
            out,
            "neighbor {ours} {{\n remote-as {asn}\n{passive} announce IPv4 unicast\n set nexthop self\n}}\n"
        );
    }
    out.push_str("allow from any\nallow to any\n");
    for Seat { ours, .. } in seats.iter().filter(|seat| !seat.is_told) {
        let _ = writeln!(out, "deny to {ours}");
    }
    out
}
