//! What a change of a peer's configuration costs, field by field. This is the one place that says so: the session acts by it
//! (`peer/arbiter`), the speaker does (`speaker/reconfigure`), and whoever asks beforehand is told it.
//!
//! Every field stands here by name, so that a new one does not compile before it is decided what its change means.

use super::{AddPath, Endpoint, NextHopRule, PeerConfig, RemoteAs, RouteOptions, SessionOptions};
use serde::{Deserialize, Serialize};

/// What follows from one change, or from several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effect {
    /// The peer is asked for its routes again (RFC 2918).
    pub import: bool,
    /// The peer is told its routes again, where they differ or not.
    pub export: bool,
    /// It counts from the next session on; the one that stands goes on.
    pub next_session: bool,
    /// The session ends and begins again.
    pub ends: Option<Ends>,
}

/// Why a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ends {
    /// An OPEN says other things, and only a new session has a new OPEN.
    Renegotiate,
    /// It is another session: with somebody else, from elsewhere, or none.
    Reset,
}

impl Effect {
    /// It is applied in place, and the peer hears nothing.
    pub const NONE: Self = Self { import: false, export: false, next_session: false, ends: None };
    pub(crate) const IMPORT: Self = Self { import: true, ..Self::NONE };
    pub(crate) const EXPORT: Self = Self { export: true, ..Self::NONE };
    const BOTH: Self = Self { import: true, export: true, ..Self::NONE };
    const NEXT_SESSION: Self = Self { next_session: true, ..Self::NONE };
    const OPEN: Self = Self { ends: Some(Ends::Renegotiate), ..Self::NONE };
    pub(crate) const RESET: Self = Self { ends: Some(Ends::Reset), ..Self::NONE };

    /// Both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            import: self.import || other.import,
            export: self.export || other.export,
            next_session: self.next_session || other.next_session,
            ends: self.ends.max(other.ends),
        }
    }
}

/// A field that changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// As the configuration file calls it.
    pub field: String,
    /// What it was; empty where there is nothing to show.
    pub from: String,
    /// What it becomes.
    pub to: String,
    /// What follows.
    pub effect: Effect,
}

impl Change {
    /// A change of a field whose values are not shown.
    #[must_use]
    pub(crate) fn of(field: impl Into<String>, effect: Effect) -> Self {
        Self { field: field.into(), from: String::new(), to: String::new(), effect }
    }
}

/// Collects what differs.
#[derive(Debug, Default)]
struct Changes(Vec<Change>);

impl Changes {
    fn note<T: PartialEq + Serialize>(&mut self, field: &str, (old, new): (&T, &T), effect: Effect) {
        if old != new {
            let (from, to) = (text(old), text(new));
            self.0.push(Change { field: field.to_owned(), from, to, effect });
        }
    }
}

/// A value as a person writes it.
fn text<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(text)) => text,
        Ok(serde_json::Value::Null) => "not set".to_owned(),
        Ok(other) => other.to_string(),
        Err(_) => String::new(),
    }
}

fn place(endpoint: &Endpoint) -> String {
    match endpoint {
        Endpoint::Address(address) => address.to_string(),
        Endpoint::Interface(name) => name.clone(),
    }
}

fn whom(remote: &RemoteAs) -> String {
    match remote {
        RemoteAs::Is(asn) => asn.to_string(),
        RemoteAs::External => "external".to_owned(),
        RemoteAs::OneOf(list) => {
            let list: Vec<String> = list.iter().map(ToString::to_string).collect();
            format!("[{}]", list.join(", "))
        }
    }
}

/// Every field that differs, with what follows from it. The name is no field: peers are compared that have the same.
#[must_use]
pub fn changes(old: &PeerConfig, new: &PeerConfig) -> Vec<Change> {
    let mut all = Changes::default();
    let PeerConfig {
        name: _,
        endpoint,
        remote_asn,
        passive,
        shutdown,
        families,
        hold_time_s,
        connect_retry_ms,
        graceful_restart_s,
        route_reflector_client,
        next_hop,
        max_prefixes,
        import,
        export,
        originated_only,
        local_address,
        multihop,
        session,
        routes,
        add_path,
    } = old;
    all.note("address", (&place(endpoint), &place(&new.endpoint)), Effect::RESET);
    all.note("remote_asn", (&whom(remote_asn), &whom(&new.remote_asn)), Effect::RESET);
    all.note("shutdown", (shutdown, &new.shutdown), Effect::RESET);
    all.note("local_address", (local_address, &new.local_address), Effect::RESET);
    all.note("multihop", (multihop, &new.multihop), Effect::RESET);
    all.note("families", (families, &new.families), Effect::OPEN);
    all.note("hold_s", (hold_time_s, &new.hold_time_s), Effect::OPEN);
    all.note("graceful_restart_s", (graceful_restart_s, &new.graceful_restart_s), Effect::OPEN);
    all.note("passive", (passive, &new.passive), Effect::NEXT_SESSION);
    all.note("connect_retry_ms", (connect_retry_ms, &new.connect_retry_ms), Effect::NEXT_SESSION);
    all.note("route_reflector_client", (route_reflector_client, &new.route_reflector_client), Effect::EXPORT);
    let either = |rule| *next_hop == rule || new.next_hop == rule;
    let by_rule =
        Effect { import: either(NextHopRule::PeerOnImport), export: either(NextHopRule::SelfOnExport), ..Effect::NONE };
    all.note("next_hop", (next_hop, &new.next_hop), by_rule);
    all.note("max_prefixes", (max_prefixes, &new.max_prefixes), Effect::NONE);
    // Another name alone is nothing: what the policies do is compared by whoever has them.
    all.note("import", (import, &new.import), Effect::NONE);
    all.note("export", (export, &new.export), Effect::NONE);
    all.note("originated_only", (originated_only, &new.originated_only), Effect::EXPORT);
    session_changes(&mut all, session, &new.session);
    route_changes(&mut all, routes, &new.routes);
    let AddPath { receive, send, paths_limit } = add_path;
    all.note("add_path.receive", (receive, &new.add_path.receive), Effect::OPEN);
    let offers_the_same = add_path.offer().send == new.add_path.offer().send;
    let effect = if offers_the_same { Effect::EXPORT } else { Effect::OPEN };
    all.note("add_path.send", (send, &new.add_path.send), effect);
    all.note("add_path.paths_limit", (paths_limit, &new.add_path.paths_limit), Effect::NONE);
    all.0
}

fn session_changes(all: &mut Changes, old: &SessionOptions, new: &SessionOptions) {
    let SessionOptions {
        role,
        role_strict,
        extended_message,
        ttl_security,
        long_lived_stale_s,
        notification_restart,
        keep_over_link_loss,
        delay_open_ms,
        damp_oscillations,
        send_hold_s,
        bfd_strict,
        hostname,
        expect_hostname,
    } = old;
    all.note("ttl_security", (ttl_security, &new.ttl_security), Effect::RESET);
    all.note("expect_hostname", (expect_hostname, &new.expect_hostname), Effect::RESET);
    all.note("send_hold_s", (send_hold_s, &new.send_hold_s), Effect::RESET);
    all.note("bgp_role", (role, &new.role), Effect::OPEN);
    all.note("bgp_role_strict", (role_strict, &new.role_strict), Effect::OPEN);
    all.note("extended_messages", (extended_message, &new.extended_message), Effect::OPEN);
    all.note("long_lived_stale_s", (long_lived_stale_s, &new.long_lived_stale_s), Effect::OPEN);
    all.note("notification_restart", (notification_restart, &new.notification_restart), Effect::OPEN);
    all.note("keep_over_link_loss", (keep_over_link_loss, &new.keep_over_link_loss), Effect::NONE);
    all.note("bfd.strict", (bfd_strict, &new.bfd_strict), Effect::OPEN);
    all.note("delay_open_ms", (delay_open_ms, &new.delay_open_ms), Effect::NEXT_SESSION);
    all.note("damp_oscillations", (damp_oscillations, &new.damp_oscillations), Effect::NEXT_SESSION);
    all.note("hostname", (hostname, &new.hostname), Effect::NEXT_SESSION);
}

fn route_changes(all: &mut Changes, old: &RouteOptions, new: &RouteOptions) {
    let RouteOptions {
        allow_own_as,
        enforce_first_as,
        local_as,
        as_override,
        advertise_peer_as,
        remove_private_as,
        graceful_shutdown,
        tell,
        leave,
        long_lived_partial,
        link_local_form,
        max_prefixes_warn_percent,
        max_prefixes_action,
        max_prefixes_restart_s,
        max_prefixes_out,
    } = old;
    all.note("allow_own_as", (allow_own_as, &new.allow_own_as), Effect::IMPORT);
    all.note("enforce_first_as", (enforce_first_as, &new.enforce_first_as), Effect::IMPORT);
    all.note("max_prefixes_action", (max_prefixes_action, &new.max_prefixes_action), Effect::IMPORT);
    // The AS stands in the OPEN; the rest of it is about routes in both directions.
    let other_as = local_as.map(|local| local.asn) != new.local_as.map(|local| local.asn);
    let effect = if other_as { Effect::OPEN } else { Effect::BOTH };
    all.note("local_as", (local_as, &new.local_as), effect);
    all.note("as_override", (as_override, &new.as_override), Effect::EXPORT);
    all.note("advertise_peer_as", (advertise_peer_as, &new.advertise_peer_as), Effect::EXPORT);
    all.note("remove_private_as", (remove_private_as, &new.remove_private_as), Effect::EXPORT);
    all.note("graceful_shutdown", (graceful_shutdown, &new.graceful_shutdown), Effect::EXPORT);
    all.note("tell", (tell, &new.tell), Effect::EXPORT);
    // What it told is marked where it lies; only the peer knows how it was without the marks.
    let effect = if new.leave < *leave { Effect::IMPORT } else { Effect::NONE };
    all.note("leave", (leave, &new.leave), effect);
    all.note("long_lived_partial", (long_lived_partial, &new.long_lived_partial), Effect::EXPORT);
    all.note("link_local_form", (link_local_form, &new.link_local_form), Effect::EXPORT);
    let percent = (max_prefixes_warn_percent, &new.max_prefixes_warn_percent);
    all.note("max_prefixes_warn_percent", percent, Effect::NONE);
    all.note("max_prefixes_restart_s", (max_prefixes_restart_s, &new.max_prefixes_restart_s), Effect::NONE);
    all.note("max_prefixes_out", (max_prefixes_out, &new.max_prefixes_out), Effect::NONE);
}

/// All effects together.
#[must_use]
pub fn effect_of(changes: &[Change]) -> Effect {
    changes.iter().fold(Effect::NONE, |all, change| all.and(change.effect))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::{Endpoint, RemoteAs};
    use crate::types::Asn;
    use std::net::IpAddr;

    #[test]
    fn a_change_is_named_as_in_the_file_with_both_values() {
        let old = PeerConfig::new("a", Endpoint::Address(IpAddr::from([10, 0, 0, 1])), RemoteAs::Is(Asn(65_001)));
        assert_eq!(changes(&old, &old), []);
        let mut new = old.clone();
        new.hold_time_s = 30;
        new.max_prefixes = Some(5);
        let found = changes(&old, &new);
        let said: Vec<_> = found.iter().map(|one| (&*one.field, &*one.from, &*one.to)).collect();
        assert_eq!(said, [("hold_s", "9", "30"), ("max_prefixes", "not set", "5")]);
        assert_eq!(effect_of(&found), Effect { ends: Some(Ends::Renegotiate), ..Effect::NONE });
    }
}
