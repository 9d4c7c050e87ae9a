//! The stage of containerlab's files: every one of `topologies/clab` is brought up as it is, checked and taken down, some of them again
//! as an ordinary user, and broken ones leave nothing behind.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::count::Outcome;
use crate::interop::{Stage, provide, unusable};
use crate::run::{Context, Log, find_program};

/// The files, and the programs that they need beside weft.
const FILES: [(&str, &[&str]); 13] = [
    ("clos2", &[]),
    ("clos3", &[]),
    ("clos5", &[]),
    ("ring", &[]),
    ("hosts", &["ip"]),
    ("start", &[]),
    ("lan", &["bird", "ip"]),
    ("unnumbered-frr", &["zebra"]),
    ("route-reflector", &["bird", "zebra"]),
    ("dual-stack", &["bird", "zebra", "ip"]),
    ("cilium", &["zebra", "gobgpd", "ip"]),
    ("metallb", &["zebra", "ip"]),
    ("vendors", &["bird", "zebra", "gobgpd", "exabgp"]),
];

/// Those that an ordinary user runs too: other mounts, other rights.
const ORDINARY: [&str; 3] = ["clos2", "start", "lan"];

/// Runs them all.
pub(crate) fn labs(context: &Context) -> io::Result<Outcome> {
    let log = context.log("labs")?;
    let is_root = rustix::process::geteuid().is_root();
    provide(context, &log, &|program| FILES.iter().any(|(_, programs)| programs.contains(&program)))?;
    let Some(stage) = Stage::prepare(context, &log)? else {
        return Ok(Outcome::failed("the lab's binaries do not build"));
    };
    let mut outcome = Outcome::default();
    for (name, programs) in FILES {
        if let Some(why) = programs.iter().find_map(|program| unusable(program, is_root)) {
            outcome.add(&Outcome::skipped(format!("{name}: {why}")));
            continue;
        }
        outcome.add(&stage.verify(context, &log, &format!("clab/{name}"), &[], false)?);
        if is_root && ORDINARY.contains(&name) {
            outcome.add(&if find_program("setpriv").is_some() {
                stage.verify(context, &log, &format!("clab/{name}"), &[], true)?
            } else {
                Outcome::skipped(format!("{name} as an ordinary user: `setpriv` (util-linux) is not here"))
            });
        }
    }
    for ordinary in [false, true] {
        outcome.add(&if ordinary && (!is_root || find_program("setpriv").is_none()) {
            Outcome::skipped("images as an ordinary user: this run is not root's, or `setpriv` is not here")
        } else {
            images(context, &log, &stage, ordinary)?
        });
    }
    outcome.add(&refused(context, &stage)?);
    Ok(outcome)
}

/// Nodes that bring their own root: as a folder, and as a file as `docker save` writes it. Both are made here of a shell and what it needs.
fn images(context: &Context, log: &Log, stage: &Stage, ordinary: bool) -> io::Result<Outcome> {
    let mut files: Vec<(PathBuf, String)> = Vec::new();
    for name in ["sh", "cat"] {
        let Some(program) = find_program(name) else {
            return Ok(Outcome::skipped(format!("images: `{name}` is not here")));
        };
        let output = context.command(Path::new("ldd"), &[&program.display().to_string()]).output()?;
        for word in String::from_utf8_lossy(&output.stdout).split_whitespace().filter(|word| word.starts_with('/')) {
            files.push((word.into(), word.trim_start_matches('/').to_owned()));
        }
        files.push((program, format!("bin/{name}")));
    }
    let mut layer = tar::Builder::new(Vec::new());
    let root = stage.folder.join("root");
    for (from, to) in &files {
        let bytes = std::fs::read(from)?;
        append(&mut layer, to, &bytes)?;
        let place = root.join(to);
        std::fs::create_dir_all(place.parent().unwrap_or(&root))?;
        std::fs::write(&place, bytes)?;
        std::fs::set_permissions(place, std::fs::Permissions::from_mode(0o755))?;
    }
    std::fs::create_dir_all(root.join("etc"))?;
    std::fs::write(root.join("etc/from"), "a folder\n")?;
    append(&mut layer, "etc/from", b"a file\n")?;
    let mut image = tar::Builder::new(std::fs::File::create(stage.folder.join("image.tar"))?);
    append(&mut image, "layer.tar", &layer.into_inner()?)?;
    append(&mut image, "config.json", br#"{"config": {"Env": ["COLOUR=red"]}}"#)?;
    append(&mut image, "manifest.json", br#"[{"Config": "config.json", "Layers": ["layer.tar"]}]"#)?;
    image.finish()?;
    std::fs::write(
        stage.folder.join("topologies/clab/image.clab.yml"),
        format!("name: image-{}\n{IMAGES}", std::process::id()),
    )?;
    stage.verify(context, log, "clab/image", &[], ordinary)
}

fn append<W: io::Write>(archive: &mut tar::Builder<W>, name: &str, bytes: &[u8]) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o755);
    archive.append_data(&mut header, name, bytes)
}

/// A lab of such nodes.
const IMAGES: &str = "\
topology:
  nodes:
    a: {kind: linux, image: ../../root}
    b: {kind: linux, image: ../../image.tar}
    c: {kind: linux, image: ../../image.tar, env: {COLOUR: blue}}
  links:
    - endpoints: [\"a:eth1\", \"b:eth1\"]
expect:
  - {at: a, run: cat /etc/from, says: a folder}
  - {at: b, run: cat /etc/from, says: a file}
  - {at: b, run: \"sh -c 'echo $COLOUR > /etc/from; cat /etc/from /etc/hostname'\", says: [red, b], lacks: a file}
  - {at: c, run: \"sh -c 'cat /etc/from; echo $COLOUR; test -e /usr/bin/python3 || echo its own'\", says: [a file, blue, its own]}
  - {at: b, run: cat /proc/net/dev, says: \"eth1:\"}
";

/// A file that cannot run says so for every node, and leaves nothing behind.
fn refused(context: &Context, stage: &Stage) -> io::Result<Outcome> {
    let file = stage.folder.join("refused.clab.yml");
    let name = format!("refused-{}", std::process::id());
    std::fs::write(
        &file,
        format!(
            "name: {name}\ntopology:\n  nodes:\n    a: {{kind: linux, image: alpine, binds: ['no-such-file:/etc/x']}}\n    \
             b: {{kind: linux, image: ./no-such-image.tar}}\n"
        ),
    )?;
    let program = stage.folder.join("weft-lab");
    let mut command = context.command(&program, &["up", "--detach", &file.display().to_string()]);
    let output = command.current_dir(&stage.folder).output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    let listed = ["a: there is no", "b: there is no", "docker save"].iter().all(|part| said.contains(part));
    let mut outcome =
        Outcome::check(!output.status.success() && listed, format!("two nodes that cannot run are not listed: {said}"));
    let shown = context.command(&program, &["down", &name]).output()?;
    let gone = String::from_utf8_lossy(&shown.stderr).contains("not running");
    outcome.add(&Outcome::check(gone, "a refused lab left something behind"));
    Ok(outcome)
}
