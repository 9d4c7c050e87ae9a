//! `weft-init`: the first process of weft's initial file system. It makes the machine a routed host before anything else, by all uplinks that
//! there are, says to the boot server what the machine is, and then does its orders.
//!
//! ```text
//!   file systems ─▶ modules ─▶ links up ─▶ weft daemon ─▶ BGP by all uplinks ─▶ report ─▶ orders: wait │ run │ load │ disk
//!                                          └ started again when it ends          or by one, after 10 s
//! ```
//!
//! Nothing parks the machine: what fails is said and tried again, each time later, and after a bound the machine starts over.
#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "the process that everything waits for: it reads clocks, sleeps and has threads"
)]

#[path = "main/disk.rs"]
mod disk;
#[path = "main/facts.rs"]
mod facts;
#[path = "main/lease.rs"]
mod lease;
#[path = "main/links.rs"]
mod links;
#[path = "main/root.rs"]
mod root;
#[path = "main/services.rs"]
mod services;
#[path = "main/system.rs"]
mod system;

use services::Services;
use std::convert::Infallible;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use weft_machine::io::ask;
use weft_machine::orders::{CARD, CONFIG, Card, Orders};
use weft_machine::sessions::Sessions;

/// Where the routing daemon answers.
const DAEMON: &str = "/run/weft/weft.sock";
/// How often it is asked while sessions come up.
const POLL: Duration = Duration::from_millis(100);
/// How often it is said what is waited for.
const SAY_EVERY: Duration = Duration::from_secs(5);
/// Longest wait for a session; then the machine starts over: a switch, or a boot server, may give it something else.
const ROUTED_WITHIN: Duration = Duration::from_secs(300);
/// Waits between tries of what needs a boot server: 1, 2, 4 … this.
const AGAIN_MAX: Duration = Duration::from_secs(32);
/// Tries of a report before the machine goes on without: it is known by its routes anyway.
const REPORT_TRIES: u32 = 5;
/// How often a machine that waits says that it is there.
const WAITING_EVERY: Duration = Duration::from_secs(10);
/// Wait before the machine starts over, so that a person can read why.
const REBOOT_AFTER: Duration = Duration::from_secs(10);

/// A line for who sees the console, with the seconds since the kernel started.
fn say(what: &str) {
    let _ = writeln!(std::io::stdout(), "weft-init: {} s: {what}", system::uptime());
}

fn main() -> ExitCode {
    if std::process::id() != 1 {
        let _ = writeln!(
            std::io::stderr(),
            "weft-init is the first process of an initial file system; elsewhere it does nothing"
        );
        return ExitCode::from(2);
    }
    let Err(why) = boot();
    say(&format!("{why}; starts over in {} s", REBOOT_AFTER.as_secs()));
    std::thread::sleep(REBOOT_AFTER);
    system::reboot();
    ExitCode::FAILURE
}

fn boot() -> Result<Infallible, String> {
    system::mounts()?;
    let text = std::fs::read_to_string(CARD);
    let card = Card::read(
        &text.map_err(|error| format!("{CARD}: {error}: the boot server gave no archive of this machine"))?,
    )?;
    say(&format!("this is {}", card.shown()));
    system::modules();
    system::settings();
    if let Some(name) = &card.name {
        system::hostname(name);
    }
    let cards = facts::cards();
    say(&match cards.is_empty() {
        true => "no network card: its driver is not among the modules of this image (`image build --module NAME`)"
            .to_owned(),
        false => format!(
            "network cards: {}",
            cards.iter().map(|(name, mac)| format!("{name} {mac}")).collect::<Vec<_>>().join(", ")
        ),
    });
    for name in std::iter::once("lo").chain(cards.iter().map(|(name, _)| name.as_str())) {
        links::up(name).unwrap_or_else(|error| say(&format!("{name}: {error}")));
    }
    let services = Services::start(Path::new(CONFIG).exists());
    if Path::new(CONFIG).exists() {
        routed()?;
        report(&card);
    }
    match &card.orders {
        Orders::Wait => wait(&card, &cards),
        Orders::Run => {
            say("this is the system");
            services.hold()
        }
        Orders::Load(root) => root::load(&card, root, &services),
        Orders::Disk(disk) => root::disk(disk, &services),
    }
}

/// Waits until BGP is up by all uplinks, or by one for a while.
fn routed() -> Result<(), String> {
    let (began, mut first, mut said, mut before) = (Instant::now(), None, Instant::now(), String::new());
    loop {
        let sessions = ask::daemon(DAEMON, "/v1/neighbors").and_then(|text| Sessions::read(&text));
        let shown = sessions.as_ref().map_or_else(|why| format!("the daemon does not answer: {why}"), Sessions::shown);
        if let Ok(sessions) = &sessions {
            if sessions.up() > 0 && first.is_none() {
                first = Some(Instant::now());
            }
            if first.is_some_and(|first| sessions.is_enough(first.elapsed())) {
                say(&format!("routed: {shown}"));
                return Ok(());
            }
        }
        if shown != before && sessions.is_ok() || said.elapsed() >= SAY_EVERY {
            say(&format!("waits for BGP since {} s: {shown}", began.elapsed().as_secs()));
            (said, before) = (Instant::now(), shown);
        }
        if began.elapsed() > ROUTED_WITHIN {
            return Err(format!("no BGP session within {} s", ROUTED_WITHIN.as_secs()));
        }
        std::thread::sleep(POLL);
    }
}

/// Says to the boot server what the machine is.
fn report(card: &Card) {
    let Some(server) = card.report else { return };
    let document = facts::document(card).to_string();
    let mut wait = Duration::from_secs(1);
    for _ in 0..REPORT_TRIES {
        match ask::post(server, card.address, "/v1/enrol", &document) {
            Ok(answer) => return say(&format!("the boot server says {}", answer.trim())),
            Err(why) => say(&format!("report to {server}: {why}; again in {} s", wait.as_secs())),
        }
        std::thread::sleep(wait);
        wait = (wait * 2).min(AGAIN_MAX);
    }
    say("goes on without a report");
}

/// Reports until somebody accepts the machine, from an address that it is lent.
fn wait(card: &Card, cards: &[(String, String)]) -> Result<Infallible, String> {
    let server = card.report.ok_or("nobody registered this machine, and boot servers hear no reports (`enrol:`)")?;
    let mut again = Instant::now();
    loop {
        if Instant::now() >= again {
            let seconds = lease::get(cards).map_or(0, |lease| lease.seconds);
            // At half of it as every client; without one at the next report.
            again = Instant::now() + Duration::from_secs(u64::from(seconds / 2));
        }
        match ask::post(server, None, "/v1/enrol", &facts::document(card).to_string()) {
            Ok(answer) if answer.contains("\"registered\"") || answer.contains("\"accepted\"") => {
                return Err("somebody accepted this machine".to_owned());
            }
            Ok(answer) => say(&format!("waits until somebody accepts it: {}", answer.trim())),
            Err(why) => say(&format!("report to {server}: {why}")),
        }
        std::thread::sleep(WAITING_EVERY);
    }
}
