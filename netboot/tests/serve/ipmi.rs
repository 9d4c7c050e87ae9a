//! Controllers that know IPMI and no Redfish: `ipmi_sim` of OpenIPMI, with a shell script for a machine, knows cipher suite 3; one that is written
//! here from the text knows 17, and `ipmitool` says that it does.

#[path = "../../src/bmc/ipmi/session/peer.rs"]
mod peer;

use super::bmc::{PASSWORD, with_bmc};
use super::{LIMIT, Server};
use peer::Peer;
use serde_json::json;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Ends with its test.
struct Simulator {
    child: Child,
    folder: PathBuf,
}

impl Drop for Simulator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a program is there; who runs without it is told.
fn is_installed(program: &str, package: &str) -> bool {
    let there = ["/usr/bin", "/usr/local/bin"].iter().any(|folder| PathBuf::from(folder).join(program).exists());
    if !there {
        println!("SKIPPED: no program `{program}` (Debian: {package}): IPMI is not tested against it");
    }
    there
}

/// A port that is free now.
fn port(address: &str) -> u16 {
    UdpSocket::bind((address, 0)).unwrap().local_addr().unwrap().port()
}

impl Simulator {
    fn start(server: &Server, address: &str, port: u16) -> Self {
        let folder = server.path("ipmi");
        std::fs::create_dir_all(&folder).unwrap();
        let script = folder.join("chassis.sh");
        // `MC get WHAT…` prints WHAT:VALUE; `MC set WHAT VALUE…`. A machine that is told to shut down does.
        let text = format!(
            "#!/bin/sh\ncd {}\nshift\ncase $1 in\nget) shift; for what; do echo $what:$(cat $what); done;;\n\
             set) shift; while [ $# -gt 1 ]; do echo \"$1 $2\" >> log; case $1 in shutdown) echo 0 > power;; *) echo $2 > $1;; esac; shift 2; done;;\nesac\n",
            folder.display()
        );
        std::fs::write(&script, text).unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::write(folder.join("power"), "0\n").unwrap();
        std::fs::write(folder.join("boot"), "default\n").unwrap();
        let lan = format!(
            "name \"m0\"\nset_working_mc 0x20\n  startlan 1\n    addr {address} {port}\n    priv_limit admin\n    \
             allowed_auths_admin none md2 md5 straight\n    guid 00112233445566778899aabbccddeeff\n  endlan\n  \
             chassis_control \"{} 0x20\"\n  user 2 true \"root\" \"{}\" admin 10 none md2 md5 straight\n",
            script.display(),
            PASSWORD
        );
        std::fs::write(folder.join("lan.conf"), lan).unwrap();
        let mc = "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02\nmc_enable 0x20\n";
        std::fs::write(folder.join("emu.cmd"), mc).unwrap();
        let child = Command::new("ipmi_sim")
            .current_dir(&folder)
            .args(["-c", "lan.conf", "-f", "emu.cmd", "-s", "state", "-n"])
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(folder.join("out")).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, folder }
    }

    fn says(&self, what: &str) -> String {
        std::fs::read_to_string(self.folder.join(what)).unwrap_or_default().trim().to_owned()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_without_redfish_is_asked_by_ipmi_and_that_is_remembered() {
    if !is_installed("ipmi_sim", "openipmi") {
        return;
    }
    let port = port("127.72.7.4");
    let (server, controller) = with_bmc("ipmi", 7, &json!({ "ipmi_port": port })).await;
    controller.0.lock().unwrap().hidden = true;
    let simulator = Simulator::start(&server, "127.72.7.4", port);
    let began = Instant::now();
    let (code, out, error) = server.run(&["bmc", "power", "on", "m0", "--wait"]);
    assert_eq!(code, 0, "{out}{error}{}", server.log());
    assert!(began.elapsed() < LIMIT && out.contains("on: done, is on"), "{out}");
    assert!(out.contains(&format!("127.72.7.4:{port}")), "it is said where it is asked: {out}");
    assert_eq!(simulator.says("power"), "1");
    let asked = controller.0.lock().unwrap().asked.len();
    // It keeps the device of the boot flags and not their bit "valid" (table 28-14): what a controller does not say is not done.
    let (code, out, error) = server.run(&["bmc", "boot", "pxe", "m0"]);
    assert!(code == 1 && out.contains("still says that firmware boots as set up"), "{out}{error}");
    assert_eq!(simulator.says("boot"), "pxe");
    let (code, out, error) = server.run(&["bmc", "power", "off", "m0", "--wait"]);
    assert_eq!(code, 0, "{out}{error}");
    assert!(simulator.says("log").contains("shutdown 1"), "soft comes first: {}", simulator.says("log"));
    assert_eq!(simulator.says("power"), "0");
    let (code, out, error) = server.run(&["bmc", "boot", "http", "m0"]);
    assert!(code == 1 && out.contains("IPMI has no word for a boot by HTTP"), "{out}{error}");
    assert_eq!(controller.0.lock().unwrap().asked.len(), asked, "Redfish is not asked again");
    assert!(!server.log().contains(PASSWORD));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_by_ipmi_is_shown_once() {
    if !is_installed("ipmi_sim", "openipmi") {
        return;
    }
    let port = port("127.72.8.4");
    let (server, controller) = with_bmc("ipmi-secret", 8, &json!({ "ipmi": "only", "ipmi_port": port })).await;
    let simulator = Simulator::start(&server, "127.72.8.4", port);
    assert_eq!(server.get("/v1/bmc/m0?ask=true").await.1["reading"]["power"], "off", "{}", simulator.says("out"));
    std::fs::write(server.path("secret"), json!({ "user": "root", "password": "wrong" }).to_string()).unwrap();
    for again in ["", "not tried again for"] {
        let (status, error) = server.get("/v1/bmc/m0?ask=true").await;
        assert_eq!(status, 502);
        assert!(
            error.to_string().contains("refuses the credentials of root") && error.to_string().contains(again),
            "{error}"
        );
    }
    assert_eq!(controller.0.lock().unwrap().asked.len(), 0, "`only`: Redfish is never asked");
}

/// The controller of [`peer`], at a port; ends with its test.
struct Port {
    peer: Arc<Mutex<Peer>>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Port {
    fn open(address: &str, port: u16, mut peer: Peer) -> Self {
        peer.password = PASSWORD.as_bytes().to_vec();
        let (peer, ends) = (Arc::new(Mutex::new(peer)), Arc::new(AtomicBool::new(false)));
        let socket = UdpSocket::bind((address, port)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let (heard, ended) = (peer.clone(), ends.clone());
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 1024];
            while !ended.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
                if let Some(answer) = heard.lock().unwrap().hear(&buffer[..length]) {
                    socket.send_to(&answer, from).unwrap();
                }
            }
        });
        Self { peer, ends, thread: Some(thread) }
    }

    fn peer(&self) -> MutexGuard<'_, Peer> {
        self.peer.lock().unwrap()
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(
            std::thread::panicking() || matches!(ended, Some(Ok(()))),
            "the controller heard what it does not know"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_and_boot_by_cipher_suite_17() {
    let udp = port("127.72.9.4");
    let (server, _) = with_bmc("ipmi-17", 9, &json!({ "ipmi": "only", "ipmi_port": udp })).await;
    let port = Port::open("127.72.9.4", udp, Peer::new(true));
    let (code, out, error) = server.run(&["bmc", "power", "on", "m0", "--wait"]);
    assert_eq!(code, 0, "{out}{error}{}", server.log());
    assert!(port.peer().on && out.contains("on: done, is on"), "{out}");
    let (code, out, error) = server.run(&["bmc", "boot", "pxe", "m0"]);
    assert!(code == 0 && out.contains("pxe once"), "{out}{error}");
    let opens = port.peer().seen.iter().filter(|kind| **kind == 0x10).count();
    assert_eq!(opens, 1, "17 is offered first, and one session is made for all");
    // Controllers have few sessions: one that nobody uses is ended.
    let began = Instant::now();
    while !port.peer().k1.is_empty() {
        assert!(began.elapsed() < Duration::from_secs(60), "the session stays open");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// `ipmitool` has no part in this repository: what it takes for a controller is one.
#[test]
fn the_controller_of_these_tests_is_one_to_ipmitool() {
    if !is_installed("ipmitool", "ipmitool") {
        return;
    }
    for (sha256, suite) in [(true, "17"), (false, "3")] {
        let udp = port("127.72.10.4");
        let port = Port::open("127.72.10.4", udp, Peer::new(sha256));
        let ask = |words: &[&str]| {
            let to = udp.to_string();
            let head = ["-I", "lanplus", "-H", "127.72.10.4", "-p", &to, "-U", "root", "-P", PASSWORD, "-C", suite];
            let output = Command::new("ipmitool").args(head).args(words).stdin(Stdio::null()).output().unwrap();
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8_lossy(&said).into_owned();
            assert!(output.status.success(), "{suite}: {words:?}: {said}");
            said
        };
        assert!(ask(&["chassis", "power", "status"]).contains("Power is off"));
        ask(&["chassis", "power", "on"]);
        assert!(port.peer().on);
        port.peer().flags = [0xa0, 0x04, 0, 0, 0];
        let said = ask(&["chassis", "bootparam", "get", "5"]);
        for word in ["Boot Flag Valid", "only next boot", "EFI boot", "Force PXE"] {
            assert!(said.contains(word), "{word}: {said}");
        }
    }
}
