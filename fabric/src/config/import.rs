//! Routes of the machine that are announced: those of other software in a kernel table, and connected networks. As written, and what
//! it comes to.

use super::file::Config;
use super::node::{Faults, check_host_bits};
use super::value::{Community, LargeCommunity};
use ipnet::IpNet;
use serde::Deserialize;

/// Most rules of a kind: each kernel rule is a dump of its own, each connected one is asked of every address.
const RULES_MAX: usize = 16;
/// Routes of the kernel itself (rtnetlink(7)): `connected` says what is meant.
const KERNEL: u8 = 2;

/// One entry of `import_kernel`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportKernel {
    /// Kernel table.
    pub table: u32,
    /// Routing protocol number that marks the other software's routes.
    pub protocol: u8,
    /// Only what falls into these; everything unless set.
    #[serde(default)]
    pub within: Vec<IpNet>,
    /// Standard communities.
    #[serde(default)]
    pub communities: Vec<Community>,
    /// Large communities.
    #[serde(default)]
    pub large_communities: Vec<LargeCommunity>,
}

/// One entry of `import_connected`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportConnected {
    /// Name of the interface, or its beginning and `*`.
    pub interface: String,
    /// Only what falls into these; everything unless set.
    #[serde(default)]
    pub within: Vec<IpNet>,
    /// Standard communities.
    #[serde(default)]
    pub communities: Vec<Community>,
    /// Large communities.
    #[serde(default)]
    pub large_communities: Vec<LargeCommunity>,
}

/// What is announced of the machine's routes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportConfig {
    /// Of kernel tables; the first rule that fits decides.
    pub kernel: Vec<KernelRule>,
    /// Of connected networks, likewise.
    pub connected: Vec<ConnectedRule>,
}

/// Routes of other software.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelRule {
    /// Kernel table.
    pub table: u32,
    /// Their routing protocol number.
    pub protocol: u8,
    /// Which, and how they are announced.
    pub terms: Terms,
}

/// Connected networks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectedRule {
    /// Name of the interface, or its beginning and `*`.
    pub interface: String,
    /// Which, and how they are announced.
    pub terms: Terms,
}

/// Which routes of a rule are meant, and how they are announced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Only what falls into these; empty = everything.
    pub within: Vec<IpNet>,
    /// Standard communities.
    pub communities: Vec<u32>,
    /// Large communities.
    pub large_communities: Vec<[u32; 3]>,
}

impl Terms {
    /// Whether a prefix is meant.
    #[must_use]
    pub fn covers(&self, prefix: &IpNet) -> bool {
        self.within.is_empty() || self.within.iter().any(|net| net.contains(prefix))
    }
}

impl ConnectedRule {
    /// Whether an interface is meant.
    #[must_use]
    pub fn is_on(&self, interface: &str) -> bool {
        is_named(&self.interface, interface)
    }
}

/// Whether an interface is meant by its name, or by its beginning and `*`.
pub(super) fn is_named(pattern: &str, interface: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => interface.starts_with(beginning),
        None => interface == pattern,
    }
}

/// Both sections.
pub(super) fn import(config: &Config, faults: &mut Faults<'_>) -> ImportConfig {
    for (section, count) in
        [("import_kernel", config.import_kernel.len()), ("import_connected", config.import_connected.len())]
    {
        if count > RULES_MAX {
            faults.add(section, format!("{count} rules are more than {RULES_MAX}"), "join some of them by `within`");
        }
    }
    let own = config.fib.protocol.unwrap_or(77);
    let kernel = config.import_kernel.iter().enumerate().map(|(index, rule)| {
        let path = format!("import_kernel[{index}]");
        let slip = match (rule.protocol, rule.table) {
            (protocol, _) if protocol == own => {
                Some(("protocol", "these are our own routes: they would be told as if they were ours to give"))
            }
            (KERNEL, _) => {
                Some(("protocol", "these are the kernel's own routes: `import_connected` announces networks"))
            }
            (0, _) => Some(("protocol", "routes without a protocol are nobody's")),
            (_, 0 | 255) => Some(("table", "this table is the kernel's own")),
            _ => None,
        };
        if let Some((field, message)) = slip {
            let remedy = "write the table and protocol of the other software, as {table: 119, protocol: 30}";
            faults.add(&format!("{path}.{field}"), message, remedy);
        }
        let terms = terms(&path, &rule.within, (&rule.communities, &rule.large_communities), faults);
        KernelRule { table: rule.table, protocol: rule.protocol, terms }
    });
    let kernel = kernel.collect();
    let connected = config.import_connected.iter().enumerate().map(|(index, rule)| {
        let path = format!("import_connected[{index}]");
        if rule.interface.is_empty() || rule.interface.trim_end_matches('*').contains('*') {
            let message = format!("`{}` names no interfaces", rule.interface);
            faults.add(&format!("{path}.interface"), message, "write `eth2`, or a beginning as in `eth*`");
        }
        let terms = terms(&path, &rule.within, (&rule.communities, &rule.large_communities), faults);
        ConnectedRule { interface: rule.interface.clone(), terms }
    });
    ImportConfig { connected: connected.collect(), kernel }
}

fn terms(
    path: &str,
    within: &[IpNet],
    (communities, large): (&[Community], &[LargeCommunity]),
    faults: &mut Faults<'_>,
) -> Terms {
    for (index, net) in within.iter().enumerate() {
        check_host_bits(*net, &format!("{path}.within[{index}]"), faults);
    }
    Terms {
        within: within.to_vec(),
        communities: communities.iter().map(|value| value.0).collect(),
        large_communities: large.iter().map(|value| value.0).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    fn read(section: &str) -> Result<ImportConfig, String> {
        let text = format!("role: host\nasn: 4200000104\naddresses: [10.69.0.4/32]\nuplinks: [eth0]\n{section}\n");
        let node = parse("weft.yaml", &text).and_then(|config| config.node()).map_err(|error| error.to_string());
        node.map(|node| node.import)
    }

    #[test]
    fn coil_is_one_line() {
        let import = read("import_kernel: [{table: 119, protocol: 30}]").unwrap();
        assert_eq!((import.kernel[0].table, import.kernel[0].protocol), (119, 30));
        assert!(import.kernel[0].terms.covers(&"10.64.4.0/27".parse().unwrap()));
    }

    #[test]
    fn rules_name_interfaces_and_ranges() {
        let import = read("import_connected: [{interface: 'eth*', within: [10.0.0.0/8], communities: ['65000:1']}]");
        let rule = &import.unwrap().connected[0];
        assert!(rule.is_on("eth2") && !rule.is_on("lo"));
        assert!(rule.terms.covers(&"10.1.0.0/24".parse().unwrap()));
        assert!(!rule.terms.covers(&"192.168.0.0/24".parse().unwrap()));
        assert!(!rule.terms.covers(&"0.0.0.0/0".parse().unwrap()), "it is wider than the range");
    }

    #[test]
    fn slips_are_named_with_their_field() {
        for (section, field) in [
            ("import_kernel: [{table: 254, protocol: 77}]", "import_kernel[0].protocol"),
            ("import_kernel: [{table: 254, protocol: 2}]", "import_kernel[0].protocol"),
            ("import_kernel: [{table: 255, protocol: 30}]", "import_kernel[0].table"),
            ("import_kernel: [{table: 119}]", "import_kernel[0]"),
            ("import_kernel: [{table: 119, protocol: 30, within: [10.0.0.1/8]}]", "import_kernel[0].within[0]"),
            ("import_connected: [{interface: 'e*h'}]", "import_connected[0].interface"),
        ] {
            let refused = read(section).unwrap_err();
            assert!(refused.contains(field) && refused.contains("remedy"), "{section}: {refused}");
        }
    }
}
