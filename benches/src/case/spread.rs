//! Convergence: feeders offer, the clock stops when the last monitor holds exactly what it must.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::{Figures, QUIET, Stage, own_cpu_s, rise};
use crate::ceiling::Recording;
use crate::crowd::Crowd;
use crate::dut::{Kind, Manner};
use crate::plan::{Member, Plan};
use crate::set::PrefixSet;

/// Who has to hold how much, and how many do.
#[derive(Debug)]
struct Goal {
    targets: Vec<Option<usize>>,
    is_full: Vec<bool>,
    missing: usize,
}

impl Goal {
    fn of(members: &[Member]) -> Self {
        let targets: Vec<_> = members.iter().map(|member| member.expects.as_ref().map(PrefixSet::len)).collect();
        let missing = targets.iter().flatten().count();
        Self { is_full: vec![false; targets.len()], targets, missing }
    }

    /// Who is not there yet, for a person who wonders.
    fn explain(&self, crowd: &mut Crowd) -> Result<()> {
        let first = self.targets.iter().zip(&self.is_full).position(|(target, is_full)| target.is_some() && !is_full);
        if let Some(at) = first {
            let held = crowd.session(at)?.held.as_ref().map_or(0, PrefixSet::len);
            eprintln!("{} members lack prefixes; number {at} holds {held} of {:?}", self.missing, self.targets[at]);
        }
        Ok(())
    }

    fn look(&mut self, crowd: &mut Crowd, heard: &[usize]) -> Result<()> {
        for &at in heard {
            if let Some(target) = self.targets[at] {
                let held = crowd.session(at)?.held.as_ref().map_or(0, |held| held.len());
                let is_full = held == target;
                let was = std::mem::replace(&mut self.is_full[at], is_full);
                self.missing = self.missing + usize::from(was) - usize::from(is_full);
            }
        }
        Ok(())
    }
}

/// Runs a plan: time to convergence, memory, CPU, and what the last member heard for each prefix.
pub fn run_spread(stage: &Stage<'_>, kind: &Kind, plan: &Plan) -> Result<Figures> {
    if plan.members.last().is_some_and(|member| member.seat.has_bfd) {
        return super::detect::run_k2(stage, kind, plan);
    }
    if plan.watched > 0 {
        return super::watch::run(stage, kind, plan);
    }
    let members = &plan.members;
    let (dut, mut crowd) = rise(stage, kind, Manner::Passive, &plan.seats())?;
    let (cpu, own_cpu) = (dut.cpu_s()?, own_cpu_s());
    let Some((start, times)) = offer(stage, members, &mut crowd)? else {
        return Ok(vec![("conv_s", f64::INFINITY)]);
    };
    let gen_cpu_s = own_cpu_s() - own_cpu;
    check(members, &crowd)?;
    crowd.idle(QUIET, stage.limit)?;
    // Churn may go on behind the first moment at which all was there.
    check(members, &crowd)?;
    let last = crowd.sessions().filter_map(|(_, session)| session.last_update).max().unwrap_or(start);
    let mut figures = vec![
        ("conv_s", times.conv_s),
        ("last_s", (last - start).as_secs_f64()),
        ("cpu_s", dut.cpu_s()? - cpu),
        ("hwm_mb", dut.memory_mb("VmHWM")?),
        ("offer_s", times.offer_s),
        ("gen_cpu_s", gen_cpu_s),
    ];
    if let Some((at, expects)) =
        members.iter().enumerate().rev().find_map(|(at, member)| Some((at, member.expects.as_ref()?)))
    {
        #[expect(clippy::cast_precision_loss, reason = "a ratio of counts")]
        figures.push(("nlri_per_prefix", crowd.session(at)?.nlri as f64 / expects.len().max(1) as f64));
    }
    if members.iter().any(|member| member.own.is_some()) {
        let echoed: u64 = crowd.sessions().map(|(_, session)| session.echoed).sum();
        #[expect(clippy::cast_precision_loss, reason = "a count")]
        figures.push(("sent_back", echoed as f64));
    }
    if plan.loses_feeder && kind.is_daemon() {
        figures.push(("wd_mon_s", lose(stage, &mut crowd, members.len() - 1)?));
    }
    Ok(figures)
}

/// When the sockets had taken all that was offered, and when all was there (s).
#[derive(Debug)]
pub(super) struct Times {
    offer_s: f64,
    pub(super) conv_s: f64,
}

/// Offers everything; `None` after the limit.
pub(super) fn offer(stage: &Stage<'_>, members: &[Member], crowd: &mut Crowd) -> Result<Option<(Instant, Times)>> {
    for (at, member) in members.iter().enumerate() {
        let session = crowd.session(at)?;
        session.held = member.expects.as_ref().map(PrefixSet::cleared);
        session.own.clone_from(&member.own);
        session.nlri = 0;
        session.last_update = None;
    }
    let mut goal = Goal::of(members);
    let start = Instant::now();
    for (at, member) in members.iter().enumerate() {
        if !member.offer.is_empty() {
            crowd.offer(at, member.offer.clone())?;
        }
    }
    let mut offer_s = None;
    let mut alive = start;
    while goal.missing > 0 {
        let heard = crowd.turn()?;
        goal.look(crowd, &heard)?;
        if offer_s.is_none() && crowd.is_offered() {
            offer_s = Some(start.elapsed().as_secs_f64());
        }
        if start.elapsed() > stage.limit {
            goal.explain(crowd)?;
            return Ok(None);
        }
        if alive.elapsed() > Duration::from_secs(1) {
            crowd.keep_alive()?;
            alive = Instant::now();
        }
    }
    let conv_s = start.elapsed().as_secs_f64();
    Ok(Some((start, Times { offer_s: offer_s.unwrap_or(conv_s), conv_s })))
}

fn check(members: &[Member], crowd: &Crowd) -> Result<()> {
    for (at, session) in crowd.sessions() {
        let Member { seat, expects, .. } = &members[at];
        ensure!(session.held == *expects, "{} holds other prefixes than it must", seat.ours);
    }
    Ok(())
}

/// Closes the first feeder's session: until the monitor holds nothing (s).
fn lose(stage: &Stage<'_>, crowd: &mut Crowd, monitor: usize) -> Result<f64> {
    let start = Instant::now();
    crowd.leave(0);
    loop {
        let held = crowd.session(monitor)?.held.as_ref().map_or(0, |held| held.len());
        if held == 0 {
            return Ok(start.elapsed().as_secs_f64());
        }
        if start.elapsed() > stage.limit {
            return Ok(f64::INFINITY);
        }
        crowd.turn()?;
    }
}

/// What weft tells each peer in this case: for the ceiling.
pub fn record(stage: &Stage<'_>, weft: &Kind, plan: &Plan) -> Result<Recording> {
    let (_dut, mut crowd) = rise(stage, weft, Manner::Passive, &plan.seats())?;
    for at in 0..plan.members.len() {
        crowd.session(at)?.record = Some(Vec::new());
    }
    ensure!(offer(stage, &plan.members, &mut crowd)?.is_some(), "weft took longer than the limit");
    let streams = crowd.sessions().map(|(at, session)| {
        let peer: Ipv4Addr = plan.members[at].seat.ours;
        (peer, session.record.as_deref().unwrap_or_default())
    });
    Recording::new(streams)
}
