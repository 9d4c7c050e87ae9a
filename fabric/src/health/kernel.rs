//! Checks of the kernel's side: that it holds what is wanted, and that nobody disturbs it.

use super::{Check, LATELY, Picture, bad, count, ok, some, warn};
use crate::fib::FibReport;
use crate::node::{LeftOut, MAX_IMPORTED};

/// Dumps are compared every half minute; with none for so long something holds them up.
const DUMP_AGE_S: u64 = 300;

/// Routes = kernel.
pub(super) fn kernel(picture: &Picture<'_>) -> Check {
    let name = "kernel";
    let Some(fib) = picture.fib else {
        return ok(name, "the kernel is left alone: the configuration has `fib: {install: false}`");
    };
    let in_the_way = fib.conflicts.len();
    let refused = fib.failed.saturating_sub(in_the_way);
    if refused > 0 {
        let others =
            fib.failures.iter().filter(|failure| fib.conflicts.iter().all(|net| net.to_string() != failure.what));
        let each: Vec<String> = others.map(|failure| format!("{}: {}", failure.what, failure.reason)).collect();
        let fact = format!("the kernel refuses {}: {}", count(refused, "thing", "things"), some(&each));
        return bad(name, fact, "`weft show fib` lists them; they are tried again by themselves");
    }
    let refused = usize::try_from(picture.summary.fib_failed).unwrap_or(usize::MAX).saturating_sub(in_the_way);
    if refused > 0 {
        let fact = format!("{} not in the kernel as wanted", count(refused, "prefix is", "prefixes are"));
        return bad(name, fact, "`weft show fib --diff` compares both");
    }
    let health = &fib.health;
    if health.dumps > 0 && health.dump_age_s > DUMP_AGE_S {
        let fact = format!("it was not compared with the table for {}", crate::show::duration(health.dump_age_s));
        return warn(name, fact, "`weft show fib` says whether changes disturb the dumps; the log says more");
    }
    if fib.waiting > 0 {
        let fact = format!("{} for a live neighbor", count(fib.waiting, "route waits", "routes wait"));
        return warn(name, fact, "`weft show neighbors` and `weft show bfd` say who is gone");
    }
    let late = disturbed(fib);
    if !late.is_empty() {
        let fact = format!("others deleted what is ours, mended since: {}", some(&late));
        return warn(name, fact, "have them leave protocol 77 alone (systemd-networkd: `ManageForeignRoutes=no`)");
    }
    let compared = match health.dumps {
        0 => "not compared yet".to_owned(),
        _ => format!("compared {} ago, {} different", crate::show::duration(health.dump_age_s), health.last_drift),
    };
    let under_way = picture.summary.fib_changes_waiting;
    let under_way = if under_way > 0 { format!(", {under_way} changes under way") } else { String::new() };
    ok(name, format!("it holds {} of ours as wanted{under_way}; {compared}", count(fib.routes, "route", "routes")))
}

/// Who deleted something of ours lately.
fn disturbed(fib: &FibReport) -> Vec<String> {
    let lately = fib.health.deleters.iter().filter(|deleter| deleter.ago_s < LATELY.as_secs());
    lately.map(|deleter| format!("{} ({})", deleter.who, deleter.count)).collect()
}

/// Routes of others in the place of ours.
pub(super) fn conflicts(picture: &Picture<'_>) -> Check {
    let name = "conflicts";
    let conflicts = picture.fib.map(|fib| fib.conflicts.as_slice()).unwrap_or_default();
    if conflicts.is_empty() {
        return ok(name, "no route of others stands in the place of one of ours");
    }
    let each: Vec<String> = conflicts.iter().map(ToString::to_string).collect();
    let fact = format!("routes of others stand in the place of ours: {}", some(&each));
    bad(name, fact, "`ip route show PREFIX` says whose; remove them, or set `fib.metric`")
}

/// Routes of other software that others hear of.
pub(super) fn imports(picture: &Picture<'_>) -> Check {
    let name = "imports";
    let Some(left_out) = picture.imports else {
        return ok(name, "no routes of other software are announced");
    };
    if left_out.is_empty() {
        return ok(name, "every route of other software that `import_kernel` names is announced");
    }
    let each = |LeftOut { table, protocol, routes }: &LeftOut| format!("{routes} of table {table} protocol {protocol}");
    let each: Vec<String> = left_out.iter().map(each).collect();
    let fact = format!("not announced, since {MAX_IMPORTED} prefixes of other software are the most: {}", some(&each));
    warn(name, fact, "let `within` of `import_kernel` name those that others need, or have the software sum them up")
}
