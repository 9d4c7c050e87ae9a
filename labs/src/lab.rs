//! Runs a topology: every node a set of namespaces, every link a pair of virtual interfaces.
//!
//! ```text
//! runner (weft-lab up)                              one per lab; dies ▶ everything below dies
//!  ├─ tor1: first process ── net, mount, pid, uts, ipc namespaces    init, root
//!  │    └─ weft daemon                              child of the runner, inside the namespaces
//!  ├─ …
//!  └─ control socket ◀── weft-lab exec, inspect, link, node, down    control, server
//! ```
//!
//! [`plan`] decides what a node is, without doing anything. [`home`] is the lab's folder on the host, the only thing that
//! outlives a killed runner. [`userns`] gets an ordinary user the rights to all this.

pub mod capture;
pub mod control;
mod crowd;
pub mod events;
pub mod faults;
pub mod health;
pub mod home;
pub mod init;
mod limbo;
pub mod machine;
mod namespace;
mod netlink;
mod order;
mod pcap;
pub mod plan;
pub mod progress;
mod ready;
mod relay;
mod root;
pub mod server;
mod splice;
mod stop_api;
pub mod userns;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use tokio::runtime::Runtime;

use self::faults::Faults;
use self::health::{Health, Verdict};
use self::home::{Home, Process, Record};
use self::limbo::Limbo;
use self::machine::Machine;
use self::plan::{Host, Plan};
use self::progress::Progress;
use crate::fault::Fault;
use crate::image::{self, Image};
use crate::personality::Personality;
use crate::topology::{Device, NodeSpec, Topology};
use crate::verify::{LinkEnd, OpenSocket, Plant};

/// The hidden verb of a node's first process.
pub const INIT_VERB: &str = "node-init";
/// Nodes made at the same time: the kernel serializes most of it.
const MAX_WORKERS: usize = 4;
/// How often, and how far apart, a command is tried that needs its daemon to answer first.
const THEN_TRIES: (u32, Duration) = (100, Duration::from_millis(200));

/// What to run, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// Daemons that replace those of the file.
    pub overrides: BTreeMap<String, Personality>,
    /// The `weft` program; needed when any node runs it.
    pub weft: Option<PathBuf>,
    /// The `weft-netboot` program; needed when any node is a boot server.
    pub netboot: Option<PathBuf>,
    /// This program, for the nodes' first processes.
    pub program: PathBuf,
    /// Whether we are an ordinary user, in a user namespace.
    pub ordinary: bool,
}

/// A running lab.
#[derive(Debug)]
pub struct Lab {
    topology: Topology,
    home: Arc<Home>,
    machines: BTreeMap<String, Arc<Machine>>,
    runtime: Arc<Runtime>,
    /// Far ends of links to nowhere.
    limbo: Option<Limbo>,
    health: Arc<Health>,
    faults: Faults,
    is_down: Mutex<bool>,
}

impl Lab {
    /// Makes all nodes and links, and starts the daemons. On an error everything made is gone again.
    ///
    /// # Errors
    /// When the system refuses something; the text says in which node.
    pub fn start(topology: Topology, home: Arc<Home>, options: &Options, progress: &Progress) -> Result<Self> {
        note(&home, &topology, Vec::new())?;
        let runtime = netlink::runtime()?;
        let limbo = if topology.devices.is_empty() { None } else { Some(Limbo::new(&runtime)?) };
        let obstacles = ready::obstacles(&topology, &options.overrides, options.ordinary, limbo.as_ref());
        if !obstacles.is_empty() {
            bail!("nothing was started:\n  {}", obstacles.join("\n  "));
        }
        let machines = create(&topology, &home, options, &runtime, progress)?;
        let health = Arc::new(Health::default());
        let (faults, is_down) = (Faults::default(), Mutex::new(false));
        let lab = Self { topology, home, machines, runtime, limbo, health, faults, is_down };
        if let Err(error) = lab.furnish(progress) {
            lab.destroy();
            return Err(error);
        }
        Ok(lab)
    }

    /// The file it was made from.
    #[must_use]
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// Its folder on the host.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.home.folder()
    }

    /// A node.
    ///
    /// # Errors
    /// When there is none of that name; the text lists those there are.
    pub fn machine(&self, node: &str) -> io::Result<&Machine> {
        self.machines.get(node).map(Arc::as_ref).ok_or_else(|| {
            let names: Vec<&str> = self.machines.keys().map(String::as_str).collect();
            io::Error::other(format!("there is no node `{node}` in {}: {}", self.topology.name, names.join(", ")))
        })
    }

    /// All nodes.
    pub fn machines(&self) -> impl Iterator<Item = &Machine> {
        self.machines.values().map(Arc::as_ref)
    }

    /// Whether a node is well; `None` when it has no health check.
    #[must_use]
    pub fn health(&self, node: &str) -> Option<Verdict> {
        self.health.of(node)
    }

    /// Daemons that ended although nobody asked them to.
    #[must_use]
    pub fn fallen(&self) -> Vec<String> {
        self.machines().filter_map(Machine::fallen).collect()
    }

    /// Everything after the namespaces: who we are, links, addresses, settings, daemons.
    fn furnish(&self, progress: &Progress) -> Result<()> {
        note(&self.home, &self.topology, self.machines().map(Machine::process).collect())?;
        self.link(progress)?;
        if self.topology.is_staged() {
            return self.start_in_order(progress);
        }
        let total = self.machines.len();
        for (number, machine) in self.machines.values().enumerate() {
            self.dress(machine).with_context(|| machine.name().to_owned())?;
            machine.start_daemons()?;
            progress.step("daemons started", number + 1, total);
        }
        for machine in self.machines.values() {
            if let Some(check) = self.topology.nodes.get(machine.name()).and_then(|spec| spec.health.as_ref()) {
                self.health.watch(machine, check);
            }
        }
        self.first_commands(progress)
    }

    fn link(&self, progress: &Progress) -> Result<()> {
        let total = self.topology.links.len();
        for (number, link) in self.topology.links.iter().enumerate() {
            let name = || format!("link {}:{} – {}:{}", link.a.node, link.a.interface, link.b.node, link.b.interface);
            let far = self.machine(&link.b.node)?.network().with_context(name)?;
            self.machine(&link.a.node)?.netlink().add_link(link, far.as_fd()).with_context(name)?;
            progress.step("links made", number + 1, total);
        }
        for (number, device) in self.topology.devices.iter().enumerate() {
            let name = || format!("link {}:{}", device.end.node, device.end.interface);
            let machine = self.machine(&device.end.node)?;
            match (&device.device, &self.limbo) {
                (Device::Dummy, Some(limbo)) => limbo.dummy(machine.netlink(), device, number),
                (Device::Dummy, None) => Err(io::Error::other("there is no place for its far end")),
                (Device::Macvlan { .. } | Device::Vxlan { .. }, _) => {
                    let network = machine.network().with_context(name)?;
                    let host = self.machine("host")?.netlink();
                    host.add_device(&device.end, device.mtu, &device.device, network.as_fd())
                }
            }
            .with_context(name)?;
        }
        Ok(())
    }

    /// Bridges, addresses, settings, and every interface up.
    fn dress(&self, machine: &Machine) -> Result<()> {
        let spec = self.topology.nodes.get(machine.name()).ok_or_else(|| anyhow!("not in the topology"))?;
        let netlink = machine.netlink();
        for bridge in spec.bridges.keys() {
            netlink.add_bridge(bridge).with_context(|| format!("bridge {bridge}"))?;
        }
        let indices = netlink.indices()?;
        let index = |name: &str| indices.get(name).copied().ok_or_else(|| anyhow!("no interface `{name}`"));
        for (name, bridge) in &spec.bridges {
            for port in &bridge.ports {
                netlink.set_port(index(port)?, index(name)?).with_context(|| format!("port {port} of {name}"))?;
            }
        }
        let bridges = spec.bridges.iter().map(|(name, bridge)| (name.as_str(), &bridge.addresses));
        let addresses = spec.addresses.iter().map(|(name, addresses)| (name.as_str(), addresses));
        let loopback = std::iter::once(("lo", &machine.plan().launch.loopback));
        for (name, addresses) in bridges.chain(addresses).chain(loopback) {
            for address in addresses {
                let added = netlink.add_address(index(name)?, *address);
                // the file and the daemon's configuration may both give lo the same one
                added
                    .or_else(|e| if e.raw_os_error() == Some(libc::EEXIST) { Ok(()) } else { Err(e) })
                    .with_context(|| format!("address {address} on {name}"))?;
            }
        }
        netlink::all(&self.runtime, indices.keys().map(|name| netlink.set_up(name, true)))?;
        let neighbours = crowd::neighbours(&self.topology, machine.name()).into_iter();
        let known = neighbours.filter_map(|neighbour| Some((*indices.get(neighbour.interface)?, neighbour)));
        let added = known.map(|(index, neighbour)| netlink.add_neighbour(index, neighbour.address, neighbour.mac));
        netlink::all(&self.runtime, added).context("permanent neighbours")?;
        for (key, value) in &spec.sysctls {
            match machine.in_network(|| init::set_sysctl(key, value)) {
                // said as a warning: see `warnings`
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other.with_context(|| format!("sysctl {key}={value}"))?,
            }
        }
        Ok(())
    }

    /// What the file or a daemon wants done once after the start.
    fn first_commands(&self, progress: &Progress) -> Result<()> {
        thread::scope(|scope| {
            let waiting: Vec<_> = self.machines.values().map(|machine| scope.spawn(move || then(machine))).collect();
            for machine in self.machines.values() {
                self.own_commands(machine, progress);
            }
            for thread in waiting {
                thread.join().unwrap_or_else(|_| Err(anyhow!("a thread died")))?;
            }
            Ok(())
        })
    }

    /// A node's `exec:`.
    fn own_commands(&self, machine: &Machine, progress: &Progress) {
        for words in self.topology.nodes.get(machine.name()).map_or(&[][..], |spec| &spec.exec) {
            said(machine, words, machine.name(), progress);
        }
    }

    /// Sentences about what this kernel cannot do for the lab.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut missing: BTreeMap<&str, usize> = BTreeMap::new();
        for name in self.machines().flat_map(Machine::missing) {
            *missing.entry(name).or_default() += 1;
        }
        // only loaded bridge filtering has these, and then they matter
        missing.retain(|name, _| !name.starts_with("net.bridge."));
        let settings = missing.keys().map(|name| format!("this kernel has no setting {name}: the lab runs without it"));
        crowd::warning(&self.topology).into_iter().chain(settings).collect()
    }

    /// Ends sessions, then everything, and removes the lab's files. A second call waits for the first and does nothing.
    pub fn down(&self, progress: &Progress) {
        let mut is_down = self.is_down.lock().unwrap_or_else(PoisonError::into_inner);
        if *is_down {
            return;
        }
        progress.phase("daemons say goodbye");
        thread::scope(|scope| {
            for machine in self.machines.values() {
                scope.spawn(|| machine.stop_daemons());
            }
        });
        self.destroy();
        progress.clear();
        *is_down = true;
    }

    fn destroy(&self) {
        self.health.end();
        self.faults.end();
        destroy(self.machines());
        if let Err(error) = self.home.remove() {
            Progress::new().say(&format!("{}: {error}", self.home.folder().display()));
        }
    }
}

/// Writes down who we are, so that a later `down` finds it.
fn note(home: &Home, topology: &Topology, nodes: Vec<Process>) -> Result<()> {
    let runner = Process::of(std::process::id()).ok_or_else(|| anyhow!("/proc does not show this process"))?;
    home.note(&Record { runner, nodes, topology: topology.path.clone() }).context("write the lab's record")
}

fn destroy<'a>(machines: impl Iterator<Item = &'a Machine>) {
    thread::scope(|scope| {
        for machine in machines {
            scope.spawn(|| machine.destroy());
        }
    });
}

/// Runs a command; as in containerlab, its failure is said and not fatal.
fn said(machine: &Machine, words: &[String], who: &str, progress: &Progress) {
    match machine.run(words) {
        Ok((status, _)) if status.success() => {}
        Ok((status, text)) => progress.say(&format!("{who}: `{}`: {status}: {}", words.join(" "), text.trim())),
        Err(error) => progress.say(&format!("{who}: `{}`: {error}", words.join(" "))),
    }
}

/// Runs a daemon's own first commands; they fail until it answers.
#[expect(clippy::disallowed_methods, reason = "waits between tries, with a bound")]
fn then(machine: &Machine) -> Result<()> {
    for words in &machine.plan().launch.then {
        let mut left = THEN_TRIES.0;
        loop {
            let (status, text) =
                machine.run(words).with_context(|| format!("{}: {}", machine.name(), words.join(" ")))?;
            if status.success() {
                break;
            }
            left -= 1;
            if left == 0 || machine.fallen().is_some() {
                bail!("{}: `{}` fails: {}", machine.name(), words.join(" "), text.trim());
            }
            thread::sleep(THEN_TRIES.1);
        }
    }
    Ok(())
}

/// Images in files that were unpacked into the lab's folder, each once.
#[derive(Default)]
struct Images {
    unpacked: BTreeMap<PathBuf, (PathBuf, Image)>,
}

impl Images {
    /// The node with the folder in the place of the file, and what the image says of it where the topology says nothing.
    fn with_root(&mut self, spec: &NodeSpec, lab: &Path) -> Result<NodeSpec> {
        let mut spec = spec.clone();
        let Some(file) = spec.root.clone().filter(|root| root.is_file()) else {
            return Ok(spec);
        };
        if !self.unpacked.contains_key(&file) {
            let folder = lab.join(plan::IMAGES).join(self.unpacked.len().to_string());
            let image = image::unpack(&file, &folder).with_context(|| spec.name.clone())?;
            self.unpacked.insert(file.clone(), (folder, image));
        }
        if let Some((folder, image)) = self.unpacked.get(&file) {
            spec.root = Some(folder.clone());
            if spec.command.is_empty() {
                spec.command.clone_from(&image.command);
            }
            for (key, value) in image.env.iter().filter_map(|line| line.split_once('=')) {
                spec.env.entry(key.to_owned()).or_insert_with(|| value.to_owned());
            }
            spec.user = spec.user.or_else(|| image.user.clone());
        }
        Ok(spec)
    }
}

/// A node that is to be made.
type Planned = (String, Personality, Plan);

/// Makes the nodes; first those with a network of their own, then those that use another's.
fn create(
    topology: &Topology,
    home: &Home,
    options: &Options,
    runtime: &Arc<Runtime>,
    progress: &Progress,
) -> Result<BTreeMap<String, Arc<Machine>>> {
    let host = Host {
        lab: topology.name.clone(),
        folder: home.folder().to_owned(),
        weft: options.weft.clone(),
        netboot: options.netboot.clone(),
        ordinary: options.ordinary,
    };
    let read = |path: &Path| fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()));
    let (mut plans, mut guests) = (Vec::new(), Vec::new());
    let mut images = Images::default();
    for spec in topology.nodes.values() {
        let spec = &images.with_root(spec, home.folder())?;
        let personality = options.overrides.get(&spec.name).copied().unwrap_or(spec.personality);
        let plan = plan::plan(spec, personality, &host, &read).map_err(|message| anyhow!("{message}"))?;
        home.add_node(&spec.name)?;
        for volume in &spec.volumes {
            fs::create_dir_all(home.folder().join(plan::VOLUMES).join(&volume.name))?;
        }
        let queue = if spec.network.is_some() { &mut guests } else { &mut plans };
        queue.push((spec.name.clone(), personality, plan));
    }
    let mut machines = BTreeMap::new();
    let made = make(topology, options, runtime, plans, progress, &mut machines).and_then(|()| {
        for (name, _, plan) in &mut guests {
            let owner = topology.nodes.get(name).and_then(|spec| machines.get(spec.network.as_ref()?));
            let owner: &Arc<Machine> =
                owner.ok_or_else(|| anyhow!("{name}: the node whose network it uses is not there"))?;
            plan.blueprint.network = Some(format!("/proc/{}/ns/net", owner.process().pid).into());
        }
        make(topology, options, runtime, guests, progress, &mut machines)
    });
    match made {
        Ok(()) => Ok(machines),
        Err(error) => {
            destroy(machines.values().map(Arc::as_ref));
            let _ = home.remove();
            Err(error)
        }
    }
}

/// Makes some of the nodes, several at a time.
fn make(
    topology: &Topology,
    options: &Options,
    runtime: &Arc<Runtime>,
    plans: Vec<Planned>,
    progress: &Progress,
    machines: &mut BTreeMap<String, Arc<Machine>>,
) -> Result<()> {
    let (wanted, total, done) = (plans.len(), topology.nodes.len(), AtomicUsize::new(machines.len()));
    let queue = Mutex::new(plans);
    let work = || {
        let mut made = Vec::new();
        loop {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some((name, personality, plan)) = next else {
                return made;
            };
            let label = format!("{}/{name}", topology.name);
            let machine = Machine::create(&options.program, &label, &name, personality, plan, runtime);
            progress.step("nodes made", done.fetch_add(1, Ordering::Relaxed) + 1, total);
            made.push(machine.with_context(|| format!("make node {name}")));
        }
    };
    let results: Vec<Result<Machine>> = thread::scope(|scope| {
        let workers: Vec<_> = (0..MAX_WORKERS.min(wanted)).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect()
    });
    let (mut failed, mut count) = (None, 0);
    for result in results {
        match result {
            Ok(machine) => {
                count += 1;
                machines.insert(machine.name().to_owned(), Arc::new(machine));
            }
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    match failed {
        Some(error) => Err(error),
        None if count < wanted => Err(anyhow!("a thread that makes nodes died")),
        None => Ok(()),
    }
}

impl Plant for Lab {
    fn nodes(&self) -> Vec<String> {
        self.machines.keys().cloned().collect()
    }

    fn personality(&self, node: &str) -> String {
        self.machines.get(node).map_or_else(String::new, |machine| machine.personality().name().to_owned())
    }

    fn links(&self) -> Vec<[LinkEnd; 2]> {
        let end = |end: &crate::topology::Endpoint| (end.node.clone(), end.interface.clone());
        self.topology.links.iter().map(|link| [end(&link.a), end(&link.b)]).collect()
    }

    fn open(&self, node: &str, open: OpenSocket) -> io::Result<OwnedFd> {
        self.machine(node)?.in_network(open)
    }

    fn api_socket(&self, node: &str) -> PathBuf {
        self.home.folder().join(node).join("weft.sock")
    }

    fn kill_daemon(&self, node: &str) -> io::Result<()> {
        self.machine(node)?.kill_daemons()
    }

    fn start_daemon(&self, node: &str) -> io::Result<()> {
        self.machine(node)?.start_daemons().map_err(|error| io::Error::other(format!("{error:#}")))
    }

    fn run(&self, node: &str, words: &[String]) -> io::Result<(bool, String)> {
        self.machine(node)?.run(words).map(|(status, text)| (status.success(), text))
    }

    fn set_links(&self, ends: &[LinkEnd], up: bool) -> io::Result<()> {
        let mut requests = Vec::new();
        for (node, interface) in ends {
            let request = self.machine(node)?.netlink().set_up(interface, up);
            let node = node.clone();
            requests.push(async move {
                request.await.map_err(|error| io::Error::new(error.kind(), format!("{node}: {error}")))
            });
        }
        netlink::all(&self.runtime, requests)
    }

    fn make_fault(&self, fault: &Fault) -> io::Result<u64> {
        Self::make_fault(self, fault)
    }

    fn undo_fault(&self, number: u64) -> io::Result<()> {
        Self::undo_fault(self, number)
    }

    fn settle_faults(&self) {
        Self::settle_faults(self);
    }
}
