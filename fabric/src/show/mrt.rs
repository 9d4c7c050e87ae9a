//! `mrt show`: what an MRT dump holds, one line for each path, message and state change.

use serde::Serialize;
use std::fmt;
use std::net::IpAddr;
use weft_bgp::mrt::{Dump, Entry, Message, Raw, Record, Rib, Stamp, StateChange, codec};
use weft_bgp::types::{Family, IpNet};
use weft_bgp::wire::Kind;
use weft_bgp::wire::attrs::Attrs;
use weft_bgp::wire::nlri::Nlri;
use weft_bgp::wire::update::decode;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// When, UTC.
    pub time: String,
    /// Whose, or with whom.
    pub peer: IpAddr,
    /// Its AS.
    pub peer_asn: u32,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What a line is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "record")]
pub enum What {
    /// A path of a table dump; `time` is that of the dump.
    Path {
        /// Where it leads.
        prefix: IpNet,
        /// When it came, UTC.
        originated: String,
        /// Its path identifier (RFC 8050).
        #[serde(skip_serializing_if = "Option::is_none")]
        path_id: Option<u32>,
        /// Its attributes.
        #[serde(flatten)]
        attributes: Attributes,
    },
    /// A path whose attributes nobody could announce.
    Malformed {
        /// Where it leads.
        prefix: IpNet,
        /// What is wrong.
        why: String,
    },
    /// An UPDATE.
    Update {
        /// The collector sent it.
        sent: bool,
        /// Prefixes announced.
        announced: Vec<IpNet>,
        /// Prefixes withdrawn.
        withdrawn: Vec<IpNet>,
        /// Attributes of what is announced.
        #[serde(flatten)]
        attributes: Option<Attributes>,
        /// What is wrong with it (RFC 7606).
        #[serde(skip_serializing_if = "Option::is_none")]
        fault: Option<String>,
    },
    /// Another message.
    Message {
        /// The collector sent it.
        sent: bool,
        /// Its type.
        kind: String,
        /// Its octets.
        octets: usize,
    },
    /// The session changed its state.
    StateChange {
        /// From (RFC 4271 §8.2.2).
        old: String,
        /// To.
        new: String,
    },
}

/// Attributes, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Attributes {
    /// Through what.
    pub next_hop: Option<IpAddr>,
    /// AS_PATH.
    pub as_path: String,
    /// `igp`, `egp` or `incomplete`.
    pub origin: String,
    /// LOCAL_PREF.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_pref: Option<u32>,
    /// MULTI_EXIT_DISC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub med: Option<u32>,
    /// Standard communities.
    pub communities: Vec<String>,
    /// Large communities.
    pub large_communities: Vec<String>,
}

impl Attributes {
    fn of(block: &[u8], next_hop: Option<IpAddr>) -> Self {
        let attrs = Attrs(block);
        Self {
            next_hop,
            as_path: attrs.as_path().to_string(),
            origin: match attrs.origin() {
                0 => "igp",
                1 => "egp",
                _ => "incomplete",
            }
            .to_owned(),
            local_pref: attrs.local_pref(),
            med: attrs.med(),
            communities: attrs.communities().map(|word| format!("{}:{}", word >> 16, word & 0xffff)).collect(),
            large_communities: attrs.large_communities().map(|[a, b, c]| format!("{a}:{b}:{c}")).collect(),
        }
    }
}

/// The lines of a record; none for one that is not about routes or sessions.
///
/// # Errors
/// When the record cannot be read, as a sentence.
pub fn lines(dump: &mut Dump, raw: &Raw) -> Result<Vec<Line>, String> {
    let record = dump.record(raw).map_err(|damage| damage.to_string())?;
    Ok(match record {
        Record::Rib(rib) => rib.entries().filter_map(|entry| path(dump, raw, &rib, &entry)).collect(),
        Record::Message(message) => vec![of_message(raw, &message)],
        Record::StateChange(StateChange { peer, peer_asn, old, new, .. }) => {
            let name = |state| StateChange::state_name(state).to_owned();
            let what = What::StateChange { old: name(old), new: name(new) };
            vec![Line { time: raw.stamp.to_string(), peer, peer_asn: peer_asn.0, what }]
        }
        Record::Peers { .. } | Record::Other => Vec::new(),
    })
}

fn path(dump: &Dump, raw: &Raw, rib: &Rib<'_>, entry: &Entry<'_>) -> Option<Line> {
    let peer = dump.peer(entry.peer)?;
    let what = match entry.attributes.route(&rib.prefix) {
        Ok(route) => What::Path {
            prefix: rib.prefix,
            originated: Stamp { seconds: entry.originated_s, micros: 0 }.to_string(),
            path_id: entry.path_id,
            attributes: Attributes::of(&route.block, Some(route.next_hop.addr)),
        },
        Err(why) => What::Malformed { prefix: rib.prefix, why: why.to_owned() },
    };
    Some(Line { time: raw.stamp.to_string(), peer: peer.address, peer_asn: peer.asn.0, what })
}

fn of_message(raw: &Raw, message: &Message<'_>) -> Line {
    let time = raw.stamp.to_string();
    let (peer, peer_asn) = (message.peer, message.peer_asn.0);
    let octets = message.message.len();
    let other = |kind: &str| What::Message { sent: message.is_sent, kind: kind.to_owned(), octets };
    let what = match message.kind {
        // RFC 8050 §3: which of the prefixes have identifiers only the OPENs would say.
        Kind::Update if message.add_path => other("UPDATE with path identifiers"),
        Kind::Update => update(message),
        Kind::Open => other("OPEN"),
        Kind::Notification => other("NOTIFICATION"),
        Kind::Keepalive => other("KEEPALIVE"),
        Kind::RouteRefresh => other("ROUTE-REFRESH"),
    };
    Line { time, peer, peer_asn, what }
}

fn update(message: &Message<'_>) -> What {
    let codec = codec(message.as4);
    let sent = message.is_sent;
    let mut block = Vec::new();
    let update = match decode(message.message, &codec, &mut block) {
        Ok(update) => update,
        Err(fault) => {
            let fault = Some(format!("{fault:?}"));
            return What::Update { sent, announced: Vec::new(), withdrawn: Vec::new(), attributes: None, fault };
        }
    };
    let of =
        |part: Option<(Family, &[u8])>| part.map_or_else(Vec::new, |(family, nlri)| Nlri::new(family, nlri).collect());
    let v4 = Family::Ipv4Unicast;
    let mut announced: Vec<IpNet> = of(Some((v4, update.nlri)));
    announced.extend(of(update.mp_reach.map(|reach| (reach.family, reach.nlri))));
    let mut withdrawn: Vec<IpNet> = of(Some((v4, update.withdrawn)));
    withdrawn.extend(of(update.mp_unreach));
    let next_hop = update.mp_reach.map(|reach| reach.next_hop.addr).or_else(|| update.next_hop.map(IpAddr::V4));
    let attributes = (!announced.is_empty()).then(|| Attributes::of(&block, next_hop));
    What::Update { sent, announced, withdrawn, attributes, fault: update.withdraw.map(|(_, why)| why.to_owned()) }
}

impl fmt::Display for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(next_hop) = self.next_hop {
            write!(f, " via {next_hop}")?;
        }
        write!(f, " path [{}] {}", self.as_path, self.origin)?;
        if let Some(pref) = self.local_pref {
            write!(f, " local-pref {pref}")?;
        }
        if let Some(med) = self.med {
            write!(f, " med {med}")?;
        }
        for community in self.communities.iter().chain(&self.large_communities) {
            write!(f, " {community}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direction = |sent: bool| if sent { "to" } else { "from" };
        write!(f, "{}  ", self.time)?;
        let who = format!("{} AS {}", self.peer, self.peer_asn);
        match &self.what {
            What::Path { prefix, path_id, attributes, .. } => {
                write!(f, "{prefix} from {who}{attributes}")?;
                path_id.map_or(Ok(()), |id| write!(f, " path-id {id}"))
            }
            What::Malformed { prefix, why } => write!(f, "{prefix} from {who} malformed: {why}"),
            What::Message { sent, kind, octets } => write!(f, "{kind} {} {who}, {octets} octets", direction(*sent)),
            What::StateChange { old, new } => write!(f, "{who}: {old} -> {new}"),
            What::Update { sent, announced, withdrawn, attributes, fault } => {
                write!(f, "UPDATE {} {who}", direction(*sent))?;
                for prefix in withdrawn {
                    write!(f, " -{prefix}")?;
                }
                for prefix in announced {
                    write!(f, " +{prefix}")?;
                }
                if let Some(attributes) = attributes {
                    write!(f, "{attributes}")?;
                }
                fault.as_ref().map_or(Ok(()), |fault| write!(f, " fault: {fault}"))
            }
        }
    }
}
