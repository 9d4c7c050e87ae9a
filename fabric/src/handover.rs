//! What a daemon hands to the one that takes its place: sessions, sockets by their order, BFD, leases; and what may stand in the way of that.
//! Pure: how it travels is `io/handover`'s. A newer program reads what an older one wrote, and the other way round: unknown fields are ignored,
//! and a daemon that misses something restarts it.

use crate::bfd::Kept;
use crate::node::{KeptEntry, Lease};
use crate::sandbox::Granted;
use crate::vip;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::PathBuf;
use weft_bgp::peer::Handed;
use weft_bgp::rtr;
use weft_bgp::speaker::Originate;
use weft_bgp::time::{Duration, Instant};
use weft_bgp::types::IfIndex;
use weft_bgp::wire::open::Open;

/// The form of what is below; another one is not read.
pub const FORM: u32 = 1;

/// All of it. Descriptors travel beside it: first those of the listeners, then those of the sessions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handover {
    /// [`FORM`].
    pub form: u32,
    /// The daemon's time, which goes on.
    pub now: Instant,
    /// Upgrades so far, with this one.
    pub upgrades: u64,
    /// How many programs could not start, so that the one before went on.
    #[serde(default)]
    pub undone: u64,
    /// The configuration that runs.
    #[serde(default)]
    pub config: PathBuf,
    /// Sessions that stood, also those that cannot go on.
    #[serde(default)]
    pub standing: usize,
    /// Listening sockets.
    #[serde(default)]
    pub listeners: Vec<Listener>,
    /// Sessions.
    #[serde(default)]
    pub sessions: Vec<Handed>,
    /// BFD sessions that are Up.
    #[serde(default)]
    pub bfd: Vec<Kept>,
    /// Routes that programs asked for.
    #[serde(default)]
    pub leases: Vec<Leased>,
    /// Service addresses, and what their checks have said.
    #[serde(default, deserialize_with = "understood")]
    pub vips: Vec<vip::Kept>,
    /// The last events.
    #[serde(default, deserialize_with = "understood")]
    pub history: Vec<KeptEntry>,
    /// RPKI caches whose data is in use or ready for it. If there are any, the data is in a file behind the sockets of sessions, one after the other.
    #[serde(default, deserialize_with = "understood")]
    pub caches: Vec<KeptCache>,
    /// What was given up at the start, which the next program cannot take back. Where it runs commands by another process, the socket to
    /// that is the last of all.
    #[serde(default)]
    pub granted: Granted,
}

/// Data of an RPKI cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptCache {
    /// Which.
    pub address: SocketAddr,
    /// So much of the file.
    pub octets: u64,
    /// How to go on with it.
    pub client: rtr::Kept,
}

/// A list without those of its entries that another version wrote in another form: what they are about begins anew.
fn understood<'de, D: Deserializer<'de>, T: DeserializeOwned>(input: D) -> Result<Vec<T>, D::Error> {
    let all = Vec::<Value>::deserialize(input)?;
    Ok(all.into_iter().filter_map(|one| serde_json::from_value(one).ok()).collect())
}

/// What a socket listens for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Listener {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
    /// Peers with a key on this link.
    Link(IfIndex),
}

/// A lease, and what is left of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leased {
    /// Whose.
    pub owner: String,
    /// Seconds left.
    pub left_s: u64,
    /// What.
    pub route: Originate,
}

impl From<Leased> for Lease {
    fn from(leased: Leased) -> Self {
        Self { owner: leased.owner, time: Duration::from_secs(leased.left_s), route: leased.route }
    }
}

impl Handover {
    /// Whether this program can go on from it.
    ///
    /// # Errors
    /// Why not, as a sentence.
    pub fn check(&self) -> Result<(), String> {
        if self.form != FORM {
            return Err(format!(
                "what the running daemon hands over has form {}, this program knows {FORM}",
                self.form
            ));
        }
        let bad = self.sessions.iter().find(|session| {
            [&session.our_open, &session.their_open].into_iter().any(|open| Open::decode(open).is_err())
        });
        match bad {
            Some(session) => Err(format!("the OPENs of the session with {} are not understood", session.remote.ip())),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLDEST: &str = r#"{"form": 1, "now": 5, "upgrades": 1, "of a later version": [1]}"#;

    #[test]
    fn what_is_missing_is_none_and_what_is_unknown_is_ignored() {
        let read: Handover = serde_json::from_str(OLDEST).unwrap();
        assert_eq!(read.check(), Ok(()));
        assert!(read.sessions.is_empty() && read.bfd.is_empty());
        let other = Handover { form: 2, ..read };
        assert!(other.check().unwrap_err().contains("form 2"));
    }

    #[test]
    fn an_entry_of_another_form_costs_no_other_one() {
        let vip = |state: &str| {
            format!(r#"{{"name": "a", "addresses": [], "state": "{state}", "since": 1, "health": {{}}, "new": 1}}"#)
        };
        let (known, unknown) = (vip("up"), vip("sideways"));
        let text = format!(
            r#"{{"form": 1, "now": 5, "upgrades": 1, "vips": [{known}, {unknown}, 7], "history": [{{"at": []}}],
                "caches": [{{"address": "x"}}]}}"#
        );
        let read: Handover = serde_json::from_str(&text).unwrap();
        assert_eq!((read.vips.len(), read.vips[0].state), (1, vip::State::Up));
        assert!(read.history.is_empty() && read.caches.is_empty());
    }

    #[test]
    fn opens_that_are_none_are_found_before_anything_is_handed_over() {
        let read: Handover = serde_json::from_str(OLDEST).unwrap();
        let (local, remote) = ("10.0.0.1:179".parse().unwrap(), "10.0.0.2:179".parse().unwrap());
        let (unread, unsent) = (Vec::new(), Vec::new());
        let (our_open, their_open) = (vec![0; 19], vec![0; 19]);
        let (since, established, dropped) = (Instant::ZERO, 1, 0);
        let session =
            Handed { local, remote, dialled: true, our_open, their_open, unread, unsent, since, established, dropped };
        let wrong = Handover { sessions: vec![session], ..read };
        assert!(wrong.check().unwrap_err().contains("10.0.0.2"));
    }
}
