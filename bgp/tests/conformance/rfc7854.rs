//! RFC 7854, BGP Monitoring Protocol.

use super::bytes::{AS_PATH, NEXT_HOP, NLRI, ORIGIN, PREFIX, attribute, established};
use crate::harness::collector::{Heard, POST, PRE, Picture, hear, messages, tlvs, update};
use crate::harness::plant::{Kin, Plant, framed};
use std::time::Duration;
use weft_bgp::speaker::{Form, Views};
use weft_bgp::wire::attrs::Attrs;

const GUEST: &str = "192.0.2.1";

fn good() -> Vec<u8> {
    [&ORIGIN[..], &AS_PATH, &NEXT_HOP].concat()
}

fn of_guest(all: &[Heard], kind: u8) -> Vec<Heard> {
    let guest = |heard: &&Heard| heard.kind == kind && heard.peer.is_some_and(|peer| peer.address.to_string() == GUEST);
    all.iter().filter(guest).cloned().collect()
}

/// §3.3, §4.3, §4.4: Initiation comes first, with sysDescr and sysName.
#[test]
fn the_session_begins_with_an_initiation() {
    let mut plant = established(Kin::External);
    plant.observe(PRE);
    let all = hear(&mut plant);
    assert_eq!((all[0].kind, all[0].peer), (4, None));
    assert_eq!(tlvs(&all[0].rest), [(1, b"weft".to_vec()), (2, b"plant".to_vec())]);
    assert_eq!(all.iter().filter(|heard| heard.kind == 4).count(), 1);
}

/// §4.2, §4.10: Peer Up has the ends of the session and both OPENs as they were on the wire, for sessions that are up and those to
/// come.
#[test]
fn peer_up_has_both_opens() {
    let mut plant = Plant::new(Kin::External);
    plant.observe(PRE);
    assert_eq!(of_guest(&hear(&mut plant), 3), []);
    plant.accept();
    plant.open();
    let later = of_guest(&hear(&mut plant), 3);
    plant.observe(PRE);
    let sooner = of_guest(&hear(&mut plant), 3);
    for up in [&later, &sooner] {
        assert_eq!(up.len(), 1);
        let peer = up[0].peer.unwrap();
        assert_eq!(
            (peer.kind, peer.flags, peer.asn, peer.router_id.to_string()),
            (0, 0, 64_601, "10.0.0.1".to_owned())
        );
        assert_eq!(peer.at, (1_700_000_000, 7), "the wall-clock time of the plant's beginning");
        assert_eq!(up[0].rest[..12], [0; 12]);
        assert_eq!(up[0].rest[12..16], [192, 0, 2, 9]);
        let (opens, rest) = messages(&up[0].rest[20..], 2);
        assert!(rest.is_empty());
        assert_eq!(opens[0][19..22], [4, 0xfc, 0x58], "ours first: version 4, AS 64600");
        assert_eq!(opens[1][19..22], [4, 0xfc, 0x59], "then theirs, AS 64601");
    }
    assert_eq!(later[0].rest, sooner[0].rest);
}

/// §4.9: reason 1 with the NOTIFICATION sent, 3 with the one received, 4 for a connection lost, 2 for one closed without a word.
#[test]
fn peer_down_says_who_ended_it_and_how() {
    let down = |end: &dyn Fn(&mut Plant)| {
        let mut plant = established(Kin::External);
        plant.observe(PRE);
        hear(&mut plant);
        end(&mut plant);
        let all = of_guest(&hear(&mut plant), 2);
        assert_eq!(all.len(), 1);
        all[0].rest.clone()
    };
    let sent = down(&|plant| plant.send(&framed(9, &[])));
    assert_eq!((sent[0], &sent[17..]), (1, &[0, 22, 3, 1, 3, 9][..]));
    let received = down(&|plant| plant.send(&framed(3, &[6, 4])));
    assert_eq!((received[0], &received[17..]), (3, &[0, 21, 3, 6, 4][..]));
    assert_eq!(down(&Plant::leave), [4]);
    assert_eq!(down(&|plant| plant.stop(false)), [2, 0, 2], "ManualStop (RFC 4271 §8.1.2)");
    assert_eq!(down(&|plant| plant.stop(true))[..1], [1]);
}

/// §4.6, §5: before the policy an UPDATE is reported byte for byte, even one whose routes are not taken.
#[test]
fn an_update_is_mirrored_before_the_policy() {
    let mut plant = established(Kin::External);
    plant.observe(PRE);
    hear(&mut plant);
    let looped = [&ORIGIN[..], &attribute(0x40, 2, &[2, 2, 0, 0, 0xfc, 0x59, 0, 0, 0xfc, 0x58]), &NEXT_HOP].concat();
    for attributes in [good(), looped] {
        plant.update(&[], &attributes, &NLRI);
        let length = u8::try_from(attributes.len()).unwrap();
        let heard = of_guest(&hear(&mut plant), 0);
        assert_eq!(heard.len(), 1);
        assert_eq!(heard[0].rest, framed(2, &[&[0, 0, 0, length][..], &attributes, &NLRI].concat()));
        assert_eq!(heard[0].peer.unwrap().flags, 0);
    }
    plant.check();
}

/// §4.6, §5: a collector hears what an UPDATE with faults was understood to say (RFC 7606 §2), and nothing of one that ends the session:
/// what was on the wire, faults and all, is for Route Mirroring (§4.7).
#[test]
fn an_update_with_faults_is_told_as_it_was_understood() {
    let mut plant = established(Kin::External);
    plant.observe(PRE);
    plant.update(&[], &good(), &NLRI);
    let mut picture = Picture::default();
    picture.take(&hear(&mut plant));
    let discarded = [good(), attribute(0x40, 6, &[9])].concat();
    plant.update(&[], &discarded, &NLRI);
    let heard = of_guest(&hear(&mut plant), 0);
    update(&heard[0], |update, block| {
        assert_eq!((update.discarded, update.nlri), (0, &NLRI[..]));
        assert_eq!(Attrs(block).as_path().to_string(), "64601");
    });
    picture.take(&heard);
    assert_eq!(picture.table(0, 0, GUEST), [PREFIX]);
    let bad_origin = [&[0x40, 1, 1, 9][..], &AS_PATH, &NEXT_HOP].concat();
    plant.update(&[], &bad_origin, &NLRI);
    picture.take(&hear(&mut plant));
    assert_eq!(picture.table(0, 0, GUEST), Vec::<String>::new(), "treated as withdrawn");
    plant.update(&[], &[0x40, 200, 0], &NLRI);
    let all = hear(&mut plant);
    assert_eq!((of_guest(&all, 0).len(), of_guest(&all, 2).len()), (0, 1));
    plant.check();
}

/// §5, RFC 7313 §4.2: what a peer does not tell again in a refresh is withdrawn, before the policy and after it.
#[test]
fn what_a_refresh_leaves_out_is_withdrawn() {
    let mut plant = Plant::new(Kin::External);
    plant.offer(|open| open.can.enhanced_refresh = true);
    plant.try_open();
    plant.observe(Views { pre_policy: true, ..POST });
    plant.update(&[], &good(), &[&NLRI[..], &[24, 10, 6, 0]].concat());
    plant.send(&framed(5, &[0, 1, 1, 1]));
    plant.update(&[], &good(), &NLRI);
    plant.send(&framed(5, &[0, 1, 2, 1]));
    plant.pass(Duration::from_secs(1));
    let mut picture = Picture::default();
    picture.take(&hear(&mut plant));
    for flags in [0, 0x40] {
        assert_eq!(picture.table(0, flags, GUEST), [PREFIX]);
    }
}

/// §4.2, §5: after the policy, with the L flag, what was not taken is not there.
#[test]
fn after_the_policy_only_what_was_taken_is_reported() {
    let mut plant = established(Kin::External);
    plant.observe(Views { pre_policy: true, ..POST });
    let mut picture = Picture::default();
    plant.update(&[], &good(), &NLRI);
    picture.take(&hear(&mut plant));
    assert_eq!(
        (picture.table(0, 0, GUEST), picture.table(0, 0x40, GUEST)),
        (vec![PREFIX.to_owned()], vec![PREFIX.to_owned()])
    );
    let looped = [&ORIGIN[..], &attribute(0x40, 2, &[2, 2, 0, 0, 0xfc, 0x59, 0, 0, 0xfc, 0x58]), &NEXT_HOP].concat();
    plant.update(&[], &looped, &NLRI);
    picture.take(&hear(&mut plant));
    assert_eq!((picture.table(0, 0, GUEST), picture.table(0, 0x40, GUEST)), (vec![PREFIX.to_owned()], vec![]));
    plant.update(&[], &good(), &NLRI);
    plant.update(&NLRI, &[], &[]);
    picture.take(&hear(&mut plant));
    assert_eq!((picture.table(0, 0, GUEST), picture.table(0, 0x40, GUEST)), (vec![], vec![]));
}

/// §5: a collector that comes later hears what is in the table, then End-of-RIB for each peer and family.
#[test]
fn a_late_collector_is_told_the_table_and_then_end_of_rib() {
    let mut plant = established(Kin::External);
    plant.update(&[], &good(), &NLRI);
    plant.observe(Views { pre_policy: true, ..POST });
    let all = hear(&mut plant);
    let mut picture = Picture::default();
    picture.take(&all);
    for flags in [0, 0x40] {
        assert_eq!(picture.table(0, flags, GUEST), [PREFIX]);
        assert_eq!(picture.table(0, flags, "192.0.2.2"), ["10.2.0.0/16"]);
        assert_eq!(picture.ends.iter().filter(|(_, of, ..)| *of == flags).count(), 4, "two peers, two families");
    }
    let route = of_guest(&all, 0)[0].clone();
    update(&route, |update, block| {
        assert_eq!(update.next_hop, Some(GUEST.parse().unwrap()));
        assert_eq!(Attrs(block).as_path().to_string(), "64601");
    });
    assert!(plant.observer().unwrap().synchronized);
}

/// §4.9: what a peer told is gone with its session, and comes anew with the next.
#[test]
fn a_session_that_comes_back_begins_anew() {
    let mut plant = established(Kin::External);
    plant.observe(PRE);
    let mut picture = Picture::default();
    for _ in 0..3 {
        plant.update(&[], &good(), &NLRI);
        picture.take(&hear(&mut plant));
        assert_eq!(picture.table(0, 0, GUEST), [PREFIX]);
        plant.leave();
        picture.take(&hear(&mut plant));
        assert_eq!(picture.table(0, 0, GUEST), Vec::<String>::new());
        plant.accept();
        plant.open();
    }
}

/// §4.2: the A flag marks what has AS numbers of two octets; what we write ourselves has four.
#[test]
fn the_a_flag_marks_two_octet_numbers() {
    let mut plant = established(Kin::Old);
    plant.observe(Views { pre_policy: true, ..POST });
    hear(&mut plant);
    plant.update(&[], &[&ORIGIN[..], &[0x40, 2, 4, 2, 1, 0xfc, 0x59], &NEXT_HOP].concat(), &NLRI);
    let heard = of_guest(&hear(&mut plant), 0);
    assert_eq!(heard.iter().map(|heard| heard.peer.unwrap().flags).collect::<Vec<_>>(), [0x20, 0x40]);
    for route in &heard {
        update(route, |_, block| assert_eq!(Attrs(block).as_path().to_string(), "64601"));
    }
}

/// §4.8: statistics of each peer come at the interval: refused prefixes (0), Adj-RIB-In (7, 9), treat-as-withdraw (11).
#[test]
fn statistics_come_at_their_interval() {
    let mut plant = established(Kin::External);
    plant.update(&[], &good(), &NLRI);
    plant.update(&[], &[&[0x40, 1, 1, 7][..], &good()[4..]].concat(), &[24, 10, 7, 0]);
    plant.observe(PRE);
    hear(&mut plant);
    let alive = |plant: &mut Plant, seconds: u64| {
        for _ in 0..seconds {
            plant.send(&framed(4, &[]));
            plant.pass(Duration::from_secs(1));
        }
    };
    alive(&mut plant, 59);
    assert_eq!(of_guest(&hear(&mut plant), 1), []);
    alive(&mut plant, 2);
    let reports = of_guest(&hear(&mut plant), 1);
    assert_eq!(reports.len(), 1);
    let stats = tlvs(&reports[0].rest[4..]);
    assert_eq!(reports[0].rest[..4], u32::try_from(stats.len()).unwrap().to_be_bytes());
    let value = |kind: u16| stats.iter().find(|(of, _)| *of == kind).unwrap().1.clone();
    assert_eq!((value(0), value(7), value(11)), (vec![0; 4], vec![0, 0, 0, 0, 0, 0, 0, 1], vec![0, 0, 0, 1]));
    assert_eq!(value(9), [0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1]);
    alive(&mut plant, 60);
    assert_eq!(of_guest(&hear(&mut plant), 1).len(), 1);
}

/// §3.2: a collector that does not read costs bounded memory and nobody else anything; back again, it hears everything.
#[test]
fn a_collector_that_does_not_read_is_given_up_and_hears_all_when_it_is_back() {
    let mut plant = established(Kin::External);
    plant.observe(PRE);
    let room = 4_096 - 19 - 4 - NLRI.len() - good().len() - 40;
    let big = [good(), attribute(0xc0, 99, &vec![7; room])].concat();
    for _ in 0..9_000 {
        plant.update(&[], &big, &NLRI);
        plant.update(&[], &good(), &NLRI);
    }
    assert!(plant.observer().unwrap().waiting <= weft_bgp::speaker::QUEUE_BYTES_MAX as u64);
    assert_eq!(plant.overheard(), None, "its connection is to be dropped");
    assert_eq!(plant.observer(), None);
    plant.observe(PRE);
    let mut picture = Picture::default();
    picture.take(&hear(&mut plant));
    assert_eq!(picture.table(0, 0, GUEST), [PREFIX]);
    plant.check();
}

/// RFC 6396 §4.4: a dump of messages has what peers say and how their sessions come and go; what does not fit is left out and counted.
#[test]
fn a_dump_of_messages_has_updates_and_states() {
    use weft_bgp::mrt::{Dump, Framer, Record};
    let mut plant = Plant::new(Kin::External);
    plant.observe_as(Form::Mrt, PRE);
    plant.accept();
    plant.open();
    plant.update(&[], &good(), &NLRI);
    plant.leave();
    let mut framer = Framer::default();
    framer.push(&plant.overheard().unwrap());
    let raws: Vec<_> = std::iter::from_fn(|| framer.next_record()).map(Result::unwrap).collect();
    let mut dump = Dump::default();
    let mut said = Vec::new();
    for raw in &raws {
        match dump.record(raw).unwrap() {
            Record::StateChange(change) if change.peer.to_string() == GUEST => {
                said.push(format!("{} {}", change.old, change.new))
            }
            Record::Message(message) if message.peer.to_string() == GUEST => {
                assert!(message.as4 && message.local_asn.0 == 64_600 && raw.stamp.seconds >= 1_700_000_000);
                said.push(format!("{:?} {}", message.kind, message.message.len()));
            }
            Record::Peers { .. } | Record::Rib(_) | Record::Message(_) | Record::StateChange(_) | Record::Other => {}
        }
    }
    assert_eq!(said, ["5 6", &format!("Update {}", 19 + 4 + good().len() + NLRI.len()), "6 1"]);
}
