//! The cases. One thread, poll(2): the clock starts with the first UPDATE byte and stops on the monitor's exact set.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::time::{ClockId, clock_gettime};
use socket2::{Domain, Socket, Type};

use crate::bed::{Bed, LINKS};
use crate::dut::{Dut, Kind, Manner};
use crate::session::Session;
use crate::table::{Table, hosts};

/// AS numbers of feeder and monitor.
const ASNS: [u32; 2] = [4_200_000_001, 4_200_000_002];
/// A run that takes longer has failed.
const LIMIT: Duration = Duration::from_secs(120);
/// Silence before the clock starts.
const IDLE: Duration = Duration::from_secs(1);
/// Quiet after which the daemon counts as settled.
const QUIET: Duration = Duration::from_millis(700);

/// What a run measured: (name with unit, value).
pub type Figures = Vec<(&'static str, f64)>;

/// a1: one feeder offers the table, one monitor receives it; then the feeder's session is lost.
pub fn run_a1(bed: &Bed, kind: &Kind, dir: &Path, table: &Table) -> Result<Figures> {
    let dut = kind.start(bed, dir, Manner::Passive)?;
    let mut feeder = dial(0)?;
    let mut monitor = dial(1)?;
    pump(&mut feeder, &mut monitor, &[], |f, m| f.is_established && m.is_established)?;
    idle(&mut feeder, &mut monitor, IDLE)?;
    let (cpu, own_cpu, start) = (dut.cpu_s()?, own_cpu_s(), Instant::now());
    let target = table.prefixes.len();
    pump(&mut feeder, &mut monitor, &table.stream, |_, m| m.held.len() == target)?;
    let conv_s = start.elapsed().as_secs_f64();
    let gen_cpu_s = own_cpu_s() - own_cpu;
    ensure!(monitor.held.is_same(&table.prefixes), "the monitor holds other prefixes than were offered");
    idle(&mut feeder, &mut monitor, QUIET)?;
    let mut figures = vec![
        ("conv_s", conv_s),
        ("cpu_s", dut.cpu_s()? - cpu),
        ("hwm_mb", dut.memory_mb("VmHWM")?),
        ("gen_cpu_s", gen_cpu_s),
    ];
    if *kind != Kind::Null {
        let start = Instant::now();
        drop(feeder);
        while !monitor.held.is_empty() {
            ensure!(start.elapsed() < LIMIT, "the monitor still holds {} prefixes", monitor.held.len());
            wait(&[(&monitor, PollFlags::IN)])?;
            monitor.receive()?;
        }
        figures.push(("wd_mon_s", start.elapsed().as_secs_f64()));
    }
    Ok(figures)
}

/// b1: one feeder offers `count` /32, and the clock stops when the kernel holds them; then the feeder's session is lost, until the
/// kernel is clean. The monitor is there to take what the daemon tells it.
pub fn run_b1(bed: &Bed, kind: &Kind, dir: &Path, count: u32) -> Result<Figures> {
    let stream = hosts(count, Ipv4Addr::new(100, 0, 0, 0), ASNS[0], Ipv4Addr::from(LINKS[0].1));
    let dut = kind.start(bed, dir, Manner::Installing)?;
    let mut feeder = dial(0)?;
    let mut monitor = dial(1)?;
    pump(&mut feeder, &mut monitor, &[], |f, m| f.is_established && m.is_established)?;
    idle(&mut feeder, &mut monitor, IDLE)?;
    let before = dut.kernel_prefixes()?;
    let (cpu, start) = (dut.cpu_s()?, Instant::now());
    let target = before + usize::try_from(count)?;
    let mut look = Look::default();
    pump(&mut feeder, &mut monitor, &stream, |_, _| look.sees(&dut, target))?;
    let fib_s = start.elapsed().as_secs_f64();
    idle(&mut feeder, &mut monitor, QUIET)?;
    let cpu_s = dut.cpu_s()? - cpu;
    let start = Instant::now();
    drop(feeder);
    while !look.sees(&dut, before) {
        ensure!(start.elapsed() < LIMIT, "the kernel still holds {} prefixes", dut.kernel_prefixes()?);
        wait(&[(&monitor, PollFlags::IN)])?;
        monitor.receive()?;
    }
    let wd_fib_s = start.elapsed().as_secs_f64();
    Ok(vec![("fib_s", fib_s), ("cpu_s", cpu_s), ("hwm_mb", dut.memory_mb("VmHWM")?), ("wd_fib_s", wd_fib_s)])
}

/// Looks at the kernel's trie, which costs a walk over it: at most a fifth of the time.
#[derive(Debug, Default)]
struct Look {
    not_before: Option<Instant>,
}

impl Look {
    fn sees(&mut self, dut: &Dut, target: usize) -> bool {
        let begun = Instant::now();
        if self.not_before.is_some_and(|at| begun < at) {
            return false;
        }
        let seen = dut.kernel_prefixes().is_ok_and(|held| held == target);
        self.not_before = Some(Instant::now() + begun.elapsed() * 4);
        seen
    }
}

/// d1: the daemon dials two listening peers; exec until both are Established, then RSS with 100 routes.
pub fn run_d1(bed: &Bed, kind: &Kind, dir: &Path) -> Result<Figures> {
    let table = Table::full(100, ASNS[0], Ipv4Addr::from(LINKS[0].1));
    let listeners = [listen(0)?, listen(1)?];
    let start = Instant::now();
    let dut = kind.start(bed, dir, Manner::Dialling)?;
    let mut feeder = Session::new(accept(&listeners[0])?, ASNS[0], Ipv4Addr::from(LINKS[0].1))?;
    let mut monitor = Session::new(accept(&listeners[1])?, ASNS[1], Ipv4Addr::from(LINKS[1].1))?;
    pump(&mut feeder, &mut monitor, &[], |f, m| f.is_established && m.is_established)?;
    let up_s = start.elapsed().as_secs_f64();
    pump(&mut feeder, &mut monitor, &table.stream, |_, m| m.held.len() == 100)?;
    idle(&mut feeder, &mut monitor, IDLE)?;
    Ok(vec![("up_s", up_s), ("rss_mb", dut.memory_mb("VmRSS")?)])
}

/// Connects from the address of link `number`; retries while the daemon starts.
fn dial(number: usize) -> Result<Session> {
    let (theirs, ours) = LINKS[number];
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((ours, 0)).into())?;
        match socket.connect(&SocketAddr::from((theirs, 179)).into()) {
            Ok(()) => {
                return Session::new(TcpStream::from(socket), ASNS[number], Ipv4Addr::from(ours));
            }
            Err(error) if Instant::now() > end => {
                return Err(error).context("the daemon does not listen on port 179");
            }
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// Accepts one connection, or fails after 10 s.
fn accept(listener: &TcpListener) -> Result<TcpStream> {
    let limit = Timespec { tv_sec: 10, tv_nsec: 0 };
    let ready = poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&limit))?;
    ensure!(ready == 1, "the daemon did not dial within 10 s");
    Ok(listener.accept()?.0)
}

fn listen(number: usize) -> Result<TcpListener> {
    Ok(TcpListener::bind(SocketAddr::from((LINKS[number].1, 179)))?)
}

/// Serves both sessions and offers `stream` on the first until `is_done`.
fn pump(
    feeder: &mut Session,
    monitor: &mut Session,
    stream: &[u8],
    mut is_done: impl FnMut(&Session, &Session) -> bool,
) -> Result<()> {
    let start = Instant::now();
    let mut offset = 0;
    while !is_done(feeder, monitor) {
        ensure!(start.elapsed() < LIMIT, "not done in {LIMIT:?}: the monitor holds {} prefixes", monitor.held.len());
        offset += feeder.send(stream, offset)?;
        monitor.send(&[], 0)?;
        let wants_write =
            if offset < stream.len() || feeder.has_control() { PollFlags::OUT } else { PollFlags::empty() };
        wait(&[(feeder, PollFlags::IN | wants_write), (monitor, PollFlags::IN)])?;
        feeder.receive()?;
        monitor.receive()?;
    }
    // What the last messages made us owe, such as a KEEPALIVE.
    feeder.send(&[], 0)?;
    monitor.send(&[], 0)?;
    Ok(())
}

/// Serves both sessions until `quiet` has passed without an UPDATE.
fn idle(feeder: &mut Session, monitor: &mut Session, quiet: Duration) -> Result<()> {
    let start = Instant::now();
    pump(feeder, monitor, &[], |_, m| m.last_update.map_or(start, |last| last.max(start)).elapsed() > quiet)
}

/// Waits for one of the sockets, at most 5 ms.
fn wait(sessions: &[(&Session, PollFlags)]) -> Result<()> {
    let mut fds: Vec<_> = sessions.iter().map(|(session, flags)| PollFd::new(session.socket(), *flags)).collect();
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 5_000_000 }))?;
    Ok(())
}

/// CPU time of this process so far (s).
fn own_cpu_s() -> f64 {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0)).as_secs_f64()
}
