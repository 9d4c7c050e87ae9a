//! What containerlab's users write in templates, and what would never end.

use serde_json::json;

use super::*;

fn rendered(text: &str, variables: serde_json::Value) -> String {
    render(text, &variables).unwrap().text
}

#[test]
fn a_clos_is_written_by_two_ranges() {
    let text = "\
links:
{{- range $spine := seq .spines }}
  {{- range $i, $leaf := $.leaves }}
  - endpoints: [\"spine{{ $spine }}:eth{{ add $i 1 }}\", \"{{ $leaf.name }}:eth{{ $spine }}\"]
  {{- end }}
{{- end }}
";
    let variables = json!({"spines": 2, "leaves": [{"name": "a"}, {"name": "b"}]});
    let expected = "\
links:
  - endpoints: [\"spine1:eth1\", \"a:eth1\"]
  - endpoints: [\"spine1:eth2\", \"b:eth1\"]
  - endpoints: [\"spine2:eth1\", \"a:eth2\"]
  - endpoints: [\"spine2:eth2\", \"b:eth2\"]
";
    let result = render(text, &variables).unwrap();
    assert_eq!(result.text, expected);
    assert_eq!((1..=5).map(|line| result.source_line(line)).collect::<Vec<_>>(), [1, 4, 4, 4, 4]);
}

#[test]
fn conditions_variables_and_pipelines_work_as_in_go() {
    let variables = json!({"bfd": true, "tag": "v1", "mtu": 9000, "none": null});
    for (text, expected) in [
        ("{{ if .bfd }}yes{{ else }}no{{ end }}", "yes"),
        ("{{ if eq .tag \"v2\" }}a{{ else if eq .tag \"v1\" }}b{{ else }}c{{ end }}", "b"),
        ("{{ with .none }}x{{ else }}empty{{ end }}", "empty"),
        ("{{ $x := 3 }}{{ $x = add $x 4 }}{{ $x }}", "7"),
        ("{{ .tag | printf \"%s-%s\" \"frr\" | len }}{{ printf \"%05d|%-4s|\" 42 \"x\" }}", "600042|x   |"),
        ("a  {{- /* a comment with {{ in it */ -}}  b", "ab"),
        ("{{ if and .bfd (gt .mtu 1500) }}jumbo{{ end }}", "jumbo"),
        ("{{ index (slice \"a\" \"b\" \"c\") 1 }}{{ len (seq 0 4) }}", "b5"),
        ("{{ define \"n\" }}node{{ . }}{{ end }}{{ template \"n\" 3 }}", "node3"),
        ("{{ range $i, $n := seq 3 }}{{ if $i }},{{ end }}{{ $n }}{{ end }}", "1,2,3"),
        ("{{ printf \"{{%s}}\" \"x\" }}", "{{x}}"),
    ] {
        assert_eq!(rendered(text, variables.clone()), expected, "{text}");
    }
}

#[test]
fn functions_of_containerlab_and_gomplate_are_there() {
    for (text, expected) in [
        (
            "{{ subtract 5 7 }} {{ mul 2 3 4 }} {{ idiv 7 2 }} {{ rem 7 2 }} {{ div 8 2 }} {{ div 1 2 }}",
            "-2 24 3 1 4 0.5",
        ),
        (
            "{{ strings.ToUpper \"tor\" }} {{ \"a-b\" | strings.ReplaceAll \"-\" \"_\" }} {{ title \"to r\" }}",
            "TOR a_b To R",
        ),
        ("{{ conv.Join (slice \"a\" \"b\") \"+\" }} {{ default \"d\" \"\" }} {{ has (slice 1 2) 2 }}", "a+b d true"),
        ("{{ ToJSON . }}", "{\"a\":[1,\"x\"]}"),
        ("{{ net.CIDRHost 3 \"10.0.0.0/24\" }} {{ net.CIDRHost -1 \"fd00::/126\" }}", "10.0.0.3 fd00::3"),
        ("{{ index (net.CIDRSubnets 2 \"10.0.0.0/24\") 3 }}", "10.0.0.192/26"),
        ("{{ seq 4 0 -2 }} {{ hasPrefix \"sp\" \"spine\" }} {{ trimSuffix \"1\" \"spine1\" }}", "[4 2 0] true spine"),
    ] {
        assert_eq!(rendered(text, json!({"a": [1, "x"]})), expected, "{text}");
    }
}

#[test]
fn what_is_wrong_is_named_with_its_line() {
    for (text, line, what) in [
        ("a\n{{ .x }}\n", 2, "--vars"),
        ("a\n\n{{ if }}\n", 3, "template: "),
        ("a\n{{ range seq 3 }}\n{{ nosuch . }}\n{{ end }}", 3, "no function `nosuch`"),
        ("a\n{{ define \"r\" }}\n{{ template \"r\" }}\n{{ end }}\n{{ template \"r\" }}", 3, "without end"),
        (
            "{{ define \"a\" }}{{ template \"b\" }}{{ end }}\n{{ define \"b\" }}{{ template \"a\" }}{{ end }}\n{{ template \"a\" }}",
            1,
            "without end",
        ),
        ("a\n{{ template \"b\" }}", 2, "no template `b`"),
        ("a\n{{ range seq 1000 }}{{ range seq 10000 }}{{ end }}{{ end }}", 2, "template"),
        ("a\n{{ range seq 50000 }}{{ repeat 1000 \"x\" }}{{ end }}", 2, "bytes: make it smaller"),
        ("a\n{{ seq 0 10 0 }}", 2, "step 0"),
        ("a\n{{ div 1 0 }}", 2, "divided by 0"),
        ("a\n{{ .x \n", 2, "without `}}`"),
    ] {
        let (found, message) = render(text, &json!({})).unwrap_err();
        assert!(message.contains(what), "{text}: {message}");
        assert!(found == line || text.starts_with("{{ define"), "{text}: line {found}: {message}");
    }
}

#[test]
fn templates_that_double_without_a_word_end_too() {
    let mut text = String::new();
    for level in 0..60 {
        let next = level + 1;
        text.push_str(&format!(
            "{{{{ define \"t{level}\" }}}}{{{{ template \"t{next}\" }}}}{{{{ template \"t{next}\" }}}}{{{{ end }}}}\n"
        ));
    }
    text.push_str("{{ define \"t60\" }}{{ end }}{{ template \"t0\" }}");
    let (_, message) = render(&text, &json!({})).unwrap_err();
    assert!(message.contains("does it end?"), "{message}");
}

#[test]
fn values_that_double_are_refused_with_their_line() {
    let x = "x".repeat(1_000);
    let again = |line: &str| format!("{{{{ $x := \"{x}\" }}}}\n{}{{{{ len $x }}}}", format!("{line}\n").repeat(60));
    let many = |line: &str| format!("{{{{ $x := strings.Repeat 90 \"{x}\" }}}}\n{}", format!("{line}\n").repeat(9_000));
    for (text, what) in [
        (again("{{ $x = print $x $x }}"), "print makes a value of more than 4194304 bytes"),
        (again("{{ $x = printf \"%s%s\" $x $x }}"), "printf makes"),
        (again("{{ $x = slice $x $x }}"), "slice makes"),
        (again("{{ $x = strings.ReplaceAll \"x\" $x $x }}"), "replaceAll makes"),
        (again("{{ $x = js (print $x \"\\\\\") }}{{ $x = print $x $x }}"), "makes a value"),
        (again("{{ $x = join (seq 9999) $x }}"), "join makes"),
        (again("{{ $x = printf (print $x $x) 1 }}"), "a format has 1000 bytes at most"),
        (many("{{ $y := print $x 1 }}"), "functions have made 268435456 bytes"),
    ] {
        let (line, message) = render(&text, &json!({})).unwrap_err();
        assert!(message.contains(what), "{what}: {message}");
        assert!(line > 1, "{what}: line {line}");
    }
}

#[test]
fn functions_of_the_language_do_what_they_do_there() {
    let text = "{{ print 1 2 \"a\" \"b\" }}|{{ println \"a\" 1 }}|{{ printf \"%05d-%s-%v\" 7 \"x\" .list }}|{{ html \"<&>\" }}|{{ urlquery \"a b\" }}";
    assert_eq!(rendered(text, json!({"list": [1, 2]})), "1 2ab|a 1\n|00007-x-[1 2]|&lt;&amp;&gt;|a+b");
}

#[test]
fn variables_are_found_beside_the_file_and_merged() {
    let folder = std::env::temp_dir().join(format!("weft-vars-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("x.clab.yml");
    for (name, text) in [
        ("x.clab_vars.yml", "a: {b: 1, c: 2}\n"),
        ("x_vars.site.json", "{\"a\": {\"c\": 3}}"),
        ("y_vars.yml", "a: 9\n"),
        ("x_variants.yml", "a: 9\n"),
    ] {
        std::fs::write(folder.join(name), text).unwrap();
    }
    let found = vars::beside(&path);
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(vars::read(&found).unwrap(), json!({"a": {"b": 1, "c": 3}}));
    std::fs::write(folder.join("bad.yml"), "- 1\n").unwrap();
    assert!(vars::read(&[folder.join("bad.yml")]).unwrap_err().3.contains("mapping"));
    std::fs::remove_dir_all(&folder).unwrap();
}
