//! The daemon's web page in headless Chromium: lab `web`, with weft and BIRD as peers, one of which calls itself by a piece of HTML. The
//! page is opened once; everything that happens afterwards it must show by itself.

use std::io;

use serde_json::Value;

use crate::browser::{Browser, pictures};
use crate::count::Outcome;
use crate::interop::Stage;
use crate::packages;
use crate::run::{Context, Log, find_program};
use crate::stages::test;
use crate::vip::Lab;

/// Routes of the spine beside those of the lab's file: more than the page shows at a time.
const ROUTES: usize = 130;
/// What runs where it becomes markup.
const HTML: &str = "<img/src=x/onerror=document.title='broken'>";

/// Debian's package of the browser.
const CHROMIUM: &str = "chromium";

/// The inventory's page, and the daemon's in its lab.
pub(crate) fn web(context: &Context) -> io::Result<Outcome> {
    let log = context.log("web-packages")?;
    let may_install = rustix::process::geteuid().is_root() && find_program("apt-get").is_some();
    for (program, package) in [("chromium", CHROMIUM), ("bird", "bird2")] {
        if find_program(program).is_none() && may_install {
            packages::install_each(context, &log, &[package])?;
        }
    }
    if find_program("chromium").is_none() {
        return Ok(Outcome::skipped(format!(
            "the web pages in a browser: no program `chromium` ({CHROMIUM}), and it could not be installed"
        )));
    }
    let mut outcome = test(context, "web", &["--test", "web"])?;
    if find_program("bird").is_some() {
        outcome.add(&lab(context, &context.more_log("web"))?);
    } else {
        outcome.add(&Outcome::skipped("the daemon's web page: `bird` is not installed: `apt-get install bird2`"));
    }
    Ok(outcome)
}

/// Runs the lab.
fn lab(context: &Context, log: &Log) -> io::Result<Outcome> {
    let Some(stage) = Stage::prepare(context, log)? else {
        return Ok(Outcome::failed("the lab's binaries do not build"));
    };
    let lab = Lab { context, log, folder: stage.folder.clone(), name: format!("web-{}", std::process::id()) };
    let mut outcome = Outcome::default();
    if !lab.up("web")? {
        outcome.add(&Outcome::failed("lab web does not come up as expected"));
    } else if let Err(error) = scenario(&lab, &mut outcome) {
        outcome.add(&Outcome::failed(format!("lab web: {error}")));
    }
    lab.down()?;
    Ok(outcome)
}

/// The lab and its browser.
struct Page<'a> {
    lab: &'a Lab<'a>,
    browser: Browser,
    outcome: &'a mut Outcome,
}

impl Page<'_> {
    /// Waits until an expression has this value; one check. What follows one that fails would fail for the same reason.
    fn shows(&mut self, expression: &str, wanted: impl Into<Value>) -> io::Result<()> {
        let result = self.browser.until(expression, &wanted.into())?;
        self.outcome.add(&Outcome::check(result.is_ok(), result.clone().err().unwrap_or_default()));
        result.map_err(io::Error::other)
    }

    fn holds(&mut self, what: &str, expression: &str, wanted: impl Into<Value>) -> io::Result<()> {
        let (found, wanted) = (self.browser.evaluate(expression)?, wanted.into());
        self.outcome.add(&Outcome::check(found == wanted, format!("{what}: {found}, not {wanted}")));
        Ok(())
    }

    fn does(&mut self, expression: &str) -> io::Result<()> {
        self.browser.evaluate(expression).map(drop)
    }

    /// Types into the filter and presses Enter.
    fn filters(&mut self, text: &str) -> io::Result<()> {
        self.does(&format!(
            "document.getElementById('prefix').value = '{text}'; document.getElementById('prefix').focus()"
        ))?;
        self.browser.press("Enter", 13, "\r")
    }
}

/// Words of an element.
fn words(id: &str) -> String {
    format!("document.getElementById('{id}').textContent")
}

/// Words of a cell of a row.
fn cell(table: &str, key: &str, place: usize) -> String {
    format!(
        "([...document.getElementById('{table}').rows].find((row) => row.dataset.key === {})?.cells[{place}]?.textContent ?? 'none')",
        Value::from(key)
    )
}

fn scenario(lab: &Lab<'_>, outcome: &mut Outcome) -> io::Result<()> {
    let add = format!(
        "for i in $(seq 0 {}); do weft route add 10.80.$i.0/24 --owner test --lease 3600 >/dev/null || exit 1; done",
        ROUTES - 1
    );
    lab.shell("spine", &add)?;
    from_elsewhere(lab, outcome)?;
    let mut browser = Browser::start(lab, "tor")?;
    browser.open("http://localhost:9179/")?;
    let mut page = Page { lab, browser, outcome };
    what_is_there(&mut page)?;
    routes(&mut page)?;
    explained(&mut page)?;
    pictures_of(&mut page, "web")?;
    session_lost(&mut page)?;
    daemon_killed(&mut page)?;
    page.holds("it is the page that was opened first", "window.same", true)?;
    let elsewhere = "performance.getEntriesByType('resource').map((entry) => entry.name).filter((name) => !name.startsWith(location.origin + '/') && !name.startsWith('data:')).join()";
    page.holds("it asks for nothing else", elsewhere, "")?;
    let faults = page.browser.faults()?;
    page.outcome.add(&Outcome::check(faults.is_empty(), format!("the browser complains: {faults:?}")));
    Ok(())
}

/// What the port says to who is not at the machine, or means another one.
fn from_elsewhere(lab: &Lab<'_>, outcome: &mut Outcome) -> io::Result<()> {
    let cases = [
        ("tor", "127.0.0.1", "GET /", "localhost", "200"),
        ("tor", "127.0.0.1", "GET /v1/neighbors", "localhost:9179", "200"),
        ("tor", "127.0.0.1", "GET /v1/neighbors", "evil.example", "421"),
        ("tor", "127.0.0.1", "POST /v1/stop", "localhost", "404"),
        ("tor", "127.0.0.1", "POST /v1/routes?prefix=10.99.0.0/16&owner=x&lease_s=60", "localhost", "405"),
        ("bird", "10.2.0.2", "GET /", "10.2.0.2", "403"),
        ("bird", "10.2.0.2", "GET /v1/routes", "localhost", "403"),
        ("bird", "10.2.0.2", "GET /metrics", "tor.example", "200"),
    ];
    for (node, address, line, host, wanted) in cases {
        let ask = format!(
            "exec 3<>/dev/tcp/{address}/9179; printf '{line} HTTP/1.1\\r\\nhost: {host}\\r\\n\\r\\n' >&3; read -r _ status _ <&3; echo $status"
        );
        let said = lab.shell(node, &format!("bash -c \"{ask}\"").replace('$', "\\$"))?;
        outcome.add(&Outcome::check(said.trim() == wanted, format!("{node}: {line} of {host}: {said}")));
    }
    Ok(())
}

fn what_is_there(page: &mut Page<'_>) -> io::Result<()> {
    page.shows(&words("live"), "live")?;
    page.does("window.same = true")?;
    page.shows(&words("node"), "tor")?;
    page.shows(&words("sessions-note"), "4 of 5 Established")?;
    page.shows(&format!("{}.startsWith('● Established')", cell("neighbors", "bird", 1)), true)?;
    page.shows(&format!("{}.startsWith('● Established')", cell("neighbors", "missing", 1)), false)?;
    page.shows(&cell("neighbors", "host", 0), "hosthost.rack1.example")?;
    page.shows(&cell("neighbors", "joker", 0), format!("joker{HTML}"))?;
    page.shows(&cell("neighbors", "spine", 6), "Up")?;
    // The drawing has every link, and who is behind it by all of his names.
    let drawn = |text: &str| {
        format!(
            "[...document.querySelectorAll('#topology g > title')].some((one) => one.textContent.includes({}))",
            Value::from(text)
        )
    };
    for text in ["eth1: up", "bird: Established", HTML, "missing: ", "AS 4200000010"] {
        page.shows(&drawn(text), true)?;
    }
    page.shows("document.querySelector('#topology').getAttribute('aria-labelledby')", "topology-says")?;
    page.shows(&format!("{}.startsWith('tor with ')", words("topology-says")), true)?;
    page.shows("document.querySelectorAll('#topology path.bad').length > 0", true)?;
    // A check that is not ok, with its remedy; the others are there too.
    page.shows(&cell("ill", "sessions", 1), "✕ bad")?;
    page.shows(&format!("{}.length > 10", cell("ill", "sessions", 2)), true)?;
    page.shows("document.getElementById('well').rows.length > 10", true)?;
    page.shows(
        "[...document.querySelectorAll('#events li')].some((one) => one.textContent.includes('session up'))",
        true,
    )?;
    page.holds(
        "no text became markup",
        "document.querySelectorAll('main img, main s').length + document.title",
        "0tor · weft",
    )
}

/// The table in pages, what lies within a prefix, the route of an address, and a route that goes.
fn routes(page: &mut Page<'_>) -> io::Result<()> {
    let count = "document.getElementById('routes').rows.length";
    page.shows(&format!("{}.match(/^100 of 1[34][0-9] prefixes shown$/) !== null", words("routes-note")), true)?;
    page.shows(count, 100)?;
    page.does("document.getElementById('next').click()")?;
    page.shows(&format!("{count} > 30 && {count} < 50 && {}.includes('behind 10.')", words("routes-note")), true)?;
    page.does("document.getElementById('first').click()")?;
    page.shows(count, 100)?;
    page.filters("10.80.16.0/20")?;
    page.shows(&words("routes-note"), "16 of 16 prefixes within 10.80.16.0/20 shown")?;
    page.shows(count, 16)?;
    page.shows(&cell("routes", "10.80.17.0/24", 1), "10.1.0.1 eth1")?;
    page.shows(&cell("routes", "10.80.17.0/24", 4), "● installed")?;
    page.does("document.getElementById('with-routes').click()")?;
    page.shows(&format!("{}.startsWith('routes too')", words("events-note")), true)?;
    page.lab.shell("spine", "weft route del 10.80.17.0/24 --owner test")?;
    page.shows(&format!("{}.includes('10.80.17.0/24 is no longer routed')", words("events")), true)?;
    page.does("document.getElementById('with-routes').click()")?;
    page.shows(&words("routes-note"), "15 of 15 prefixes within 10.80.16.0/20 shown")?;
    page.shows(&cell("routes", "10.80.17.0/24", 0), "none")?;
    page.filters("10.22.0.77")?;
    page.shows(&words("routes-note"), "the route of 10.22.0.77 shown")?;
    page.shows(&cell("routes", "10.22.0.0/24", 2), "bird")?;
    page.filters("10.22.0.300")?;
    page.shows(&format!("{}.includes('no address and no prefix')", words("routes-note")), true)?;
    page.shows(&words("live"), "live")?;
    page.filters("")?;
    page.shows(count, 100)
}

/// With the keyboard: the button of a route, its window, and back.
fn explained(page: &mut Page<'_>) -> io::Result<()> {
    let button = "[...document.querySelectorAll('#routes button')].find((one) => one.textContent === '10.80.18.0/24')";
    page.does(&format!("{button}.focus()"))?;
    page.browser.press("Enter", 13, "\r")?;
    page.shows("document.getElementById('explain').open", true)?;
    page.shows(&words("explain-title"), "10.80.18.0/24")?;
    let said = words("explanation");
    for text in ["best", "4200000001", "bird: ", "<s>no-overlay</s>", "missing"] {
        page.shows(&format!("{said}.includes({})", Value::from(text)), true)?;
    }
    page.holds("a policy's name is text", "document.querySelectorAll('dialog s').length", 0)?;
    let path = pictures(page.lab).join("web-explain.png");
    page.browser.picture((1_280, "light"), &path)?;
    page.browser.press("Escape", 27, "")?;
    page.shows("document.getElementById('explain').open", false)?;
    page.holds("the place is kept", &format!("document.activeElement === {button}"), true)
}

fn pictures_of(page: &mut Page<'_>, name: &str) -> io::Result<()> {
    page.does("scrollTo(0, 0); document.activeElement.blur()")?;
    for (width, scheme) in [(1_280, "light"), (1_280, "dark"), (390, "light"), (390, "dark")] {
        let path = pictures(page.lab).join(format!("{name}-{width}-{scheme}.png"));
        page.browser.picture((width, scheme), &path)?;
        page.outcome.notes.push(format!("a picture: {}", path.display()));
        page.holds("nothing is wider than the window", "document.documentElement.scrollWidth <= innerWidth", true)?;
    }
    Ok(())
}

/// BIRD ends its session, with words of its own: the page says so without being loaded again.
fn session_lost(page: &mut Page<'_>) -> io::Result<()> {
    page.lab.shell("bird", &format!("birdc disable tor '\"{}\"'", HTML.replace('\'', "`")))?;
    page.shows(&words("sessions-note"), "3 of 5 Established")?;
    page.shows(&format!("{}.startsWith('● Established')", cell("neighbors", "bird", 1)), false)?;
    let html = Value::from(HTML.replace('\'', "`"));
    page.shows(&format!("{}.includes({html})", cell("neighbors", "bird", 7)), true)?;
    page.shows(&format!("[...document.querySelectorAll('#events li')].some((one) => one.textContent.includes('bird: session down') && one.textContent.includes({html}))"), true)?;
    page.filters("10.22.0.0/16")?;
    page.shows(&words("routes-note"), "0 of 0 prefixes within 10.22.0.0/16 shown")?;
    page.lab.shell("bird", "birdc enable tor")?;
    page.shows(&words("sessions-note"), "4 of 5 Established")?;
    page.shows(&words("routes-note"), "2 of 2 prefixes within 10.22.0.0/16 shown")?;
    page.holds("no text became markup", "document.querySelectorAll('main img').length + document.title", "0tor · weft")
}

/// The daemon dies and comes back: the page says so, and goes on.
fn daemon_killed(page: &mut Page<'_>) -> io::Result<()> {
    page.lab.node("kill", "tor")?;
    page.shows(&format!("{}.startsWith('not live: the daemon does not answer; as of ')", words("live")), true)?;
    page.shows("document.body.classList.contains('stale')", true)?;
    let path = pictures(page.lab).join("web-not-live.png");
    page.browser.picture((1_280, "light"), &path)?;
    page.lab.node("start", "tor")?;
    page.shows(&words("live"), "live")?;
    page.shows("document.body.classList.contains('stale')", false)?;
    page.shows(&words("sessions-note"), "4 of 5 Established")?;
    page.shows(
        "[...document.querySelectorAll('#events li')].some((one) => one.textContent.includes('answers again'))",
        true,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_found_by_its_key_whatever_that_is() {
        let found = cell("routes", "a'b\"c", 2);
        assert!(found.contains(&serde_json::json!("a'b\"c").to_string()) && found.contains("cells[2]"), "{found}");
    }
}
