//! Checks of what stands around the table: BFD and its thread, service addresses, RPKI caches, observers.

use super::{Check, EXPIRES_SOON, Picture, bad, count, ok, some, warn};
use crate::api::{BfdSession, Drain, Observer, RpkiCache, Vip};
use crate::drain::{Scope, State as Drained};
use crate::vip::State;

/// A thread that misses its time more often than this in an hour, on the average, has too little of the machine.
const STARVED_PER_HOUR: u64 = 2;

/// Sessions that detect broken paths.
pub(super) fn bfd(picture: &Picture<'_>) -> Check {
    let name = "bfd";
    let all = &picture.bfd.sessions;
    if all.is_empty() {
        return ok(name, "no neighbor that is there has BFD");
    }
    let failed: Vec<&BfdSession> = all.iter().filter(|session| session.out_of_use).collect();
    if let Some(first) = failed.first() {
        let each = failed.iter().map(|session| format!("{}: {}", session.neighbor, session.diagnostic));
        let fact = format!("the path is broken to {}", some(&each.collect::<Vec<_>>()));
        return bad(
            name,
            fact,
            format!("the kernel does not use it; `weft show neighbors {} --history` says since when", first.neighbor),
        );
    }
    let down: Vec<String> = all.iter().filter(|session| session.state != "Up").map(why_down).collect();
    if !down.is_empty() {
        let fact = format!(
            "{} of {} Up; {}",
            all.len() - down.len(),
            count(all.len(), "session is", "sessions are"),
            some(&down)
        );
        return warn(name, fact, "give the other end BFD too, or take it from this one");
    }
    if picture.bfd.refused > 0 {
        let fact = format!(
            "{} refused: too many",
            count(usize::try_from(picture.bfd.refused).unwrap_or(usize::MAX), "session is", "sessions are")
        );
        return warn(name, fact, "have BFD to fewer neighbors");
    }
    ok(name, format!("{} Up", count(all.len(), "session is", "sessions are")))
}

fn why_down(session: &BfdSession) -> String {
    let why = match &session.error {
        Some(error) => format!("cannot send: {error}"),
        None if session.remote_state == "AdminDown" => "taken down there on purpose".to_owned(),
        None if session.remote_discriminator == 0 => "nothing heard".to_owned(),
        None => session.diagnostic.clone(),
    };
    format!("{}: {}, {why}", session.neighbor, session.state)
}

/// What is taken out of service: mostly meant, and easily forgotten.
pub(super) fn drain(picture: &Picture<'_>) -> Check {
    let name = "drain";
    let out = picture.drains.iter().filter(|drain| drain.state != Drained::Live || !drain.settled);
    let out: Vec<&Drain> = out.collect();
    let Some(first) = out.first() else {
        return ok(name, "everything is in service");
    };
    let each = out.iter().map(|drain| {
        let since = crate::show::duration(drain.since_ms / 1_000);
        let waiting = match drain.waiting_for.as_slice() {
            [] => String::new(),
            names => format!(", not acknowledged yet by {}", names.join(", ")),
        };
        format!("{}: {} for {since}{waiting}", drain.scope, drain.state)
    });
    let back = match &first.scope {
        Scope::Node => "weft undrain".to_owned(),
        Scope::Interface(link) => format!("weft undrain --interface {link}"),
        Scope::Vip(vip) => format!("weft undrain --vip {vip}"),
    };
    warn(name, some(&each.collect::<Vec<_>>()), format!("`{back}` takes it back when the work is done"))
}

/// Whether the system lets BFD's thread run.
pub(super) fn threads(picture: &Picture<'_>) -> Check {
    let name = "threads";
    let Some(scheduling) = &picture.bfd.scheduling else {
        return ok(name, "no thread has to be on time: there is no BFD");
    };
    let times = picture.bfd.starved;
    if times == 0 {
        return ok(name, format!("BFD's thread always ran in time; scheduled: {scheduling}"));
    }
    let longest = picture.bfd.starved_longest_us / 1_000;
    let fact = format!(
        "BFD's thread could not run in time {} in {}, {longest} ms at the longest; scheduled: {scheduling}",
        count(usize::try_from(times).unwrap_or(usize::MAX), "time", "times"),
        crate::show::duration(picture.uptime_s)
    );
    if times > STARVED_PER_HOUR * (picture.uptime_s / 3_600 + 1) {
        return warn(name, fact, "let it be scheduled as SCHED_FIFO (CAP_SYS_NICE), or give the machine less to do");
    }
    ok(name, fact)
}

/// Service addresses as wanted.
pub(super) fn vips(picture: &Picture<'_>) -> Check {
    let name = "vips";
    let all = picture.vips;
    if all.is_empty() {
        return ok(name, "there are no service addresses");
    }
    let kept: Vec<String> = all.iter().filter(|vip| vip.alarm).map(told).collect();
    if !kept.is_empty() {
        let fact = format!("failed, and announced only because nobody else does: {}", some(&kept));
        return bad(name, fact, "mend the service, or start it on another machine");
    }
    let failed = all.iter().filter(|vip| vip.state == State::Down && !vip.set_down);
    let lost: Vec<String> = failed.clone().filter(|vip| !vip.other_origin).map(told).collect();
    if !lost.is_empty() {
        return bad(
            name,
            format!("announced by nobody: {}", some(&lost)),
            "`weft show vips` says what its check found",
        );
    }
    let failed: Vec<String> = failed.map(told).collect();
    if !failed.is_empty() {
        let fact = format!("announced by others, but not here: {}", some(&failed));
        return warn(name, fact, "`weft show vips` says what its check found");
    }
    let held = all.iter().filter(|vip| vip.set_down).count();
    let held = if held > 0 { format!(", {held} held down by `weft vip set`") } else { String::new() };
    let up = all.iter().filter(|vip| vip.announced).count();
    ok(name, format!("{up} of {} announced{held}", count(all.len(), "service address is", "service addresses are")))
}

fn told(vip: &Vip) -> String {
    format!("{}: {}", vip.name, vip.last_error.as_ref().unwrap_or(&vip.reason))
}

/// RPKI caches.
pub(super) fn rpki(picture: &Picture<'_>) -> Check {
    let name = "rpki";
    if picture.rpki.is_empty() {
        return ok(name, "no cache is configured: every route is not-found");
    }
    let is_good = |cache: &&RpkiCache| cache.info.expires_in_s.is_some() && cache.info.last_error.is_none();
    let why = |cache: &RpkiCache| {
        let error = cache.info.last_error.clone().unwrap_or_else(|| cache.info.state.clone());
        format!("{}: {error}", cache.address)
    };
    let poor: Vec<String> = picture.rpki.iter().filter(|cache| !is_good(cache)).map(why).collect();
    let remedy = "`weft show rpki` says more; routes stay as they were validated until the data expires";
    let Some(active) = picture.rpki.iter().find(|cache| cache.info.active) else {
        return bad(name, format!("no cache has data, every route is not-found: {}", some(&poor)), remedy);
    };
    if !poor.is_empty() {
        return warn(name, format!("{} is in use; {}", active.address, some(&poor)), remedy);
    }
    ok(name, format!("{} in step, {} is in use", count(picture.rpki.len(), "cache is", "caches are"), active.address))
}

/// Who observes.
pub(super) fn observers(picture: &Picture<'_>) -> Check {
    let name = "observers";
    let all = picture.observers;
    if all.is_empty() {
        return ok(name, "nobody observes");
    }
    let one = |observer: &Observer| match observer {
        Observer { connected: false, .. } => {
            let error = observer.last_error.as_deref().unwrap_or("not connected yet");
            Some(format!("{}: {error}", observer.name))
        }
        Observer { dropped: 1.., .. } => Some(format!("{} lost {} records", observer.name, observer.dropped)),
        Observer { overflows: 1.., .. } => Some(format!("{} was too slow {} times", observer.name, observer.overflows)),
        Observer { .. } => None,
    };
    let poor: Vec<String> = all.iter().filter_map(one).collect();
    if !poor.is_empty() {
        return warn(name, some(&poor), "BGP does not wait for it; `weft show observers` says more");
    }
    ok(name, format!("{} up with everything", count(all.len(), "observer keeps", "observers keep")))
}

/// What was given up at the start, as the system says it.
pub(super) fn sandbox(picture: &Picture<'_>) -> Check {
    let name = "sandbox";
    let Some(sandbox) = picture.sandbox else {
        return ok(name, "not looked at");
    };
    if !sandbox.missing.is_empty() {
        let remedy = "`weft show version` says what is in force; a restart tries again, `sandbox` in the configuration switches a part off";
        return warn(name, format!("not given up: {}", some(&sandbox.missing)), remedy);
    }
    if !sandbox.off.is_empty() {
        return ok(name, format!("switched off in the configuration: {}", sandbox.off.join(", ")));
    }
    let held = sandbox.capabilities.join(", ");
    ok(name, format!("it holds {held} and nothing else; files and system calls are restricted"))
}

/// What other machines are shown.
pub(super) fn certificate(picture: &Picture<'_>) -> Check {
    let name = "certificate";
    let Some(certificate) = picture.certificate else {
        return ok(name, "the API is for this machine alone: there is no `api.remote`");
    };
    if let Some(broken) = &certificate.broken {
        let why = broken.lines().next().unwrap_or_default();
        return warn(name, format!("those before stay in use: {why}"), "mend the file; it is read again by itself");
    }
    let renew = "renew it (`api.remote.cert`, `key`); the files are read again by themselves";
    let Some(left) = certificate.expires_in_s else {
        return ok(name, "that of `api.remote` never expires");
    };
    let Ok(left) = u64::try_from(left) else {
        let since = crate::show::duration(left.unsigned_abs());
        return warn(name, format!("that of `api.remote` expired {since} ago: nobody connects"), renew);
    };
    let fact = format!("that of `api.remote` expires in {}", crate::show::duration(left));
    if left < EXPIRES_SOON.as_secs() { warn(name, fact, renew) } else { ok(name, fact) }
}
