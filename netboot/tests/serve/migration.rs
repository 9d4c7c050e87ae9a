//! A change of the address plan under live machines, by the command line, with the server killed in the middle.

use super::{Server, ipam};
use serde_json::{Value, json};

fn ok(server: &Server, words: &[&str]) -> String {
    let (code, out, error) = server.run(words);
    assert_eq!(code, 0, "{words:?}: {error}");
    out
}

fn refused(server: &Server, words: &[&str], says: &str) {
    let (code, _, error) = server.run(words);
    assert!(code == 1 && error.contains(says), "{words:?}: {error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_one_plan_to_another_and_back() {
    let mut server = Server::with_plan("migration").await;
    server.register(3).await;
    let write = |name: &str, document: &Value| {
        std::fs::write(server.path(name), document.to_string()).unwrap();
        server.path(name).display().to_string()
    };
    let mut to = ipam();
    to["node"][0]["prefix"] = json!("10.80.0.0/16");
    let to = write("to.yaml", &to);
    let mut wide = ipam();
    (wide["node"][0]["range_bits"], wide["node"][0]["mask"]) = (json!(7), json!(25));
    let wide = write("wide.yaml", &wide);
    let plan = json!({ "asn": { "per_rack": { "base": 64600 } }, "switches": {
        "tor1": { "rack": 0, "network": 1, "addresses": ["10.69.255.1/32"], "uplinks": { "spine1": { "asn": 64599, "address": "10.72.1.0" } } } } });
    ok(&server, &["plan", "set", &write("plan.yaml", &plan)]);
    assert_eq!(ok(&server, &["ipam", "migration", "show"]), "no change of the address plan is under way\n");
    let preview = ok(&server, &["ipam", "plan", &to]);
    assert!(preview.starts_with("3 of 3 machines get other addresses\n"), "{preview}");
    assert!(preview.contains("m0      cs-0-4  0     64600  10.69.0.4 10.69.0.68 10.69.0.132 10.72.17.4"), "{preview}");
    assert!(preview.contains("tor1:") && preview.contains("  +") && !preview.contains("CONFLICT"), "{preview}");
    assert!(ok(&server, &["ipam", "plan", &wide]).contains("CONFLICT (m"));
    refused(&server, &["ipam", "set", &to], "`weft-netboot ipam migrate FILE` does");
    refused(&server, &["ipam", "migrate", &wide], "is something else in the");
    refused(&server, &["ipam", "migration", "finish"], "is under way: begin one");
    let begun = ok(&server, &["ipam", "migrate", &to]);
    assert!(begun.contains("0 of 3 machines are through"), "{begun}");
    refused(&server, &["ipam", "migrate", &to], "is under way: finish or abort it first");
    ok(&server, &["ipam", "migration", "confirm", "m1"]);
    // In the middle the server dies, and goes on.
    server.kill();
    server.start().await;
    let shown = ok(&server, &["ipam", "migration", "show"]);
    assert!(shown.contains("1 of 3 machines are through") && !shown.contains("m1 "), "{shown}");
    let tor = ok(&server, &["fabric", "config", "tor1"]);
    weft_fabric::config::parse("tor1", &tor).and_then(|config| config.node()).unwrap();
    assert!(tor.contains("cs-0-4: [10.69.0.4/32, 10.80.0.4/32]") && tor.contains("cs-0-5: [10.80.0.5/32]"), "{tor}");
    assert!(ok(&server, &["ipam", "explain", "10.80.0.4"]).contains("cs-0-4 (m0)"));
    assert!(ok(&server, &["ipam", "explain", "10.69.0.5"]).contains("nobody is registered there"), "it has confirmed");
    refused(&server, &["ipam", "migration", "finish"], "2 machines have not confirmed: m0, m2");
    let (_, answer) = server.get("/metrics").await;
    assert!(answer.as_str().unwrap().contains("weft_netboot_migration_machines{state=\"waiting\"} 2"));
    // Back, and then once more to its end.
    let back = ok(&server, &["ipam", "migration", "abort"]);
    assert!(back.contains("aborted: machines go back") && back.contains("2 of 3 machines are through"), "{back}");
    ok(&server, &["ipam", "migration", "confirm", "m1"]);
    ok(&server, &["ipam", "migration", "finish"]);
    assert!(ok(&server, &["ipam", "get"]).contains("10.69.0.0/16"));
    ok(&server, &["ipam", "migrate", &to]);
    ok(&server, &["ipam", "migration", "confirm", "m0", "m1", "m2"]);
    assert_eq!(ok(&server, &["ipam", "migration", "finish"]), "no change of the address plan is under way\n");
    assert!(ok(&server, &["ipam", "get"]).contains("10.80.0.0/16"));
    assert!(ok(&server, &["machines", "show", "m0"]).contains("10.80.0.4 10.80.0.68 10.80.0.132"));
    let audit = ok(&server, &["audit", "--subject", "ipam"]);
    for what in ["begin ipam migration", "abort ipam migration", "finish ipam migration"] {
        assert!(audit.contains(what), "{audit}");
    }
    assert!(ok(&server, &["audit", "--subject", "m0"]).contains("confirm addresses"));
}
