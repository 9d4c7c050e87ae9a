//! Nodes that start in the order that their `stages:` and delays ask for: a thread for each node goes through its stages and
//! waits for those of others.
#![expect(clippy::disallowed_types, reason = "waits in real time, with a bound")]

use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};

use super::Lab;
use super::health::Verdict;
use super::machine::Machine;
use super::progress::Progress;
use crate::topology::NodeSpec;
use crate::topology::stage::{Stage, StageCommand};

/// A stage that is not reached in this time will not be: the longest delay that a file may ask for, and some.
const STAGE_LIMIT: Duration = Duration::from_secs(900);
/// How often health and ends of daemons are looked at.
const POLL: Duration = Duration::from_millis(100);

/// Who has reached what.
#[derive(Debug, Default)]
struct Board {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    reached: BTreeSet<(String, Stage)>,
    has_failed: bool,
}

/// Somebody else failed, and has said why.
const OTHER: &str = "given up, since another node failed";

impl Board {
    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reach(&self, node: &str, stage: Stage) {
        self.locked().reached.insert((node.to_owned(), stage));
        self.changed.notify_all();
    }

    fn fail(&self) {
        self.locked().has_failed = true;
        self.changed.notify_all();
    }

    /// Waits until `done` holds or the time is up; whether it holds.
    fn wait(&self, limit: Duration, done: impl Fn(&State) -> bool) -> Result<bool> {
        let until = Instant::now() + limit;
        let mut state = self.locked();
        loop {
            if state.has_failed {
                bail!(OTHER);
            }
            if done(&state) {
                return Ok(true);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Lab {
    /// Starts all nodes, each when its turn comes.
    pub(super) fn start_in_order(&self, progress: &Progress) -> Result<()> {
        let board = Board::default();
        let errors: Vec<anyhow::Error> = thread::scope(|scope| {
            let threads: Vec<_> = self
                .machines
                .values()
                .map(|machine| {
                    let board = &board;
                    scope.spawn(move || {
                        let life = self.go_through(machine, board, progress).with_context(|| machine.name().to_owned());
                        life.inspect_err(|_| board.fail())
                    })
                })
                .collect();
            threads
                .into_iter()
                .filter_map(|thread| thread.join().unwrap_or_else(|_| Err(anyhow!("a thread died"))).err())
                .collect()
        });
        // those that only gave up say nothing new
        let is_own = |error: &anyhow::Error| error.root_cause().to_string() != OTHER;
        let mut errors = errors;
        let at = errors.iter().position(is_own).unwrap_or(0);
        if errors.is_empty() { Ok(()) } else { Err(errors.swap_remove(at)) }
    }

    fn go_through(&self, machine: &Arc<Machine>, board: &Board, progress: &Progress) -> Result<()> {
        let spec = self.topology.nodes.get(machine.name()).ok_or_else(|| anyhow!("not in the topology"))?;
        for stage in Stage::ALL {
            if stage == Stage::Exit && !self.is_waited_for(machine.name(), Stage::Exit) {
                break;
            }
            let part = spec.stages.get(&stage).cloned().unwrap_or_default();
            for (node, wanted) in &part.wait_for {
                let key = (node.clone(), *wanted);
                if !board.wait(STAGE_LIMIT, |state| state.reached.contains(&key))? {
                    bail!("{stage} waits for {node}/{wanted}, which is not reached after {} s", STAGE_LIMIT.as_secs());
                }
            }
            self.commands(machine, stage, &part.on_enter, progress);
            self.enter(machine, spec, stage, board, progress)?;
            self.commands(machine, stage, &part.on_exit, progress);
            board.reach(machine.name(), stage);
        }
        Ok(())
    }

    fn is_waited_for(&self, node: &str, stage: Stage) -> bool {
        let waits = self.topology.nodes.values().flat_map(|spec| spec.stages.values()).flat_map(|part| &part.wait_for);
        waits.into_iter().any(|(name, wanted)| name == node && *wanted == stage)
    }

    /// What a stage is.
    fn enter(
        &self,
        machine: &Arc<Machine>,
        spec: &NodeSpec,
        stage: Stage,
        board: &Board,
        progress: &Progress,
    ) -> Result<()> {
        match stage {
            Stage::Create => {
                board.wait(spec.startup_delay, |_| false)?;
            }
            Stage::CreateLinks => {
                self.dress(machine)?;
                machine.start_daemons()?;
                if let Some(check) = &spec.health {
                    self.health.watch(machine, check);
                }
            }
            Stage::Configure => {
                super::then(machine)?;
                self.own_commands(machine, progress);
            }
            Stage::Healthy if spec.health.is_none() => {}
            Stage::Healthy if !self.is_waited_for(machine.name(), stage) && !spec.stages.contains_key(&stage) => {}
            Stage::Healthy => loop {
                match self.health.of(machine.name()) {
                    Some(Verdict::Healthy) => break,
                    Some(Verdict::Unhealthy) => bail!("it is unhealthy: its healthcheck fails"),
                    Some(Verdict::Starting) | None => board.wait(POLL, |_| false)?,
                };
            },
            Stage::Exit => {
                while machine.state() == "running" {
                    board.wait(POLL, |_| false)?;
                }
            }
        }
        Ok(())
    }

    /// As containerlab: what fails is said, and not fatal.
    fn commands(&self, machine: &Machine, stage: Stage, commands: &[StageCommand], progress: &Progress) {
        for command in commands {
            let place = if command.at_host { self.machines.get("host").map(Arc::as_ref) } else { Some(machine) };
            if let Some(place) = place {
                super::said(place, &command.words, &format!("{}, {stage}", machine.name()), progress);
            }
        }
    }
}
