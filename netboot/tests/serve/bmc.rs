//! Management controllers over real connections: TLS with a certificate that signs itself, sessions, and a machine that is on or off.
//! `weft-lab bmc` is the same with a real machine behind it, and more faults.

use super::{LIMIT, Server};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

pub(super) const PASSWORD: &str = "calvin-0815";
const SYSTEM: &str = "/redfish/v1/Systems/1";

/// A machine, and what its controller saw.
#[derive(Debug, Default)]
pub(super) struct Machine {
    on: bool,
    deaf: bool,
    boot: Value,
    /// Connections now, and the most at a time.
    open: (usize, usize),
    pub(super) asked: Vec<(Instant, String)>,
    pub(super) hidden: bool,
}

/// A controller at an address of the plan: the addresses of `127.0.0.0/8` are all there.
#[derive(Clone, Default)]
pub(super) struct Controller(pub(super) Arc<Mutex<Machine>>);

impl Controller {
    async fn listen(&self, listener: TcpListener) {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["idrac".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap().der().clone();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (own, acceptor) = (self.clone(), acceptor.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                {
                    let mut machine = own.0.lock().unwrap();
                    machine.open.0 += 1;
                    machine.open.1 = machine.open.1.max(machine.open.0);
                }
                let own2 = own.clone();
                let service = hyper::service::service_fn(move |request| own2.clone().answer(request));
                let _ =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                own.0.lock().unwrap().open.0 -= 1;
            });
        }
    }

    async fn answer(self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
        let (head, body) = request.into_parts();
        let body: Value = serde_json::from_slice(&body.collect().await?.to_bytes()).unwrap_or_default();
        let path = head.uri.path().to_owned();
        let mut machine = self.0.lock().unwrap();
        machine.asked.push((Instant::now(), format!("{} {path}", head.method)));
        let known = head.headers.get("x-auth-token").is_some_and(|token| token == "t-1");
        let (status, document) = match (&head.method, path.as_str()) {
            (_, "/redfish/v1/") if machine.hidden => (404, json!({})),
            (_, "/redfish/v1/") => {
                let sessions = json!({ "Sessions": { "@odata.id": "/redfish/v1/SessionService/Sessions" } });
                (200, json!({ "Systems": { "@odata.id": "/redfish/v1/Systems" }, "Links": sessions }))
            }
            (&Method::POST, "/redfish/v1/SessionService/Sessions") => {
                let well = body == json!({ "UserName": "root", "Password": PASSWORD });
                (if well { 201 } else { 401 }, json!({ "@odata.id": "/redfish/v1/SessionService/Sessions/1" }))
            }
            _ if !known => (401, json!({})),
            (_, "/redfish/v1/Systems") => (200, json!({ "Members": [{ "@odata.id": SYSTEM }] })),
            (&Method::PATCH, SYSTEM) => {
                machine.boot = body["Boot"].clone();
                (200, json!({}))
            }
            (&Method::POST, _) => {
                match body["ResetType"].as_str().unwrap() {
                    "On" => machine.on = true,
                    "GracefulShutdown" if machine.deaf => {}
                    _ => machine.on = false,
                }
                (204, Value::Null)
            }
            (_, SYSTEM) => {
                let reset = json!({ "target": format!("{SYSTEM}/Actions/ComputerSystem.Reset"),
                    "ResetType@Redfish.AllowableValues": ["On", "ForceOff", "GracefulShutdown"] });
                let power = if machine.on { "On" } else { "Off" };
                (
                    200,
                    json!({ "PowerState": power, "Model": "Testbed", "SerialNumber": "m0", "Boot": machine.boot,
                    "Actions": { "#ComputerSystem.Reset": reset } }),
                )
            }
            _ => (404, json!({})),
        };
        let token = if status == 201 { "t-1" } else { "" };
        let body = Full::new(Bytes::from(document.to_string()));
        Ok(Response::builder().status(status).header("x-auth-token", token).body(body).unwrap())
    }
}

/// A server whose machine `m0` has its controller at an address that belongs to this test alone.
pub(super) async fn with_bmc(name: &str, net: u8, rule: &Value) -> (Server, Controller) {
    let mut server = Server::new(name);
    let controller = Controller::default();
    // `m0` of the rack has the place behind the boot server's.
    let listener = TcpListener::bind((format!("127.72.{net}.4"), 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let own = controller.clone();
    tokio::spawn(async move { own.listen(listener).await });
    let secret = server.path("secret");
    std::fs::write(&secret, json!({ "user": "root", "password": PASSWORD }).to_string()).unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    let mut whole = json!({ "credentials": secret, "trust": "learn", "port": port, "gap_ms": 20, "answer_s": 5,
        "times": { "soft_off_s": 2, "hard_off_s": 5, "on_s": 5, "steady_s": 0, "away_s": 3 } });
    for (key, value) in rule.as_object().unwrap() {
        whole[key] = value.clone();
    }
    let config = std::fs::read_to_string(server.path("netboot.yaml")).unwrap();
    let mut config: Value = serde_json::from_str(&config).unwrap();
    config["bmc"] = json!({ "pins": server.path("pins.json"), "rules": [whole] });
    std::fs::write(server.path("netboot.yaml"), config.to_string()).unwrap();
    server.start().await;
    let mut plan = super::ipam();
    plan["bmc"] = json!([{ "prefix": format!("127.72.{net}.0/24"), "range_bits": 5, "mask": 24 }]);
    assert_eq!(server.ask(Method::PUT, "/v1/ipam", &plan).await.0, 200);
    server.register(1).await;
    (server, controller)
}

async fn ended(server: &Server) -> Value {
    let deadline = Instant::now() + LIMIT;
    loop {
        let (status, shown) = server.get("/v1/bmc/m0").await;
        assert_eq!(status, 200, "{shown}");
        if !shown["task"]["end"].is_null() {
            return shown["task"].clone();
        }
        assert!(Instant::now() < deadline, "{shown}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_is_wished_confirmed_and_in_the_audit_log() {
    let (server, controller) = with_bmc("bmc-power", 1, &json!({})).await;
    let (code, out, error) = server.run(&["bmc", "power", "on", "cs-0-4", "--wait"]);
    assert_eq!(code, 0, "{out}{error}");
    assert!(out.contains("on: done, is on"), "{out}");
    assert!(controller.0.lock().unwrap().on);
    controller.0.lock().unwrap().deaf = true;
    let (code, out, error) = server.run(&["bmc", "power", "off", "rack=0", "--wait"]);
    assert_eq!(code, 0, "{out}{error}");
    assert!(error.contains("soft power-off: taken") && error.contains("hard power-off"), "{error}");
    assert!(!controller.0.lock().unwrap().on);
    let (_, out, _) = server.run(&["bmc", "status", "m0"]);
    let line: Vec<&str> = out.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!((line[0], line[1], line[3]), ("m0", "cs-0-4", "off"), "{out}");
    let (_, audit, _) = server.run(&["audit", "--subject", "m0"]);
    assert!(audit.contains("bmc power on") && audit.contains("bmc power off"), "{audit}");
    let (_, metrics) = server.get("/metrics").await;
    assert!(metrics.to_string().contains(r#"weft_netboot_bmc_wishes_total{end=\"done\"} 2"#), "{metrics}");
    // Nobody is shown the password.
    let (_, all, _) = server.run(&["bmc", "status", "m0", "--output", "json"]);
    for text in [server.log(), audit, out, all, metrics.to_string()] {
        assert!(!text.contains(PASSWORD), "{text}");
    }
}

/// Killed after the soft power-off was taken: it starts anew, goes on, and whoever waits waits through it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wish_outlives_its_server() {
    let (mut server, controller) = with_bmc("bmc-outlives", 11, &json!({})).await;
    {
        let mut machine = controller.0.lock().unwrap();
        (machine.on, machine.deaf) = (true, true);
    }
    let said = server.path("said");
    let mut waits = std::process::Command::new(super::BINARY)
        .arg("--socket")
        .arg(server.path("s"))
        .args(["bmc", "power", "off", "m0", "--wait"])
        .stdout(std::process::Stdio::null())
        .stderr(std::fs::File::create(&said).unwrap())
        .spawn()
        .unwrap();
    let resets = || {
        let machine = controller.0.lock().unwrap();
        machine.asked.iter().filter(|(_, what)| what.ends_with("ComputerSystem.Reset")).count()
    };
    let until = async |words: &str| {
        let deadline = Instant::now() + LIMIT;
        while !std::fs::read_to_string(&said).unwrap().contains(words) {
            assert!(Instant::now() < deadline, "`{words}` is not said");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    until("soft power-off: taken").await;
    server.kill();
    assert_eq!(resets(), 1);
    until("waits for a server").await;
    server.start().await;
    assert_eq!(ended(&server).await["end"], "done");
    let code = tokio::task::spawn_blocking(move || waits.wait()).await.unwrap().unwrap();
    assert!(code.success(), "{}", std::fs::read_to_string(&said).unwrap());
    assert_eq!(resets(), 2, "soft once and hard once");
    let (_, shown) = server.get("/v1/bmc/m0").await;
    let steps = shown["task"]["steps"].as_array().unwrap();
    assert!(steps.iter().any(|step| step["says"].as_str().unwrap().starts_with("taken from")), "{shown}");
}

/// siderolabs/omni#785: bursts make controllers hang.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn however_many_ask_there_is_one_connection_and_a_gap_between_requests() {
    let (server, controller) = with_bmc("bmc-one", 2, &json!({ "gap_ms": 50 })).await;
    let asked = (0..6).map(|_| server.get("/v1/bmc/m0?ask=true"));
    for (status, shown) in futures_util::future::join_all(asked).await {
        assert_eq!(status, 200, "{shown}");
    }
    let wish = json!({ "wish": "on" });
    let (first, same) = (
        server.ask(Method::POST, "/v1/bmc/m0/power", &wish).await,
        server.ask(Method::POST, "/v1/bmc/m0/power", &wish).await,
    );
    assert_eq!((first.0, same.0), (200, 200), "who wishes the same joins: {} {}", first.1, same.1);
    let (status, other) = server.ask(Method::POST, "/v1/bmc/m0/power", &json!({ "wish": "off" })).await;
    assert_eq!(status, 409, "{other}");
    assert_eq!(ended(&server).await["end"], "done");
    let machine = controller.0.lock().unwrap();
    assert_eq!(machine.open.1, 1, "{:?}", machine.asked);
    let presses = machine.asked.iter().filter(|(_, what)| what.ends_with("ComputerSystem.Reset")).count();
    assert_eq!(presses, 1);
    let sessions = machine.asked.iter().filter(|(_, what)| what.ends_with("/Sessions")).count();
    assert_eq!(sessions, 1);
    for pair in machine.asked.windows(2) {
        // The gap is between sendings; what is seen of it can be shorter by what the first one took.
        assert!(pair[1].0 - pair[0].0 >= Duration::from_millis(25), "{pair:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn firmware_is_told_what_to_boot() {
    let (server, controller) = with_bmc("bmc-boot", 3, &json!({})).await;
    let url = "http://10.72.0.1:8080/boot/uki.efi";
    let (code, out, error) = server.run(&["bmc", "boot", "http", "m0", "--uri", url]);
    assert_eq!(code, 0, "{error}");
    assert!(out.contains(&format!("http once {url}")), "{out}");
    assert_eq!(controller.0.lock().unwrap().boot["HttpBootUri"], url);
    let (code, out, _) = server.run(&["bmc", "boot", "none", "m0"]);
    assert_eq!((code, out.contains("as set up")), (0, true), "{out}");
    for body in [
        json!({ "from": "other" }),
        json!({ "from": "pxe", "uri": url }),
        json!({ "from": "http", "uri": "http://a b" }),
    ] {
        assert_eq!(server.ask(Method::PUT, "/v1/bmc/m0/boot", &body).await.0, 400, "{body}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_certificate_is_refused_until_somebody_says_that_it_is_well() {
    let (mut server, controller) = with_bmc("bmc-trust", 4, &json!({})).await;
    let (_, shown) = server.get("/v1/bmc/m0?ask=true").await;
    assert_eq!(shown["certificate"].as_str().map(str::len), Some(64), "{shown}");
    // Another controller at its address, as seen by a server that starts anew.
    let config: Value = serde_json::from_str(&std::fs::read_to_string(server.path("netboot.yaml")).unwrap()).unwrap();
    let mut config = config;
    let listener = TcpListener::bind(("127.72.4.4", 0)).await.unwrap();
    config["bmc"]["rules"][0]["port"] = json!(listener.local_addr().unwrap().port());
    std::fs::write(server.path("netboot.yaml"), config.to_string()).unwrap();
    let other = controller.clone();
    tokio::spawn(async move { other.listen(listener).await });
    server.kill();
    server.start().await;
    let before = controller.0.lock().unwrap().asked.len();
    let (status, error) = server.get("/v1/bmc/m0?ask=true").await;
    assert_eq!(status, 502, "{error}");
    assert!(error["error"]["message"].as_str().unwrap().contains("weft-netboot bmc forget m0"), "{error}");
    assert_eq!(controller.0.lock().unwrap().asked.len(), before, "and it is told nothing");
    assert_eq!(server.run(&["bmc", "forget", "m0"]).0, 0);
    assert_eq!(server.get("/v1/bmc/m0?ask=true").await.0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_credentials_are_shown_once() {
    let (server, controller) = with_bmc("bmc-secret", 5, &json!({})).await;
    let set = |password: &str, mode| {
        std::fs::write(server.path("secret"), json!({ "user": "root", "password": password }).to_string()).unwrap();
        std::fs::set_permissions(server.path("secret"), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    set("wrong", 0o600);
    for _ in 0..3 {
        let (status, error) = server.get("/v1/bmc/m0?ask=true").await;
        assert_eq!(status, 502);
        assert!(error.to_string().contains("refuses the credentials of root"), "{error}");
    }
    let logins = || controller.0.lock().unwrap().asked.iter().filter(|(_, what)| what.ends_with("/Sessions")).count();
    assert_eq!(logins(), 1, "controllers lock a user after a few tries");
    set(PASSWORD, 0o644);
    assert!(server.get("/v1/bmc/m0?ask=true").await.1.to_string().contains("chmod 600"));
    set(PASSWORD, 0o600);
    assert_eq!(server.get("/v1/bmc/m0?ask=true").await.0, 200, "and a password that was mended counts at once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_that_is_none_is_said_to_be_none() {
    let (server, controller) = with_bmc("bmc-none", 6, &json!({ "ipmi": "never" })).await;
    controller.0.lock().unwrap().hidden = true;
    let (status, error) = server.get("/v1/bmc/m0?ask=true").await;
    assert_eq!((status, error["error"]["kind"].as_str()), (502, Some("bmc")), "{error}");
    let (code, out, error) = server.run(&["bmc", "power", "on", "m0", "--wait"]);
    assert_eq!(code, 1, "{out}{error}");
    assert!(out.contains("failed, its BMC speaks no Redfish"), "{out}");
    assert_eq!(server.get("/v1/bmc/m9").await.0, 404);
    let mut plain = Server::with_plan("bmc-plain").await;
    plain.register(1).await;
    let (status, error) = plain.get("/v1/bmc/m0?ask=true").await;
    assert_eq!(status, 409, "{error}");
    plain.kill();
}
