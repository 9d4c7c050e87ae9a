//! The devices under test: how each is started, weighed and ended. All of a daemon's processes count.

mod config;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::time::ClockId;
use nix::unistd::Pid as ClockPid;
use rustix::process::{Pid, Signal, kill_process};

pub use config::ASN;

use crate::bed::Bed;
use crate::session::Seat;

/// zebra must be there before bgpd, and processes must be gone before the next daemon binds their port.
const PATIENCE: Duration = Duration::from_secs(10);

/// A daemon that the bench can start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// BIRD 2 of the distribution.
    Bird,
    /// weft, from this binary.
    Weft(PathBuf, Variant),
    /// FRR of the distribution: zebra, bgpd and, where a case has BFD, bfdd; tuned: with coalesce-time 0.
    Frr {
        /// No delay before the first UPDATE.
        is_tuned: bool,
    },
    /// GoBGP of the distribution.
    Gobgp,
    /// OpenBGPD of the distribution.
    Openbgpd,
    /// The null router: the ceiling of the test bed with one feeder and one monitor.
    Null,
    /// Writes what weft wrote, from this file: the ceiling for many monitors.
    Ceiling(PathBuf),
}

/// What differs from weft as a spine has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Variant {
    /// `fib: {nexthop_compat: keep}` instead of `fast`.
    pub keeps: bool,
    /// Another program's routes are imported, so that the kernel's routes are listened to.
    pub imports: bool,
}

/// How a daemon runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// It waits for the peers, and leaves the kernel alone.
    Passive,
    /// It waits for the peers, and its routes go into the kernel.
    Installing,
    /// It dials the peers, and leaves the kernel alone.
    Dialling,
}

impl Manner {
    const fn is_passive(self) -> bool {
        match self {
            Self::Passive | Self::Installing => true,
            Self::Dialling => false,
        }
    }

    const fn installs(self) -> bool {
        match self {
            Self::Installing => true,
            Self::Passive | Self::Dialling => false,
        }
    }
}

/// A started daemon; ended when dropped.
#[derive(Debug)]
pub struct Dut {
    children: Vec<Child>,
}

impl Kind {
    /// By its name in tables; `weft` is the binary.
    pub fn named(name: &str, weft: &Path) -> Result<Self> {
        let weft = |keeps, imports| -> Result<Self> {
            let binary = weft.canonicalize().context("no weft binary: give --weft PATH")?;
            Ok(Self::Weft(binary, Variant { keeps, imports }))
        };
        Ok(match name {
            "bird" => Self::Bird,
            "weft" => weft(false, false)?,
            "weft-keep" => weft(true, false)?,
            "weft-import" => weft(false, true)?,
            "weft-keep-import" => weft(true, true)?,
            "frr" => Self::Frr { is_tuned: false },
            "frr-tuned" => Self::Frr { is_tuned: true },
            "gobgp" => Self::Gobgp,
            "openbgpd" => Self::Openbgpd,
            "null" => Self::Null,
            "ceiling" => Self::Ceiling(PathBuf::new()),
            other => {
                bail!(
                    "--dut {other}: not one of bird, weft, weft-keep, weft-import, weft-keep-import, frr, frr-tuned, gobgp, \
                     openbgpd, null, ceiling"
                )
            }
        })
    }

    /// The name in tables.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Bird => "bird",
            Self::Weft(_, Variant { keeps: false, imports: false }) => "weft",
            Self::Weft(_, Variant { keeps: true, imports: false }) => "weft-keep",
            Self::Weft(_, Variant { keeps: false, imports: true }) => "weft-import",
            Self::Weft(_, Variant { keeps: true, imports: true }) => "weft-keep-import",
            Self::Frr { is_tuned: false } => "frr",
            Self::Frr { is_tuned: true } => "frr-tuned",
            Self::Gobgp => "gobgp",
            Self::Openbgpd => "openbgpd",
            Self::Null => "null",
            Self::Ceiling(_) => "ceiling",
        }
    }

    /// Whether it decides anything: the others only show what the test bed allows.
    pub const fn is_daemon(&self) -> bool {
        !matches!(self, Self::Null | Self::Ceiling(_))
    }

    /// Writes the configuration into `dir`, which is the daemon's own, and starts it in the bed.
    pub fn start(&self, bed: &Bed, dir: &Path, manner: Manner, seats: &[Seat]) -> Result<Dut> {
        let mut dut = Dut { children: Vec::new() };
        match self {
            Self::Bird => {
                put(dir, "bird.conf", &config::bird(manner, seats))?;
                dut.spawn(bed, dir, "/usr/sbin/bird", &["-f", "-c", "bird.conf", "-s", "bird.ctl"])?;
            }
            Self::Weft(binary, variant) => {
                let binary = binary.to_str().context("the path of weft is not UTF-8")?;
                put(dir, "weft.yaml", &config::weft(manner, seats, &dir.join("weft.sock"), *variant))?;
                dut.spawn(bed, dir, binary, &["daemon", "--config", "weft.yaml"])?;
            }
            Self::Frr { is_tuned } => dut.spawn_frr(bed, dir, manner, &config::frr(manner, seats, *is_tuned))?,
            Self::Gobgp => {
                put(dir, "gobgp.toml", &config::gobgp(manner, seats))?;
                let api = ["--api-hosts", "127.0.0.1:50051", "--pprof-disable"];
                dut.spawn(bed, dir, "/usr/bin/gobgpd", &[&["-f", "gobgp.toml", "-l", "warn"], &api[..]].concat())?;
            }
            Self::Openbgpd => {
                put(dir, "bgpd.conf", &config::openbgpd(manner, seats, &dir.join("bgpd.sock")))?;
                // It refuses a configuration that others may write or read.
                fs::set_permissions(dir.join("bgpd.conf"), fs::Permissions::from_mode(0o600))?;
                // Its processes lock themselves into this; its unit would make it.
                fs::create_dir_all("/run/openbgpd").context("make /run/openbgpd: OpenBGPD runs as root only")?;
                dut.spawn(bed, dir, "/usr/sbin/bgpd", &["-d", "-f", "bgpd.conf"])?;
            }
            Self::Null => dut.spawn_self(bed, dir, &["--null-router"])?,
            Self::Ceiling(recording) => {
                let recording = recording.to_str().context("the path of the recording is not UTF-8")?;
                dut.spawn_self(bed, dir, &["--ceiling", recording])?;
            }
        }
        Ok(dut)
    }
}

fn put(dir: &Path, name: &str, text: &str) -> Result<()> {
    fs::write(dir.join(name), text).with_context(|| format!("write {name}"))
}

impl Dut {
    /// A program that is no BGP daemon, in the bed; it says what it has to say in `dir/log`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn of(bed: &Bed, dir: &Path, program: &str, arguments: &[&str]) -> Result<Self> {
        let mut dut = Self { children: Vec::new() };
        dut.spawn(bed, dir, program, arguments)?;
        Ok(dut)
    }

    fn spawn(&mut self, bed: &Bed, dir: &Path, program: &str, arguments: &[&str]) -> Result<()> {
        let log = fs::OpenOptions::new().create(true).append(true).open(dir.join("log"))?;
        let mut command = Command::new(program);
        command.args(arguments).current_dir(dir);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.children.push(bed.spawn(&mut command)?);
        Ok(())
    }

    fn spawn_self(&mut self, bed: &Bed, dir: &Path, arguments: &[&str]) -> Result<()> {
        let program = std::env::current_exe()?;
        self.spawn(bed, dir, program.to_str().context("the path of this program is not UTF-8")?, arguments)
    }

    /// zebra first: bgpd asks it for interfaces. As root they change to the user `frr`, who must be able to write here.
    fn spawn_frr(&mut self, bed: &Bed, dir: &Path, manner: Manner, bgpd: &str) -> Result<()> {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o777))?;
        put(dir, "zebra.conf", "log file zebra.log warnings\n")?;
        put(dir, "bgpd.conf", bgpd)?;
        let common = ["-z", "zserv", "--vty_socket", "."];
        let zebra = ["-f", "zebra.conf", "-i", "zebra.pid"];
        self.spawn(bed, dir, "/usr/lib/frr/zebra", &[&common[..], &zebra].concat())?;
        let end = Instant::now() + PATIENCE;
        while !dir.join("zserv").exists() {
            ensure!(Instant::now() < end, "zebra does not start");
            std::thread::sleep(Duration::from_millis(10));
        }
        if bgpd.contains(" bfd ") {
            let bfdd = ["-i", "bfdd.pid", "--bfdctl", "bfdd.sock"];
            self.spawn(bed, dir, "/usr/lib/frr/bfdd", &[&common[..], &bfdd].concat())?;
        }
        let mut arguments = [&common[..], &["-f", "bgpd.conf", "-i", "bgpd.pid"]].concat();
        arguments.extend(["-l", "10.0.0.1", "-l", "10.1.0.1"]);
        if !manner.installs() {
            arguments.push("-n");
        }
        self.spawn(bed, dir, "/usr/lib/frr/bgpd", &arguments)
    }

    /// Its processes and theirs.
    fn processes(&self) -> BTreeSet<u32> {
        let mut all = BTreeSet::new();
        let mut left: Vec<u32> = self.children.iter().map(Child::id).collect();
        while let Some(process) = left.pop() {
            if all.insert(process) {
                for task in fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten() {
                    let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
                    left.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
                }
            }
        }
        all
    }

    /// CPU time so far of all threads, those that have ended among them (s).
    pub fn cpu_s(&self) -> Result<f64> {
        let mut all = Duration::ZERO;
        for process in self.processes() {
            let clock = ClockId::pid_cpu_clock_id(ClockPid::from_raw(i32::try_from(process)?))?;
            all += Duration::from(clock.now()?);
        }
        Ok(all.as_secs_f64())
    }

    /// Prefixes in the kernel's main IPv4 trie, which it may share with the local one, of the daemon's namespace. The kernel walks it
    /// for that: not to be asked without pause.
    pub fn kernel_prefixes(&self) -> Result<usize> {
        let first = self.children.first().context("no daemon")?.id();
        let text = fs::read_to_string(format!("/proc/{first}/net/fib_triestat"))?;
        let (_, main) = text.split_once("Main:").context("no main trie")?;
        let count = main.lines().find_map(|line| line.trim().strip_prefix("Prefixes:"));
        Ok(count.context("no count of prefixes")?.trim().parse()?)
    }

    /// A `kB` field of /proc/PID/status, in MB, of all processes together: VmHWM is the peak RSS, VmRSS the present one.
    pub fn memory_mb(&self, field: &str) -> Result<f64> {
        let mut kilobytes = 0.0;
        for process in self.processes() {
            let status = fs::read_to_string(format!("/proc/{process}/status"))?;
            let line = status.lines().find(|line| line.starts_with(field)).context("no such memory field")?;
            kilobytes += line.split_whitespace().nth(1).context("no memory")?.parse::<f64>()?;
        }
        Ok(kilobytes / 1_024.0)
    }
}

impl Drop for Dut {
    fn drop(&mut self) {
        // Children of a daemon hold its port as well. Signals fail only where the process is gone already, which is the aim.
        let all = self.processes();
        for pid in all.iter().filter_map(|process| Pid::from_raw(i32::try_from(*process).ok()?)) {
            let _ = kill_process(pid, Signal::KILL);
        }
        for child in &mut self.children {
            let _ = child.wait();
        }
        let end = Instant::now() + PATIENCE;
        while all.iter().any(|process| Path::new(&format!("/proc/{process}")).exists()) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
