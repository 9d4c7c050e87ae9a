//! What becomes of a question: RFC 8415 §18.3, message by message.

use super::answer::{Lot, Status};
use super::{Ask, OFFER_S, OFFERS_MAX, Offer, Question, Server};
use crate::dhcp::lease::{Held, Lease, key, later};
use crate::dhcp::v4::counts::Refused;
use crate::dhcp::v6::message::{Kind, code};
use crate::inventory::Inventory;
use jiff::Timestamp;
use ring::digest::{SHA256, digest};
use std::net::Ipv6Addr;

/// Places tried for a newcomer, one after another, when those before are somebody's: a rack has some dozens of machines.
const PLACES: u32 = 64;

/// What comes of a question at once; otherwise the store has been asked.
type Decided = Result<Option<Lot>, Refused>;

impl Server {
    /// Decides, answers, or asks the store.
    pub(super) fn decide(&mut self, now: Timestamp, inventory: &Inventory, question: Question) {
        let answered = match question.message.kind {
            Kind::Solicit => self.solicit(now, inventory, &question),
            Kind::Request => self.request(now, inventory, &question),
            Kind::Renew | Kind::Rebind => self.keep(now, inventory, &question),
            Kind::Confirm => confirm(&question),
            Kind::Release => self.release(now, inventory, &question),
            Kind::Decline => self.decline(now, inventory, &question),
            // RFC 8415 §18.3.6.
            Kind::InformationRequest => Ok(Some(Lot::Nothing)),
            Kind::Advertise | Kind::Reply | Kind::Reconfigure => Err(Refused::Answer),
        };
        let answered = answered.and_then(|lot| lot.map_or(Ok(()), |lot| self.answer(inventory, &question, &lot)));
        if let Err(why) = answered {
            self.counts.refuse(why);
        }
    }

    /// The address that follows from the place of a registered machine.
    fn formula(&self, inventory: &Inventory, question: &Question) -> Option<Ipv6Addr> {
        let machine = question.client.as_ref()?.machine(inventory)?;
        let address = question.network.formula(inventory, machine)?;
        (!self.resting.contains_key(&address)).then_some(address)
    }

    /// RFC 8415 §18.3.1.
    fn solicit(&mut self, now: Timestamp, inventory: &Inventory, question: &Question) -> Decided {
        if question.association.is_none() {
            return Ok(Some(Lot::Nothing));
        }
        if let Some(address) = self.formula(inventory, question) {
            return Ok(Some(Lot::Has(address, Vec::new())));
        }
        if !self.is_ready {
            return Err(Refused::NotReady);
        }
        let Some(address) = self.choose(now, question) else { return Ok(Some(Lot::Not(Status::NoAddresses))) };
        if question.message.options.has(code::RAPID_COMMIT) {
            return Ok(self.lend(now, inventory, question, address));
        }
        if let Some(before) = self.offered.get(&question.name).copied().filter(|before| *before != address) {
            self.withdraw(before);
        }
        if self.offers.len() >= OFFERS_MAX && !self.offers.contains_key(&address) {
            return Err(Refused::Busy);
        }
        self.withdraw(address);
        self.offered.insert(question.name.clone(), address);
        self.offers.insert(address, Offer { name: question.name.clone(), until: later(now, OFFER_S) });
        Ok(Some(Lot::Has(address, Vec::new())))
    }

    /// The client's own address, then what it was offered, what it asks for, and what follows from its name.
    fn choose(&self, now: Timestamp, question: &Question) -> Option<Ipv6Addr> {
        let (name, network) = (question.name.as_str(), &question.network);
        if let Some((address, lease)) = self.leases.of_client(name, |address| network.lends(address), now) {
            let is_its_own = lease.state == Held::Bound && lease.until > now;
            if is_its_own || self.is_usable(now, address, name) {
                return Some(address);
            }
        }
        let wishes = question.association.iter().flat_map(|association| &association.addresses).copied();
        let usable = |address: &Ipv6Addr| network.lends(*address) && self.is_usable(now, *address, name);
        let offered = self.offered.get(name).copied();
        offered.into_iter().chain(wishes).chain(places(question)).find(usable)
    }

    /// Whether an address can be offered to a client.
    fn is_usable(&self, now: Timestamp, address: Ipv6Addr, name: &str) -> bool {
        let is_offered = self.offers.get(&address).is_some_and(|offer| offer.until > now && offer.name != name);
        let is_asked = || !self.asked.is_empty() && self.asked.contains_key(&key(address));
        !is_offered && self.leases.is_free(address, now) && !is_asked()
    }

    /// RFC 8415 §18.3.2.
    fn request(&mut self, now: Timestamp, inventory: &Inventory, question: &Question) -> Decided {
        let Some(association) = &question.association else { return Ok(Some(Lot::Nothing)) };
        if association.addresses.iter().any(|address| !question.network.part.contains(address)) {
            return Ok(Some(Lot::Not(Status::NotOnLink)));
        }
        if let Some(address) = self.formula(inventory, question) {
            return Ok(Some(Lot::Has(address, Vec::new())));
        }
        if !self.is_ready {
            return Err(Refused::NotReady);
        }
        let wish = association.addresses.iter().copied().find(|address| question.network.lends(*address));
        match wish.filter(|address| self.may_have(now, question, *address)).or_else(|| self.choose(now, question)) {
            Some(address) => Ok(self.lend(now, inventory, question, address)),
            None => Ok(Some(Lot::Not(Status::NoAddresses))),
        }
    }

    fn may_have(&self, now: Timestamp, question: &Question, address: Ipv6Addr) -> bool {
        let lease = self.leases.lease(address);
        let is_its_own = lease.is_some_and(|lease| lease.client == question.name && lease.state != Held::Declined);
        is_its_own || self.is_usable(now, address, &question.name) || self.asked.contains_key(&key(address))
    }

    /// RFC 8415 §18.3.4, §18.3.5. One store knows all leases: what it does not know is free, or somebody else's.
    fn keep(&mut self, now: Timestamp, inventory: &Inventory, question: &Question) -> Decided {
        let Some(association) = &question.association else { return Ok(Some(Lot::Nothing)) };
        let others = |own: Ipv6Addr| association.addresses.iter().copied().filter(|one| *one != own).collect();
        if let Some(own) = self.formula(inventory, question) {
            return Ok(Some(Lot::Has(own, others(own))));
        }
        if !self.is_ready {
            return Err(Refused::NotReady);
        }
        let wish = association.addresses.iter().copied().find(|address| question.network.lends(*address));
        let Some(address) = wish else {
            // Not of this link, or an address that nobody lends: the client is to stop using it.
            return Ok(Some(Lot::Over(association.addresses.clone())));
        };
        let is_its_own = self.leases.lease(address).is_some_and(|lease| {
            lease.client == question.name && lease.state == Held::Bound && !self.asked.contains_key(&key(address))
        });
        if is_its_own {
            return Ok(self.lend(now, inventory, question, address));
        }
        if question.looked != Some(address) {
            self.ask(Ask::Look(key(address)), Some(question.clone()));
            return Ok(None);
        }
        if question.message.kind != Kind::Rebind {
            return Ok(Some(Lot::Not(Status::NoBinding)));
        }
        // RFC 8415 §18.3.5: a new binding may be made; the client has nobody else to ask.
        if self.is_usable(now, address, &question.name) {
            return Ok(self.lend(now, inventory, question, address));
        }
        Ok(Some(Lot::Over(association.addresses.clone())))
    }

    /// An address of those that are lent: from memory when this server lent it, otherwise when the store has it.
    fn lend(&mut self, now: Timestamp, inventory: &Inventory, question: &Question, address: Ipv6Addr) -> Option<Lot> {
        let lease_s = Self::lease_s(inventory);
        let told = later(now, lease_s);
        let kept = self.leases.lease(address).filter(|lease| {
            lease.client == question.name
                && lease.state == Held::Bound
                && lease.server == self.name
                && lease.until >= told
        });
        let until = kept.map(|lease| lease.until);
        let bound = self.bound(now, inventory, question, address);
        let commit = Ask::Commit(self.leases.set(address, &bound));
        let Some(until) = until else {
            self.ask(commit, Some(question.clone()));
            return None;
        };
        self.withdraw(address);
        // The time kept in the store is two leases: it is renewed beside, when the client renews.
        if until < later(told, lease_s / 4 * 3) {
            self.ask(commit, None);
        }
        let asked = question.association.iter().flat_map(|association| &association.addresses).copied();
        let others = if question.message.kind == Kind::Solicit { Vec::new() } else { asked.collect::<Vec<_>>() };
        Some(Lot::Has(address, others.into_iter().filter(|other| *other != address).collect()))
    }

    fn bound(&self, now: Timestamp, inventory: &Inventory, question: &Question, address: Ipv6Addr) -> Lease {
        let before = self.leases.lease(address);
        let since = before.filter(|before| before.client == question.name && before.state == Held::Bound);
        Lease {
            since: since.map_or(now, |before| before.since),
            until: later(now, Self::lease_s(inventory).saturating_mul(2)),
            state: Held::Bound,
            server: self.name.clone(),
            client: question.name.clone(),
            mac: question.client.as_ref().and_then(|client| client.mac.clone()).unwrap_or_default(),
        }
    }

    /// RFC 8415 §18.3.7. What is given back is remembered for who had it.
    fn release(&mut self, now: Timestamp, inventory: &Inventory, question: &Question) -> Decided {
        let address = named(question)?;
        if self.formula(inventory, question) == Some(address) {
            return Ok(Some(Lot::Done));
        }
        let Some(lease) = self.leases.lease(address).filter(|lease| lease.client == question.name) else {
            return Ok(Some(Lot::Not(Status::NoBinding)));
        };
        if lease.state == Held::Bound {
            let released = Lease { state: Held::Released, until: now, ..lease.clone() };
            self.ask(Ask::Commit(self.leases.set(address, &released)), Some(question.clone()));
            return Ok(None);
        }
        Ok(Some(Lot::Done))
    }

    /// RFC 8415 §18.3.8: the client found somebody else at its address.
    fn decline(&mut self, now: Timestamp, inventory: &Inventory, question: &Question) -> Decided {
        let address = named(question)?;
        let until = later(now, self.rules.quarantine_s);
        if self.formula(inventory, question) == Some(address) {
            if self.resting.len() >= OFFERS_MAX {
                return Err(Refused::Busy);
            }
            self.resting.insert(address, until);
            return Ok(Some(Lot::Done));
        }
        match self.leases.lease(address).filter(|lease| lease.client == question.name) {
            Some(lease) if lease.state == Held::Declined => Ok(Some(Lot::Done)),
            Some(lease) if lease.state == Held::Bound => {
                let rests = Lease { state: Held::Declined, until, since: now, ..lease.clone() };
                self.withdraw(address);
                self.ask(Ask::Commit(self.leases.set(address, &rests)), Some(question.clone()));
                Ok(None)
            }
            Some(_) | None => Ok(Some(Lot::Not(Status::NoBinding))),
        }
    }
}

/// RFC 8415 §18.3.3: whether the addresses belong to this link; nobody is asked whose they are.
fn confirm(question: &Question) -> Decided {
    let asked = question.association.as_ref().map(|association| association.addresses.as_slice()).unwrap_or_default();
    match asked {
        [] => Err(Refused::NoAddress),
        all if all.iter().all(|address| question.network.part.contains(address)) => Ok(Some(Lot::Done)),
        _ => Ok(Some(Lot::Whole(Status::NotOnLink))),
    }
}

/// The address that a client gives back, or complains of.
fn named(question: &Question) -> Result<Ipv6Addr, Refused> {
    let association = question.association.as_ref().ok_or(Refused::NoAddress)?;
    association.addresses.first().copied().ok_or(Refused::NoAddress)
}

/// Addresses for a newcomer, in the order in which every server tries them: from a place that follows from its name.
fn places(question: &Question) -> impl Iterator<Item = Ipv6Addr> {
    let (first, last) = question.network.leases.map_or((1, 0), |(first, last)| (u128::from(first), u128::from(last)));
    let count = last.checked_sub(first).map_or(0, |more| more + 1);
    let hash = digest(&SHA256, question.name.as_bytes());
    let start = hash.as_ref().iter().take(8).fold(0_u128, |sum, octet| sum << 8 | u128::from(*octet));
    let most = u128::from(PLACES).min(count);
    (0..most).map(move |turn| Ipv6Addr::from(first + (start + turn) % count.max(1)))
}
