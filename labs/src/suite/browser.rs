//! Chromium in a node of a lab, driven as a person would use it: messages of the DevTools protocol, each a document of JSON with a NUL
//! behind it, on descriptors 3 (to the browser) and 4 (from it). The pipes lie in the node's folder, which the node and the suite see.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "reads the browser on a thread and polls a page with a deadline; the suite has no event loop"
)]

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weft_fabric::io::files::lab_socket;

use crate::vip::Lab;

/// Longest wait for something that takes milliseconds, on a loaded machine.
const LIMIT: Duration = Duration::from_secs(120);
/// Between two looks at a page.
const LOOK: Duration = Duration::from_millis(50);
/// Messages of the browser that wait to be read.
const MESSAGES_MAX: usize = 4_096;
/// A picture of fewer octets shows nothing.
const PICTURE_MIN: u64 = 10_000;

/// How the browser is started in the node: the pipes take the place of a terminal.
const START: &str = "export HOME=/tmp; exec chromium --headless=new --remote-debugging-pipe --no-sandbox --disable-gpu --disable-dev-shm-usage \
    --no-first-run --disable-background-networking --disable-component-update --hide-scrollbars --user-data-dir=/tmp/browser \
    about:blank 3</run/weft/to 4>/run/weft/from 2>/run/weft/browser.log";

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
    pub(crate) fn start(lab: &Lab<'_>, node: &str) -> io::Result<Self> {
        lab.shell(node, "mkfifo /run/weft/to /run/weft/from")?;
        let socket = lab_socket(&lab.name, node);
        let folder = socket.parent().ok_or_else(|| io::Error::other("a node has no folder"))?;
        let place = format!("{}/{node}", lab.name);
        let mut command = lab.lab_command(&["exec", &place, "--", "sh", "-c", START]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        // Opened for both directions, a pipe does not wait for its other end.
        let open = |name: &str| OpenOptions::new().read(true).write(true).open(folder.join(name));
        let (to, from) = (open("to")?, open("from")?);
        let (sender, receiver) = mpsc::sync_channel(MESSAGES_MAX);
        std::thread::Builder::new().name("browser".into()).spawn(move || {
            for message in BufReader::new(from).split(0).map_while(Result::ok) {
                if sender.send(serde_json::from_slice(&message).unwrap_or_default()).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { child, to, from: receiver, next: 0, session: None, faults: Vec::new() })
    }

    fn call(&mut self, method: &str, params: &Value) -> io::Result<Value> {
        self.next += 1;
        let mut message = json!({ "id": self.next, "method": method, "params": params });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        self.to.write_all(format!("{message}\0").as_bytes())?;
        let deadline = Instant::now() + LIMIT;
        loop {
            let heard = match self.from.recv_timeout(LOOK) {
                Ok(heard) => heard,
                Err(RecvTimeoutError::Timeout) if Instant::now() < deadline && self.child.try_wait()?.is_none() => {
                    continue;
                }
                Err(error) => return Err(io::Error::other(format!("{method}: the browser says nothing: {error}"))),
            };
            if heard["id"] == self.next {
                let refused = !heard["error"].is_null();
                return if refused {
                    Err(io::Error::other(format!("{method}: {heard}")))
                } else {
                    Ok(heard["result"].clone())
                };
            }
            self.on_event(&heard);
        }
    }

    fn on_event(&mut self, heard: &Value) {
        match heard["method"].as_str() {
            Some("Runtime.exceptionThrown") => self.faults.push(heard["params"].to_string()),
            // A stream that breaks with its daemon is an error of the network, and the page's own business.
            Some("Log.entryAdded") if heard["params"]["entry"]["source"] != "network" => {
                self.faults.push(heard["params"].to_string());
            }
            _ => {}
        }
    }

    pub(crate) fn open(&mut self, address: &str) -> io::Result<()> {
        let target = self.call("Target.createTarget", &json!({ "url": "about:blank" }))?;
        let attached =
            self.call("Target.attachToTarget", &json!({ "targetId": target["targetId"], "flatten": true }))?;
        self.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            self.call(domain, &json!({}))?;
        }
        self.size(1_280)?;
        let went = self.call("Page.navigate", &json!({ "url": address }))?;
        if went["errorText"].is_null() { Ok(()) } else { Err(io::Error::other(format!("{address}: {went}"))) }
    }

    fn size(&mut self, width: u32) -> io::Result<()> {
        let params = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", &params).map(drop)
    }

    /// The value of an expression; what throws is none.
    pub(crate) fn evaluate(&mut self, expression: &str) -> io::Result<Value> {
        let params = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let mut answer = self.call("Runtime.evaluate", &params)?;
        Ok(if answer["exceptionDetails"].is_null() { answer["result"]["value"].take() } else { json!("thrown") })
    }

    /// Waits for the value of an expression; says what it was instead.
    pub(crate) fn until(&mut self, expression: &str, wanted: &Value) -> io::Result<Result<(), String>> {
        let deadline = Instant::now() + LIMIT;
        loop {
            let found = self.evaluate(expression)?;
            if found == *wanted {
                return Ok(Ok(()));
            }
            if Instant::now() > deadline {
                return Ok(Err(format!("{expression}: {found}, not {wanted}; {:?}", self.faults)));
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Presses a key, with what it types.
    pub(crate) fn press(&mut self, key: &str, code: u32, text: &str) -> io::Result<()> {
        for kind in ["keyDown", "keyUp"] {
            let typed = if kind == "keyDown" { text } else { "" };
            let params = json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": typed });
            self.call("Input.dispatchKeyEvent", &params)?;
        }
        Ok(())
    }

    /// A picture of the whole page, for people: in this width and one of the schemes `light` and `dark`.
    pub(crate) fn picture(&mut self, (width, scheme): (u32, &str), path: &Path) -> io::Result<()> {
        self.size(width)?;
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.call("Emulation.setEmulatedMedia", &json!({ "features": features }))?;
        // Two frames later it is drawn anew.
        self.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(0))))")?;
        // A window before the page belongs to the viewport: beyond it, Chromium draws the dimmed page alone.
        let beyond = self.evaluate("document.querySelector('dialog[open]') === null")? == json!(true);
        let params = json!({ "format": "png", "captureBeyondViewport": beyond });
        let answer = self.call("Page.captureScreenshot", &params)?;
        let mut decoder = Command::new("base64").arg("-d").stdin(Stdio::piped()).stdout(File::create(path)?).spawn()?;
        if let Some(mut input) = decoder.stdin.take() {
            input.write_all(answer["data"].as_str().unwrap_or_default().as_bytes())?;
        }
        let decoded = decoder.wait()?.success() && std::fs::metadata(path)?.len() > PICTURE_MIN;
        if decoded { Ok(()) } else { Err(io::Error::other(format!("{}: an empty picture", path.display()))) }
    }

    /// What the page complained of until now.
    pub(crate) fn faults(&mut self) -> io::Result<Vec<String>> {
        self.evaluate("0")?;
        Ok(std::mem::take(&mut self.faults))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // With its asker the node's process ends.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where pictures go.
pub(crate) fn pictures(lab: &Lab<'_>) -> PathBuf {
    lab.context.target.join("suite")
}
