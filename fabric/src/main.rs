//! The `weft` binary: reads the command line and calls the library.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line talks to a person")]

#[path = "main/documents.rs"]
mod documents;
#[path = "main/drain.rs"]
mod drain_verbs;
#[path = "main/live.rs"]
mod live;
#[path = "main/mrt.rs"]
mod mrt;
#[path = "main/reload.rs"]
mod reload;
#[path = "main/route.rs"]
mod route;
#[path = "main/show.rs"]
mod show_verbs;
#[path = "main/whom.rs"]
mod whom;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{CommandFactory as _, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use std::ffi::OsString;
use std::io::{IsTerminal as _, Write as _};
use std::net::IpAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use weft_bgp::types::IpNet;
use weft_bgp::wire::community::ExtCommunity;
use weft_fabric::config;
use weft_fabric::io::client::Target;
use weft_fabric::io::handover::Start;
use weft_fabric::io::{doctor, verbs};
use weft_fabric::news::Kind;
use weft_fabric::show;
use weft_fabric::trial::{self, Trial};
use whom::Whom;

/// BGP to the host: the weft daemon and the commands that inspect it.
///
/// Exit codes: 0 done, 1 refused or not found, 2 wrong command line, 3 no daemon there.
#[derive(Debug, Parser)]
#[command(name = "weft", version)]
struct Arguments {
    #[command(flatten)]
    whom: Whom,
    /// How answers are printed
    #[arg(long, short, global = true, value_enum, default_value_t = Output::Table)]
    output: Output,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people
    Table,
    /// For programs; the schema is in the README
    Json,
    /// With the keys of FRR's JSON: show summary, neighbors, bgp and routes
    Frr,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the daemon in the foreground; it logs to standard error (WEFT_LOG=debug for more)
    ///
    /// While it runs, http://localhost:9179 (`api.http`) is a web page that shows the node to whoever is at this machine.
    Daemon {
        /// The configuration
        #[arg(long, value_name = "FILE", default_value = "/etc/weft/weft.yaml")]
        config: PathBuf,
        /// What a running daemon says to the program that is to take over, or to run commands for it
        #[arg(long, value_enum, hide = true)]
        resume: Option<Resume>,
    },
    /// Read a daemon's configuration and say what is wrong with it; nothing is started
    Check {
        /// The file
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Look for settings of this system that do not go with a configuration, and say why they matter and what to do
    Doctor {
        /// The configuration
        #[arg(long, value_name = "FILE", default_value = "/etc/weft/weft.yaml")]
        config: PathBuf,
        /// Set what can be set; exit code 1 if faults are left
        #[arg(long)]
        fix: bool,
        /// Look at the system below this folder
        #[arg(long, value_name = "FOLDER", default_value = "/")]
        root: PathBuf,
    },
    /// Try policies on routes that nobody announced
    #[command(subcommand)]
    Policy(Policy),
    /// Show what the daemon knows
    #[command(subcommand)]
    Show(show_verbs::Show),
    /// Look at everything that can go wrong: what is well, what is not, and what to do about it; exit code 1 if something is bad
    Health,
    /// Say what happens as it happens, until Ctrl-C: a line for each event (--output json: a document for each)
    Monitor {
        /// Only events of these kinds
        #[arg(value_name = "KIND", value_parser = kinds())]
        kinds: Vec<Kind>,
    },
    /// The whole node on one screen, live, until `q`
    Top,
    /// Say everything about an address or prefix: which paths, why these, what the kernel holds, who was told
    Explain {
        /// As 10.69.3.5 or 10.69.3.0/24
        #[arg(value_name = "ADDRESS|PREFIX")]
        target: String,
    },
    /// Follow an address through the fabric, daemon by daemon; exit code 1 if packets are lost or go round on some way
    Trace {
        /// As 10.69.3.5
        #[arg(value_name = "ADDRESS")]
        target: IpAddr,
    },
    /// Apply the changed configuration file; peers that did not change notice nothing
    Reload(reload::Reload),
    /// Let another program take over: listening sockets and sessions go on, packets too; returns when it runs
    Upgrade {
        /// Its absolute path [default: what is now in the place of the running one]
        #[arg(value_name = "PROGRAM")]
        program: Option<PathBuf>,
    },
    /// End the daemon: Cease to every peer, routes removed; returns when it is gone
    Stop,
    /// Ask a peer for its routes again and tell it ours again
    Clear {
        /// Its name or address
        #[arg(value_name = "PEER")]
        peer: String,
        /// Reset the session instead (Cease, Administrative Reset)
        #[arg(long)]
        hard: bool,
    },
    /// Take the node, a link or a service address out of service without losing a packet
    Drain(drain_verbs::Drain),
    /// Take it back into service
    Undrain(drain_verbs::What),
    /// Hold a service address down, or let it be up
    #[command(subcommand)]
    Vip(Vip),
    /// Routes that programs on this machine want announced
    #[command(subcommand)]
    Route(route::Route),
    /// Read, write and replay MRT dumps (RFC 6396); files may be compressed with gzip or bzip2
    #[command(subcommand)]
    Mrt(mrt::Mrt),
    /// Print the manual page, or write those of all verbs
    Man {
        /// Where they are written, one file for each verb
        #[arg(value_name = "FOLDER")]
        folder: Option<PathBuf>,
    },
    /// Print the completion script of a shell
    Completions {
        /// Which shell
        #[arg(value_enum)]
        shell: Shell,
    },
    /// weft WORD … executes weft-WORD …
    #[command(external_subcommand)]
    External(Vec<OsString>),
}

#[derive(Debug, Subcommand)]
enum Vip {
    /// Say that a service is to be up or down; down holds it down whatever its check says, until the next up
    Set {
        /// Its name
        name: String,
        /// What it is to be
        state: UpDown,
    },
}

/// How a program takes over, or what else it is started for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Resume {
    New,
    Back,
    Rehearsal,
    Checks,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum UpDown {
    Up,
    Down,
}

#[derive(Debug, Subcommand)]
enum Policy {
    /// Say which rule of a configuration decides on a route from and to a peer, and what it changes
    Test(Box<Test>),
}

#[derive(Debug, clap::Args)]
struct Test {
    /// The configuration
    file: PathBuf,
    /// The route's prefix
    prefix: IpNet,
    /// A configured peer, or an address of a listen range
    #[arg(long, value_name = "NAME|ADDRESS")]
    peer: String,
    /// AS path, nearest first, as in "64599 64601"
    #[arg(long, value_name = "ASNS", default_value = "")]
    as_path: String,
    /// igp, egp or incomplete
    #[arg(long, value_enum, default_value_t = Origin::Igp)]
    origin: Origin,
    /// Local preference
    #[arg(long, value_name = "NUMBER")]
    local_pref: Option<u32>,
    /// Multi-exit discriminator
    #[arg(long, value_name = "NUMBER")]
    med: Option<u32>,
    /// Next hop [default: the peer]
    #[arg(long, value_name = "ADDRESS")]
    next_hop: Option<IpAddr>,
    /// A standard community, as 64600:1 or no-export (may be given several times)
    #[arg(long, value_name = "COMMUNITY", value_parser = community)]
    community: Vec<config::Community>,
    /// A large community, as 4200000010:1:2 (may be given several times)
    #[arg(long, value_name = "COMMUNITY", value_parser = large_community)]
    large_community: Vec<config::LargeCommunity>,
    /// An extended community, as rt:65000:1 or link-bandwidth:64600:10G (may be given several times)
    #[arg(long, value_name = "COMMUNITY", value_parser = ext_community)]
    ext_community: Vec<ExtCommunity>,
    /// How many next hops the prefix has where it is told
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    next_hops: u32,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Origin {
    Igp,
    Egp,
    Incomplete,
}

/// The kinds of events by their names.
fn kinds() -> impl TypedValueParser<Value = Kind> {
    PossibleValuesParser::new(Kind::ALL.map(Kind::name)).try_map(|name| name.parse::<Kind>())
}

fn community(text: &str) -> Result<config::Community, String> {
    config::Community::parse(text).ok_or_else(|| "write 64600:1, or a name such as no-export".to_owned())
}

fn large_community(text: &str) -> Result<config::LargeCommunity, String> {
    config::LargeCommunity::parse(text).ok_or_else(|| "write three numbers, as 4200000010:1:2".to_owned())
}

fn ext_community(text: &str) -> Result<ExtCommunity, String> {
    text.parse()
        .map_err(|()| "write rt:65000:1, ro:10.0.0.1:1, link-bandwidth:64600:10G or 0x with 16 digits".to_owned())
}

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
        Verb::Top => return live::top(&whom),
        Verb::Trace { target } => return live::trace(target, &whom, output),
        Verb::Completions { shell } => return documents::completions(shell),
        Verb::Man { folder } => return documents::man(folder.as_deref()),
        Verb::External(words) => return external(&words),
        Verb::Show(wanted) => show_verbs::verb(wanted),
        Verb::Health => verbs::Verb::Health(true),
        Verb::Monitor { kinds } => verbs::Verb::Monitor(kinds),
        Verb::Explain { target } => verbs::Verb::Explain(target),
        Verb::Reload(wanted) => reload::verb(&wanted),
        Verb::Upgrade { program } => verbs::Verb::Upgrade(program),
        Verb::Stop => verbs::Verb::Stop,
        Verb::Drain(wanted) => drain_verbs::drain(wanted),
        Verb::Undrain(what) => drain_verbs::undrain(what),
        Verb::Route(wanted) => route::verb(wanted),
        Verb::Vip(Vip::Set { name, state }) => verbs::Verb::SetVip(name, state == UpDown::Up),
        Verb::Clear { peer, hard } => verbs::Verb::Clear(peer, hard),
    };
    answer(&asked, &whom, output)
}

/// FRR's documents are few; nothing else pretends to be one.
fn as_frr(verb: Verb, whom: &Whom) -> ExitCode {
    let document = if let Verb::Show(wanted) = verb { show_verbs::frr(wanted) } else { None };
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
    match whom.target() {
        Ok(target) => ask(asked, &target, output),
        Err(wrong) => wrong,
    }
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
    let log = log.with_ansi(std::io::stderr().is_terminal());
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

fn test_policy(test: Test, output: Output) -> ExitCode {
    let as_path: Result<Vec<u32>, _> = test.as_path.split_whitespace().map(str::parse).collect();
    let Ok(as_path) = as_path else {
        eprintln!("weft: --as-path `{}`: write AS numbers with spaces between them", test.as_path);
        return ExitCode::from(2);
    };
    let trial = Trial {
        prefix: test.prefix.trunc(),
        peer: test.peer,
        as_path,
        origin: match test.origin {
            Origin::Igp => 0,
            Origin::Egp => 1,
            Origin::Incomplete => 2,
        },
        local_pref: test.local_pref,
        med: test.med,
        next_hop: test.next_hop,
        communities: test.community,
        large_communities: test.large_community,
        ext_communities: test.ext_community,
        next_hops: test.next_hops,
    };
    let node = config::load(&test.file).and_then(|config| config.node()).map_err(|error| error.to_string());
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
    match config::parse(&name, &text).and_then(|config| config.node()) {
        Ok(node) => {
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
