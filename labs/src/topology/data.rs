//! containerlab's `topology-data.json` of a lab, as its default template writes it: what scripts read of a running lab, and what this
//! program itself reads of one whose file may have changed, or never was a file.

use std::collections::BTreeMap;
use std::path::Path;

use ipnet::IpNet;
use serde_json::{Value, json};

use super::link::MGMT;
use super::{Endpoint, LinkSpec, NodeSpec, Topology};
use crate::personality::Personality;

/// Its name, in the lab's folder.
pub const FILE: &str = "topology-data.json";

/// The document of a lab; `folder` is the lab's on the host.
#[must_use]
pub fn document(topology: &Topology, folder: &Path) -> Value {
    let node = |(index, spec): (usize, &NodeSpec)| {
        let addresses = management(topology, spec);
        let of = |is_ipv4: bool| addresses.iter().find(|net| net.addr().is_ipv4() == is_ipv4);
        let address = |is_ipv4| of(is_ipv4).map_or_else(String::new, |net| net.addr().to_string());
        let length = |is_ipv4| of(is_ipv4).map_or(0, IpNet::prefix_len);
        let value = json!({
            "index": index.to_string(),
            "shortname": spec.name,
            "longname": topology.long_name(&spec.name),
            "fqdn": format!("{}.{}.io", spec.name, topology.name),
            "group": spec.group.as_deref().unwrap_or_default(),
            "labdir": folder.join(&spec.name),
            "kind": spec.kind,
            "image": spec.image,
            "mgmt-net": "",
            "mgmt-intf": "",
            "mgmt-ipv4-address": address(true),
            "mgmt-ipv4-prefix-length": length(true),
            "mgmt-ipv6-address": address(false),
            "mgmt-ipv6-prefix-length": length(false),
            "mac-address": "",
            "labels": labels(topology, spec, folder),
            "port-bindings": [],
        });
        (spec.name.clone(), value)
    };
    let end = |end: &Endpoint, peer: &str| {
        let mac: Vec<String> = end.mac.iter().map(|byte| format!("{byte:02x}")).collect();
        json!({"node": end.node, "interface": end.interface, "mac": mac.join(":"), "peer": peer})
    };
    let links =
        topology.links.iter().map(|link| json!({"endpoints": {"a": end(&link.a, "z"), "z": end(&link.b, "a")}}));
    json!({
        "name": topology.name,
        "type": "clab",
        "clab": {"config": {"prefix": topology.prefix, "mgmt": {"network": MGMT}}},
        "ssh-pub-keys": [],
        "nodes": topology.nodes.values().enumerate().map(node).collect::<serde_json::Map<_, _>>(),
        "links": links.collect::<Value>(),
    })
}

/// Addresses of the node's link to the management network.
fn management<'a>(topology: &Topology, spec: &'a NodeSpec) -> &'a [IpNet] {
    let ends = topology.links.iter().flat_map(|link| [(&link.a, &link.b), (&link.b, &link.a)]);
    let near = ends.into_iter().find(|(near, far)| near.node == spec.name && far.node == MGMT).map(|(near, _)| near);
    near.and_then(|near| spec.addresses.get(&near.interface)).map_or(&[], Vec::as_slice)
}

/// The file's labels, and those that containerlab gives every node.
fn labels(topology: &Topology, spec: &NodeSpec, folder: &Path) -> BTreeMap<String, String> {
    let mut labels = spec.labels.clone();
    for (key, value) in [
        ("containerlab", topology.name.clone()),
        ("clab-node-name", spec.name.clone()),
        ("clab-node-longname", topology.long_name(&spec.name)),
        ("clab-node-kind", spec.kind.clone()),
        ("clab-node-group", spec.group.clone().unwrap_or_default()),
        ("clab-node-lab-dir", folder.join(&spec.name).display().to_string()),
        ("clab-topo-file", topology.path.display().to_string()),
    ] {
        labels.insert(key.to_owned(), value);
    }
    labels
}

/// Nodes and links of such a document; what runs in a node follows from its image.
#[must_use]
pub fn outline(document: &Value) -> Option<Topology> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let end = |value: &Value| {
        let (node, interface) = (text(&value["node"])?, text(&value["interface"])?);
        Some(Endpoint { node, interface, mac: [0; 6], addresses: Vec::new() })
    };
    let mut nodes = BTreeMap::new();
    for (name, node) in document["nodes"].as_object()? {
        let mut spec = NodeSpec::made(name, node["kind"].as_str()?);
        spec.image = text(&node["image"])?;
        spec.personality = Personality::known(&spec.image).unwrap_or(Personality::Plain);
        spec.group = text(&node["group"]).filter(|group| !group.is_empty());
        for (key, value) in node["labels"].as_object()? {
            spec.labels.insert(key.clone(), text(value)?);
        }
        nodes.insert(name.clone(), spec);
    }
    let mut links = Vec::new();
    for link in document["links"].as_array()? {
        let ends = &link["endpoints"];
        links.push(LinkSpec { a: end(&ends["a"])?, b: end(&ends["z"])?, mtu: 0 });
    }
    Some(Topology {
        name: text(&document["name"])?,
        prefix: text(&document["clab"]["config"]["prefix"])?,
        path: FILE.into(),
        nodes,
        links,
        devices: Vec::new(),
        expect: Vec::new(),
        steps: Vec::new(),
        faults: Vec::new(),
        warnings: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_containerlabs_keys_and_is_read_again() {
        let text = "name: t\ntopology:\n  nodes:\n    a: {image: weft, group: g, labels: {role: edge}, mgmt-ipv4: 172.20.20.9}\n    \
                    b: {image: alpine}\n  links:\n    - endpoints: ['a:eth1', 'b:eth1']\n    - endpoints: ['a:m', 'mgmt-net:a']\n";
        let topology = Topology::parse(text, Path::new("/t/t.clab.yml"), &|_| None).unwrap();
        let document = document(&topology, Path::new("/run/t"));
        let node = &document["nodes"]["a"];
        assert_eq!(
            (document["type"].as_str(), document["clab"]["config"]["prefix"].as_str()),
            (Some("clab"), Some("clab"))
        );
        assert_eq!((node["longname"].as_str(), node["labdir"].as_str()), (Some("clab-t-a"), Some("/run/t/a")));
        assert_eq!(
            (node["mgmt-ipv4-address"].as_str(), node["mgmt-ipv4-prefix-length"].as_u64()),
            (Some("172.20.20.9"), Some(24))
        );
        assert_eq!(
            (node["labels"]["role"].as_str(), node["labels"]["clab-node-kind"].as_str()),
            (Some("edge"), Some("linux"))
        );
        let a = &document["links"][0]["endpoints"]["a"];
        assert_eq!(
            (a["node"].as_str(), a["interface"].as_str(), a["peer"].as_str()),
            (Some("a"), Some("eth1"), Some("z"))
        );
        assert!(a["mac"].as_str().unwrap().starts_with("aa:c1:ab:"));
        let outline = outline(&document).unwrap();
        assert_eq!(outline.nodes.keys().collect::<Vec<_>>(), topology.nodes.keys().collect::<Vec<_>>());
        assert_eq!((outline.links.len(), outline.nodes["a"].group.as_deref()), (2, Some("g")));
        assert_eq!(outline.nodes["a"].personality, Personality::Weft);
    }
}
