//! How the daemon changes and ends: a new configuration, a restart that nobody notices, a stop that leaves nothing behind.

use super::{Daemon, Ending, PICTURES};
use crate::api::{Refusal, Reload};
use crate::config::{self, NodeConfig};
use crate::io::auth::Keys;
use crate::io::netlink;
use crate::io::raw::{self, Code};
use crate::node::{Imported, Input};
use crate::plan;
use tokio::sync::mpsc;
use weft_bgp::time::Duration;

/// How long nobody asks before code is let go: shorter than what lies between two looks of a person or a program.
pub(super) const LET_GO_AFTER: Duration = Duration::from_millis(500);

impl Daemon {
    /// A failed reload changes nothing. A signal has no options: it ends no session that stands.
    pub(super) fn on_sighup(&mut self) {
        // Both ways it is in the log.
        let _ = self.reload(Reload::default());
        self.let_go_soon();
    }

    /// What only a start, a reload or a question needs is most of the code that was touched: it is not to stay resident. A moment
    /// later, when nobody asks any more and first sessions have come up.
    pub(super) fn let_go_soon(&mut self) {
        self.let_go_at = Some(self.clock.now() + LET_GO_AFTER);
    }

    pub(super) fn let_go_if_due(&mut self) {
        if self.let_go_at.is_some_and(|at| at <= self.clock.now()) {
            self.let_go_at = None;
            let_go_of_code();
        }
    }

    /// Reads the file again and puts it into force; what was done, as a sentence.
    pub(super) fn reload(&mut self, how: Reload) -> Result<String, Refusal> {
        let done = self.try_reload(how);
        let file = self.path.display();
        match &done {
            Ok(done) => tracing::info!(%file, "{done}"),
            Err(refusal) => {
                tracing::error!(%file, "configuration not reloaded, the old one stays in force: {}", refusal.error);
                let summary = refusal.error.lines().next().unwrap_or_default().to_owned();
                let outcome = plan::Outcome::Refused;
                self.note_configuration(plan::Event::Configuration { outcome, summary, confirm_within_s: None });
            }
        }
        done
    }

    fn try_reload(&mut self, how: Reload) -> Result<String, Refusal> {
        if let Some(left) = self.node.unconfirmed(self.clock.now()) {
            let error = format!("the configuration in force waits for its confirmation, {} s more", left.as_secs());
            return Err(Refusal::new(
                409,
                error,
                "`weft reload --confirm` keeps it; without that the earlier one comes back, and then reload again",
            ));
        }
        let new = self.read()?;
        let keys = Keys::load(&new).map_err(mend)?;
        let is_renewed = self.server.renew().map_err(mend)?;
        let (plan, _) = self.node.plan(&new);
        if let Some(error) = plan.refusal().filter(|_| !how.allow_reset) {
            let remedy = "`weft reload --plan` shows all of it; `weft reload --allow-reset` does it";
            return Err(Refusal::new(409, error, remedy));
        }
        let file = self.path.display().to_string();
        if plan.is_empty() && keys == self.keys && new.policy == self.node.config().policy {
            let only = if is_renewed {
                "the certificates of `api.remote` alone are different, and in use"
            } else {
                "nothing is different"
            };
            return Ok(format!("{file}: {only}"));
        }
        let summary = if plan.is_empty() { "keys or unused policies".to_owned() } else { plan.summary() };
        let within = how.confirm_within_s.map(Duration::from_secs);
        self.changing.earlier_keys = within.map(|_| self.keys.clone());
        self.apply(new, keys, |new| match within {
            Some(within) => Input::Try(new, within),
            None => Input::Reload(new),
        });
        Ok(match within {
            Some(within) => {
                let seconds = within.as_secs();
                format!(
                    "{file} is in force: {summary}; it goes again unless `weft reload --confirm` comes within {seconds} s"
                )
            }
            None => format!("{file} is in force: {summary}"),
        })
    }

    /// What is tried stays.
    pub(super) fn confirm(&mut self) -> Result<String, Refusal> {
        if self.node.unconfirmed(self.clock.now()).is_none() {
            return Err(Refusal::new(
                409,
                "no configuration waits for a confirmation",
                "`weft show history` says what became of the last one",
            ));
        }
        self.changing.earlier_keys = None;
        self.handle(Input::Confirm);
        self.tell_configuration();
        tracing::info!("configuration confirmed");
        Ok("the configuration in force is confirmed".to_owned())
    }

    /// Nobody confirmed it.
    pub(super) fn roll_back(&mut self) {
        let Some(earlier) = self.node.take_earlier() else {
            return;
        };
        let keys = self.changing.earlier_keys.take().unwrap_or_else(|| self.keys.clone());
        self.apply(*earlier, keys, Input::RollBack);
        tracing::warn!(
            file = %self.path.display(),
            "configuration not confirmed in time: the earlier one is in force again, and the file is not what runs"
        );
    }

    /// The file as it is now.
    pub(super) fn read(&self) -> Result<NodeConfig, Refusal> {
        let new = config::load(&self.path).and_then(|config| config.node()).map_err(|error| mend(error.to_string()))?;
        if new.api != self.node.config().api {
            return Err(mend(
                "`api` changed, which takes effect at the next start only: restart the daemon".to_owned(),
            ));
        }
        self.sandbox.admit(&new, &self.path).map_err(beyond)?;
        Ok(new)
    }

    /// Puts a configuration into force that was found good.
    fn apply(&mut self, new: NodeConfig, keys: Keys, input: impl FnOnce(Box<NodeConfig>) -> Input) {
        let old = self.node.config();
        let imports = new.import.kernel != old.import.kernel || new.fib.protocol != old.fib.protocol;
        let place = |fib: &config::FibConfig| (fib.table, fib.protocol);
        let (looked_at, to_look_at) = (place(&old.fib), place(&new.fib));
        if new.fib != old.fib {
            self.kernel.reconfigure(new.fib.clone());
        }
        let caches = new.rpki != old.rpki;
        let observers = (new.bmp != old.bmp) || (new.mrt != old.mrt);
        if keys != self.keys {
            self.keys = keys;
            let links = self.node.links();
            self.listeners.set_keys(&self.conns, &self.keys, links);
            self.conns.set_keys(|remote| self.keys.of(remote, links).cloned());
        }
        self.handle(input(Box::new(new)));
        self.tell_configuration();
        if imports && let Err(error) = self.start_import() {
            tracing::error!(%error, "routes of other software are not announced");
        }
        if (self.foreign.is_some() != self.node.needs_foreign_routes() || looked_at != to_look_at)
            && let Err(error) = self.start_foreign()
        {
            tracing::error!(%error, "next hops behind gateways are not found");
        }
        if observers {
            self.observers.start(&mut self.node);
        }
        if caches {
            self.caches.start(self.clock.now(), &mut self.node);
        }
    }

    /// Begins to read other software's routes as the configuration says; those of before are replaced by the first answer.
    pub(super) fn start_import(&mut self) -> std::io::Result<()> {
        self.import_run += 1;
        self.import = None;
        let config = self.node.config();
        if config.import.kernel.is_empty() {
            let none = Imported { run: self.import_run, all: true, changes: Vec::new(), left_out: Vec::new() };
            self.handle(Input::Imported(none));
            return Ok(());
        }
        let (rules, own) = (config.import.kernel.clone(), (config.fib.table, config.fib.protocol));
        self.import = Some(self.kernel.import(rules, own, self.import_run, self.imports.clone())?);
        Ok(())
    }

    /// Begins to look at the routes of others, where next hops may be reached by them.
    pub(super) fn start_foreign(&mut self) -> std::io::Result<()> {
        let (events, pictures) = mpsc::channel(PICTURES);
        // What the one before still had to say is void.
        (self.foreign, self.sources.foreign) = (None, pictures);
        if self.node.needs_foreign_routes() {
            let fib = &self.node.config().fib;
            self.foreign = Some(netlink::foreign(fib.table, fib.protocol, events)?);
        } else {
            self.handle(Input::ForeignRoutes(Vec::new()));
        }
        Ok(())
    }

    /// Ends as told. Peers have a second to take what is said to them.
    pub(super) async fn end(mut self, ending: Ending) {
        self.ending = Some(ending);
        self.keep_leases();
        let cease = ending == Ending::Stop;
        // Before the connections close: peers are to know by then that this is no failure.
        self.detector.finish().await;
        self.handle(Input::Shutdown { cease });
        self.act();
        self.observers.finish(self.clock.now(), &mut self.node).await;
        self.conns.closed().await;
        let keep = !cease && self.node.config().fib.keep_on_exit;
        if !keep {
            self.relay.finish();
        }
        self.kernel.finish(keep).await;
        self.server.finish().await;
        tracing::info!(cease, routes_kept = keep, "weft ends");
    }
}

/// A configuration that needs what the daemon gave up.
fn beyond(lacking: String) -> Refusal {
    let remedy = "the old configuration stays in force; restart the daemon, which then keeps what the new one needs \
                  (`on_sigterm: restart` loses no packet)";
    Refusal::new(409, lacking, remedy)
}

/// A file that cannot be put into force.
fn mend(error: String) -> Refusal {
    Refusal::new(422, error, "the old configuration stays in force; mend the file and reload")
}

fn let_go_of_code() {
    // Without /proc, or where the kernel refuses, it stays: nothing depends on it.
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let refused = Code::all(&maps).filter_map(|code| raw::let_go(&code).err()).count();
    tracing::debug!(refused, "code let go");
}

/// A socket per peer, and a few: the soft limit of 1,024 is raised as far as it goes.
pub(super) fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // Refused only where there is nothing to raise.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}
