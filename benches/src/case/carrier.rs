//! c1, c2: every route by way of two gateways, one on each link, until one link loses its carrier: when does no route use the gateway
//! there, and when, after the carrier is back, do all of them again? In c1 each link carries the session of its feeder, in c4 one with
//! graceful restart; in c2 both sessions are on the first, so that they stay. In c3 the link stays, and the second peer falls silent: BFD must notice.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{TryRecvError, channel};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};

use super::{Figures, IDLE, Stage, UP_LIMIT, rise};
use crate::bed::LINKS;
use crate::crowd::Crowd;
use crate::detect::{INTERVAL, STRICT, Watch, hurry};
use crate::dut::{Dut, Kind, Manner};
use crate::kernel::{Gateways, Kernel, wait_for};
use crate::plan::{monitor_seat, seat};
use crate::session::Seat;
use crate::table::hosts_alike;

/// First host route.
const FIRST: Ipv4Addr = Ipv4Addr::new(100, 0, 0, 0);
/// Routes looked at one by one: a turn over all takes about a millisecond.
const SAMPLES: u32 = 64;
/// The generator's end of the second link.
const LINK: &str = "gen1";
/// A call over a link that has just come up is given up after this long, and made anew.
const DIAL_AGAIN: Duration = Duration::from_millis(100);
/// Of a short loss.
const FLAP: Duration = Duration::from_millis(100);
/// The kernel tells of a change of carrier at once only if the last one is a second ago.
const CALM: Duration = Duration::from_millis(1_500);

/// CPU of a daemon at rest within that time (s), and of one that has a BFD session of 50 ms.
const SILENT: f64 = 0.02;
const FAST_HELLOS: f64 = 0.06;

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub struct Carrier {
    /// Host routes.
    pub count: u32,
    /// Both sessions are on the link that stays.
    pub keeps_sessions: bool,
    /// The session that is lost was one with graceful restart.
    pub is_kept: bool,
    /// Both processors have something else to do.
    pub is_busy: bool,
}

/// Threads that keep the processors busy while this lives.
struct Burners(Arc<AtomicBool>);

impl Burners {
    fn start(number: usize) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        for _ in 0..number {
            let over = Arc::clone(&over);
            std::thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        Self(over)
    }
}

impl Drop for Burners {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct Scene<'a> {
    stage: &'a Stage<'a>,
    dut: Dut,
    crowd: Crowd,
    /// In the daemon's namespace, and in ours.
    kernel: Kernel,
    own: Kernel,
    samples: Vec<Ipv4Addr>,
    count: usize,
}

/// Runs c1, c2 and c4.
pub fn run_carrier(stage: &Stage<'_>, kind: &Kind, case: Carrier) -> Result<Figures> {
    let second =
        Seat { is_told: false, is_kept: case.is_kept, ..if case.keeps_sessions { seat(1) } else { monitor_seat() } };
    let (mut scene, streams) = Scene::set(stage, kind, case.count, second)?;
    let (both, left) = (Gateways::from(gateways()), Gateways::from([gateways()[0]]));
    let start = Instant::now();
    for (at, stream) in streams.iter().enumerate() {
        scene.crowd.offer(at, Arc::clone(stream))?;
    }
    let Some(done) = scene.wait(&both, true)? else { return Ok(vec![("fib_s", f64::INFINITY)]) };
    let mut figures = vec![("fib_s", (done - start).as_secs_f64())];
    scene.settle(SILENT)?;
    let burners = case.is_busy.then(|| Burners::start(2));
    let outcome = scene.lose_and_regain(&mut figures, case, &[&both, &left], &streams[1]);
    drop(burners);
    // What comes after it in the same bed needs both.
    scene.own.set_link(LINK, true)?;
    outcome?;
    figures.push(("hwm_mb", scene.dut.memory_mb("VmHWM")?));
    Ok(figures)
}

/// c3: until no route uses the second gateway, from when BFD should have noticed that its packets do not come any more.
pub fn run_path(stage: &Stage<'_>, kind: &Kind, count: u32) -> Result<Figures> {
    let second = Seat { is_told: false, has_bfd: true, ..monitor_seat() };
    let mut watch = Watch::new(&[second], STRICT)?;
    let (mut scene, streams) = Scene::set(stage, kind, count, second)?;
    let (both, left) = (Gateways::from(gateways()), Gateways::from([gateways()[0]]));
    let (ready, is_ready) = channel::<()>();
    let (end, ended) = channel::<()>();
    let thread = std::thread::spawn(move || -> Result<Instant> {
        hurry();
        watch.hold(|watch| watch.up() == watch.sessions.len())?;
        drop(ready);
        watch.hold_until(&ended)?;
        Ok(watch.sessions[0].sent)
    });
    let start = Instant::now();
    while is_ready.try_recv() == Err(TryRecvError::Empty) {
        ensure!(start.elapsed() < UP_LIMIT, "BFD does not come up");
        scene.crowd.turn()?;
    }
    // Until the interval is the fast one.
    scene.crowd.idle(IDLE, UP_LIMIT)?;
    let start = Instant::now();
    for (at, stream) in streams.iter().enumerate() {
        scene.crowd.offer(at, Arc::clone(stream))?;
    }
    let Some(done) = scene.wait(&both, true)? else { return Ok(vec![("fib_s", f64::INFINITY)]) };
    scene.settle(FAST_HELLOS)?;
    drop(end);
    let last = thread.join().map_err(|_| anyhow!("the watch failed"))??;
    let lost = scene.wait(&left, false)?;
    let due = last + INTERVAL * u32::from(STRICT);
    // A daemon whose timer began a little earlier, by the jitter of a packet before, is not rewarded for it.
    let beyond_ms = lost.map_or(f64::INFINITY, |lost| lost.saturating_duration_since(due).as_secs_f64() * 1e3);
    Ok(vec![
        ("fib_s", (done - start).as_secs_f64()),
        ("beyond_ms", beyond_ms),
        ("hwm_mb", scene.dut.memory_mb("VmHWM")?),
    ])
}

/// The generator's ends of both links.
fn gateways() -> [Ipv4Addr; 2] {
    LINKS.map(|(_, ours)| ours.into())
}

impl<'a> Scene<'a> {
    /// A daemon with two idle sessions, and what each of them is to offer.
    fn set(stage: &'a Stage<'a>, kind: &Kind, count: u32, second: Seat) -> Result<(Self, [Arc<Vec<u8>>; 2])> {
        let first = Seat { is_told: false, ..seat(0) };
        let [near, far] = gateways();
        let streams = [(first, near), (second, far)]
            .map(|(seat, gateway)| Arc::new(hosts_alike(count, FIRST, seat.asn, gateway)));
        let kernel = stage.bed.in_dut(Kernel::open)?;
        let (dut, crowd) = rise(stage, kind, Manner::Installing, &[first, second])?;
        let step = usize::try_from((count / SAMPLES).max(1))?;
        let samples = (0..count).step_by(step).map(|number| Ipv4Addr::from_bits(FIRST.to_bits() + number)).collect();
        let scene = Self { stage, dut, crowd, kernel, own: Kernel::open()?, samples, count: usize::try_from(count)? };
        Ok((scene, streams))
    }

    /// Until every route has these gateways. `serve`: sessions are served meanwhile.
    fn wait(&mut self, wanted: &Gateways, serve: bool) -> Result<Option<Instant>> {
        let (start, limit, crowd) = (Instant::now(), self.stage.limit, &mut self.crowd);
        wait_for(&mut self.kernel, &self.samples, self.count, wanted, || {
            if serve {
                crowd.turn()?;
            }
            Ok(start.elapsed() < limit)
        })
    }

    /// Until the daemon does nothing but hold its sessions (so much CPU within [`CALM`]), and the kernel is ready to tell of the next
    /// change at once.
    fn settle(&mut self, idle_cpu_s: f64) -> Result<()> {
        let start = Instant::now();
        let mut still = Instant::now();
        let mut cpu = self.dut.cpu_s()?;
        while still.elapsed() < CALM {
            self.crowd.turn()?;
            self.crowd.keep_alive()?;
            let now = self.dut.cpu_s()?;
            if now - cpu > idle_cpu_s {
                (cpu, still) = (now, Instant::now());
            }
            ensure!(start.elapsed() < self.stage.limit, "the daemon does not come to rest");
        }
        Ok(())
    }

    fn lose_and_regain(
        &mut self,
        figures: &mut Figures,
        case: Carrier,
        [both, left]: &[&Gateways; 2],
        stream: &Arc<Vec<u8>>,
    ) -> Result<()> {
        let ms = |from: Instant, to: Option<Instant>| to.map_or(f64::INFINITY, |to| (to - from).as_secs_f64() * 1e3);
        let start = Instant::now();
        self.own.set_link(LINK, false)?;
        let lost = self.wait(left, false)?;
        figures.push(("loss_ms", ms(start, lost)));
        if lost.is_none() {
            return Ok(());
        }
        if !case.keeps_sessions {
            self.crowd.leave(1);
        }
        self.settle(SILENT)?;
        let start = Instant::now();
        self.own.set_link(LINK, true)?;
        if !case.keeps_sessions {
            self.crowd.dial(1)?;
            let mut dialled = Instant::now();
            while self.crowd.established() < 2 {
                self.crowd.turn()?;
                self.crowd.redial()?;
                // What a link drops while it comes up, TCP would send again after a second: that is no figure of the daemon's.
                if dialled.elapsed() > DIAL_AGAIN {
                    self.crowd.leave(1);
                    self.crowd.dial(1)?;
                    dialled = Instant::now();
                }
                if start.elapsed() > self.stage.limit {
                    figures.push(("call_s", f64::INFINITY));
                    return Ok(());
                }
            }
            figures.push(("call_s", ms(start, Some(Instant::now())) / 1e3));
            self.crowd.offer(1, Arc::clone(stream))?;
            let back = self.wait(both, true)?;
            figures.push(("back_s", ms(start, back) / 1e3));
            return Ok(());
        }
        let back = self.wait(both, false)?;
        figures.push(("repair_ms", ms(start, back)));
        if back.is_none() {
            return Ok(());
        }
        self.settle(SILENT)?;
        self.own.set_link(LINK, false)?;
        std::thread::sleep(FLAP);
        let start = Instant::now();
        self.own.set_link(LINK, true)?;
        let back = self.wait(both, false)?;
        figures.push(("flap_ms", ms(start, back)));
        Ok(())
    }
}
