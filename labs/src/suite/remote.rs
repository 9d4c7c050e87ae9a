//! A part of stage `api`: the daemon of `tor` is asked over the network, from `host`, with certificates: what each role may, who is not heard,
//! certificates that are renewed while it runs, and that its sandbox holds with all that.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Output;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType};
use weft_fabric::io::files::lab_root;

use crate::count::Outcome;
use crate::vip::Lab;

/// Where `tor` listens: an address that `host` knows by BGP alone.
const PLACE: &str = "10.69.0.1:9180";
/// In both nodes; from outside it is the nodes' folder of the lab.
const FOLDER: &str = "/run/weft/tls";
/// Strangers with a certificate of their own making.
const STRANGERS: usize = 200;

/// Who signs.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> io::Result<Self> {
        let mut params = named(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, key()?);
        issuer.map(Self).map_err(io::Error::other)
    }

    /// A certificate and its key, as files of a node.
    fn sign(&self, lab: &Lab<'_>, node: &str, name: &str, san: SanType) -> io::Result<()> {
        let mut params = named(name);
        params.subject_alt_names = vec![san];
        let key = key()?;
        let certificate = params.signed_by(&key, &self.0).map_err(io::Error::other)?;
        write(lab, node, &format!("{name}.pem"), &certificate.pem())?;
        write(lab, node, &format!("{name}.key"), &key.serialize_pem())
    }

    fn server(&self, lab: &Lab<'_>) -> io::Result<()> {
        let address = PLACE.split(':').next().and_then(|address| address.parse().ok());
        let address = address.ok_or_else(|| io::Error::other("no address"))?;
        self.sign(lab, "tor", "server", SanType::IpAddress(address))
    }

    fn client(&self, lab: &Lab<'_>, name: &str, role: &str) -> io::Result<()> {
        let uri = format!("spiffe://weft/weft/{role}/{name}");
        self.sign(lab, "host", name, SanType::URI(uri.try_into().map_err(io::Error::other)?))
    }
}

/// OpenSSL takes who has the name of his authority for one that signed itself.
fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn key() -> io::Result<KeyPair> {
    KeyPair::generate().map_err(io::Error::other)
}

fn write(lab: &Lab<'_>, node: &str, name: &str, text: &str) -> io::Result<()> {
    let folder: PathBuf = lab_root().join(&lab.name).join(node).join("tls");
    fs::create_dir_all(&folder)?;
    let file = folder.join(name);
    fs::write(&file, text)?;
    fs::set_permissions(file, fs::Permissions::from_mode(0o600))
}

/// All of it.
pub(crate) fn remote(lab: &Lab<'_>, outcome: &mut Outcome) -> io::Result<()> {
    let (ours, others) = (Authority::new("ours")?, Authority::new("others")?);
    ours.server(lab)?;
    write(lab, "tor", "ca.pem", &ours.0.pem())?;
    write(lab, "host", "ca.pem", &ours.0.pem())?;
    ours.client(lab, "reader", "read")?;
    ours.client(lab, "worker", "operator")?;
    others.client(lab, "stranger", "admin")?;
    let remote = format!(
        "api: {{remote: {{listen: [\"{PLACE}\"], cert: {FOLDER}/server.pem, key: {FOLDER}/server.key, client_ca: {FOLDER}/ca.pem}}}}\nrecord: {{memory_mb: 4}}"
    );
    lab.shell("tor", &format!("(cat /etc/weft/weft.yaml; printf '{remote}\\n') > /run/weft/now.yaml"))?;
    lab.shell("tor", "mount --bind /run/weft/now.yaml /etc/weft/weft.yaml && weft check --config /etc/weft/weft.yaml")?;
    lab.node("kill", "tor")?;
    lab.node("start", "tor")?;
    let reader = |verb: &str| said(lab, "reader", verb);
    lab.until(outcome, "another machine reads the sessions", || {
        Ok(reader("show neighbors")?.contains("1 of 1 neighbor"))
    })?;
    roles(lab, outcome)?;
    far_tools(lab, outcome)?;
    strangers(lab, outcome)?;
    renewal(lab, outcome, &ours)
}

/// What a verb prints on `host`, whatever becomes of it.
fn said(lab: &Lab<'_>, name: &str, verb: &str) -> io::Result<String> {
    let whom = format!("--remote {PLACE} --ca {FOLDER}/ca.pem --cert {FOLDER}/{name}.pem --key {FOLDER}/{name}.key");
    lab.shell("host", &format!("weft {whom} {verb} 2>&1 || true"))
}

fn check(outcome: &mut Outcome, what: &str, text: &str, words: &[&str]) {
    let holds = words.iter().all(|word| text.contains(word));
    outcome.add(&Outcome::check(holds, format!("{what}: no {words:?} in `{text}`")));
}

fn roles(lab: &Lab<'_>, outcome: &mut Outcome) -> io::Result<()> {
    let drain = "drain --interface eth1 --state soft --force";
    let refused = said(lab, "reader", drain)?;
    check(outcome, "a reader drains", &refused, &["does not permit this", "a certificate with the role operator"]);
    check(outcome, "an operator drains", &said(lab, "worker", drain)?, &["tor: "]);
    check(outcome, "it is drained", &said(lab, "reader", "show drain")?, &["eth1", "soft"]);
    check(outcome, "an operator undrains", &said(lab, "worker", "undrain --interface eth1")?, &["tor: "]);
    check(outcome, "an operator stops", &said(lab, "worker", "stop")?, &["certificate with the role admin"]);
    check(outcome, "a reader explains", &said(lab, "reader", "explain 10.69.0.2")?, &["10.69.0.2/32"]);
    check(outcome, "a reader reads health", &said(lab, "reader", "health")?, &["certificate", "expires in"]);
    let version = lab.ask("tor", &["show", "version"])?;
    let held = &version["sandbox"];
    let holds = held["missing"].is_null() && held["landlock"] == true && held["seccomp"] == true;
    outcome.add(&Outcome::check(holds || !rustix::process::geteuid().is_root(), format!("the sandbox: {held}")));
    Ok(())
}

/// What takes more of the API than a verb: a recording, and a plan from what the daemon says.
fn far_tools(lab: &Lab<'_>, outcome: &mut Outcome) -> io::Result<()> {
    let taken = said(lab, "reader", &format!("record {FOLDER}/tor.rec"))?;
    let file = lab_root().join(&lab.name).join("host/tls/tor.rec");
    let again = lab.lab_command(&["replay", &file.to_string_lossy()]).output()?;
    check(outcome, &format!("recorded from elsewhere: {taken}"), &words(&again), &["tor: replayed", ": the same"]);
    let list = format!("{{ca: ca.pem, cert: reader.pem, key: reader.key, nodes: {{tor: {{remote: \"{PLACE}\"}}}}}}");
    write(lab, "host", "fabric.yml", &list)?;
    // the node sees nothing of the folder where the stage's programs are
    let program = lab_root().join(&lab.name).join("host/tls/weft-lab");
    fs::copy(lab.folder.join("weft-lab"), &program)?;
    write(lab, "host", "tor.yaml", &lab.shell("tor", "cat /run/weft/now.yaml")?)?;
    let plan = format!("{FOLDER}/weft-lab plan --live {FOLDER}/fabric.yml --config tor={FOLDER}/tor.yaml 2>&1 || true");
    check(outcome, "planned from elsewhere", &lab.shell("host", &plan)?, &[" 0 lost, 0 new, 0 moved"]);
    fs::remove_file(program)
}

/// What a program said, on both streams.
fn words(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned()).concat()
}

fn strangers(lab: &Lab<'_>, outcome: &mut Outcome) -> io::Result<()> {
    let unknown = said(lab, "stranger", "show version")?;
    check(outcome, "a stranger asks", &unknown, &["do not know each other", "remedy"]);
    let crowd = format!(
        "for i in $(seq {STRANGERS}); do weft --remote {PLACE} --ca {FOLDER}/ca.pem --cert {FOLDER}/stranger.pem \
         --key {FOLDER}/stranger.key show version >/dev/null 2>&1 & done; \
         weft --remote {PLACE} --ca {FOLDER}/ca.pem --cert {FOLDER}/reader.pem --key {FOLDER}/reader.key show neighbors; wait"
    );
    check(outcome, "a reader among strangers", &lab.shell("host", &crowd)?, &["1 of 1 neighbor Established"]);
    let metrics = lab
        .shell("tor", "wget -qO- http://127.0.0.1:9179/metrics 2>/dev/null || curl -s http://127.0.0.1:9179/metrics")?;
    let refused = metrics.lines().find_map(|line| line.strip_prefix("weft_api_handshakes_total{result=\"refused\"} "));
    let refused = refused.and_then(|count| count.parse::<usize>().ok()).unwrap_or_default();
    outcome.add(&Outcome::check(refused > STRANGERS / 2, format!("{refused} strangers were counted")));
    outcome.notes.push(format!(
        "from another machine: {refused} handshakes of {} strangers refused, and a reader served beside them",
        STRANGERS + 1
    ));
    if lab.shell("host", "command -v curl").is_err() {
        outcome.add(&Outcome::skipped("curl is not installed: `apt install curl`"));
        return Ok(());
    }
    let curl = |options: &str| {
        lab.shell("host", &format!("curl -sS --max-time 10 {options} https://{PLACE}/v1/version 2>&1 || true"))
    };
    let with = |name: &str| format!("--cacert {FOLDER}/ca.pem --cert {FOLDER}/{name}.pem --key {FOLDER}/{name}.key");
    check(outcome, "curl with a certificate", &curl(&with("reader"))?, &["weft/v1"]);
    for (who, options) in [
        ("without a certificate", format!("--cacert {FOLDER}/ca.pem")),
        ("as a stranger", with("stranger")),
        ("with TLS 1.2", format!("{} --tls-max 1.2", with("reader"))),
    ] {
        let text = curl(&options)?;
        outcome.add(&Outcome::check(
            text.contains("curl: (") && !text.contains("weft/v1"),
            format!("curl {who}: `{text}`"),
        ));
    }
    Ok(())
}

/// A new key and certificate are taken by a reload and by themselves; a key that everybody can read is refused.
fn renewal(lab: &Lab<'_>, outcome: &mut Outcome, ours: &Authority) -> io::Result<()> {
    ours.server(lab)?;
    let reloaded = said(lab, "worker", "reload")?;
    check(outcome, "a reload takes them", &reloaded, &["certificates of `api.remote` alone are different"]);
    ours.server(lab)?;
    lab.until(outcome, "renewed certificates serve", || Ok(said(lab, "reader", "show version")?.contains("tor")))?;
    lab.shell("tor", &format!("chmod 644 {FOLDER}/server.key"))?;
    let refused = said(lab, "worker", "reload")?;
    check(outcome, "a key for everybody", &refused, &["everybody on this machine may open it", "chmod 600"]);
    check(outcome, "health says it", &said(lab, "reader", "health")?, &["those before stay in use"]);
    lab.shell("tor", &format!("chmod 600 {FOLDER}/server.key"))?;
    lab.until(outcome, "all is well again", || {
        Ok(said(lab, "reader", "health")?.contains("that of `api.remote` expires in"))
    })?;
    change(lab, "s|/run/weft/tls/ca.pem|/root/ca.pem|")?;
    let plan = said(lab, "reader", "reload --plan")?;
    check(outcome, "a plan of another place", &plan, &["`api` changed", "next start"]);
    change(lab, "s|/root/ca.pem|/run/weft/tls/ca.pem|")
}

/// Changes the configuration, which is mounted over the lab's and so must stay the same file.
fn change(lab: &Lab<'_>, how: &str) -> io::Result<()> {
    let line =
        format!("sed '{how}' /run/weft/now.yaml > /run/weft/new.yaml && cat /run/weft/new.yaml > /run/weft/now.yaml");
    lab.shell("tor", &line).map(drop)
}
