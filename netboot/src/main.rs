//! The `weft-netboot` binary: reads the command line and calls the library.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line talks to a person")]

#[path = "main/agent.rs"]
mod agent;
#[path = "main/arguments.rs"]
mod arguments;
#[path = "main/ask.rs"]
mod ask;
#[path = "main/bmc.rs"]
mod bmc;
#[path = "main/build.rs"]
mod build;
#[path = "main/image.rs"]
mod image;
#[path = "main/keys.rs"]
mod keys;
#[path = "main/store.rs"]
mod store;
#[path = "main/template.rs"]
mod template;
#[path = "main/tls.rs"]
mod tls;

use arguments::{Arguments, Verb};
use clap::{CommandFactory as _, Parser as _};
use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use weft_netboot::config::{self, Config};
use weft_netboot::io::client::NobodyThere;
use weft_netboot::io::{apart, server, service::Service};
use weft_netboot::store::Store;

/// Wait before a store that does not answer is asked again.
const STORE_AGAIN: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Verb::Completions { shell } = arguments.verb {
        // Written at once: the generator knows no reader that leaves.
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Arguments::command(), "weft-netboot", &mut script);
        return if std::io::stdout().write_all(&script).is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    if let Verb::RenderTemplates = arguments.verb {
        return if apart::run().is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("weft-netboot: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("weft-netboot: {error:#}");
            if error.is::<NobodyThere>() { ExitCode::from(3) } else { ExitCode::FAILURE }
        }
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.verb {
        Verb::Serve { config } => serve(&config).await,
        Verb::Check { config } => {
            let read = load(&config)?;
            println!("{}: ok, store: {}", config.display(), store::name(&read.store));
            Ok(())
        }
        Verb::Store(verb) => store::run(verb).await,
        Verb::Tls(verb) => tls::run(&verb, arguments.output),
        Verb::Agent { serial, to, every } => {
            agent::run(&arguments.target.targets(&to)?, &serial, Duration::from_secs(every)).await
        }
        Verb::Image(verb) => image::run(&arguments.target.target()?, verb, arguments.output).await,
        Verb::Bmc(verb) => bmc::run(&arguments.target.target()?, verb, arguments.output).await,
        Verb::Template(verb) => template::run(&arguments.target.target()?, verb, arguments.output).await,
        Verb::Keys(verb) => keys::run(&arguments.target.target()?, verb, arguments.output).await,
        verb @ (Verb::Machines(_)
        | Verb::Enrol(_)
        | Verb::Ipam(_)
        | Verb::Plan(_)
        | Verb::Dhcp(_)
        | Verb::Leases { .. }
        | Verb::Fabric(_)
        | Verb::Liveness(_)
        | Verb::Audit { .. }
        | Verb::Sabakan(_)
        | Verb::RenderTemplates
        | Verb::Completions { .. }) => ask::run(&arguments.target.target()?, verb, arguments.output).await,
    }
}

fn load(path: &Path) -> anyhow::Result<Config> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| anyhow::anyhow!("{name}: {error}"))?;
    config::parse(&name, &text).map_err(anyhow::Error::msg)
}

/// Until SIGTERM or SIGINT. Everything acknowledged is stored: there is nothing to finish.
async fn serve(path: &Path) -> anyhow::Result<()> {
    let wanted = std::env::var("WEFT_LOG").unwrap_or_else(|_| "info".to_owned());
    let filter = wanted.parse::<Targets>().unwrap_or_else(|_| Targets::new().with_default(LevelFilter::INFO));
    let log = tracing_subscriber::fmt::layer().with_target(false).with_writer(std::io::stderr);
    let log = log.with_ansi(std::io::stderr().is_terminal());
    tracing_subscriber::registry().with(log.with_filter(filter)).init();
    let config = load(path)?;
    // As many sockets as the system allows: what comes is bounded by the server itself.
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: files.maximum, ..files };
    if let Err(error) = rustix::process::setrlimit(rustix::process::Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let mut interrupt = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())?;
    let store = store::open(&config.store)?;
    let mut until = std::pin::pin!(async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    });
    let service = tokio::select! {
        service = started(store) => service,
        () = until.as_mut() => return Ok(()),
    };
    server::run(&config, service, until).await
}

/// A boot server and its etcd start together, and etcd needs a majority: a store that does not answer yet is waited for.
async fn started(store: Arc<dyn Store>) -> Arc<Service> {
    let mut complained = false;
    loop {
        match Service::start(store.clone()).await {
            Ok(service) => return service,
            Err(error) if !complained => tracing::warn!(store = store.describe(), %error, "waits for the store"),
            Err(_) => {}
        }
        complained = true;
        tokio::time::sleep(STORE_AGAIN).await;
    }
}
