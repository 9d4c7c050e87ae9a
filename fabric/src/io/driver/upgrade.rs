//! One daemon after the other in the same process: the new program tries first whether it could, as a child; then this process becomes it, with
//! listening sockets, sessions and BFD. Up to that moment nothing here has changed, and if it fails nothing has.

use super::{Daemon, leases};
use crate::api::{Answer, Refusal};
use crate::config::SandboxConfig;
use crate::handover::{FORM, Handover, KeptCache, Leased};
use crate::io::bfd::Thread;
use crate::io::handover::{self, Start, Taken};
use crate::io::listen::Listeners;
use crate::io::netlink;
use crate::io::rtr::{CACHES_BYTES, Caches};
use crate::io::sandbox::Sandbox;
use crate::io::tcp::Conns;
use crate::node::Input;
use crate::plan;
use crate::record::Recorder;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use tokio::sync::{mpsc, oneshot};
use weft_bgp::speaker;
use weft_bgp::time::{Duration, Instant};

/// The answer to who asked for the upgrade leaves before the process becomes another.
const ANSWER_FIRST: Duration = Duration::from_millis(50);

/// What a rehearsal came to, and who asked for it.
#[derive(Debug)]
pub(super) struct Rehearsed {
    program: PathBuf,
    outcome: Result<(), String>,
    reply: oneshot::Sender<Answer>,
}

/// An upgrade of this daemon.
#[derive(Debug)]
pub(super) struct Upgrade {
    /// What a rehearsal comes to is told here.
    rehearsed: mpsc::Sender<Rehearsed>,
    /// One is rehearsed.
    is_rehearsing: bool,
    /// This program is to take over then.
    due: Option<(Instant, PathBuf)>,
    /// What the daemon before left, until links and peers are known.
    taken: Option<Taken>,
    /// How many there were, and how many programs could not start.
    pub(super) count: u64,
    pub(super) undone: u64,
    /// This program goes on because another one could not.
    is_undone: bool,
    /// Of the last one: sessions that went on, of how many there were.
    pub(super) kept: Option<(usize, usize)>,
}

impl Upgrade {
    /// After one, or none yet.
    pub(super) fn after(taken: Option<Taken>) -> (Self, mpsc::Receiver<Rehearsed>) {
        let (rehearsed, rehearsals) = mpsc::channel(1);
        let (count, undone) = taken.as_ref().map_or((0, 0), |taken| (taken.handover.upgrades, taken.handover.undone));
        let is_undone = taken.as_ref().is_some_and(|taken| taken.is_back);
        let upgrade = Self { rehearsed, is_rehearsing: false, due: None, taken, count, undone, is_undone, kept: None };
        (upgrade, rehearsals)
    }

    pub(super) fn due_at(&self) -> Option<Instant> {
        self.due.as_ref().map(|(at, _)| *at)
    }
}

impl Daemon {
    /// Lets the program try. The answer comes with its outcome.
    pub(super) fn rehearse(&mut self, named: Option<&Path>, reply: oneshot::Sender<Answer>) {
        let program = match self.may_upgrade().and_then(|()| handover::program(named).map_err(not_executed)) {
            Ok(program) => program,
            Err(refusal) => {
                // Who does not wait for the answer any more does not miss it.
                let _ = reply.send(Answer::refused(&self.node, refusal));
                return;
            }
        };
        self.upgrade.is_rehearsing = true;
        let (config, rehearsed) = (self.path.clone(), self.upgrade.rehearsed.clone());
        let all = self.all_but_bfd();
        tokio::spawn(async move {
            let outcome = handover::rehearse(&program, &config, &all).await;
            // The loop is gone only when the daemon is.
            let _ = rehearsed.send(Rehearsed { program, outcome, reply }).await;
        });
    }

    /// An upgrade changes the program and nothing else.
    fn may_upgrade(&self) -> Result<(), Refusal> {
        if self.upgrade.is_rehearsing || self.upgrade.due.is_some() {
            return Err(Refusal::new(409, "an upgrade is under way", "wait for it: `weft show version`"));
        }
        if let Some(left) = self.node.unconfirmed(self.clock.now()) {
            let error = format!("the configuration in force waits for its confirmation, {} s more", left.as_secs());
            return Err(Refusal::new(409, error, "`weft reload --confirm` keeps it"));
        }
        if !self.node.speaker().summary().converged {
            let remedy = "`weft health` says who is waited for; try again when it has heard them";
            return Err(Refusal::new(409, "the daemon has not converged yet", remedy));
        }
        let (plan, _) = self.node.plan(&self.read()?);
        if !plan.is_empty() {
            let error = format!("{} is not what runs: {}", self.path.display(), plan.summary());
            return Err(Refusal::new(409, error, "an upgrade changes the program alone: `weft reload` first"));
        }
        Ok(())
    }

    pub(super) fn on_rehearsed(&mut self, rehearsed: Rehearsed) {
        let Rehearsed { program, outcome, reply } = rehearsed;
        self.upgrade.is_rehearsing = false;
        let answer = match outcome {
            Ok(()) => {
                let all = self.all_but_bfd();
                let standing = self.node.established();
                let done =
                    format!("{} takes over, with {} of {standing} sessions", program.display(), all.sessions.len());
                tracing::info!("{done}");
                // Who watches hears it before the stream breaks off.
                self.note_configuration(plan::Event::Upgrade { summary: done.clone() });
                self.upgrade.due = Some((self.clock.now() + ANSWER_FIRST, program));
                Answer::done(&self.node, done)
            }
            Err(error) => {
                tracing::error!("not upgraded, this daemon goes on: {error}");
                let remedy = "nothing has changed: the running daemon goes on";
                Answer::refused(&self.node, Refusal::new(422, error, remedy))
            }
        };
        let _ = reply.send(answer);
    }

    /// Hands over when it is time. Returns only if nothing is to be done, or if it failed.
    pub(super) async fn upgrade_if_due(&mut self) {
        if self.upgrade.due.as_ref().is_none_or(|(at, _)| *at > self.clock.now()) {
            return;
        }
        let Some((_, program)) = self.upgrade.due.take() else {
            return;
        };
        self.keep_leases();
        let bfd = self.detector.kept().await;
        let all = Handover { bfd, ..self.all_but_bfd() };
        let mut sockets: Vec<BorrowedFd<'_>> = self.listeners.standing().map(|(_, socket)| socket).collect();
        let handed = |(conn, socket, _)| self.node.speaker().hand_over(conn).map(|_| socket);
        sockets.extend(self.conns.standing().filter_map(handed));
        let (caches, data) = self.kept_caches();
        let all = Handover { caches, ..all };
        sockets.extend(data.as_ref().map(AsFd::as_fd));
        sockets.extend(self.checks.runner().map(AsFd::as_fd));
        let error = handover::replace(&program, &all, &sockets, &self.detector);
        tracing::error!(program = %program.display(), %error, "not upgraded, this daemon goes on");
    }

    /// What is handed over, but for what BFD's thread knows.
    fn all_but_bfd(&self) -> Handover {
        let now = self.clock.now();
        let session = |(conn, _, pending): (_, _, &[u8])| {
            let mut handed = self.node.speaker().hand_over(conn)?;
            handed.unsent.splice(..0, pending.iter().copied());
            Some(handed)
        };
        let leased =
            |lease: crate::node::Lease| Leased { owner: lease.owner, left_s: lease.time.as_secs(), route: lease.route };
        Handover {
            form: FORM,
            now,
            upgrades: self.upgrade.count + 1,
            undone: self.upgrade.undone,
            config: self.path.clone(),
            standing: self.node.established(),
            listeners: self.listeners.standing().map(|(listener, _)| listener).collect(),
            sessions: self.conns.standing().filter_map(session).collect(),
            bfd: Vec::new(),
            leases: self.node.leases(now).map(leased).collect(),
            vips: self.node.keep_vips(),
            history: self.node.keep_history(),
            // With their data, where they have a file for it.
            caches: Vec::new(),
            granted: self.sandbox.granted(),
        }
    }

    /// Data of RPKI caches, and a file with it. Without the file they begin anew: what it is for is worth no upgrade that fails.
    fn kept_caches(&self) -> (Vec<KeptCache>, Option<File>) {
        let (caches, octets) = self.caches.keep(&self.node);
        if caches.is_empty() {
            return (caches, None);
        }
        match handover::file("weft-rpki", &octets) {
            Ok(file) => (caches, Some(file)),
            Err(error) => {
                tracing::warn!(%error, "what RPKI caches said is not handed over");
                (Vec::new(), None)
            }
        }
    }

    /// What is there before links, peers and routes: leases of DHCP, checks go on with what they have said, and routes are validated from the first on.
    pub(super) fn prepare(taken: Option<&mut Taken>, now: Instant, node: &mut Recorder, caches: &mut Caches) {
        leases::restore(node, now);
        caches.start(now, node);
        let Some(Taken { handover, data, .. }) = taken else {
            return;
        };
        node.resume_vips(std::mem::take(&mut handover.vips));
        let data = data.take().map(|data| handover::read(&File::from(data), CACHES_BYTES)).transpose();
        match data {
            Ok(data) => caches.resume(now, node, &handover.caches, &data.unwrap_or_default()),
            Err(error) => tracing::warn!(%error, "what RPKI caches said was not handed over"),
        }
    }

    /// Links and peers are known: sessions go on.
    pub(super) fn take_over(&mut self) {
        let Some(Taken { handover, sockets, spare, .. }) = self.upgrade.taken.take() else {
            return;
        };
        let sessions = handover.sessions.into_iter().zip(sockets);
        for (mut session, socket) in sessions {
            let unsent = std::mem::take(&mut session.unsent);
            match self.conns.take_over(socket, unsent) {
                Ok(conn) => {
                    let session = Box::new(session);
                    self.handle(Input::Bgp(speaker::Input::Handed { conn, session }));
                    self.conns.queue(conn);
                }
                Err(error) => tracing::warn!(peer = %session.remote, %error, "a session does not go on"),
            }
        }
        let now = self.clock.now();
        for lease in handover.leases {
            // The owner is the same, and there are no more than before.
            let _ = self.node.lease(now, lease.into());
        }
        let (kept, standing) = (self.node.established(), handover.standing);
        self.node.resume_history(handover.history);
        let version = env!("CARGO_PKG_VERSION");
        let summary = match self.upgrade.is_undone {
            false => format!("weft {version} has taken over, {kept} of {standing} sessions went on"),
            true => {
                format!("the new program did not start, weft {version} goes on, with {kept} of {standing} sessions")
            }
        };
        self.note_configuration(plan::Event::Upgrade { summary });
        self.upgrade.kept = Some((kept, standing));
        tracing::info!(kept, standing, "upgraded: sessions went on");
        // From here on there is no way back, and what is closed is closed.
        drop(handover::Spare::take(&spare));
    }
}

/// The listening sockets: new ones, or those that were handed over, which are the first of all.
pub(super) fn listeners(conns: &Conns, taken: Option<&mut Taken>) -> anyhow::Result<Listeners> {
    let Some(taken) = taken else {
        return Listeners::start(conns);
    };
    let count = taken.handover.listeners.len().min(taken.sockets.len());
    let all = taken.handover.listeners.iter().copied().zip(taken.sockets.drain(..count)).collect();
    Listeners::take_over(conns, all)
}

/// A kernel's thread to be started, and what was started before it: BFD must not wait for a dump of all routes.
#[derive(Debug)]
pub(super) struct Early {
    pub(super) clock: crate::io::clock::Clock,
    pub(super) kernel: netlink::Kernel,
    pub(super) unstarted: netlink::Unstarted,
    pub(super) detector: crate::io::bfd::Detector,
    pub(super) detected: mpsc::Receiver<crate::bfd::Notice>,
    pub(super) taken: Option<Taken>,
    pub(super) sandbox: Sandbox,
    /// Who runs commands.
    pub(super) runner: Option<UnixStream>,
}

impl Early {
    /// In the place of the one before.
    pub(super) fn after(mut taken: Taken, start: Start, thread: Thread) -> std::io::Result<Self> {
        let said = &mut taken.handover;
        if start == Start::Back {
            said.upgrades = said.upgrades.saturating_sub(1);
            said.undone += 1;
        }
        // What was wanted is in the configuration, which is read later.
        let sandbox = Sandbox::inherited(SandboxConfig::default(), said.granted.clone());
        let others = said.listeners.len() + said.sessions.len();
        let runner = if said.granted.runner && taken.sockets.len() > others { taken.sockets.pop() } else { None };
        // Behind the sockets of sessions; before it, or without it, an older program left nothing there.
        taken.data = if said.caches.is_empty() || taken.sockets.len() <= others { None } else { taken.sockets.pop() };
        taken.is_back = start == Start::Back;
        Self::start(Some(taken), thread, sandbox, runner.map(UnixStream::from))
    }

    pub(super) fn start(
        mut taken: Option<Taken>,
        thread: Thread,
        sandbox: Sandbox,
        runner: Option<UnixStream>,
    ) -> std::io::Result<Self> {
        let clock = crate::io::clock::Clock::resume(taken.as_ref().map_or(Instant::ZERO, |taken| taken.handover.now));
        let (kernel, unstarted) = netlink::Kernel::new()?;
        let kept = taken.as_mut().map(|taken| std::mem::take(&mut taken.handover.bfd)).unwrap_or_default();
        let (detector, detected) = crate::io::bfd::Detector::resume(clock, kernel.clone(), thread, kept);
        Ok(Self { clock, kernel, unstarted, detector, detected, taken, sandbox, runner })
    }
}

fn not_executed(error: String) -> Refusal {
    Refusal::new(422, error, "name a program of root's: `weft upgrade /usr/bin/weft`")
}
