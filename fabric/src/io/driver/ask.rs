//! What comes over the API: questions are answered from the node between two other things, commands are carried out here.

use super::{Counts, Daemon, Ending};
use crate::api::{self, Answer, Body, Command, Question, Refusal, Request, Surroundings};
use crate::fib::FibDiff;
use crate::io::http::Ask;
use crate::node::{Input, Lease};
use crate::vip;
use tokio::sync::oneshot;
use weft_bgp::speaker;
use weft_bgp::types::IpNet;

impl Daemon {
    pub(super) fn on_ask(&mut self, ask: Ask) {
        self.let_go_soon();
        match &ask.request {
            Request::Show(Question::Metrics | Question::Health | Question::Bfd) => {
                // The other threads count when they can; the loop goes on meanwhile.
                let (kernel, detector, counted) = (self.kernel.clone(), self.detector.clone(), self.counted.clone());
                let installs = self.node.config().fib.install;
                tokio::spawn(async move {
                    let fib = if installs { Some(kernel.report().await) } else { None };
                    let counts = Counts { fib, bfd: detector.report().await };
                    // The loop is gone only when the daemon is.
                    let _ = counted.send((ask, counts)).await;
                });
            }
            Request::Show(Question::Drains) => {
                let around = Surroundings { drain: self.drain_around(), ..self.surroundings(Counts::default()) };
                // Who does not wait for the answer any more does not miss it.
                let _ = ask.reply.send(api::answer(&self.node, self.clock.now(), &around, &Question::Drains));
            }
            Request::Show(Question::Fib { diff }) => self.answer_fib(*diff, ask.reply),
            Request::Show(question) => self.answer(question, Counts::default(), ask.reply),
            // The answer comes when the new program has tried.
            Request::Do(Command::Upgrade { program }) => self.rehearse(program.clone().as_deref(), ask.reply),
            Request::Do(command) => {
                let answer = self.carry_out(command);
                // Who does not wait for the answer any more does not miss it.
                let _ = ask.reply.send(answer);
            }
            Request::Plan => self.foresee(ask.reply),
            Request::Record(from) => {
                let answer = match self.node.page(*from) {
                    Ok(page) => Answer::new(&self.node.config().hostname, Body::Record(page)),
                    Err(refusal) => Answer::refused(&self.node, refusal),
                };
                // Who does not wait for the answer any more does not miss it.
                let _ = ask.reply.send(answer);
            }
            // The server makes questions of it; nobody is told anything by dropping it but that.
            Request::Watch(_) => {}
        }
    }

    /// A question that needed the counts of other threads has them.
    pub(super) fn on_counted(&self, ask: Ask, counts: Counts) {
        if let Request::Show(question) = &ask.request {
            self.answer(question, counts, ask.reply);
        }
    }

    /// The kernel's thread answers; the loop goes on meanwhile.
    fn answer_fib(&self, diff: bool, reply: oneshot::Sender<Answer>) {
        let kernel = self.kernel.clone();
        let node = self.node.config().hostname.clone();
        let on_their_way = self.node.speaker().summary().fib_changes_waiting;
        tokio::spawn(async move {
            let fib = kernel.report().await;
            let found = if diff { kernel.diff().await.map(Some) } else { Ok(None) };
            let body = match found {
                Ok(diff) => {
                    let diff = diff.map(|diff| FibDiff { on_their_way, ..diff });
                    Body::Fib(Box::new(api::Kernel { fib, diff }))
                }
                Err(error) => Body::Refused(Refusal {
                    status: 503,
                    error: format!("the kernel's routes could not be read: {error}"),
                    remedy: Some("try again: they were changing".to_owned()),
                }),
            };
            // Who does not wait for the answer any more does not miss it.
            let _ = reply.send(Answer::new(&node, body));
        });
    }

    fn answer(&self, question: &Question, counts: Counts, reply: oneshot::Sender<Answer>) {
        let is_asked = matches!(question, Question::Version | Question::Health);
        let of_doors = matches!(question, Question::Metrics | Question::Health);
        let doors = if of_doors { self.server.report() } else { api::Doors::default() };
        let sandbox = is_asked.then(|| self.sandbox.state());
        let around = Surroundings { sandbox, doors, ..self.surroundings(counts) };
        let answer = api::answer(&self.node, self.clock.now(), &around, question);
        let Some(prefix) = answer.explained().filter(|_| self.node.config().fib.install) else {
            let _ = reply.send(answer);
            return;
        };
        let (kernel, links) = (self.kernel.clone(), self.node.links().to_vec());
        tokio::spawn(async move {
            let held = kernel.route(prefix).await;
            let _ = reply.send(answer.with_kernel(api::kernel_sentence(held.as_ref(), &links)));
        });
    }

    fn surroundings(&self, counts: Counts) -> Surroundings {
        Surroundings {
            config: self.path.display().to_string(),
            pid: std::process::id(),
            upgrades: self.upgrade.count,
            upgrades_undone: self.upgrade.undone,
            upgrade_sessions: self.upgrade.kept,
            resident_bytes: resident_bytes(),
            kernel: counts.fib.as_ref().map(Into::into),
            fib: counts.fib,
            bfd: counts.bfd,
            observers: self.observers.status(&self.node),
            drain: api::DrainAround::default(),
            sandbox: None,
            pace: Some(self.pace.histograms()),
            doors: api::Doors::default(),
        }
    }

    fn carry_out(&mut self, command: &Command) -> Answer {
        match command {
            Command::Reload(how) => {
                let done = self.reload(*how);
                self.said(done)
            }
            Command::ConfirmReload => {
                let done = self.confirm();
                self.said(done)
            }
            // Carried out where the answer can wait.
            Command::Upgrade { .. } => Answer::done(&self.node, ""),
            Command::Stop => {
                self.ending = Some(Ending::Stop);
                Answer::done(&self.node, "stopping: sessions end with Cease, routes and addresses go")
            }
            Command::Clear { peer, hard } => self.clear(peer, *hard),
            Command::AddRoute(lease) => self.add_route(lease),
            Command::RemoveRoutes { owner, prefix } => self.remove_routes(owner, prefix.as_ref()),
            Command::SetVip { name, up } => self.set_vip(name, *up),
            Command::Drain { scope, state, force } => self.drain(scope, *state, *force),
        }
    }

    fn said(&self, done: Result<String, Refusal>) -> Answer {
        match done {
            Ok(done) => Answer::done(&self.node, done),
            Err(refusal) => Answer::refused(&self.node, refusal),
        }
    }

    fn add_route(&mut self, lease: &Lease) -> Answer {
        let (now, prefix) = (self.clock.now(), lease.route.prefix);
        let refused = self.node.lease(now, lease.clone()).err().map(|refused| api::refusal(refused, &prefix));
        match refused {
            Some(refusal) => Answer::refused(&self.node, refusal),
            None => Answer::done(&self.node, format!("{prefix} is announced for {} s", lease.time.as_secs())),
        }
    }

    fn remove_routes(&mut self, owner: &str, prefix: Option<&IpNet>) -> Answer {
        let now = self.clock.now();
        let Some(prefix) = prefix else {
            let count = self.node.release_all(now, owner);
            return Answer::done(&self.node, format!("{count} routes of {owner} are no longer announced"));
        };
        let refused = self.node.release(now, owner, prefix).err().map(|refused| api::refusal(refused, prefix));
        match refused {
            Some(refusal) => Answer::refused(&self.node, refusal),
            None => Answer::done(&self.node, format!("{prefix} is no longer announced for {owner}")),
        }
    }

    fn set_vip(&mut self, name: &str, up: bool) -> Answer {
        if !self.node.knows_vip(name) {
            let remedy = "`weft show vips` lists them";
            return Answer::refused(&self.node, Refusal::new(404, format!("there is no vip `{name}`"), remedy));
        }
        self.handle(Input::Vip(vip::Input::Set { name: name.to_owned(), up }));
        let done = if up { "may be up again" } else { "goes down" };
        Answer::done(&self.node, format!("vip {name}: {done}"))
    }

    fn clear(&mut self, name: &str, hard: bool) -> Answer {
        let Some(peer) = api::find_peer(&self.node, self.clock.now(), name) else {
            let refusal = Refusal {
                status: 404,
                error: format!("there is no peer `{name}`"),
                remedy: Some("`weft show neighbors` lists them".to_owned()),
            };
            return Answer::refused(&self.node, refusal);
        };
        self.handle(Input::Bgp(speaker::Input::Clear { peer, hard }));
        let done = if hard { "session reset" } else { "routes asked for and told again" };
        Answer::done(&self.node, format!("{name}: {done}"))
    }
}

/// Resident memory of this process (proc_pid_statm(5): second field, in pages).
fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
    Some(pages * u64::try_from(rustix::param::page_size()).ok()?)
}
