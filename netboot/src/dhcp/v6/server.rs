//! The DHCPv6 server of one boot server, without sockets, store and clock; the shape is that of `dhcp::v4::server`.
//!
//! Which address a newcomer is offered follows from its name, so that all servers of the store offer it the same one, and no server needs
//! addresses of its own: the networks have thousands. Who gets it says compare-and-swap on the lease. What a client takes for its server is
//! the service address, whichever server answers there.

mod answer;
mod decide;

use super::client::Client;
use super::counts::Counts;
use super::message::{Association, Kind, Malformed, Message, code};
use super::network::Network;
use super::rules::Rules;
use crate::dhcp::lease::{Address as _, Leases};
use crate::dhcp::rate::Rates;
use crate::dhcp::v4::counts::Refused;
use crate::dhcp::v4::server::Said;
use crate::inventory::Inventory;
use crate::store::{Compare, Entry, Revision, Transaction, Write};
use bytes::BytesMut;
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr, SocketAddrV6};
use std::sync::Arc;

/// Questions to the store at a time: what a store answers in a second or two.
const WAITING_MAX: usize = 1_024;
/// Questions that wait for one of them: a client's and its repetitions.
const TOGETHER_MAX: usize = 4;
/// How often a question is decided again: another server was faster.
const TRIES_MAX: u8 = 8;
/// Seconds for which an address is kept for who was offered it.
const OFFER_S: u32 = 60;
/// Offers, and formula addresses that rest, at a time.
const OFFERS_MAX: usize = 16_384;
/// How often what is over is forgotten.
const SWEEP: SignedDuration = SignedDuration::from_secs(10);
/// How long a lease that is over is remembered in the store, so that its client gets the same address again.
const KEPT: SignedDuration = SignedDuration::from_hours(24 * 7);
/// Leases forgotten at a time.
const FORGOTTEN_MAX: usize = 16;

/// Something happened.
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// A datagram came.
    Datagram {
        /// From whom.
        from: SocketAddrV6,
        /// What is in it.
        octets: &'a [u8],
    },
    /// All that the store holds of DHCP.
    Whole(Vec<Entry>),
    /// One of these entries changed.
    Heard {
        /// Which.
        key: String,
        /// What it is; `None` = gone.
        value: Option<Arc<[u8]>>,
        /// When.
        modified: Revision,
    },
    /// The store has answered.
    Done {
        /// Of the question to it.
        id: u64,
        /// What.
        said: Said,
    },
    /// Time went on.
    Tick,
}

/// Something must be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send a datagram.
    Send {
        /// Where to.
        to: SocketAddrV6,
        /// What.
        octets: BytesMut,
    },
    /// Write into the store; `Done` says how it ended.
    Commit {
        /// Names it.
        id: u64,
        /// What.
        transaction: Transaction,
    },
    /// Read an entry of the store.
    Look {
        /// Names it.
        id: u64,
        /// Which entry.
        key: String,
    },
}

/// A question, as far as it was understood.
#[derive(Clone, Debug)]
struct Question {
    from: SocketAddrV6,
    message: Message,
    /// `None` only where a client may keep its name to itself.
    client: Option<Client>,
    /// The association that gets an address: the first one.
    association: Option<Association>,
    /// The numbers of the others, which get none.
    others: Vec<u32>,
    network: Network,
    /// The name under which an address is lent: client and association.
    name: String,
    /// How often it was decided.
    tries: u8,
    /// The address of which the store itself has been asked.
    looked: Option<Ipv6Addr>,
}

/// What the store was asked, and who waits for the answer.
#[derive(Clone, Debug)]
struct Waiting {
    key: String,
    value: Option<Arc<[u8]>>,
    questions: Vec<Question>,
}

/// Something to ask the store.
enum Ask {
    Commit(Transaction),
    Look(String),
}

#[derive(Clone, Debug)]
struct Offer {
    name: String,
    until: Timestamp,
}

/// The server.
#[derive(Debug)]
pub struct Server {
    rules: Rules,
    /// Its name among the servers of the store.
    name: String,
    /// What clients take for its name: that of the service address.
    duid: Vec<u8>,
    /// Whether `leases` has been filled.
    is_ready: bool,
    leases: Leases<Ipv6Addr>,
    offers: BTreeMap<Ipv6Addr, Offer>,
    offered: BTreeMap<String, Ipv6Addr>,
    /// Formula addresses that somebody found in use, until then.
    resting: BTreeMap<Ipv6Addr, Timestamp>,
    rates: Rates,
    waiting: BTreeMap<u64, Waiting>,
    /// What is asked of the store now, by key.
    asked: BTreeMap<String, u64>,
    next_id: u64,
    swept: Timestamp,
    out: VecDeque<Output>,
    counts: Counts,
}

impl Server {
    /// A server that knows no lease yet. The rules have been checked; `name` is of no other server of the store.
    #[must_use]
    pub fn new(rules: Rules, name: String, now: Timestamp) -> Self {
        Self {
            rates: Rates::new(rules.rate),
            duid: answer::duid(rules.address),
            rules,
            name,
            is_ready: false,
            leases: Leases::default(),
            offers: BTreeMap::new(),
            offered: BTreeMap::new(),
            resting: BTreeMap::new(),
            waiting: BTreeMap::new(),
            asked: BTreeMap::new(),
            next_id: 0,
            swept: now,
            out: VecDeque::new(),
            counts: Counts::default(),
        }
    }

    /// Something happened; `inventory` is what is known of machines now.
    pub fn handle(&mut self, now: Timestamp, inventory: &Inventory, input: Input<'_>) {
        match input {
            Input::Datagram { from, octets } => match self.read(now, inventory, from, octets) {
                Ok(Some(question)) => self.decide(now, inventory, question),
                Ok(None) => {}
                Err(why) => self.counts.refuse(why),
            },
            Input::Whole(entries) => {
                self.leases.replace(&entries);
                self.is_ready = true;
            }
            Input::Heard { key, value, modified } => self.leases.hear(&key, value.as_deref(), modified),
            Input::Done { id, said } => self.done(now, inventory, id, said),
            Input::Tick => self.sweep(now),
        }
    }

    /// What must be done about it.
    pub fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When [`Input::Tick`] is due.
    #[must_use]
    pub fn next_timeout(&self) -> (Timestamp, &'static str) {
        (self.swept.checked_add(SWEEP).unwrap_or(Timestamp::MAX), "sweep")
    }

    /// What it has counted.
    #[must_use]
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Its DUID.
    #[must_use]
    pub fn duid(&self) -> &[u8] {
        &self.duid
    }

    /// Leases that are lent, addresses that rest, offers, questions that wait for the store.
    #[must_use]
    pub fn holds(&self, now: Timestamp) -> [(&'static str, usize); 4] {
        let (bound, declined) = self.leases.count(now);
        [("bound", bound), ("declined", declined), ("offered", self.offers.len()), ("waiting", self.waiting.len())]
    }

    /// The kernel did not take a datagram.
    pub fn unsent(&mut self) {
        self.counts.refuse(Refused::Unsent);
    }

    /// `None` when it has been answered: it came by the wrong way.
    fn read(
        &mut self,
        now: Timestamp,
        inventory: &Inventory,
        from: SocketAddrV6,
        octets: &[u8],
    ) -> Result<Option<Question>, Refused> {
        let malformed = |_: Malformed| Refused::Malformed;
        let message = Message::read(octets).map_err(malformed)?;
        if matches!(message.kind, Kind::Advertise | Kind::Reply | Kind::Reconfigure) {
            return Err(Refused::Answer);
        }
        self.counts.receive(message.kind);
        self.names(&message)?;
        if message.relays.is_empty() {
            return self.use_multicast(from, message).map(|()| None);
        }
        // RFC 8415 §13.1: that of the relay closest to the client which says one.
        let link = message.relays.iter().rev().map(|relay| relay.link).find(|link| !link.is_unspecified());
        let network = Network::of(inventory, link.ok_or(Refused::NoRelay)?).ok_or(Refused::UnknownNetwork)?;
        if !self.rates.take(now, IpAddr::V6(network.part.network())) {
            return Err(Refused::Limited);
        }
        let client = Client::of(&message).map_err(malformed)?;
        let all: Result<Vec<_>, _> = message.options.all(code::IA_NA).map(Association::read).collect();
        let mut all = all.map_err(malformed)?.into_iter();
        let association = all.next();
        let others = all.map(|other| other.id).collect();
        let number = association.as_ref().map_or(0, |association| association.id);
        let name = client.as_ref().map(|client| format!("{}/{number:08x}", client.name)).unwrap_or_default();
        Ok(Some(Question { from, message, client, association, others, network, name, tries: 0, looked: None }))
    }

    /// Who must be named in a message, and who must not (RFC 8415 §16).
    fn names(&self, message: &Message) -> Result<(), Refused> {
        let malformed = |_| Refused::Malformed;
        let server = message.options.once(code::SERVER).map_err(malformed)?;
        let has_client = message.options.once(code::CLIENT).map_err(malformed)?.is_some();
        let (needs_client, needs_server, may_name) = match message.kind {
            Kind::Solicit | Kind::Confirm | Kind::Rebind => (true, false, false),
            Kind::Request | Kind::Renew | Kind::Release | Kind::Decline => (true, true, true),
            Kind::InformationRequest => (false, false, true),
            Kind::Advertise | Kind::Reply | Kind::Reconfigure => return Err(Refused::Answer),
        };
        if (needs_client && !has_client) || (needs_server && server.is_none()) || (!may_name && server.is_some()) {
            return Err(Refused::Malformed);
        }
        // RFC 8415 §16.12.
        if message.kind == Kind::InformationRequest && message.options.has(code::IA_NA) {
            return Err(Refused::Malformed);
        }
        if server.is_some_and(|server| server != self.duid) { Err(Refused::OtherServer) } else { Ok(()) }
    }

    /// Asks the store; who asks the same meanwhile waits with it.
    fn ask(&mut self, ask: Ask, question: Option<Question>) {
        let (key, value) = match &ask {
            Ask::Look(key) => (key.clone(), None),
            Ask::Commit(transaction) => {
                let Some(write) = transaction.writes.first() else { return };
                (write.key.clone(), write.value.clone())
            }
        };
        if let Some(waiting) = self.asked.get(&key).and_then(|id| self.waiting.get_mut(id)) {
            match question {
                Some(question) if waiting.questions.len() < TOGETHER_MAX => waiting.questions.push(question),
                Some(_) => self.counts.refuse(Refused::Busy),
                None => {}
            }
            return;
        }
        if self.waiting.len() >= WAITING_MAX {
            return self.counts.refuse(Refused::Busy);
        }
        let id = self.next_id;
        self.next_id += 1;
        self.asked.insert(key.clone(), id);
        self.out.push_back(match ask {
            Ask::Look(key) => Output::Look { id, key },
            Ask::Commit(transaction) => Output::Commit { id, transaction },
        });
        self.waiting.insert(id, Waiting { key, value, questions: question.into_iter().collect() });
    }

    fn done(&mut self, now: Timestamp, inventory: &Inventory, id: u64, said: Said) {
        let Some(Waiting { key, value, questions }) = self.waiting.remove(&id) else { return };
        self.asked.remove(&key);
        let is = match said {
            Said::Committed(modified) => {
                self.leases.hear(&key, value.as_deref(), modified);
                None
            }
            Said::Is { value, modified } => {
                self.leases.hear(&key, value.as_deref(), modified);
                key.strip_prefix(Ipv6Addr::LEASES).and_then(|address| address.parse().ok())
            }
            Said::Failed => return questions.iter().for_each(|_| self.counts.refuse(Refused::Store)),
        };
        for mut question in questions {
            question.tries += 1;
            question.looked = is.or(question.looked);
            if question.tries > TRIES_MAX {
                self.counts.refuse(Refused::Busy);
            } else {
                self.decide(now, inventory, question);
            }
        }
    }

    /// Forgets what is over.
    fn sweep(&mut self, now: Timestamp) {
        self.swept = now;
        let over: Vec<Ipv6Addr> =
            self.offers.iter().filter(|(_, offer)| offer.until <= now).map(|(address, _)| *address).collect();
        over.into_iter().for_each(|address| self.withdraw(address));
        self.resting.retain(|_, until| *until > now);
        let old = now.checked_sub(KEPT).unwrap_or(Timestamp::MIN);
        for (key, modified) in self.leases.older(old, FORGOTTEN_MAX) {
            let compares = vec![Compare { key: key.clone(), modified: Some(modified) }];
            self.ask(Ask::Commit(Transaction { compares, writes: vec![Write { key, value: None }] }), None);
        }
    }

    /// Forgets an offer.
    fn withdraw(&mut self, address: Ipv6Addr) {
        if let Some(offer) = self.offers.remove(&address) {
            self.offered.remove(&offer.name);
        }
    }
}
