//! How the daemon changes and ends: a new configuration, a restart that nobody notices, a stop that leaves nothing behind.

use super::{Daemon, Ending, PICTURES};
use crate::config;
use crate::io::auth::Keys;
use crate::io::netlink;
use crate::io::raw::{self, Code};
use crate::node::{Imported, Input};
use tokio::sync::mpsc;

impl Daemon {
    /// A failed reload changes nothing.
    pub(super) fn on_sighup(&mut self) {
        match self.reload() {
            Ok(()) => tracing::info!(file = %self.path.display(), "configuration reloaded"),
            Err(error) => tracing::error!("configuration not reloaded, the old one stays in force: {error}"),
        }
    }

    /// Reads the file again and puts it into force.
    pub(super) fn reload(&mut self) -> Result<(), String> {
        let new = config::load(&self.path).and_then(|config| config.node()).map_err(|error| error.to_string())?;
        let old = self.node.config();
        if new.api != old.api {
            return Err("`api` changed, which takes effect at the next start only: restart the daemon".to_owned());
        }
        let imports = new.import.kernel != old.import.kernel || new.fib.protocol != old.fib.protocol;
        let place = |fib: &config::FibConfig| (fib.table, fib.protocol);
        let (looked_at, to_look_at) = (place(&old.fib), place(&new.fib));
        let keys = Keys::load(&new)?;
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
        self.handle(Input::Reload(Box::new(new)));
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
        let_go_of_code();
        Ok(())
    }

    /// Begins to read other software's routes as the configuration says; those of before are replaced by the first answer.
    pub(super) fn start_import(&mut self) -> std::io::Result<()> {
        self.import_run += 1;
        self.import = None;
        let config = self.node.config();
        if config.import.kernel.is_empty() {
            let none = Imported { run: self.import_run, all: true, changes: Vec::new(), left_out: 0 };
            self.handle(Input::Imported(none));
            return Ok(());
        }
        let (rules, protocol) = (config.import.kernel.clone(), config.fib.protocol);
        self.import = Some(netlink::import(rules, protocol, self.import_run, self.imports.clone())?);
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
        let cease = ending == Ending::Stop;
        // Before the connections close: peers are to know by then that this is no failure.
        self.detector.finish().await;
        self.handle(Input::Shutdown { cease });
        self.act();
        self.observers.finish(self.clock.now(), &mut self.node).await;
        self.conns.closed().await;
        let keep = !cease && self.node.config().fib.keep_on_exit;
        self.kernel.finish(keep).await;
        self.server.finish().await;
        tracing::info!(cease, routes_kept = keep, "weft ends");
    }
}

/// What only a start or a reload needs, reading a configuration above all, is most of the code that was touched: it is not to stay
/// resident.
pub(super) fn let_go_of_code() {
    // Without /proc, or where the kernel refuses, it stays: nothing depends on it.
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let refused = Code::all(&maps).filter_map(|code| raw::let_go(&code).err()).count();
    tracing::debug!(refused, "code of the start let go");
}

/// A socket per peer, and a few: the soft limit of 1,024 is raised as far as it goes.
pub(super) fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // Refused only where there is nothing to raise.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}
