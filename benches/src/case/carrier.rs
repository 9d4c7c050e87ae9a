//! c1, c2: every route by way of two gateways, one on each link, until one link loses its carrier: when does no route use the gateway
//! there, and when, after the carrier is back, do all of them again? In c1 each link carries the session of its feeder; in c2
//! both sessions are on the first, so that they stay.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::{Figures, Stage, rise};
use crate::bed::LINKS;
use crate::crowd::Crowd;
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
/// Of a short loss.
const FLAP: Duration = Duration::from_millis(100);
/// The kernel tells of a change of carrier at once only if the last one is a second ago.
const CALM: Duration = Duration::from_millis(1_500);

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub struct Carrier {
    /// Host routes.
    pub count: u32,
    /// Both sessions are on the link that stays.
    pub keeps_sessions: bool,
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

/// Runs the case.
pub fn run_carrier(stage: &Stage<'_>, kind: &Kind, case: Carrier) -> Result<Figures> {
    let first = Seat { is_told: false, ..seat(0) };
    let second = Seat { is_told: false, ..if case.keeps_sessions { seat(1) } else { monitor_seat() } };
    let gateways = [first.ours, Ipv4Addr::from(LINKS[1].1)];
    let streams = [(first, gateways[0]), (second, gateways[1])]
        .map(|(seat, gateway)| Arc::new(hosts_alike(case.count, FIRST, seat.asn, gateway)));
    let kernel = stage.bed.in_dut(Kernel::open)?;
    let (dut, crowd) = rise(stage, kind, Manner::Installing, &[first, second])?;
    let step = (case.count / SAMPLES).max(1);
    let samples = (0..case.count).step_by(usize::try_from(step)?);
    let samples = samples.map(|number| Ipv4Addr::from_bits(FIRST.to_bits() + number)).collect();
    let count = usize::try_from(case.count)?;
    let mut scene = Scene { stage, dut, crowd, kernel, own: Kernel::open()?, samples, count };
    let (both, left) = (Gateways::from(gateways), Gateways::from([gateways[0]]));
    let start = Instant::now();
    for (at, stream) in streams.iter().enumerate() {
        scene.crowd.offer(at, Arc::clone(stream))?;
    }
    let Some(done) = scene.wait(&both, true)? else { return Ok(vec![("fib_s", f64::INFINITY)]) };
    let mut figures = vec![("fib_s", (done - start).as_secs_f64())];
    scene.settle()?;
    let burners = case.is_busy.then(|| Burners::start(2));
    let outcome = scene.lose_and_regain(&mut figures, case, &[&both, &left], &streams[1]);
    drop(burners);
    // What comes after it in the same bed needs both.
    scene.own.set_link(LINK, true)?;
    outcome?;
    figures.push(("hwm_mb", scene.dut.memory_mb("VmHWM")?));
    Ok(figures)
}

impl Scene<'_> {
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

    /// Until the daemon has nothing to do and the kernel is ready to tell of the next change at once.
    fn settle(&mut self) -> Result<()> {
        let start = Instant::now();
        let mut still = Instant::now();
        let mut cpu = self.dut.cpu_s()?;
        while still.elapsed() < CALM {
            self.crowd.turn()?;
            self.crowd.keep_alive()?;
            let now = self.dut.cpu_s()?;
            if now - cpu > 0.02 {
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
        self.settle()?;
        let start = Instant::now();
        self.own.set_link(LINK, true)?;
        if !case.keeps_sessions {
            self.crowd.dial(1)?;
            while self.crowd.established() < 2 {
                self.crowd.turn()?;
                self.crowd.redial()?;
                ensure!(start.elapsed() < self.stage.limit, "the session does not come back");
            }
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
        self.settle()?;
        self.own.set_link(LINK, false)?;
        std::thread::sleep(FLAP);
        let start = Instant::now();
        self.own.set_link(LINK, true)?;
        let back = self.wait(both, false)?;
        figures.push(("flap_ms", ms(start, back)));
        Ok(())
    }
}
