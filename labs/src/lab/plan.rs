//! What a node becomes: its file system, its settings, its daemons. Pure: the lab executes it.
//!
//! A [`Blueprint`] crosses from the runner to the node's first process, so it is plain data. The order of settings
//! matters: what is in `sysctls` here is set before there is any interface, because new interfaces copy
//! `conf.default`; what the topology file says is set once the links are there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::personality::Personality;
use crate::personality::launch::{self, Daemon, Launch};
use crate::topology::{Bind, NodeSpec};

/// Where a node sees the folder that the host sees as well: daemon sockets and logs.
pub const STATE: &str = "/run/weft";
/// Folder of the lab's with its volumes.
pub const VOLUMES: &str = ".volumes";
/// Folder of the lab's with unpacked images.
pub const IMAGES: &str = ".images";
/// Programs that the lab brings into a node; first in its PATH.
pub const PROGRAMS: &str = "/run/lab";
/// Where a weft daemon's configuration is in a node.
const WEFT_CONFIG: &str = "/etc/weft/weft.yaml";

/// What a node's first process needs to know to make the node's file system and settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blueprint {
    /// Host name.
    pub hostname: String,
    /// Host folder shown at [`STATE`].
    pub state: PathBuf,
    /// Settings, in order; the last word says whether the node is useless without it.
    pub sysctls: Vec<(String, String, Need)>,
    /// Network namespace that the node uses instead of a new one.
    pub network: Option<PathBuf>,
    /// Folder that is the node's root, instead of the host's.
    pub root: Option<PathBuf>,
    /// Directories on a file system of their own.
    pub folders: Vec<PathBuf>,
    /// The same, with mount options.
    pub tmpfs: BTreeMap<PathBuf, String>,
    /// Host file or folder, place in the node, read only.
    pub binds: Vec<(PathBuf, PathBuf, bool)>,
    /// Place in the node, and content.
    pub files: Vec<(PathBuf, String)>,
    /// Inside a user namespace of an ordinary user.
    pub ordinary: bool,
}

/// Whether a kernel without a setting can still run the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Need {
    /// No.
    Must,
    /// Yes: older kernels do not have it.
    May,
}

/// A node, ready to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// For its first process.
    pub blueprint: Blueprint,
    /// What to start in it.
    pub launch: Launch,
    /// Environment of everything started in it.
    pub environment: BTreeMap<String, String>,
    /// User and group of everything started in it; `None` = root.
    pub user: Option<(u32, u32)>,
    /// Whether it runs a command of the file's, which may come to its end.
    pub own_command: bool,
}

/// Where things are on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// The lab's name.
    pub lab: String,
    /// The lab's folder; every node has one of its name in it.
    pub folder: PathBuf,
    /// The `weft` program, if a node needs it.
    pub weft: Option<PathBuf>,
    /// The `weft-netboot` program, if a node needs it.
    pub netboot: Option<PathBuf>,
    /// Whether the lab is an ordinary user's.
    pub ordinary: bool,
}

/// Plans one node. `read` gives the text of a host file.
///
/// # Errors
/// When a node that runs weft has no configuration, or a configuration cannot be read; a sentence for a person.
pub fn plan(
    spec: &NodeSpec,
    personality: Personality,
    host: &Host,
    read: &dyn Fn(&Path) -> Result<String, String>,
) -> Result<Plan, String> {
    let mut launch = launch(spec, personality, read).map_err(|message| format!("{}: {message}", spec.name))?;
    if !spec.command.is_empty() {
        launch.daemons = vec![Daemon { words: spec.command.clone(), socket: None }];
    }
    let mut binds: Vec<_> =
        spec.binds.iter().map(|Bind { host, target, read_only }| (host.clone(), target.clone(), *read_only)).collect();
    binds.extend(
        spec.volumes
            .iter()
            .map(|volume| (host.folder.join(VOLUMES).join(&volume.name), volume.target.clone(), volume.read_only)),
    );
    for (from, to) in &launch.binds {
        if !binds.iter().any(|(_, target, _)| target == to) {
            binds.push((from.clone(), to.clone(), true));
        }
    }
    for (program, name) in [(&host.weft, "weft"), (&host.netboot, "weft-netboot")] {
        if let Some(program) = program {
            binds.push((program.clone(), Path::new(PROGRAMS).join(name), true));
        }
    }
    let mut files = launch.files.clone();
    files.push(("/etc/hostname".into(), format!("{}\n", spec.hostname)));
    files.push(("/etc/hosts".into(), format!("127.0.0.1 localhost {}\n::1 localhost\n", spec.hostname)));
    files.retain(|(path, _)| !binds.iter().any(|(_, target, _)| target == path));
    let blueprint = Blueprint {
        hostname: spec.hostname.clone(),
        state: host.folder.join(&spec.name),
        sysctls: if spec.network.is_none() { sysctls(&host.lab, &spec.name) } else { Vec::new() },
        network: None,
        root: spec.root.clone(),
        folders: launch.folders.clone(),
        tmpfs: spec.tmpfs.clone(),
        binds,
        files,
        ordinary: host.ordinary,
    };
    let user = spec.user.as_ref().map(|user| identity(user, read)).transpose();
    let user = user.map_err(|message| format!("{}: {message}", spec.name))?;
    Ok(Plan { blueprint, environment: environment(spec), launch, user, own_command: !spec.command.is_empty() })
}

/// Numbers of a user and its group, as `1000`, `1000:1000`, `nobody` or `nobody:nogroup`.
fn identity(user: &str, read: &dyn Fn(&Path) -> Result<String, String>) -> Result<(u32, u32), String> {
    let (name, group) = user.split_once(':').map_or((user, None), |(name, group)| (name, Some(group)));
    let field = |file: &str, name: &str, number: usize| -> Result<u32, String> {
        let text = read(Path::new(file))?;
        let line =
            text.lines().find(|line| line.split(':').next() == Some(name) || line.split(':').nth(2) == Some(name));
        let value = line.and_then(|line| line.split(':').nth(number)?.parse().ok());
        value.ok_or_else(|| format!("`{name}` is not in {file}: write a number"))
    };
    let number = name.parse().or_else(|_| field("/etc/passwd", name, 2))?;
    let group = match group {
        Some(group) => group.parse().or_else(|_| field("/etc/group", group, 2))?,
        // of one that nobody knows, the number is the group's too
        None => field("/etc/passwd", name, 3).unwrap_or(number),
    };
    Ok((number, group))
}

fn launch(
    spec: &NodeSpec,
    personality: Personality,
    read: &dyn Fn(&Path) -> Result<String, String>,
) -> Result<Launch, String> {
    let bound = spec.binds.iter().find(|bind| bind.target == Path::new(WEFT_CONFIG));
    match (personality, bound) {
        (Personality::Plain, _) => Ok(Launch::default()),
        (Personality::Weft, None) if spec.config.is_some() => {
            let mut launch = launch::own(personality, &spec.binds)?;
            launch.files.extend(spec.config.clone().map(|text| (WEFT_CONFIG.into(), text)));
            Ok(launch)
        }
        (Personality::Weft | Personality::Netboot, None) => Err(format!(
            "it runs weft, but nothing is bound to {WEFT_CONFIG}: add to `binds`, or say `weft: auto` in the file"
        )),
        (
            Personality::Bird | Personality::Frr | Personality::Gobgp | Personality::Openbgpd | Personality::Exabgp,
            None,
        ) => launch::own(personality, &spec.binds),
        (_, Some(bind)) => {
            let config = personality.config_file(&bind.host);
            read(&config)?;
            launch::plan(personality, &config, &read(&bind.host)?)
        }
    }
}

fn environment(spec: &NodeSpec) -> BTreeMap<String, String> {
    let path = format!("{PROGRAMS}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/frr");
    let mut environment: BTreeMap<String, String> =
        [("PATH", path.as_str()), ("HOME", "/root"), ("LANG", "C.UTF-8"), ("HOSTNAME", &spec.hostname)]
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
    environment.extend(spec.env.clone());
    environment
}

/// What makes a namespace a router in a Clos.
fn sysctls(lab: &str, node: &str) -> Vec<(String, String, Need)> {
    let mut settings: Vec<(String, String, Need)> = Vec::new();
    let mut set = |key: &str, value: &str, need| settings.push((key.to_owned(), value.to_owned(), need));
    set("net.ipv4.ip_forward", "1", Need::Must);
    set("net.ipv4.fib_multipath_hash_policy", "1", Need::Must);
    // A new namespace has the boot-time seed of all others: with one seed, tiers choose alike and leave links empty.
    set("net.ipv4.fib_multipath_hash_seed", &seed(lab, node).to_string(), Need::May);
    for which in ["all", "default"] {
        set(&format!("net.ipv4.conf.{which}.rp_filter"), "0", Need::Must);
        set(&format!("net.ipv4.conf.{which}.send_redirects"), "0", Need::Must);
        set(&format!("net.ipv4.conf.{which}.accept_redirects"), "0", Need::Must);
        set(&format!("net.ipv4.conf.{which}.ignore_routes_with_linkdown"), "1", Need::Must);
    }
    // A host may be booted without IPv6: then labs over IPv4 still run.
    set("net.ipv6.fib_multipath_hash_policy", "1", Need::May);
    for which in ["all", "default"] {
        set(&format!("net.ipv6.conf.{which}.disable_ipv6"), "0", Need::May);
        set(&format!("net.ipv6.conf.{which}.forwarding"), "1", Need::May);
        set(&format!("net.ipv6.conf.{which}.accept_ra"), "0", Need::May);
        // Both: the kernel looks for duplicates if either asks for it, and an address is unusable meanwhile.
        set(&format!("net.ipv6.conf.{which}.accept_dad"), "0", Need::May);
        set(&format!("net.ipv6.conf.{which}.keep_addr_on_down"), "1", Need::May);
        set(&format!("net.ipv6.conf.{which}.ignore_routes_with_linkdown"), "1", Need::May);
    }
    // Where br_netfilter is loaded, bridged packets would pass the host's rules for routed ones.
    set("net.bridge.bridge-nf-call-iptables", "0", Need::May);
    set("net.bridge.bridge-nf-call-ip6tables", "0", Need::May);
    settings
}

/// FNV-1a of the name, never 0 (which means: the boot-time seed).
fn seed(lab: &str, node: &str) -> u32 {
    let mut hash: u32 = 0x811c_9dc5;
    for byte in lab.bytes().chain([b'/']).chain(node.bytes()) {
        hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    }
    hash.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::Topology;

    const FILE: &str = "name: t\ntopology:\n  nodes:\n    a: {image: weft, binds: ['a.yaml:/etc/weft/weft.yaml']}\n    \
                        b: {image: weft}\n    c: {image: alpine, cmd: 'tail -f /dev/null', env: {X: y}}\n";

    fn topology() -> Topology {
        Topology::parse(FILE, Path::new("/t/t.clab.yml"), &|_| None).unwrap()
    }

    fn planned(node: &str, personality: Option<Personality>) -> Result<Plan, String> {
        let topology = topology();
        let host = Host {
            lab: "t".into(),
            folder: "/s/t".into(),
            weft: Some("/bin/weft".into()),
            netboot: None,
            ordinary: true,
        };
        let spec = &topology.nodes[node];
        let read = |_: &Path| Ok("addresses: [10.0.0.1/32]\n".to_owned());
        plan(spec, personality.unwrap_or(spec.personality), &host, &read)
    }

    #[test]
    fn a_bind_of_the_file_is_not_made_twice() {
        let plan = planned("a", None).unwrap();
        let to_config = plan.blueprint.binds.iter().filter(|bind| bind.1 == Path::new(WEFT_CONFIG)).count();
        assert_eq!(to_config, 1);
        assert_eq!(plan.blueprint.state, Path::new("/s/t/a"));
    }

    #[test]
    fn weft_without_a_configuration_says_what_to_add() {
        let message = planned("b", None).unwrap_err();
        assert!(message.contains("b: ") && message.contains("/etc/weft/weft.yaml"), "{message}");
    }

    #[test]
    fn another_daemon_takes_the_file_beside_and_the_addresses() {
        let plan = planned("a", Some(Personality::Bird)).unwrap();
        assert_eq!(plan.launch.loopback.len(), 1);
        assert!(plan.blueprint.binds.iter().any(|(from, _, _)| from == Path::new("/t/a.bird.conf")));
    }

    #[test]
    fn a_command_of_its_own_is_the_daemon() {
        let plan = planned("c", None).unwrap();
        assert_eq!(plan.launch.daemons[0].words, ["tail", "-f", "/dev/null"]);
        assert_eq!(plan.environment["X"], "y");
    }

    #[test]
    fn seeds_differ_between_nodes_and_labs() {
        assert_ne!(seed("l", "a"), seed("l", "b"));
        assert_ne!(seed("l", "a"), seed("m", "a"));
    }
}
