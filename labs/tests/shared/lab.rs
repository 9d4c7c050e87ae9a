//! A lab for one test of the runner, and what is left of it.
#![allow(dead_code, unreachable_pub, reason = "each of the tests that share this uses a part of it")]

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use weft_fabric::io::files::lab_root;

/// The runner.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_weft-lab");
/// Nothing here takes longer on a loaded machine.
const LIMIT: Duration = Duration::from_secs(60);

/// One test's lab: its name, its file, and what is removed in the end whatever happens.
pub struct Lab {
    /// Its name.
    pub name: String,
    /// Its topology file.
    pub file: PathBuf,
}

impl Lab {
    /// Two nodes, one link; `None` when this machine cannot run labs.
    pub fn new(test: &str) -> Option<Self> {
        let lab = Self::write(
            test,
            "name: NAME\n\
             topology:\n  defaults: {kind: linux, image: alpine}\n  nodes:\n    \
             a: {cmd: 'sleep 3600', binds: ['FILE:/config/deep/file:ro', 'FILE:/opt/weft-test/file']}\n    \
             b: {sysctls: {net.ipv4.conf.eth0.forwarding: 0}}\n  \
             links:\n    - {endpoints: ['a:eth0', 'b:eth0'], mtu: 1400}\n\
             weft:\n  nodes:\n    \
             a: {addresses: {lo: [10.8.0.1/32, 'fd00::1/128'], eth0: ['fd01::1/64']}}\n    \
             b: {bridges: {rack: {ports: [eth0], address: 10.9.0.1/24}}}\n",
        );
        lab.is_possible().then_some(lab)
    }

    /// A file in which NAME and FILE stand for the lab's own; nothing is started.
    pub fn write(test: &str, text: &str) -> Self {
        let name = format!("t{}-{test}", std::process::id());
        let file = std::env::temp_dir().join(format!("{name}.clab.yml"));
        let written = fs::write(&file, text.replace("NAME", &name).replace("FILE", file.to_str().unwrap()));
        assert!(written.is_ok(), "{written:?}");
        Self { name, file }
    }

    /// Brings it up; false when this machine cannot run labs.
    pub fn is_possible(&self) -> bool {
        let probe = self.up();
        let errors = String::from_utf8_lossy(&probe.stderr);
        if errors.contains("refuses them") {
            println!("SKIPPED: {errors}");
            return false;
        }
        assert!(probe.status.success(), "{errors}");
        true
    }

    pub fn up(&self) -> Output {
        self.run(&["up", "--detach", self.file.to_str().unwrap()])
    }

    pub fn run(&self, words: &[&str]) -> Output {
        Command::new(PROGRAM).args(words).stdin(Stdio::null()).output().unwrap()
    }

    /// A command that must succeed; what it printed.
    pub fn good(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A command that must fail; what it complained.
    pub fn bad(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert!(!output.status.success(), "{words:?} succeeds");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    pub fn at(&self, node: &str) -> String {
        format!("{}/{node}", self.name)
    }

    /// Output of a shell line in a node.
    pub fn shell(&self, node: &str, line: &str) -> String {
        self.good(&["exec", &self.at(node), "--", "sh", "-c", line])
    }

    /// Processes, namespaces and files that carry this lab's name.
    pub fn traces(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for process in processes() {
            let words = fs::read_to_string(format!("/proc/{process}/cmdline")).unwrap_or_default();
            if words.contains(&format!("{}/", self.name)) {
                found.insert(format!("process {process}: {}", words.replace('\0', " ")));
            }
        }
        if lab_root().join(&self.name).exists() {
            found.insert("its folder".to_owned());
        }
        for line in fs::read_to_string("/proc/self/mountinfo").unwrap().lines().filter(|l| l.contains(&self.name)) {
            found.insert(format!("mount {line}"));
        }
        found
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.run(&["down", &self.name]);
        let _ = fs::remove_file(&self.file);
    }
}

fn processes() -> Vec<u32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// The network namespace of a process.
pub fn network(pid: u32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/ns/net")).ok()
}

/// Those of all processes.
pub fn all_networks() -> BTreeSet<PathBuf> {
    processes().into_iter().filter_map(network).collect()
}

/// Polls until it holds.
pub fn wait(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < deadline, "{what} does not come true");
        std::thread::sleep(Duration::from_millis(10));
    }
}
