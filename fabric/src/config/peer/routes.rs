//! How a peer's routes are treated: the fields of [`RouteOptions`], each with what cannot be meant.

use super::super::file::{LocalAsOptions, LocalAsWritten};
use super::super::node::Faults;
use super::Draft;
use weft_bgp::peer::{Leave, LocalAs, MaxPrefixesAction, RouteOptions, Tell};
use weft_bgp::types::Asn;

/// Our own AS more often than this in a path is a loop whatever the plan says.
const ALLOW_OWN_AS_MAX: u8 = 10;

impl Draft<'_> {
    pub(super) fn routes(&self, internal: bool, faults: &mut Faults<'_>) -> RouteOptions {
        RouteOptions {
            allow_own_as: self.allow_own_as(faults),
            enforce_first_as: self.pick(|p| &p.enforce_first_as).unwrap_or(false),
            local_as: self.local_as(internal, faults),
            as_override: self.pick(|p| &p.as_override).unwrap_or(false),
            advertise_peer_as: self.pick(|p| &p.advertise_peer_as).unwrap_or(false),
            remove_private_as: self.pick(|p| &p.remove_private_as).unwrap_or_default(),
            graceful_shutdown: self.pick(|p| &p.graceful_shutdown).unwrap_or(self.config.graceful_shutdown),
            // A drain's, not the file's.
            tell: Tell::All,
            leave: Leave::No,
            long_lived_partial: self.long_lived_partial(internal, faults),
            link_local_form: self.pick(|p| &p.link_local_form).unwrap_or_default(),
            max_prefixes_warn_percent: self.warn_percent(faults),
            max_prefixes_action: self.pick(|p| &p.max_prefixes_action).unwrap_or_default(),
            max_prefixes_restart_s: self.restart(faults),
            max_prefixes_out: self.pick(|p| &p.max_prefixes_out),
        }
    }

    fn long_lived_partial(&self, internal: bool, faults: &mut Faults<'_>) -> bool {
        let wanted = self.pick(|p| &p.long_lived_partial).unwrap_or(false);
        if wanted && !internal {
            faults.add(
                &format!("{}.long_lived_partial", self.path),
                "long-lived stale routes must not leave the AS towards who does not know them (RFC 9494 §4.6)",
                "take it away",
            );
        }
        wanted
    }

    fn allow_own_as(&self, faults: &mut Faults<'_>) -> u8 {
        let times = self.pick(|p| &p.allow_own_as).unwrap_or(0);
        if times > ALLOW_OWN_AS_MAX {
            faults.add(
                &format!("{}.allow_own_as", self.path),
                format!("{times} times our own AS in one path"),
                format!("write 0..={ALLOW_OWN_AS_MAX}"),
            );
        }
        times
    }

    fn local_as(&self, internal: bool, faults: &mut Faults<'_>) -> Option<LocalAs> {
        let (asn, no_prepend, replace_as) = match self.pick(|p| &p.local_as)? {
            LocalAsWritten::Is(asn) => (asn, false, false),
            LocalAsWritten::With(LocalAsOptions { asn, no_prepend, replace_as }) => (asn, no_prepend, replace_as),
        };
        let path = format!("{}.local_as", self.path);
        if internal {
            faults.add(
                &path,
                "the peer is internal: it knows our AS",
                "take it away, or give the peer another `remote_asn`",
            );
        }
        if asn == 0 || asn == self.config.asn {
            faults.add(
                &path,
                format!("{asn} is no other AS than ours"),
                "write the AS that the peer is to see, or take it away",
            );
        }
        if self.pick(|p| &p.remote_asn).is_some_and(|remote| remote == super::RemoteAsn::Is(asn)) {
            faults.add(
                &path,
                format!("{asn} is the peer's own AS"),
                "write another AS: with its own the peer would be internal",
            );
        }
        Some(LocalAs { asn: Asn(asn), no_prepend, replace_as })
    }

    fn warn_percent(&self, faults: &mut Faults<'_>) -> Option<u8> {
        let percent = self.pick(|p| &p.max_prefixes_warn_percent)?;
        if !(1..=100).contains(&percent) {
            faults.add(
                &format!("{}.max_prefixes_warn_percent", self.path),
                format!("{percent} is no percentage of `max_prefixes`"),
                "write 1..=100, 75 for example",
            );
        }
        Some(percent)
    }

    fn restart(&self, faults: &mut Faults<'_>) -> Option<u32> {
        let seconds = self.pick(|p| &p.max_prefixes_restart_s)?;
        let resets = self.pick(|p| &p.max_prefixes_action).unwrap_or_default() == MaxPrefixesAction::Reset;
        if !resets {
            faults.add(
                &format!("{}.max_prefixes_restart_s", self.path),
                "no session ends where more prefixes are discarded or warned of",
                "take it away, or write `max_prefixes_action: reset`",
            );
        }
        Some(seconds)
    }
}
