//! Which daemon a node runs and how it is started: weft, or BIRD, FRR, GoBGP, OpenBGPD or ExaBGP in its place for interop.
//!
//! `--node spine1=bird` replaces a node's daemon; its configuration is then `NODE.bird.conf` beside the node's own
//! `NODE.yaml`, which still says which addresses go on `lo` (weft puts them there itself, the others do not).

pub mod launch;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// What runs in a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Personality {
    /// weft itself.
    Weft,
    /// weft as a boot server: with a member of etcd and the inventory.
    Netboot,
    /// BIRD 2.
    Bird,
    /// FRR: zebra, bfdd and bgpd.
    Frr,
    /// GoBGP; it has no forwarding table.
    Gobgp,
    /// OpenBGPD; on Linux it has no forwarding table, and it runs as root only.
    Openbgpd,
    /// ExaBGP; it has no forwarding table.
    Exabgp,
    /// No daemon: a shell, a client.
    Plain,
}

/// Images that are a shell and tools.
const SHELLS: [&str; 11] = [
    "alpine",
    "debian",
    "ubuntu",
    "busybox",
    "netshoot",
    "multitool",
    "fedora",
    "centos",
    "rocky",
    "archlinux",
    "linux",
];

impl Personality {
    /// Every one of them, in the order in which an image's name is searched for theirs.
    const ALL: [Self; 8] =
        [Self::Netboot, Self::Weft, Self::Gobgp, Self::Bird, Self::Frr, Self::Openbgpd, Self::Exabgp, Self::Plain];

    /// From a containerlab `image`: the last part of its path decides, without tag. `None` when that names neither a daemon nor one of
    /// the images that people take for a shell.
    #[must_use]
    pub fn known(image: &str) -> Option<Self> {
        let last = image.rsplit('/').next().unwrap_or_default();
        let name = last.split([':', '@']).next().unwrap_or_default();
        let daemon = Self::ALL.into_iter().find(|personality| name.contains(personality.name()));
        daemon.or_else(|| (name.is_empty() || SHELLS.iter().any(|shell| name.contains(shell))).then_some(Self::Plain))
    }

    /// The word used in files and options.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Weft => "weft",
            Self::Netboot => "netboot",
            Self::Bird => "bird",
            Self::Frr => "frr",
            Self::Gobgp => "gobgp",
            Self::Openbgpd => "openbgpd",
            Self::Exabgp => "exabgp",
            Self::Plain => "plain",
        }
    }

    /// The configuration of a node under this personality, given where its weft configuration is.
    #[must_use]
    pub fn config_file(self, weft_yaml: &Path) -> PathBuf {
        match self {
            Self::Weft | Self::Netboot | Self::Plain => weft_yaml.to_owned(),
            Self::Bird => weft_yaml.with_extension("bird.conf"),
            Self::Frr => weft_yaml.with_extension("frr.conf"),
            Self::Gobgp => weft_yaml.with_extension("gobgp.yaml"),
            Self::Openbgpd => weft_yaml.with_extension("openbgpd.conf"),
            Self::Exabgp => weft_yaml.with_extension("exabgp.conf"),
        }
    }

    /// Whether a `weft daemon` runs in it.
    #[must_use]
    pub fn runs_weft(self) -> bool {
        matches!(self, Self::Weft | Self::Netboot)
    }

    /// Whether its routes can be read in the node's kernel.
    #[must_use]
    pub fn has_kernel_routes(self) -> bool {
        match self {
            Self::Weft | Self::Netboot | Self::Bird | Self::Frr => true,
            Self::Gobgp | Self::Openbgpd | Self::Exabgp | Self::Plain => false,
        }
    }
}

impl fmt::Display for Personality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Personality {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|personality| personality.name() == text).ok_or_else(|| {
            format!("`{text}` is no personality: weft, netboot, bird, frr, gobgp, openbgpd, exabgp or plain")
        })
    }
}

/// Reads `NODE=PERSONALITY`.
///
/// # Errors
/// When there is no `=`, or the word is unknown; the message says which.
pub fn parse_override(text: &str) -> Result<(String, Personality), String> {
    let (node, word) = text
        .split_once('=')
        .ok_or_else(|| format!("`{text}`: write NODE=bird, NODE=frr, NODE=gobgp or NODE=openbgpd"))?;
    Ok((node.to_owned(), word.parse()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_decides_by_the_last_part_of_its_path() {
        for (image, personality) in [
            ("weft", Some(Personality::Weft)),
            ("", Some(Personality::Plain)),
            ("weft-netboot", Some(Personality::Netboot)),
            ("quay.io/frrouting/frr:8.4", Some(Personality::Frr)),
            ("example.org/bird/alpine", Some(Personality::Plain)),
            ("ghcr.io/x/network-multitool@sha256:0", Some(Personality::Plain)),
            ("osrg/gobgp", Some(Personality::Gobgp)),
            ("openbgpd/openbgpd:8", Some(Personality::Openbgpd)),
            ("mavenugo/exabgp", Some(Personality::Exabgp)),
            ("ceos:4.33", None),
        ] {
            assert_eq!(Personality::known(image), personality, "{image}");
        }
    }

    #[test]
    fn overrides_name_what_is_wrong() {
        assert_eq!(parse_override("spine1=bird").unwrap(), ("spine1".to_owned(), Personality::Bird));
        assert!(parse_override("spine1").unwrap_err().contains("NODE=bird"));
        assert!(parse_override("spine1=junos").unwrap_err().contains("junos"));
    }
}
