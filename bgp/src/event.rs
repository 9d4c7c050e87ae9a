//! What the speaker tells the world in one line each: the log, the API's history and the lab read these.

use crate::types::{Asn, Family, PeerId};
use serde::{Deserialize, Serialize};

/// Something an operator may want to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum Event {
    /// A session reached Established.
    SessionUp {
        /// Which peer.
        peer: PeerId,
        /// Its configured name.
        name: String,
        /// Its AS.
        asn: Asn,
    },
    /// A session left Established.
    SessionDown {
        /// Which peer.
        peer: PeerId,
        /// Its configured name.
        name: String,
        /// Why, as a sentence.
        reason: String,
        /// Whether its routes are retained as stale (RFC 4724 §4.2).
        retained: bool,
    },
    /// A connection attempt failed or an OPEN was refused.
    SessionRefused {
        /// Which peer.
        peer: PeerId,
        /// Its configured name.
        name: String,
        /// Why.
        reason: String,
    },
    /// The peer's End-of-RIB arrived (RFC 4724 §2).
    EndOfRib {
        /// Which peer.
        peer: PeerId,
        /// For which family.
        family: Family,
    },
    /// The peer stayed away beyond its restart time: what is kept of it is the last choice from now on (RFC 9494).
    LongLivedStale {
        /// Which peer.
        peer: PeerId,
        /// Its configured name.
        name: String,
        /// In which families.
        families: Vec<Family>,
    },
    /// The policy for what the peer sends is another one, or its routes were asked for, and it cannot refresh (RFC 2918): what is there of it
    /// stays as the old policy left it.
    OldPolicy {
        /// Which peer.
        peer: PeerId,
        /// Its configured name.
        name: String,
        /// How many of its paths that is.
        paths: u64,
    },
    /// The peer reached its maximum number of prefixes.
    MaxPrefixes {
        /// Which peer.
        peer: PeerId,
        /// Its configured name.
        name: String,
        /// The limit.
        limit: u32,
    },
    /// The peer would have been told more prefixes than it may be: nothing of that was sent.
    MaxPrefixesOut {
        /// Which peer.
        peer: PeerId,
        /// Its configured name.
        name: String,
        /// The limit.
        limit: u32,
    },
    /// The peer comes near its maximum number of prefixes; said once until it has fewer again.
    NearMaxPrefixes {
        /// Which peer.
        peer: PeerId,
        /// Its configured name.
        name: String,
        /// The limit.
        limit: u32,
        /// How many there are.
        count: u64,
    },
    /// The first wait for every configured peer's End-of-RIB ended, once in the life of a speaker. From now on what an earlier run left
    /// in the kernel and nobody announced again is wrong. Advertising was held back until here only with `hold_back_ms` or after a
    /// restart.
    Converged {
        /// `end of rib` or `timer`.
        cause: String,
    },
}

impl Event {
    /// Which peer it is about.
    #[must_use]
    pub const fn peer(&self) -> Option<PeerId> {
        match self {
            Self::SessionUp { peer, .. }
            | Self::SessionDown { peer, .. }
            | Self::SessionRefused { peer, .. }
            | Self::EndOfRib { peer, .. }
            | Self::LongLivedStale { peer, .. }
            | Self::OldPolicy { peer, .. }
            | Self::MaxPrefixes { peer, .. }
            | Self::MaxPrefixesOut { peer, .. }
            | Self::NearMaxPrefixes { peer, .. } => Some(*peer),
            Self::Converged { .. } => None,
        }
    }
}
