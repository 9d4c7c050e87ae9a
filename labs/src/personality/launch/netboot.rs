//! What a boot server runs: `weft daemon`, a member of etcd, and `weft-netboot serve`, whose files stand beside each other as
//! `NODE.yaml`, `NODE.etcd.yaml` and `NODE.netboot.yaml`.

use std::path::{Path, PathBuf};

use super::{Daemon, Launch, daemon};

/// Plans its start; `config` is the host path of the routing daemon's file. Etcd's is `None` where it keeps its machines in a file.
pub(super) fn boot_server(config: &Path) -> Launch {
    let part = |extension: &str, to: &str| (config.with_extension(extension), PathBuf::from(to));
    let binds = vec![
        (config.to_owned(), PathBuf::from("/etc/weft/weft.yaml")),
        part("etcd.yaml", "/etc/weft/etcd.yaml"),
        part("netboot.yaml", "/etc/weft/netboot.yaml"),
    ];
    // The address of its member comes with the routing daemon, which sets it at its start.
    let weft = Daemon {
        socket: Some("/run/weft/weft.sock".into()),
        ..daemon(&["weft", "daemon", "--config", "/etc/weft/weft.yaml"])
    };
    Launch {
        binds,
        folders: vec!["/run/etcd".into()],
        daemons: vec![
            weft,
            daemon(&["etcd", "--config-file", "/etc/weft/etcd.yaml"]),
            daemon(&["weft-netboot", "serve", "--config", "/etc/weft/netboot.yaml"]),
        ],
        ..Launch::default()
    }
}
