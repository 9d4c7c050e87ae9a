//! From the file's shape to a [`Topology`]: inheritance, defaults, and every reference checked.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde_saphyr::Spanned;

use super::file::{End, Fault, File, Link, Node, NodeExtension};
use super::{Bind, Bridge, Endpoint, LinkSpec, MAX_NAME, NodeSpec, Topology, expand};
use crate::personality::Personality;

/// containerlab's default.
const MTU: u32 = 9500;
/// Longest interface name, IFNAMSIZ - 1.
const MAX_INTERFACE: usize = 15;

/// Checks and merges the whole file.
pub(super) fn topology(file: File, path: &Path) -> Result<Topology, Fault> {
    let name = file.name.value.clone();
    check_name(&file.name, &name, "name")?;
    let folder = path.parent().unwrap_or_else(|| Path::new("/")).to_owned();
    let mut topology = Topology {
        prefix: file.prefix.clone().unwrap_or_else(|| "clab".to_owned()).replace("__lab-name", &name),
        path: path.to_owned(),
        nodes: BTreeMap::new(),
        links: Vec::new(),
        expect: Vec::new(),
        steps: Vec::new(),
        warnings: Vec::new(),
        name,
    };
    for (present, key) in [(file.mgmt.is_some(), "mgmt"), (file.settings.is_some(), "settings")] {
        if present {
            topology.warnings.push(format!("`{key}` has no effect: there is no management network"));
        }
    }
    for (name, node) in &file.topology.nodes {
        let field = format!("topology.nodes.{name}");
        check_name(node, name, &field)?;
        let whole = inherit(&file, node.value.clone().unwrap_or_default());
        let ignored = whole.ignored();
        if !ignored.is_empty() {
            topology.warnings.push(format!("{name}: no effect without containers: {}", ignored.join(", ")));
        }
        let place = Place { lab: &topology.name, node: name, folder: &folder, field };
        topology.nodes.insert(name.clone(), place.node(node, whole)?);
    }
    let mut taken = BTreeSet::new();
    for (index, link) in file.topology.links.iter().enumerate() {
        let link = read_link(link, &format!("topology.links[{index}]"), &topology, &mut taken)?;
        topology.links.push(link);
    }
    for (name, extension) in file.weft.nodes {
        extend(&mut topology, &name, &extension)?;
    }
    bridge_kinds(&mut topology);
    topology.expect = file.expect;
    topology.steps = file.steps;
    for link in &topology.links {
        for end in [&link.a, &link.b] {
            if let Some(node) = topology.nodes.get_mut(&end.node) {
                node.addresses.entry(end.interface.clone()).or_default().extend(end.addresses.iter().copied());
            }
        }
    }
    Ok(topology)
}

fn check_name<T>(place: &Spanned<T>, name: &str, field: &str) -> Result<(), Fault> {
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

/// Where in file and lab we are.
struct Place<'a> {
    lab: &'a str,
    node: &'a str,
    folder: &'a Path,
    field: String,
}

impl Place<'_> {
    fn node<T>(&self, at: &Spanned<T>, node: Node) -> Result<NodeSpec, Fault> {
        let kind = node.kind.as_ref().map_or("linux", |kind| &kind.value).to_owned();
        if kind != "linux" && kind != "bridge" {
            let message = format!("kind `{kind}` is not supported yet; `linux` and `bridge` are");
            return Err(node.kind.as_ref().map_or_else(
                || Fault::new(at, self.field("kind"), &*message),
                |place| Fault::new(place, self.field("kind"), &*message),
            ));
        }
        if let Some(mode) = node.network_mode.filter(|mode| mode.value != "none" && mode.value != "bridge") {
            let message = format!("network-mode `{}` is not supported yet; `none` is", mode.value);
            return Err(Fault::new(&mode, self.field("network-mode"), message));
        }
        let mut command = Vec::new();
        for words in [&node.entrypoint, &node.cmd].into_iter().flatten() {
            command.extend(self.words(words, "cmd")?);
        }
        let image = node.image.unwrap_or_default();
        Ok(NodeSpec {
            name: self.node.to_owned(),
            personality: if kind == "bridge" { Personality::Plain } else { Personality::of_image(&image) },
            kind,
            image,
            group: node.group,
            hostname: node.hostname.unwrap_or_else(|| self.node.to_owned()),
            binds: node.binds.iter().map(|bind| self.bind(bind)).collect::<Result<_, _>>()?,
            exec: node.exec.iter().map(|line| self.words(line, "exec")).collect::<Result<_, _>>()?,
            command,
            env: node.env.iter().map(|(key, value)| (key.clone(), self.magic(value))).collect(),
            sysctls: node.sysctls.iter().map(|(key, value)| self.sysctl(key, value)).collect::<Result<_, _>>()?,
            labels: node.labels,
            addresses: BTreeMap::new(),
            bridges: BTreeMap::new(),
        })
    }

    fn field(&self, key: &str) -> String {
        format!("{}.{key}", self.field)
    }

    fn magic(&self, text: &str) -> String {
        expand::magic(text, self.lab, self.node, &self.folder.display().to_string())
    }

    fn words(&self, line: &Spanned<String>, key: &str) -> Result<Vec<String>, Fault> {
        match expand::words(&self.magic(&line.value)) {
            Ok(words) if words.is_empty() => Err(Fault::new(line, self.field(key), "the command is empty")),
            Ok(words) => Ok(words),
            Err(message) => Err(Fault::new(line, self.field(key), message)),
        }
    }

    fn bind(&self, bind: &Spanned<String>) -> Result<Bind, Fault> {
        let text = self.magic(&bind.value);
        let fault = |message: String| Fault::new(bind, self.field("binds"), message);
        let mut parts = text.split(':');
        let (Some(host), Some(target)) = (parts.next(), parts.next()) else {
            return Err(fault(format!("`{text}`: write host-path:/path/in/the/node")));
        };
        let options: Vec<&str> = parts.flat_map(|options| options.split(',')).collect();
        if let Some(unknown) = options.iter().find(|option| !["ro", "rw", "z", "Z"].contains(option)) {
            return Err(fault(format!("unknown option `{unknown}`: `ro` or `rw`")));
        }
        if !target.starts_with('/') || target == "/" {
            return Err(fault(format!("`{target}` is no absolute path below /")));
        }
        let host = PathBuf::from(host);
        let host = match host.strip_prefix("~") {
            Ok(_) => return Err(fault("`~` is not supported: write the path".to_owned())),
            Err(_) => self.folder.join(host),
        };
        Ok(Bind { host, target: PathBuf::from(target), read_only: options.contains(&"ro") })
    }

    fn sysctl(&self, key: &str, value: &Spanned<String>) -> Result<(String, String), Fault> {
        if !key.starts_with("net.") || key.contains("..") || key.contains('/') {
            let message = format!("`{key}`: only `net.` settings belong to a node; the others are the host's");
            return Err(Fault::new(value, self.field("sysctls"), message));
        }
        Ok((key.to_owned(), value.value.clone()))
    }
}

fn read_link(
    link: &Spanned<Link>,
    field: &str,
    topology: &Topology,
    taken: &mut BTreeSet<(String, String)>,
) -> Result<LinkSpec, Fault> {
    if let Some(kind) = link.value.kind.as_ref().filter(|kind| kind.value != "veth") {
        let message = format!("links of type `{}` are not supported yet; `veth` is", kind.value);
        return Err(Fault::new(kind, format!("{field}.type"), message));
    }
    let [a, b] = &link.value.endpoints[..] else {
        let message = format!("a link has two endpoints, not {}", link.value.endpoints.len());
        return Err(Fault::new(link, format!("{field}.endpoints"), message));
    };
    let mut ends = Vec::new();
    for (index, end) in [a, b].into_iter().enumerate() {
        let field = format!("{field}.endpoints[{index}]");
        let mut end_spec = endpoint(end, &field, topology, taken)?;
        for list in [&link.value.ipv4, &link.value.ipv6] {
            if let Some(address) = list.get(index).filter(|address| !address.value.is_empty()) {
                let parsed = address.value.parse().map_err(|_| no_address(address, &field, &address.value))?;
                end_spec.addresses.push(parsed);
            }
        }
        ends.push(end_spec);
    }
    let mtu = link.value.mtu.unwrap_or(MTU);
    if !(68..=65_535).contains(&mtu) {
        return Err(Fault::new(link, format!("{field}.mtu"), format!("{mtu} bytes: 68 to 65535 are possible")));
    }
    match <[Endpoint; 2]>::try_from(ends) {
        Ok([a, b]) => Ok(LinkSpec { a, b, mtu }),
        Err(_) => Err(Fault::new(link, field, "a link has two endpoints")),
    }
}

fn no_address<T>(place: &Spanned<T>, field: &str, text: &str) -> Fault {
    Fault::new(place, field, format!("`{text}` is no address with prefix length, as 10.0.0.1/31"))
}

fn endpoint(
    end: &Spanned<End>,
    field: &str,
    topology: &Topology,
    taken: &mut BTreeSet<(String, String)>,
) -> Result<Endpoint, Fault> {
    let fault = |message: String| Fault::new(end, field, message);
    let End { node, interface, mac, ipv4, ipv6 } = &end.value;
    if !topology.nodes.contains_key(node) {
        return Err(fault(match node.as_str() {
            "host" | "mgmt-net" | "macvlan" => format!("endpoints at `{node}` are not supported yet"),
            _ => format!("there is no node `{node}`"),
        }));
    }
    check_interface(interface).map_err(&fault)?;
    if !taken.insert((node.clone(), interface.clone())) {
        return Err(fault(format!("`{node}:{interface}` is already the end of another link")));
    }
    let mut addresses: Vec<IpNet> = Vec::new();
    for text in [ipv4, ipv6].into_iter().flatten() {
        addresses.push(text.parse().map_err(|_| no_address(end, field, text))?);
    }
    let mac = match mac {
        Some(text) => parse_mac(text).ok_or_else(|| fault(format!("`{text}` is no hardware address")))?,
        None => derive_mac(&topology.name, node, interface),
    };
    Ok(Endpoint { node: node.clone(), interface: interface.clone(), mac, addresses })
}

fn check_interface(name: &str) -> Result<(), String> {
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

fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let bytes: Vec<u8> = text.split(':').map(|part| u8::from_str_radix(part, 16).ok()).collect::<Option<_>>()?;
    bytes.try_into().ok()
}

/// The same in every run, so that link-local addresses are too; containerlab's prefix aa:c1:ab, then FNV-1a.
fn derive_mac(lab: &str, node: &str, interface: &str) -> [u8; 6] {
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
