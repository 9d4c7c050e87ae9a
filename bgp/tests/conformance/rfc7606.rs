//! RFC 7606, Revised Error Handling for BGP UPDATE Messages: one table per section.

use crate::bytes::{
    AS_PATH, Cost, LOCAL_PREF, NEXT_HOP, NLRI, ORIGIN, PREFIX, attribute, cost, cost_of, established, route_with,
    telling, told_attr,
};
use crate::harness::plant::{Kin, Plant, framed};

use Cost::{Discard, Nothing, Reset, Withdraw};
use Kin::{External, Internal, Old};

/// One attribute per row: who sends it, flags, type, value, and what it costs.
fn holds(section: &str, table: &[(Kin, u8, u8, &[u8], Cost)]) {
    for (kin, flags, kind, value, expected) in table {
        let cost = cost_of(*kin, *flags, *kind, value);
        assert_eq!(cost, *expected, "{section}: {kin:?} {flags:#x} {kind} {value:02x?}");
    }
}

fn reset_of(plant: &Plant) -> Option<(u8, u8)> {
    plant.notifications().first().map(|sent| (sent.code, sent.subcode))
}

/// §2: the session, the other routes of the peer and everybody else stay as they were.
#[test]
fn treat_as_withdraw_takes_the_prefixes_of_the_message_and_nothing_else() {
    assert_eq!(cost_of(External, 0x40, 1, &[9]), Withdraw);
    assert_eq!(cost_of(Internal, 0x40, 1, &[9]), Withdraw);
}

/// §3 a, b with RFC 4271 §6.3: lengths that reach beyond the message leave nothing to hold on to.
#[test]
fn section_lengths_beyond_the_message_reset() {
    for body in [&[0xff, 0xff, 0, 0][..], &[0, 0, 0xff, 0xff], &[0, 2, 0, 0], &[0, 0, 0, 1]] {
        let mut plant = established(External);
        plant.send(&framed(2, body));
        assert_eq!(reset_of(&plant), Some((3, 1)), "{body:02x?}");
        plant.check();
    }
}

/// §3 c: Optional or Transitive in conflict with the attribute's specification.
#[test]
fn wrong_flags_are_treated_as_withdraw_unless_the_attribute_is_only_ever_discarded() {
    holds(
        "§3 c",
        &[
            (External, 0xc0, 1, &[0], Withdraw),
            (External, 0x80, 2, &[2, 1, 0, 0, 0xfc, 0x59], Withdraw),
            (External, 0xc0, 3, &[192, 0, 2, 1], Withdraw),
            (External, 0xc0, 4, &[0; 4], Withdraw),
            (Internal, 0xc0, 5, &[0; 4], Withdraw),
            (External, 0xc0, 6, &[], Discard),
            (External, 0x80, 7, &[0, 0, 0xfc, 0x59, 10, 0, 0, 1], Discard),
            (External, 0x80, 8, &[0xfc, 0x59, 0, 1], Withdraw),
            (Internal, 0xc0, 9, &[10, 0, 0, 1], Withdraw),
            (Internal, 0xc0, 10, &[10, 0, 0, 1], Withdraw),
            (External, 0x80, 16, &[0; 8], Withdraw),
            (External, 0x80, 25, &[0; 20], Withdraw),
            (External, 0x80, 32, &[0; 12], Withdraw),
            // The lower four bits and Extended Length say nothing about the class.
            (External, 0xcf, 8, &[0xfc, 0x59, 0, 1], Nothing),
        ],
    );
}

/// §3 d: a well-known mandatory attribute is missing; NEXT_HOP only where NLRI stand in the message.
#[test]
fn missing_mandatory_attributes_are_treated_as_withdraw() {
    assert_eq!(cost(External, &[&AS_PATH[..], &NEXT_HOP].concat(), 1), Withdraw);
    assert_eq!(cost(External, &[&ORIGIN[..], &NEXT_HOP].concat(), 2), Withdraw);
    assert_eq!(cost(External, &[&ORIGIN[..], &AS_PATH].concat(), 3), Withdraw);
    assert_eq!(cost(Internal, &[&ORIGIN[..], &AS_PATH, &NEXT_HOP].concat(), 5), Withdraw);
    let mut plant = established(External);
    let reach = [&[0, 2, 1, 16][..], &[0x20, 1, 0xd, 0xb8], &[0; 11], &[1, 0, 32, 0x20, 1, 0xd, 0xb9]].concat();
    plant.update(&[], &[&attribute(0x80, 14, &reach), &ORIGIN[..], &AS_PATH].concat(), &[]);
    assert_eq!((plant.guest().withdraw_faults, plant.guest().prefixes_received), (0, [0, 1]));
}

/// §3 e, f: what RFC 4271 answered with a reset, for ORIGIN to LOCAL_PREF and for the aggregator's two.
#[test]
fn the_attributes_of_rfc_4271_never_reset() {
    holds(
        "§3 e f",
        &[
            (External, 0x40, 1, &[3], Withdraw),
            (External, 0x40, 2, &[9, 1, 0, 0, 0, 1], Withdraw),
            (External, 0x40, 3, &[0; 5], Withdraw),
            (External, 0x80, 4, &[0; 3], Withdraw),
            (Internal, 0x40, 5, &[0; 5], Withdraw),
            (External, 0x40, 6, &[1], Discard),
            (External, 0xc0, 7, &[1], Discard),
        ],
    );
}

/// §3 g: an attribute that occurs twice.
#[test]
fn the_first_of_two_counts_and_two_mp_attributes_reset() {
    let twice = [&route_with(External, &[])[..], &[0x40, 1, 1, 2], &attribute(0x40, 1, &[9])].concat();
    let mut plant = established(External);
    plant.update(&[], &twice, &NLRI);
    assert_eq!(plant.route(PREFIX).unwrap().paths[0].origin, "igp", "the first one");
    let unknown = [&attribute(0xc0, 99, &[1])[..], &attribute(0xc0, 99, &[2])].concat();
    plant.update(&[], &route_with(External, &unknown), &NLRI);
    assert_eq!(told_attr(&plant, 99), Some((0xe0, vec![1])), "unrecognised ones too");
    plant.check();
    let reach = [&[0, 2, 1, 16][..], &[0x20; 16], &[0]].concat();
    for (kind, value) in [(14, reach.as_slice()), (15, &[0, 2, 1])] {
        let mut plant = established(External);
        plant.update(&[], &attribute(0x80, kind, value).repeat(2), &[]);
        assert_eq!(reset_of(&plant), Some((3, 1)));
        plant.check();
    }
}

/// §3 h: of several faults in one message the strongest action counts, wherever it stands.
#[test]
fn the_strongest_of_several_actions_counts() {
    let (discard, withdraw) = (attribute(0x40, 6, &[1]), attribute(0x80, 4, &[1]));
    let unreadable = attribute(0x80, 14, &[0]);
    let both = |one: &[u8], other: &[u8]| cost(External, &[&route_with(External, one)[..], other].concat(), 6);
    assert_eq!(both(&discard, &withdraw), Withdraw);
    assert_eq!(both(&withdraw, &discard), Withdraw);
    assert_eq!(both(&withdraw, &unreadable), Reset(3, 9));
    assert_eq!(both(&unreadable, &withdraw), Reset(3, 9));
}

/// §3 i, §5.3: Withdrawn Routes and NLRI that cannot be read as prefixes.
#[test]
fn prefixes_that_cannot_be_read_reset() {
    let good = route_with(External, &[]);
    for bad in [&[33, 10, 0, 0, 0, 0][..], &[24, 10, 0], &[255], &[32]] {
        for (withdrawn, attributes, nlri) in [(bad, &[][..], &[][..]), (&[][..], &good[..], bad)] {
            let mut plant = established(External);
            plant.update(withdrawn, attributes, nlri);
            assert_eq!(reset_of(&plant), Some((3, 10)), "{bad:02x?}");
            plant.check();
        }
    }
}

/// §4: an attribute that overruns the Total Attribute Length, and one too short to be one.
#[test]
fn attributes_that_overrun_leave_the_prefixes_where_they_are() {
    for tail in [&[0xc0, 99, 200, 1][..], &[0x80], &[0xc0, 99], &[0xd0, 99, 0], &[0xd0, 99, 1, 0, 7]] {
        assert_eq!(cost(External, &route_with(External, tail), 99), Withdraw, "{tail:02x?}");
    }
}

/// §4: only AS_PATH and ATOMIC_AGGREGATE may be empty.
#[test]
fn an_attribute_without_a_value_is_a_fault_but_for_two() {
    holds(
        "§4",
        &[
            (External, 0x40, 1, &[], Withdraw),
            (Internal, 0x40, 2, &[], Nothing),
            (External, 0x40, 3, &[], Withdraw),
            (External, 0x80, 4, &[], Withdraw),
            (Internal, 0x40, 5, &[], Withdraw),
            (External, 0x40, 6, &[], Nothing),
            (External, 0xc0, 7, &[], Discard),
            (External, 0xc0, 8, &[], Withdraw),
            (Internal, 0x80, 9, &[], Withdraw),
            (Internal, 0x80, 10, &[], Withdraw),
            (External, 0xc0, 16, &[], Withdraw),
            (External, 0xc0, 25, &[], Withdraw),
            (External, 0xc0, 32, &[], Withdraw),
        ],
    );
}

/// §5.1: the MP attributes are read wherever they stand.
#[test]
fn mp_attributes_may_stand_anywhere() {
    let reach = [&[0, 2, 1, 16][..], &[0x20, 1, 0xd, 0xb8], &[0; 11], &[1, 0, 32, 0x20, 1, 0xd, 0xb9]].concat();
    let parts = [attribute(0x80, 14, &reach), ORIGIN.to_vec(), AS_PATH.to_vec()];
    for at in 0..3 {
        let mut order = parts.to_vec();
        order.rotate_left(at);
        let mut plant = established(External);
        plant.update(&[], &order.concat(), &[]);
        assert_eq!(plant.guest().prefixes_received, [0, 1]);
        plant.check();
    }
}

/// §5.2: a fault beyond attribute discard where nothing reachable says what to withdraw.
#[test]
fn a_fault_with_nothing_announced_resets() {
    let mut plant = established(External);
    plant.update(&NLRI, &attribute(0x40, 1, &[7]), &[]);
    assert_eq!(reset_of(&plant), Some((3, 5)));
    plant.check();
    let mut plant = established(External);
    plant.update(&[], &route_with(External, &[]), &NLRI);
    plant.update(&NLRI, &attribute(0x40, 6, &[1]), &[]);
    assert_eq!((plant.guest_state().as_str(), plant.told(PREFIX)), ("Established", None), "a discard is no such fault");
    plant.check();
}

/// §5.3: MP attributes that cannot be read, and flags that are not theirs.
#[test]
fn mp_attributes_that_cannot_be_read_reset() {
    let hop = [0x20; 16];
    let long = [&[0, 2, 1, 16][..], &hop, &[0, 129, 0x20]].concat();
    let overrun = [&[0, 2, 1, 16][..], &hop, &[0, 64, 0x20]].concat();
    for (flags, kind, value, subcode) in [
        (0x80, 14, &long[..], 9),
        (0x80, 14, &overrun, 9),
        (0x80, 14, &[0, 2, 1, 0], 9),
        (0x80, 15, &[0, 2], 9),
        (0x80, 15, &[0, 2, 1, 129, 0x20], 9),
        (0x80, 15, &[0, 2, 1, 64, 0x20], 9),
        (0xc0, 15, &[0, 2, 1], 4),
        (0x40, 14, &[0, 2, 1, 0, 0], 4),
    ] {
        let mut plant = established(External);
        plant.update(&[], &[&attribute(flags, kind, value)[..], &ORIGIN, &AS_PATH].concat(), &[]);
        assert_eq!(reset_of(&plant), Some((3, subcode)), "{kind} {value:02x?}");
        let echoed = &plant.notifications()[0].data;
        assert_eq!(echoed[..], attribute(flags, kind, value)[..], "RFC 4271 §6.3: the attribute is the data");
        plant.check();
    }
}

/// §7.1
#[test]
fn origin_is_one_octet_with_a_defined_value() {
    holds(
        "§7.1",
        &[
            (External, 0x40, 1, &[2], Nothing),
            (External, 0x40, 1, &[3], Withdraw),
            (External, 0x40, 1, &[0, 0], Withdraw),
        ],
    );
}

/// §7.2
#[test]
fn as_path_is_made_of_whole_segments_of_known_types() {
    holds(
        "§7.2",
        &[
            (External, 0x40, 2, &[2, 1, 0, 0, 0xfc, 0x59, 1, 1, 0, 0, 0, 7], Nothing),
            (External, 0x40, 2, &[0, 1, 0, 0, 0xfc, 0x59], Withdraw),
            (External, 0x40, 2, &[5, 1, 0, 0, 0xfc, 0x59], Withdraw),
            (External, 0x40, 2, &[2, 2, 0, 0, 0xfc, 0x59], Withdraw),
            (External, 0x40, 2, &[2, 1, 0, 0, 0xfc, 0x59, 2], Withdraw),
            (External, 0x40, 2, &[2, 0], Withdraw),
            (Old, 0x40, 2, &[2, 1, 0xfc, 0x59, 0], Withdraw),
        ],
    );
}

/// §7.3, and RFC 4271 §6.3: the address of a host.
#[test]
fn next_hop_is_the_address_of_a_host() {
    for bad in [&[][..], &[10], &[0; 5], &[0, 0, 0, 0], &[127, 0, 0, 1], &[224, 0, 0, 5], &[255; 4]] {
        assert_eq!(cost_of(External, 0x40, 3, bad), Withdraw, "{bad:02x?}");
    }
    assert_eq!(cost_of(External, 0x40, 3, &[192, 0, 2, 1]), Nothing);
}

/// §7.4
#[test]
fn multi_exit_disc_is_four_octets() {
    holds("§7.4", &[(External, 0x80, 4, &[0; 4], Nothing), (External, 0x80, 4, &[0; 5], Withdraw)]);
}

/// §7.5
#[test]
fn local_pref_is_for_internal_peers_alone() {
    holds(
        "§7.5",
        &[
            (Internal, 0x40, 5, &[0, 0, 0, 7], Nothing),
            (Internal, 0x40, 5, &[0; 3], Withdraw),
            (External, 0x40, 5, &[0, 0, 0, 7], Discard),
            (External, 0x40, 5, &[0; 3], Discard),
        ],
    );
}

/// §7.6
#[test]
fn atomic_aggregate_is_empty() {
    holds("§7.6", &[(External, 0x40, 6, &[], Nothing), (External, 0x40, 6, &[0], Discard)]);
}

/// §7.7: eight octets between speakers of four-octet numbers, six otherwise.
#[test]
fn aggregator_has_the_length_that_was_negotiated() {
    holds(
        "§7.7",
        &[
            (External, 0xc0, 7, &[0, 0, 0xfc, 0x59, 10, 0, 0, 1], Nothing),
            (External, 0xc0, 7, &[0xfc, 0x59, 10, 0, 0, 1], Discard),
            (Old, 0xc0, 7, &[0xfc, 0x59, 10, 0, 0, 1], Nothing),
            (Old, 0xc0, 7, &[0, 0, 0xfc, 0x59, 10, 0, 0, 1], Discard),
        ],
    );
}

/// §7.8
#[test]
fn communities_are_a_multiple_of_four_octets() {
    holds(
        "§7.8",
        &[
            (External, 0xc0, 8, &[0xfc, 0x59, 0, 1, 0xfc, 0x59, 0, 2], Nothing),
            (External, 0xc0, 8, &[0xfc, 0x59, 0], Withdraw),
            (External, 0xc0, 8, &[0xfc, 0x59, 0, 1, 0], Withdraw),
        ],
    );
}

/// §7.9
#[test]
fn originator_id_is_for_internal_peers_alone() {
    holds(
        "§7.9",
        &[
            (Internal, 0x80, 9, &[10, 0, 0, 7], Nothing),
            (Internal, 0x80, 9, &[10, 0, 0], Withdraw),
            (External, 0x80, 9, &[10, 0, 0, 7], Discard),
            (External, 0x80, 9, &[10], Discard),
        ],
    );
}

/// §7.10
#[test]
fn cluster_list_is_for_internal_peers_alone() {
    holds(
        "§7.10",
        &[
            (Internal, 0x80, 10, &[10, 0, 0, 7, 10, 0, 0, 8], Nothing),
            (Internal, 0x80, 10, &[10, 0, 0, 7, 10], Withdraw),
            (External, 0x80, 10, &[10, 0, 0, 7], Discard),
            (External, 0x80, 10, &[10], Discard),
        ],
    );
}

/// §7.11: nobody can say where the prefixes begin behind a next hop of an unknown length.
#[test]
fn mp_reach_with_a_next_hop_of_a_wrong_length_resets() {
    for length in [0_u8, 1, 4, 15, 17, 24, 33, 48] {
        let value = [&[0, 2, 1, length][..], &vec![0x20; usize::from(length)], &[0, 32, 0x20, 1, 0xd, 0xb9]].concat();
        let mut plant = established(External);
        plant.update(&[], &[&attribute(0x80, 14, &value)[..], &ORIGIN, &AS_PATH].concat(), &[]);
        assert_eq!(reset_of(&plant), Some((3, 9)), "{length}");
        plant.check();
    }
}

/// §7.11 with RFC 4760 §3: where the prefixes can be read, a next hop to which nobody can send costs them alone.
#[test]
fn mp_reach_with_a_next_hop_that_is_no_router_is_treated_as_withdraw() {
    let told = |hop: [u8; 16]| {
        let mut plant = established(External);
        let value = [&[0, 2, 1, 16][..], &hop, &[0, 32, 0x20, 1, 0xd, 0xb9]].concat();
        plant.update(&[], &[&attribute(0x80, 14, &value)[..], &ORIGIN, &AS_PATH].concat(), &[]);
        plant.check();
        (plant.guest().withdraw_faults, plant.guest().prefixes_received)
    };
    let at = |first: u8, last: u8| std::array::from_fn(|i| if i == 0 { first } else { u8::from(i == 15) * last });
    assert_eq!(told(at(0x20, 1)), (0, [0, 1]));
    for bad in [at(0, 0), at(0, 1), at(0xff, 2)] {
        assert_eq!(told(bad), (1, [0, 0]), "{bad:02x?}");
    }
}

/// §7.12, §5.3: nothing but AFI and SAFI is the End-of-RIB, and a family that was not negotiated is not read.
#[test]
fn mp_unreach_is_afi_safi_and_prefixes() {
    let mut plant = established(External);
    plant.update(&[], &attribute(0x80, 15, &[0, 2, 1]), &[]);
    plant.update(&[], &attribute(0x80, 15, &[0, 2, 1, 32, 0x20, 1, 0xd, 0xb9]), &[]);
    plant.update(&[], &attribute(0x80, 15, &[0, 25, 70, 0xff]), &[]);
    assert_eq!(plant.guest_state(), "Established");
    plant.check();
}

/// §7.13: the Traffic Engineering attribute is optional and non-transitive, and we have no use for it.
#[test]
fn traffic_engineering_ends_here_whatever_is_in_it() {
    holds("§7.13", &[(External, 0x80, 24, &[0; 36], Discard), (Internal, 0x80, 24, &[1], Discard)]);
}

/// §7.14: also with types that nobody knows.
#[test]
fn extended_communities_are_a_multiple_of_eight_octets() {
    holds(
        "§7.14",
        &[
            (External, 0xc0, 16, &[0, 2, 0xfc, 0x59, 0, 0, 0, 1], Nothing),
            (External, 0xc0, 16, &[0x3f, 0xee, 1, 2, 3, 4, 5, 6], Nothing),
            (External, 0xc0, 16, &[0, 2, 0xfc, 0x59], Withdraw),
            (External, 0xc0, 16, &[0; 12], Withdraw),
        ],
    );
}

/// §7.15: also with types that nobody knows.
#[test]
fn ipv6_extended_communities_are_a_multiple_of_twenty_octets() {
    holds(
        "§7.15",
        &[
            (External, 0xc0, 25, &[0; 20], Nothing),
            (External, 0xc0, 25, &[0x3f; 40], Nothing),
            (External, 0xc0, 25, &[0; 19], Withdraw),
            (External, 0xc0, 25, &[0; 24], Withdraw),
        ],
    );
}

/// §7.16, RFC 4271 §9: ATTR_SET is for those who speak VPNs; to others it is an attribute that is passed on.
#[test]
fn attr_set_is_passed_on_unread() {
    let plant = telling(External, 0xc0, 128, &[0, 0]);
    assert_eq!(told_attr(&plant, 128), Some((0xe0, vec![0, 0])));
}

/// RFC 4271 §6.3, which RFC 7606 §3 leaves as it was: an unrecognised well-known attribute resets, and is the data.
#[test]
fn an_unrecognised_well_known_attribute_resets() {
    let mut plant = established(External);
    plant.update(&[], &route_with(External, &attribute(0x40, 99, &[1, 2])), &NLRI);
    let sent = plant.notifications();
    assert_eq!((sent[0].code, sent[0].subcode, &sent[0].data[..]), (3, 2, &[0x40, 99, 2, 1, 2][..]));
    plant.check();
}

/// §8 with RFC 4271 §9: everything else that the registry knows and we do not is passed on as it came, or dropped, by its flags.
#[test]
fn the_rest_of_the_registry_is_passed_on_or_dropped_by_its_flags() {
    for kind in [11, 12, 13, 19, 20, 21, 22, 23, 27, 28, 29, 30, 31, 33, 34, 36, 37, 38, 39, 41, 128, 129, 241, 255] {
        let plant = telling(External, 0xc0, kind, &[1, 2, 3]);
        assert_eq!(told_attr(&plant, kind), Some((0xe0, vec![1, 2, 3])), "{kind}");
        assert_eq!(cost_of(External, 0x80, kind, &[1, 2, 3]), Discard, "{kind}");
    }
}

/// RFC 7311 §3, §3.1: AIGP ends at a session that is not enabled for it, also with flags that are not its own.
#[test]
fn aigp_ends_here() {
    holds(
        "RFC 7311",
        &[
            (Internal, 0x80, 26, &[1, 0, 11, 0, 0, 0, 0, 0, 0, 0, 9], Discard),
            (External, 0x80, 26, &[1], Discard),
            (External, 0xc0, 26, &[1, 0, 11, 0, 0, 0, 0, 0, 0, 0, 9], Discard),
        ],
    );
}

/// RFC 4271 §4.3: the Partial bit is for optional transitive attributes; on others it is ignored and not handed on.
#[test]
fn a_partial_bit_where_it_has_no_place_goes_no_further() {
    let mut plant = established(External);
    let odd = [&[0x60, 1, 1, 0][..], &AS_PATH, &NEXT_HOP, &attribute(0xa0, 4, &[0; 4])].concat();
    plant.update(&[], &odd, &NLRI);
    assert_eq!(told_attr(&plant, 1), Some((0x40, vec![0])));
    let plant = telling(External, 0xe0, 8, &[0xfc, 0x59, 0, 1]);
    assert_eq!(told_attr(&plant, 8), Some((0xe0, vec![0xfc, 0x59, 0, 1])), "and stays where it was set");
}

/// §6: LOCAL_PREF of an internal peer is as mandatory as the rest, and an ordinary internal route passes.
#[test]
fn an_ordinary_internal_route_costs_nothing() {
    assert_eq!(cost(Internal, &[&ORIGIN[..], &AS_PATH, &NEXT_HOP, &LOCAL_PREF].concat(), 1), Nothing);
}
