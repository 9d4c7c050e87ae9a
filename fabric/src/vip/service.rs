//! One service address: its state, and the order in which community, route and address come and go.

use super::health::{Health, Verdict};
use super::{Around, Event, FAILED_SHED, Info, Kept, Output, State};
use crate::config::{CheckConfig, OnLast, Probe, VipConfig};
use crate::drain;
use std::collections::VecDeque;
use weft_bgp::speaker::Originate;
use weft_bgp::time::{Duration, Instant};
use weft_bgp::wire::attrs::community::GRACEFUL_SHUTDOWN;

/// How often the last origin looks for others, and an address that was asked for.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// In the first moments it looks more often: a neighbour that has just heard the community tells of the path it now prefers.
const LOOK_EAGERLY: Duration = Duration::from_millis(5);
/// These moments.
const EAGER: Duration = Duration::from_millis(300);

#[derive(Debug)]
pub(super) struct Service {
    config: VipConfig,
    health: Health,
    state: State,
    since: Instant,
    reason: String,
    /// When the state ends by itself, or is to be looked at again.
    until: Instant,
    /// Good again, but made to wait.
    held_until: Option<Instant>,
    set_down: bool,
    /// How far it is taken out of service, with the node or alone.
    drained: drain::State,
    /// That alone ends the state it is in.
    is_held: bool,
    /// It is no longer configured: once it has gone, it is forgotten.
    leaving: bool,
    /// What others hear must be said again: the configuration changed it.
    renew: bool,
    ups: u64,
    downs: u64,
}

impl Service {
    pub(super) fn new(config: VipConfig, now: Instant) -> Self {
        Self {
            health: Health::new(&config, now),
            config,
            state: State::Down,
            since: now,
            reason: "not checked yet".to_owned(),
            until: Instant::ZERO,
            held_until: None,
            set_down: false,
            drained: drain::State::Live,
            is_held: false,
            leaving: false,
            renew: false,
            ups: 0,
            downs: 0,
        }
    }

    /// Goes on where an earlier run stopped, if it left the address: what it announced is still believed elsewhere (RFC 4724), and would
    /// be forgotten with the first End-of-RIB that does not come with it.
    pub(super) fn resume(&mut self, now: Instant, around: &dyn Around, output: &mut VecDeque<Output>) {
        if self.config.addresses.iter().any(|net| around.is_left(net)) {
            // Ours again: otherwise it would be swept away with what nobody wants.
            output.extend(self.config.addresses.iter().copied().map(Output::AddAddress));
            self.announce(true, output);
            self.until = now;
            self.enter(now, State::Shedding, "left by an earlier run, not checked yet".to_owned(), output);
        }
    }

    /// What the next program needs to go on with it.
    pub(super) fn keep(&self) -> Kept {
        Kept {
            name: self.config.name.clone(),
            addresses: self.config.addresses.clone(),
            state: self.state,
            since: self.since,
            reason: self.reason.clone(),
            set_down: self.set_down,
            ups_downs: (self.ups, self.downs),
            health: self.health.keep(),
        }
    }

    /// Goes on in the place of another program, which left nothing undone: what it announced is announced, the rest is not, and nobody
    /// hears anything of it.
    pub(super) fn go_on(&mut self, now: Instant, kept: Kept, around: &dyn Around, output: &mut VecDeque<Output>) {
        self.health.resume(kept.health);
        (self.set_down, (self.ups, self.downs)) = (kept.set_down, kept.ups_downs);
        let is_there = self.config.addresses.iter().all(|net| around.has(net));
        // Somebody took its address meanwhile: it goes up again when that is back.
        let is_up = kept.state == State::Up;
        self.state = if is_up && !is_there { State::Adding } else { kept.state };
        (self.since, self.reason, self.until) = (kept.since, kept.reason, now + FAILED_SHED);
        if self.state != State::Down {
            // Ours again: otherwise it would be swept away with what nobody wants.
            output.extend(self.config.addresses.iter().copied().map(Output::AddAddress));
        }
        if self.state.is_announced() {
            self.announce(self.state != State::Up, output);
        }
    }

    pub(super) const fn config(&self) -> &VipConfig {
        &self.config
    }

    pub(super) const fn state(&self) -> State {
        self.state
    }

    pub(super) fn leave(mut self) -> Self {
        self.leaving = true;
        self
    }

    /// The same addresses, and perhaps another check or other attributes.
    pub(super) fn reconfigure(&mut self, now: Instant, config: VipConfig) {
        let old = std::mem::replace(&mut self.config, config);
        if old.check != self.config.check {
            self.health.begin_anew(&self.config, now);
        }
        let told = |config: &VipConfig| (config.weight, config.communities.clone(), config.large_communities.clone());
        self.renew |= told(&old) != told(&self.config);
    }

    pub(super) fn checked(&mut self, now: Instant, run: u64, outcome: Result<(), String>) {
        self.health.checked(now, &self.config, run, outcome);
    }

    pub(super) fn set(&mut self, now: Instant, up: bool) {
        match self.config.check {
            CheckConfig::Api { .. } => {
                self.health.say(now, &self.config, up, (!up).then(|| "set down by the API".to_owned()));
            }
            CheckConfig::None | CheckConfig::Probe(_) => self.set_down = !up,
        }
    }

    pub(super) const fn drain(&mut self, state: drain::State) {
        self.drained = state;
    }

    pub(super) fn tick(&mut self, now: Instant) {
        self.health.tick(now, &self.config);
    }

    /// The check to begin now, and its longest time.
    pub(super) fn poll_check(&mut self, now: Instant, run: u64) -> Option<(Probe, Duration)> {
        let CheckConfig::Probe(probe) = &self.config.check else {
            return None;
        };
        let begins = self.health.poll_check(now, probe, run);
        begins.then(|| (probe.probe.clone(), probe.timeout))
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let state = match self.state {
            State::Down | State::Up => None,
            State::Adding | State::Shedding | State::Kept | State::Draining => {
                Some(self.until).filter(|_| !self.is_held)
            }
        };
        let check = self.health.next_timeout(&self.config).filter(|_| !self.leaving);
        state.into_iter().chain(check).chain(self.held_until).min()
    }

    /// Why it is not to be announced as usual; `None` if it is.
    fn objection(&self, now: Instant) -> Option<Objection> {
        if self.leaving {
            return Some(Objection::Told("no longer configured"));
        }
        if self.set_down {
            return Some(Objection::Told("set down by the API"));
        }
        let is_good = self.health.is_good(now);
        match self.drained {
            drain::State::Live if is_good => return None,
            // One that fails meanwhile goes as any other does.
            drain::State::Soft if is_good => return Some(Objection::Drained(self.drained)),
            drain::State::Warm | drain::State::Drained => return Some(Objection::Drained(self.drained)),
            drain::State::Live | drain::State::Soft => {}
        }
        // Told by those who know, not found out by a check: planned.
        let told = matches!(self.config.check, CheckConfig::Api { .. });
        Some(if told { Objection::Told("set down by the API") } else { Objection::Failed })
    }

    /// Goes from state to state until nothing more is to be done.
    pub(super) fn advance(&mut self, now: Instant, around: &dyn Around, output: &mut VecDeque<Output>) {
        self.is_held = false;
        // A life has fewer steps than this; the bound only keeps a mistake from becoming an endless loop.
        for _ in State::ALL {
            let before = self.state;
            let objection = self.objection(now);
            // The last choice is a choice: a service that is well comes up, to be announced like that.
            let is_soft = objection == Some(Objection::Drained(drain::State::Soft));
            match self.state {
                State::Down => self.down(now, objection.filter(|_| !is_soft), output),
                State::Adding => self.adding(now, objection.filter(|_| !is_soft), around, output),
                State::Up => self.up(now, objection, output),
                State::Shedding => self.shedding(now, objection, around, output),
                State::Kept => self.kept(now, objection, around, output),
                State::Draining => self.draining(now, objection, around, output),
            }
            if self.state == before {
                break;
            }
        }
        self.held_until = self.health.held_until(now);
        if std::mem::take(&mut self.renew) && self.state.is_announced() {
            self.announce(self.state != State::Up, output);
        }
    }

    fn down(&mut self, now: Instant, objection: Option<Objection>, output: &mut VecDeque<Output>) {
        match objection {
            None => {
                output.extend(self.config.addresses.iter().copied().map(Output::AddAddress));
                self.until = now + LOOK_EVERY;
                self.enter(now, State::Adding, "its address is not there yet".to_owned(), output);
            }
            Some(objection) => self.reason = self.words(objection, now),
        }
    }

    fn adding(
        &mut self,
        now: Instant,
        objection: Option<Objection>,
        around: &dyn Around,
        output: &mut VecDeque<Output>,
    ) {
        if let Some(objection) = objection {
            output.extend(self.config.addresses.iter().copied().map(Output::RemoveAddress));
            let words = self.words(objection, now);
            self.enter(now, State::Down, words, output);
        } else if self.config.addresses.iter().all(|net| around.has(net)) {
            self.ups += 1;
            self.announce(false, output);
            self.enter(now, State::Up, self.good_words(), output);
        } else {
            self.until = now + LOOK_EVERY;
        }
    }

    fn up(&mut self, now: Instant, objection: Option<Objection>, output: &mut VecDeque<Output>) {
        let Some(objection) = objection else {
            return;
        };
        self.until = match objection {
            Objection::Failed => now + FAILED_SHED,
            Objection::Told(_) => now + self.config.shed,
            // Whoever drains has waited for everybody.
            Objection::Drained(_) => now,
        };
        self.announce(true, output);
        let words = self.words(objection, now);
        self.enter(now, State::Shedding, words, output);
    }

    fn shedding(
        &mut self,
        now: Instant,
        objection: Option<Objection>,
        around: &dyn Around,
        output: &mut VecDeque<Output>,
    ) {
        match objection {
            None => self.come_back(now, output),
            Some(Objection::Drained(drain::State::Soft)) => self.is_held = true,
            Some(_) if self.until > now => {}
            // Left by an earlier run: a result comes, be it that there is none.
            Some(Objection::Failed) if self.health.verdict == Verdict::Unknown => self.until = now + FAILED_SHED,
            Some(objection) if self.stays(objection, around) => self.stay(now, objection, output),
            Some(objection) => self.withdraw(now, objection, output),
        }
    }

    fn kept(&mut self, now: Instant, objection: Option<Objection>, around: &dyn Around, output: &mut VecDeque<Output>) {
        match objection {
            None => self.come_back(now, output),
            Some(objection) if self.stays(objection, around) => {
                let eager = now.since(self.since) < EAGER;
                self.until = now + if eager { LOOK_EAGERLY } else { LOOK_EVERY };
                self.reason = self.kept_words(objection, now);
            }
            Some(objection) => self.withdraw(now, objection, output),
        }
    }

    fn draining(
        &mut self,
        now: Instant,
        objection: Option<Objection>,
        around: &dyn Around,
        output: &mut VecDeque<Output>,
    ) {
        match objection {
            None => {
                self.ups += 1;
                self.come_back(now, output);
            }
            Some(objection) if around.knows_others() && self.stays(objection, around) => {
                self.stay(now, objection, output);
            }
            Some(Objection::Drained(drain::State::Soft)) => {
                self.ups += 1;
                self.come_back(now, output);
            }
            Some(Objection::Drained(drain::State::Warm)) => self.is_held = true,
            Some(objection) if self.since + self.config.drain <= now => {
                output.extend(self.config.addresses.iter().copied().map(Output::RemoveAddress));
                let words = self.words(objection, now);
                self.enter(now, State::Down, words, output);
            }
            Some(_) => {
                // Nobody may be left before the time is over: a failed one looks from time to time.
                let end = self.since + self.config.drain;
                self.until = if self.config.on_last == OnLast::Keep { end.min(now + LOOK_EVERY) } else { end };
            }
        }
    }

    /// Whether it must go on announcing because nobody else does. What people told it to do it does.
    fn stays(&self, objection: Objection, around: &dyn Around) -> bool {
        objection == Objection::Failed
            && self.config.on_last == OnLast::Keep
            && !self.config.addresses.iter().all(|net| around.has_other_origin(net))
    }

    fn come_back(&mut self, now: Instant, output: &mut VecDeque<Output>) {
        self.announce(false, output);
        self.enter(now, State::Up, self.good_words(), output);
    }

    fn stay(&mut self, now: Instant, objection: Objection, output: &mut VecDeque<Output>) {
        self.announce(true, output);
        self.until = now + LOOK_EAGERLY;
        let words = self.kept_words(objection, now);
        self.enter(now, State::Kept, words, output);
    }

    fn withdraw(&mut self, now: Instant, objection: Objection, output: &mut VecDeque<Output>) {
        self.downs += 1;
        output.extend(self.config.addresses.iter().copied().map(Output::Withdraw));
        self.until = now + self.config.drain;
        let words = self.words(objection, now);
        self.enter(now, State::Draining, words, output);
    }

    fn announce(&self, graceful_shutdown: bool, output: &mut VecDeque<Output>) {
        for prefix in &self.config.addresses {
            let mut communities = self.config.communities.clone();
            if graceful_shutdown && !communities.contains(&GRACEFUL_SHUTDOWN) {
                communities.push(GRACEFUL_SHUTDOWN);
            }
            output.push_back(Output::Announce(Originate {
                prefix: *prefix,
                communities,
                large_communities: self.config.large_communities.clone(),
                weight: self.config.weight,
                why: format!("vip {}", self.config.name),
            }));
        }
    }

    fn enter(&mut self, now: Instant, state: State, reason: String, output: &mut VecDeque<Output>) {
        (self.state, self.since) = (state, now);
        self.reason.clone_from(&reason);
        output.push_back(Output::Event(Event::Vip { name: self.config.name.clone(), state, reason }));
    }

    fn good_words(&self) -> String {
        match self.config.check {
            CheckConfig::None => "it has no check".to_owned(),
            CheckConfig::Api { .. } => "set up by the API".to_owned(),
            CheckConfig::Probe(_) => "its check passes".to_owned(),
        }
    }

    fn kept_words(&self, objection: Objection, now: Instant) -> String {
        format!("{}; nobody else announces it", self.words(objection, now))
    }

    fn words(&self, objection: Objection, now: Instant) -> String {
        match objection {
            Objection::Told(words) => words.to_owned(),
            Objection::Drained(state) => format!("taken out of service: {state}"),
            Objection::Failed => match (&self.health.reason, self.health.verdict) {
                (_, Verdict::Good) => {
                    let wait = self.health.held_until(now).map_or(0, |until| until.since(now).as_secs() + 1);
                    format!("its check passes again, but it flaps: held down for {wait} s more")
                }
                (Some(reason), _) => format!("check failed: {reason}"),
                (None, _) => "not checked yet".to_owned(),
            },
        }
    }

    pub(super) fn info(&self, now: Instant) -> Info {
        let is_probe = matches!(self.config.check, CheckConfig::Probe(_));
        Info {
            config: self.config.clone(),
            state: self.state,
            since: self.since,
            reason: self.reason.clone(),
            set_down: self.set_down,
            good: match self.health.verdict {
                Verdict::Good => Some(true),
                Verdict::Bad => Some(false),
                Verdict::Unknown => None,
            }
            .filter(|_| is_probe),
            held_until: self.health.held_until(now),
            last: self.health.last.clone(),
            results: self.health.results,
            failures: self.health.failures,
            ups: self.ups,
            downs: self.downs,
        }
    }
}

/// Why a service is not to be announced as usual.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Objection {
    /// People or programs say so: it goes in peace.
    Told(&'static str),
    /// It is drained, or the node is.
    Drained(drain::State),
    /// Its check says so.
    Failed,
}
