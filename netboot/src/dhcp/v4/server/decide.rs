//! What becomes of a question: RFC 2131 §4.3, message by message.

use super::{Ask, OFFER_S, OFFERS_MAX, Offer, Question, Server};
use crate::dhcp::lease::{Held, Lease, key, later};
use crate::dhcp::v4::counts::Refused;
use crate::dhcp::v4::message::Kind;
use crate::dhcp::v4::option::code;
use crate::inventory::Inventory;
use jiff::{SignedDuration, Timestamp};
use std::net::Ipv4Addr;

/// Addresses left of a server's blocks at which it claims another one, so that an offer need not wait for it.
const LOW: usize = 2;

/// What a REQUEST is (RFC 2131 §4.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    /// It takes what it was offered, by this or another server of the service address.
    Selecting,
    /// It had an address before it was restarted.
    Rebooting,
    /// It wants to keep its address: by unicast, by a relay, or a relay's copy of its unicast.
    Keeping,
}

impl Server {
    pub(super) fn decide(&mut self, now: Timestamp, inventory: &Inventory, question: Question) {
        let result = match question.message.kind {
            Kind::Discover => self.discover(now, inventory, question),
            Kind::Request => self.request(now, inventory, question),
            Kind::Decline => self.decline(now, inventory, question),
            Kind::Release => self.release(now, question),
            Kind::Inform => self.inform(inventory, &question),
            Kind::Offer | Kind::Ack | Kind::Nak => Err(Refused::Answer),
        };
        if let Err(why) = result {
            self.counts.refuse(why);
        }
    }

    /// The address of a registered machine in the network that it asks from.
    fn formula(&self, inventory: &Inventory, question: &Question) -> Option<Ipv4Addr> {
        let machine = question.client.machine(inventory)?;
        let address = question.network.formula(inventory, machine)?;
        (!self.resting.contains_key(&address)).then_some(address)
    }

    /// RFC 2131 §4.3.1.
    fn discover(&mut self, now: Timestamp, inventory: &Inventory, question: Question) -> Result<(), Refused> {
        if let Some(address) = self.formula(inventory, &question) {
            return self.answer(inventory, &question, Kind::Offer, address);
        }
        if !self.is_ready {
            return Err(Refused::NotReady);
        }
        let network = question.network;
        let address = match self.choose(now, &question) {
            Some(address) => address,
            None => match self.blocks.claim(&network, &self.name, now, true) {
                Some(claim) => {
                    self.ask(Ask::Commit(claim), Some(question));
                    return Ok(());
                }
                // All blocks are of others: what they do not use is better than nothing, and the lease decides.
                None => self.anothers(now, &question).ok_or(Refused::Exhausted)?,
            },
        };
        let client = question.client.name.clone();
        if let Some(before) = self.offered.get(&client).copied().filter(|before| *before != address) {
            self.withdraw(before);
        }
        if self.offers.len() >= OFFERS_MAX && !self.offers.contains_key(&address) {
            return Err(Refused::Busy);
        }
        self.withdraw(address);
        let until = now.checked_add(SignedDuration::from_secs(OFFER_S)).unwrap_or(Timestamp::MAX);
        self.offered.insert(client.clone(), address);
        self.offers.insert(address, Offer { client, until });
        self.answer(inventory, &question, Kind::Offer, address)?;
        self.look_ahead(now, &question);
        Ok(())
    }

    /// The client's own address, then what it was offered, what it asks for, and the next free one (RFC 2131 §4.3.1).
    fn choose(&mut self, now: Timestamp, question: &Question) -> Option<Ipv4Addr> {
        let (client, network) = (question.client.name.as_str(), &question.network);
        if let Some((address, lease)) = self.leases.of_client(client, |address| network.lends(address), now) {
            let is_its_own = lease.state == Held::Bound && lease.until > now;
            if is_its_own || self.is_usable(now, address, client) {
                return Some(address);
            }
        }
        let offered = self.offered.get(client).copied();
        if let Some(address) =
            offered.filter(|address| network.lends(*address) && self.is_usable(now, *address, client))
        {
            return Some(address);
        }
        let usable = |address: &Ipv4Addr| self.is_usable(now, *address, client);
        let own = || self.blocks.own(network, &self.name, now);
        if let Ok(Some(wanted)) = question.message.options.address(code::REQUESTED)
            && usable(&wanted)
            && own().any(|address| address == wanted)
        {
            return Some(wanted);
        }
        let last = self.last.get(&network.part.network()).copied().unwrap_or(Ipv4Addr::UNSPECIFIED);
        let next = own().filter(|address| *address > last).find(usable).or_else(|| own().find(usable))?;
        self.last.insert(network.part.network(), next);
        Some(next)
    }

    /// A free address of anybody's block, the last one first: those who own it begin at the other end.
    fn anothers(&self, now: Timestamp, question: &Question) -> Option<Ipv4Addr> {
        let (first, last) = question.network.leases?;
        let all = (u32::from(first)..=u32::from(last)).rev().map(Ipv4Addr::from);
        all.into_iter().find(|address| self.is_usable(now, *address, &question.client.name))
    }

    /// Whether an address can be offered to a client.
    fn is_usable(&self, now: Timestamp, address: Ipv4Addr, client: &str) -> bool {
        let is_offered = self.offers.get(&address).is_some_and(|offer| offer.until > now && offer.client != client);
        let is_asked = || !self.asked.is_empty() && self.asked.contains_key(&key(address));
        !is_offered && self.leases.is_free(address, now) && !is_asked()
    }

    /// Claims the next block before the last one is used up, and those that it has before they are over.
    fn look_ahead(&mut self, now: Timestamp, question: &Question) {
        let network = &question.network;
        let own = self.blocks.own(network, &self.name, now);
        let left = own.filter(|address| self.is_usable(now, *address, "")).take(LOW + 1).count();
        let more = if left <= LOW { self.blocks.claim(network, &self.name, now, true) } else { None };
        let longer = || {
            self.blocks.is_aging(network, &self.name, now).then(|| self.blocks.claim(network, &self.name, now, false))
        };
        if let Some(claim) = more.or_else(|| longer().flatten()) {
            self.ask(Ask::Commit(claim), None);
        }
    }

    fn request(&mut self, now: Timestamp, inventory: &Inventory, question: Question) -> Result<(), Refused> {
        let options = &question.message.options;
        let (Ok(server), Ok(requested)) = (options.address(code::SERVER), options.address(code::REQUESTED)) else {
            return Err(Refused::Malformed);
        };
        let ciaddr = Some(question.message.ciaddr).filter(|address| !address.is_unspecified());
        let (wish, address) = match (server, requested, ciaddr) {
            (Some(server), _, _) if !self.is_own(&question, server) => {
                // It takes another server's offer: ours is free again.
                if let Some(address) = self.offered.get(&question.client.name).copied() {
                    self.withdraw(address);
                }
                return Err(Refused::OtherServer);
            }
            (Some(_), Some(address), _) => (Wish::Selecting, address),
            (None, Some(address), None) => (Wish::Rebooting, address),
            (_, _, Some(address)) => (Wish::Keeping, address),
            (_, None, None) => return Err(Refused::NoAddress),
        };
        if self.formula(inventory, &question) == Some(address) {
            return self.answer(inventory, &question, Kind::Ack, address);
        }
        if !question.network.lends(address) {
            // RFC 2131 §4.3.2: an address of another network, or one that nobody lends. The plan says so: no other server knows better.
            return self.refuse(&question);
        }
        if !self.is_ready {
            return Err(Refused::NotReady);
        }
        self.lend(now, inventory, question, (wish, address))
    }

    /// An address of those that are lent.
    fn lend(
        &mut self,
        now: Timestamp,
        inventory: &Inventory,
        question: Question,
        (wish, address): (Wish, Ipv4Addr),
    ) -> Result<(), Refused> {
        let client = &question.client.name;
        let has_looked = question.looked == Some(address);
        let offer = self.offers.get(&address).filter(|offer| offer.until > now);
        let (is_offered, is_anothers) =
            (offer.is_some_and(|offer| offer.client == *client), offer.is_some_and(|offer| offer.client != *client));
        let lease = self.leases.lease(address);
        let is_its_own = lease.is_some_and(|lease| lease.client == *client && lease.state != Held::Declined);
        if is_its_own {
            let told = later(now, self.lease_s(inventory));
            // From memory: this server lent it, and the store keeps it for longer than the client is told.
            let kept =
                lease.filter(|lease| lease.state == Held::Bound && lease.server == self.name && lease.until >= told);
            let Some(until) = kept.map(|lease| lease.until) else {
                self.bind(now, inventory, question, address);
                return Ok(());
            };
            self.withdraw(address);
            self.answer(inventory, &question, Kind::Ack, address)?;
            // The time kept in the store is two leases: it is renewed beside, when the client renews.
            if until < later(told, self.lease_s(inventory) / 4 * 3) {
                let lease = self.bound(now, inventory, &question, address);
                self.ask(Ask::Commit(self.leases.set(address, &lease)), None);
            }
            return Ok(());
        }
        let may_bind = wish == Wish::Selecting && !is_anothers && self.leases.is_free(address, now);
        if may_bind && (is_offered || has_looked) {
            // Offered by this server; or by another one, and the store knows nobody who has it.
            self.bind(now, inventory, question, address);
            return Ok(());
        }
        if has_looked {
            // Differs from RFC 2131 §4.3.2: a client of whom there is no record is refused instead of left alone, because all servers of
            // this network have one store, and that has been asked.
            return self.refuse(&question);
        }
        self.ask(Ask::Look(key(address)), Some(question));
        Ok(())
    }

    /// Writes that a client has an address; it is told so when the store has it.
    fn bind(&mut self, now: Timestamp, inventory: &Inventory, question: Question, address: Ipv4Addr) {
        let lease = self.bound(now, inventory, &question, address);
        self.ask(Ask::Commit(self.leases.set(address, &lease)), Some(question));
    }

    fn bound(&self, now: Timestamp, inventory: &Inventory, question: &Question, address: Ipv4Addr) -> Lease {
        let (client, mac) = (question.client.name.clone(), question.client.mac.clone());
        let before = self.leases.lease(address);
        let since = before.filter(|before| before.client == client && before.state == Held::Bound);
        Lease {
            since: since.map_or(now, |before| before.since),
            until: later(now, self.lease_s(inventory).saturating_mul(2)),
            state: Held::Bound,
            server: self.name.clone(),
            client,
            mac,
        }
    }

    /// RFC 2131 §4.3.3: the client found somebody else at its address.
    fn decline(&mut self, now: Timestamp, inventory: &Inventory, question: Question) -> Result<(), Refused> {
        let address = self.named(&question, question.message.options.address(code::REQUESTED).ok().flatten())?;
        let until = later(now, self.rules.quarantine_s);
        if self.formula(inventory, &question) == Some(address) {
            if self.resting.len() >= OFFERS_MAX {
                return Err(Refused::Busy);
            }
            self.resting.insert(address, until);
            return Ok(());
        }
        let client = &question.client.name;
        let is_offered = self.offers.get(&address).is_some_and(|offer| offer.client == *client);
        let lease = self.leases.lease(address);
        if lease.is_some_and(|lease| lease.client == *client && lease.state == Held::Declined) {
            return Ok(());
        }
        let is_its_own = lease.is_some_and(|lease| lease.client == *client && lease.state == Held::Bound);
        if !is_offered && !is_its_own {
            return Err(Refused::NotOwner);
        }
        self.withdraw(address);
        let rests =
            Lease { state: Held::Declined, until, since: now, ..self.bound(now, inventory, &question, address) };
        // decided again when another server was faster
        self.ask(Ask::Commit(self.leases.set(address, &rests)), Some(question));
        Ok(())
    }

    /// RFC 2131 §4.3.4. What is given back is remembered for who had it.
    fn release(&mut self, now: Timestamp, question: Question) -> Result<(), Refused> {
        let ciaddr = Some(question.message.ciaddr).filter(|address| !address.is_unspecified());
        let address = self.named(&question, ciaddr)?;
        let lease = self.leases.lease(address).filter(|lease| lease.client == question.client.name);
        let lease = lease.ok_or(Refused::NotOwner)?;
        if lease.state == Held::Bound {
            let released = Lease { state: Held::Released, until: now, ..lease.clone() };
            self.ask(Ask::Commit(self.leases.set(address, &released)), Some(question));
        }
        Ok(())
    }

    /// The address that a client names to the server that it means.
    fn named(&self, question: &Question, address: Option<Ipv4Addr>) -> Result<Ipv4Addr, Refused> {
        match question.message.options.address(code::SERVER) {
            Ok(Some(server)) if self.is_own(question, server) => address.ok_or(Refused::NoAddress),
            Ok(Some(_)) => Err(Refused::OtherServer),
            Ok(None) => Err(Refused::NoAddress),
            Err(_) => Err(Refused::Malformed),
        }
    }

    fn is_own(&self, question: &Question, server: Ipv4Addr) -> bool {
        let devices = self.rules.devices.iter().map(|device| device.address);
        devices.chain([self.rules.address, question.server]).any(|own| own == server)
    }

    /// Seconds for which an address is lent.
    pub(super) fn lease_s(&self, inventory: &Inventory) -> u32 {
        let minutes = inventory.dhcp().map_or(super::DEFAULT_MINUTES, |dhcp| dhcp.lease_minutes);
        minutes.clamp(1, super::MINUTES_MAX) * 60
    }
}
