//! The command line.

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use std::path::PathBuf;
use weft_netboot::inventory::state::State;
use weft_netboot::io::client::Target;
use weft_netboot::plan::Range;

/// Boot servers: the machine inventory, its address plan and its store.
///
/// Exit codes: 0 done, 1 refused or not found, 2 wrong command line, 3 no server there.
#[derive(Debug, Parser)]
#[command(name = "weft-netboot", version)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) target: TargetArguments,
    /// How answers are printed
    #[arg(long, short, global = true, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct TargetArguments {
    /// The server's local socket
    #[arg(
        long,
        global = true,
        value_name = "PATH",
        default_value = "/run/weft/netboot.sock",
        env = "WEFT_NETBOOT_SOCKET"
    )]
    socket: PathBuf,
    /// A server elsewhere; needs --ca, --cert and --key
    #[arg(long, global = true, value_name = "HOST:PORT", env = "WEFT_NETBOOT_SERVER")]
    server: Option<String>,
    /// PEM file with the server's authority
    #[arg(long, global = true, value_name = "FILE", env = "WEFT_NETBOOT_CA")]
    ca: Option<PathBuf>,
    /// PEM file with our certificate
    #[arg(long, global = true, value_name = "FILE", env = "WEFT_NETBOOT_CERT")]
    cert: Option<PathBuf>,
    /// PEM file with our key
    #[arg(long, global = true, value_name = "FILE", env = "WEFT_NETBOOT_KEY")]
    key: Option<PathBuf>,
}

impl TargetArguments {
    /// The servers that an agent reports to.
    pub(crate) fn targets(self, to: &[String]) -> anyhow::Result<Vec<Target>> {
        if to.is_empty() {
            return Ok(vec![self.target()?]);
        }
        let one = |authority: &String| Self { server: Some(authority.clone()), ..self.clone() }.target();
        to.iter().map(one).collect()
    }

    pub(crate) fn target(self) -> anyhow::Result<Target> {
        let Some(authority) = self.server else {
            return Ok(Target::Socket(self.socket));
        };
        match (self.ca, self.cert, self.key) {
            (Some(ca), Some(cert), Some(key)) => Ok(Target::Https { authority, ca, cert, key }),
            _ => anyhow::bail!(
                "--server needs --ca, --cert and --key: a server elsewhere knows nobody without a certificate"
            ),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people
    Table,
    /// For programs
    Json,
    /// For both
    Yaml,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run the server in the foreground; it logs to standard error (WEFT_LOG=debug for more)
    Serve {
        /// The configuration
        #[arg(long, value_name = "FILE", default_value = "/etc/weft/netboot.yaml")]
        config: PathBuf,
    },
    /// Read a server's configuration and say what is wrong with it; nothing is started
    Check {
        /// The file
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Machines
    #[command(subcommand, alias = "machine")]
    Machines(Machines),
    /// Machines that nobody registered: their rules, and those that wait
    #[command(subcommand)]
    Enrol(Enrol),
    /// The address plan
    #[command(subcommand)]
    Ipam(Ipam),
    /// The plan of the fabric: AS numbers, switches, what roles announce
    #[command(subcommand)]
    Plan(Setting),
    /// What DHCP tells beside addresses
    #[command(subcommand)]
    Dhcp(Setting),
    /// Addresses that DHCP lent, and those that rest because a client found them in use
    Leases {
        /// Those that are over too: their clients get them again if they can
        #[arg(long)]
        all: bool,
    },
    /// Disk keys: who has some, what machines show for them, what opens a disk without its machine
    #[command(subcommand, alias = "key")]
    Keys(crate::keys::Keys),
    /// What machines boot: images, and who boots which
    #[command(subcommand, alias = "images")]
    Image(crate::image::Images),
    /// Configuration templates: Ignition and cloud-init for each machine
    #[command(subcommand)]
    Template(crate::template::Templates),
    /// Management controllers: power, and what firmware boots next
    #[command(subcommand)]
    Bmc(crate::bmc::Bmcs),
    /// Configurations that follow from inventory and plan
    #[command(subcommand)]
    Fabric(Fabric),
    /// What this server sees of the fabric, by which it judges machines
    #[command(subcommand)]
    Liveness(Liveness),
    /// On a machine: report to boot servers that it is well, until ended; the machine's certificate says which it is
    Agent {
        /// Its serial number
        serial: String,
        /// A boot server; each judges for itself, so all of them (may be given several times) [default: --server or --socket]
        #[arg(long, value_name = "HOST:PORT")]
        to: Vec<String>,
        /// How often, in seconds; servers believe in a report for 30 s unless told otherwise
        #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
        every: u64,
    },
    /// Who changed what, newest first
    Audit {
        /// About this machine, or ipam, plan, dhcp
        #[arg(long, value_name = "SERIAL")]
        subject: Option<String>,
        /// Not older than this
        #[arg(long, value_name = "TIME")]
        since: Option<jiff::Timestamp>,
        /// Older than this
        #[arg(long, value_name = "TIME")]
        until: Option<jiff::Timestamp>,
        /// At most so many
        #[arg(long, value_name = "NUMBER", default_value_t = 50)]
        limit: usize,
    },
    /// Take over what Sabakan has
    #[command(subcommand)]
    Sabakan(Sabakan),
    /// Certificates of a server's configuration
    #[command(subcommand)]
    Tls(crate::tls::Tls),
    /// The store itself, without a server
    #[command(subcommand)]
    Store(Store),
    /// What a server starts to have templates rendered with bounds: reads what is to be done, and says what came of it
    #[command(hide = true)]
    RenderTemplates,
    /// Print the completion script of a shell
    Completions {
        /// Which shell
        #[arg(value_enum)]
        shell: Shell,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Machines {
    /// Machines that a query means: all of its conditions hold, one of the values of each
    #[command(alias = "ls")]
    List {
        /// As rack=0,1 role=cs labels=zone=x state=healthy without-bmc-type=Redfish; keys: serial, name, labels, rack, role, ipv4, ipv6,
        /// bmc-type, state, mac
        #[arg(value_name = "KEY=VALUE")]
        query: Vec<String>,
    },
    /// Everything about one machine
    #[command(alias = "get")]
    Show {
        /// Its serial number
        serial: String,
    },
    /// Register machines of a file (YAML or JSON: a list): all of them or none, at most 60 at a time
    Register {
        /// The file; - reads standard input
        file: PathBuf,
    },
    /// Say what a machine is fit for
    SetState {
        /// Its serial number
        serial: String,
        /// The state
        #[arg(value_parser = state)]
        state: State,
        /// Why
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Add, change and remove labels
    Label {
        /// Its serial number
        serial: String,
        /// As zone=x
        #[arg(value_name = "LABEL=VALUE")]
        set: Vec<String>,
        /// A label to remove (may be given several times)
        #[arg(long, value_name = "LABEL")]
        remove: Vec<String>,
    },
    /// Say when a machine is to leave
    Retire {
        /// Its serial number
        serial: String,
        /// As 2030-01-31T00:00:00Z; nobody knows unless given
        at: Option<jiff::Timestamp>,
    },
    /// Say all that a machine may announce beside its own addresses and what its role may
    Announce {
        /// Its serial number
        serial: String,
        /// As 10.64.4.0/27, or "10.72.32.0/20 ge 32"
        prefixes: Vec<Range>,
    },
    /// Say what is in a machine (YAML or JSON: ids, hardware)
    Report {
        /// Its serial number
        serial: String,
        /// The file; - reads standard input
        file: PathBuf,
    },
    /// Let a machine boot that is held because it boots again and again
    Release {
        /// Its serial number
        serial: String,
    },
    /// Delete a retired machine
    #[command(alias = "rm")]
    Remove {
        /// Its serial number
        serial: String,
    },
    /// A line of JSON for each change, until interrupted
    Watch {
        /// From this revision on [default: from now on]
        #[arg(long, value_name = "REVISION")]
        since: Option<u64>,
    },
}

fn state(text: &str) -> Result<State, String> {
    text.parse().map_err(|refusal: weft_netboot::Refusal| refusal.rule)
}

#[derive(Debug, Subcommand)]
pub(crate) enum Enrol {
    /// Machines that wait, each with the reason
    #[command(alias = "ls")]
    List,
    /// Register one that waits, as its rule or you say
    Accept {
        /// Its serial number
        serial: String,
        /// Its role [default: that of its rule]
        #[arg(long)]
        role: Option<String>,
        /// Its rack [default: that of its rule, or where it was seen]
        #[arg(long, value_name = "NUMBER")]
        rack: Option<u32>,
        /// Its place in the rack [default: the lowest free one]
        #[arg(long, value_name = "NUMBER")]
        index: Option<u32>,
        /// Its host name [default: made of role, rack and place]
        #[arg(long)]
        name: Option<String>,
        /// Beside the labels of its rule (may be given several times)
        #[arg(long, value_name = "LABEL=VALUE")]
        label: Vec<String>,
    },
    /// Say that one is not wanted; it stays in the list, and can still be accepted
    Reject {
        /// Its serial number
        serial: String,
        /// Why
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Forget one: it may report itself again
    Forget {
        /// Its serial number
        serial: String,
    },
    /// Report a machine (YAML or JSON: serial, ids, hardware, rack, bmc_type); a machine reports itself
    Report {
        /// The file; - reads standard input
        file: PathBuf,
        /// Without a certificate, to the address `enrol` of a server
        #[arg(long, value_name = "HOST:PORT")]
        open: Option<String>,
    },
    /// The rules, of which the first that means a machine decides
    #[command(subcommand)]
    Rules(Setting),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Ipam {
    /// Print it
    #[command(alias = "show")]
    Get,
    /// Change it (YAML or JSON); no machine that is registered is moved
    Set {
        /// The file; - reads standard input
        file: PathBuf,
    },
    /// Say what another plan would change for machines and switches, and what stands against it; nothing is done
    Plan {
        /// The file; - reads standard input
        file: PathBuf,
    },
    /// Begin to take live machines to another plan: they keep their addresses beside the new ones until they confirm
    Migrate {
        /// The file; - reads standard input
        file: PathBuf,
    },
    /// The change that is under way
    #[command(subcommand)]
    Migration(Migration),
    /// Say what an address is, and whose
    Explain {
        /// As 10.69.0.4
        address: std::net::IpAddr,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Migration {
    /// How far it is, and who has not confirmed
    #[command(alias = "get")]
    Show,
    /// Machines run with their new addresses, and need the old ones no more; a machine says it itself
    Confirm {
        /// Their serial numbers, at most 60
        #[arg(required = true)]
        serials: Vec<String>,
    },
    /// All have confirmed: one plan again
    Finish,
    /// The way back: machines that have confirmed get both again, until they confirm the old ones; then finish
    Abort,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Setting {
    /// Print it
    #[command(alias = "show")]
    Get,
    /// Change it (YAML or JSON)
    Set {
        /// The file; - reads standard input
        file: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Liveness {
    /// Print it
    #[command(alias = "get")]
    Show,
    /// Many machines went at once, and that is real: mark them
    Thaw,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Fabric {
    /// Print the configuration of a switch or machine for `weft daemon`
    Config {
        /// A switch of the plan, or a machine's name or serial number
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Sabakan {
    /// Read its files, in the order ipam, dhcp, machines
    Import {
        /// ipam.json
        #[arg(long, value_name = "FILE")]
        ipam: Option<PathBuf>,
        /// dhcp.json
        #[arg(long, value_name = "FILE")]
        dhcp: Option<PathBuf>,
        /// machines.json, or what `sabactl machines get` prints: then places and states are kept
        #[arg(long, value_name = "FILE")]
        machines: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Store {
    /// Write everything to a file, a line of JSON for each entry; an embedded store must not be in use
    Export {
        /// The server's configuration
        #[arg(long, value_name = "FILE", default_value = "/etc/weft/netboot.yaml")]
        config: PathBuf,
        /// The file; - writes to standard output
        file: PathBuf,
    },
    /// Read such a file into a store that is empty
    Import {
        /// The server's configuration
        #[arg(long, value_name = "FILE", default_value = "/etc/weft/netboot.yaml")]
        config: PathBuf,
        /// The file; - reads standard input
        file: PathBuf,
    },
    /// Copy everything from one store into another that is empty, as from embedded to etcd, and compare; stop the servers first
    Migrate {
        /// The configuration with the old store
        #[arg(long, value_name = "FILE", default_value = "/etc/weft/netboot.yaml")]
        config: PathBuf,
        /// The configuration with the new store
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
    },
}
