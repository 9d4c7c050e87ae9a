//! Taking something out of service: what the API orders, what SIGTERM means with `on_sigterm: drain`, and what outlives this run.

use super::{Daemon, Ending, aloud};
use crate::api::{self, Answer, DrainAround};
use crate::config::NodeConfig;
use crate::drain::{By, Event, Scope, State};
use crate::io::drain;
use crate::node::{Happened, Input};
use crate::record::Recorder;
use std::path::PathBuf;
use weft_bgp::time::Instant;

/// What the loop remembers about it.
#[derive(Debug, Default)]
pub(super) struct Draining {
    /// Why what is drained does not outlive this run.
    not_kept: Option<String>,
    /// SIGTERM came: the node is drained, then it ends.
    is_last: bool,
}

/// A node that takes up what an earlier run was told to drain.
pub(super) fn begin(config: NodeConfig, now: Instant) -> (Recorder, Draining) {
    aloud::log_start(&config);
    let mut node = Recorder::new(config, now);
    let path = drain::place(node.config());
    match drain::load(&path) {
        Ok(kept) => node.resume_drains(now, &kept),
        Err(error) => tracing::error!(
            file = %path.display(),
            %error,
            "what an earlier run had drained cannot be read, `drain.boot` decides: drain again what must be, which writes it anew"
        ),
    }
    let far: Vec<String> = node
        .drains()
        .filter(|info| info.state != State::Live)
        .map(|info| format!("{}: {}", info.scope, info.state))
        .collect();
    if !far.is_empty() {
        tracing::warn!(drained = far.join(", "), "not all of this node is in service: `weft undrain` takes it back");
    }
    (node, Draining::default())
}

impl Daemon {
    /// While a drain goes on, it matters who has acknowledged what was sent.
    pub(super) fn tick(&mut self) {
        if self.node.is_draining() {
            let unacked = self.conns.unacked();
            self.handle(Input::Unacked(unacked));
        }
        self.handle(Input::Tick);
        if self.draining.is_last && self.node.is_drain_settled(&Scope::Node, State::Drained) {
            self.ending = Some(Ending::Stop);
        }
    }

    /// SIGTERM: everybody leaves, then the sessions end. A second one does not wait for that.
    pub(super) fn drain_to_end(&mut self) {
        if std::mem::replace(&mut self.draining.is_last, true) {
            self.ending = Some(Ending::Stop);
            return;
        }
        tracing::info!("draining before the end; another signal ends it at once");
        self.handle(Input::Drain { scope: Scope::Node, target: State::Drained, by: By::Signal });
        if self.node.is_drain_settled(&Scope::Node, State::Drained) {
            self.ending = Some(Ending::Stop);
        }
    }

    pub(super) fn drain(&mut self, scope: &Scope, state: State, force: bool) -> Answer {
        let now = self.clock.now();
        if let Err(refusal) = api::objection(&self.node, now, scope, state, force) {
            return Answer::refused(&self.node, refusal);
        }
        let alone = api::alone(&self.node, now, scope, state);
        self.handle(Input::Drain { scope: scope.clone(), target: state, by: By::Operator });
        let path = self.drain_file();
        self.draining.not_kept = drain::save(&path, &self.node.kept_drains()).err().map(|error| error.to_string());
        if let Some(error) = &self.draining.not_kept {
            tracing::error!(file = %path.display(), error, "what is drained is not kept over a restart");
        }
        let mut done = if state == State::Live {
            format!("{scope}: back in service")
        } else if self.node.drain_state(scope) == state {
            format!("{scope}: {state}")
        } else {
            format!("{scope}: on the way to {state}")
        };
        if !alone.is_empty() {
            done.push_str(&format!("; nobody else announces {}", alone.join(", ")));
        }
        if let Some(error) = &self.draining.not_kept {
            done.push_str(&format!("; not kept over a restart: {}: {error}", path.display()));
        }
        Answer::done(&self.node, done)
    }

    fn drain_file(&self) -> PathBuf {
        drain::place(self.node.config())
    }

    /// What only a question about drains needs.
    pub(super) fn drain_around(&self) -> DrainAround {
        DrainAround {
            traffic: drain::traffic(self.clock.now().0 / 1_000_000),
            file: self.drain_file().display().to_string(),
            not_kept: self.draining.not_kept.clone(),
        }
    }

    /// One line per change.
    pub(super) fn on_drain(&self, event: Event) {
        match &event {
            Event::Settled { late, .. } if !late.is_empty() => tracing::warn!("{}", event.sentence()),
            Event::Drain { .. } | Event::Settled { .. } => tracing::info!("{}", event.sentence()),
        }
        self.tell_happened(&Happened::Drain(event));
    }
}
