//! containerlab's verbs against real labs, and runners that are interrupted or killed at every moment of their start.
#![expect(clippy::unwrap_used, reason = "a lab that cannot be asked has failed the test")]
#![expect(clippy::print_stdout, reason = "a skip is said aloud")]
#![expect(clippy::disallowed_types, clippy::disallowed_methods, reason = "polls other processes with a deadline")]

#[path = "shared/lab.rs"]
mod shared;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use shared::{Lab, PROGRAM, all_networks, network, wait};
use weft_fabric::io::files::lab_root;
use weft_labs::lab::home;

const FILE: &str = "\
name: NAME
topology:
  defaults: {kind: linux, image: alpine}
  nodes:
    leaf1: {cmd: 'sleep 3600', labels: {role: edge}, group: leaves}
    leaf2: {cmd: 'sleep 3600', labels: {role: edge, site: x}}
    spine1: {}
  links:
    - endpoints: ['leaf1:eth1', 'spine1:eth1']
    - endpoints: ['leaf2:eth1', 'spine1:eth2']
";

fn lab(test: &str) -> Option<Lab> {
    let lab = Lab::write(test, FILE);
    lab.is_possible().then_some(lab)
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// Runs the program with a text on its standard input.
fn piped(words: &[&str], text: &str) -> Output {
    let mut child = Command::new(PROGRAM)
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // one that refuses the text does not read it all
    let _ = child.stdin.take().unwrap().write_all(text.as_bytes());
    child.wait_with_output().unwrap()
}

#[test]
fn inspect_has_containerlabs_documents() {
    let Some(lab) = lab("inspect") else { return };
    let document = json(&lab.good(&["inspect", "--name", &lab.name, "-f", "json"]));
    let node = &document[&lab.name][0];
    assert_eq!((node["lab_name"].as_str(), node["group"].as_str()), (Some(lab.name.as_str()), Some("leaves")));
    assert_eq!(node["name"], format!("clab-{}-leaf1", lab.name));
    let csv = lab.good(&["inspect", "-t", lab.file.to_str().unwrap(), "-f", "csv"]);
    assert_eq!(csv.lines().count(), 4);
    assert!(csv.starts_with("lab_name,labPath,absLabPath,name,container_id,image,kind,group,state,"), "{csv}");
    let long = format!("clab-{}-spine1", lab.name);
    let mut interfaces = Value::Null;
    // the kernel says of a link that it is up some time after it is
    wait("its links are up", || {
        let document = json(&lab.good(&["inspect", "interfaces", &lab.name, "--node", "spine1", "-f", "json"]));
        assert_eq!((document[0]["name"].as_str(), document[1].is_null()), (Some(long.as_str()), true));
        interfaces = document[0]["interfaces"].clone();
        interfaces[0]["state"] == "up" && interfaces[1]["state"] == "up"
    });
    let names: Vec<&str> = interfaces.as_array().unwrap().iter().filter_map(|one| one["name"].as_str()).collect();
    assert_eq!(names, ["eth1", "eth2", "lo"]);
    assert_eq!((interfaces[0]["mtu"].as_u64(), interfaces[0]["type"].as_str()), (Some(9500), Some("veth")));
    let details = json(&lab.good(&["inspect", &lab.name, "--details"]));
    assert_eq!(details[&lab.name][1]["labels"]["site"], "x");
    let data = json(&fs::read_to_string(lab_root().join(&lab.name).join("topology-data.json")).unwrap());
    assert_eq!(data["links"][1]["endpoints"]["a"]["node"], "leaf2");
    assert_eq!(data["nodes"]["leaf2"]["labels"]["clab-node-name"], "leaf2");
}

#[test]
fn exec_runs_where_the_labels_are() {
    let Some(lab) = lab("label") else { return };
    let run = ["exec", "-n", &lab.name, "--cmd", "hostname", "--cmd", "sh -c 'echo no >&2; exit 3'"];
    let output = lab.run(&[&run[..], &["--label", "role=edge", "-f", "json"]].concat());
    assert_eq!(output.status.code(), Some(3), "that of the last that fails");
    let document = json(&String::from_utf8_lossy(&output.stdout));
    let names: Vec<&String> = document.as_object().unwrap().keys().collect();
    assert_eq!(names, [&format!("clab-{}-leaf1", lab.name), &format!("clab-{}-leaf2", lab.name)]);
    let two = &document[format!("clab-{}-leaf2", lab.name)];
    assert_eq!((two[0]["stdout"].as_str(), two[0]["return-code"].as_i64()), (Some("leaf2\n"), Some(0)));
    assert_eq!((two[1]["stderr"].as_str(), two[1]["return-code"].as_i64()), (Some("no\n"), Some(3)));
    let one = lab.good(&["exec", "-t", lab.file.to_str().unwrap(), "--cmd", "hostname", "--label", "site=x"]);
    assert_eq!(one, "leaf2: hostname\n    leaf2\n");
    assert!(lab.bad(&["exec", "-n", &lab.name, "--cmd", "true", "--label", "site=y"]).contains("no node"));
}

#[test]
fn a_file_from_standard_input_runs_under_another_name() {
    let lab = Lab::write("stdin", FILE);
    let other = format!("{}-x", lab.name);
    let words = ["deploy", "-t", "-", "--name", &other, "--node-filter", "leaf1,spine1"];
    let output = piped(&words, &fs::read_to_string(&lab.file).unwrap());
    let errors = String::from_utf8_lossy(&output.stderr);
    if errors.contains("refuses them") {
        println!("SKIPPED: {errors}");
        return;
    }
    assert!(output.status.success(), "{errors}");
    let mut picture = Value::Null;
    // the kernel says of a link that it is up some time after it is
    wait("its link is up", || {
        let drawn = lab.run(&["graph", &other, "-f", "json", "--interval", "10"]);
        picture = json(&String::from_utf8_lossy(&drawn.stdout));
        picture["links"][0]["up"] == true
    });
    let ended = lab.run(&["destroy", "--name", &other]);
    let names: Vec<&str> =
        picture["nodes"].as_array().unwrap().iter().filter_map(|node| node["name"].as_str()).collect();
    assert_eq!(names, ["spine1", "leaf1"]);
    assert!(ended.status.success() && !lab_root().join(&other).exists());
    // too much of it is refused before it is read
    let output = piped(&["validate", "-", "-f", "json"], &"a".repeat(9_000_000));
    let document = json(&String::from_utf8_lossy(&output.stdout));
    assert!(!output.status.success() && document["errors"][0]["line"] == 1);
    assert!(document["errors"][0]["message"].as_str().unwrap().contains("bytes of topology"), "{document}");
}

#[test]
fn what_containerlab_has_and_we_have_not_is_refused_with_the_reason() {
    let lab = Lab::write("refused", FILE);
    let file = lab.file.to_str().unwrap();
    for option in ["--skip-post-deploy", "--max-workers=3", "--restore=x", "--runtime=docker", "--export-template=x"] {
        assert!(lab.bad(&["deploy", "-t", file, option]).contains("means nothing here"), "{option}");
    }
    assert!(lab.bad(&["destroy", "-t", file, "--keep-mgmt-net"]).contains("means nothing here"));
    assert!(lab.good(&["deploy", "-t", file, "--dry-run"]).contains("3 nodes, 2 links"));
    assert!(!lab_root().join(&lab.name).exists(), "a dry run starts nothing");
}

#[test]
fn a_generated_file_is_written_once_and_good() {
    let lab = Lab::write("generate", "");
    let file = lab.file.to_str().unwrap();
    let words = ["generate", "-n", &lab.name, "--nodes", "4,2,1", "--image", "linux=alpine", "--file", file];
    assert!(lab.bad(&words).contains("exists"), "what is there is left alone");
    fs::remove_file(&lab.file).unwrap();
    lab.good(&words);
    assert!(lab.good(&["validate", file]).contains("7 nodes, 10 links"));
    if !lab.is_possible() {
        return;
    }
    assert_eq!(lab.shell("node2-1", "ls /sys/class/net | tr '\\n' ' '").trim(), "eth1 eth2 eth3 eth4 eth5 lo");
    assert!(lab.good(&["destroy", "-t", file]).contains("down"));
}

/// Events are read on a thread of their own, so that one that does not come fails the test instead of holding it.
#[test]
fn events_tell_of_links_and_daemons_as_they_change() {
    let Some(lab) = lab("events") else { return };
    let mut child =
        Command::new(PROGRAM).args(["events", &lab.name, "-f", "json"]).stdout(Stdio::piped()).spawn().unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let (sender, receiver) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        output
            .lines()
            .map_while(Result::ok)
            .all(|line| sender.send(serde_json::from_str::<Value>(&line).unwrap()).is_ok())
    });
    // until it listens: changes are made again and again
    let next = |wanted: &dyn Fn(&Value) -> bool, deed: &dyn Fn()| {
        let mut found = None;
        wait("the event is told", || {
            deed();
            while let Ok(event) = receiver.recv_timeout(Duration::from_millis(300)) {
                if wanted(&event) {
                    found = Some(event);
                    return true;
                }
            }
            false
        });
        found.unwrap()
    };
    let is_down = |event: &Value| event["type"] == "interface" && event["attributes"]["state"] != "up";
    let event = next(&is_down, &|| {
        lab.good(&["link", "up", &lab.name, "leaf1:eth1"]);
        lab.good(&["link", "down", &lab.name, "leaf1:eth1"]);
    });
    assert_eq!(
        (event["action"].as_str(), event["attributes"]["lab"].as_str()),
        (Some("update"), Some(lab.name.as_str()))
    );
    assert_eq!(event["attributes"]["ifname"], "eth1");
    assert_eq!(event["timestamp"].as_str().unwrap().get(10..11), Some("T"));
    let dies = |event: &Value| event["type"] == "container" && event["action"] == "die";
    let event = next(&dies, &|| {
        lab.run(&["node", "kill", &lab.at("leaf2")]);
    });
    assert_eq!(event["actor_name"], format!("clab-{}-leaf2", lab.name));
    let starts = |event: &Value| event["type"] == "container" && event["action"] == "start";
    next(&starts, &|| drop(lab.good(&["node", "start", &lab.at("leaf2")])));
    let shows = |event: &Value| event["type"] == "interface" && event["attributes"]["ifname"] == "extra";
    next(&shows, &|| {
        lab.shell("spine1", "ip link add extra type bridge; ip link del extra");
    });
    lab.good(&["down", &lab.name]);
    wait("it ends with its lab", || child.try_wait().unwrap().is_some());
    assert!(reader.join().unwrap());
    assert!(receiver.try_iter().any(|event| event["type"] == "lab" && event["action"] == "down"));
}

/// When a runner is hit.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// After so many lines of progress.
    Line(usize),
    /// When so many nodes have a folder.
    Folders(usize),
}

/// A runner that is starting.
#[test]
fn a_capture_has_the_frames_of_an_interface() {
    let text = "name: NAME\ntopology:\n  nodes: {a: {image: alpine}, b: {image: alpine}}\n  links:\n    \
                - {endpoints: ['a:eth1', 'b:eth1'], ipv4: [10.0.0.1/30, 10.0.0.2/30]}\n";
    let lab = Lab::write("capture", text);
    if !lab.is_possible() {
        return;
    }
    let path = lab.file.with_file_name(format!("{}.pcap", lab.name));
    let place = format!("{}/a:eth1", lab.name);
    let mut child = Command::new(PROGRAM)
        .args(["capture", &place, "--count", "2", "--for", "60s", "--write", path.to_str().unwrap()])
        .spawn()
        .unwrap();
    // whoever asks for the other's address is heard
    wait("two frames", || {
        lab.run(&["exec", &format!("{}/b", lab.name), "--", "bash", "-c", "echo > /dev/udp/10.0.0.1/9"]);
        child.try_wait().unwrap().is_some()
    });
    let file = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    assert_eq!(file[..4], [0x4d, 0x3c, 0xb2, 0xa1]);
    let length = usize::from(file[32]);
    let first = &file[40..40 + length];
    assert!([[0x08, 0x06], [0x08, 0x00], [0x86, 0xdd]].contains(&[first[12], first[13]]), "{first:x?}");
    assert!(file.len() > 40 + length + 16);
    let wrong = lab.bad(&["capture", &format!("{}/a:eth7", lab.name), "--write", "/dev/null"]);
    assert!(wrong.contains("a has no interface `eth7`: eth1, lo"), "{wrong}");
    let terminal = lab.bad(&["capture", &format!("{}/a", lab.name)]);
    assert!(terminal.contains("write a:INTERFACE"), "{terminal}");
}

fn starting(lab: &Lab) -> Child {
    Command::new(PROGRAM).arg("up").arg(&lab.file).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

fn folders(lab: &Lab) -> usize {
    let entries = fs::read_dir(lab_root().join(&lab.name)).into_iter().flatten().flatten();
    entries.filter(|entry| entry.path().is_dir()).count()
}

/// Waits for the moment; a runner that is faster is hit when it is up.
fn reach(lab: &Lab, child: &mut Child, moment: Moment) {
    match moment {
        Moment::Line(count) => {
            let mut output = BufReader::new(child.stderr.take().unwrap());
            for _ in 0..count {
                output.read_line(&mut String::new()).unwrap();
            }
            // the rest must not fill the pipe
            std::thread::spawn(move || output.read_to_end(&mut Vec::new()));
        }
        Moment::Folders(count) => {
            wait("it gets so far", || folders(lab) >= count && home::is_running(&lab_root(), &lab.name))
        }
    }
}

#[test]
fn a_runner_that_is_hit_at_any_moment_of_its_start_leaves_nothing_after_the_next_down() {
    let lab = Lab::write(
        "moments",
        "name: NAME\ntopology:\n  defaults: {kind: linux, image: alpine, cmd: 'sleep 3600'}\n  \
         nodes: {a: {}, b: {volumes: ['data:/data']}, c: {exec: ['sleep 0.2']}, d: {tmpfs: {/scratch: size=1m}}}\n  links:\n    \
         - endpoints: ['a:eth1', 'b:eth1']\n    - endpoints: ['c:eth1', 'd:eth1']\n    - {type: dummy, endpoint: 'a:eth9'}\n",
    );
    let before = all_networks();
    if !lab.is_possible() {
        return;
    }
    lab.good(&["down", &lab.name]);
    let moments = (0..=3).map(Moment::Line).chain((0..=4).map(Moment::Folders));
    for moment in moments {
        for signal in [Signal::INT, Signal::KILL] {
            let mut child = starting(&lab);
            reach(&lab, &mut child, moment);
            let noted = home::record(&lab_root(), &lab.name).map(|record| record.nodes).unwrap_or_default();
            let networks: BTreeSet<_> = noted.iter().filter_map(|node| network(node.pid)).collect();
            let networks: BTreeSet<_> = networks.difference(&before).cloned().collect();
            let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).unwrap();
            // again until it listens: one who ignores interrupts hands that on to its children, and the first is lost
            wait("it ends", || {
                let _ = kill_process(pid, signal);
                child.try_wait().unwrap().is_some()
            });
            lab.run(&["down", &lab.name]); // refused when nothing is there
            wait(&format!("nothing is left after {signal:?} at {moment:?}"), || lab.traces().is_empty());
            let left: Vec<_> = all_networks().intersection(&networks).cloned().collect();
            assert!(left.is_empty(), "{signal:?} at {moment:?}: {left:?}");
        }
    }
}

#[test]
fn a_hostile_file_is_refused_at_its_line_and_leaves_nothing() {
    let nodes = "topology:\n  defaults: {image: alpine}\n  nodes: {a: {}, b: {}}\n";
    let end = "    - endpoints: ['a:eth1', 'b:eth1']\n";
    let circle = "{{ define \"x\" }}{{ template \"y\" }}{{ end }}{{ define \"y\" }}{{ template \"x\" }}{{ end }}{{ template \"x\" }}";
    let cases = [
        ("large", format!("name: NAME\n{nodes}{}", "# more\n".repeat(1_500_000)), ":1:", "as a template or as groups"),
        ("circle", format!("name: NAME\n{nodes}{circle}\n"), ":5:", "let a condition end one of them"),
        ("twice", format!("name: NAME\n{nodes}  links:\n{end}{end}"), ":7:", "already the end of another link"),
        (
            "slash",
            "name: NAME\ntopology:\n  nodes:\n    a/../../b: {image: alpine}\n".to_owned(),
            ":4:",
            "a name has letters",
        ),
        ("dots", format!("name: ../NAME\n{nodes}"), ":1:", "a name has letters"),
        ("kind", "name: NAME\ntopology:\n  nodes:\n    a: {kind: nos}\n".to_owned(), ":4:", "--substitute nos="),
    ];
    for (test, text, line, remedy) in cases {
        let lab = Lab::write(test, &text);
        let said = lab.bad(&["up", "--detach", lab.file.to_str().unwrap()]);
        assert!(said.contains(&format!("{}{line}", lab.file.display())), "{test}: not at {line}: {said}");
        assert!(said.contains(remedy), "{test}: no remedy: {said}");
        assert!(said.len() < 4_000, "{test}: a person reads this");
        assert_eq!(lab.traces(), BTreeSet::new(), "{test}");
        assert!(!lab_root().join("..").join(&lab.name).exists(), "{test}");
    }
}
