//! What a collector of BMP hears of a guest that sends anything: always well-formed, and in the end what is true.

use super::collector::{Picture, read};
use super::plant::{Kin, Plant, framed};
use std::collections::BTreeSet;
use std::time::Duration;
use weft_bgp::speaker::Views;
use weft_bgp::types::IpNet;

/// Most records of one input.
const RECORDS_MAX: usize = 256;
/// Peer flags: after the policy, Adj-RIB-Out.
const POST: u8 = 0x40;
const OUT: u8 = 0x50;

/// First octet: who the guest is, whether it can refresh, what is observed. Then records: what (upper half: seconds that pass), two
/// octets of length, body. 0: octets; 1 to 5: a message; 6: the guest leaves; 7: it comes; 8: the collector comes anew; 9: it stops
/// reading, or begins again.
pub fn run(data: &[u8]) {
    let Some((&first, mut rest)) = data.split_first() else {
        return;
    };
    let mut plant = Plant::new(Kin::ALL[usize::from(first & 3) % Kin::ALL.len()]);
    if first & 4 != 0 {
        plant.offer(|open| open.can.enhanced_refresh = true);
    }
    let views = Views {
        pre_policy: first & 0x10 == 0,
        post_policy: first & 0x20 == 0,
        adj_out: first & 0x40 == 0,
        loc_rib: first & 0x80 == 0,
    };
    let mut collector = Collector { views, ..Collector::default() };
    collector.come(&mut plant);
    plant.try_open();
    for _ in 0..RECORDS_MAX {
        let Some((&[what, high, low], after)) = rest.split_first_chunk::<3>() else {
            break;
        };
        let length = usize::from(u16::from_be_bytes([high, low])).min(after.len());
        let (body, after) = after.split_at(length);
        match what & 0x0f {
            0 => plant.send(body),
            6 => plant.leave(),
            7 => plant.try_open(),
            8 => collector.come(&mut plant),
            9 => collector.is_reading = !collector.is_reading,
            kind => plant.send(&framed(kind, body)),
        }
        plant.pass(Duration::from_secs(u64::from(what >> 4)));
        collector.hear(&mut plant);
        rest = after;
    }
    collector.is_reading = true;
    // What goes, goes in slices.
    plant.pass(Duration::from_secs(1));
    collector.hear(&mut plant);
    plant.check();
    collector.compare(&plant);
}

#[derive(Default)]
struct Collector {
    views: Views,
    picture: Picture,
    is_reading: bool,
}

impl Collector {
    fn come(&mut self, plant: &mut Plant) {
        (self.picture, self.is_reading) = (Picture::default(), true);
        plant.observe(self.views);
    }

    fn hear(&mut self, plant: &mut Plant) {
        if !self.is_reading {
            return;
        }
        match plant.overheard() {
            Some(bytes) => self.picture.take(&read(&bytes)),
            // Too slow: it hears everything anew.
            None => {
                self.come(plant);
                self.hear(plant);
            }
        }
    }

    /// Of every table that is observed, the collector knows exactly what there is.
    fn compare(&self, plant: &Plant) {
        let heard = |kind, flags, address: &str| -> BTreeSet<IpNet> {
            self.picture.tables.get(&(kind, flags, address.parse().unwrap())).cloned().unwrap_or_default()
        };
        let all = plant.speaker.routes(None, usize::MAX);
        let of = |name: &str| -> BTreeSet<IpNet> {
            all.iter()
                .filter(|route| route.paths.iter().any(|path| path.from == name))
                .map(|route| route.prefix)
                .collect()
        };
        if self.views.loc_rib {
            let best = all.iter().filter(|route| route.paths.iter().any(|path| path.best));
            let best: BTreeSet<IpNet> = best.map(|route| route.prefix).collect();
            assert_eq!(heard(3, 0, "0.0.0.0"), best, "Loc-RIB");
        }
        for (name, address) in [("guest", "192.0.2.1"), ("canary", "192.0.2.2")] {
            let is_up = self.picture.up.contains(&(0, address.parse().unwrap()));
            assert_eq!(is_up, name == "canary" || plant.guest_state() == "Established", "{name}");
            if self.views.post_policy && is_up {
                assert_eq!(heard(0, POST, address), of(name), "{name}, after the policy");
            }
        }
        if self.views.adj_out {
            let told: BTreeSet<IpNet> = plant.canary_routes().into_keys().map(|(prefix, _)| prefix).collect();
            assert_eq!(heard(0, OUT, "192.0.2.2"), told, "Adj-RIB-Out");
        }
    }
}
