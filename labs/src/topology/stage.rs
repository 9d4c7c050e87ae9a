//! Stages of a node's start and the order between nodes: `stages:`, with its wait-for graph checked to have no cycle; and
//! `healthcheck:`.
//!
//! ```text
//! create ──▶ create-links ──▶ configure ──▶ healthy ──▶ exit
//! namespaces  interfaces up,   `exec:`       the check    daemons ended
//!             daemons started                passes
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::file::Fault;

/// A stage; they follow each other in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// The namespaces are there.
    Create,
    /// Its interfaces are up and its daemons are started.
    CreateLinks,
    /// Its `exec` has run.
    Configure,
    /// Its health check passes; at once, when it has none.
    Healthy,
    /// Its daemons have ended.
    Exit,
}

impl Stage {
    /// All of them, in order.
    pub const ALL: [Self; 5] = [Self::Create, Self::CreateLinks, Self::Configure, Self::Healthy, Self::Exit];

    /// The word in files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::CreateLinks => "create-links",
            Self::Configure => "configure",
            Self::Healthy => "healthy",
            Self::Exit => "exit",
        }
    }

    fn before(self) -> Option<Self> {
        let at = Self::ALL.iter().position(|stage| *stage == self)?;
        at.checked_sub(1).map(|at| Self::ALL[at])
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a stage of a node waits for, and what is done when it is entered and left.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StageSpec {
    /// Stages of other nodes that must be reached before this one is entered.
    pub wait_for: Vec<(String, Stage)>,
    /// Commands when it is entered.
    pub on_enter: Vec<StageCommand>,
    /// Commands when it is left.
    pub on_exit: Vec<StageCommand>,
}

/// A command of a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageCommand {
    /// Its words.
    pub words: Vec<String>,
    /// Whether it runs in the lab's host node instead of the node itself.
    pub at_host: bool,
}

/// How it is found out whether a node is well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthSpec {
    /// The command; exit code 0 is well.
    pub words: Vec<String>,
    /// Failures in this time after the start do not count.
    pub start_period: Duration,
    /// Between two looks.
    pub interval: Duration,
    /// A look that takes longer has failed.
    pub timeout: Duration,
    /// So many failures in a row make it unhealthy.
    pub retries: u32,
}

/// `stages:` as written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct StagesFile {
    create: Option<StageFile>,
    create_links: Option<StageFile>,
    configure: Option<StageFile>,
    healthy: Option<StageFile>,
    exit: Option<StageFile>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct StageFile {
    wait_for: Vec<Spanned<WaitFile>>,
    exec: Vec<Spanned<ExecFile>>,
}

/// One line of `wait-for:`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WaitFile {
    node: String,
    stage: Stage,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExecFile {
    command: String,
    #[serde(default)]
    target: Target,
    #[serde(default)]
    phase: Phase,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Target {
    #[default]
    Container,
    Host,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Phase {
    #[default]
    OnEnter,
    OnExit,
}

/// `healthcheck:` as written, in containerlab's (and docker's) units and defaults: seconds.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct HealthFile {
    test: Vec<String>,
    #[serde(default)]
    start_period: u64,
    #[serde(default = "HealthFile::seconds")]
    interval: u64,
    #[serde(default = "HealthFile::seconds")]
    timeout: u64,
    #[serde(default = "HealthFile::tries")]
    retries: u32,
}

/// A place of the file where a node waits.
pub(super) type Wait = (String, Stage, Spanned<WaitFile>);

impl StagesFile {
    fn parts(self) -> [(Stage, Option<StageFile>); 5] {
        let Self { create, create_links, configure, healthy, exit } = self;
        [
            (Stage::Create, create),
            (Stage::CreateLinks, create_links),
            (Stage::Configure, configure),
            (Stage::Healthy, healthy),
            (Stage::Exit, exit),
        ]
    }

    /// A stage that is written here is not taken from below.
    pub(super) fn over(self, base: Self) -> Self {
        Self {
            create: self.create.or(base.create),
            create_links: self.create_links.or(base.create_links),
            configure: self.configure.or(base.configure),
            healthy: self.healthy.or(base.healthy),
            exit: self.exit.or(base.exit),
        }
    }

    /// What a node does; `words` splits a command. What it waits for is noted in `waits`.
    pub(super) fn read(
        self,
        node: &str,
        words: &dyn Fn(&str) -> Result<Vec<String>, String>,
        waits: &mut Vec<Wait>,
    ) -> Result<BTreeMap<Stage, StageSpec>, Fault> {
        let mut stages = BTreeMap::new();
        for (stage, part) in self.parts() {
            let Some(part) = part else { continue };
            let mut spec = StageSpec::default();
            for wait in part.wait_for {
                spec.wait_for.push((wait.value.node.clone(), wait.value.stage));
                waits.push((node.to_owned(), stage, wait));
            }
            for exec in part.exec {
                let field = format!("topology.nodes.{node}.stages.{stage}.exec");
                let words = words(&exec.value.command).map_err(|message| Fault::new(&exec, field, message))?;
                let command = StageCommand { words, at_host: exec.value.target == Target::Host };
                match exec.value.phase {
                    Phase::OnEnter => spec.on_enter.push(command),
                    Phase::OnExit => spec.on_exit.push(command),
                }
            }
            stages.insert(stage, spec);
        }
        Ok(stages)
    }
}

impl HealthFile {
    fn seconds() -> u64 {
        30
    }

    fn tries() -> u32 {
        3
    }

    /// `None` when the test is `NONE`.
    ///
    /// # Errors
    /// A sentence, when the test has no form that docker knows.
    pub(super) fn read(&self) -> Result<Option<HealthSpec>, String> {
        let words = match self.test.split_first() {
            Some((kind, [])) if kind == "NONE" => return Ok(None),
            Some((kind, words)) if kind == "CMD" && !words.is_empty() => words.to_vec(),
            Some((kind, [line])) if kind == "CMD-SHELL" => vec!["sh".to_owned(), "-c".to_owned(), line.clone()],
            Some(_) | None => {
                return Err("write test: [CMD, program, argument, …], [CMD-SHELL, line] or [NONE]".to_owned());
            }
        };
        let seconds = |value: u64| Duration::from_secs(value.clamp(1, 3_600));
        Ok(Some(HealthSpec {
            words,
            start_period: Duration::from_secs(self.start_period.min(3_600)),
            interval: seconds(self.interval),
            timeout: seconds(self.timeout),
            retries: self.retries.max(1),
        }))
    }
}

/// Checks that every node that is waited for exists, and that nobody waits for himself by way of others.
pub(super) fn check(waits: &[Wait], is_node: &dyn Fn(&str) -> bool) -> Result<(), Fault> {
    let field = |node: &str, stage: Stage| format!("topology.nodes.{node}.stages.{stage}.wait-for");
    let mut edges: BTreeMap<(&str, Stage), BTreeSet<(&str, Stage)>> = BTreeMap::new();
    for (node, stage, wait) in waits {
        if !is_node(&wait.value.node) {
            return Err(Fault::new(wait, field(node, *stage), format!("there is no node `{}`", wait.value.node)));
        }
        edges.entry((node, *stage)).or_default().insert((&wait.value.node, wait.value.stage));
        for who in [(node.as_str(), *stage), (wait.value.node.as_str(), wait.value.stage)] {
            for stage in Stage::ALL.into_iter().filter(|stage| *stage <= who.1) {
                let before = stage.before().map(|before| (who.0, before));
                edges.entry((who.0, stage)).or_default().extend(before);
            }
        }
    }
    // what waits for nothing that is left, is done; what is left at the end, waits in a circle
    loop {
        let done: Vec<_> = edges.iter().filter(|(_, needs)| needs.is_empty()).map(|(who, _)| *who).collect();
        if done.is_empty() {
            break;
        }
        for who in done {
            edges.remove(&who);
            for needs in edges.values_mut() {
                needs.remove(&who);
            }
        }
    }
    let Some(first) = edges.keys().next() else {
        return Ok(());
    };
    let mut path = vec![*first];
    loop {
        let last = path[path.len() - 1];
        let Some(next) = edges.get(&last).and_then(BTreeSet::first) else { return Ok(()) };
        if let Some(begin) = path.iter().position(|who| who == next) {
            path.drain(..begin);
            break;
        }
        path.push(*next);
    }
    let circle: Vec<String> = path.iter().chain(&path[..1]).map(|(node, stage)| format!("{node}/{stage}")).collect();
    let at = waits.iter().find(|(node, stage, wait)| {
        path.contains(&(node.as_str(), *stage)) && path.contains(&(wait.value.node.as_str(), wait.value.stage))
    });
    match at {
        Some((node, stage, wait)) => {
            let message = format!("stages wait for each other: {}; take one wait-for away", circle.join(" ← "));
            Err(Fault::new(wait, field(node, *stage), message))
        }
        None => Ok(()),
    }
}
