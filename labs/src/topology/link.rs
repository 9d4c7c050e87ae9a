//! Links of every type that containerlab has, as pairs of interfaces between nodes and as single devices.
//!
//! The host's side of a link is never the host that we run on: a lab has a host of its own, a node `host` that is there when
//! the file speaks of it, and the same goes for the bridge `mgmt-net`.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use serde_saphyr::Spanned;

use super::file::{End, Fault, Link};
use super::merge::{check_interface, derive_mac};
use super::{Device, DeviceSpec, Endpoint, LinkSpec, MacvlanMode, NodeSpec, Topology};

/// containerlab's default.
const MTU: u32 = 9500;
/// containerlab's default of a VXLAN's port.
const VXLAN_PORT: u16 = 14_789;
/// The node that stands for the host, and the one that stands for the management network.
pub(super) const HOST: &str = "host";
pub(super) const MGMT: &str = "mgmt-net";

/// Reads links one after the other.
pub(super) struct Links<'a> {
    pub(super) topology: &'a mut Topology,
    /// Interfaces that are ends already, by the node whose network they are in.
    taken: BTreeSet<(String, String)>,
}

/// A link as read, and where it stands.
struct Place<'a> {
    link: &'a Spanned<Link>,
    field: String,
    mtu: u32,
}

impl Place<'_> {
    fn fault(&self, key: &str, message: impl Into<String>) -> Fault {
        Fault::new(self.link, format!("{}.{key}", self.field), message)
    }

    fn needs<'b, T>(&self, value: Option<&'b T>, key: &str, kind: &str) -> Result<&'b T, Fault> {
        value.ok_or_else(|| self.fault(key, format!("a link of type `{kind}` needs `{key}`")))
    }
}

impl<'a> Links<'a> {
    pub(super) fn new(topology: &'a mut Topology) -> Self {
        Self { topology, taken: BTreeSet::new() }
    }

    /// Reads one.
    pub(super) fn read(&mut self, link: &Spanned<Link>, index: usize) -> Result<(), Fault> {
        let place = Place { link, field: format!("topology.links[{index}]"), mtu: link.value.mtu.unwrap_or(MTU) };
        if !(68..=65_535).contains(&place.mtu) {
            return Err(place.fault("mtu", format!("{} bytes: 68 to 65535 are possible", place.mtu)));
        }
        let Some(kind) = &link.value.kind else {
            return self.pair(&place);
        };
        match kind.value.as_str() {
            "veth" => self.pair(&place),
            "host" | "mgmt-net" => {
                let node = if kind.value == "host" { HOST } else { MGMT };
                let near = self.single(&place, &kind.value)?;
                let name = place.needs(link.value.host_interface.as_ref(), "host-interface", &kind.value)?;
                let far = End { node: node.to_owned(), interface: name.value.clone(), ..End::default() };
                let far = self.end(name, &far, &place.field, node == HOST || node == MGMT)?;
                self.topology.links.push(LinkSpec { a: near, b: far, mtu: place.mtu });
                Ok(())
            }
            "macvlan" => {
                let parent =
                    place.needs(link.value.host_interface.as_ref(), "host-interface", "macvlan")?.value.clone();
                let end = place.needs(link.value.endpoint.as_ref(), "endpoint", "macvlan")?;
                self.macvlan(&place, (end, &end.value), parent)
            }
            "vxlan" => self.vxlan(&place),
            "dummy" => {
                let end = self.single(&place, "dummy")?;
                self.topology.devices.push(DeviceSpec { end, mtu: place.mtu, device: Device::Dummy });
                Ok(())
            }
            other => {
                let message = format!(
                    "links of type `{other}` are not supported: veth, host, mgmt-net, macvlan, vxlan and dummy are"
                );
                Err(Fault::new(kind, format!("{}.type", place.field), message))
            }
        }
    }

    /// Two ends, in either form.
    fn pair(&mut self, place: &Place<'_>) -> Result<(), Fault> {
        let link = &place.link.value;
        let [a, b] = &link.endpoints[..] else {
            return Err(place.fault("endpoints", format!("a link has two endpoints, not {}", link.endpoints.len())));
        };
        for (end, parent) in [(b, a), (a, b)] {
            if parent.value.node == "macvlan" && !self.topology.nodes.contains_key("macvlan") {
                return self.macvlan(place, (end, &end.value), parent.value.interface.clone());
            }
        }
        let mut ends = Vec::new();
        for (index, end) in [a, b].into_iter().enumerate() {
            let field = format!("{}.endpoints[{index}]", place.field);
            let is_ours = [HOST, MGMT].contains(&end.value.node.as_str());
            let mut read = self.end(end, &end.value, &field, is_ours)?;
            for list in [&link.ipv4, &link.ipv6] {
                if let Some(address) = list.get(index).filter(|address| !address.value.is_empty()) {
                    let parsed = address.value.parse().map_err(|_| no_address(address, &field, &address.value))?;
                    read.addresses.push(parsed);
                }
            }
            ends.push(read);
        }
        if let Ok([a, b]) = <[Endpoint; 2]>::try_from(ends) {
            self.topology.links.push(LinkSpec { a, b, mtu: place.mtu });
        }
        Ok(())
    }

    /// The only end of a link that is no pair.
    fn single(&mut self, place: &Place<'_>, kind: &str) -> Result<Endpoint, Fault> {
        let end = place.needs(place.link.value.endpoint.as_ref(), "endpoint", kind)?;
        self.end(end, &end.value, &format!("{}.endpoint", place.field), false)
    }

    fn macvlan(&mut self, place: &Place<'_>, (at, end): (&Spanned<End>, &End), parent: String) -> Result<(), Fault> {
        let mode = place.link.value.mode.as_ref();
        let mode = match mode.map(|mode| mode.value.as_str()) {
            None | Some("bridge") => MacvlanMode::Bridge,
            Some("vepa") => MacvlanMode::Vepa,
            Some("private") => MacvlanMode::Private,
            Some("passthru") => MacvlanMode::Passthru,
            Some(other) => {
                let message = format!("`{other}`: a macvlan is bridge, vepa, private or passthru");
                return Err(place.fault("mode", message));
            }
        };
        check_interface(&parent).map_err(|message| place.fault("host-interface", message))?;
        let end = self.end(at, end, &format!("{}.endpoint", place.field), false)?;
        self.host();
        self.topology.devices.push(DeviceSpec { end, mtu: place.mtu, device: Device::Macvlan { parent, mode } });
        Ok(())
    }

    fn vxlan(&mut self, place: &Place<'_>) -> Result<(), Fault> {
        let link = &place.link.value;
        let end = self.single(place, "vxlan")?;
        let remote = place.needs(link.remote.as_ref(), "remote", "vxlan")?;
        let remote: IpAddr = remote.value.parse().map_err(|_| {
            Fault::new(remote, format!("{}.remote", place.field), format!("`{}` is no address", remote.value))
        })?;
        let vni = place.needs(link.vni.as_ref(), "vni", "vxlan")?;
        if vni.value == 0 || vni.value >= 1 << 24 {
            let message = format!("{}: a VNI is 1 to 16777215 (RFC 7348 §5)", vni.value);
            return Err(Fault::new(vni, format!("{}.vni", place.field), message));
        }
        let parent = link.parent_interface.as_ref().map(|parent| parent.value.clone());
        if let Some(parent) = &parent {
            check_interface(parent).map_err(|message| place.fault("parent-interface", message))?;
        }
        // what a tunnel adds must fit into the frames below, which are of the default size
        let mtu = link.mtu.unwrap_or(MTU - 70);
        self.host();
        let device = Device::Vxlan {
            remote,
            vni: vni.value,
            port: link.dst_port.unwrap_or(VXLAN_PORT),
            source_port: link.src_port,
            parent,
        };
        self.topology.devices.push(DeviceSpec { end, mtu, device });
        Ok(())
    }

    /// The lab's own host, made when it is spoken of.
    pub(super) fn host(&mut self) {
        self.topology.nodes.entry(HOST.to_owned()).or_insert_with(|| NodeSpec::made(HOST, "host"));
    }

    /// One end; `is_ours` when the name may be that of a node that we make.
    fn end<T>(&mut self, at: &Spanned<T>, end: &End, field: &str, is_ours: bool) -> Result<Endpoint, Fault> {
        let fault = |message: String| Fault::new(at, field, message);
        let End { node, interface, mac, ipv4, ipv6 } = end;
        if is_ours && node == HOST {
            self.host();
        } else if is_ours && !self.topology.nodes.contains_key(node) {
            self.topology.nodes.insert(node.clone(), NodeSpec::made(node, "bridge"));
        }
        let Some(spec) = self.topology.nodes.get(node) else {
            return Err(fault(format!("there is no node `{node}`: add it to topology.nodes")));
        };
        check_interface(interface).map_err(&fault)?;
        let owner = spec.network.clone().unwrap_or_else(|| node.clone());
        if !self.taken.insert((owner.clone(), interface.clone())) {
            let whose = if owner == *node { String::new() } else { format!(" (in the network of `{owner}`)") };
            return Err(fault(format!("`{node}:{interface}` is already the end of another link{whose}")));
        }
        let mut addresses: Vec<IpNet> = Vec::new();
        for text in [ipv4, ipv6].into_iter().flatten() {
            addresses.push(text.parse().map_err(|_| no_address(at, field, text))?);
        }
        let mac = match mac {
            Some(text) => parse_mac(text).ok_or_else(|| fault(format!("`{text}` is no hardware address")))?,
            None => derive_mac(&self.topology.name, node, interface),
        };
        Ok(Endpoint { node: node.clone(), interface: interface.clone(), mac, addresses })
    }

    /// Interfaces of the lab's host that macvlan and VXLAN links name and no link makes: something to stand on.
    pub(super) fn finish(&mut self) {
        let wanted: BTreeSet<String> = self
            .topology
            .devices
            .iter()
            .filter_map(|device| match &device.device {
                Device::Macvlan { parent, .. } => Some(parent.clone()),
                Device::Vxlan { parent, .. } => parent.clone(),
                Device::Dummy => None,
            })
            .collect();
        for interface in wanted {
            if self.taken.insert((HOST.to_owned(), interface.clone())) {
                let mac = derive_mac(&self.topology.name, HOST, &interface);
                let end = Endpoint { node: HOST.to_owned(), interface, mac, addresses: Vec::new() };
                self.topology.devices.insert(0, DeviceSpec { end, mtu: MTU, device: Device::Dummy });
            }
        }
    }
}

fn no_address<T>(place: &Spanned<T>, field: &str, text: &str) -> Fault {
    Fault::new(place, field, format!("`{text}` is no address with prefix length, as 10.0.0.1/31"))
}

fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let bytes: Vec<u8> = text.split(':').map(|part| u8::from_str_radix(part, 16).ok()).collect::<Option<_>>()?;
    bytes.try_into().ok()
}
