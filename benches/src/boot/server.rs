//! The boot servers under test: configured for the same plant, started, ended.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::plant::{Client, EACH, LENT, PREFIX, RACKS, SERVICE, clients, place, relay};
use crate::bed::Bed;
use crate::dut::Dut;

/// Machines are registered within this, and etcd answers.
const PATIENCE: Duration = Duration::from_secs(60);
/// Machines that `weft-netboot machines register` takes at a time.
const TOGETHER: usize = 60;
/// Seconds of a lease, everywhere.
const LEASE_S: u32 = 3_600;

/// A server that the bench can start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `weft-netboot`, from this binary.
    Weft {
        /// The program.
        binary: PathBuf,
        /// On etcd instead of its own file.
        is_on_etcd: bool,
    },
    /// Kea of the distribution, with its lease file.
    Kea {
        /// With threads for packets, as many as there are processors.
        is_threaded: bool,
    },
    /// dnsmasq of the distribution.
    Dnsmasq,
    /// Answers everybody the same: what the test bed allows.
    Mirror,
}

/// Where it runs.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The namespaces.
    pub bed: &'a Bed,
    /// Its directory.
    pub dir: &'a Path,
    /// Processors, as `taskset -c` has them.
    pub cpus: &'a str,
}

/// A server that runs, with what it needs.
#[derive(Debug)]
pub struct Running {
    /// The server alone.
    pub server: Dut,
    /// The store beside it.
    pub store: Option<Dut>,
}

impl Kind {
    /// By its name in tables; `weft` is the binary.
    ///
    /// # Errors
    /// When there is no such server, or no such file.
    pub fn named(name: &str, weft: &Path) -> Result<Self> {
        let weft = |is_on_etcd| -> Result<Self> {
            let binary = weft.canonicalize().context("no weft-netboot: give --weft-netboot PATH")?;
            Ok(Self::Weft { binary, is_on_etcd })
        };
        Ok(match name {
            "weft" => weft(false)?,
            "weft-etcd" => weft(true)?,
            "kea" => Self::Kea { is_threaded: false },
            "kea-mt" => Self::Kea { is_threaded: true },
            "dnsmasq" => Self::Dnsmasq,
            "mirror" => Self::Mirror,
            other => bail!("--dut {other}: not one of weft, weft-etcd, kea, kea-mt, dnsmasq, mirror"),
        })
    }

    /// The name in tables.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Weft { is_on_etcd: false, .. } => "weft",
            Self::Weft { is_on_etcd: true, .. } => "weft-etcd",
            Self::Kea { is_threaded: false } => "kea",
            Self::Kea { is_threaded: true } => "kea-mt",
            Self::Dnsmasq => "dnsmasq",
            Self::Mirror => "mirror",
        }
    }

    /// Writes its configuration, starts it and tells it who is registered.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(&self, at: &Place<'_>) -> Result<Running> {
        fs::create_dir_all(at.dir)?;
        let file = |name: &str| at.dir.join(name).to_string_lossy().into_owned();
        match self {
            Self::Weft { binary, is_on_etcd } => {
                let store = is_on_etcd.then(|| etcd(at)).transpose()?;
                fs::write(at.dir.join("netboot.yaml"), weft(at.dir, *is_on_etcd))?;
                let binary = binary.to_str().context("the path of weft-netboot is not UTF-8")?;
                let server = pinned(at, binary, &["serve", "--config", "netboot.yaml"])?;
                tell(at, binary)?;
                Ok(Running { server, store })
            }
            Self::Kea { is_threaded } => {
                fs::write(at.dir.join("kea.json"), kea(at.dir, *is_threaded))?;
                let folder = format!("KEA_LOCKFILE_DIR={0}", at.dir.display());
                let pid = format!("KEA_PIDFILE_DIR={}", at.dir.display());
                let server = pinned(at, "env", &[&folder, &pid, "kea-dhcp4", "-c", &file("kea.json")])?;
                Ok(Running { server, store: None })
            }
            Self::Dnsmasq => {
                fs::write(at.dir.join("dnsmasq.conf"), dnsmasq(at.dir))?;
                let server = pinned(at, "dnsmasq", &["-k", "-C", &file("dnsmasq.conf")])?;
                Ok(Running { server, store: None })
            }
            Self::Mirror => {
                let own = std::env::current_exe()?;
                let own = own.to_str().context("the path of this program is not UTF-8")?;
                Ok(Running { server: pinned(at, own, &["--mirror"])?, store: None })
            }
        }
    }
}

fn pinned(at: &Place<'_>, program: &str, arguments: &[&str]) -> Result<Dut> {
    Dut::of(at.bed, at.dir, "taskset", &[&["-c", at.cpus, program][..], arguments].concat())
}

fn weft(dir: &Path, is_on_etcd: bool) -> String {
    let dir = dir.display();
    let store = match is_on_etcd {
        true => "{etcd: {endpoints: ['http://127.0.0.1:2379']}}".to_owned(),
        false => format!("{{embedded: {dir}/inventory.redb}}"),
    };
    format!("store: {store}\nsocket: {dir}/s\ndhcp: {{address: {SERVICE}, name: bench}}\n")
}

/// The plans, with a switch for each rack, and the machines, by the command line.
fn tell(at: &Place<'_>, binary: &str) -> Result<()> {
    let ipam = format!(
        "{{max_nodes_in_rack: 28, node_index_offset: 3, node_networks: 2, node: [{{prefix: {PREFIX}, range_bits: 6, mask: 26, \
         gateway_offset: 1}}]}}\n"
    );
    let mut plan = "asn: {per_rack: {base: 4200000000}}\nswitches:\n".to_owned();
    let mut machines = Vec::new();
    for rack in 0..RACKS {
        let [_, _, high, low] = rack.to_be_bytes();
        let _ = writeln!(
            plan,
            "  s{rack}: {{rack: {rack}, network: 1, addresses: [10.68.{high}.{low}/32], uplinks: {{spine: {{asn: 64599, address: 10.73.{high}.{low}}}}}}}"
        );
        for number in 0..EACH {
            let mac = Client { rack, number, is_known: true }.mac_text();
            machines
                .push(format!("- {{serial: S{rack}-{number}, rack: {rack}, role: cs, ids: {{macs: ['{mac}']}}}}\n"));
        }
    }
    weft_says(at, binary, &["ipam", "set"], &ipam)?;
    weft_says(at, binary, &["plan", "set"], &plan)?;
    machines.chunks(TOGETHER).try_for_each(|some| weft_says(at, binary, &["machines", "register"], &some.concat()))
}

/// One command with its file, as soon as the server listens.
fn weft_says(at: &Place<'_>, binary: &str, words: &[&str], text: &str) -> Result<()> {
    let file = at.dir.join("told.yaml");
    fs::write(&file, text)?;
    let end = Instant::now() + PATIENCE;
    loop {
        let done = Command::new(binary).arg("--socket").arg(at.dir.join("s")).args(words).arg(&file).output()?;
        if done.status.success() {
            return Ok(());
        }
        // 3: it does not listen yet.
        let says = String::from_utf8_lossy(&done.stderr);
        ensure!(done.status.code() == Some(3) && Instant::now() < end, "{words:?}: {says}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// One member, on the processors of the server.
fn etcd(at: &Place<'_>) -> Result<Dut> {
    let dir = at.dir.join("etcd");
    let dir = dir.to_string_lossy();
    let urls = ["--listen-client-urls", "http://127.0.0.1:2379", "--advertise-client-urls", "http://127.0.0.1:2379"];
    pinned(at, "etcd", &[&["--data-dir", &dir, "--log-level", "error"][..], &urls].concat())
}

fn kea(dir: &Path, is_threaded: bool) -> String {
    let dir = dir.display();
    let mut subnets = Vec::new();
    for rack in 0..RACKS {
        let hosts = (0..EACH).filter_map(|number| {
            let client = Client { rack, number, is_known: true };
            Some(format!("{{\"hw-address\": \"{}\", \"ip-address\": \"{}\"}}", client.mac_text(), client.address()?))
        });
        subnets.push(format!(
            "{{\"id\": {}, \"subnet\": \"{}/26\", \"pools\": [{{\"pool\": \"{} - {}\"}}], \"reservations-out-of-pool\": true,\n \
             \"option-data\": [{{\"name\": \"routers\", \"data\": \"{}\"}}], \"reservations\": [{}]}}",
            rack + 1,
            place(rack, 0),
            place(rack, LENT.0),
            place(rack, LENT.1),
            relay(rack),
            hosts.collect::<Vec<_>>().join(", ")
        ));
    }
    format!(
        "{{\"Dhcp4\": {{\"interfaces-config\": {{\"interfaces\": [\"dut0/{SERVICE}\"], \"dhcp-socket-type\": \"udp\"}},\n\
         \"lease-database\": {{\"type\": \"memfile\", \"persist\": true, \"name\": \"{dir}/leases.csv\", \"lfc-interval\": 0}},\n\
         \"multi-threading\": {{\"enable-multi-threading\": {is_threaded}}}, \"valid-lifetime\": {LEASE_S}, \"authoritative\": true,\n\
         \"host-reservation-identifiers\": [\"hw-address\"], \"reservations-global\": false,\n\
         \"loggers\": [{{\"name\": \"kea-dhcp4\", \"severity\": \"ERROR\", \"output_options\": [{{\"output\": \"{dir}/kea.log\"}}]}}],\n\
         \"subnet4\": [\n{}]}}}}\n",
        subnets.join(",\n")
    )
}

fn dnsmasq(dir: &Path) -> String {
    let dir = dir.display();
    let mut out = format!(
        "port=0\ninterface=dut0\nno-ping\nquiet-dhcp\ndhcp-authoritative\nuser=root\npid-file={dir}/pid\nlog-facility={dir}/dnsmasq.log\n\
         dhcp-leasefile={dir}/leases\ndhcp-lease-max=100000\n"
    );
    for rack in 0..RACKS {
        let (first, last) = (place(rack, LENT.0), place(rack, LENT.1));
        let _ = writeln!(out, "dhcp-range=set:r{rack},{first},{last},255.255.255.192,{LEASE_S}");
        let _ = writeln!(out, "dhcp-option=tag:r{rack},option:router,{}", relay(rack));
    }
    for client in clients(true) {
        if let Some(address) = client.address() {
            let _ = writeln!(out, "dhcp-host={},{address}", client.mac_text());
        }
    }
    out
}
