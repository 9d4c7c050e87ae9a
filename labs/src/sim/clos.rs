//! A Clos of two or three stages by its numbers: spines of one AS, leaves and servers of their own, unnumbered cables. Servers have two
//! leaves, as in a rack with two switches.

use crate::topology::Topology;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::path::Path;

/// Most nodes of a tier.
const MAX: u32 = 4_000;

/// See the head of this file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clos {
    /// Spines; every leaf hangs on all of them.
    pub spines: u32,
    /// Leaves.
    pub leaves: u32,
    /// Servers; each has two leaves that follow each other.
    pub servers: u32,
    /// Cables between a leaf and a spine.
    pub cables: u32,
    /// Servers are told a default route alone (`weft: {auto: true, servers: default}`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stubs: bool,
}

impl Clos {
    /// Its topology.
    ///
    /// # Errors
    /// When there is nothing of a tier that must be there, or too much.
    pub fn topology(&self) -> Result<Topology, String> {
        let Self { spines, leaves, servers, cables, stubs: _ } = *self;
        let is_possible = (1..=MAX).contains(&spines) && (1..=MAX).contains(&leaves) && (1..=8).contains(&cables);
        if !is_possible || servers > 4 * MAX || (servers > 0 && leaves < 2) {
            return Err(format!(
                "{self:?}: 1 to {MAX} spines and leaves, up to 8 cables between two, and two leaves for servers"
            ));
        }
        Topology::parse(&self.file(), Path::new("/clos.clab.yml"), &|_| None).map_err(|error| error.to_string())
    }

    /// Its topology file.
    #[must_use]
    pub fn file(&self) -> String {
        let Self { spines, leaves, servers, cables, stubs } = *self;
        let mut text = "name: clos\ntopology:\n  defaults: {kind: linux, image: weft}\n  nodes:\n".to_owned();
        for (tier, count) in [("spine", spines), ("leaf", leaves), ("server", servers)] {
            for number in 1..=count {
                let _ = writeln!(text, "    {tier}{number}: {{group: {tier}}}");
            }
        }
        text.push_str("  links:\n");
        for leaf in 1..=leaves {
            for spine in 1..=spines {
                for cable in 1..=cables {
                    let (up, down) = ((spine - 1) * cables + cable, (leaf - 1) * cables + cable);
                    let _ = writeln!(text, "    - endpoints: [\"leaf{leaf}:up{up}\", \"spine{spine}:down{down}\"]");
                }
            }
        }
        for server in 0..servers {
            for side in 0..2 {
                let leaf = (2 * (server % (leaves / 2).max(1)) + side) % leaves + 1;
                let (server, eth) = (server + 1, side + 1);
                let _ = writeln!(text, "    - endpoints: [\"leaf{leaf}:down{server}\", \"server{server}:eth{eth}\"]");
            }
        }
        text.push_str(if stubs { "weft: {auto: true, servers: default}\n" } else { "weft: auto\n" });
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_has_the_cables_that_the_numbers_say() {
        let clos = Clos { spines: 2, leaves: 4, servers: 5, cables: 2, stubs: false };
        let topology = clos.topology().unwrap();
        assert_eq!((topology.nodes.len(), topology.links.len()), (11, 16 + 10));
        let of = |node: &str| topology.interfaces(node).map(|end| end.interface.clone()).collect::<Vec<_>>();
        assert_eq!(of("leaf1"), ["up1", "up2", "up3", "up4", "down1", "down3", "down5"]);
        assert_eq!(of("server5"), ["eth1", "eth2"]);
        assert_eq!(of("spine2").len(), 8);
        let lonely = Clos { spines: 1, leaves: 1, servers: 1, cables: 1, stubs: false };
        assert!(lonely.topology().unwrap_err().contains("two leaves"));
    }
}
