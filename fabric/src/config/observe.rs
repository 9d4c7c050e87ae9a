//! Who observes the daemon, BMP collectors and dumps of messages, and the RPKI caches that it asks. As written, and what it comes to.

use super::file::Config;
use super::node::Faults;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use weft_bgp::speaker::Views;
use weft_bgp::time::Duration;

/// Most collectors: each may take [`weft_bgp::speaker::QUEUE_BYTES_MAX`] octets while it is slow.
const COLLECTORS_MAX: usize = 8;
/// Most caches: the data of each is held, so that another can take over at once.
const CACHES_MAX: usize = 4;
/// RFC 8210 §13: plain TCP.
const PORT: u16 = 323;
/// Between statistics reports unless said.
const STATISTICS_S: u32 = 60;
/// A quarter of an hour in a file, a day of files: as the public collectors have it.
const ROTATE_S: u32 = 900;
const KEEP: u32 = 96;

/// One entry of `bmp`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Collector {
    /// Where it listens.
    pub address: IpAddr,
    /// On which TCP port; BMP has none of its own.
    pub port: u16,
    /// What it is to hear; `[pre-policy]` unless set.
    pub monitor: Option<Vec<View>>,
    /// Seconds between statistics reports; 0 = none, default 60.
    pub statistics_s: Option<u32>,
}

/// What a collector hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum View {
    /// What peers say (RFC 7854).
    PrePolicy,
    /// What is taken of it (RFC 7854).
    PostPolicy,
    /// What peers are told (RFC 8671).
    AdjOut,
    /// What is chosen (RFC 9069).
    LocRib,
}

/// Section `mrt`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mrt {
    /// The file to which what peers say is written.
    pub updates: Option<PathBuf>,
    /// Seconds after which a new file begins; 0 = never, default 900.
    pub rotate_s: Option<u32>,
    /// Files kept beside the current one, default 96.
    pub keep: Option<u32>,
}

/// Section `rpki`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rpki {
    /// Who is asked, the most preferred first.
    pub caches: Vec<Cache>,
}

/// One cache (RFC 8210).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cache {
    /// Where it listens.
    pub address: IpAddr,
    /// On which TCP port; default 323 (RFC 8210 §13).
    pub port: Option<u16>,
}

/// A collector, with its defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectorConfig {
    /// Where it listens.
    pub address: SocketAddr,
    /// What it hears.
    pub views: Views,
    /// Between statistics reports; zero: none.
    pub statistics: Duration,
}

/// A dump of messages, likewise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DumpConfig {
    /// The current file; older ones have the time at which they began behind the name.
    pub file: PathBuf,
    /// After which a new file begins; zero: never.
    pub rotate: Duration,
    /// Older files kept.
    pub keep: usize,
}

/// The collectors of a configuration.
pub(super) fn collectors(config: &Config, faults: &mut Faults<'_>) -> Vec<CollectorConfig> {
    if config.bmp.len() > COLLECTORS_MAX {
        let message = format!("{} collectors are more than {COLLECTORS_MAX}", config.bmp.len());
        faults.add("bmp", message, "let one collector feed the others");
    }
    let mut seen = BTreeSet::new();
    let mut all = Vec::new();
    for (index, collector) in config.bmp.iter().enumerate() {
        let path = format!("bmp[{index}]");
        let address = SocketAddr::new(collector.address, collector.port);
        if collector.port == 0 {
            faults.add(&format!("{path}.port"), "0 is no port", "write the port on which the collector listens");
        }
        if !seen.insert(address) {
            faults.add(&path, format!("{address} is there twice"), "put all views under `monitor` of one entry");
        }
        let wanted = collector.monitor.clone().unwrap_or_else(|| vec![View::PrePolicy]);
        if wanted.is_empty() {
            faults.add(
                &format!("{path}.monitor"),
                "the collector would hear of no routes",
                "write some of pre-policy, post-policy, adj-out, loc-rib",
            );
        }
        let has = |view| wanted.contains(&view);
        let views = Views {
            pre_policy: has(View::PrePolicy),
            post_policy: has(View::PostPolicy),
            adj_out: has(View::AdjOut),
            loc_rib: has(View::LocRib),
        };
        let statistics = Duration::from_secs(u64::from(collector.statistics_s.unwrap_or(STATISTICS_S)));
        all.push(CollectorConfig { address, views, statistics });
    }
    all
}

/// The caches of a configuration.
pub(super) fn caches(config: &Config, faults: &mut Faults<'_>) -> Vec<SocketAddr> {
    let Some(Rpki { caches }) = &config.rpki else {
        return Vec::new();
    };
    if caches.is_empty() || caches.len() > CACHES_MAX {
        let message = format!("{} caches", caches.len());
        faults.add("rpki.caches", message, format!("write 1 to {CACHES_MAX} of them, or leave `rpki` out"));
    }
    let all: Vec<_> = caches.iter().map(|cache| SocketAddr::new(cache.address, cache.port.unwrap_or(PORT))).collect();
    for (index, address) in all.iter().enumerate() {
        if all.get(..index).is_some_and(|before| before.contains(address)) {
            faults.add(&format!("rpki.caches[{index}]"), format!("{address} is there twice"), "keep one of the two");
        }
    }
    all
}

/// The dump of messages.
pub(super) fn dump(config: &Config, faults: &mut Faults<'_>) -> Option<DumpConfig> {
    let Mrt { updates, rotate_s, keep } = config.mrt.as_ref()?;
    let Some(file) = updates else {
        faults.add("mrt", "`updates` is missing", "write `mrt: {updates: /var/log/weft/updates.mrt}`");
        return None;
    };
    if !file.is_absolute() || file.file_name().is_none() {
        faults.add("mrt.updates", format!("{} is no absolute path of a file", file.display()), "write the whole path");
    }
    Some(DumpConfig {
        file: file.clone(),
        rotate: Duration::from_secs(u64::from(rotate_s.unwrap_or(ROTATE_S))),
        keep: usize::try_from(keep.unwrap_or(KEEP)).unwrap_or(usize::MAX),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    const BASE: &str = "asn: 1\nrouter_id: 10.0.0.1\n";

    fn faults(text: &str) -> Vec<String> {
        let error = config::parse("t", &format!("{BASE}{text}")).and_then(|config| config.node()).unwrap_err();
        error.faults.iter().map(|fault| format!("{} {}: {}", fault.at.0, fault.field, fault.message)).collect()
    }

    #[test]
    fn collectors_and_dumps_have_defaults() {
        let text = "bmp: [{address: 10.0.0.9, port: 5000}, {address: fd00::9, port: 1, monitor: [adj-out, loc-rib], statistics_s: 0}]\n\
                    mrt: {updates: /var/log/weft/updates.mrt}\n";
        let node = config::parse("t", &format!("{BASE}{text}")).and_then(|config| config.node()).unwrap();
        let [first, second] = node.bmp.as_slice() else { panic!("{:?}", node.bmp) };
        assert_eq!((first.address, first.statistics), ("10.0.0.9:5000".parse().unwrap(), Duration::from_secs(60)));
        assert_eq!(first.views, Views { pre_policy: true, ..Views::default() });
        assert_eq!((second.address, second.statistics), ("[fd00::9]:1".parse().unwrap(), Duration::ZERO));
        assert_eq!(second.views, Views { adj_out: true, loc_rib: true, ..Views::default() });
        let dump = node.mrt.unwrap();
        assert_eq!((dump.rotate, dump.keep), (Duration::from_secs(900), 96));
    }

    #[test]
    fn contradictions_are_named() {
        let text = "bmp: [{address: 10.0.0.9, port: 0, monitor: []}, {address: 10.0.0.9, port: 0}]\nmrt: {updates: updates.mrt}\n";
        assert_eq!(
            faults(text),
            [
                "3 bmp[0].port: 0 is no port",
                "3 bmp[0].monitor: the collector would hear of no routes",
                "3 bmp[1]: 10.0.0.9:0 is there twice",
                "3 bmp[1].port: 0 is no port",
                "4 mrt.updates: updates.mrt is no absolute path of a file",
            ]
        );
        assert_eq!(faults("mrt: {rotate_s: 4}\n"), ["3 mrt: `updates` is missing"]);
        assert_eq!(faults("rpki: {caches: []}\n"), ["3 rpki.caches: 0 caches"]);
        let twice = "rpki: {caches: [{address: 10.0.0.9}, {address: 10.0.0.9, port: 323}]}\n";
        assert_eq!(faults(twice), ["3 rpki.caches[1]: 10.0.0.9:323 is there twice"]);
        let many =
            format!("bmp: [{}]\n", (0..9).map(|at| format!("{{address: 10.0.0.{at}, port: 1}}, ")).collect::<String>());
        assert_eq!(faults(&many), ["3 bmp: 9 collectors are more than 8"]);
    }
}
