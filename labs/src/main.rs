//! The `weft-lab` binary: reads the command line and calls the library.
#![expect(clippy::print_stderr, reason = "a command line talks to a person")]

use clap::{CommandFactory as _, Parser, Subcommand};
use std::process::ExitCode;
use weft_labs::command::{
    act, bmc, capture, deploy, down, events, exec, fault, generate, graph, inspect, plan, save, sim, up, validate,
};
use weft_labs::lab::init;

/// A simulated datacenter is millions of small lists that grow: with it a run takes a tenth less, and its checks a third.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Virtual datacenters from containerlab topology files: every node a set of namespaces, every link a real one.
///
/// Needs neither a container engine nor root.
#[derive(Debug, Parser)]
#[command(name = "weft-lab", version)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Start a lab, wait until everything expected of it is true, and keep it until Ctrl-C
    Up(up::Up),
    /// End a lab and remove everything of it
    Down(down::Down),
    /// Show the nodes of running labs
    Inspect(inspect::Inspect),
    /// Run a command in a node
    Exec(exec::Exec),
    /// Tell what happens in running labs, until Ctrl-C
    Events(events::Events),
    /// Write down the configurations that daemons of a running lab have
    Save(save::Save),
    /// Set a link of a running lab down or up
    #[command(subcommand)]
    Link(act::Link),
    /// Kill or start the daemon of a node
    #[command(subcommand)]
    Node(act::Node),
    /// Break links and nodes of a running lab, show what is broken, and mend it
    #[command(subcommand)]
    Fault(fault::Verb),
    /// containerlab's tools: `netem`
    #[command(subcommand)]
    Tools(fault::Tools),
    /// Let packets flow between two nodes until standard input ends, and say how many were lost
    Flow(act::Flow),
    /// Write down what passes an interface, as a pcap file
    Capture(capture::Capture),
    /// Start a lab, check everything expected of it, and take it down; the exit code says whether all held
    Verify(up::Verify),
    /// Draw a topology, or a running lab with its sessions and its load
    Graph(graph::Graph),
    /// Read a topology file and say what is wrong with it; nothing is started
    Validate(validate::Validate),
    /// Write the topology file of a Clos
    Generate(generate::Generate),
    /// The same as `up --detach`, with containerlab's options
    Deploy(deploy::Deploy),
    /// The same as `down`, with containerlab's options
    Destroy(deploy::Destroy),
    /// Run a network on virtual time from a cold start to rest, and check everything
    Sim(sim::Run),
    /// Run random incidents in random networks on virtual time, and make those small that fail
    Explore(sim::Explore),
    /// Run a scenario once more
    Replay(sim::Replay),
    /// Say what a change of a topology or of configurations does to every flow; the exit code says whether one is lost
    Plan(plan::Options),
    /// Play the management controller of a machine: Redfish in front of a script that has the power, with faults
    Bmc(bmc::Bmc),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// First process of a node; only the lab itself calls this
    #[command(hide = true, name = weft_labs::lab::INIT_VERB)]
    NodeInit {
        /// LAB/NODE, for people who read process lists
        label: String,
    },
}

fn main() -> ExitCode {
    let done = |result: anyhow::Result<()>| result.map(|()| ExitCode::SUCCESS);
    let result = match Arguments::parse().verb {
        Verb::Up(options) => up::up(&options),
        Verb::Down(options) => done(down::down(&options)),
        Verb::Inspect(options) => done(inspect::inspect(&options)),
        Verb::Exec(options) => exec::exec(&options),
        Verb::Events(options) => done(events::events(&options)),
        Verb::Save(options) => done(save::save(&options)),
        Verb::Link(what) => done(act::link(&what)),
        Verb::Node(what) => done(act::node(&what)),
        Verb::Fault(verb) => done(fault::fault(verb)),
        Verb::Tools(tools) => done(fault::tools(&tools)),
        Verb::Flow(options) => done(act::flow(&options)),
        Verb::Capture(options) => done(capture::capture(&options)),
        Verb::Verify(options) => up::verify(&options),
        Verb::Graph(options) => done(graph::graph(&options)),
        Verb::Validate(options) => validate::validate(&options),
        Verb::Generate(options) => generate::generate(&options),
        Verb::Deploy(options) => deploy::deploy(&options),
        Verb::Destroy(options) => done(deploy::destroy(&options)),
        Verb::Sim(options) => sim::sim(&options),
        Verb::Explore(options) => sim::explore(&options),
        Verb::Replay(options) => sim::replay(&options),
        Verb::Plan(options) => plan::plan(&options),
        Verb::Bmc(options) => done(bmc::bmc(&options)),
        Verb::Completions { shell } => {
            clap_complete::generate(shell, &mut Arguments::command(), "weft-lab", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
        Verb::NodeInit { label: _ } => done(init::run()),
    };
    result.unwrap_or_else(|error| {
        eprintln!("{error:#}");
        ExitCode::FAILURE
    })
}
