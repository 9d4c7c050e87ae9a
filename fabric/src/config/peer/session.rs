//! How a session is run, as the file says it: what the OPEN offers, and how patient we are.

use super::super::file::BgpRole;
use super::super::node::Faults;
use super::{Draft, HOLD_S};
use weft_bgp::peer::{RemoteAs, SessionOptions};
use weft_bgp::types::Asn;
use weft_bgp::wire::capability::Role;

/// 24 bits on the wire (RFC 9494 §3.1).
const LONG_LIVED_MAX_S: u32 = 0x00ff_ffff;
/// Longest DelayOpen that still is one: the hold time of a connection without an OPEN is four minutes (RFC 4271 §8.2.2).
const DELAY_OPEN_MAX_MS: u32 = 240_000;

impl Draft<'_> {
    pub(super) fn session_options(&self, remote_asn: &RemoteAs, faults: &mut Faults<'_>) -> SessionOptions {
        let default = SessionOptions::default();
        let role_strict = self.pick(|p| &p.bgp_role_strict).unwrap_or(default.role_strict);
        let role = self.bgp_role(remote_asn, role_strict, faults);
        let long_lived_stale_s = self.pick(|p| &p.long_lived_stale_s);
        if long_lived_stale_s.is_some_and(|time| time > LONG_LIVED_MAX_S) {
            let path = format!("{}.long_lived_stale_s", self.path);
            faults.add(&path, "does not fit 24 bits (RFC 9494 §3.1)", "write 0..=16777215");
        }
        let is_graceful = self.pick(|p| &p.graceful_restart_s).or(self.config.graceful_restart_s) != Some(0);
        if long_lived_stale_s.is_some() && !is_graceful {
            faults.add(
                &format!("{}.long_lived_stale_s", self.path),
                "graceful restart is off here, and nothing is long-lived without it (RFC 9494 §3.1)",
                "take one of the two away",
            );
        }
        let keep_over_link_loss = self.pick(|p| &p.keep_over_link_loss).unwrap_or(default.keep_over_link_loss);
        if keep_over_link_loss && !is_graceful {
            faults.add(
                &format!("{}.keep_over_link_loss", self.path),
                "graceful restart is off here, and nothing is kept without it (RFC 4724)",
                "take one of the two away",
            );
        }
        let delay_open_ms = self.pick(|p| &p.delay_open_ms).unwrap_or(default.delay_open_ms);
        if delay_open_ms > DELAY_OPEN_MAX_MS {
            let path = format!("{}.delay_open_ms", self.path);
            faults.add(&path, format!("{delay_open_ms} is more than four minutes"), "write 0..=240000");
        }
        SessionOptions {
            role,
            role_strict,
            extended_message: self.pick(|p| &p.extended_messages).unwrap_or(default.extended_message),
            ttl_security: self.ttl_security(faults),
            long_lived_stale_s,
            notification_restart: self.pick(|p| &p.notification_restart).unwrap_or(default.notification_restart),
            keep_over_link_loss,
            delay_open_ms,
            damp_oscillations: self.pick(|p| &p.damp_oscillations).unwrap_or(default.damp_oscillations),
            // The whole of `bfd` is read apart.
            bfd_strict: default.bfd_strict,
            send_hold_s: self.send_hold(faults),
            hostname: self.config.hostname.clone().filter(|_| self.pick(|p| &p.tell_hostname).unwrap_or(true)),
            expect_hostname: self.expected_hostname(faults),
        }
    }

    /// RFC 9687 §4.4: zero, or greater than the hold time.
    fn send_hold(&self, faults: &mut Faults<'_>) -> Option<u32> {
        let hold_s = u32::from(self.pick(|p| &p.hold_s).or(self.config.timers.hold_s).unwrap_or(HOLD_S));
        let send_hold_s = self.pick(|p| &p.send_hold_s);
        if send_hold_s.is_some_and(|time| time > 0 && time <= hold_s) {
            faults.add(
                &format!("{}.send_hold_s", self.path),
                format!("is not longer than the hold time, {hold_s} s (RFC 9687 §4.4)"),
                format!("write {} or more, or 0 for never", hold_s + 1),
            );
        }
        send_hold_s
    }

    fn expected_hostname(&self, faults: &mut Faults<'_>) -> Option<String> {
        let name = self.pick(|p| &p.expect_hostname)?;
        if name.is_empty() || !name.bytes().all(|c| c.is_ascii_graphic()) {
            let path = format!("{}.expect_hostname", self.path);
            faults.add(&path, format!("`{name}` is no name of a machine"), "write the neighbour's `hostname`, as tor1");
        }
        Some(name)
    }

    fn bgp_role(&self, remote_asn: &RemoteAs, strict: bool, faults: &mut Faults<'_>) -> Option<Role> {
        let role = self.pick(|p| &p.bgp_role).map(|role| match role {
            BgpRole::Provider => Role::Provider,
            BgpRole::RouteServer => Role::RouteServer,
            BgpRole::RouteServerClient => Role::RouteServerClient,
            BgpRole::Customer => Role::Customer,
            BgpRole::Peer => Role::Peer,
        });
        if role.is_some() && *remote_asn == RemoteAs::Is(Asn(self.config.asn)) {
            let path = format!("{}.bgp_role", self.path);
            faults.add(
                &path,
                "roles are of external sessions (RFC 9234 §4), and this peer is internal",
                "take it away",
            );
        }
        if strict && role.is_none() {
            faults.add(
                &format!("{}.bgp_role_strict", self.path),
                "there is no `bgp_role` for the peer's to fit",
                "add `bgp_role: customer` (or provider, peer, route-server, route-server-client), or take it away",
            );
        }
        role
    }

    /// GTSM (RFC 5082).
    fn ttl_security(&self, faults: &mut Faults<'_>) -> Option<u8> {
        let ttl_security = self.pick(|p| &p.ttl_security);
        let path = format!("{}.ttl_security", self.path);
        if ttl_security.is_some_and(|hops| hops == 0 || hops == u8::MAX) {
            faults.add(&path, "a number of hops is within 1..=254", "write 1 for a peer on the link");
        }
        if ttl_security.is_some() && self.pick(|p| &p.multihop) == Some(true) {
            faults.add(
                &path,
                "`multihop` lets anybody speak whose packets arrive, and `ttl_security` only who is near",
                "keep `ttl_security` with the number of hops, and take `multihop` away",
            );
        }
        ttl_security
    }
}
