//! The devices under test: how each is configured, started, weighed and ended.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::bed::Bed;

/// A daemon that the bench can start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// BIRD 2 of the distribution.
    Bird,
    /// weft, from this binary.
    Weft(PathBuf),
    /// The null router: the ceiling of the test bed.
    Null,
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
    child: Child,
}

impl Kind {
    /// The name in tables.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Bird => "bird",
            Self::Weft(_) => "weft",
            Self::Null => "null",
        }
    }

    /// Writes the configuration into `dir` and starts the daemon in the bed.
    pub fn start(&self, bed: &Bed, dir: &Path, manner: Manner) -> Result<Dut> {
        let mut command = match self {
            Self::Bird => {
                let config = dir.join("bird.conf");
                fs::write(&config, bird_config(manner))?;
                let mut command = Command::new("/usr/sbin/bird");
                command.arg("-f").arg("-c").arg(config).arg("-s").arg(dir.join("bird.ctl"));
                command
            }
            Self::Weft(binary) => {
                let config = dir.join("weft.yaml");
                fs::write(&config, weft_config(manner, &dir.join("weft.sock")))?;
                let mut command = Command::new(binary);
                command.arg("daemon").arg("--config").arg(config);
                command
            }
            Self::Null => {
                let mut command = Command::new(std::env::current_exe()?);
                command.arg("--null-router");
                command
            }
        };
        let log = fs::File::create(dir.join("log"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(Dut { child: bed.spawn(&mut command)? })
    }
}

impl Dut {
    /// CPU time of all threads so far (s).
    pub fn cpu_s(&self) -> Result<f64> {
        let mut nanoseconds = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let text = fs::read_to_string(task?.path().join("schedstat"))?;
            nanoseconds += text.split(' ').next().unwrap_or("0").parse::<u64>()?;
        }
        Ok(std::time::Duration::from_nanos(nanoseconds).as_secs_f64())
    }

    /// Prefixes in the kernel's main IPv4 trie, which it may share with the local one, of the daemon's namespace. The kernel walks it
    /// for that: not to be asked without pause.
    pub fn kernel_prefixes(&self) -> Result<usize> {
        let text = fs::read_to_string(format!("/proc/{}/net/fib_triestat", self.child.id()))?;
        let (_, main) = text.split_once("Main:").context("no main trie")?;
        let count = main.lines().find_map(|line| line.trim().strip_prefix("Prefixes:"));
        Ok(count.context("no count of prefixes")?.trim().parse()?)
    }

    /// A `kB` field of /proc/PID/status, in MB: VmHWM is the peak RSS, VmRSS the present one.
    pub fn memory_mb(&self, field: &str) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|line| line.starts_with(field)).context("no such memory field")?;
        let Some(kilobytes) = line.split_whitespace().nth(1) else {
            bail!("{line}");
        };
        Ok(kilobytes.parse::<f64>()? / 1_024.0)
    }
}

impl Drop for Dut {
    fn drop(&mut self) {
        // Both fail only if the daemon is gone already, which is the aim.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn bird_config(manner: Manner) -> String {
    let mode = if manner.is_passive() { "passive yes;" } else { "connect delay time 1; connect retry time 1;" };
    let kernel = if manner.installs() {
        "protocol kernel { ipv4 { import none; export all; }; merge paths yes limit 64; }\n"
    } else {
        ""
    };
    format!(
        "router id 10.0.0.1;\nprotocol device {{ }}\n{kernel}template bgp T {{\n  {mode} hold time 180; check link yes;\n  \
         ipv4 {{ import all; export all; next hop self; }};\n}}\n\
         protocol bgp p0 from T {{ local 10.0.0.1 as 65000; neighbor 10.0.1.1 as 4200000001; }}\n\
         protocol bgp p1 from T {{ local 10.1.0.1 as 65000; neighbor 10.1.0.2 as 4200000002; }}\n"
    )
}

fn weft_config(manner: Manner, socket: &Path) -> String {
    let (passive, install) = (manner.is_passive(), manner.installs());
    format!(
        "role: spine\nasn: 65000\nrouter_id: 10.0.0.1\npeers:\n  \
         feeder: {{address: 10.0.1.1, remote_asn: 4200000001, passive: {passive}}}\n  \
         monitor: {{address: 10.1.0.2, remote_asn: 4200000002, passive: {passive}}}\n\
         fib: {{install: {install}}}\ntimers: {{hold_s: 180, connect_retry_ms: 1000}}\napi: {{socket: {}}}\n",
        socket.display()
    )
}
