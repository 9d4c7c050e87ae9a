//! The table of stages, and those that only run cargo.

use std::io;
use std::path::Path;

use crate::api;
use crate::bfd;
use crate::boot;
use crate::count::{Outcome, libtest};
use crate::deploy;
use crate::dhcp;
use crate::drain;
use crate::faults;
use crate::frr_keys;
use crate::interop;
use crate::labs;
use crate::netboot;
use crate::recorded;
use crate::reload;
use crate::restart;
use crate::routed;
use crate::run::{Context, find_program};
use crate::sandbox;
use crate::sealed;
use crate::vip;
use crate::web;

/// One stage of the suite.
#[derive(Debug)]
pub(crate) struct Stage {
    /// What `--stage` takes; also the log's name.
    pub(crate) name: &'static str,
    /// One sentence for `--list`.
    pub(crate) about: &'static str,
    /// Runs it.
    pub(crate) run: fn(&Context) -> io::Result<Outcome>,
}

/// Every stage, in running order: cheap and likely to fail first.
pub(crate) const STAGES: &[Stage] = &[
    Stage { name: "fmt", about: "every file is formatted by rustfmt", run: fmt },
    Stage { name: "clippy", about: "no lint warns, in any target", run: clippy },
    Stage { name: "docs", about: "rustdoc has no warning", run: docs },
    Stage {
        name: "unit",
        about: "cargo test of the whole workspace, but for those with a stage of their own",
        run: unit,
    },
    Stage { name: "conformance", about: "the RFCs section by section, and the incidents of others", run: conformance },
    Stage { name: "fuzz-replay", about: "the corpus of every fuzz target", run: fuzz_replay },
    Stage { name: "sim", about: "the plants, and random incidents in random networks, on virtual time", run: sim },
    Stage {
        name: "kernel",
        about: "kernel routes in network namespaces: deletions, flaps, floods, routes of others",
        run: kernel,
    },
    Stage {
        name: "inventory",
        about: "weft-netboot: machines over its API, roles, kill -9, a full disk; in a lab, enrolment, deaths, a change of addresses",
        run: netboot::inventory,
    },
    Stage {
        name: "netboot",
        about: "DHCP and DHCPv6 for a machine without an address, behind three kinds of relays, from three boot servers with one address",
        run: dhcp::netboot,
    },
    Stage { name: "store", about: "one contract on the embedded store and on a real etcd", run: netboot::store },
    Stage {
        name: "web",
        about: "the web pages of the daemon and of the inventory in headless Chromium",
        run: web::web,
    },
    Stage { name: "deny", about: "licences, bans, sources and advisories of all dependencies", run: deny },
    Stage { name: "static", about: "the daemon and `weft-init` link into static files that run", run: static_binary },
    Stage {
        name: "keys",
        about: "a machine with a TPM in QEMU: its disk opens when it booted what was accepted, and not with another command line",
        run: sealed::keys,
    },
    Stage {
        name: "boot",
        about: "a machine in QEMU, from power-on to a host that others reach: BIOS and iPXE, UEFI by TFTP, UEFI by HTTP in one file, with TLS and a TPM, with Secure Boot; without a boot server for a while",
        run: boot::boot,
    },
    Stage {
        name: "routed",
        about: "weft's initial file system in QEMU: routed by two uplinks, which break while it loads, as boot servers do",
        run: routed::routed,
    },
    Stage {
        name: "deploy",
        about: "the image FROM scratch, run as two nodes' roots and by Docker; alert rules, tried by Prometheus' own tool",
        run: deploy::deploy,
    },
    Stage {
        name: "lab",
        about: "both plants in network namespaces, as root and as an ordinary user",
        run: interop::lab,
    },
    Stage {
        name: "labs",
        about: "containerlab's files as its users write them: templates, every type of link, stages, foreign images",
        run: labs::labs,
    },
    Stage {
        name: "faults",
        about: "bad cables, dead and standing nodes, partitions: measured, and what routers make of them",
        run: faults::faults,
    },
    Stage { name: "bfd", about: "BFD with BIRD and FRR, and every way in which a path breaks", run: bfd::bfd },
    Stage {
        name: "vip",
        about: "service addresses that follow their checks; who announces what is not his",
        run: vip::vip,
    },
    Stage { name: "frr-keys", about: "`weft --output frr` beside a real FRR: keys and types", run: frr_keys::frr_keys },
    Stage {
        name: "api",
        about: "a daemon that another machine asks, that is asked too much, and whose disk is full",
        run: api::api,
    },
    Stage {
        name: "sandbox",
        about: "what a daemon gives up at its start, thread by thread, and what it is refused afterwards",
        run: sandbox::sandbox,
    },
    Stage {
        name: "reload",
        about: "changed configurations beside BIRD: planned, refused, tried, undone",
        run: reload::reload,
    },
    Stage {
        name: "recorded",
        about: "recordings of daemons through links that break, a reload and an upgrade, done again; plans from a live lab",
        run: recorded::recorded,
    },
    Stage {
        name: "drain",
        about: "switches, links and services out of service and back beside BIRD and FRR: no packet lost",
        run: drain::drain,
    },
    Stage {
        name: "restart",
        about: "daemons killed, ended and upgraded while packets flow, beside BIRD and FRR",
        run: restart::restart,
    },
    Stage {
        name: "interop",
        about: "plants and labs with BIRD, FRR, GoBGP, OpenBGPD and others in them",
        run: interop::interop,
    },
];

/// Stages that wait for machines, or for one compiler, more than they compute: while those of one row run one after the other, those of the
/// other row do. All of them stand side by side in [`STAGES`].
pub(crate) const LANES: [&[&str]; 2] =
    [&["inventory", "netboot", "store", "web", "keys", "boot"], &["deny", "static", "routed"]];

/// Pinned: the same checks everywhere.
const CARGO_DENY: &str = "cargo-deny@0.20.2";

fn fmt(context: &Context) -> io::Result<Outcome> {
    let log = context.log("fmt")?;
    if !log.run(&mut context.cargo(&["fmt", "--version"]))? {
        return Ok(Outcome::skipped("rustfmt is not installed: `rustup component add rustfmt`"));
    }
    let held = log.run(&mut context.cargo(&["fmt", "--all", "--check"]))?;
    Ok(Outcome::check(held, "some files are not formatted: run `cargo fmt --all`"))
}

fn clippy(context: &Context) -> io::Result<Outcome> {
    let log = context.log("clippy")?;
    if !log.run(&mut context.cargo(&["clippy", "--version"]))? {
        return Ok(Outcome::skipped("clippy is not installed: `rustup component add clippy`"));
    }
    let held =
        log.run(&mut context.cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]))?;
    Ok(Outcome::check(held, "clippy warns"))
}

fn docs(context: &Context) -> io::Result<Outcome> {
    let log = context.log("docs")?;
    let mut command = context.cargo(&["doc", "--workspace", "--no-deps", "--locked"]);
    let held = log.run(command.env("RUSTDOCFLAGS", "-D warnings"))?;
    Ok(Outcome::check(held, "rustdoc warns"))
}

/// Integration tests that are stages of their own.
const OWN_STAGE: [&str; 11] =
    ["conformance", "incidents", "fuzz_replay", "sim", "explore", "netlink", "serve", "store", "etcd", "web", "faults"];

fn unit(context: &Context) -> io::Result<Outcome> {
    let names = test_targets(&context.root)?;
    let targets = names.iter().filter(|name| !OWN_STAGE.contains(&name.as_str()));
    let mut words = vec!["--lib", "--bins"];
    words.extend(targets.flat_map(|name| ["--test", name]));
    test(context, "unit", &words)
}

fn conformance(context: &Context) -> io::Result<Outcome> {
    test(context, "conformance", &["--test", "conformance", "--test", "incidents"])
}

fn fuzz_replay(context: &Context) -> io::Result<Outcome> {
    test(context, "fuzz-replay", &["--test", "fuzz_replay"])
}

fn sim(context: &Context) -> io::Result<Outcome> {
    test(context, "sim", &["--test", "sim", "--test", "explore"])
}

fn kernel(context: &Context) -> io::Result<Outcome> {
    test(context, "kernel", &["--test", "netlink"])
}

/// `cargo test` of some targets. Always with the features of the whole workspace: nothing is built twice.
pub(crate) fn test(context: &Context, stage: &str, targets: &[&str]) -> io::Result<Outcome> {
    let log = context.log(stage)?;
    let words = [&["test", "--workspace", "--locked", "--no-fail-fast"], targets, &["--", "--show-output"]].concat();
    let ended_well = log.run(&mut context.cargo(&words))?;
    Ok(libtest(&log.text(), ended_well))
}

/// The integration tests of every crate: `tests/NAME.rs` and `tests/NAME/main.rs`.
fn test_targets(root: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for folder in std::fs::read_dir(root)? {
        let Ok(entries) = std::fs::read_dir(folder?.path().join("tests")) else {
            continue;
        };
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "rs") || path.join("main.rs").is_file() {
                names.extend(path.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned));
            }
        }
    }
    names.sort();
    Ok(names)
}

fn deny(context: &Context) -> io::Result<Outcome> {
    let log = context.log("deny")?;
    let tools = context.target.join("tools");
    let own = tools.join("bin/cargo-deny");
    let program = if own.is_file() {
        own
    } else if let Some(found) = find_program("cargo-deny") {
        found
    } else {
        let root = tools.display().to_string();
        // Its own target directory, so that its dependencies and ours do not rebuild each other.
        let mut install = context.patient_cargo(&["install", "--locked", "--debug", CARGO_DENY, "--root", &root]);
        install.env("CARGO_TARGET_DIR", tools.join("build"));
        if !log.run(&mut install)? {
            return Ok(Outcome::skipped(format!("{CARGO_DENY} could not be installed: see deny.log")));
        }
        own
    };
    let mut outcome = Outcome::default();
    let gates = log.run(&mut context.command(&program, &["check", "bans", "licenses", "sources"]))?;
    outcome.add(&Outcome::check(gates, "a dependency breaks .deny.toml"));
    let before = log.text().len();
    if log.run(&mut context.command(&program, &["check", "advisories"]))? {
        outcome.add(&Outcome::passed());
    } else if log.text()[before..].contains("advisories FAILED") {
        outcome.add(&Outcome::failed("a dependency has an open advisory"));
    } else {
        outcome.add(&Outcome::skipped("the advisory database could not be fetched: see deny.log"));
    }
    Ok(outcome)
}

fn static_binary(context: &Context) -> io::Result<Outcome> {
    let log = context.log("static")?;
    let mut outcome = Outcome::default();
    if !log.run(&mut context.patient_cargo(&["static", "--locked"]))? {
        return Ok(Outcome::failed("`cargo static` does not build"));
    }
    // What each prints to who only asks; `weft-init` says that it is of no use here.
    for (name, words, code) in [("weft", "--version", 0), ("weft-init", "", 2)] {
        let path = context.target.join("x86_64-unknown-linux-gnu/release").join(name);
        let interpreter = needs_interpreter(&std::fs::read(&path)?);
        outcome
            .add(&Outcome::check(interpreter == Some(false), format!("{name} asks for a dynamic loader (PT_INTERP)")));
        let said = context.command(Path::new(&path), &[words]).env_clear().output()?;
        outcome.add(&Outcome::check(said.status.code() == Some(code), format!("{name} does not run: {}", said.status)));
        let size = std::fs::metadata(&path)?.len();
        outcome.notes.push(format!("{name}: {}.{} MB, static", size / 1_000_000, size % 1_000_000 / 100_000));
    }
    Ok(outcome)
}

/// Whether a 64-bit little-endian ELF file has a PT_INTERP program header; `None` when it is no such file.
fn needs_interpreter(elf: &[u8]) -> Option<bool> {
    const PT_INTERP: u32 = 3;
    let u16_at = |at: usize| Some(usize::from(u16::from_le_bytes(elf.get(at..at + 2)?.try_into().ok()?)));
    if !elf.starts_with(&[0x7f, b'E', b'L', b'F', 2, 1]) {
        return None;
    }
    let table = usize::try_from(u64::from_le_bytes(elf.get(0x20..0x28)?.try_into().ok()?)).ok()?;
    let (size, count) = (u16_at(0x36)?, u16_at(0x38)?);
    for index in 0..count {
        let at = table.checked_add(index.checked_mul(size)?)?;
        let kind = u32::from_le_bytes(elf.get(at..at.checked_add(4)?)?.try_into().ok()?);
        if kind == PT_INTERP {
            return Some(true);
        }
    }
    Some(false)
}
