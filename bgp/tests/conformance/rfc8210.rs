//! RFC 8210, the RPKI to Router Protocol, Version 1 (and RFC 6810, version 0): a cache written by hand.

use std::time::Duration;
use weft_bgp::rtr::Client;
use weft_bgp::time::Instant;

/// A PDU: version, type, the field behind it, body.
pub(crate) fn pdu(version: u8, kind: u8, field: u16, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(8 + body.len()).unwrap();
    [&[version, kind], &field.to_be_bytes()[..], &length.to_be_bytes(), body].concat()
}

/// An IPv4 Prefix PDU for 10.N.0.0/16.
pub(crate) fn v4(announce: bool, second: u8, max: u8, asn: u32) -> Vec<u8> {
    pdu(1, 4, 0, &[&[u8::from(announce), 16, max, 0, 10, second, 0, 0][..], &asn.to_be_bytes()].concat())
}

/// End of Data with the timers of RFC 8210 §6: refresh 100 s, retry 50 s, expire 1,000 s.
pub(crate) fn end(session: u16, serial: u32) -> Vec<u8> {
    let words = [serial, 100, 50, 1_000];
    pdu(1, 7, session, &words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<_>>())
}

fn at(seconds: u64) -> Instant {
    Instant::ZERO + Duration::from_secs(seconds)
}

fn sent(client: &mut Client) -> Vec<u8> {
    client.poll_transmit().0.to_vec()
}

/// A client that has 10.1.0.0/16 as serial 7 of session 5.
fn filled() -> Client {
    let mut client = Client::default();
    client.connected(at(0));
    assert_eq!(sent(&mut client), pdu(1, 2, 0, &[]), "Reset Query");
    client.received(at(0), &[pdu(1, 3, 5, &[]), v4(true, 1, 24, 64_601), end(5, 7)].concat());
    assert_eq!((client.status().state, client.status().vrps), ("established", [1, 0]));
    client
}

/// Error code, and that the connection is to be closed.
fn refused(client: &mut Client) -> (u8, u16) {
    let (bytes, close) = client.poll_transmit();
    assert!(close, "an error ends the connection");
    (bytes[1], u16::from_be_bytes([bytes[2], bytes[3]]))
}

/// §8.1: Reset Query, Cache Response, prefixes, End of Data; nothing counts before the End of Data (§5.8), whatever the split.
#[test]
fn a_cache_is_read_from_the_beginning() {
    let v6 = [&[1, 32, 48, 0, 0x20, 1, 0xd, 0xb8][..], &[0; 12], &64_601_u32.to_be_bytes()].concat();
    let answer = [pdu(1, 3, 5, &[]), v4(true, 1, 24, 64_601), pdu(1, 6, 0, &v6), end(5, 7)].concat();
    let mut client = Client::default();
    client.connected(at(0));
    for octet in &answer[..answer.len() - 1] {
        client.received(at(0), &[*octet]);
        assert!(client.vrps().is_none(), "nothing before End of Data");
    }
    client.received(at(0), &answer[answer.len() - 1..]);
    assert_eq!(client.vrps().unwrap().len(), [1, 1]);
    assert_eq!(client.status().session, Some((5, 7)));
}

/// §6, §8.2: after the refresh interval, and on a Serial Notify of another serial, the client asks what changed since.
#[test]
fn changes_are_asked_for_at_the_refresh_and_on_a_notify() {
    let mut client = filled();
    assert_eq!(sent(&mut client), pdu(1, 2, 0, &[])[..0]);
    client.tick(at(99));
    assert!(sent(&mut client).is_empty());
    assert_eq!(client.next_timeout(), Some(at(100)));
    client.tick(at(100));
    assert_eq!(sent(&mut client), pdu(1, 1, 5, &7_u32.to_be_bytes()), "Serial Query");
    client
        .received(at(100), &[pdu(1, 3, 5, &[]), v4(true, 2, 16, 64_602), v4(false, 1, 24, 64_601), end(5, 8)].concat());
    assert_eq!(
        client.vrps().unwrap().after(None, 9).iter().map(|vrp| vrp.prefix.to_string()).collect::<Vec<_>>(),
        ["10.2.0.0/16"]
    );
    client.received(at(101), &pdu(1, 0, 5, &8_u32.to_be_bytes()));
    assert!(sent(&mut client).is_empty(), "nothing new");
    client.received(at(101), &pdu(1, 0, 5, &9_u32.to_be_bytes()));
    assert_eq!(sent(&mut client), pdu(1, 1, 5, &8_u32.to_be_bytes()));
    client.received(at(101), &pdu(1, 0, 5, &10_u32.to_be_bytes()));
    assert!(sent(&mut client).is_empty(), "a query is under way");
}

/// §8.3: a cache that cannot say what changed answers Cache Reset, and is read from the beginning; the old data stays until then.
#[test]
fn cache_reset_begins_anew() {
    let mut client = filled();
    client.tick(at(100));
    sent(&mut client);
    client.received(at(100), &pdu(1, 8, 0, &[]));
    assert_eq!(sent(&mut client), pdu(1, 2, 0, &[]));
    assert_eq!(client.vrps().unwrap().len(), [1, 0]);
    client.received(at(101), &[pdu(1, 3, 5, &[]), v4(true, 3, 16, 1), v4(true, 4, 16, 1), end(5, 20)].concat());
    assert_eq!(client.vrps().unwrap().len(), [2, 0]);
}

/// §5.1: another session id means that the cache began anew: Corrupt Data, and all that it told is forgotten.
#[test]
fn another_session_id_is_corrupt_and_flushes() {
    for wrong in [pdu(1, 0, 6, &9_u32.to_be_bytes()), pdu(1, 3, 6, &[])] {
        let mut client = filled();
        if wrong[1] == 3 {
            client.tick(at(100));
            sent(&mut client);
        }
        client.received(at(100), &wrong);
        assert_eq!(refused(&mut client), (10, 0));
        assert!(client.vrps().is_none());
        client.connected(at(200));
        assert_eq!(sent(&mut client), pdu(1, 2, 0, &[]), "from the beginning");
    }
}

/// §6: data that is older than the expire interval is not used, connection or not.
#[test]
fn data_expires() {
    let mut client = filled();
    client.disconnected("lost");
    client.tick(at(999));
    assert!(client.vrps().is_some());
    assert_eq!(client.next_timeout(), Some(at(1_000)));
    client.tick(at(1_000));
    assert!(client.vrps().is_none());
    client.connected(at(1_001));
    assert_eq!(sent(&mut client), pdu(1, 2, 0, &[]));
}

/// §6: with data, the next attempt waits for the retry interval; what is beyond the ranges of the RFC is brought into them.
#[test]
fn timers_of_the_cache_hold_within_bounds() {
    let mut client = filled();
    assert_eq!(client.retry(), Duration::from_secs(50));
    client.tick(at(100));
    let words = [8_u32, 0, 1_000_000, 1];
    let body: Vec<_> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
    client.received(at(100), &[pdu(1, 3, 5, &[]), pdu(1, 7, 5, &body)].concat());
    assert_eq!(client.retry(), Duration::from_secs(7_200));
    assert_eq!(client.next_timeout(), Some(at(101)), "refresh at least 1 s");
    client.disconnected("lost");
    assert_eq!(client.next_timeout(), Some(at(100 + 7_201)), "expiry above both others");
}

/// §5.6, §12: a record that is there already is error 7, one that is not there cannot be withdrawn: 6. What came before End of Data
/// counts.
#[test]
fn duplicates_and_unknown_withdrawals_are_errors() {
    for (wrong, code) in [
        (v4(true, 1, 24, 64_601), 7),
        (v4(false, 9, 24, 64_601), 6),
        ([v4(true, 2, 16, 1), v4(true, 2, 16, 1)].concat(), 7),
        ([v4(false, 1, 24, 64_601), v4(false, 1, 24, 64_601)].concat(), 6),
    ] {
        let mut client = filled();
        client.tick(at(100));
        sent(&mut client);
        client.received(at(100), &[pdu(1, 3, 5, &[]), wrong].concat());
        assert_eq!(refused(&mut client), (10, code));
        assert_eq!(client.vrps().unwrap().len(), [1, 0], "the old data stays until it expires");
    }
}

/// §5, §12: a length that does not fit the type, impossible values and what is out of place are Corrupt Data; unknown types are 5.
#[test]
fn malformed_pdus_end_the_connection() {
    let short = &v4(true, 1, 24, 1)[..19];
    let lying = [&short[..4], &19_u32.to_be_bytes(), &short[8..]].concat();
    let long = [&[1, 10, 0, 0][..], &1_000_000_u32.to_be_bytes()].concat();
    for (wrong, code) in [
        (lying, 0),
        (v4(true, 1, 15, 1), 0),
        (v4(true, 1, 33, 1), 0),
        (pdu(1, 3, 5, &[0]), 0),
        (pdu(1, 5, 0, &[]), 5),
        (pdu(1, 11, 0, &[]), 5),
        (pdu(1, 1, 5, &[0; 4]), 3),
        (v4(true, 2, 16, 1), 0),
        (end(5, 8), 0),
        (pdu(2, 3, 5, &[]), 8),
    ] {
        let mut client = filled();
        client.received(at(1), &wrong);
        assert_eq!(refused(&mut client), (10, code), "{wrong:?}");
    }
    let mut client = filled();
    client.received(at(1), &long);
    assert_eq!(
        client.poll_transmit(),
        (bytes::BytesMut::new(), true),
        "an Error Report, however wrong, is not answered"
    );
}

/// §5.11: an Error Report has the PDU that it is about and nothing of those behind it; of one whose header is wrong, the header.
#[test]
fn an_error_report_has_the_wrong_pdu_alone() {
    let wrong = v4(true, 2, 33, 1);
    let header = pdu(1, 3, 5, &[0]);
    for (wrong, echo) in [(wrong.clone(), &wrong[..]), (header.clone(), &header[..8])] {
        let mut client = filled();
        client.tick(at(100));
        sent(&mut client);
        client.received(at(100), &[pdu(1, 3, 5, &[]), wrong.clone(), v4(true, 3, 16, 1)].concat());
        let said = sent(&mut client);
        assert_eq!(said[8..12], u32::try_from(echo.len()).unwrap().to_be_bytes());
        assert_eq!(said[12..12 + echo.len()], *echo);
    }
}

/// §5.11, §12: an Error Report ends the connection and is never answered; its text is shown without control characters.
#[test]
fn an_error_report_is_never_answered() {
    let mut client = filled();
    let body = [&0_u32.to_be_bytes()[..], &5_u32.to_be_bytes(), b"no\x1b\n!"].concat();
    client.received(at(1), &pdu(1, 10, 2, &body));
    assert_eq!(client.poll_transmit(), (bytes::BytesMut::new(), true));
    assert_eq!(client.status().last_error.as_deref(), Some("No Data Available: no  !"));
    client.received(at(1), &pdu(1, 99, 0, &[]));
    assert!(client.poll_transmit().0.is_empty(), "what follows is not read");
}

/// §7: a cache that knows version 0 alone says so, and is asked again in it; RFC 6810 §5.7: its End of Data has no timers.
#[test]
fn an_older_cache_is_spoken_to_in_version_0() {
    let mut client = Client::default();
    client.connected(at(0));
    sent(&mut client);
    client.received(at(0), &pdu(0, 10, 4, &[0; 8]));
    assert!(client.poll_transmit().1);
    client.disconnected("closed");
    client.connected(at(5));
    assert_eq!(sent(&mut client), pdu(0, 2, 0, &[]));
    let v4 = pdu(0, 4, 0, &[1, 16, 24, 0, 10, 1, 0, 0, 0, 0, 0, 7]);
    client.received(at(5), &[pdu(0, 3, 5, &[]), v4, pdu(0, 7, 5, &7_u32.to_be_bytes())].concat());
    assert_eq!((client.status().version, client.status().vrps), (0, [1, 0]));
    assert_eq!(client.next_timeout(), Some(at(5 + 3_600)), "the default refresh interval");
    // One that answers in version 0 without a word is understood too; later the version does not change.
    let mut client = Client::default();
    client.connected(at(0));
    client.received(at(0), &pdu(0, 3, 5, &[]));
    assert_eq!(client.status().version, 0);
    client.received(at(0), &end(5, 7));
    sent(&mut client);
    assert_eq!(client.status().state, "idle", "unexpected version");
}

/// §5.10: keys of routers are not for us, and no fault.
#[test]
fn router_keys_are_passed_over() {
    let mut client = Client::default();
    client.connected(at(0));
    client.received(at(0), &[pdu(1, 3, 5, &[]), pdu(1, 9, 0x100, &[7; 40]), v4(true, 1, 24, 1), end(5, 7)].concat());
    assert_eq!(client.status().vrps, [1, 0]);
}

/// A cache that accepts the connection and says nothing is given up.
#[test]
fn a_silent_cache_is_given_up() {
    let mut client = Client::default();
    client.connected(at(0));
    sent(&mut client);
    client.tick(at(60));
    assert!(client.poll_transmit().1);
}

/// §5, §12: whatever a cache sends, the client reads on or ends the connection, and what it has not heard to the end counts for nothing.
#[test]
fn any_octet_may_be_wrong() {
    let error = [&0_u32.to_be_bytes()[..], &2_u32.to_be_bytes(), b"no"].concat();
    let tails =
        [pdu(1, 9, 0x100, &[7; 40]), pdu(1, 10, 2, &error), pdu(1, 0, 5, &9_u32.to_be_bytes()), pdu(1, 8, 0, &[])];
    for tail in tails {
        let good =
            [pdu(1, 3, 5, &[]), v4(true, 1, 24, 1), v4(true, 2, 24, 1), v4(false, 1, 24, 1), end(5, 7), tail].concat();
        for place in 0..good.len() {
            for value in [0, 1, 4, 10, 0x7f, 0x80, 0xff] {
                let mut bad = good.clone();
                bad[place] = value;
                let mut client = Client::default();
                client.connected(at(0));
                client.received(at(0), &bad);
                client.tick(at(61));
                let status = client.status();
                assert!(status.vrps.iter().sum::<usize>() <= 2, "{place} {value}: {status:?}");
                assert!(client.vrps().is_none_or(|vrps| !vrps.is_empty() || status.session.is_some()));
            }
            let mut cut = Client::default();
            cut.connected(at(0));
            cut.received(at(0), &good[..place]);
            assert!(cut.vrps().is_none() || place >= 8 + 60 + 24);
        }
    }
}
