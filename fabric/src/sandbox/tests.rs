//! What a configuration needs, what another one would, and what the system's words mean.

use super::*;
use crate::config;

fn needs(text: &str) -> Needs {
    let node = config::parse("t", &format!("asn: 1\nrouter_id: 10.0.0.1\n{text}")).unwrap().node().unwrap();
    Needs::of(&node, Path::new("/etc/weft/weft.yaml"), Path::new("/run/weft/drain.json"))
}

fn granted() -> Granted {
    let read = |path: &str| (PathBuf::from(path), Access::Read);
    Granted {
        capabilities: Some(needs("").capabilities),
        folders: Some(vec![read("/etc/weft"), read("/usr"), (PathBuf::from("/run/weft"), Access::Write)]),
        runner: false,
        is_on: true,
        group: None,
    }
}

fn lacks(granted: &Granted, text: &str) -> Option<String> {
    granted.lacks(&needs(text), |place| place.folder().to_owned())
}

#[test]
fn raw_sockets_are_kept_where_router_discovery_or_lldp_is_configured() {
    assert_eq!(needs("").capabilities.names(), ["NET_BIND_SERVICE", "NET_ADMIN"]);
    assert_eq!(needs("uplinks: [eth0]\n").capabilities.names(), ["NET_BIND_SERVICE", "NET_ADMIN", "NET_RAW"]);
    assert_eq!(needs("peers: {a: {address: 10.0.0.2, remote_asn: 2}}\n").capabilities, needs("").capabilities);
}

#[test]
fn what_a_configuration_names_is_below_the_folders_that_are_kept() {
    assert_eq!(lacks(&granted(), ""), None);
    let key = |file: &str| format!("peers: {{a: {{address: 10.0.0.2, remote_asn: 2, password_file: {file}}}}}\n");
    assert_eq!(lacks(&granted(), &key("/etc/weft/keys/a")), None);
    let outside = lacks(&granted(), &key("/root/a")).unwrap();
    assert!(outside.starts_with("peers.a.password_file: /root/a is in none of the folders"), "{outside}");
    let remote = |ca: &str| {
        format!(
            "api: {{remote: {{listen: ['[::]:9180'], cert: /etc/weft/a.pem, key: /etc/weft/a.key, client_ca: {ca}}}}}\n"
        )
    };
    assert_eq!(lacks(&granted(), &remote("/etc/weft/ca.pem")), None);
    assert!(
        lacks(&granted(), &remote("/root/ca.pem"))
            .unwrap()
            .starts_with("api.remote.client_ca: /root/ca.pem is in none")
    );
    let beside = lacks(&granted(), &key("/etc/weft-keys/a"));
    assert!(beside.is_some(), "a folder is no prefix of letters");
    let written = lacks(&granted(), "mrt: {updates: /etc/weft/updates.mrt}\n").unwrap();
    assert!(
        written.starts_with("mrt.updates: /etc/weft/updates.mrt"),
        "{written}: what may be read is not to be written"
    );
    assert_eq!(lacks(&granted(), "mrt: {updates: /run/weft/dump/updates.mrt}\n"), None);
    assert_eq!(lacks(&Granted { folders: None, ..granted() }, &key("/root/a")), None, "without Landlock");
}

#[test]
fn what_was_given_up_at_the_start_is_named_with_who_needs_it() {
    let link = lacks(&granted(), "uplinks: [eth0]\n").unwrap();
    assert_eq!(link, "the unnumbered peer on eth0 needs CAP_NET_RAW, which was given up at the start");
    assert_eq!(lacks(&Granted { capabilities: None, ..granted() }, "uplinks: [eth0]\n"), None);
    let check = "vips: {web: {address: 10.71.0.1/32, check: {exec: [/bin/true]}}}\n";
    assert!(lacks(&granted(), check).unwrap().starts_with("vips.web.check.exec: "));
    assert_eq!(lacks(&Granted { runner: true, ..granted() }, check), None);
    assert_eq!(lacks(&Granted::default(), check), None, "nothing was given up");
}

const THREAD: &str = "Name:\tweft\nCapInh:\t0000000000000000\nCapPrm:\t0000000000001400\nCapEff:\t0000000000001400\n\
                      CapBnd:\t0000000000001400\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t2\n";

#[test]
fn one_thread_that_kept_more_is_enough_to_say_so() {
    let (wanted, granted) = (SandboxConfig::default(), granted());
    let judged = |threads: &[&str], landlock| {
        let facts = Facts::read(threads.iter().copied());
        judge((&wanted, &granted), &facts, landlock, &[]).missing
    };
    assert_eq!(judged(&[THREAD, THREAD], true), Vec::<String>::new());
    assert_eq!(judged(&[THREAD], false), ["landlock: every file can be opened"]);
    let admin = THREAD.replace("CapPrm:\t0000000000001400", "CapPrm:\t0000000000201400");
    assert_eq!(judged(&[THREAD, &admin], true), ["capabilities: it still has SYS_ADMIN"]);
    let unfiltered = THREAD.replace("Seccomp:\t2", "Seccomp:\t0");
    assert_eq!(judged(&[&unfiltered, THREAD], true), ["seccomp: not every thread is filtered"]);
    let heir = THREAD.replace("CapBnd:\t0000000000001400", "CapBnd:\t0000000000201400");
    assert_eq!(judged(&[&heir], true), Vec::<String>::new(), "nobody can take it");
    let heir = heir.replace("NoNewPrivs:\t1", "NoNewPrivs:\t0");
    assert_eq!(judged(&[&heir], true), ["capabilities: a program that it executes could have SYS_ADMIN"]);
    let unread = judged(&["Name:\tweft\n"], true);
    assert_eq!(unread, ["capabilities: it still has 62 more than it needs", "seccomp: not every thread is filtered"]);
}

#[test]
fn what_is_switched_off_is_not_missed() {
    let wanted = SandboxConfig { landlock: false, seccomp: false, ..SandboxConfig::default() };
    let facts = Facts::read(std::iter::once(THREAD));
    let judged = judge((&wanted, &granted()), &facts, false, &[]);
    assert_eq!((judged.missing, judged.off), (Vec::new(), vec!["landlock".to_owned(), "seccomp".to_owned()]));
}
