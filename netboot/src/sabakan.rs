//! Sabakan's forms of machines, plans and settings, for its clients and for its files. What Sabakan cannot say (IPv6, several pools,
//! names, hardware) is left out towards its clients.

use crate::error::Refusal;
use crate::inventory::command::Dhcp;
use crate::inventory::machine::{Machine, Spec};
use crate::inventory::state::State;
use crate::ipam::{Ipam, Pool};
use ipnet::Ipv4Net;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Its `IPAMConfig`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct IpamConfig {
    max_nodes_in_rack: u32,
    #[schemars(with = "String")]
    node_ipv4_pool: Ipv4Net,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    node_ipv4_offset: String,
    node_ipv4_range_size: u8,
    node_ipv4_range_mask: u8,
    node_ip_per_node: u32,
    node_index_offset: u32,
    #[serde(default = "one")]
    node_gateway_offset: u32,
    #[schemars(with = "String")]
    bmc_ipv4_pool: Ipv4Net,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    bmc_ipv4_offset: String,
    bmc_ipv4_range_size: u8,
    bmc_ipv4_range_mask: u8,
    #[serde(default = "one")]
    bmc_ipv4_gateway_offset: u32,
}

const fn one() -> u32 {
    1
}

/// Its `DHCPConfig`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct DhcpConfig {
    #[serde(default = "sixty")]
    lease_minutes: u32,
    #[serde(default)]
    dns_servers: Vec<IpAddr>,
    /// Obsolete in Sabakan too: read and forgotten.
    #[serde(default, skip_serializing)]
    gateway_offset: Option<u32>,
}

const fn sixty() -> u32 {
    60
}

/// A machine as somebody registers it: an element of machines.json.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct MachineSpec {
    serial: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    rack: u32,
    #[serde(default)]
    index_in_rack: Option<u32>,
    role: String,
    #[serde(default)]
    retire_date: Option<Timestamp>,
    #[serde(default)]
    bmc: BmcSpec,
    // What Sabakan fills in itself, and ignores when it comes.
    #[serde(default, rename = "ipv4")]
    _ipv4: Option<Vec<Ipv4Addr>>,
    #[serde(default, rename = "ipv6")]
    _ipv6: Option<Vec<Ipv6Addr>>,
    #[serde(default, rename = "register-date")]
    _register_date: Option<Timestamp>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct BmcSpec {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default, rename = "ipv4")]
    _ipv4: Option<String>,
    #[serde(default, rename = "ipv6")]
    _ipv6: Option<String>,
}

/// An element of machines.json, or of what `sabactl machines get` prints: that one keeps its index.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a machine with serial, rack, role, labels and bmc, alone or under `spec`")]
pub enum MachineFile {
    /// From `sabactl machines get`.
    Known {
        /// What is registered.
        spec: MachineSpec,
        /// Its state.
        status: StatusFile,
    },
    /// To be registered.
    New(MachineSpec),
}

/// The state in `sabactl machines get`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct StatusFile {
    /// Its name.
    pub state: State,
}

impl MachineFile {
    /// As weft registers it. A new machine gets its index here, a known one keeps it.
    #[must_use]
    pub fn into_spec(self) -> Spec {
        match self {
            Self::New(spec) => Spec { index: None, ..spec.into_spec() },
            Self::Known { spec, .. } => spec.into_spec(),
        }
    }
}

impl MachineSpec {
    fn into_spec(self) -> Spec {
        Spec {
            serial: self.serial,
            labels: self.labels,
            rack: self.rack,
            index: self.index_in_rack,
            role: self.role,
            bmc_type: self.bmc.kind,
            retires: self.retire_date,
            ..Spec::default()
        }
    }
}

impl IpamConfig {
    /// As weft has it.
    ///
    /// # Errors
    /// When an offset is no address.
    pub fn into_ipam(self) -> Result<Ipam, Refusal> {
        let pool = |prefix: Ipv4Net, offset: Option<IpAddr>, range_bits, mask, gateway_offset| Pool {
            prefix: prefix.into(),
            offset,
            range_bits,
            mask,
            gateway_offset,
            first_rack: 0,
            last_rack: None,
        };
        let node_offset = offset("node-ipv4-offset", &self.node_ipv4_offset)?;
        let bmc_offset = offset("bmc-ipv4-offset", &self.bmc_ipv4_offset)?;
        let (size, mask) = (self.node_ipv4_range_size, self.node_ipv4_range_mask);
        let node = pool(self.node_ipv4_pool, node_offset, size, mask, self.node_gateway_offset);
        let (size, mask) = (self.bmc_ipv4_range_size, self.bmc_ipv4_range_mask);
        let bmc = pool(self.bmc_ipv4_pool, bmc_offset, size, mask, self.bmc_ipv4_gateway_offset);
        Ok(Ipam {
            max_nodes_in_rack: self.max_nodes_in_rack,
            node_index_offset: self.node_index_offset,
            node_networks: self.node_ip_per_node,
            node: vec![node],
            bmc: vec![bmc],
        })
    }

    /// What Sabakan would call this plan: its first pools of IPv4.
    ///
    /// # Errors
    /// When there are none.
    pub fn of(ipam: &Ipam) -> Result<Self, Refusal> {
        let first = |pools: &[Pool], field: &str| {
            let four = pools.iter().find_map(|pool| match pool.prefix {
                ipnet::IpNet::V4(net) => Some((net, pool.clone())),
                ipnet::IpNet::V6(_) => None,
            });
            four.ok_or_else(|| {
                Refusal::conflict(field, "has no IPv4 pool", "ask /v1/ipam: Sabakan's form knows IPv4 alone")
            })
        };
        let ((node_net, node), (bmc_net, bmc)) = (first(&ipam.node, "node")?, first(&ipam.bmc, "bmc")?);
        let text = |offset: Option<IpAddr>| offset.map(|offset| offset.to_string()).unwrap_or_default();
        Ok(Self {
            max_nodes_in_rack: ipam.max_nodes_in_rack,
            node_ipv4_pool: node_net,
            node_ipv4_offset: text(node.offset),
            node_ipv4_range_size: node.range_bits,
            node_ipv4_range_mask: node.mask,
            node_ip_per_node: ipam.node_networks,
            node_index_offset: ipam.node_index_offset,
            node_gateway_offset: node.gateway_offset,
            bmc_ipv4_pool: bmc_net,
            bmc_ipv4_offset: text(bmc.offset),
            bmc_ipv4_range_size: bmc.range_bits,
            bmc_ipv4_range_mask: bmc.mask,
            bmc_ipv4_gateway_offset: bmc.gateway_offset,
        })
    }
}

fn offset(field: &str, text: &str) -> Result<Option<IpAddr>, Refusal> {
    if text.is_empty() {
        return Ok(None);
    }
    let read: Result<Ipv4Addr, _> = text.parse();
    read.map(|address| Some(IpAddr::V4(address)))
        .map_err(|_| Refusal::invalid(field, format!("`{text}` is no address"), "write 0.0.1.0, or leave it out"))
}

impl DhcpConfig {
    /// As weft has it.
    #[must_use]
    pub fn into_dhcp(self) -> Dhcp {
        Dhcp { lease_minutes: self.lease_minutes, dns_servers: self.dns_servers }
    }

    /// As Sabakan has it.
    #[must_use]
    pub fn of(dhcp: &Dhcp) -> Self {
        Self { lease_minutes: dhcp.lease_minutes, dns_servers: dhcp.dns_servers.clone(), gateway_offset: None }
    }
}

/// A machine as Sabakan's clients read it.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct MachineView {
    spec: SpecView,
    status: StatusView,
    info: InfoView,
}

#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
struct SpecView {
    serial: String,
    labels: BTreeMap<String, String>,
    rack: u32,
    index_in_rack: u32,
    role: String,
    ipv4: Vec<Ipv4Addr>,
    ipv6: Vec<Ipv6Addr>,
    register_date: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    retire_date: Option<Timestamp>,
    bmc: BmcView,
}

#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
struct BmcView {
    #[serde(rename = "type")]
    kind: String,
    ipv4: Option<Ipv4Addr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ipv6: Option<Ipv6Addr>,
}

#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
struct StatusView {
    timestamp: Timestamp,
    /// Seconds in this state.
    duration: f64,
    state: State,
}

#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
struct InfoView {
    network: NetworkView,
    bmc: BmcInfoView,
}

#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
struct NetworkView {
    ipv4: Vec<InterfaceView>,
}

#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
struct BmcInfoView {
    ipv4: Option<InterfaceView>,
}

#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
struct InterfaceView {
    address: IpAddr,
    netmask: Ipv4Addr,
    maskbits: u8,
    gateway: IpAddr,
}

impl MachineView {
    /// A machine, as it is now.
    #[must_use]
    pub fn of(machine: &Machine, ipam: Option<&Ipam>, now: Timestamp) -> Self {
        let interface = |address: &Ipv4Addr| {
            let found = ipam?.interface(IpAddr::V4(*address))?;
            let netmask = Ipv4Net::new(*address, found.mask).ok()?.netmask();
            Some(InterfaceView { address: found.address, netmask, maskbits: found.mask, gateway: found.gateway })
        };
        let since = now.duration_since(machine.state.since).as_secs_f64();
        Self {
            spec: SpecView {
                serial: machine.serial.clone(),
                labels: machine.labels.clone(),
                rack: machine.rack,
                index_in_rack: machine.index,
                role: machine.role.clone(),
                ipv4: machine.ipv4.clone(),
                ipv6: machine.ipv6.clone(),
                register_date: machine.registered,
                retire_date: machine.retires,
                bmc: BmcView { kind: machine.bmc.kind.clone(), ipv4: machine.bmc.ipv4, ipv6: machine.bmc.ipv6 },
            },
            status: StatusView { timestamp: machine.state.since, duration: since.max(0.0), state: machine.state.name },
            info: InfoView {
                network: NetworkView { ipv4: machine.ipv4.iter().filter_map(interface).collect() },
                bmc: BmcInfoView { ipv4: machine.bmc.ipv4.as_ref().and_then(interface) },
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::tests::machine;
    use crate::ipam::tests::neco;
    use serde_json::json;

    /// The configuration of neco.md §1.3, in Sabakan's own words.
    #[test]
    fn plans_are_read_and_written() {
        let text = json!({
            "max-nodes-in-rack": 28, "node-ipv4-pool": "10.69.0.0/16", "node-ipv4-range-size": 6,
            "node-ipv4-range-mask": 26, "node-ip-per-node": 3, "node-index-offset": 3, "node-gateway-offset": 1,
            "bmc-ipv4-pool": "10.72.16.0/20", "bmc-ipv4-offset": "0.0.1.0", "bmc-ipv4-range-size": 5,
            "bmc-ipv4-range-mask": 20, "bmc-ipv4-gateway-offset": 1
        });
        let config: IpamConfig = serde_json::from_value(text.clone()).unwrap();
        let ipam = config.into_ipam().unwrap();
        assert_eq!(ipam, neco());
        assert_eq!(serde_json::to_value(IpamConfig::of(&ipam).unwrap()).unwrap(), text);
        let mut wrong = text;
        wrong["bmc-ipv4-offset"] = json!("1");
        let config: IpamConfig = serde_json::from_value(wrong).unwrap();
        assert_eq!(config.into_ipam().unwrap_err().field, "bmc-ipv4-offset");
    }

    #[test]
    fn machines_are_read_in_both_forms() {
        let new = json!({"serial": "a", "labels": {"machine-type": "qemu"}, "rack": 1, "role": "cs", "bmc": {"type": "IPMI-2.0"}});
        let spec = serde_json::from_value::<MachineFile>(new.clone()).unwrap().into_spec();
        assert_eq!((spec.serial.as_str(), spec.rack, spec.index, spec.bmc_type.as_str()), ("a", 1, None, "IPMI-2.0"));
        let known =
            serde_json::to_value(MachineView::of(&machine("b", 1, 5), Some(&neco()), Timestamp::UNIX_EPOCH)).unwrap();
        let spec = serde_json::from_value::<MachineFile>(known).unwrap().into_spec();
        assert_eq!((spec.serial.as_str(), spec.index), ("b", Some(5)));
        let mut slip = new;
        slip["rak"] = json!(1);
        assert!(serde_json::from_value::<MachineFile>(slip).unwrap_err().to_string().contains("expected a machine"));
    }

    /// neco.md §1.3: spec, status with duration in seconds, info with netmask, mask bits and gateway.
    #[test]
    fn clients_see_what_sabakan_shows() {
        let now = Timestamp::from_second(90).unwrap();
        let view = serde_json::to_value(MachineView::of(&machine("b", 1, 5), Some(&neco()), now)).unwrap();
        assert_eq!(view["spec"]["ipv4"], json!(["10.69.0.197", "10.69.1.5", "10.69.1.69"]));
        assert_eq!(view["spec"]["index-in-rack"], 5);
        assert_eq!(view["spec"]["register-date"], "1970-01-01T00:00:00Z");
        assert_eq!(
            view["status"],
            json!({"timestamp": "1970-01-01T00:00:00Z", "duration": 90.0, "state": "uninitialized"})
        );
        let first =
            json!({"address": "10.69.0.197", "netmask": "255.255.255.192", "maskbits": 26, "gateway": "10.69.0.193"});
        assert_eq!(view["info"]["network"]["ipv4"][0], first);
        assert_eq!(view["info"]["bmc"]["ipv4"]["gateway"], "10.72.16.1");
        assert_eq!(view["info"]["bmc"]["ipv4"]["maskbits"], 20);
    }
}
