//! Broken and hostile files: each is refused with its line and a remedy, and in little time.

use std::path::Path;

use super::*;

fn refused(text: &str) -> String {
    let error = Topology::parse(text, Path::new("/lab/t.clab.yml"), &|_| None).unwrap_err().to_string();
    assert!(error.len() < 4_000, "a person reads this: {} bytes", error.len());
    error
}

#[track_caller]
fn check(text: &str, place: &str, parts: &[&str]) {
    let error = refused(text);
    assert!(error.contains(place), "not at {place}: {error}");
    for part in parts {
        assert!(error.contains(part), "no `{part}`: {error}");
    }
}

#[test]
fn templates_that_call_each_other_in_a_circle_end() {
    check(
        "name: t\n{{ define \"a\" }}{{ template \"b\" }}{{ end }}\n{{ define \"b\" }}{{ template \"a\" }}{{ end }}\n\
         topology: {{ template \"a\" }}\n",
        "t.clab.yml:",
        &["without end", "let a condition end one of them"],
    );
}

#[test]
fn ten_megabytes_of_yaml_are_refused() {
    let mut text = "name: t\ntopology:\n  nodes:\n".to_owned();
    while text.len() < 10_000_000 {
        text.push_str(&format!("    n{}: {{kind: linux, image: alpine}}\n", text.len()));
    }
    check(&text, "t.clab.yml:1:", &["bytes of topology", "as a template or as groups"]);
    // the same, made by a template
    check(
        "name: t\ntopology:\n  nodes:\n{{ range seq 100000 }}{{ repeat 1000 \"x\" }}{{ end }}",
        "t.clab.yml:4:",
        &["make it smaller"],
    );
}

#[test]
fn aliases_that_multiply_are_refused() {
    let mut text = "name: t\nx0: &x0 [a, a, a, a, a, a, a, a, a]\n".to_owned();
    for level in 1..12 {
        let below = level - 1;
        text.push_str(&format!("x{level}: &x{level} [{}]\n", vec![format!("*x{below}"); 9].join(", ")));
    }
    text.push_str("topology: {nodes: {}}\n");
    check(&text, "t.clab.yml:", &[]);
    let mut text = "name: t\ntopology:\n  nodes:\n    a: {env: &e0 {A: b}}\n".to_owned();
    text.push_str("    b: {binds: &b0 [x, x, x, x, x, x, x, x, x, x]}\n");
    for level in 1..9 {
        let below = level - 1;
        text.push_str(&format!("    c{level}: {{binds: &b{level} [{}]}}\n", vec![format!("*b{below}"); 10].join(", ")));
    }
    check(&text, "t.clab.yml:", &[]);
}

#[test]
fn brackets_without_end_are_refused() {
    check(&format!("name: t\ntopology: {}", "[".repeat(100_000)), "t.clab.yml:", &[]);
    check(&format!("name: t\ntopology: {}", "{a: ".repeat(100_000)), "t.clab.yml:", &[]);
}

#[test]
fn all_nodes_that_cannot_run_are_told_at_once() {
    check(
        "name: t\ntopology:\n  nodes:\n    a: {kind: nokia_srlinux}\n    b: {kind: linux, image: vendor/nos:1}\n    \
         c: {kind: linux, image: weft}\n",
        "t.clab.yml:4:",
        &[
            "kind `nokia_srlinux`",
            "--substitute nokia_srlinux=",
            "line 5: topology.nodes.b.image",
            "--substitute vendor/nos=plain",
        ],
    );
}

#[test]
fn a_line_of_a_template_is_that_of_its_source() {
    check(
        "name: t\ntopology:\n  nodes:\n{{- range seq 3 }}\n    n{{ . }}:\n      image: weft\n{{- end }}\n    bad:\n      kind: ceos\n",
        "t.clab.yml:9:",
        &["kind `ceos`"],
    );
}

#[test]
fn names_that_would_escape_a_path_are_refused() {
    let nodes = |text: &str| format!("name: t\ntopology:\n  nodes:\n    {text}\n");
    check(&nodes("../../etc: {}"), "t.clab.yml:4:", &["a name has letters, digits"]);
    check(&nodes("a/b: {}"), "t.clab.yml:4:", &["a name has letters"]);
    check("name: ../x\ntopology: {nodes: {}}\n", "t.clab.yml:1:", &["a name has letters"]);
    check(&nodes("a: {volumes: ['da/ta:/data']}"), "t.clab.yml:4:", &["a name has letters"]);
    check(&nodes("a: {tmpfs: {/a/../..: size=1m}}"), "t.clab.yml:4:", &["without `..`"]);
    check(&nodes("a: {network-mode: 'container:../x'}"), "t.clab.yml:4:", &["a name has letters"]);
    check(&nodes("a: {sysctls: {net./../x: 1}}"), "t.clab.yml:4:", &["only `net.`"]);
    check(&nodes("a: {user: '0:../x'}"), "t.clab.yml:4:", &["write a user's name"]);
}

#[test]
fn ends_that_are_taken_are_refused_even_in_a_shared_network() {
    let file = |links: &str| {
        format!(
            "name: t\ntopology:\n  defaults: {{image: alpine}}\n  nodes: {{a: {{}}, b: {{network-mode: 'container:a'}}, c: {{}}}}\n  \
             links:\n{links}"
        )
    };
    let one = "    - endpoints: ['a:eth1', 'c:eth1']\n";
    check(&file(&format!("{one}{one}")), "t.clab.yml:7:", &["already the end of another link"]);
    check(&file(&format!("{one}    - endpoints: ['b:eth1', 'c:eth2']\n")), "t.clab.yml:7:", &["in the network of `a`"]);
    check(&file("    - {type: dummy, endpoint: 'a:lo'}\n"), "t.clab.yml:6:", &["`lo` is taken"]);
    let host = "    - endpoints: ['a:eth1', 'host:x']\n    - endpoints: ['c:eth1', 'host:x']\n";
    check(&file(host), "t.clab.yml:7:", &["`host:x` is already the end"]);
}

#[test]
fn circles_are_named() {
    check(
        "name: t\ntopology:\n  defaults: {image: alpine}\n  nodes:\n    a: {stages: {create: {wait-for: [{node: b, stage: configure}]}}}\n    \
         b: {stages: {create-links: {wait-for: [{node: a, stage: healthy}]}}}\n",
        "t.clab.yml:5:",
        &["stages wait for each other", "a/create ← b/configure", "take one wait-for away"],
    );
    check(
        "name: t\ntopology:\n  nodes:\n    a: {stages: {create: {wait-for: [{node: x, stage: create}]}}}\n",
        "t.clab.yml:4:",
        &["there is no node `x`"],
    );
    check(
        "name: t\ntopology:\n  nodes:\n    a: {network-mode: 'container:b'}\n    b: {network-mode: 'container:a'}\n",
        "t.clab.yml:4:",
        &["in a circle", "let one have its own"],
    );
    check(
        "name: t\ntopology:\n  nodes:\n    a: {network-mode: 'container:a'}\n",
        "t.clab.yml:4:",
        &["in a circle, with `a` in it"],
    );
}

#[test]
fn other_values_that_make_no_sense_are_refused() {
    let nodes = |text: &str| format!("name: t\ntopology:\n  nodes:\n    {text}\n");
    check(&nodes("a: {healthcheck: {test: [true]}}"), "t.clab.yml:4:", &["CMD-SHELL"]);
    check(&nodes("a: {startup-delay: 100000}"), "t.clab.yml:4:", &["600 are the most"]);
    check(&nodes("a: {env-files: [no-such.env]}"), "t.clab.yml:4:", &["no-such.env"]);
    check(&nodes("a: {tmpfs: {/x: 'upperdir=/'}}"), "t.clab.yml:4:", &["size="]);
    check(&nodes("a: {network-mode: bogus}"), "t.clab.yml:4:", &["container:NODE"]);
    check("name: t\ntopology: {nodes: {}}\nweft: automatic\n", "t.clab.yml:3:", &["write `auto`"]);
}

#[test]
fn lenient_leaves_out_what_nobody_knows_and_says_so() {
    let text = "\
name: t
future: [1, 2]
topology:
  nodes:
    a:
      kind: linux
      novel:
        deep: {x: y}
        list:
        - 1
      image: alpine
    b: {image: alpine, odd: {k: [1, 2]}, group: g}
  links:
    - endpoints: [\"a:eth1\", \"b:eth1\"]
      colour: red
";
    let reading = Reading { lenient: true, ..Reading::new(&|_| None) };
    let none = serde_json::json!({});
    let topology = Topology::parse_with(text, Path::new("/lab/t.clab.yml"), &reading, &none).unwrap();
    assert_eq!((topology.nodes["a"].image.as_str(), topology.nodes["b"].group.as_deref()), ("alpine", Some("g")));
    let warnings = topology.warnings.join("\n");
    for key in ["line 2: nobody knows `future`", "line 7: nobody knows `novel`", "`odd`", "`colour`"] {
        assert!(warnings.contains(key), "{key}: {warnings}");
    }
    assert!(refused(text).contains("unknown field"));
}

#[test]
fn substitutes_run_where_a_kind_or_image_cannot() {
    let text = "name: t\ntopology:\n  nodes:\n    a: {kind: ceos, image: 'ceos:4'}\n    b: {image: 'registry:5000/vendor/nos:1'}\n";
    let substitutes =
        vec![("ceos".to_owned(), Personality::Frr), ("registry:5000/vendor/nos".to_owned(), Personality::Plain)];
    let reading = Reading { substitutes, ..Reading::new(&|_| None) };
    let topology = Topology::parse_with(text, Path::new("/lab/t.clab.yml"), &reading, &serde_json::json!({})).unwrap();
    assert_eq!(topology.nodes["a"].personality, Personality::Frr);
    assert_eq!(topology.nodes["b"].personality, Personality::Plain);
}
