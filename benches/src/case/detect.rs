//! BFD: how late its packets come while a table arrives (k2), and what five hundred fast sessions cost (f1).

use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};

use super::{Figures, IDLE, IN_FLIGHT, QUIET, Stage, UP_LIMIT};
use crate::crowd::Crowd;
use crate::detect::{INTERVAL, PATIENT, Watch, hurry};
use crate::dut::{Kind, Manner};
use crate::plan::{Plan, seat};
use crate::session::Seat;

/// Sessions in f1.
const MANY: u16 = 500;
/// How long f1 looks.
const SPAN: Duration = Duration::from_secs(10);
/// Before the load in k2, to compare with.
const BEFORE: Duration = Duration::from_secs(3);

/// k2: as a1, and meanwhile a neighbour has a BFD session of 50 ms. The figures are the longest gaps between packets beyond the interval,
/// which jitter makes shorter, never longer (RFC 5880 §6.8.7).
pub(super) fn run_k2(stage: &Stage<'_>, kind: &Kind, plan: &Plan) -> Result<Figures> {
    let (members, watched) = plan.members.split_at(plan.members.len() - plan.watched);
    let dut = kind.start(stage.bed, stage.dir, Manner::Passive, &plan.seats())?;
    let mut crowd = Crowd::new(members.iter().map(|member| member.seat).collect())?;
    crowd.wait_for_listener()?;
    ensure!(crowd.establish(IN_FLIGHT, UP_LIMIT)?, "{} sessions are Established", crowd.established());
    let mut watch = Watch::new(&watched.iter().map(|member| member.seat).collect::<Vec<_>>(), PATIENT)?;
    let (ready, is_ready) = channel::<()>();
    let (end, ended) = channel::<()>();
    let thread = std::thread::spawn(move || -> Result<Watch> {
        hurry();
        watch.hold(|watch| watch.up() == watch.sessions.len())?;
        drop(ready);
        // Until the interval is the fast one.
        let start = Instant::now();
        watch.hold(|_| start.elapsed() > IDLE)?;
        watch.sessions.iter_mut().for_each(|session| session.heard = Some(Vec::new()));
        watch.hold_until(&ended)?;
        Ok(watch)
    });
    let start = Instant::now();
    while is_ready.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
        ensure!(start.elapsed() < UP_LIMIT, "BFD does not come up");
        crowd.turn()?;
    }
    crowd.idle(IDLE * 2 + BEFORE, UP_LIMIT)?;
    let outcome = super::spread::offer(stage, members, &mut crowd)?;
    crowd.idle(QUIET, stage.limit)?;
    drop(end);
    let watch = thread.join().map_err(|_| anyhow!("the watch failed"))??;
    let Some((start, times)) = outcome else {
        return Ok(vec![("conv_s", f64::INFINITY)]);
    };
    let end = start + Duration::from_secs_f64(times.conv_s);
    let late = |is_wanted: &dyn Fn(Instant, Instant) -> bool| {
        let pairs = watch.sessions.iter().flat_map(|session| session.heard.as_deref().unwrap_or_default().windows(2));
        let gaps = pairs.filter(|pair| is_wanted(pair[0], pair[1])).map(|pair| pair[1] - pair[0]);
        gaps.map(|gap| (gap.as_secs_f64() - INTERVAL.as_secs_f64()) * 1e3).fold(0.0, f64::max)
    };
    Ok(vec![
        ("conv_s", times.conv_s),
        ("bfd_late_ms", late(&|before, at| at > start && before < end)),
        ("bfd_late_idle_ms", late(&|_, at| at < start)),
        ("bfd_downs", count(watch.sessions.iter().map(|session| session.downs).sum())),
        ("hwm_mb", dut.memory_mb("VmHWM")?),
    ])
}

/// f1: five hundred BFD sessions of 50 ms × 3 that are Up, and no BGP: CPU of all the daemon's threads, as a share of one core.
pub fn run_f1(stage: &Stage<'_>, kind: &Kind) -> Result<Figures> {
    let seats: Vec<Seat> = (0..MANY).map(|number| Seat { has_bfd: true, ..seat(number) }).collect();
    let dut = kind.start(stage.bed, stage.dir, Manner::Passive, &seats)?;
    let mut watch = Watch::new(&seats, PATIENT)?;
    let begun = Instant::now();
    let limit = stage.limit;
    let (figures, sender) = channel();
    let thread = std::thread::spawn(move || -> Result<Watch> {
        hurry();
        watch.hold(|watch| watch.up() == watch.sessions.len() || begun.elapsed() > limit)?;
        let up_s = begun.elapsed().as_secs_f64();
        let settle = Instant::now();
        watch.hold(|_| settle.elapsed() > IDLE * 2)?;
        let before: u64 = watch.sessions.iter().map(|session| session.packets).sum();
        figures.send(up_s)?;
        let start = Instant::now();
        watch.hold(|_| start.elapsed() > SPAN)?;
        let heard: u64 = watch.sessions.iter().map(|session| session.packets).sum();
        figures.send(count(heard - before) / start.elapsed().as_secs_f64())?;
        Ok(watch)
    });
    let up_s = sender.recv()?;
    let cpu = dut.cpu_s()?;
    let start = Instant::now();
    let packets = sender.recv()?;
    let share = (dut.cpu_s()? - cpu) / start.elapsed().as_secs_f64() * 100.0;
    let watch = thread.join().map_err(|_| anyhow!("the watch failed"))??;
    if watch.up() < seats.len() {
        return Ok(vec![("up_s", f64::INFINITY)]);
    }
    Ok(vec![
        ("up_s", up_s),
        ("cpu_percent", share),
        ("packets_per_s", packets),
        ("bfd_downs", count(watch.sessions.iter().map(|session| session.downs).sum())),
        ("rss_mb", dut.memory_mb("VmRSS")?),
    ])
}

#[expect(clippy::cast_precision_loss, reason = "a count")]
fn count(number: u64) -> f64 {
    number as f64
}
