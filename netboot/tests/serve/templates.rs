//! Configuration templates: set and refused over the API, and asked for as machines do.

use super::Server;
use super::boot::{http, ok, with_boot};
use hyper::Method;

const BASE: &str = "timezone: UTC\n";
const USER: &str = "#cloud-config\nhostname: {{ name }}\n{% include 'base' %}\nntp: {servers: {{ boot_servers[0].addresses | tojson }}}\n";
const IGNITION: &str = r#"{"ignition": {"version": "3.4.0"}, "storage": {"files": [
  {"path": "/etc/hostname", "mode": 420, "contents": {"source": "data:,{{ name }}"}}]}}
"#;

async fn with_machines(name: &str) -> (Server, u16) {
    let (server, port) = with_boot(name).await;
    assert_eq!(server.ask(Method::PUT, "/v1/ipam", &super::ipam()).await.0, 200);
    server.register(2).await;
    let boot = serde_json::json!([{ "serial": "B0", "rack": 0, "role": "boot" }]);
    assert_eq!(server.ask(Method::POST, "/v1/machines", &boot).await.0, 201);
    (server, port)
}

/// Sets a template from a file.
fn set(server: &Server, name: &str, kind: &str, text: &str) -> (i32, String) {
    std::fs::write(server.path("template"), text).unwrap();
    let file = server.path("template").display().to_string();
    let (code, out, error) = server.run(&["template", "set", name, "--kind", kind, &file]);
    (code, out + &error)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn machines_get_what_templates_make_of_them() {
    let (server, port) = with_machines("templates").await;
    assert_eq!(ok(&server, &["template", "list"]), "there is no template\n");
    // Ignition asks again after 503, and stops the machine at 404.
    assert_eq!(http(port, "GET /boot/ignition?serial=m0", "").await.status, 503);
    for (name, kind, text) in [("base", "part", BASE), ("cs", "user-data", USER), ("ign", "ignition", IGNITION)] {
        let (code, said) = set(&server, name, kind, text);
        assert_eq!((code, said), (0, format!("template {name} is at version 1\n")));
    }
    ok(&server, &["template", "pin", "cs", "--kind", "user-data", "--role", "cs"]);
    let shown = ok(&server, &["template", "pin", "ign", "--kind", "ignition", "--rest"]);
    let lines: Vec<Vec<&str>> = shown.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!((lines[2][0], lines[2][7], lines[3][9]), ("cs", "cs", "yes"), "{shown}");
    let user = http(port, "GET /boot/cloud-init/m0/user-data", "").await;
    let wanted = "#cloud-config\nhostname: cs-0-4\ntimezone: UTC\nntp: {servers: [\"10.69.0.3\"]}\n";
    assert_eq!((user.status, user.text().as_str()), (200, wanted));
    assert_eq!(user.header("content-length"), wanted.len().to_string());
    let meta = http(port, "GET /boot/cloud-init/m1/meta-data", "").await;
    assert_eq!(meta.text(), "instance-id: m1\nlocal-hostname: cs-0-5\n");
    // cloud-init does without these.
    for path in ["m0/vendor-data", "m0/network-config", "none/user-data", "B0/user-data", "m0/other", "m0/"] {
        assert_eq!(http(port, &format!("GET /boot/cloud-init/{path}"), "").await.status, 404, "{path}");
    }
    let ignition = http(port, "GET /boot/ignition?serial=m1", "").await;
    assert!(ignition.status == 200 && ignition.text().contains("data:,cs-0-5"), "{}", ignition.text());
    assert!(
        ok(&server, &["template", "render", "m0", "--kind", "ignition"])
            .starts_with("# ignition: ign@1\n{\"ignition\"")
    );
    assert_eq!(ok(&server, &["template", "check"]), "5 configurations of 3 machines are made\n");
    // Between machines, and between versions; without colours, since nobody looks.
    let diff = ok(&server, &["template", "diff", "m0", "m1", "--kind", "user-data"]);
    assert!(
        diff.starts_with("--- m0\n+++ m1\n@@ -1,5 +1,5 @@\n")
            && diff.contains("\n-hostname: cs-0-4\n+hostname: cs-0-5\n"),
        "{diff}"
    );
    assert_eq!(set(&server, "base", "part", "timezone: Asia/Tokyo\n").0, 0);
    let diff = ok(&server, &["template", "diff", "base@1", "base@2"]);
    assert_eq!(diff, "--- base@1\n+++ base@2\n@@ -1 +1 @@\n-timezone: UTC\n+timezone: Asia/Tokyo\n");
    assert!(http(port, "GET /boot/cloud-init/m0/user-data", "").await.text().contains("Asia/Tokyo"));
    assert_eq!(ok(&server, &["template", "rollback", "base"]), "template base is at version 1 again\n");
    assert_eq!(http(port, "GET /boot/cloud-init/m0/user-data", "").await.text(), wanted);
    let audit = ok(&server, &["audit"]);
    assert!(audit.contains("set template cs") && audit.contains("roll back template base"), "{audit}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_machine_could_not_read_is_refused_before_it_can_boot_it() {
    let (server, port) = with_machines("refused").await;
    assert_eq!(set(&server, "base", "part", BASE).0, 0);
    assert_eq!(set(&server, "cs", "user-data", USER).0, 0);
    ok(&server, &["template", "pin", "cs", "--kind", "user-data", "--role", "cs"]);
    for (name, kind, text, why) in [
        ("cs", "user-data", "#cloud-config\nhostname: {{ nmae }}\n", "for m0: template cs, line 2: undefined value"),
        (
            "cs",
            "user-data",
            "#cloud-config\nruncmds: []\n",
            "for m0: template cs, line 2 of what comes of it: cloud-init knows no `runcmds`",
        ),
        // Nobody has it pinned, but those who include it.
        ("base", "part", "timezone: {{ labels.zone }}\n", "for m0: template base, line 1: undefined value"),
        ("base", "part", "{% if %}", "template base, line 1: syntax error"),
        ("cs", "ignition", "{}", "kind: `cs` is user-data"),
    ] {
        let (code, said) = set(&server, name, kind, text);
        assert!(code == 1 && said.contains(why), "{said}");
    }
    // A template that nobody gets is refused when somebody is to get it.
    assert_eq!(set(&server, "ign", "ignition", &IGNITION.replace("3.4.0", "3.9.0")).0, 0);
    let (code, _, error) = server.run(&["template", "pin", "ign", "--kind", "ignition", "--machine", "m1"]);
    assert!(code == 1 && error.contains("for m1: template ign") && error.contains("3.9.0"), "{error}");
    let (code, _, error) = server.run(&["template", "remove", "base"]);
    assert!(code == 1 && error.contains("for m0"), "others include it: {error}");
    assert!(http(port, "GET /boot/cloud-init/m0/user-data", "").await.text().contains("timezone: UTC"));
    // What changes later at a machine is found by `check`, and does not keep anybody from mending the rest.
    ok(&server, &["machines", "label", "m0", "zone=x"]);
    ok(&server, &["machines", "label", "m1", "zone=y"]);
    assert_eq!(set(&server, "base", "part", "timezone: {{ labels.zone }}\n").0, 0);
    ok(&server, &["machines", "label", "m1", "--remove", "zone"]);
    let (code, out, _) = server.run(&["template", "check"]);
    assert!(code == 1 && out.contains("WRONG: m1: template base, line 1: undefined value"), "{out}");
    assert_eq!(http(port, "GET /boot/cloud-init/m1/user-data", "").await.status, 503);
    assert_eq!(set(&server, "other", "part", "x").0, 0);
}

/// Steps are few and short, and what they make is not: 40 doublings, a list of 10^10 entries, a text that is a thousand times in one that is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_template_that_runs_away_takes_nobody_along() {
    let (server, port) = with_machines("templates-run-away").await;
    assert_eq!(set(&server, "cs", "user-data", USER.replace("{% include 'base' %}\n", "").as_str()).0, 0);
    ok(&server, &["template", "pin", "cs", "--kind", "user-data", "--role", "cs"]);
    let before = http(port, "GET /boot/cloud-init/m0/user-data", "").await;
    let doubled = format!(
        "{{% set x0 = 'x' * 1000 %}}{}",
        (0..40).map(|at| format!("{{% set x{} = x{at} ~ x{at} %}}", at + 1)).collect::<String>()
    );
    let captured = "{% set x %}{{ serial * 99999 }}{% endset %}{% set y %}{% for a in range(9999) %}{{ x }}{% endfor %}{% endset %}";
    for text in [doubled.as_str(), captured, "{{ ([0] * 10000000000) | join }}"] {
        let (code, said) = set(&server, "cs", "user-data", &format!("#cloud-config\n{text}hostname: {{{{ name }}}}\n"));
        assert!(
            code == 1 && said.contains("template cs: it takes more than 512 MiB of memory, or more time"),
            "{said}"
        );
        assert!(said.contains("nothing was changed"), "{said}");
    }
    assert_eq!(http(port, "GET /boot/cloud-init/m0/user-data", "").await.text(), before.text());
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.id())).unwrap();
    let most: u64 =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok()).unwrap();
    assert!(most < 400_000, "the server took {most} kB itself");
    assert!(ok(&server, &["template", "check"]).contains("configurations of 3 machines are made"));
}
