//! What a cache of route origins may do to its client, and to a speaker that believes it.

use super::collector::word;
use super::plant::{Kin, Plant, framed};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use weft_bgp::policy::compile;
use weft_bgp::rpki::{Validity, Vrp};
use weft_bgp::rtr::{Changed, Client};
use weft_bgp::time::Instant;

/// Most records of one input.
const RECORDS_MAX: usize = 256;
/// Ticks after one another at one time: more is a loop without end.
const TICKS_MAX: usize = 16;
/// Longest time that passes before a record where a whole speaker listens: a guest of the plant must not fall silent.
const PLANT_PAUSE_S: u64 = 3;
/// PDU types by record kind, from 3 on.
const TYPES: [u8; 9] = [3, 4, 6, 7, 8, 0, 9, 10, 2];

/// First octet: the size of the pieces in its lower half; its highest bit: a whole speaker listens. Then records: what (lower half;
/// the upper half: how long nothing happened before), two octets of length, body.
pub fn run(data: &[u8]) {
    let Some((&first, mut rest)) = data.split_first() else {
        return;
    };
    let mut pair = Pair::new(usize::from(first & 0x0f).max(1));
    let mut listener = (first & 0x80 != 0).then(Listener::new);
    for _ in 0..RECORDS_MAX {
        let Some((&[what, high, low], after)) = rest.split_first_chunk::<3>() else {
            break;
        };
        let length = usize::from(u16::from_be_bytes([high, low])).min(after.len());
        let (body, after) = after.split_at(length);
        let pause_s = (1_u64 << (what >> 4)) - 1;
        let step = Step::read(what & 0x0f, body);
        pair.pass(Duration::from_secs(pause_s));
        pair.take(&step);
        if let Some(listener) = &mut listener {
            listener.take(pause_s, &step);
        }
        rest = after;
    }
    listener.into_iter().for_each(Listener::end);
}

/// What a record makes happen.
enum Step {
    Connected,
    Disconnected,
    Said(Vec<u8>),
}

impl Step {
    fn read(what: u8, body: &[u8]) -> Self {
        match what {
            0 => Self::Said(body.to_vec()),
            1 => Self::Connected,
            2 => Self::Disconnected,
            // A PDU whose length is right, of version 0 or 1, two octets of the body in its header.
            what => {
                let kind = TYPES[usize::from(what - 3) % TYPES.len()];
                let version = u8::from(what < 12);
                let (field, body) = body.split_at(body.len().min(2));
                let mut pdu = vec![version, kind, 0, 0];
                pdu[2..2 + field.len()].copy_from_slice(field);
                pdu.extend(u32::try_from(8 + body.len()).unwrap().to_be_bytes());
                pdu.extend_from_slice(body);
                Self::Said(pdu)
            }
        }
    }
}

/// Two clients of one cache: one reads what comes in one go, the other in pieces.
struct Pair {
    whole: Client,
    pieces: Client,
    piece: usize,
    now: Instant,
    /// What the client had when it was asked last.
    known: BTreeSet<Vrp>,
}

impl Pair {
    fn new(piece: usize) -> Self {
        Self { whole: Client::default(), pieces: Client::default(), piece, now: Instant::ZERO, known: BTreeSet::new() }
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        for _ in 0..TICKS_MAX {
            if self.whole.next_timeout().is_none_or(|at| at > self.now) {
                return self.check();
            }
            let now = self.now;
            self.each(|client| client.tick(now));
        }
        panic!("timers without end");
    }

    fn take(&mut self, step: &Step) {
        let now = self.now;
        match step {
            Step::Connected => self.each(|client| client.connected(now)),
            Step::Disconnected => self.each(|client| client.disconnected("lost")),
            Step::Said(bytes) => {
                self.whole.received(now, bytes);
                bytes.chunks(self.piece).for_each(|piece| self.pieces.received(now, piece));
            }
        }
        self.check();
    }

    fn each(&mut self, act: impl Fn(&mut Client)) {
        act(&mut self.whole);
        act(&mut self.pieces);
    }

    /// Both know and say the same; what is said is well-formed; what is believed is what was announced, and its change is noticed.
    fn check(&mut self) {
        let (status, said) = (self.whole.status(), self.whole.poll_transmit());
        assert_eq!(
            (&status, &said),
            (&self.pieces.status(), &self.pieces.poll_transmit()),
            "a split changes what is read"
        );
        queries(&said.0);
        let all: Vec<Vrp> = self.whole.vrps().map(|vrps| vrps.after(None, usize::MAX)).unwrap_or_default();
        let now: BTreeSet<Vrp> = all.iter().copied().collect();
        assert_eq!(now.len(), all.len(), "a VRP twice");
        assert!(self.whole.vrps().is_none() || status.vrps.iter().sum::<usize>() == all.len());
        for vrp in &now {
            assert!((vrp.prefix.prefix_len()..=vrp.prefix.max_prefix_len()).contains(&vrp.max_length), "{vrp:?}");
            assert_eq!(vrp.prefix, vrp.prefix.trunc());
        }
        let changed = self.whole.take_changed();
        assert_eq!(changed, self.pieces.take_changed());
        for vrp in now.symmetric_difference(&self.known) {
            let noticed = match &changed {
                Some(Changed::Everything) => true,
                Some(Changed::Prefixes(all)) => all.contains(&vrp.prefix),
                None => false,
            };
            assert!(noticed, "{vrp:?} changes and nobody is told");
        }
        self.known = now;
    }
}

/// What a client may say (RFC 8210 §5.3, §5.4, §5.11): queries, and one Error Report behind them.
fn queries(mut said: &[u8]) {
    while !said.is_empty() {
        let length = word(said, 4) as usize;
        let (pdu, rest) = said.split_at(length);
        assert!(pdu[0] <= 1, "version {}", pdu[0]);
        match pdu[1] {
            1 => assert_eq!(length, 12),
            2 => assert_eq!((length, &pdu[2..4]), (8, &[0, 0][..])),
            10 => {
                let echo = word(pdu, 8) as usize;
                let text = word(pdu, 12 + echo) as usize;
                assert_eq!(length, 16 + echo + text);
                assert!(echo < 2 || pdu[12 + 1] != 10, "an Error Report is answered");
                assert!(std::str::from_utf8(&pdu[16 + echo..]).is_ok_and(|text| text.is_ascii() && !text.is_empty()));
                assert!(rest.is_empty(), "something behind an Error Report");
            }
            kind => panic!("a router never sends type {kind}"),
        }
        said = rest;
    }
}

/// A speaker whose guest is under a policy about origins.
struct Listener {
    plant: Plant,
}

impl Listener {
    fn new() -> Self {
        let section = serde_json::json!({
            "strict": [{"match": {"rpki": "invalid"}, "then": "reject"}, {"match": {"rpki": ["valid", "not-found"]}, "then": "accept"}]
        });
        let policies = Arc::new(compile(&section, &BTreeSet::new()).unwrap());
        let mut plant = Plant::configured(Kin::External, |speaker, guest, _| {
            speaker.policies = policies;
            guest.import = Some("strict".to_owned());
        });
        plant.set_caches(1);
        plant.accept();
        plant.open();
        let mut listener = Self { plant };
        listener.announce();
        listener
    }

    /// The guest tells 10.0.0.0/8 to 10.15.0.0/16, all from AS 64601.
    fn announce(&mut self) {
        let attributes = [0x40, 1, 1, 0, 0x40, 2, 6, 2, 1, 0, 0, 0xfc, 0x59, 0x40, 3, 4, 192, 0, 2, 1];
        let nlri: Vec<u8> = [8, 10].into_iter().chain((0..16).flat_map(|second| [16, 10, second])).collect();
        self.plant.update(&[], &attributes, &nlri);
    }

    fn take(&mut self, pause_s: u64, step: &Step) {
        self.plant.send(&framed(4, &[]));
        self.plant.pass(Duration::from_secs(pause_s.min(PLANT_PAUSE_S)));
        match step {
            Step::Connected => self.plant.cache_connects(),
            Step::Disconnected => self.plant.cache_leaves(),
            Step::Said(bytes) => self.plant.cache(bytes),
        }
    }

    /// Nothing that the data makes invalid is in the table, and everything else is, once the guest has told it again.
    fn end(mut self) {
        self.plant.send(&framed(4, &[]));
        self.plant.pass(Duration::from_secs(PLANT_PAUSE_S));
        self.plant.check();
        let taken: Vec<String> = self.taken();
        assert_eq!(self.plant.guest_state(), "Established");
        self.announce();
        let again = self.taken();
        assert!(taken.iter().all(|prefix| again.contains(prefix)), "a route is gone that comes back");
        for prefix in &again {
            let route = self.plant.route(prefix).unwrap();
            let path = route.paths.iter().find(|path| path.from == "guest").unwrap();
            assert!(
                matches!(path.validity, Some(Validity::Valid | Validity::NotFound)),
                "{prefix}: {:?}",
                path.validity
            );
        }
        assert!(again.len() == taken.len() || self.plant.guest_heard(5) > 0, "what is valid again is not asked for");
    }

    fn taken(&self) -> Vec<String> {
        let all = (0..16).map(|second| format!("10.{second}.0.0/16")).chain(["10.0.0.0/8".to_owned()]);
        let from_guest = |prefix: &String| {
            self.plant.route(prefix).is_some_and(|route| route.paths.iter().any(|path| path.from == "guest"))
        };
        all.filter(from_guest).collect()
    }
}
