//! What to run for a personality: files to put into the node, commands that stay, commands that run once.
//!
//! Pure: the lab executes it. All files are for the node's own mount namespace.

mod netboot;

use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde::Deserialize;

use crate::personality::Personality;
use crate::topology::Bind;

/// Everything the lab has to do to have a node's daemon running.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Launch {
    /// Addresses for `lo` that the daemon does not set itself.
    pub loopback: Vec<IpNet>,
    /// Host file, and where the node sees it.
    pub binds: Vec<(PathBuf, PathBuf)>,
    /// Path in the node, and content.
    pub files: Vec<(PathBuf, String)>,
    /// Directories the node needs, on a file system of its own.
    pub folders: Vec<PathBuf>,
    /// Daemons, in starting order; they stay in the foreground.
    pub daemons: Vec<Daemon>,
    /// Commands for when the daemons answer; repeated until they succeed.
    pub then: Vec<Vec<String>>,
}

/// One of a node's daemons.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Daemon {
    /// Program and arguments.
    pub words: Vec<String>,
    /// Path in the node of the socket at which it answers, when the next daemon must not start before it does.
    pub socket: Option<PathBuf>,
}

/// FRR insists on these users; in a user namespace only root exists, so both are root.
const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nfrr:x:0:0:frr:/:/bin/false\n";
const GROUP: &str = "root:x:0:\nfrr:x:0:\nfrrvty:x:0:\n";

/// The part of a weft configuration that holds for every daemon.
#[derive(Debug, Deserialize)]
struct Addresses {
    #[serde(default)]
    addresses: Vec<IpNet>,
}

/// Plans a node's start.
///
/// `config` is the host path of the personality's configuration, `weft_yaml` the text of the node's weft configuration.
///
/// # Errors
/// When `weft_yaml` is needed and no YAML; the message says where.
pub fn plan(personality: Personality, config: &Path, weft_yaml: &str) -> Result<Launch, String> {
    let loopback = || -> Result<Vec<IpNet>, String> {
        let read: Addresses = serde_saphyr::from_str(weft_yaml).map_err(|error| error.to_string())?;
        Ok(read.addresses)
    };
    let bind = |to: &str| vec![(config.to_owned(), PathBuf::from(to))];
    Ok(match personality {
        Personality::Plain => Launch::default(),
        Personality::Weft => Launch {
            binds: bind("/etc/weft/weft.yaml"),
            daemons: vec![daemon(&["weft", "daemon", "--config", "/etc/weft/weft.yaml"])],
            ..Launch::default()
        },
        Personality::Netboot => netboot::boot_server(config),
        Personality::Bird => Launch {
            loopback: loopback()?,
            binds: bind("/etc/bird/bird.conf"),
            folders: vec!["/etc/bird".into(), "/run/bird".into()],
            daemons: vec![daemon(&["bird", "-f", "-c", "/etc/bird/bird.conf", "-s", "/run/bird/bird.ctl"])],
            ..Launch::default()
        },
        Personality::Frr => frr(loopback()?, bind("/etc/frr/bgpd.conf")),
        Personality::Openbgpd => openbgpd(loopback()?, bind("/etc/openbgpd.conf")),
        Personality::Exabgp => Launch {
            loopback: loopback()?,
            binds: bind("/etc/exabgp/exabgp.conf"),
            folders: vec!["/etc/exabgp".into()],
            // in a user namespace there is nobody but root; its pipes would be the host's
            daemons: vec![daemon(&[
                "env",
                "exabgp.daemon.user=root",
                "exabgp.api.cli=false",
                "exabgp",
                "/etc/exabgp/exabgp.conf",
            ])],
            ..Launch::default()
        },
        Personality::Gobgp => Launch {
            loopback: loopback()?,
            binds: bind("/etc/gobgp/gobgpd.yaml"),
            folders: vec!["/etc/gobgp".into()],
            daemons: vec![daemon(&["gobgpd", "-t", "yaml", "-f", "/etc/gobgp/gobgpd.yaml"])],
            // its own default, origin incomplete, would lose against every other spine
            then: ["10.72.32.0/20", "10.72.48.0/24"]
                .map(|range| command(&["gobgp", "global", "rib", "add", range, "origin", "igp", "-a", "ipv4"]))
                .to_vec(),
            ..Launch::default()
        },
    })
}

fn openbgpd(loopback: Vec<IpNet>, binds: Vec<(PathBuf, PathBuf)>) -> Launch {
    // it takes no configuration that others may read
    let start = "install -m 600 /etc/openbgpd.conf /run/openbgpd/bgpd.conf && \
                 exec /usr/sbin/bgpd -d -f /run/openbgpd/bgpd.conf";
    Launch {
        loopback,
        binds,
        folders: vec!["/run/openbgpd".into()],
        daemons: vec![daemon(&["sh", "-c", start])],
        ..Launch::default()
    }
}

fn frr(loopback: Vec<IpNet>, binds: Vec<(PathBuf, PathBuf)>) -> Launch {
    let as_root = ["-u", "root", "-g", "root", "-A", "127.0.0.1"];
    let part = |program: &str, more: &[&str]| daemon(&[&[program], &as_root[..], more].concat());
    // what bgpd asks of a bfdd that zebra does not know yet is lost, and bgpd does not always ask again
    let first = |program: &str, socket: &str| Daemon { socket: Some(socket.into()), ..part(program, &[]) };
    Launch {
        loopback,
        binds,
        files: vec![("/etc/passwd".into(), PASSWD.to_owned()), ("/etc/group".into(), GROUP.to_owned())],
        folders: vec!["/etc/frr".into(), "/run/frr".into(), "/var/tmp".into()],
        daemons: vec![
            first("/usr/lib/frr/zebra", "/run/frr/zserv.api"),
            first("/usr/lib/frr/bfdd", "/run/frr/bfdd.vty"),
            part("/usr/lib/frr/bgpd", &["-f", "/etc/frr/bgpd.conf"]),
        ],
        ..Launch::default()
    }
}

/// The start of a daemon of the file's own configuration: its binds bring it, or commands give it once the daemon runs.
///
/// # Errors
/// As [`plan`].
pub fn own(personality: Personality, binds: &[Bind]) -> Result<Launch, String> {
    let mut launch = plan(personality, Path::new("/nonexistent"), "{}")?;
    launch.binds.clear();
    launch.then.clear();
    if personality == Personality::Frr {
        // what scripts of FRR's images expect to find and to run; the daemons are started already
        launch.files.extend([
            ("/etc/frr/bgpd.conf".into(), String::new()),
            ("/etc/frr/vtysh.conf".into(), String::new()),
            ("/etc/frr/daemons".into(), FRR_DAEMONS.to_owned()),
            ("/usr/lib/frr/frrinit.sh".into(), "#!/bin/sh\nexit 0\n".to_owned()),
        ]);
        if binds.iter().any(|bind| bind.target == Path::new("/etc/frr/frr.conf")) {
            let ready = "vtysh -d bgpd -c 'show version' > /dev/null && vtysh -b";
            launch.then.push(command(&["sh", "-c", ready]));
        }
        // vtysh configures those daemons that answer, and is content with them
        if let Some(bgpd) = launch.daemons.last_mut() {
            bgpd.socket = Some("/run/frr/bgpd.vty".into());
        }
    }
    Ok(launch)
}

/// As FRR's images have it.
const FRR_DAEMONS: &str = "zebra=yes\nbgpd=no\nbfdd=yes\nvtysh_enable=yes\n";

fn daemon(words: &[&str]) -> Daemon {
    Daemon { words: command(words), socket: None }
}

fn command(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_need_the_addresses_that_weft_sets_itself() {
        let yaml = "role: spine\nasn: 64599\naddresses: [10.69.255.101/32]\npeers: {}\n";
        let bird = plan(Personality::Bird, Path::new("spine1.bird.conf"), yaml).unwrap();
        assert_eq!(bird.loopback, ["10.69.255.101/32".parse::<IpNet>().unwrap()]);
        assert!(plan(Personality::Weft, Path::new("spine1.yaml"), yaml).unwrap().loopback.is_empty());
    }

    #[test]
    fn every_foreign_configuration_stands_beside_its_weft_one() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("topologies");
        for (plant, node, personality) in [
            ("two-racks", "spine1", Personality::Bird),
            ("two-racks", "tor1", Personality::Bird),
            ("two-racks", "spine1", Personality::Frr),
            ("two-racks", "tor1", Personality::Frr),
            ("two-racks", "spine1", Personality::Gobgp),
            ("unnumbered", "tor1", Personality::Frr),
            ("unnumbered", "tor1", Personality::Bird),
            ("add-path", "left", Personality::Bird),
            ("add-path", "left", Personality::Frr),
            ("add-path", "left", Personality::Gobgp),
            ("two-racks", "spine1", Personality::Openbgpd),
            ("add-path", "left", Personality::Openbgpd),
        ] {
            let yaml = folder.join(plant).join(format!("{node}.yaml"));
            let config = personality.config_file(&yaml);
            assert!(config.is_file(), "{}", config.display());
            let launch = plan(personality, &config, &std::fs::read_to_string(&yaml).unwrap()).unwrap();
            assert_eq!(launch.loopback.len(), 1);
        }
    }
}
