//! Sessions as such: start and idle memory (d1), a thousand of them (e2), two hundred at once (e3).

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::{Figures, IDLE, IN_FLIGHT, Stage, UP_LIMIT};
use crate::crowd::Crowd;
use crate::dut::{Kind, Manner};
use crate::plan::{monitor_seat, seat};
use crate::session::Seat;
use crate::table::Table;

/// Routes in d1.
const FEW: usize = 100;
/// A daemon has read its configuration by then, and started its peers.
const SETTLE: Duration = Duration::from_secs(2);

/// d1: the daemon dials two listening peers; exec until both are Established, then RSS with 100 routes.
pub fn run_d1(stage: &Stage<'_>, kind: &Kind) -> Result<Figures> {
    let seats = vec![seat(0), monitor_seat()];
    let table = Table::full(FEW, seats[0].asn, seats[0].ours);
    let listen = |seat: &Seat| TcpListener::bind(SocketAddr::from((seat.ours, 179)));
    let listeners = [listen(&seats[0])?, listen(&seats[1])?];
    let mut crowd = Crowd::new(seats.clone())?;
    let start = Instant::now();
    let dut = kind.start(stage.bed, stage.dir, Manner::Dialling, &seats)?;
    for (at, listener) in listeners.iter().enumerate() {
        crowd.accept(at, listener, UP_LIMIT)?;
    }
    while crowd.established() < seats.len() {
        ensure!(start.elapsed() < UP_LIMIT, "{} sessions are Established", crowd.established());
        crowd.turn()?;
    }
    let up_s = start.elapsed().as_secs_f64();
    crowd.session(1)?.held = Some(table.prefixes.cleared());
    crowd.offer(0, table.stream.into())?;
    while crowd.session(1)?.held.as_ref() != Some(&table.prefixes) {
        ensure!(start.elapsed() < UP_LIMIT, "the monitor does not hold {FEW} prefixes");
        crowd.turn()?;
    }
    crowd.idle(IDLE, UP_LIMIT)?;
    Ok(vec![("up_s", up_s), ("rss_mb", dut.memory_mb("VmRSS")?)])
}

/// e2: 1,000 sessions with four connections in flight; e3: 200 connections at once. First connect until all are Established.
pub fn run_e(stage: &Stage<'_>, kind: &Kind, count: u16, is_burst: bool) -> Result<Figures> {
    let seats: Vec<Seat> = (0..count).map(seat).collect();
    let dut = kind.start(stage.bed, stage.dir, Manner::Passive, &seats)?;
    let mut crowd = Crowd::new(seats)?;
    crowd.wait_for_listener()?;
    std::thread::sleep(SETTLE);
    let (cpu, start) = (dut.cpu_s()?, Instant::now());
    let is_up = crowd.establish(if is_burst { count.into() } else { IN_FLIGHT }, stage.limit)?;
    let up_s = if is_up { start.elapsed().as_secs_f64() } else { f64::INFINITY };
    let cpu_s = dut.cpu_s()? - cpu;
    crowd.idle(IDLE, UP_LIMIT)?;
    Ok(vec![("up_s", up_s), ("cpu_s", cpu_s), ("rss_mb", dut.memory_mb("VmRSS")?)])
}
