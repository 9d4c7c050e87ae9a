//! The web page in a real browser: headless Chromium, driven over its DevTools pipe. Needs the program `chromium` (Debian: `chromium`): a
//! stage of its own, which installs it.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_types,
    clippy::print_stdout,
    reason = "a test helper fails by panicking, waits with a deadline, and says where its picture is"
)]

mod browser;

use browser::Browser;
use hyper::Method;
use serde_json::{Value, json};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use weft_netboot::io::client::Target;

/// Longest wait for something that takes milliseconds, on a loaded machine.
const LIMIT: Duration = Duration::from_secs(120);
const BINARY: &str = env!("CARGO_BIN_EXE_weft-netboot");

/// A server with its page, and a folder that goes with it.
struct Server {
    folder: PathBuf,
    port: u16,
    child: Option<Child>,
}

impl Server {
    async fn start(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("weft-web-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = json!({
            "store": { "embedded": folder.join("inventory.redb") }, "socket": folder.join("s"), "web": format!("127.0.0.1:{port}")
        });
        std::fs::write(folder.join("netboot.yaml"), config.to_string()).unwrap();
        let mut server = Self { folder, port, child: None };
        server.run().await;
        let ipam = json!({
            "max_nodes_in_rack": 28, "node_index_offset": 3, "node_networks": 3,
            "node": [{ "prefix": "10.69.0.0/16", "range_bits": 6, "mask": 26, "gateway_offset": 1 }],
            "bmc": [{ "prefix": "10.72.16.0/20", "offset": "0.0.1.0", "range_bits": 5, "mask": 20, "gateway_offset": 1 }]
        });
        server.ask(Method::PUT, "/v1/ipam", &ipam).await;
        server
    }

    async fn run(&mut self) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.folder.join("log")).unwrap();
        let config = self.folder.join("netboot.yaml");
        let child =
            Command::new(BINARY).arg("serve").arg("--config").arg(config).stdin(Stdio::null()).stderr(log).spawn();
        self.child = Some(child.unwrap());
        let deadline = Instant::now() + LIMIT;
        while self.target().ask(Method::GET, "/health", None).await.is_err() {
            assert!(Instant::now() < deadline, "{}", std::fs::read_to_string(self.folder.join("log")).unwrap());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn target(&self) -> Target {
        Target::Socket(self.folder.join("s"))
    }

    async fn ask(&self, method: Method, path: &str, body: &Value) {
        let said = self.target().ask(method, path, Some(body)).await.unwrap();
        assert!((200..300).contains(&said.status), "{path}: {}", String::from_utf8_lossy(&said.body));
    }

    async fn set_state(&self, serial: &str, state: &str, reason: &str) {
        let body = json!({ "state": state, "reason": reason });
        self.ask(Method::PUT, &format!("/v1/machines/{serial}/state"), &body).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Racks of machines, one of them with a boot server first.
async fn fill(server: &Server, racks: usize) {
    for rack in 0..racks {
        let spec = |at: usize| {
            let (role, labels) =
                if at == 0 { ("boot", json!({})) } else { ("cs", json!({ "zone": format!("z{}", at % 3) })) };
            json!({ "serial": format!("r{rack}m{at}"), "rack": rack, "role": role, "labels": labels })
        };
        let specs: Vec<Value> = (0..10).map(spec).collect();
        server.ask(Method::POST, "/v1/machines", &json!(specs)).await;
        for at in 0..7 {
            server.set_state(&format!("r{rack}m{at}"), "healthy", "seen").await;
        }
    }
}

const TILES: &str = "document.querySelectorAll('.tile').length";

fn state_of(serial: &str) -> String {
    format!("document.querySelector('.tile[data-serial={serial}]')?.dataset.state ?? 'none'")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racks_and_states_live() {
    let mut server = Server::start("live").await;
    fill(&server, 6).await;
    server.set_state("r1m3", "unhealthy", "<img src=x onerror=\"document.title='broken'\">").await;
    server.set_state("r2m1", "unreachable", "no path").await;
    server.set_state("r2m2", "updating", "kernel").await;
    let mut browser = Browser::start(&server.folder);
    browser.open(&format!("http://127.0.0.1:{}/", server.port));
    browser.until(TILES, &json!(60));
    browser.until(
        "[...document.querySelectorAll('.rack h2')].map((title) => title.firstChild.data).join()",
        &json!("Rack 0,Rack 1,Rack 2,Rack 3,Rack 4,Rack 5"),
    );
    browser.until("document.querySelector('.count[data-state=healthy]').textContent", &json!("39 healthy"));
    browser.until("document.querySelector('[data-rack=\"2\"] h2 span').textContent", &json!("5 of 10 healthy"));
    browser.until("document.getElementById('live').textContent.startsWith('live, revision')", &json!(true));
    // What changes is seen without reading the page again.
    browser.evaluate("window.same = true");
    server.set_state("r0m1", "unreachable", "its last path is gone").await;
    browser.until(&state_of("r0m1"), &json!("unreachable"));
    let more = json!([{ "serial": "late", "rack": 7, "role": "ss" }]);
    server.ask(Method::POST, "/v1/machines", &more).await;
    browser.until(&state_of("late"), &json!("uninitialized"));
    for state in ["retiring", "retired"] {
        server.set_state("late", state, "").await;
    }
    server.ask(Method::DELETE, "/v1/machines/late", &Value::Null).await;
    browser.until(&state_of("late"), &json!("none"));
    browser.until("document.querySelector('[data-rack=\"7\"]')", &Value::Null);
    // Words of others are words, not markup.
    browser.evaluate("document.querySelector('.tile[data-serial=r1m3]').click()");
    browser.until("document.querySelector('aside')?.textContent.includes('<img src=x onerror')", &json!(true));
    assert_eq!(browser.evaluate("document.querySelectorAll('aside img').length + document.title"), "0weft: machines");
    browser.until("document.querySelectorAll('aside li').length", &json!(2));
    browser.screenshot("machines.png");
    // Machines that nobody registered.
    assert_eq!(browser.evaluate("document.getElementById('candidates').hidden"), true);
    let unknown = json!({ "serial": "NEW", "rack": 9, "hardware": { "vendor": "<b>weft", "product": "virtual" } });
    server.ask(Method::POST, "/v1/enrol", &unknown).await;
    browser.until(
        "document.querySelector('#candidates summary').textContent",
        &json!("1 unknown machines wait, 0 are rejected"),
    );
    let line = "document.querySelector('#candidates li[data-serial=NEW]').textContent";
    browser.until(
        &format!("{line}.startsWith('NEW rack 9, <b>weft virtual, by ') && {line}.endsWith(': no rule means it')"),
        &json!(true),
    );
    server.ask(Method::POST, "/v1/enrol/candidates/NEW/accept", &json!({ "role": "cs" })).await;
    browser.until(&state_of("NEW"), &json!("uninitialized"));
    browser.until("document.getElementById('candidates').hidden", &json!(true));
    // What is searched for, and what is chosen by state.
    let shown = "[...document.querySelectorAll('.tile')].filter((tile) => tile.offsetParent).map((tile) => tile.dataset.serial).join()";
    let search = |text: &str| {
        format!(
            "{{ const s = document.getElementById('search'); s.value = '{text}'; s.dispatchEvent(new Event('input')); }}"
        )
    };
    browser.evaluate(&search("zone=z1"));
    browser.evaluate("document.querySelector('.count[data-state=updating]').click()");
    browser.until(shown, &json!(""));
    browser.evaluate(&search("10.69.1.132"));
    browser.evaluate("document.querySelector('.count[data-state=updating]').click()");
    browser.until(shown, &json!("r2m1"));
    browser.evaluate(&search(""));
    // The server goes and comes back.
    server.kill();
    browser.until("document.getElementById('live').textContent.startsWith('not live')", &json!(true));
    server.run().await;
    server.set_state("r0m1", "healthy", "back").await;
    browser.until(&state_of("r0m1"), &json!("healthy"));
    browser.until("document.getElementById('live').textContent.startsWith('live, revision')", &json!(true));
    assert_eq!(browser.evaluate("window.same"), true, "it is the page that was opened first");
    let elsewhere = "performance.getEntriesByType('resource').filter((entry) => !entry.name.startsWith(location.origin + '/v1/')).map((entry) => entry.name).join()";
    assert_eq!(browser.evaluate(elsewhere), "", "it asks for nothing else");
    assert_eq!(browser.faults(), Vec::<String>::new());
}

/// As many as the inventory is made for: how long until all of them are drawn, and until a change is. Printed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_machines_are_drawn() {
    let server = Server::start("many").await;
    for rack in 0..100 {
        let spec = |at: usize| json!({ "serial": format!("r{rack}m{at}"), "rack": rack, "role": "cs" });
        server.ask(Method::POST, "/v1/machines", &json!((0..28).map(spec).collect::<Vec<_>>())).await;
    }
    let mut browser = Browser::start(&server.folder);
    let begin = Instant::now();
    browser.open(&format!("http://localhost:{}/", server.port));
    browser.until(TILES, &json!(2_800));
    println!("2,800 machines drawn in {:?}", begin.elapsed());
    let begin = Instant::now();
    server.set_state("r99m5", "healthy", "").await;
    browser.until(&state_of("r99m5"), &json!("healthy"));
    println!("a change seen after {:?}", begin.elapsed());
    assert_eq!(browser.faults(), Vec::<String>::new());
}

/// Where pictures go: the folder of test outputs of this build.
fn pictures() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}
