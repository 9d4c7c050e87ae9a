//! How a daemon begins: by itself, in the place of the one before, or to say whether it could.

use super::upgrade::Early;
use super::{Daemon, EVENT_INTERVAL, aloud, life};
use crate::config::{self, Config, ConfigError, NodeConfig};
use crate::io::auth::Keys;
use crate::io::bfd::Thread;
use crate::io::group;
use crate::io::handover::{self, Spare, Start};
use crate::io::http::remote::Certificates;
use crate::io::sandbox::{self, Entered, Sandbox};
use std::path::Path;
use std::sync::Arc;

/// Runs the daemon until a signal or the API ends it.
///
/// # Errors
/// When the configuration is refused, or the system refuses what the daemon cannot live without: the port, the kernel's routes, its
/// API socket. Nothing is started then.
pub fn run(path: &Path, start: Start) -> anyhow::Result<()> {
    life::raise_file_limit();
    match start {
        Start::Fresh => {
            // Before anything is touched, and before what they are read from may be out of reach.
            let (read, group) = Files::with_group(path)?;
            let entered = sandbox::enter(&read.node, path, group)?;
            let early = Early::fresh(entered)?;
            serve(path, read, early)
        }
        Start::Rehearsal => {
            handover::receive(start)?;
            // Nothing is touched.
            Files::read(path).map(drop)
        }
        Start::New | Start::Back => take_over(path, start),
    }
}

fn take_over(path: &Path, start: Start) -> anyhow::Result<()> {
    handover::take_name();
    // First of all that takes time: until then this thread runs before all others.
    let thread = Thread::take_over()?;
    let taken = handover::receive(start)?;
    let spare = Arc::clone(&taken.spare);
    let go_on = || {
        // BFD must not wait for a configuration.
        let early = Early::after(taken, start, thread.clone())?;
        let read = Files::read(path)?;
        let early = Early { sandbox: Sandbox::inherited(read.node.sandbox, early.sandbox.granted()), ..early };
        serve(path, read, early)
    };
    let ended = go_on();
    let (Some(spare), Err(error)) = (Spare::take(&spare), &ended) else {
        return ended;
    };
    tracing::error!("the new program does not start, the one before goes on: {error:#}");
    Err(spare.go_back(&thread).into())
}

/// What a daemon is started with: the configuration, and what is in the files that it names.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) node: NodeConfig,
    pub(super) keys: Keys,
    pub(super) certificates: Option<Certificates>,
}

impl Files {
    /// And the group of the API's socket: while that can still be looked up.
    fn with_group(path: &Path) -> anyhow::Result<(Self, Option<u32>)> {
        let config = config::load(path).map_err(refused)?;
        let group = group::find(&config).map_err(refused)?;
        Ok((Self::of(&config)?, group))
    }

    fn read(path: &Path) -> anyhow::Result<Self> {
        Self::of(&config::load(path).map_err(refused)?)
    }

    fn of(config: &Config) -> anyhow::Result<Self> {
        let node = config.node().map_err(refused)?;
        let keys = Keys::load(&node).map_err(anyhow::Error::msg)?;
        let certificates = node.api.remote.as_ref().map(Certificates::load).transpose().map_err(anyhow::Error::msg)?;
        Ok(Self { node, keys, certificates })
    }
}

fn refused(error: Box<ConfigError>) -> anyhow::Error {
    anyhow::anyhow!("{error}")
}

fn serve(path: &Path, read: Files, early: Early) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().event_interval(EVENT_INTERVAL).build()?;
    let path = path.to_owned();
    // A task of its own: who wakes the future that `block_on` runs writes to the runtime's event descriptor each time, even from within.
    let daemon = runtime.spawn(async move {
        let mut daemon = Daemon::start(&path, read, early).await?;
        aloud::log_remote(&daemon.server);
        aloud::warn_of_faults(daemon.node.config());
        daemon.start_import()?;
        daemon.start_foreign()?;
        let ending = daemon.live().await;
        daemon.end(ending).await;
        Ok(())
    });
    runtime.block_on(daemon)?
}

impl Early {
    fn fresh(entered: Entered) -> std::io::Result<Self> {
        let Entered { sandbox, thread, runner } = entered;
        Self::start(None, thread, sandbox, runner)
    }
}
