//! What is given up is gone: a thread that has entered the sandbox, asked by what it and its children can no longer do. One test, because
//! system calls are refused to the whole process from then on.
#![expect(clippy::disallowed_methods, clippy::unwrap_used, reason = "a test program: threads are what it is about")]

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use weft_fabric::config;
use weft_fabric::io::sandbox::{self, Entered};

/// Of nobody on this machine.
const GROUP: u32 = 54_321;

/// Removes a folder in the end: a thread that began before the sandbox, from which it is out of reach.
struct Janitor(Option<(Sender<()>, JoinHandle<()>)>);

impl Janitor {
    fn of(folder: PathBuf) -> Self {
        let (end, ended) = channel();
        let clean = move || {
            let _ = ended.recv();
            let _ = fs::remove_dir_all(folder);
        };
        Self(Some((end, std::thread::spawn(clean))))
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        if let Some((end, thread)) = self.0.take() {
            drop(end);
            let _ = thread.join();
        }
    }
}

fn field(status: &str, name: &str) -> String {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_default().trim().to_owned()
}

fn run(words: &[&str]) -> Output {
    Command::new(words[0]).args(&words[1..]).output().unwrap()
}

/// Whether a thread may still make a namespace of users: by a child, for which all is inherited.
fn may_unshare() -> bool {
    run(&["unshare", "--user", "true"]).status.success()
}

#[test]
fn what_is_given_up_is_gone_for_the_thread_and_for_what_it_starts() {
    let folder = std::env::temp_dir().join(format!("weft-sandbox-{}", std::process::id()));
    let _janitor = Janitor::of(folder.clone());
    fs::create_dir_all(folder.join("etc/keys")).unwrap();
    let place = |name: &str| folder.join(name);
    for name in ["etc/keys/a", "outside"] {
        fs::write(place(name), "a key").unwrap();
    }
    let text = format!(
        "asn: 1\naddresses: [10.0.0.1/32]\napi: {{socket: {0}/run/weft.sock}}\nmrt: {{updates: {0}/dump/updates.mrt}}\n\
         peers: {{a: {{address: 10.0.0.2, remote_asn: 2, password_file: {0}/etc/keys/a}}}}\n",
        folder.display()
    );
    fs::write(place("etc/weft.yaml"), &text).unwrap();
    let node = config::parse("t", &text).unwrap().node().unwrap();
    let could_unshare = may_unshare();

    let Entered { sandbox, runner, .. } =
        sandbox::enter(&node, &place("etc/weft.yaml"), is_root().then_some(GROUP)).unwrap();
    assert!(runner.is_none(), "there are no commands to run");
    let state = sandbox.state();
    let is_denied = |path: &Path| fs::read(path).is_err_and(|error| error.kind() == ErrorKind::PermissionDenied);
    if state.landlock {
        assert!(is_denied(&place("outside")) && is_denied(Path::new("/etc/passwd")));
        assert!(fs::write(place("etc/new"), "").is_err(), "a folder of keys is not for writing");
        assert!(std::thread::spawn(move || is_denied(Path::new("/etc/passwd"))).join().unwrap(), "threads inherit it");
        assert!(!run(&["cat", "/etc/passwd"]).status.success(), "children too");
    } else {
        println!("*** SKIPPED: this kernel has no Landlock: {:?}", state.missing);
    }
    for name in ["etc/weft.yaml", "etc/keys/a", "/proc/self/status", "/proc/net/dev", "/sys/class/net/lo/mtu"] {
        fs::read(place(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    for name in ["run/drain.json", "dump/updates.mrt"] {
        fs::write(place(name), "").and_then(|()| fs::rename(place(name), place(name).with_extension("old"))).unwrap();
    }
    fs::write("/dev/null", "nothing").unwrap();

    let status = String::from_utf8(run(&["cat", "/proc/self/status"]).stdout).unwrap();
    assert_eq!((field(&status, "NoNewPrivs"), field(&status, "Seccomp")), ("1".to_owned(), "2".to_owned()));
    let kept = sandbox.granted().capabilities.unwrap().0;
    for name in ["CapEff", "CapPrm", "CapInh", "CapAmb"] {
        let has = u64::from_str_radix(&field(&status, name), 16).unwrap();
        assert_eq!(has & !kept, 0, "a child has {name} {has:x}");
    }
    assert!(could_unshare || !is_root(), "the test would show nothing");
    assert!(!may_unshare(), "a namespace can be made");
    assert!(!run(&["mount", "-t", "tmpfs", "none", "/mnt"]).status.success());
    // What a router needs goes on: threads, children, sockets.
    assert_eq!(std::thread::spawn(|| 7).join().unwrap(), 7);
    std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    std::os::unix::net::UnixListener::bind(place("run/weft.sock")).unwrap();
    if is_root() {
        // Its group, without CAP_CHOWN; and nobody else's.
        let given = |group| std::os::unix::fs::chown(place("run/weft.sock"), None, Some(group));
        assert_eq!(sandbox.group(), Some(GROUP));
        given(GROUP).unwrap();
        assert_eq!(given(GROUP + 1).unwrap_err().kind(), ErrorKind::PermissionDenied);
        let groups = String::from_utf8(run(&["id", "-G"]).stdout).unwrap();
        assert!(
            groups.split_whitespace().any(|group| group == GROUP.to_string()),
            "a program that takes over: {groups}"
        );
    }
    fs::remove_file(place("run/weft.sock")).unwrap();
    assert!(sandbox.admit(&node, &place("etc/weft.yaml")).is_ok());
    let other = text.replace("etc/keys/a", "outside");
    let other = config::parse("t", &other).unwrap().node().unwrap();
    assert_eq!(sandbox.admit(&other, &place("etc/weft.yaml")).is_err(), state.landlock);
}

fn is_root() -> bool {
    fs::read_to_string("/proc/self/status").is_ok_and(|status| field(&status, "Uid").starts_with('0'))
}
