//! The `weft` binary: reads the command line and calls the library.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line talks to a person")]

#[path = "main/documents.rs"]
mod documents;
#[path = "main/live.rs"]
mod live;
#[path = "main/mrt.rs"]
mod mrt;

use clap::{CommandFactory as _, Parser as _};
use std::ffi::OsString;
use std::io::{IsTerminal as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::ExitCode;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use weft_fabric::cli::{Arguments, Output, Policy, PolicyTest, Resume, UpDown, Verb, Vip, Whom};
use weft_fabric::io::client::Target;
use weft_fabric::io::handover::Start;
use weft_fabric::io::{doctor, group, verbs};
use weft_fabric::{config, show, trial};

fn main() -> ExitCode {
    let Arguments { whom, output, verb } = Arguments::parse();
    if output == Output::Frr {
        return as_frr(verb, &whom);
    }
    let asked = match verb {
        Verb::Daemon { config, resume } => return daemon(&config, resume),
        Verb::Check { config } => return check(&config),
        Verb::Doctor { config, fix, root } => return examine(&config, fix, &root, output),
        Verb::Policy(Policy::Test(test)) => return test_policy(*test, output),
        Verb::Mrt(wanted) => return mrt::run(wanted, output, &whom),
        Verb::Record { file, time } => return live::record(&file, time, &whom),
        Verb::Top => return live::top(&whom),
        Verb::Trace { target } => return live::trace(target, &whom, output),
        Verb::Completions { shell } => return documents::completions(shell),
        Verb::Man { folder } => return documents::man(folder.as_deref()),
        Verb::External(words) => return external(&words),
        Verb::Show(wanted) => wanted.asked(),
        Verb::Health => verbs::Verb::Health(true),
        Verb::Monitor { kinds } => verbs::Verb::Monitor(kinds),
        Verb::Explain { target } => verbs::Verb::Explain(target),
        Verb::Reload(wanted) => wanted.asked(),
        Verb::Upgrade { program } => verbs::Verb::Upgrade(program),
        Verb::Stop => verbs::Verb::Stop,
        Verb::Drain(wanted) => wanted.asked(),
        Verb::Undrain(what) => what.undrained(),
        Verb::Route(wanted) => wanted.asked(),
        Verb::Dhcp(wanted) => wanted.asked(),
        Verb::Vip(Vip::Set { name, state }) => verbs::Verb::SetVip(name, state == UpDown::Up),
        Verb::Clear { peer, hard } => verbs::Verb::Clear(peer, hard),
    };
    answer(&asked, &whom, output)
}

/// FRR's documents are few; nothing else pretends to be one.
fn as_frr(verb: Verb, whom: &Whom) -> ExitCode {
    let document = if let Verb::Show(wanted) = verb { wanted.frr() } else { None };
    match document {
        Some(asked) => answer(&asked, whom, Output::Frr),
        None => {
            eprintln!(
                "weft: FRR's keys are known for `show summary`, `show neighbors [NAME]`, `show bgp [PREFIX]` and `show routes [PREFIX]`\n  \
                 remedy: use --output json here"
            );
            ExitCode::from(2)
        }
    }
}

/// Finds the daemon, asks it and prints.
fn answer(asked: &verbs::Verb, whom: &Whom, output: Output) -> ExitCode {
    match target(whom) {
        Ok(target) => ask(asked, &target, output),
        Err(wrong) => wrong,
    }
}

/// The daemon that is meant; a wrong command line is explained, and is the exit code 2.
fn target(whom: &Whom) -> Result<Target, ExitCode> {
    whom.target(|name| std::env::var_os(name)).map_err(|error| {
        eprintln!("weft: {error}");
        ExitCode::from(2)
    })
}

fn form(output: Output) -> verbs::Form {
    match output {
        Output::Table => verbs::Form::Table,
        Output::Json | Output::Frr => verbs::Form::Json,
    }
}

/// Asks the daemon and prints what it says.
fn ask(verb: &verbs::Verb, target: &Target, output: Output) -> ExitCode {
    let form = form(output);
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let result = verbs::run(verb, target, form, &mut out).and_then(|()| Ok(out.flush()?));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_closed_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("weft: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

/// git's and cargo's convention: one name is enough to learn.
fn external(words: &[OsString]) -> ExitCode {
    let Some((word, rest)) = words.split_first() else {
        return ExitCode::from(2);
    };
    let mut program = OsString::from("weft-");
    program.push(word);
    // Returns only if it could not be executed.
    let error = std::process::Command::new(&program).args(rest).exec();
    let word = word.to_string_lossy();
    if error.kind() != std::io::ErrorKind::NotFound {
        eprintln!("weft: cannot execute {}: {error}", program.to_string_lossy());
        return ExitCode::FAILURE;
    }
    let command = Arguments::command();
    let known: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
    let near = known.iter().map(|name| (strsim::jaro_winkler(name, &word), name)).max_by(|a, b| a.0.total_cmp(&b.0));
    let hint = match near {
        Some((likeness, name)) if likeness > 0.75 => format!("did you mean `weft {name}`?"),
        _ => format!("verbs: {}", known.join(", ")),
    };
    eprintln!("weft: there is no verb `{word}`, and no program `{}`\n  {hint}", program.to_string_lossy());
    ExitCode::from(2)
}

fn daemon(config: &Path, resume: Option<Resume>) -> ExitCode {
    // `info`, or `info,weft_fabric=debug`: targets and levels are all there is to choose from, and cost no regular expressions.
    let wanted = std::env::var("WEFT_LOG").unwrap_or_else(|_| "info".to_owned());
    let (filter, slip) = match wanted.parse::<Targets>() {
        Ok(filter) => (filter, None),
        Err(error) => (Targets::new().with_default(LevelFilter::INFO), Some(error)),
    };
    let log = tracing_subscriber::fmt::layer().with_target(false).with_writer(std::io::stderr);
    let log =
        log.with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty()));
    tracing_subscriber::registry().with(log.with_filter(filter)).init();
    if let Some(error) = slip {
        tracing::warn!("WEFT_LOG=`{wanted}`: {error}; logging `info`: write `debug`, or `info,weft_fabric=debug`");
    }
    let start = match resume {
        None => Start::Fresh,
        Some(Resume::New) => Start::New,
        Some(Resume::Back) => Start::Back,
        Some(Resume::Rehearsal) => Start::Rehearsal,
        Some(Resume::Checks) => return ended(weft_fabric::io::check::runner::serve(config).map_err(Into::into)),
    };
    ended(weft_fabric::io::driver::run(config, start))
}

fn ended(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn test_policy(test: PolicyTest, output: Output) -> ExitCode {
    let file = test.file.clone();
    let trial = match test.trial() {
        Ok(trial) => trial,
        Err(error) => {
            eprintln!("weft: {error}");
            return ExitCode::from(2);
        }
    };
    let node = config::load(&file).and_then(|config| config.node()).map_err(|error| error.to_string());
    match node.and_then(|node| trial::run(&node, &trial)) {
        Ok(report) => {
            match output {
                Output::Table => print!("{report}"),
                Output::Json | Output::Frr => println!("{}", serde_json::to_string_pretty(&report).unwrap_or_default()),
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Exit code 1 if faults are left.
fn examine(config: &Path, fix: bool, root: &Path, output: Output) -> ExitCode {
    let node = match config::load(config).and_then(|config| config.node()) {
        Ok(node) => node,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    let (report, done) = doctor::run(&node, &doctor::Root::new(root), fix);
    match output {
        Output::Table => {
            done.iter().for_each(|line| println!("{line}"));
            print!("{}", show::doctor::text(&report));
            let lines = report.sysctl_lines();
            if !lines.is_empty() && !fix {
                println!("`weft doctor --fix` sets these; in /etc/sysctl.d/90-weft.conf they stay:\n{lines}");
            }
        }
        Output::Json | Output::Frr => {
            let document = serde_json::json!({ "schema": weft_fabric::api::SCHEMA, "done": done, "report": report });
            println!("{document:#}");
        }
    }
    if report.has_faults() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn check(path: &Path) -> ExitCode {
    let name = path.display().to_string();
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            eprintln!("{name}: {error}");
            return ExitCode::FAILURE;
        }
    };
    let checked = config::parse(&name, &text).and_then(|config| Ok((config.node()?, group::find(&config)?)));
    match checked {
        Ok((node, _)) => {
            let policies = node.speaker.policies.names().count();
            println!(
                "{name}: ok, {} peers, {} listen ranges, {policies} policies",
                node.peers.len(),
                node.dynamic.len()
            );
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
