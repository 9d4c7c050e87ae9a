//! What is measured of a DHCP server that was started for it, one case after another: each goes on with what those before left.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::ask::{Asker, Heard, What};
use super::plant::{Client, PREFIX, SERVICE, clients};
use super::server::{Kind, Place, Running};
use crate::bed::{Bed, LINKS, ip};
use crate::case::Figures;

/// Every case, in their order.
pub const ALL: [&str; 7] = ["known", "first", "offer", "bind", "renew", "known-max", "offer-max"];
/// Questions a second of the cases that are not `-max`: the promise is for this rate.
const RATE: u32 = 10_000;
/// The same where a server must store something for each.
const BIND_RATE: u32 = 500;
/// Seconds of a case.
const SECONDS: u32 = 5;
/// The time within which 99 of 100 must be answered (ms).
const WITHIN_MS: f64 = 5.0;
/// Questions of a thousand that may be lost at the highest rate.
const LOST_OF_THOUSAND: usize = 1;
/// The first rate that is tried for the highest one, and what each one after it is multiplied with.
const LOWEST: f64 = 500.0;
const STEP: f64 = 1.2;
/// Seconds of each try, and how many tries a rate has: one that fails may be somebody else's fault.
const TRY_S: f64 = 1.0;
const TRIES: usize = 3;
/// Between questions to a server that is not there yet.
const AGAIN: Duration = Duration::from_millis(20);
/// The server answers its first question within this.
const UP: Duration = Duration::from_secs(60);

/// Routes between the relays and the server: no link is shared with any network of the plan.
///
/// # Errors
/// When `ip` fails.
pub fn prepare(bed: &Bed) -> Result<()> {
    let [([a, b, c, d], [e, f, g, h]), _] = LINKS;
    bed.in_dut(|| {
        ip(&format!("addr add {SERVICE}/32 dev dut0"))?;
        ip(&format!("route add {PREFIX} via {e}.{f}.{g}.{h}"))
    })?;
    ip(&format!("route add {SERVICE}/32 via {a}.{b}.{c}.{d}"))?;
    ip(&format!("route add local {PREFIX} dev lo"))
}

/// A server with its clients.
#[derive(Debug)]
pub struct Session {
    running: Running,
    asker: Asker,
    known: Vec<Client>,
    others: Vec<Client>,
    has: Vec<Option<Ipv4Addr>>,
    /// From the start to the first answer (s), the registration of the machines in between.
    pub up_s: f64,
}

impl Session {
    /// Starts a server and waits for its first answer.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn start(kind: &Kind, place: &Place<'_>) -> Result<Self> {
        let begin = Instant::now();
        let running = kind.start(place)?;
        let mut asker = Asker::new()?;
        // The mirror knows nobody.
        let known = clients(*kind != Kind::Mirror);
        while asker.ask(What::Discover, &known[..1], &[], RATE, 1)?.lost() > 0 {
            ensure!(begin.elapsed() < UP, "{} does not answer; its log is in {}", kind.name(), place.dir.display());
            // Our processor is the one on which it begins.
            std::thread::sleep(AGAIN);
        }
        let up_s = begin.elapsed().as_secs_f64();
        Ok(Self { running, asker, known, others: clients(false), has: Vec::new(), up_s })
    }

    /// Peak memory of the server alone (MB).
    ///
    /// # Errors
    /// When it is gone.
    pub fn memory_mb(&self) -> Result<f64> {
        self.running.server.memory_mb("VmHWM")
    }

    /// One case.
    ///
    /// # Errors
    /// When there is no such case, the server gives wrong answers, or it is gone.
    pub fn run(&mut self, case: &str) -> Result<Figures> {
        let all = self.others.len();
        let rate = |rate: u32| (rate, usize::try_from(rate * SECONDS).unwrap_or(usize::MAX));
        let (what, is_known, (rate, total)) = match case {
            "known" => (What::Discover, true, rate(RATE)),
            // Each client once: a server that needs something for a rack's first client gets it now.
            "first" => (What::Discover, false, (BIND_RATE * 4, all)),
            "offer" => (What::Discover, false, rate(RATE)),
            "bind" => (What::Bind, false, (BIND_RATE, all)),
            "renew" => (What::Renew, false, rate(RATE)),
            "known-max" => return self.highest(true),
            "offer-max" => return self.highest(false),
            other => anyhow::bail!("--case {other}: not one of {}", ALL.join(", ")),
        };
        let clients = if is_known { &self.known } else { &self.others };
        let begin = self.running.server.cpu_s()?;
        let heard = self.asker.ask(what, clients, &self.has, rate, total)?;
        let cpu_s = self.running.server.cpu_s()? - begin;
        let wrong = heard.wrong;
        ensure!(wrong == 0, "{case}: {wrong} wrong answers");
        let figures = figures(&heard, cpu_s);
        if what == What::Bind {
            // Who has nothing cannot renew it.
            let has = self.others.iter().zip(heard.addresses).filter(|(_, address)| address.is_some());
            let (others, has): (Vec<Client>, Vec<Option<Ipv4Addr>>) = has.unzip();
            (self.others, self.has) = (others, has);
        }
        Ok(figures)
    }

    /// The highest rate at which the promise holds.
    fn highest(&mut self, is_known: bool) -> Result<Figures> {
        let clients = if is_known { &self.known } else { &self.others };
        let (mut rate, mut best, mut fails) = (LOWEST, None, 0);
        while fails < TRIES {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate of some thousands")]
            let (whole, total) = (rate as u32, (rate * TRY_S) as usize);
            let begin = self.running.server.cpu_s()?;
            let heard = self.asker.ask(What::Discover, clients, &[], whole, total).context("ask")?;
            let cpu_s = self.running.server.cpu_s()? - begin;
            if heard.within(990) <= WITHIN_MS && heard.lost() * 1_000 <= total * LOST_OF_THOUSAND {
                (best, fails) = (Some((rate, heard, cpu_s)), 0);
                rate *= STEP;
            } else {
                fails += 1;
            }
        }
        let Some((rate, heard, cpu_s)) = best else { return Ok(vec![("per_s", 0.0)]) };
        Ok([vec![("per_s", rate)], figures(&heard, cpu_s)].concat())
    }
}

fn figures(heard: &Heard, cpu_s: f64) -> Figures {
    let count = |number: usize| f64::from(u32::try_from(number).unwrap_or(u32::MAX));
    let answered = count(heard.times_ms.len());
    vec![
        ("p50_ms", heard.within(500)),
        ("p99_ms", heard.within(990)),
        ("p999_ms", heard.within(999)),
        ("answered", answered),
        ("lost", count(heard.lost())),
        ("cpu_us_each", cpu_s * 1e6 / answered.max(1.0)),
        ("gen_late_ms", heard.late_ms),
    ]
}
