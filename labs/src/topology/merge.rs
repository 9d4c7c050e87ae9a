//! From the file's shape to a [`Topology`]: inheritance, defaults, and every reference checked.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;
use serde_saphyr::Spanned;

use super::choose::choose;
use super::file::{Fault, File, Node, NodeExtension};
use super::link::{self, Links};
use super::node::Place;
use super::{Bridge, MAX_NAME, NodeSpec, Reading, Topology, auto, faults, group, stage};

/// Longest interface name, IFNAMSIZ - 1.
const MAX_INTERFACE: usize = 15;

/// Checks and merges the whole file.
pub(super) fn topology(mut file: File, path: &Path, reading: &Reading<'_>) -> Result<Topology, Fault> {
    let chosen = choose(&mut file, reading)?;
    let name = file.name.value.clone();
    check_name(&file.name, &name, "name")?;
    let mut topology = Topology {
        prefix: file.prefix.clone().unwrap_or_else(|| "clab".to_owned()).replace("__lab-name", &name),
        path: path.to_owned(),
        nodes: BTreeMap::new(),
        links: Vec::new(),
        devices: Vec::new(),
        expect: Vec::new(),
        steps: Vec::new(),
        faults: Vec::new(),
        warnings: chosen.into_iter().collect(),
        name,
    };
    if file.settings.is_some() {
        topology.warnings.push("`settings` has no effect: nothing here has certificates".to_owned());
    }
    nodes(&mut topology, &file, reading)?;
    let mut links = Links::new(&mut topology);
    if links.topology.nodes.values().any(NodeSpec::speaks_of_host) {
        links.host();
    }
    for (index, link) in file.topology.links.iter().enumerate() {
        links.read(link, index)?;
    }
    links.finish();
    for (name, extension) in &file.weft.nodes {
        extend(&mut topology, name, extension)?;
    }
    bridge_kinds(&mut topology);
    manage(&mut topology, &file)?;
    let ends = topology.links.iter().flat_map(|link| [&link.a, &link.b]);
    for end in ends.chain(topology.devices.iter().map(|device| &device.end)) {
        if let Some(node) = topology.nodes.get_mut(&end.node) {
            node.addresses.entry(end.interface.clone()).or_default().extend(end.addresses.iter().copied());
        }
    }
    if file.weft.auto {
        let asn = |name: &str| file.weft.nodes.get(name).and_then(|extension| extension.value.asn);
        auto::fill(&mut topology, file.weft.servers, &asn);
    }
    group::resolve(&mut topology, std::mem::take(&mut file.expect), std::mem::take(&mut file.steps))?;
    faults::resolve(&mut topology, std::mem::take(&mut file.faults))?;
    Ok(topology)
}

/// Management addresses, for nodes with a link to the management network.
fn manage(topology: &mut Topology, file: &File) -> Result<(), Fault> {
    let subnets =
        file.mgmt.as_ref().map_or((None, None), |mgmt| (mgmt.ipv4_subnet.as_deref(), mgmt.ipv6_subnet.as_deref()));
    let length = |subnet: Option<&str>, default: u8| {
        subnet.and_then(|subnet| subnet.parse::<IpNet>().ok()).map_or(default, |subnet| subnet.prefix_len())
    };
    for (name, node) in &file.topology.nodes {
        let whole = node.value.as_ref();
        let keys = [
            ("mgmt-ipv4", whole.and_then(|node| node.mgmt_ipv4.as_ref()), length(subnets.0, 24)),
            ("mgmt-ipv6", whole.and_then(|node| node.mgmt_ipv6.as_ref()), length(subnets.1, 64)),
        ];
        for (key, address, length) in keys {
            let Some(address) = address else { continue };
            let field = format!("topology.nodes.{name}.{key}");
            let parsed = address.value.parse::<IpAddr>().ok().filter(|parsed| parsed.is_ipv4() == (key == "mgmt-ipv4"));
            let net = parsed.and_then(|address| IpNet::new(address, length).ok());
            let net =
                net.ok_or_else(|| Fault::new(address, field, format!("`{}` is no such address", address.value)))?;
            let ends = topology.links.iter().flat_map(|link| [(&link.a, &link.b), (&link.b, &link.a)]);
            let end = ends.into_iter().find(|(near, far)| near.node == *name && far.node == link::MGMT);
            match (end.map(|(near, _)| near.interface.clone()), topology.nodes.get_mut(name)) {
                (Some(interface), Some(spec)) => spec.addresses.entry(interface).or_default().push(net),
                (None, _) | (_, None) => {
                    topology.warnings.push(format!("{name}: no effect without a link to mgmt-net: {key}"));
                }
            }
        }
    }
    Ok(())
}

/// Every node of the file; what cannot run is told of all of them at once.
fn nodes(topology: &mut Topology, file: &File, reading: &Reading<'_>) -> Result<(), Fault> {
    let folder = topology.path.parent().unwrap_or_else(|| Path::new("/")).to_owned();
    let (mut refused, mut waits) = (Vec::new(), Vec::new());
    for (name, node) in &file.topology.nodes {
        let field = format!("topology.nodes.{name}");
        check_name(node, name, &field)?;
        let whole = inherit(file, node.value.clone().unwrap_or_default());
        let ignored = whole.ignored();
        if !ignored.is_empty() {
            topology.warnings.push(format!("{name}: no effect without containers: {}", ignored.join(", ")));
        }
        let place = Place { lab: &topology.name, node: name, folder: &folder, field, reading };
        match place.runs(node, &whole) {
            Ok(personality) => {
                let spec = place.node(whole, personality, &mut waits)?;
                topology.nodes.insert(name.clone(), spec);
            }
            Err(fault) => refused.push(fault),
        }
    }
    if let Some(fault) = Fault::together(refused) {
        return Err(fault);
    }
    networks(topology, file)?;
    stage::check(&waits, &|name| topology.nodes.contains_key(name))
}

/// Nodes that share the network of another: each is given the one whose network it really is.
fn networks(topology: &mut Topology, file: &File) -> Result<(), Fault> {
    for (name, node) in &file.topology.nodes {
        let fault = |message: String| Fault::new(node, format!("topology.nodes.{name}.network-mode"), message);
        let Some(first) = topology.nodes.get(name).and_then(|spec| spec.network.clone()) else { continue };
        if !topology.nodes.contains_key(&first) {
            check_name(node, &first, &format!("topology.nodes.{name}.network-mode"))?;
            if first != link::HOST {
                topology.warnings.push(format!("{name}: `{first}` is no node of the lab: an empty one stands for it"));
            }
            topology
                .nodes
                .insert(first.clone(), NodeSpec::made(&first, if first == link::HOST { "host" } else { "linux" }));
        }
        let mut owner = first;
        let mut seen = BTreeSet::from([name.clone()]);
        while let Some(next) = topology.nodes.get(&owner).and_then(|spec| spec.network.clone()) {
            if !seen.insert(owner.clone()) {
                return Err(fault(format!(
                    "nodes use each other's network in a circle, with `{owner}` in it: let one have its own"
                )));
            }
            owner = next;
        }
        if let Some(spec) = topology.nodes.get_mut(name) {
            spec.network = Some(owner);
        }
    }
    Ok(())
}

/// Names become folders and parts of sockets' paths.
pub(super) fn check_name<T>(place: &Spanned<T>, name: &str, field: &str) -> Result<(), Fault> {
    let good = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(good) || name.starts_with(['.', '-']) {
        let message = format!("`{name}`: a name has letters, digits, `-`, `_`, `.`, and 1 to {MAX_NAME} of them");
        return Err(Fault::new(place, field, message));
    }
    Ok(())
}

/// Node over group over kind over defaults: scalars override, lists and maps merge.
fn inherit(file: &File, node: Node) -> Node {
    let body = &file.topology;
    let group = node.group.clone().or_else(|| body.defaults.group.clone());
    let group = group.and_then(|group| body.groups.get(&group)).cloned().unwrap_or_default();
    let kind = node.kind.clone().or_else(|| group.kind.clone()).or_else(|| body.defaults.kind.clone());
    let kind = kind.and_then(|kind| body.kinds.get(&kind.value)).cloned().unwrap_or_default();
    node.over(group).over(kind).over(body.defaults.clone())
}

impl Node {
    fn over(mut self, mut base: Self) -> Self {
        self.kind = self.kind.or(base.kind);
        self.group = self.group.or(base.group);
        self.image = self.image.or(base.image);
        self.hostname = self.hostname.or(base.hostname);
        self.entrypoint = self.entrypoint.or(base.entrypoint);
        self.cmd = self.cmd.or(base.cmd);
        self.network_mode = self.network_mode.or(base.network_mode);
        self.user = self.user.or(base.user);
        self.startup_delay = self.startup_delay.or(base.startup_delay);
        self.healthcheck = self.healthcheck.or(base.healthcheck);
        self.stages = self.stages.over(base.stages);
        base.env_files.append(&mut self.env_files);
        base.volumes.append(&mut self.volumes);
        base.tmpfs.append(&mut self.tmpfs);
        self.env_files = base.env_files;
        self.volumes = base.volumes;
        self.tmpfs = base.tmpfs;
        base.binds.append(&mut self.binds);
        base.exec.append(&mut self.exec);
        base.env.append(&mut self.env);
        base.sysctls.append(&mut self.sysctls);
        base.labels.append(&mut self.labels);
        self.binds = base.binds;
        self.exec = base.exec;
        self.env = base.env;
        self.sysctls = base.sysctls;
        self.labels = base.labels;
        self
    }
}

/// Whether the kernel takes it as an interface's name.
pub(super) fn check_interface(name: &str) -> Result<(), String> {
    let bad = |c: char| c.is_whitespace() || c == '/' || c == ':' || c == '%';
    if name.is_empty()
        || name.len() > MAX_INTERFACE
        || name == "lo"
        || name == "."
        || name == ".."
        || name.contains(bad)
    {
        return Err(format!("`{name}`: an interface name has 1 to {MAX_INTERFACE} characters, and `lo` is taken"));
    }
    Ok(())
}

/// The same in every run, so that link-local addresses are too; containerlab's prefix aa:c1:ab, then FNV-1a.
pub(super) fn derive_mac(lab: &str, node: &str, interface: &str) -> [u8; 6] {
    let mut hash: u32 = 0x811c_9dc5;
    for byte in [lab, "/", node, "/", interface].iter().flat_map(|part| part.bytes()) {
        hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    }
    let [_, a, b, c] = (hash ^ (hash >> 24)).to_be_bytes();
    [0xaa, 0xc1, 0xab, a, b, c]
}

/// Merges the `weft:` part of one node.
fn extend(topology: &mut Topology, name: &str, extension: &Spanned<NodeExtension>) -> Result<(), Fault> {
    let field = format!("weft.nodes.{name}");
    let interfaces: BTreeSet<String> = topology.interfaces(name).map(|end| end.interface.clone()).collect();
    let Some(node) = topology.nodes.get_mut(name) else {
        return Err(Fault::new(extension, field, format!("there is no node `{name}`")));
    };
    let mut enslaved = BTreeSet::new();
    for (bridge, what) in &extension.value.bridges {
        let fault = |message: String| Fault::new(extension, format!("{field}.bridges.{bridge}"), message);
        check_interface(bridge).map_err(fault)?;
        if interfaces.contains(bridge) {
            return Err(fault("an interface of the node has that name".to_owned()));
        }
        for port in &what.ports {
            if !interfaces.contains(port) {
                return Err(fault(format!("no link ends at `{name}:{port}`")));
            }
            if !enslaved.insert(port) {
                return Err(fault(format!("`{port}` is a port twice")));
            }
        }
        let addresses = what.address.iter().chain(&what.addresses).copied().collect();
        node.bridges.insert(bridge.clone(), Bridge { ports: what.ports.clone(), addresses });
    }
    for (interface, addresses) in &extension.value.addresses {
        if interface != "lo" && !interfaces.contains(interface) && !node.bridges.contains_key(interface) {
            let message = format!("no link ends at `{name}:{interface}`");
            return Err(Fault::new(extension, format!("{field}.addresses"), message));
        }
        node.addresses.entry(interface.clone()).or_default().extend(addresses);
    }
    Ok(())
}

/// A node of kind `bridge` is a bridge of that name with all its interfaces as ports.
fn bridge_kinds(topology: &mut Topology) {
    let names: Vec<String> =
        topology.nodes.values().filter(|node| node.kind == "bridge").map(|node| node.name.clone()).collect();
    for name in names {
        let ports = topology.interfaces(&name).map(|end| end.interface.clone()).collect();
        if let Some(node) = topology.nodes.get_mut(&name) {
            node.bridges.entry("br0".to_owned()).or_insert(Bridge { ports, addresses: Vec::new() });
        }
    }
}
