//! The OpenAPI document: what it says can be asked, and what is answered has the forms that it says.

use super::Server;
use hyper::Method;
use serde_json::{Value, json};

const METHODS: [&str; 5] = ["get", "put", "post", "delete", "patch"];

/// Words of JSON Schema that are checked above, or say nothing that an answer could break.
const KNOWN: [&str; 13] = [
    "type",
    "enum",
    "const",
    "additionalProperties",
    "description",
    "title",
    "format",
    "default",
    "minimum",
    "maximum",
    "uniqueItems",
    "minItems",
    "maxItems",
];

/// What of JSON Schema 2020-12 the document uses; anything else fails, so that nothing is passed over.
fn fits(document: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    let wrong = |why: String| Err(format!("{at}: {why}: {value}"));
    let Some(schema) = schema.as_object() else {
        return if schema == &json!(true) { Ok(()) } else { wrong("nothing fits".to_owned()) };
    };
    for (key, rule) in schema {
        match key.as_str() {
            "$ref" => {
                let pointer = rule.as_str().unwrap().trim_start_matches('#');
                let meant = document.pointer(pointer).ok_or_else(|| format!("{at}: {pointer} is not there"))?;
                fits(document, meant, value, at)?;
            }
            "type" if !is_of(rule, value) => return wrong(format!("is no {rule}")),
            "enum" if !rule.as_array().unwrap().contains(value) => return wrong(format!("none of {rule}")),
            "const" if rule != value => return wrong(format!("not {rule}")),
            "anyOf" | "oneOf" => {
                let all = rule.as_array().unwrap();
                if !all.iter().any(|one| fits(document, one, value, at).is_ok()) {
                    return wrong(format!("fits none of {rule}"));
                }
            }
            "items" => {
                for (number, item) in value.as_array().into_iter().flatten().enumerate() {
                    fits(document, rule, item, &format!("{at}[{number}]"))?;
                }
            }
            "required" => {
                for name in rule.as_array().unwrap() {
                    if value.is_object() && value.get(name.as_str().unwrap()).is_none() {
                        return wrong(format!("lacks {name}"));
                    }
                }
            }
            "properties" => fields(document, schema, value, at)?,
            "additionalProperties" if rule.is_object() && schema.get("properties").is_none() => {
                for (name, field) in value.as_object().into_iter().flatten() {
                    fits(document, rule, field, &format!("{at}.{name}"))?;
                }
            }
            known if KNOWN.contains(&known) => {}
            other => return Err(format!("{at}: the document uses `{other}`, which this test does not know")),
        }
    }
    Ok(())
}

fn is_of(rule: &Value, value: &Value) -> bool {
    let is: &[&str] = match value {
        Value::Null => &["null"],
        Value::Bool(_) => &["boolean"],
        Value::Number(number) if number.is_f64() => &["number"],
        Value::Number(_) => &["integer", "number"],
        Value::String(_) => &["string"],
        Value::Array(_) => &["array"],
        Value::Object(_) => &["object"],
    };
    let one = |rule: &Value| rule.as_str().is_some_and(|rule| is.contains(&rule));
    rule.as_array().map_or_else(|| one(rule), |all| all.iter().any(one))
}

/// Stricter than the schema: what is answered and not in the document is missing there.
fn fields(document: &Value, schema: &serde_json::Map<String, Value>, value: &Value, at: &str) -> Result<(), String> {
    for (name, field) in value.as_object().into_iter().flatten() {
        let rest = schema.get("additionalProperties").filter(|rule| rule.is_object());
        match schema["properties"].get(name).or(rest) {
            Some(rule) => fits(document, rule, field, &format!("{at}.{name}"))?,
            None if schema.get("oneOf").is_none() => return Err(format!("{at}: `{name}` is not in the document")),
            None => {}
        }
    }
    Ok(())
}

async fn filled(name: &str) -> Server {
    let mut server = Server::new(name);
    // Its watcher sees nothing; what can be asked about it is there.
    let (store, daemon) = (server.path("inventory.redb"), server.path("weft.sock"));
    let config = json!({ "store": { "embedded": store }, "socket": server.path("s"), "liveness": { "daemon": daemon },
            "boot": {
                "listen": ["127.0.0.1:0"], "images": server.path("images"), "loaders": { "l": server.path("stub") },
                "uki": { "stub": server.path("stub"), "otherwise": "l" }
            },
            "bmc": { "pins": server.path("pins"), "rules": [{ "credentials": server.path("secret"), "trust": "learn" }] } });
    std::fs::write(server.path("netboot.yaml"), config.to_string()).unwrap();
    std::fs::write(server.path("stub"), super::boot::stub()).unwrap();
    server.start().await;
    assert_eq!(server.ask(Method::PUT, "/v1/ipam", &super::ipam()).await.0, 200);
    let machine = json!([{
        "serial": "m0", "rack": 0, "role": "cs", "labels": { "zone": "x" }, "bmc_type": "Redfish", "retires": "2100-01-01T00:00:00Z",
        "announces": ["10.64.4.0/27", "10.72.32.0/20 ge 32"],
        "ids": { "macs": ["52:54:00:00:00:01"], "uuid": "4c4c4544-0042-4410-8052-b4c04f564433", "tpm_ek": "a".repeat(64) },
        "hardware": {
            "vendor": "v", "product": "p", "firmware": "f", "cpu": "c", "threads": 8, "memory_bytes": 1_024,
            "disks": [{ "name": "sda", "bytes": 1, "model": "m", "serial": "s" }],
            "nics": [{ "name": "eth0", "mac": "52:54:00:00:00:01", "megabits": 1_000 }]
        }
    }]);
    assert_eq!(server.ask(Method::POST, "/v1/machines", &machine).await.0, 201);
    assert_eq!(
        server.ask(Method::PUT, "/v1/machines/m0/state", &json!({ "state": "healthy", "reason": "r" })).await.0,
        200
    );
    let plan = json!({
        "asn": { "per_rack": { "base": 64600 } }, "mark": { "asn": 64512, "roles": { "cs": 2 } },
        "switches": { "tor1": { "rack": 0, "network": 1, "addresses": ["10.69.255.1/32"], "uplinks": { "spine1": { "asn": 64599, "address": "10.72.1.0" } } } },
        "announce": { "cs": ["10.72.32.0/20 ge 32"] }
    });
    let (status, answer) = server.ask(Method::PUT, "/v1/plan", &plan).await;
    assert_eq!(status, 200, "{answer}");
    let file = json!("kernel");
    let sha256 = super::pull::digest_of(file.to_string().as_bytes());
    assert_eq!(server.ask(Method::PUT, &format!("/v1/boot/files/{sha256}"), &file).await.0, 200);
    let image = json!({ "kernel": { "sha256": sha256, "bytes": file.to_string().len() } });
    assert_eq!(server.ask(Method::PUT, "/v1/boot/images/tor1", &image).await.0, 200);
    let template = json!({ "kind": "user-data", "text": "#!/bin/sh\n" });
    assert_eq!(server.ask(Method::PUT, "/v1/templates/tor1", &template).await.0, 200);
    let pin = json!({ "whom": { "role": "cs" }, "kind": "user-data", "to": "tor1" });
    assert_eq!(server.ask(Method::PUT, "/v1/template-pins", &pin).await.0, 200);
    assert_eq!(server.ask(Method::PUT, "/v1/dhcp", &json!({ "dns_servers": ["10.0.0.53"] })).await.0, 200);
    server
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_have_the_forms_of_the_document() {
    let server = filled("openapi").await;
    let (_, document) = server.get("/v1/openapi.json").await;
    assert_eq!(document["openapi"], "3.1.0");
    let mut looked_at = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        let Some(content) = operations.pointer("/get/responses/200/content") else { continue };
        let Some(schema) = content.pointer("/application~1json/schema") else { continue };
        let real = path.replace("{serial}", "m0").replace("{address}", "10.69.0.4").replace("{name}", "tor1");
        let real = if path == "/graphql" { "/graphql?query=%7B__typename%7D".to_owned() } else { real };
        let real = if path == "/v1/boot/pcrs" { format!("{path}?image=tor1") } else { real };
        let (status, answer) = server.get(&real).await;
        // Its answers are several documents.
        if path == "/api/v1/logs" {
            continue;
        }
        assert_eq!(status, 200, "{real}: {answer}");
        fits(&document, schema, &answer, path).unwrap_or_else(|why| panic!("{why}"));
        looked_at += 1;
    }
    assert!(looked_at >= 13, "{looked_at}");
    let (_, refusal) = server.get("/v1/machines/none").await;
    let schema = document.pointer("/components/responses/Refused/content/application~1json/schema").unwrap();
    fits(&document, schema, &refusal, "refusal").unwrap();
    // This test can fail.
    assert!(fits(&document, schema, &json!({ "error": { "kind": 1 } }), "").is_err());
    assert!(fits(&document, schema, &json!({ "more": 1, "error": refusal["error"] }), "").is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_the_document_names_is_there_and_nothing_else() {
    let server = filled("routes").await;
    let (_, document) = server.get("/v1/openapi.json").await;
    let table = include_str!("../../docs/operation.md");
    let mut names = std::collections::BTreeSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        let real = path
            .replace("{serial}", "none")
            .replace("{address}", "x")
            .replace("{name}", "none")
            .replace("{label}", "x");
        for method in METHODS {
            if path == "/v1/watch/machines" && method == "get" {
                continue;
            }
            let upper: Method = method.to_ascii_uppercase().parse().unwrap();
            let (status, answer) = server.ask(upper, &real, &Value::Null).await;
            let known = operations.get(method).is_some();
            assert_eq!(status == 405, !known, "{method} {path}: {status} {answer}");
            assert!(
                !answer["error"]["message"].as_str().unwrap_or_default().starts_with("there is no route"),
                "{method} {path}: {answer}"
            );
            if let Some(operation) = operations.get(method) {
                assert!(names.insert(operation["operationId"].as_str().unwrap().to_owned()), "{path}: twice");
            }
        }
        // `/v1/machines/{serial}/state`: the table writes the last word, or the whole.
        let words: Vec<&str> = path.split('/').filter(|part| !part.starts_with('{') && !part.is_empty()).collect();
        assert!(table.contains(path) || table.contains(words[words.len() - 1]), "docs/operation.md: {path}");
    }
    let (_, answer) = server.get("/v1/none").await;
    assert!(answer["error"]["message"].as_str().unwrap().starts_with("there is no route"), "{answer}");
}
