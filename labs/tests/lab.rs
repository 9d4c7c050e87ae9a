//! The lab runner as a person uses it: the real program, real namespaces, and nothing left afterwards.
//!
//! Each test has a topology and a lab name of its own, so they run in parallel, and beside other runs of themselves. They
//! run as whoever starts them; where the system refuses namespaces, that is said and the tests are skipped. Routes come
//! from the topology's `exec:` and need `ip`; what does not need it is tested without.
#![expect(clippy::unwrap_used, reason = "a lab that cannot be asked has failed the test")]
#![expect(clippy::print_stdout, reason = "a skip is said aloud")]
#![expect(clippy::disallowed_types, clippy::disallowed_methods, reason = "polls other processes with a deadline")]

#[path = "shared/lab.rs"]
mod shared;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use shared::{Lab, PROGRAM, all_networks, network, wait};
use weft_fabric::io::files::lab_root;
use weft_labs::lab::home;

fn record(lab: &Lab) -> home::Record {
    home::record(&lab_root(), &lab.name).unwrap()
}

#[test]
fn a_node_is_a_machine_of_its_own() {
    let Some(lab) = Lab::new("machine") else { return };
    assert_eq!(lab.shell("a", "hostname").trim(), "a");
    assert_eq!(lab.shell("b", "id -u").trim(), "0");
    assert!(lab.shell("a", "cat /proc/1/cmdline | tr '\\0' ' '").contains("node-init"));
    assert_eq!(lab.shell("a", "ls /sys/class/net | tr '\\n' ' '").trim(), "eth0 lo");
    assert_eq!(lab.shell("b", "ls /sys/class/net | tr '\\n' ' '").trim(), "eth0 lo rack");
    assert_eq!(lab.shell("a", "cat /sys/class/net/eth0/mtu").trim(), "1400");
    // binds to places that the host does not have, one of them read only
    assert!(lab.shell("a", "cat /config/deep/file").contains(&lab.name));
    assert!(lab.shell("a", "cat /opt/weft-test/file").contains(&lab.name));
    assert!(!lab.run(&["exec", &lab.at("a"), "--", "sh", "-c", "echo x >> /config/deep/file"]).status.success());
    assert!(!Path::new("/config/deep").exists() && !Path::new("/opt/weft-test").exists());
    // what it writes is not the host's
    lab.shell("a", "echo x > /etc/weft-was-here; echo x > /tmp/weft-was-here; echo x > /run/weft-was-here");
    for folder in ["/etc", "/tmp", "/run"] {
        assert!(!Path::new(folder).join("weft-was-here").exists(), "{folder}");
    }
    // but its folder is seen from both sides
    lab.shell("a", "echo hello > /run/weft/hello");
    assert_eq!(fs::read_to_string(lab_root().join(&lab.name).join("a/hello")).unwrap(), "hello\n");
}

#[test]
fn settings_make_a_router_of_it() {
    let Some(lab) = Lab::new("settings") else { return };
    let read = |node: &str, key: &str| lab.shell(node, &format!("cat /proc/sys/net/{key}")).trim().to_owned();
    assert_eq!(read("a", "ipv4/ip_forward"), "1");
    assert_eq!(read("a", "ipv4/fib_multipath_hash_policy"), "1");
    assert_eq!(read("a", "ipv6/conf/eth0/forwarding"), "1");
    assert_eq!(read("a", "ipv6/conf/eth0/accept_dad"), "0");
    assert_eq!(read("a", "ipv6/conf/eth0/keep_addr_on_down"), "1");
    assert_eq!(read("b", "ipv4/conf/eth0/forwarding"), "0", "the file's own settings come last");
    if Path::new("/proc/sys/net/ipv4/fib_multipath_hash_seed").exists() {
        assert_ne!(read("a", "ipv4/fib_multipath_hash_seed"), read("b", "ipv4/fib_multipath_hash_seed"));
    }
    // link-local addresses are usable at once: flags of /proc/net/if_inet6 have no tentative bit (0x40)
    let flags = lab.shell("a", "grep eth0 /proc/net/if_inet6 | awk '{print $5}' | sort -u");
    assert!(flags.lines().all(|flags| u32::from_str_radix(flags, 16).unwrap() & 0x40 == 0), "{flags}");
}

#[test]
fn links_and_daemons_break_and_mend_one_by_one() {
    let Some(lab) = Lab::new("break") else { return };
    let carrier = || lab.shell("b", "cat /sys/class/net/eth0/carrier").trim().to_owned();
    assert_eq!(carrier(), "1");
    lab.good(&["link", "down", &lab.name, "a:eth0"]);
    wait("the far end loses carrier", || carrier() == "0");
    lab.good(&["link", "up", &lab.name, "a:eth0"]);
    wait("the far end has carrier again", || carrier() == "1");
    assert!(lab.bad(&["link", "up", &lab.name, "a:eth7"]).contains("no interface `eth7`"));

    let state = || lab.good(&["inspect", &lab.name, "--format", "json"]);
    let index = || lab.shell("a", "cat /sys/class/net/eth0/ifindex");
    let before = index();
    assert!(!state().contains("exited"));
    lab.good(&["node", "kill", &lab.at("a")]);
    assert!(state().contains("exited"));
    lab.good(&["node", "start", &lab.at("a")]);
    assert!(!state().contains("exited"));
    assert_eq!(index(), before, "a daemon's end leaves its node's links alone");
    assert!(lab.bad(&["node", "kill", &lab.at("b")]).contains("no daemon runs"));
    assert!(lab.bad(&["node", "kill", &lab.at("c")]).contains("a, b"));
}

#[test]
fn exec_passes_streams_and_exit_codes() {
    let Some(lab) = Lab::new("exec") else { return };
    let output = lab.run(&["exec", &lab.at("a"), "--", "sh", "-c", "echo out; echo err >&2; exit 7"]);
    assert_eq!(output.status.code(), Some(7));
    assert_eq!((&output.stdout[..], &output.stderr[..]), (&b"out\n"[..], &b"err\n"[..]));
    let json = lab.good(&["exec", "-f", "json", &lab.at("a"), "--", "echo", "[1, 2]"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let entry = &json[format!("clab-{}-a", lab.name)][0];
    assert_eq!(entry["return-code"], 0);
    assert_eq!(entry["stdout"][1], 2, "JSON stays JSON");
    assert!(lab.bad(&["exec", &lab.at("a"), "--", "no-such-program"]).contains("no-such-program"));

    // an asker that goes away takes its command with it
    let marker = format!("{}/asker", lab.name);
    let mut asker = Command::new(PROGRAM)
        .args(["exec", &lab.at("a"), "--", "sh", "-c", &format!("sleep 3600; : {marker}")])
        .spawn()
        .unwrap();
    let runs = || lab.traces().iter().filter(|trace| trace.contains(&marker)).count();
    wait("the command runs", || runs() >= 2);
    asker.kill().unwrap();
    asker.wait().unwrap();
    wait("the command is gone", || runs() == 0);
}

#[test]
fn one_name_runs_once() {
    let Some(lab) = Lab::new("once") else { return };
    let complaint = lab.bad(&["up", lab.file.to_str().unwrap()]);
    assert!(complaint.contains("already running") && complaint.contains("weft-lab down"), "{complaint}");
    assert!(lab.good(&["inspect"]).contains(&lab.name));
}

#[test]
fn nothing_is_left_after_down() {
    let before = all_networks();
    let Some(lab) = Lab::new("down") else { return };
    let nodes = record(&lab).nodes;
    let networks: BTreeSet<PathBuf> = nodes.iter().filter_map(|node| network(node.pid)).collect();
    assert_eq!(networks.len(), 2, "every node has one");
    assert!(networks.is_disjoint(&before));
    assert!(lab.good(&["down", &lab.name]).contains("down"));
    assert!(all_networks().is_disjoint(&networks));
    assert_eq!(lab.traces(), BTreeSet::new());
    assert!(lab.bad(&["down", &lab.name]).contains("not running"));
}

#[test]
fn a_killed_runner_takes_its_lab_along_and_the_next_up_starts_clean() {
    let Some(lab) = Lab::new("kill") else { return };
    let noted = record(&lab);
    let networks: BTreeSet<PathBuf> = noted.nodes.iter().filter_map(|node| network(node.pid)).collect();
    noted.runner.kill();
    wait("all processes and namespaces are gone", || {
        all_networks().is_disjoint(&networks) && lab.traces().iter().all(|trace| trace == "its folder")
    });
    assert!(lab.bad(&["exec", &lab.at("a"), "--", "true"]).contains("is not running"));
    lab.good(&["up", "--detach", lab.file.to_str().unwrap()]);
    assert_eq!(lab.shell("a", "hostname").trim(), "a");
    record(&lab).runner.kill();
    wait("the second runner is gone", || !home::is_running(&lab_root(), &lab.name));
    assert!(lab.good(&["down", &lab.name]).contains("removed what it left"));
    assert_eq!(lab.traces(), BTreeSet::new());
}

#[test]
fn a_hanging_runner_is_killed_by_down() {
    let Some(lab) = Lab::new("hang") else { return };
    let runner = i32::try_from(record(&lab).runner.pid).ok().and_then(rustix::process::Pid::from_raw).unwrap();
    rustix::process::kill_process(runner, rustix::process::Signal::STOP).unwrap();
    assert!(lab.good(&["down", &lab.name]).contains("was killed"));
    wait("nothing is left", || lab.traces().is_empty());
}

#[test]
fn an_interrupted_up_leaves_nothing() {
    let Some(lab) = Lab::new("interrupt") else { return };
    lab.good(&["down", &lab.name]);
    let start = || Command::new(PROGRAM).arg("up").arg(&lab.file).stdout(Stdio::piped()).spawn().unwrap();
    let interrupt = |child: &Child| {
        let pid = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    };
    let mut child = start();
    wait("it is up", || home::control(&lab_root(), &lab.name).exists());
    interrupt(&child);
    child.wait().unwrap();
    wait("nothing is left", || lab.traces().is_empty());
    // while it is being made
    let mut child = start();
    wait("its first file is there", || home::is_running(&lab_root(), &lab.name));
    // again until it listens: one who ignores interrupts hands that on to its children, and the first is lost
    wait("it gives up", || {
        interrupt(&child);
        child.try_wait().unwrap().is_some_and(|status| !status.success())
    });
    let root = lab_root().join(&lab.name);
    if root.exists() {
        // the signal came before anybody listened for it: as after a kill, `down` cleans
        lab.good(&["down", &lab.name]);
    }
    wait("nothing is left", || lab.traces().is_empty());
}

#[test]
fn a_daemon_that_cannot_run_is_named_with_its_last_words() {
    let name = format!("t{}-fallen", std::process::id());
    let file = std::env::temp_dir().join(format!("{name}.clab.yml"));
    let text = format!(
        "name: {name}\ntopology:\n  nodes:\n    a: {{image: alpine, cmd: \"sh -c 'echo no good >&2; exit 3'\"}}\n\
         expect:\n  - {{at: a, route: 10.0.0.0/8, within: 30s}}\n"
    );
    fs::write(&file, text).unwrap();
    let begin = Instant::now();
    let output = Command::new(PROGRAM).arg("verify").arg(&file).output().unwrap();
    fs::remove_file(&file).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    if errors.contains("refuses them") {
        println!("SKIPPED: {errors}");
        return;
    }
    assert!(!output.status.success());
    assert!(errors.contains("a: sh ended") && errors.contains("no good"), "{errors}");
    assert!(begin.elapsed() < Duration::from_secs(20), "it does not wait for what cannot come");
    assert!(!lab_root().join(&name).exists());
}
