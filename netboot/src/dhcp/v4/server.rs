//! The DHCPv4 server of one boot server, without sockets, store and clock.
//!
//! ```text
//!   datagram ──▶ read: message, network, client ──▶ decide ──▶ answer ──▶ Send
//!                                                     │ must wait        ▲
//!                                                     ▼                  │ decided again, on what the store said
//!                                     Commit, Look ──▶ store ──▶ Done ───┘
//! ```
//!
//! From memory are answered: registered machines, whose address is a formula; renewals of what this server lent; offers. An
//! acknowledgement of a new lease waits for the store, and so does every refusal of a lease that only another server may know of. Who
//! waits delays nobody else: the question is kept, and decided again as if it had come now.

mod answer;
mod decide;

use super::agent::Agent;
use super::block::Blocks;
use super::client::Client;
use super::counts::{Counts, Refused};
use super::message::{Message, Op};
use super::network::Network;
use super::option::code;
use super::rules::Rules;
use crate::dhcp::lease::{Address as _, Leases};
use crate::dhcp::rate::Rates;
use crate::inventory::Inventory;
use crate::store::{Compare, Entry, Revision, Transaction, Write};
use bytes::BytesMut;
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

/// Questions to the store at a time: what a store answers in a second or two.
const WAITING_MAX: usize = 1_024;
/// Questions that wait for one of them: a client's, its copy by a relay, and their repetitions.
const TOGETHER_MAX: usize = 4;
/// How often a question is decided again: the claim of each block of a rack, and a conflict.
const TRIES_MAX: u8 = 8;
/// Seconds for which an address is kept for who was offered it.
const OFFER_S: i64 = 60;
/// Offers, and formula addresses that rest, at a time.
const OFFERS_MAX: usize = 16_384;
/// How often what is over is forgotten.
const SWEEP: SignedDuration = SignedDuration::from_secs(10);
/// How long a lease that is over is remembered in the store, so that its client gets the same address again.
const KEPT: SignedDuration = SignedDuration::from_hours(24 * 7);
/// Leases forgotten at a time.
const FORGOTTEN_MAX: usize = 16;

/// Minutes of a lease unless `weft-netboot dhcp set` says others, and the most of them: a month.
pub(in crate::dhcp) const DEFAULT_MINUTES: u32 = 60;
pub(in crate::dhcp) const MINUTES_MAX: u32 = 60 * 24 * 31;

/// By which socket something came, or is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// That of the service address.
    Service,
    /// That of a device, by its place in the rules.
    Device(usize),
}

/// Something happened.
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// A datagram came.
    Datagram {
        /// By which socket.
        via: Via,
        /// What is in it.
        octets: &'a [u8],
    },
    /// All that the store holds below `lease`.
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

/// What the store said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// It was written.
    Committed(Revision),
    /// The entry as it is: it was looked up, or another server was faster.
    Is {
        /// Its value; `None` = it is not there.
        value: Option<Arc<[u8]>>,
        /// When it was written, or looked at.
        modified: Revision,
    },
    /// Nothing is known to be written.
    Failed,
}

/// Something must be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send a datagram.
    Send {
        /// By which socket.
        via: Via,
        /// Where to.
        to: SocketAddrV4,
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
    via: Via,
    message: Message,
    client: Client,
    network: Network,
    /// What the client is to take for its server.
    server: Ipv4Addr,
    /// How often it was decided.
    tries: u8,
    /// The address of which the store itself has been asked.
    looked: Option<Ipv4Addr>,
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
    client: String,
    until: Timestamp,
}

/// The server.
#[derive(Debug)]
pub struct Server {
    rules: Rules,
    /// Its name among the servers of the store.
    name: String,
    /// Whether `leases` has been filled.
    is_ready: bool,
    leases: Leases<Ipv4Addr>,
    blocks: Blocks,
    offers: BTreeMap<Ipv4Addr, Offer>,
    offered: BTreeMap<String, Ipv4Addr>,
    /// The address lent last, by network: the next one is behind it.
    last: BTreeMap<Ipv4Addr, Ipv4Addr>,
    /// Formula addresses that somebody found in use, until then.
    resting: BTreeMap<Ipv4Addr, Timestamp>,
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
            rules,
            name,
            is_ready: false,
            leases: Leases::default(),
            blocks: Blocks::default(),
            offers: BTreeMap::new(),
            offered: BTreeMap::new(),
            last: BTreeMap::new(),
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
            Input::Datagram { via, octets } => match self.read(now, inventory, via, octets) {
                Ok(question) => self.decide(now, inventory, question),
                Err(why) => self.counts.refuse(why),
            },
            Input::Whole(entries) => {
                self.leases.replace(&entries);
                self.blocks.replace(&entries);
                self.is_ready = true;
            }
            Input::Heard { key, value, modified } => self.hear(&key, value.as_deref(), modified),
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

    /// Leases that are lent, addresses that rest, questions that wait for the store.
    #[must_use]
    pub fn holds(&self, now: Timestamp) -> [(&'static str, usize); 4] {
        let (bound, declined) = self.leases.count(now);
        [("bound", bound), ("declined", declined), ("offered", self.offers.len()), ("waiting", self.waiting.len())]
    }

    /// The kernel did not take a datagram.
    pub fn unsent(&mut self) {
        self.counts.refuse(Refused::Unsent);
    }

    fn read(&mut self, now: Timestamp, inventory: &Inventory, via: Via, octets: &[u8]) -> Result<Question, Refused> {
        let malformed = |_| Refused::Malformed;
        let message = Message::read(octets).map_err(malformed)?;
        if message.op == Op::Reply {
            return Err(Refused::Answer);
        }
        self.counts.receive(message.kind);
        let agent = Agent::read(message.options.raw(code::AGENT).unwrap_or_default()).map_err(malformed)?;
        let is_relayed = !message.giaddr.is_unspecified();
        let device = match via {
            Via::Device(at) => self.rules.devices.get(at).map(|device| device.address),
            Via::Service => None,
        };
        // RFC 2131 §4.3.1, and RFC 3527 §3 for a relay whose own address is of another network. Without a relay nobody has vouched for
        // what option 82 says (RFC 3046 §5): it is echoed and not obeyed.
        let link = if is_relayed {
            agent.link.unwrap_or(message.giaddr)
        } else if !message.ciaddr.is_unspecified() {
            message.ciaddr
        } else {
            device.ok_or(Refused::NoRelay)?
        };
        let network = Network::of(inventory, link).ok_or(Refused::UnknownNetwork)?;
        if !self.rates.take(now, IpAddr::V4(network.part.network())) {
            return Err(Refused::Limited);
        }
        // RFC 5107 §4.
        let own = device.filter(|_| !is_relayed).unwrap_or(self.rules.address);
        let server = agent.server.filter(|_| is_relayed).unwrap_or(own);
        let client = Client::of(&message).map_err(malformed)?;
        Ok(Question { via, message, client, network, server, tries: 0, looked: None })
    }

    /// What the store says of a key.
    fn hear(&mut self, key: &str, value: Option<&[u8]>, modified: Revision) {
        self.leases.hear(key, value, modified);
        self.blocks.hear(key, value, modified);
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
                self.hear(&key, value.as_deref(), modified);
                None
            }
            Said::Is { value, modified } => {
                self.hear(&key, value.as_deref(), modified);
                key.strip_prefix(Ipv4Addr::LEASES).and_then(|address| address.parse().ok())
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
        let over: Vec<Ipv4Addr> =
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
    fn withdraw(&mut self, address: Ipv4Addr) {
        if let Some(offer) = self.offers.remove(&address) {
            self.offered.remove(&offer.client);
        }
    }
}
