//! The stages that need a lab: both plants verified with real packets, the same plants with other daemons in them, and labs of their own
//! for what weft and others say to each other.
//!
//! A lab runs as a child process from a copy of the binaries and topologies that everyone may read, because one of the
//! runs is made by an ordinary user and a checkout is often below a home directory that only its owner may enter.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::count::{Outcome, verify_report};
use crate::packages;
use crate::run::{Context, Log, find_program};

/// `nobody` on Debian: an ordinary user without any group of note.
const ORDINARY_UID: &str = "65534";

/// Said when the stage cannot run because the command is not there.
const NO_VERIFY: &str = "every lab check: this build of `weft-lab` has no `verify --json`";

/// A plant, and which of its nodes runs another daemon.
type Place = (&'static str, &'static str);

/// Peers the plants are verified with: name, program that shows it is installed, and where they run.
const PEERS: [(&str, &str, &[Place]); 4] = [
    (
        "bird",
        "bird",
        &[
            ("two-racks", "spine1=bird"),
            ("two-racks", "tor1=bird"),
            ("unnumbered", "tor1=bird"),
            ("add-path", "left=bird"),
        ],
    ),
    (
        "frr",
        "zebra",
        &[("two-racks", "spine1=frr"), ("two-racks", "tor1=frr"), ("unnumbered", "tor1=frr"), ("add-path", "left=frr")],
    ),
    ("gobgp", "gobgpd", &[("two-racks", "spine1=gobgp"), ("add-path", "left=gobgp")]),
    ("openbgpd", OPENBGPD, &[("two-racks", "spine1=openbgpd"), ("add-path", "left=openbgpd")]),
];

/// Shows that OpenBGPD is installed; its daemon has the name of FRR's.
const OPENBGPD: &str = "bgpctl";

/// Topologies with other daemons in them from the start, and the programs they need.
const MIXED: [(&str, &[&str]); 6] = [
    ("secured", &["bird", "zebra"]),
    ("sessions", &["bird", "zebra", "gobgpd"]),
    ("attributes", &["bird", "zebra", "gobgpd", OPENBGPD, "exabgp"]),
    ("paths", &["bird", "zebra", OPENBGPD]),
    ("cabling", &["lldpd"]),
    ("observed", &["bird", "zebra", "stayrtr", "pmbmpd", "tshark", "bgpdump"]),
];

/// Every program of the stage, and the package of the distribution that has it.
const PACKAGES: [(&str, &str); 11] = [
    ("bird", "bird2"),
    ("zebra", "frr"),
    ("gobgpd", "gobgpd"),
    (OPENBGPD, "openbgpd"),
    ("exabgp", "exabgp"),
    ("stayrtr", "stayrtr"),
    ("pmbmpd", "pmacct"),
    ("tshark", "tshark"),
    ("bgpdump", "bgpdump"),
    ("lldpd", "lldpd"),
    ("ip", "iproute2"),
];

/// Verifies every topology as root (if we are), and again as an ordinary user.
pub(crate) fn lab(context: &Context) -> io::Result<Outcome> {
    let log = context.log("lab")?;
    let Some(stage) = Stage::prepare(context, &log)? else {
        return Ok(Outcome::failed("the lab's binaries do not build"));
    };
    if !stage.can_verify(context)? {
        return Ok(Outcome::skipped(NO_VERIFY));
    }
    let mut outcome = Outcome::default();
    for topology in ["two-racks", "unnumbered"] {
        outcome.add(&stage.verify(context, &log, topology, &["--failover", "--heal"], false)?);
    }
    outcome.add(&stage.verify(context, &log, "add-path", &[], false)?);
    if rustix::process::geteuid().is_root() {
        if find_program("setpriv").is_some() {
            outcome.add(&stage.verify(context, &log, "two-racks", &[], true)?);
        } else {
            outcome.add(&Outcome::skipped("two-racks as an ordinary user: `setpriv` (util-linux) is not here"));
        }
    } else {
        outcome.add(&Outcome::skipped("labs as root: this run is an ordinary user's"));
    }
    Ok(outcome)
}

/// Verifies the plants with others in the place of a spine and a ToR, and the labs in which others are from the start.
pub(crate) fn interop(context: &Context) -> io::Result<Outcome> {
    let log = context.log("interop")?;
    let is_root = rustix::process::geteuid().is_root();
    provide(context, &log, &|_| true)?;
    let Some(stage) = Stage::prepare(context, &log)? else {
        return Ok(Outcome::failed("the lab's binaries do not build"));
    };
    if !stage.can_verify(context)? {
        return Ok(Outcome::skipped(NO_VERIFY));
    }
    let mut outcome = Outcome::default();
    for (name, program, nodes) in PEERS {
        if let Some(why) = unusable(program, is_root) {
            outcome.add(&Outcome::skipped(format!("{name}: {why}")));
            continue;
        }
        for (plant, node) in nodes {
            outcome.add(&stage.verify(context, &log, plant, &["--node", node], false)?);
        }
    }
    for (plant, programs) in MIXED {
        if let Some(why) = programs.iter().find_map(|program| unusable(program, is_root)) {
            outcome.add(&Outcome::skipped(format!("{plant}: {why}")));
        } else {
            outcome.add(&stage.verify(context, &log, plant, &[], false)?);
        }
    }
    Ok(outcome)
}

/// Installs those of our peers that are wanted and missing, where that is possible.
pub(crate) fn provide(context: &Context, log: &Log, is_wanted: &dyn Fn(&str) -> bool) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() || find_program("apt-get").is_none() {
        return Ok(());
    }
    let missing = PACKAGES.iter().filter(|(program, _)| is_wanted(program) && find_program(program).is_none());
    packages::install_each(context, log, &missing.map(|(_, package)| *package).collect::<Vec<_>>())
}

/// Why a program cannot be a peer here.
pub(crate) fn unusable(program: &str, is_root: bool) -> Option<String> {
    if find_program(program).is_none() {
        return Some(format!("`{program}` is not installed and could not be"));
    }
    (program == OPENBGPD && !is_root).then(|| "OpenBGPD runs as root only".to_owned())
}

/// A directory with the binaries and topologies, removed at the end.
pub(crate) struct Stage {
    /// Where it is.
    pub(crate) folder: PathBuf,
}

impl Stage {
    pub(crate) fn prepare(context: &Context, log: &Log) -> io::Result<Option<Self>> {
        let mut words = vec!["build", "-p", "weft-labs", "-p", "weft-netboot", "--bins"];
        if context.weft.is_none() {
            words.extend(["-p", "weft-fabric"]);
        }
        if !log.run(&mut context.cargo(&words))? {
            return Ok(None);
        }
        // Two stages may have one at the same time, and who ends first removes its own.
        static FOLDERS: AtomicU32 = AtomicU32::new(0);
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("weft-suite-{}-{number}", std::process::id()));
        let stage = Self { folder };
        std::fs::create_dir_all(stage.folder.join("reports"))?;
        std::fs::set_permissions(stage.folder.join("reports"), std::fs::Permissions::from_mode(0o1777))?;
        for name in ["weft", "weft-lab", "weft-netboot"] {
            let built = context.target.join("debug").join(name);
            let program = context.weft.clone().filter(|_| name == "weft").unwrap_or(built);
            std::fs::copy(program, stage.folder.join(name))?;
        }
        copy_tree(&context.root.join("labs/topologies"), &stage.folder.join("topologies"))?;
        stage.name_labs()?;
        Ok(Some(stage))
    }

    /// Gives the labs names of this run, so that nobody else's lab is in the way.
    fn name_labs(&self) -> io::Result<()> {
        let folder = self.folder.join("topologies");
        for entry in std::fs::read_dir(&folder)?.chain(std::fs::read_dir(folder.join("clab"))?) {
            let path = entry?.path();
            if path.is_file() && path.to_string_lossy().ends_with(".clab.yml") {
                let own = |line: &str| match line.strip_prefix("name: ") {
                    Some(name) => format!("name: {name}-{}\n", std::process::id()),
                    None => format!("{line}\n"),
                };
                let text: String = std::fs::read_to_string(&path)?.lines().map(own).collect();
                std::fs::write(&path, text)?;
            }
        }
        Ok(())
    }

    /// Whether this build of the lab has the command at all.
    fn can_verify(&self, context: &Context) -> io::Result<bool> {
        let program = self.folder.join("weft-lab");
        let help = context.command(&program, &["verify", "--help"]).output()?;
        Ok(help.status.success() && String::from_utf8_lossy(&help.stdout).contains("--json"))
    }

    /// One `weft-lab verify`; its report is counted check by check.
    pub(crate) fn verify(
        &self,
        context: &Context,
        log: &Log,
        topology: &str,
        options: &[&str],
        ordinary: bool,
    ) -> io::Result<Outcome> {
        let file = self.folder.join(format!("topologies/{topology}.clab.yml")).display().to_string();
        let report = self.folder.join(format!(
            "reports/{}-{}.json",
            topology.replace('/', "-"),
            options.len() + usize::from(ordinary) * 10
        ));
        let _ = std::fs::remove_file(&report);
        let report_text = report.display().to_string();
        let program = self.folder.join("weft-lab").display().to_string();
        let mut words = vec!["verify", &file, "--json", &report_text];
        words.extend(options);
        let mut command = if ordinary {
            let mut all =
                vec!["--reuid", ORDINARY_UID, "--regid", ORDINARY_UID, "--clear-groups", "--no-new-privs", &program];
            all.extend(words);
            let mut command = context.command(Path::new("setpriv"), &all);
            command.env_remove("XDG_RUNTIME_DIR").env("HOME", &self.folder);
            command
        } else {
            context.command(Path::new(&program), &words)
        };
        command.current_dir(&self.folder);
        let ended_well = log.run(&mut command)?;
        let label = format!("{topology} {}{}", options.join(" "), if ordinary { "as an ordinary user" } else { "" });
        let mut outcome = match std::fs::read_to_string(&report)
            .map_err(|e| e.to_string())
            .and_then(|text| verify_report(&text).map_err(|e| e.to_string()))
        {
            Ok(outcome) => outcome,
            Err(error) => return Ok(Outcome::failed(format!("{label}: no report: {error}"))),
        };
        if !ended_well && outcome.failed == 0 {
            outcome.add(&Outcome::failed("the verify command ended with an error"));
        }
        for note in &mut outcome.notes {
            *note = format!("{}: {note}", label.trim());
        }
        Ok(outcome)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
