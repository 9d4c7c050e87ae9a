//! What stands in the way of a lab, found before anything of it is made: programs that are not installed, kernels that lack a
//! kind of interface, users that an ordinary user cannot become. All of it at once, node by node, with the remedy.

use std::collections::BTreeMap;
use std::path::Path;

use super::limbo::Limbo;
use crate::personality::Personality;
use crate::topology::{Device, Topology};

/// Where programs of nodes are looked for; the PATH that nodes have.
const FOLDERS: [&str; 7] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/lib/frr"];

/// A program that a personality needs, and where Debian has it.
fn program(personality: Personality) -> Option<(&'static str, &'static str)> {
    match personality {
        Personality::Weft | Personality::Plain => None,
        Personality::Netboot => Some(("etcd", "etcd-server")),
        Personality::Bird => Some(("bird", "bird2")),
        Personality::Frr => Some(("zebra", "frr")),
        Personality::Gobgp => Some(("gobgpd", "gobgpd")),
        Personality::Openbgpd => Some(("bgpd", "openbgpd")),
        Personality::Exabgp => Some(("exabgp", "exabgp")),
    }
}

/// Sentences, each beginning with the name of its node; none when all can run.
pub(super) fn obstacles(
    topology: &Topology,
    overrides: &BTreeMap<String, Personality>,
    is_ordinary: bool,
    limbo: Option<&Limbo>,
) -> Vec<String> {
    let mut found = Vec::new();
    for (name, spec) in &topology.nodes {
        let personality = overrides.get(name).copied().unwrap_or(spec.personality);
        if let Some((program, package)) = program(personality)
            && spec.root.is_none()
            && spec.command.is_empty()
            && !FOLDERS.iter().any(|folder| Path::new(folder).join(program).is_file())
        {
            found.push(format!(
                "{name}: {program} is not installed: apt install {package}, or --node {name}=weft, or --node {name}=plain"
            ));
        }
        if personality == Personality::Openbgpd && is_ordinary {
            found.push(format!("{name}: OpenBGPD runs as root only: start the lab as root, or --node {name}=weft"));
        }
        if let Some(user) = spec.user.as_ref().filter(|user| is_ordinary && !is_root(user)) {
            found.push(format!("{name}: user `{user}`: only root exists in an ordinary user's lab: start it as root"));
        }
        for bind in spec.binds.iter().filter(|bind| !bind.host.exists()) {
            found.push(format!("{name}: there is no {} to bind to {}", bind.host.display(), bind.target.display()));
        }
        if let Some(root) = spec.root.as_ref().filter(|root| !root.exists()) {
            found.push(format!(
                "{name}: there is no {}: unpack a root file system there, or make it with `docker save IMAGE -o FILE`",
                root.display()
            ));
        }
    }
    for device in &topology.devices {
        let why = limbo.and_then(|limbo| limbo.why_not(&device.device));
        if let (Some(why), Device::Macvlan { .. } | Device::Vxlan { .. }) = (why, &device.device) {
            found.push(format!("{}:{}: {why}", device.end.node, device.end.interface));
        }
    }
    found
}

fn is_root(user: &str) -> bool {
    user.split(':').all(|part| part == "root" || part == "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_in_the_way_is_told_with_its_node() {
        let text = "name: t\ntopology:\n  defaults: {image: alpine}\n  nodes:\n    a: {binds: ['/no/such/file:/x'], user: nobody}\n    \
                    b: {image: ./no-such-image.tar}\n    c: {image: openbgpd, cmd: bgpd}\n    d: {user: 'root:0'}\n";
        let topology = Topology::parse(text, Path::new("/lab/t.clab.yml"), &|_| None).unwrap();
        let none = BTreeMap::new();
        let as_root = obstacles(&topology, &none, false, None);
        assert_eq!(as_root.len(), 2, "{as_root:?}");
        assert!(as_root[0].starts_with("a: there is no /no/such/file") && as_root[1].contains("docker save"));
        let ordinary = obstacles(&topology, &none, true, None).join("\n");
        assert!(
            ordinary.contains("a: user `nobody`") && ordinary.contains("c: OpenBGPD runs as root only"),
            "{ordinary}"
        );
        assert!(!ordinary.contains("d: "), "{ordinary}");
    }
}
