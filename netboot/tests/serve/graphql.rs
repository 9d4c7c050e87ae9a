//! GraphQL as Sabakan's clients speak it: its names, its answers, its types of errors; who may; and what one request may cost.

use super::roles::with_tls;
use super::{Server, ask};
use hyper::Method;
use serde_json::{Value, json};

/// The query of Sabakan's documentation, with every field of its schema.
const SEARCH: &str = "query search($having: MachineParams = null, $notHaving: MachineParams = null) {
  searchMachines(having: $having, notHaving: $notHaving) {
    spec { serial labels { name value } rack indexInRack role ipv4 registerDate retireDate bmc { bmcType ipv4 } }
    status { state timestamp duration }
    info { bmc { ipv4 { address netmask maskbits gateway } } }
  }
}";

impl Server {
    async fn graphql(&self, query: &str, variables: Value) -> Value {
        let body = json!({ "query": query, "variables": variables });
        let (status, answer) = self.ask(Method::POST, "/graphql", &body).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }
}

async fn two_racks(name: &str) -> Server {
    let server = Server::with_plan(name).await;
    let machines = json!([
        { "serial": "a", "rack": 0, "role": "cs", "labels": { "datacenter": "dc1", "product": "vm" }, "bmc_type": "Redfish" },
        { "serial": "b", "rack": 1, "role": "cs", "labels": { "datacenter": "dc1" }, "retires": "2100-01-01T00:00:00Z" },
        { "serial": "c", "rack": 1, "role": "boot" }
    ]);
    assert_eq!(server.ask(Method::POST, "/v1/machines", &machines).await.0, 201);
    for serial in ["a", "b"] {
        let path = format!("/v1/machines/{serial}/state");
        assert_eq!(server.ask(Method::PUT, &path, &json!({ "state": "healthy" })).await.0, 200);
    }
    server
}

fn serials(answer: &Value) -> Vec<&str> {
    let machines = answer["data"]["searchMachines"].as_array().unwrap_or_else(|| panic!("{answer}"));
    machines.iter().map(|machine| machine["spec"]["serial"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn searches_are_answered_as_sabakan_answers_them() {
    let server = two_racks("graphql").await;
    let having = json!({ "labels": [{ "name": "datacenter", "value": "dc1" }], "states": ["HEALTHY"] });
    let answer = server.graphql(SEARCH, json!({ "having": having, "notHaving": { "racks": [1] } })).await;
    let mut found = answer["data"]["searchMachines"][0].clone();
    assert!(found["status"]["duration"].as_f64().unwrap() >= 0.0);
    for (part, field) in [("status", "duration"), ("status", "timestamp"), ("spec", "registerDate")] {
        assert!(!found[part][field].take().is_null(), "{answer}");
    }
    let wanted = json!({
        "spec": {
            "serial": "a", "labels": [{ "name": "datacenter", "value": "dc1" }, { "name": "product", "value": "vm" }],
            "rack": 0, "indexInRack": 4, "role": "cs", "ipv4": ["10.69.0.4", "10.69.0.68", "10.69.0.132"],
            "registerDate": null, "retireDate": "0001-01-01T00:00:00Z", "bmc": { "bmcType": "Redfish", "ipv4": "10.72.17.4" },
        },
        "status": { "state": "HEALTHY", "timestamp": null, "duration": null },
        "info": { "bmc": { "ipv4": { "address": "10.72.17.4", "netmask": "255.255.240.0", "maskbits": 20, "gateway": "10.72.16.1" } } },
    });
    assert_eq!((found, serials(&answer).len()), (wanted, 1));
    for (having, without, wanted) in [
        (Value::Null, Value::Null, vec!["a", "b", "c"]),
        (json!({ "racks": [1], "roles": ["cs", "ss"] }), Value::Null, vec!["b"]),
        (json!({ "states": ["UNINITIALIZED", "RETIRED"] }), Value::Null, vec!["c"]),
        (json!({ "minDaysBeforeRetire": 90 }), Value::Null, vec!["b"]),
        (Value::Null, json!({ "minDaysBeforeRetire": 90 }), vec!["a", "c"]),
        (
            Value::Null,
            json!({ "labels": [{ "name": "product", "value": "vm" }, { "name": "x", "value": "y" }] }),
            vec!["b", "c"],
        ),
        (json!({ "racks": [7] }), Value::Null, vec![]),
        (json!({ "racks": [], "labels": [] }), json!({ "roles": [] }), vec!["a", "b", "c"]),
    ] {
        let answer = server.graphql(SEARCH, json!({ "having": having, "notHaving": without })).await;
        assert_eq!(serials(&answer), wanted, "{having} {without}");
    }
    let one = "query get($serial: ID!) { machine(serial: $serial) { spec { serial labels { name } ipv4 } status { state } } }";
    let answer = server.graphql(one, json!({ "serial": "c" })).await;
    let spec = json!({ "serial": "c", "labels": null, "ipv4": ["10.69.0.195", "10.69.1.3", "10.69.1.67"] });
    assert_eq!(answer, json!({ "data": { "machine": { "spec": spec, "status": { "state": "UNINITIALIZED" } } } }));
    // As a link, and through the question about the schema itself.
    let (status, answer) = server.get("/graphql?query=%7Bmachine(serial%3A%22a%22)%7Bstatus%7Bstate%7D%7D%7D").await;
    assert_eq!((status, &answer["data"]["machine"]["status"]["state"]), (200, &json!("HEALTHY")));
    let schema = server
        .graphql(
            "{ __type(name: \"MachineParams\") { inputFields { name type { kind ofType { name } } } } }",
            Value::Null,
        )
        .await;
    let fields = schema["data"]["__type"]["inputFields"].as_array().unwrap().len();
    assert_eq!(fields, 5, "{schema}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn states_are_set_and_refusals_have_their_types() {
    let server = two_racks("mutation").await;
    let set = |serial: &str, state: &str| {
        format!("mutation {{ setMachineState(serial: \"{serial}\", state: {state}) {{ state }} }}")
    };
    let answer = server.graphql(&set("a", "UNHEALTHY"), Value::Null).await;
    assert_eq!(answer, json!({ "data": { "setMachineState": { "state": "UNHEALTHY" } } }));
    assert_eq!(server.get("/v1/machines/a").await.1["state"]["name"], "unhealthy");
    for (query, kind, field, serial) in [
        (set("a", "RETIRE"), "INVALID_STATE_NAME", "state", Value::Null),
        (set("b", "UNINITIALIZED"), "INVALID_STATE_TRANSITION", "state", json!("b")),
        (set("none", "HEALTHY"), "MACHINE_NOT_FOUND", "", json!("none")),
        ("{ machine(serial: \"none\") { status { state } } }".to_owned(), "MACHINE_NOT_FOUND", "", json!("none")),
        (
            "{ searchMachines(having: { racks: [-1] }) { spec { serial } } }".to_owned(),
            "BAD_REQUEST",
            "having.racks",
            Value::Null,
        ),
        ("{ machine(serial: \"a\") { colour } }".to_owned(), "BAD_REQUEST", "query", Value::Null),
        ("{ machine(".to_owned(), "BAD_REQUEST", "query", Value::Null),
    ] {
        let answer = server.graphql(&query, Value::Null).await;
        let extensions = &answer["errors"][0]["extensions"];
        assert_eq!(
            (&extensions["type"], &extensions["field"], &extensions["serial"]),
            (&json!(kind), &json!(field), &serial),
            "{query}: {answer}"
        );
        assert!(!extensions["rule"].as_str().unwrap().is_empty(), "{answer}");
    }
    assert_eq!(server.get("/v1/machines/b").await.1["state"]["name"], "healthy", "a refusal changes nothing");
    let audit = server.get("/v1/audit?subject=a&limit=1").await.1;
    assert_eq!(audit["entries"][0]["after"]["state"]["reason"], "through GraphQL", "{audit}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_request_may_ask_is_bounded() {
    let server = two_racks("costs").await;
    let searches = |count: usize| {
        let all: Vec<String> = (0..count).map(|at| format!("s{at}: searchMachines {{ spec {{ serial }} }}")).collect();
        format!("{{ {} }}", all.join(" "))
    };
    assert_eq!(server.graphql(&searches(3), Value::Null).await["data"]["s2"].as_array().map(Vec::len), Some(3));
    let nested = |depth: usize| {
        format!("{{ __schema {{ types {{ {} name {} }} }} }}", "ofType {".repeat(depth), "}".repeat(depth))
    };
    let racks: Vec<usize> = (0..300).collect();
    for (query, says) in [
        (searches(4), "at most 400 fields"),
        (nested(25), "at most 20 levels"),
        (nested(5_000), "levels"),
        (format!("{{ searchMachines(having: {{ racks: {racks:?} }}) {{ spec {{ serial }} }} }}"), "at most 256"),
        // Fragments within fragments have no end.
        ("{ ...a } fragment a on Query { ...b } fragment b on Query { ...a }".to_owned(), "levels"),
    ] {
        let answer = server.graphql(&query, Value::Null).await;
        let rule = answer["errors"][0]["extensions"]["rule"].as_str().unwrap_or_default();
        assert!(rule.contains(says), "{says}: {answer}");
    }
    for (body, status) in [
        (json!({ "query": "x".repeat(300_000) }), 413),
        (json!({ "query": "{ __typename }", "variables": [1] }), 400),
        (json!({ "quer": "{ __typename }" }), 400),
        (json!([{ "query": "{ __typename }" }]), 400),
    ] {
        let said = server.target().ask(Method::POST, "/graphql", Some(&body)).await;
        // The answer may be lost with the connection, because the rest of the body is not read.
        if let Ok(said) = said {
            assert_eq!(said.status, status, "{}", String::from_utf8_lossy(&said.body));
        }
    }
    let (status, answer) = server
        .get("/graphql?query=mutation%7BsetMachineState(serial%3A%22a%22%2Cstate%3AUNHEALTHY)%7Bstate%7D%7D")
        .await;
    assert_eq!((status, &answer["error"]["rule"]), (405, &json!("send changes with POST")));
    assert_eq!(server.get("/v1/machines/a").await.1["state"]["name"], "healthy");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roles_are_those_of_rest() {
    let (_server, ours, port) = with_tls("graphql-roles").await;
    for role in ["admin", "operator", "read"] {
        ours.client(role, &[&format!("spiffe://weft/weft/{role}/somebody")]);
    }
    ours.client("machine", &["spiffe://weft/weft/machine/m0"]);
    let set = |state: &str| format!("mutation {{ setMachineState(serial: \"m0\", state: {state}) {{ state }} }}");
    for (query, allowed) in [
        // For machine, read, operator, admin.
        ("{ searchMachines { spec { serial } } }".to_owned(), [false, true, true, true]),
        ("{ machine(serial: \"m0\") { spec { serial } } }".to_owned(), [true, true, true, true]),
        ("{ machine(serial: \"m1\") { spec { serial } } }".to_owned(), [false, true, true, true]),
        (set("HEALTHY"), [false, false, true, true]),
        (set("RETIRING"), [false, false, false, true]),
    ] {
        for (role, allowed) in ["machine", "read", "operator", "admin"].into_iter().zip(allowed) {
            let body = json!({ "query": query });
            let (status, answer) = ask(&ours.target(role, port, &ours), Method::POST, "/graphql", &body).await;
            let refused = answer["errors"][0]["extensions"]["type"] == "FORBIDDEN";
            assert_eq!(
                (status, refused, answer["errors"].is_null()),
                (200, !allowed, allowed),
                "{role}: {query}: {answer}"
            );
        }
    }
}
