//! The test bed: two network namespaces of our own, joined by two veth pairs. The device under test lives in one, this
//! process in the other. Both vanish with the process; nothing outside is touched.

use std::fs::File;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

/// Addresses of the two links: (device under test, generator).
pub const LINKS: [([u8; 4], [u8; 4]); 2] = [([10, 0, 0, 1], [10, 0, 1, 1]), ([10, 1, 0, 1], [10, 1, 0, 2])];

/// Addresses of the generator on the first link: as many peers as the largest case has.
pub const PEERS: u16 = 1_000;

/// Hardware addresses of the generator's ends, but for the last digit.
const GENERATOR_MAC: &str = "02:00:00:00:00:0";

/// The address of peer `number`: 10.0.1.1 and the following.
pub fn peer_address(number: u16) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::from(LINKS[0].1).to_bits() + u32::from(number))
}

/// The two namespaces.
#[derive(Debug)]
pub struct Bed {
    dut: File,
    generator: File,
}

impl Bed {
    /// Makes both namespaces and leaves the calling thread in the generator's. Call before any other thread exists.
    pub fn new() -> Result<Self> {
        if !rustix::process::geteuid().is_root() {
            become_root()?;
        }
        let dut = new_namespace()?;
        ip("link set lo up")?;
        let generator = new_namespace()?;
        ip("link set lo up")?;
        let path = format!("/proc/{}/fd/{}", std::process::id(), dut.as_raw_fd());
        for (number, (_, ours)) in LINKS.iter().enumerate() {
            let [a, b, c, d] = ours;
            ip(&format!("link add gen{number} address {GENERATOR_MAC}{number} type veth peer name dut{number}"))?;
            ip(&format!("link set dut{number} netns {path}"))?;
            ip(&format!("addr add {a}.{b}.{c}.{d}/16 dev gen{number}"))?;
            ip(&format!("link set gen{number} up"))?;
        }
        let more = (1..PEERS).map(|number| format!("addr add {}/16 dev gen0\n", peer_address(number)));
        ip_batch(&more.collect::<String>())?;
        let bed = Self { dut, generator };
        bed.inside_dut(|| {
            for (number, ([a, b, c, d], _)) in LINKS.iter().enumerate() {
                ip(&format!("addr add {a}.{b}.{c}.{d}/16 dev dut{number}"))?;
                ip(&format!("link set dut{number} up"))?;
            }
            // The kernel keeps about a thousand learnt neighbours for all namespaces together: ours are told.
            let neigh = |number| {
                format!("neigh replace {} lladdr {GENERATOR_MAC}0 dev dut0 nud permanent\n", peer_address(number))
            };
            ip_batch(&(0..PEERS).map(neigh).collect::<String>())
        })?;
        Ok(bed)
    }

    /// Starts a program in the namespace of the device under test.
    pub fn spawn(&self, command: &mut Command) -> Result<Child> {
        self.inside_dut(|| command.spawn().with_context(|| format!("start {command:?}")))
    }

    /// Opens something in the namespace of the device under test.
    pub fn in_dut<T>(&self, open: impl FnOnce() -> Result<T>) -> Result<T> {
        self.inside_dut(open)
    }

    /// Takes away the routes that a daemon left in the kernel, and its nexthop objects with theirs; connected ones stay.
    pub fn clean(&self) -> Result<()> {
        self.inside_dut(|| {
            ip("nexthop flush")?;
            ip("route flush table main scope global")
        })
    }

    /// Runs `work` with this thread in the namespace of the device under test.
    fn inside_dut<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        move_into_link_name_space(self.dut.as_fd(), Some(LinkNameSpaceType::Network))?;
        let result = work();
        move_into_link_name_space(self.generator.as_fd(), Some(LinkNameSpaceType::Network))?;
        result
    }
}

/// Enters a new user namespace in which the caller is root, so that no privilege is needed.
fn become_root() -> Result<()> {
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    unshare(UnshareFlags::NEWUSER).context("unprivileged user namespaces are off: run as root")?;
    std::fs::write("/proc/self/setgroups", "deny")?;
    std::fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    std::fs::write("/proc/self/gid_map", format!("0 {gid} 1"))?;
    Ok(())
}

fn new_namespace() -> Result<File> {
    unshare(UnshareFlags::NEWNET).context("new network namespace")?;
    Ok(File::open("/proc/thread-self/ns/net")?)
}

fn unshare(flags: UnshareFlags) -> Result<()> {
    #[expect(unsafe_code, reason = "unshare(2) has no safe wrapper")]
    // SAFETY: only FILES is hazardous (descriptors diverge between threads), and it is never passed.
    unsafe {
        unshare_unsafe(flags)?;
    }
    Ok(())
}

/// Many commands in one process.
fn ip_batch(commands: &str) -> Result<()> {
    let mut child = Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn()?;
    child.stdin.take().context("no pipe to ip")?.write_all(commands.as_bytes())?;
    ensure!(child.wait()?.success(), "ip -batch failed");
    Ok(())
}

/// One command of iproute2 in the namespace of the thread.
pub(crate) fn ip(arguments: &str) -> Result<()> {
    let status = Command::new("ip").args(arguments.split(' ')).status().context("run ip (iproute2)")?;
    ensure!(status.success(), "ip {arguments}: {status}");
    Ok(())
}
