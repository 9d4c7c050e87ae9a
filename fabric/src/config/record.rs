//! Section `record`: what the daemon is fed is kept, so that it can be done again elsewhere.

use super::file::Config;
use super::node::Faults;
use serde::Deserialize;

/// Most memory for it, MiB: what hosts can spare.
const MEMORY_MAX_MB: u32 = 4_096;

/// As written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Memory for it, MiB; when it is full, the recording ends.
    pub memory_mb: u32,
}

/// Octets for the recording, if there is to be one.
pub(super) fn octets(config: &Config, faults: &mut Faults<'_>) -> Option<u64> {
    let memory_mb = config.record?.memory_mb;
    if !(1..=MEMORY_MAX_MB).contains(&memory_mb) {
        let remedy = format!("write a number of 1..={MEMORY_MAX_MB}");
        faults.add("record.memory_mb", format!("{memory_mb} MiB are not possible"), remedy);
    }
    Some(u64::from(memory_mb) << 20)
}
