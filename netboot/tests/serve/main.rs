//! The real `weft-netboot serve`, asked as its users do: over the local socket, with certificates, with its own command line; killed,
//! without room on its disk, and among clients that nobody knows.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a test helper fails by panicking, waits with a deadline, plays servers on threads, and prints figures"
)]

mod bmc;
mod boot;
mod certificates;
mod cli;
mod crash;
mod direct;
mod enrol;
mod figures;
mod graphql;
mod handshakes;
mod https;
mod ipmi;
mod keys;
mod liveness;
mod loops;
mod migration;
mod openapi;
mod own;
mod pull;
mod requests;
mod roles;
mod rollout;
mod sign;
mod templates;
mod web;

use hyper::Method;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use weft_netboot::io::client::Target;

/// Longest wait for something that takes milliseconds, on a loaded machine.
const LIMIT: Duration = Duration::from_secs(60);
const BINARY: &str = env!("CARGO_BIN_EXE_weft-netboot");

/// A server of its own, with a folder that goes with it.
struct Server {
    folder: PathBuf,
    child: Option<Child>,
    /// Put before the command: a shell line that sets limits.
    limits: &'static str,
}

impl Server {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("weft-serve-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let server = Self { folder, child: None, limits: "" };
        server.configure(&json!({}));
        server
    }

    /// Started, with the plan of the reference.
    async fn with_plan(name: &str) -> Self {
        let mut server = Self::new(name);
        server.start().await;
        let (status, answer) = server.ask(Method::PUT, "/v1/ipam", &ipam()).await;
        assert_eq!(status, 200, "{answer}");
        server
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn configure(&self, https: &Value) {
        let mut config = json!({ "store": { "embedded": self.path("inventory.redb") }, "socket": self.path("s") });
        if https.as_object().is_some_and(|https| !https.is_empty()) {
            config["https"] = https.clone();
        }
        std::fs::write(self.path("netboot.yaml"), config.to_string()).unwrap();
    }

    async fn start(&mut self) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.path("log")).unwrap();
        let line = format!("{} exec \"$0\" serve --config \"$1\"", self.limits);
        let child = Command::new("sh")
            .args(["-c", &line, BINARY, &self.path("netboot.yaml").display().to_string()])
            .stdin(Stdio::null())
            .stderr(log)
            .spawn();
        self.child = Some(child.unwrap());
        let deadline = Instant::now() + LIMIT;
        while self.target().ask(Method::GET, "/health", None).await.is_err() {
            if let Some(ended) = self.child.as_mut().and_then(|child| child.try_wait().unwrap()) {
                panic!("{ended}: {}", self.log());
            }
            assert!(Instant::now() < deadline, "{}", self.log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    fn id(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn target(&self) -> Target {
        Target::Socket(self.path("s"))
    }

    async fn ask(&self, method: Method, path: &str, body: &Value) -> (u16, Value) {
        ask(&self.target(), method, path, body).await
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        self.ask(Method::GET, path, &Value::Null).await
    }

    /// Registers machines `m0`, … of rack 0.
    async fn register(&self, count: usize) {
        let specs: Vec<Value> =
            (0..count).map(|at| json!({ "serial": format!("m{at}"), "rack": 0, "role": "cs" })).collect();
        let (status, answer) = self.ask(Method::POST, "/v1/machines", &json!(specs)).await;
        assert_eq!(status, 201, "{answer}");
    }

    /// Runs the command line against it: exit code, output, errors.
    fn run(&self, words: &[&str]) -> (i32, String, String) {
        run(&self.path("s"), words)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn run(socket: &Path, words: &[&str]) -> (i32, String, String) {
    let output = Command::new(BINARY).arg("--socket").arg(socket).args(words).stdin(Stdio::null()).output().unwrap();
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

async fn ask(target: &Target, method: Method, path: &str, body: &Value) -> (u16, Value) {
    let body = (!body.is_null()).then_some(body);
    let said = tokio::time::timeout(LIMIT, target.ask(method, path, body)).await.expect("an answer comes").unwrap();
    let document = serde_json::from_slice(&said.body);
    (said.status, document.unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&said.body).into_owned())))
}

/// The plan of the reference.
fn ipam() -> Value {
    json!({
        "max_nodes_in_rack": 28, "node_index_offset": 3, "node_networks": 3,
        "node": [{ "prefix": "10.69.0.0/16", "range_bits": 6, "mask": 26, "gateway_offset": 1 }],
        "bmc": [{ "prefix": "10.72.16.0/20", "offset": "0.0.1.0", "range_bits": 5, "mask": 20, "gateway_offset": 1 }]
    })
}
