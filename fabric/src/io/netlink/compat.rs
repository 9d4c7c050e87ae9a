//! `net.ipv4.nexthop_compat_mode` of the daemon's network namespace. While it is 1 the kernel walks its table whenever a group of ours
//! changes, to tell of every route of it (a quarter of a second under a million); with 0 it tells of the group alone.

use crate::config::NexthopCompat;
use std::path::Path;

const SETTING: &str = "/proc/sys/net/ipv4/nexthop_compat_mode";
const FULL: &str = "1";
const FAST: &str = "0";

/// The setting, and what it was before us.
#[derive(Debug, Default)]
pub(super) struct Compat {
    before: Option<String>,
}

impl Compat {
    /// Sets it as wanted. `ours_there`: an earlier run of ours left routes; a setting of 0 is then its own, which ended without a chance
    /// to put 1 back.
    pub(super) fn follow(&mut self, wanted: NexthopCompat, ours_there: bool) {
        match (wanted, &self.before) {
            (NexthopCompat::Keep, None) if ours_there && read().as_deref() == Some(FAST) => write(FULL),
            (NexthopCompat::Keep, _) => self.restore(),
            (NexthopCompat::Fast, Some(_)) => {}
            (NexthopCompat::Fast, None) => {
                let Some(value) = read() else { return };
                self.before = Some(if ours_there { FULL.to_owned() } else { value.clone() });
                if value != FAST {
                    write(FAST);
                }
            }
        }
    }

    /// Whether it is 0 because of us.
    pub(super) const fn is_fast(&self) -> bool {
        self.before.is_some()
    }

    /// As it was before us.
    pub(super) fn restore(&mut self) {
        if let Some(before) = self.before.take()
            && read().is_some_and(|value| value != before)
        {
            write(&before);
        }
    }
}

/// `None` where the kernel has no such setting (before Linux 5.7) or /proc is not there.
fn read() -> Option<String> {
    Some(std::fs::read_to_string(Path::new(SETTING)).ok()?.trim().to_owned())
}

fn write(value: &str) {
    match std::fs::write(SETTING, value) {
        Ok(()) => tracing::info!(value, "net.ipv4.nexthop_compat_mode set"),
        Err(error) => {
            tracing::warn!(%error, value, "cannot set net.ipv4.nexthop_compat_mode: groups change as fast as it is now");
        }
    }
}
