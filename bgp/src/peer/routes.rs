//! What may be configured about the routes of a peer. Everything is off unless it says otherwise, and costs nothing then.

use crate::types::Asn;
use serde::{Deserialize, Serialize};

/// How a peer's routes are treated, before and after the policies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RouteOptions {
    /// How often our own AS may stand in a path that the peer sends (elsewhere: allowas-in).
    pub allow_own_as: u8,
    /// Refuse a path that does not begin with the peer's AS (RFC 4271 §6.3); not for route servers.
    pub enforce_first_as: bool,
    /// Another AS towards this external peer than our own.
    pub local_as: Option<LocalAs>,
    /// Put our AS wherever the peer's stands in a path that it is told (elsewhere: as-override).
    pub as_override: bool,
    /// Tell it also what has its AS in the path already: it accepts that.
    pub advertise_peer_as: bool,
    /// Which private AS numbers (RFC 6996) are left out of paths that it is told.
    pub remove_private_as: RemovePrivateAs,
    /// All that it is told asks to be left (RFC 8326 §4.1).
    pub graceful_shutdown: bool,
    /// How much it is told.
    pub tell: Tell,
    /// What it sends is to be left (RFC 8326 §4.2): its link is about to go.
    pub leave: Leave,
    /// Tell this internal peer of long-lived stale routes though it does not know such: as the last choice, for the AS alone (RFC 9494
    /// §4.6).
    pub long_lived_partial: bool,
    /// How a next hop that is only link-local is written.
    pub link_local_form: LinkLocalForm,
    /// Warn from this percentage of `max_prefixes` on.
    pub max_prefixes_warn_percent: Option<u8>,
    /// What happens to more prefixes than `max_prefixes`.
    pub max_prefixes_action: MaxPrefixesAction,
    /// How long the session rests after it ended for that, seconds; `None` = as after any error.
    pub max_prefixes_restart_s: Option<u32>,
    /// Most prefixes (paths, where several are told) that the peer is told over all families. What would be one more ends the session
    /// instead of being sent: a guard against our own policies.
    pub max_prefixes_out: Option<u32>,
}

/// Another AS of ours (elsewhere: local-as).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalAs {
    /// What our OPEN says, and what stands first in the paths that the peer is told.
    pub asn: Asn,
    /// Leave the paths that the peer sends as they are; otherwise this AS is put in front of them.
    pub no_prepend: bool,
    /// Tell the peer this AS alone; otherwise our real one stands behind it.
    pub replace_as: bool,
}

/// Which private AS numbers are left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RemovePrivateAs {
    /// None.
    #[default]
    No,
    /// Those before the first public one.
    Leading,
    /// Every one.
    All,
}

/// How a next hop without a global address is written (RFC 2545 §3 knows no such thing) to a peer that has not the Link-Local Next
/// Hop capability; to one that has it, it stands alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkLocalForm {
    /// As `twice`.
    #[default]
    Auto,
    /// Sixteen octets.
    Single,
    /// Thirty-two octets: the address stands in both places. FRR, BIRD and GoBGP read that.
    Twice,
    /// Thirty-two octets: `::`, then the address.
    Unspecified,
}

/// What happens to more prefixes than are allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MaxPrefixesAction {
    /// The session ends: Cease, Maximum Number of Prefixes Reached (RFC 4486 §4).
    #[default]
    Reset,
    /// They are not taken; those that were taken stay.
    Discard,
    /// They are taken, and the operator is told.
    Warn,
}

/// How much a peer is told, whatever else lets a route pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tell {
    /// Everything.
    #[default]
    All,
    /// The addresses of this node alone ([`crate::speaker::SpeakerConfig::addresses`]): it can be reached, and carries nobody's traffic.
    Addresses,
    /// Nothing.
    Nothing,
}

/// How what a peer sends is to be left, when it is we who take its link out of service (RFC 8326 §4.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Leave {
    /// Not at all.
    #[default]
    No,
    /// It is the last choice, here and, by GRACEFUL_SHUTDOWN, wherever it is passed on.
    LastChoice,
    /// Nor is it passed on (NO_ADVERTISE, RFC 1997). Packets that come all the same still go that way.
    Untold,
}
