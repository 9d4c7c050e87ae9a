//! A cold start to rest, and quiet time after it: what a network costs. The clock and the memory of the machine are the caller's.

use super::scenario::{Failure, LIMIT, World};
use super::{Counters, Sim};
use serde::Serialize;
use std::fmt;
use weft_bgp::time::Duration;
use weft_bgp::wire::Kind;

/// What a network is at rest. Times are virtual.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rest {
    /// Routers.
    pub nodes: usize,
    /// Cables between them.
    pub cables: usize,
    /// Sessions that stand at both ends.
    pub sessions: usize,
    /// Paths learnt from peers, in all tables.
    pub paths: u64,
    /// Until the last change, seconds.
    pub cold_s: f64,
    /// What it took.
    pub work: Work,
}

/// What was done in some time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Work {
    /// Events.
    pub events: u64,
    /// BGP messages but for KEEPALIVEs.
    pub messages: u64,
    /// KEEPALIVEs.
    pub keepalives: u64,
    /// Changes of forwarding tables.
    pub fib_changes: u64,
}

impl Work {
    /// Between two counts.
    #[must_use]
    pub fn between(before: &Counters, after: &Counters) -> Self {
        let kinds = before.messages.iter().zip(&after.messages).map(|(before, after)| after - before);
        let keepalives = after.messages[Kind::Keepalive.index()] - before.messages[Kind::Keepalive.index()];
        Self {
            events: after.events - before.events,
            messages: kinds.sum::<u64>() - keepalives,
            keepalives,
            fib_changes: after.fib_changes - before.fib_changes,
        }
    }
}

/// Quiet time after that.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Quiet {
    /// How long.
    pub virtual_s: u64,
    /// How long that took, seconds.
    pub wall_s: f64,
    /// What it took.
    pub work: Work,
}

/// What a run took, seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Times {
    /// Reading or making the network.
    pub read_s: f64,
    /// From the first start to rest.
    pub wall_s: f64,
    /// Of that, what the processor had to do.
    pub processor_s: f64,
    /// Looking at it.
    pub check_s: f64,
}

/// What a run says. Bytes and wall times are the process's own.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    seed: u64,
    #[serde(flatten)]
    rest: Rest,
    #[serde(flatten)]
    times: Times,
    /// In memory at most.
    memory_bytes: u64,
    /// In memory at rest, without what was there before anything started, for each path.
    bytes_per_path: f64,
    /// Likewise all of it, for each router.
    bytes_per_router: u64,
    quiet: Option<Quiet>,
}

impl Report {
    /// Of memory in bytes: what the start added, all at rest, all at most.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
    pub fn new(
        seed: u64,
        times: Times,
        (added, held, most): (u64, u64, u64),
        rest: Rest,
        quiet: Option<Quiet>,
    ) -> Self {
        Self {
            seed,
            times,
            memory_bytes: most,
            bytes_per_path: added as f64 / rest.paths.max(1) as f64,
            bytes_per_router: held / u64::try_from(rest.nodes).unwrap_or(u64::MAX).max(1),
            rest,
            quiet,
        }
    }
}

impl fmt::Display for Report {
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rest { nodes, cables, sessions, paths, cold_s, work } = &self.rest;
        let routers = *nodes as f64;
        writeln!(f, "everything holds: {nodes} nodes, {cables} cables, {sessions} sessions, seed {}", self.seed)?;
        let Times { read_s, wall_s, processor_s, check_s } = self.times;
        writeln!(f, "  at rest after          {cold_s:.3} s of virtual time")?;
        writeln!(f, "  took                   {wall_s:.2} s, {processor_s:.2} s of a processor")?;
        writeln!(f, "  paths                  {paths}, {:.0} bytes each", self.bytes_per_path)?;
        writeln!(f, "  events, messages       {}, {} and {} KEEPALIVEs", work.events, work.messages, work.keepalives)?;
        writeln!(f, "  changes of kernels     {}", work.fib_changes)?;
        writeln!(f, "  memory                 {:.1} MB at most", self.memory_bytes as f64 / 1e6)?;
        writeln!(
            f,
            "  a router costs         {:.1} kB, {:.3} ms",
            self.bytes_per_router as f64 / 1e3,
            1e3 * processor_s / routers
        )?;
        writeln!(f, "  to read, to check      {read_s:.2} s, {check_s:.2} s")?;
        let Some(Quiet { virtual_s, wall_s, work }) = &self.quiet else {
            return Ok(());
        };
        writeln!(f, "  then nothing for       {virtual_s} s of virtual time, {wall_s:.2} s of wall time")?;
        writeln!(f, "    events, KEEPALIVEs   {}, {}", work.events, work.keepalives)
    }
}

impl World {
    /// The network before anything starts.
    ///
    /// # Errors
    /// When a node has no configuration.
    pub fn cold(&self, seed: u64, traced: usize) -> Result<Sim, Failure> {
        let mut sim = self.sim(seed).map_err(Failure::Unfit)?;
        if traced > 0 {
            sim.trace.enable();
        }
        Ok(sim)
    }

    /// Lets everything start and come to rest.
    ///
    /// # Errors
    /// When it does not.
    pub fn rest(&self, sim: &mut Sim, traced: usize) -> Result<Rest, Failure> {
        let before = sim.counters();
        let cold = sim.settle(LIMIT).map_err(|what| Failure::wrong(sim, what, traced))?;
        Ok(Rest {
            nodes: self.topology.nodes.len(),
            cables: self.topology.links.len(),
            sessions: sim.session_ends() / 2,
            paths: sim.paths(),
            cold_s: cold.0 as f64 / 1e9,
            work: Work::between(&before, &sim.counters()),
        })
    }

    /// Lets time pass in which nothing is to happen.
    ///
    /// # Errors
    /// When something did.
    pub fn quiet(&self, sim: &mut Sim, time: Duration, traced: usize) -> Result<Work, Failure> {
        let before = sim.counters();
        let wrong = |sim: &Sim, what: String| Failure::wrong(sim, what, traced);
        let begin = sim.now();
        let outcome = sim.run_for(time);
        outcome.map_err(|what| wrong(sim, what))?;
        let work = Work::between(&before, &sim.counters());
        if work.messages > 0 || work.fib_changes > 0 {
            let what = format!(
                "{} messages and {} changes of kernels since {begin}, while nothing was to happen",
                work.messages, work.fib_changes
            );
            return Err(wrong(sim, what));
        }
        Ok(work)
    }

    /// Looks at the network at rest.
    ///
    /// # Errors
    /// What does not hold.
    pub fn check(&self, sim: &Sim, traced: usize) -> Result<(), Failure> {
        self.judge(sim).map_err(|what| Failure::wrong(sim, what, traced))
    }
}
