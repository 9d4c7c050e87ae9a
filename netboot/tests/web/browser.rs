//! Chromium as a test drives it: messages of the DevTools protocol, each a document of JSON with a NUL behind it, on descriptors 3
//! (to the browser) and 4 (from it).

use super::{LIMIT, pictures};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

/// Between two looks at a page.
const LOOK: Duration = Duration::from_millis(50);

pub(crate) struct Browser {
    child: Child,
    to: File,
    from: Receiver<Value>,
    next: u64,
    session: Option<String>,
    /// Exceptions and complaints of the page.
    faults: Vec<String>,
}

impl Browser {
    pub(crate) fn start(folder: &Path) -> Self {
        let (to, from) = (folder.join("to"), folder.join("from"));
        for pipe in [&to, &from] {
            assert!(Command::new("mkfifo").arg(pipe).status().unwrap().success());
        }
        let log = File::create(folder.join("browser.log")).unwrap();
        let child = Command::new("sh")
            .args(["-c", "to=$1 from=$2; shift 2; exec chromium \"$@\" 3<\"$to\" 4>\"$from\"", "sh"])
            .args([&to, &from])
            .args([
                "--headless=new",
                "--remote-debugging-pipe",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
            ])
            .args([
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--hide-scrollbars",
            ])
            .args(["--window-size=1400,900", &format!("--user-data-dir={}", folder.join("profile").display())])
            .arg("about:blank")
            .env("HOME", folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        // The shell opens the same ends in this order.
        let to = File::options().write(true).open(&to).unwrap();
        let from = File::open(&from).unwrap();
        let (sender, receiver) = mpsc::sync_channel(4_096);
        std::thread::Builder::new()
            .spawn(move || {
                for message in BufReader::new(from).split(0).map_while(Result::ok) {
                    let read = serde_json::from_slice(&message).unwrap_or_default();
                    if sender.send(read).is_err() {
                        return;
                    }
                }
            })
            .unwrap();
        Self { child, to, from: receiver, next: 0, session: None, faults: Vec::new() }
    }

    fn call(&mut self, method: &str, params: &Value) -> Value {
        self.next += 1;
        let mut message = json!({ "id": self.next, "method": method, "params": params });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        self.to.write_all(format!("{message}\0").as_bytes()).unwrap();
        let deadline = Instant::now() + LIMIT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let heard = self.from.recv_timeout(left);
            let heard = heard.unwrap_or_else(|error| panic!("{method}: the browser says nothing: {error}"));
            if heard["id"] == self.next {
                assert!(heard["error"].is_null(), "{method}: {heard}");
                return heard["result"].clone();
            }
            self.event(&heard);
        }
    }

    fn event(&mut self, heard: &Value) {
        match heard["method"].as_str() {
            Some("Runtime.exceptionThrown") => self.faults.push(heard["params"].to_string()),
            // A stream that breaks with its server is an error of the network, and the page's own business.
            Some("Log.entryAdded") if heard["params"]["entry"]["source"] != "network" => {
                self.faults.push(heard["params"].to_string());
            }
            _ => {}
        }
    }

    pub(crate) fn open(&mut self, address: &str) {
        let target = self.call("Target.createTarget", &json!({ "url": "about:blank" }));
        let attached = self.call("Target.attachToTarget", &json!({ "targetId": target["targetId"], "flatten": true }));
        self.session = Some(attached["sessionId"].as_str().unwrap().to_owned());
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            self.call(domain, &json!({}));
        }
        let went = self.call("Page.navigate", &json!({ "url": address }));
        assert!(went["errorText"].is_null(), "{went}");
    }

    /// The value of an expression; what throws is none.
    pub(crate) fn evaluate(&mut self, expression: &str) -> Value {
        let params = json!({ "expression": expression, "returnByValue": true });
        let mut answer = self.call("Runtime.evaluate", &params);
        if answer["exceptionDetails"].is_null() { answer["result"]["value"].take() } else { json!("thrown") }
    }

    /// Waits for the value of an expression.
    pub(crate) fn until(&mut self, expression: &str, wanted: &Value) {
        let deadline = Instant::now() + LIMIT;
        loop {
            let found = self.evaluate(expression);
            if found == *wanted {
                return;
            }
            assert!(Instant::now() < deadline, "{expression}: {found}, not {wanted}; {:?}", self.faults);
            // Messages that come meanwhile are read with the next answer.
            std::thread::park_timeout(LOOK);
        }
    }

    /// A picture of the page, for people.
    pub(crate) fn screenshot(&mut self, name: &str) {
        let answer = self.call("Page.captureScreenshot", &json!({ "format": "png" }));
        let encoded = answer["data"].as_str().unwrap();
        let path = pictures().join(name);
        let mut decoder = Command::new("base64")
            .arg("-d")
            .stdin(Stdio::piped())
            .stdout(File::create(&path).unwrap())
            .spawn()
            .unwrap();
        decoder.stdin.take().unwrap().write_all(encoded.as_bytes()).unwrap();
        assert!(decoder.wait().unwrap().success());
        assert!(std::fs::metadata(&path).unwrap().len() > 10_000, "an empty picture");
        println!("a picture: {}", path.display());
    }

    pub(crate) fn faults(&mut self) -> Vec<String> {
        // What has been said until now.
        self.evaluate("0");
        std::mem::take(&mut self.faults)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
