//! A topology file for a Clos by its numbers, as containerlab's `generate` writes it: tiers from below, every node linked to every
//! node of the next tier. Pure: numbers to text.
//!
//! Differs from [`crate::sim::clos`] in its names and its cabling: those are containerlab's, so that files of both programs look alike.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::str::FromStr;

use crate::personality::Personality;
use crate::topology::Topology;

/// Most tiers: a Clos of nine stages, folded, and one for servers.
const MAX_TIERS: usize = 6;
/// Most nodes, and most links: some megabytes of file.
const MAX_NODES: usize = 20_000;
const MAX_LINKS: usize = 50_000;
/// Images of a kind for which none is given.
const IMAGES: [(&str, &str); 1] = [("linux", "weft")];

/// What to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The lab's name.
    pub name: String,
    /// From below.
    pub tiers: Vec<Tier>,
    /// Kind of tiers that say none.
    pub kind: String,
    /// Images by kind.
    pub images: BTreeMap<String, String>,
    /// Beginning of nodes' names.
    pub node_prefix: String,
    /// Beginning of groups' names.
    pub group_prefix: String,
}

/// A tier: `4`, `4:linux` or `4:linux:TYPE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tier {
    /// Nodes.
    pub count: usize,
    /// Their kind.
    pub kind: Option<String>,
    /// containerlab's type of that kind.
    pub of_type: Option<String>,
}

impl FromStr for Tier {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(':');
        let count = parts.next().and_then(|count| count.parse().ok()).filter(|count| (1..=MAX_NODES).contains(count));
        let count =
            count.ok_or_else(|| format!("`{text}`: write NUMBER, NUMBER:KIND or NUMBER:KIND:TYPE, as 8,4,2"))?;
        let mut word = || parts.next().filter(|word| !word.is_empty()).map(str::to_owned);
        let (kind, of_type) = (word(), word());
        if parts.next().is_some() {
            return Err(format!("`{text}`: NUMBER:KIND:TYPE has three parts"));
        }
        Ok(Self { count, kind, of_type })
    }
}

impl Wanted {
    /// The file, checked as one that somebody wrote.
    ///
    /// # Errors
    /// When there are too many of something, a name cannot be one, or a kind cannot run here; a sentence for a person.
    pub fn file(&self) -> Result<String, String> {
        let links: usize = self.tiers.windows(2).map(|pair| pair[0].count.saturating_mul(pair[1].count)).sum();
        let nodes: usize = self.tiers.iter().map(|tier| tier.count).sum();
        if self.tiers.is_empty() || self.tiers.len() > MAX_TIERS || nodes > MAX_NODES || links > MAX_LINKS {
            return Err(format!(
                "{} tiers, {nodes} nodes, {links} links: 1 to {MAX_TIERS} tiers, {MAX_NODES} nodes and {MAX_LINKS} links are the most",
                self.tiers.len()
            ));
        }
        let text = self.text();
        Topology::parse(&text, Path::new("/generated.clab.yml"), &|_| None).map_err(|error| error.to_string())?;
        Ok(text)
    }

    fn kind<'a>(&'a self, tier: &'a Tier) -> &'a str {
        tier.kind.as_deref().unwrap_or(&self.kind)
    }

    fn image(&self, kind: &str) -> Option<&str> {
        let given = self.images.get(kind).map(String::as_str);
        given.or_else(|| IMAGES.iter().find(|(name, _)| *name == kind).map(|(_, image)| *image))
    }

    fn node(&self, tier: usize, number: usize) -> String {
        format!("{}{}-{}", self.node_prefix, tier + 1, number + 1)
    }

    /// Writing to a string cannot fail.
    fn text(&self) -> String {
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let mut text = format!("name: {}\ntopology:\n  kinds:\n", quoted(&self.name));
        let kinds: BTreeMap<&str, Option<&str>> =
            self.tiers.iter().map(|tier| (self.kind(tier), self.image(self.kind(tier)))).collect();
        for (kind, image) in &kinds {
            let image = image.map_or_else(|| "{}".to_owned(), |image| format!("{{image: {}}}", quoted(image)));
            let _ = writeln!(text, "    {}: {image}", quoted(kind));
        }
        text.push_str("  nodes:\n");
        for (at, tier) in self.tiers.iter().enumerate() {
            let of_type = tier.of_type.as_ref().map_or_else(String::new, |word| format!(", type: {}", quoted(word)));
            for number in 0..tier.count {
                let (name, group) = (self.node(at, number), format!("{}-{}", self.group_prefix, at + 1));
                let kind = quoted(self.kind(tier));
                let _ = writeln!(text, "    {}: {{kind: {kind}, group: {}{of_type}}}", quoted(&name), quoted(&group));
            }
        }
        let pairs: Vec<_> = self.tiers.windows(2).enumerate().collect();
        if !pairs.is_empty() {
            text.push_str("  links:\n");
        }
        // a node's interfaces are numbered from 1, those down before those up
        for (at, pair) in pairs {
            let below = if at == 0 { 0 } else { self.tiers[at - 1].count };
            for low in 0..pair[0].count {
                for high in 0..pair[1].count {
                    let (a, b) = (self.node(at, low), self.node(at + 1, high));
                    let (up, down) = (below + high + 1, low + 1);
                    let _ = writeln!(text, "    - endpoints: [\"{a}:eth{up}\", \"{b}:eth{down}\"]");
                }
            }
        }
        self.own_keys(&mut text, kinds.values().flatten());
        text
    }

    /// What makes a network of it where weft runs: configurations, and a packet from one side to the other.
    fn own_keys<'a>(&self, text: &mut String, mut images: impl Iterator<Item = &'a &'a str>) {
        if !images.any(|image| Personality::known(image) == Some(Personality::Weft)) {
            return;
        }
        text.push_str("weft: auto\n");
        let is_weft = |tier: &Tier| {
            self.image(self.kind(tier)).is_some_and(|image| Personality::known(image) == Some(Personality::Weft))
        };
        let lowest = self.tiers.first().filter(|lowest| lowest.count > 1 && self.tiers.len() > 1 && is_weft(lowest));
        if let Some(lowest) = lowest.filter(|_| self.tiers.get(1).is_some_and(is_weft)) {
            let (from, to) = (self.node(0, 0), self.node(0, lowest.count - 1));
            let _ = writeln!(text, "expect:\n  - {{from: {from}, ping: {to}, loss: 0, within: 60s}}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(tiers: &str) -> Wanted {
        Wanted {
            name: "g".into(),
            tiers: tiers.split(',').map(|tier| tier.parse().unwrap()).collect(),
            kind: "linux".into(),
            images: BTreeMap::new(),
            node_prefix: "node".into(),
            group_prefix: "tier".into(),
        }
    }

    fn parse(text: &str) -> Topology {
        Topology::parse(text, Path::new("/g.clab.yml"), &|_| None).unwrap()
    }

    #[test]
    fn every_node_is_linked_to_every_node_of_the_next_tier() {
        for (tiers, nodes, links) in [("4,2", 6, 8), ("8,4,2", 14, 40), ("8,4,4,2,2", 20, 60), ("3", 3, 0)] {
            let topology = parse(&wanted(tiers).file().unwrap());
            assert_eq!((topology.nodes.len(), topology.links.len()), (nodes, links), "{tiers}");
            // RFC 6996 numbers, unnumbered peers: it runs as it is
            assert!(topology.nodes.values().all(|node| node.config.is_some()));
            assert_eq!(topology.expect.len(), usize::from(links > 0));
        }
        let topology = parse(&wanted("2,2,1").file().unwrap());
        assert_eq!(topology.nodes["node2-1"].group.as_deref(), Some("tier-2"));
        let interfaces: Vec<&str> = topology.interfaces("node2-1").map(|end| end.interface.as_str()).collect();
        assert_eq!(interfaces, ["eth1", "eth2", "eth3"]);
        let rows = crate::topology::tier::rows(&topology);
        assert_eq!((rows["node3-1"], rows["node2-2"], rows["node1-1"]), (0, 1, 2));
    }

    #[test]
    fn other_images_are_theirs_and_get_nothing_of_ours() {
        let mut wanted = wanted("2,1");
        wanted.images.insert("linux".into(), "quay.io/frrouting/frr:9".into());
        let text = wanted.file().unwrap();
        assert!(text.contains("\"linux\": {image: \"quay.io/frrouting/frr:9\"}") && !text.contains("weft"), "{text}");
    }

    #[test]
    fn what_cannot_be_written_is_said() {
        assert!("x".parse::<Tier>().unwrap_err().contains("as 8,4,2"));
        assert!("0".parse::<Tier>().is_err() && "1:a:b:c".parse::<Tier>().is_err());
        assert!(wanted("1000,1000").file().unwrap_err().contains("1000000 links"));
        assert!(wanted("2:ceos").file().unwrap_err().contains("kind `ceos`"));
        let hostile = Wanted { name: "../x\": {".into(), ..wanted("1") };
        assert!(hostile.file().unwrap_err().contains("a name has letters"));
    }
}
