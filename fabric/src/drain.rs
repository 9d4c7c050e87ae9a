//! Taking something out of service without losing a packet, and putting it back: the node, a link, a service address. This file decides in
//! which order, and when the next step is due; what a state means for routes is `node/drain`'s. Knows time and who has not been told; no
//! BGP, no socket.
//!
//! ```text
//!           asked to be left, still      no longer announced, packets     nothing depends on it:
//!           the last choice              under way still get through      it may be stopped, or unplugged
//!   LIVE ────────▶ SOFT ────────────────────▶ WARM ─────────────────────────▶ DRAINED
//!    ▲               │ everybody was told, and │ likewise                        │
//!    └───────────────┴──── back in one step ───┴─────────────────────────────────┘
//! ```
//! On the way down every state is held until all neighbours have acknowledged what they were told, and then for the settling time, in
//! which they move their traffic (RFC 8326 §4.2: "Wait for route readvertisement … and convergence"). Who does not take it within the
//! limit is named and not waited for: by then the next state helps more than waiting does.

#[cfg(test)]
mod tests;
pub mod traffic;
pub mod wait;

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::str::FromStr;
use weft_bgp::time::{Duration, Instant};

/// Most links and service addresses that are drained at a time: the largest switch has fewer ports.
pub const SCOPES_MAX: usize = 1_024;
/// How often it is looked whether everybody was told.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Neighbours that are named at most.
const NAMED_MAX: usize = 16;

/// How far something is out of service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Not at all.
    #[default]
    Live,
    /// Announced with GRACEFUL_SHUTDOWN: who has another way takes it.
    Soft,
    /// Announced no longer; who sends packets all the same still gets them through.
    Warm,
    /// Gone.
    Drained,
}

impl State {
    /// Every state, in the order of the way down.
    pub const ALL: [Self; 4] = [Self::Live, Self::Soft, Self::Warm, Self::Drained];

    /// As in a query.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Soft => "soft",
            Self::Warm => "warm",
            Self::Drained => "drained",
        }
    }

    /// One step further down.
    const fn next(self) -> Self {
        match self {
            Self::Live => Self::Soft,
            Self::Soft => Self::Warm,
            Self::Warm | Self::Drained => Self::Drained,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for State {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|state| state.name() == text);
        found.ok_or_else(|| format!("write one of {}", Self::ALL.map(Self::name).join(", ")))
    }
}

/// What is taken out of service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "scope", content = "name")]
pub enum Scope {
    /// All of it.
    Node,
    /// A link, by its name.
    Interface(String),
    /// A service address, by its name.
    Vip(String),
}

impl Scope {
    /// `node`, `interface` or `vip`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Interface(_) => "interface",
            Self::Vip(_) => "vip",
        }
    }

    /// Which of them; none of the node.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Node => None,
            Self::Interface(name) | Self::Vip(name) => Some(name),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node => f.write_str("node"),
            Self::Interface(name) => write!(f, "interface {name}"),
            Self::Vip(name) => write!(f, "vip {name}"),
        }
    }
}

/// Who wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// `drain.boot` of the configuration: until somebody says otherwise.
    Boot,
    /// Somebody, by the API.
    Operator,
    /// SIGTERM, with `on_sigterm: drain`.
    Signal,
}

impl By {
    const fn words(self) -> &'static str {
        match self {
            Self::Boot => "as `drain.boot` says",
            Self::Operator => "as was asked",
            Self::Signal => "before the end",
        }
    }
}

/// How it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrainConfig {
    /// The state of the node at the start, until somebody says otherwise.
    pub boot: State,
    /// How long a state is held after everybody was told.
    pub settle: Duration,
    /// How long anybody is waited for, in each state.
    pub limit: Duration,
    /// Where what was said is kept over a restart; beside the API socket unless set.
    pub file: Option<std::path::PathBuf>,
}

impl Default for DrainConfig {
    fn default() -> Self {
        Self { boot: State::Live, settle: Duration::from_secs(1), limit: Duration::from_secs(10), file: None }
    }
}

/// Something changed its state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum Event {
    /// It is in another state.
    Drain {
        /// What.
        #[serde(flatten)]
        scope: Scope,
        /// In which.
        state: State,
        /// Where it is to get.
        target: State,
        /// Who wants it.
        by: By,
    },
    /// It is where it was to get, everybody was told, and the settling time is over.
    Settled {
        /// What.
        #[serde(flatten)]
        scope: Scope,
        /// In which.
        state: State,
        /// Who did not take what was told within the limit.
        late: Vec<String>,
    },
}

impl Event {
    /// As a sentence.
    #[must_use]
    pub fn sentence(&self) -> String {
        match self {
            Self::Drain { scope, state: State::Live, by, .. } => format!("{scope}: back in service, {}", by.words()),
            Self::Drain { scope, state, target, by } if state == target => format!("{scope}: {state}, {}", by.words()),
            Self::Drain { scope, state, target, by } => {
                format!("{scope}: {state}, on the way to {target}, {}", by.words())
            }
            Self::Settled { scope, state, late } if late.is_empty() => {
                format!("{scope}: {state}, and everybody has heard of it")
            }
            Self::Settled { scope, state, late } => {
                format!("{scope}: {state}, but not acknowledged in time by {}", late.join(", "))
            }
        }
    }
}

/// One of them, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// What.
    pub scope: Scope,
    /// Its state.
    pub state: State,
    /// Where it is to get.
    pub target: State,
    /// Who wants it.
    pub by: By,
    /// Since when it is in that state.
    pub since: Instant,
    /// It is where it was to get, everybody was told, and the settling time is over.
    pub is_settled: bool,
    /// Who was not told when it was last looked.
    pub waiting_for: Vec<String>,
    /// Who did not take what was told within the limit.
    pub late: Vec<String>,
}

/// What outlives the daemon: what people said, not what `drain.boot` or a signal did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Kept {
    /// Of the node; `live` is a word too, where it boots drained.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<State>,
    /// Of links, by name.
    pub interfaces: BTreeMap<String, State>,
    /// Of service addresses, by name.
    pub vips: BTreeMap<String, State>,
}

/// What the machine looks at around it.
pub trait Around {
    /// Everything that neighbours are to have heard by now, as a mark; `None` while that is not known.
    fn mark(&self) -> Option<u64>;
    /// Neighbours that have not acknowledged everything up to a mark.
    fn waiting_for(&self, mark: u64) -> Vec<String>;
    /// Neighbors on a link that are wanted and have no session.
    fn without_session(&self, interface: &str) -> Vec<String>;
    /// Whether a service address is withdrawn, and on no interface any more.
    fn is_gone(&self, vip: &str) -> bool;
}

/// One thing on its way.
#[derive(Debug)]
struct Course {
    state: State,
    target: State,
    by: By,
    since: Instant,
    phase: Phase,
    waiting_for: Vec<String>,
    late: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// What must be told is not known yet.
    Begun,
    /// Everything up to this mark is being told.
    Telling(u64),
    /// It was; time to move the traffic.
    Settling(Instant),
    /// Over.
    Settled,
}

impl Course {
    const fn new(now: Instant, state: State, by: By) -> Self {
        Self { state, target: state, by, since: now, phase: Phase::Settled, waiting_for: Vec::new(), late: Vec::new() }
    }
}

/// All of them.
#[derive(Debug, Default)]
pub struct Drains {
    courses: BTreeMap<Scope, Course>,
    events: VecDeque<Event>,
    /// When it is looked next whether everybody was told.
    look_at: Option<Instant>,
}

impl Drains {
    /// Something is in a state from the start: nobody was told of it otherwise.
    pub fn place(&mut self, now: Instant, scope: Scope, state: State, by: By) {
        if state == State::Live && scope != Scope::Node {
            self.courses.remove(&scope);
        } else if self.has_room(&scope) {
            self.courses.insert(scope, Course::new(now, state, by));
        }
    }

    /// Whether one more fits in.
    #[must_use]
    pub fn has_room(&self, scope: &Scope) -> bool {
        self.courses.len() < SCOPES_MAX || self.courses.contains_key(scope)
    }

    /// Somebody wants something in a state. [`Self::tick`] must follow when it was put into force.
    pub fn set(&mut self, now: Instant, scope: &Scope, target: State, by: By) {
        if !self.has_room(scope) {
            return;
        }
        let course = self.courses.entry(scope.clone()).or_insert_with(|| Course::new(now, State::Live, by));
        course.by = by;
        if course.target == target && course.state == target {
            return;
        }
        course.target = target;
        // Down step by step; back up at once: there is nothing to be gained by waiting in between.
        if target != course.state {
            let state = if target > course.state { course.state.next() } else { target };
            enter(now, scope, course, state, &mut self.events);
        }
        self.look_at = Some(now);
    }

    /// Goes on; true: something is in another state, which must be put into force.
    pub fn tick(&mut self, now: Instant, config: &DrainConfig, around: &dyn Around) -> bool {
        let mut has_changed = false;
        let mut next: Option<Instant> = None;
        for (scope, course) in &mut self.courses {
            has_changed |= step(now, scope, course, (config, around), &mut self.events);
            let at = match course.phase {
                Phase::Settled => None,
                Phase::Settling(until) => Some(until),
                Phase::Begun | Phase::Telling(_) => Some(now + LOOK_EVERY),
            };
            next = [next, at].into_iter().flatten().min();
        }
        self.look_at = next;
        // What is back in service is like everything else; only of the node it matters that somebody said so.
        self.courses.retain(|scope, course| {
            *scope == Scope::Node || course.state != State::Live || course.phase != Phase::Settled
        });
        has_changed
    }

    /// What happened.
    pub fn poll(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When to call [`Self::tick`].
    #[must_use]
    pub fn next_timeout(&self) -> Option<(Instant, &'static str)> {
        self.look_at.map(|at| (at, "drain"))
    }

    /// The state of something.
    #[must_use]
    pub fn state(&self, scope: &Scope) -> State {
        self.courses.get(scope).map_or(State::Live, |course| course.state)
    }

    /// Whether it is in that state for good, and everybody was told.
    #[must_use]
    pub fn is_settled(&self, scope: &Scope, state: State) -> bool {
        match self.courses.get(scope) {
            Some(course) => (course.state, course.target, course.phase) == (state, state, Phase::Settled),
            None => state == State::Live,
        }
    }

    /// Links that are not live, with their states.
    pub fn interfaces(&self) -> impl Iterator<Item = (&str, State)> {
        self.courses.iter().filter_map(|(scope, course)| match scope {
            Scope::Interface(name) if course.state != State::Live => Some((name.as_str(), course.state)),
            Scope::Interface(_) | Scope::Node | Scope::Vip(_) => None,
        })
    }

    /// Service addresses that are not live by themselves, with their states.
    #[must_use]
    pub fn vips(&self) -> BTreeMap<String, State> {
        let each = self.courses.iter().filter_map(|(scope, course)| match scope {
            Scope::Vip(name) => Some((name.clone(), course.state)),
            Scope::Interface(_) | Scope::Node => None,
        });
        each.collect()
    }

    /// All that was ever said, the node first.
    pub fn infos(&self) -> impl Iterator<Item = Info> + '_ {
        self.courses.iter().map(|(scope, course)| Info {
            scope: scope.clone(),
            state: course.state,
            target: course.target,
            by: course.by,
            since: course.since,
            is_settled: course.phase == Phase::Settled,
            waiting_for: course.waiting_for.clone(),
            late: course.late.clone(),
        })
    }

    /// What must outlive the daemon.
    #[must_use]
    pub fn kept(&self) -> Kept {
        let mut kept = Kept::default();
        for (scope, course) in self.courses.iter().filter(|(_, course)| course.by == By::Operator) {
            match scope {
                Scope::Node => kept.node = Some(course.target),
                Scope::Interface(name) => kept.interfaces.extend(not_live(name, course.target)),
                Scope::Vip(name) => kept.vips.extend(not_live(name, course.target)),
            }
        }
        kept
    }
}

fn not_live(name: &str, state: State) -> Option<(String, State)> {
    (state != State::Live).then(|| (name.to_owned(), state))
}

fn enter(now: Instant, scope: &Scope, course: &mut Course, state: State, events: &mut VecDeque<Event>) {
    (course.state, course.since, course.phase) = (state, now, Phase::Begun);
    course.waiting_for.clear();
    course.late.clear();
    events.push_back(Event::Drain { scope: scope.clone(), state, target: course.target, by: course.by });
}

/// One look; true: it is in another state.
fn step(
    now: Instant,
    scope: &Scope,
    course: &mut Course,
    (config, around): (&DrainConfig, &dyn Around),
    events: &mut VecDeque<Event>,
) -> bool {
    if course.phase == Phase::Begun
        && let Some(mark) = around.mark()
    {
        course.phase = Phase::Telling(mark);
    }
    if let Phase::Begun | Phase::Telling(_) = course.phase {
        course.waiting_for = waiting_for(scope, course, around);
        let is_over = now >= course.since + config.limit;
        if course.waiting_for.is_empty() || is_over {
            course.late = std::mem::take(&mut course.waiting_for);
            let settle = if course.state == State::Live { Duration::ZERO } else { config.settle };
            course.phase = Phase::Settling(now + settle);
        }
    }
    match course.phase {
        Phase::Settling(until) if now >= until && course.state < course.target => {
            let (late, state) = (std::mem::take(&mut course.late), course.state.next());
            enter(now, scope, course, state, events);
            course.late = late;
            true
        }
        Phase::Settling(until) if now >= until => {
            course.phase = Phase::Settled;
            let (scope, late) = (scope.clone(), course.late.clone());
            events.push_back(Event::Settled { scope, state: course.state, late });
            false
        }
        Phase::Begun | Phase::Telling(_) | Phase::Settling(_) | Phase::Settled => false,
    }
}

fn waiting_for(scope: &Scope, course: &Course, around: &dyn Around) -> Vec<String> {
    let mut names = match course.phase {
        Phase::Telling(mark) => around.waiting_for(mark),
        Phase::Begun | Phase::Settling(_) | Phase::Settled => vec!["this node's own table".to_owned()],
    };
    if let Scope::Interface(link) = scope
        && course.state == State::Live
    {
        names.extend(around.without_session(link).into_iter().map(|name| format!("the session with {name}")));
    }
    if let Scope::Vip(name) = scope
        && course.state == State::Drained
        && !around.is_gone(name)
    {
        names.push(format!("the address of {name} to leave lo"));
    }
    if names.len() > NAMED_MAX {
        let more = names.len() - NAMED_MAX;
        names.truncate(NAMED_MAX);
        names.push(format!("{more} more"));
    }
    names
}
