//! The octets of DHCPv4: packets of real firmware, relays and servers, what is made of them by chance, and the rules of the RFCs.

use crate::{address, fixture, fixtures, question};
use proptest::prelude::*;
use weft_netboot::dhcp::v4::agent::Agent;
use weft_netboot::dhcp::v4::message::{Kind, MESSAGE_MAX, Malformed, Message, Op, TooLong};
use weft_netboot::dhcp::v4::option::code;

/// The message kind is in the name of every file; what is read is what is written, and reads the same again.
#[test]
fn packets_of_real_clients_relays_and_servers_are_read() {
    for (name, packet) in fixtures() {
        let message = Message::read(&packet).unwrap_or_else(|wrong| panic!("{name}: {wrong:?}"));
        let said = name.rsplit('.').next().unwrap();
        assert_eq!(format!("{:?}", message.kind).to_lowercase(), said, "{name}");
        assert_eq!(message.op == Op::Reply, matches!(message.kind, Kind::Offer | Kind::Ack), "{name}");
        let written = message.write(MESSAGE_MAX).unwrap();
        assert_eq!(Message::read(&written).as_ref(), Ok(&message), "{name}");
        assert_eq!(written[..236], packet[..236], "{name}: the fixed part");
    }
}

/// netboot.md §6: what BIOS iPXE behind a relay with option 82 sends.
#[test]
fn a_discover_of_ipxe_says_what_the_capture_shows() {
    let message = Message::read(&fixture("up.00.discover")).unwrap();
    assert_eq!((message.hops, message.xid, message.secs, message.flags), (1, 0x2324_9431, 4, 0));
    assert_eq!(message.giaddr, address("10.69.1.1"));
    assert_eq!(message.hardware.to_string(), "52:54:00:69:01:01");
    let options = &message.options;
    assert_eq!(options.raw(code::CLASS), Some(b"PXEClient:Arch:00000:UNDI:002001".as_slice()));
    assert_eq!(options.raw(code::USER_CLASS), Some(b"iPXE".as_slice()));
    assert_eq!(options.u16(code::ARCH), Ok(Some(0)));
    assert_eq!(options.u16(code::MESSAGE_SIZE), Ok(Some(1_472)));
    assert_eq!(options.raw(code::IPXE).map(<[u8]>::len), Some(48));
    assert_eq!(options.raw(code::UUID).map(<[u8]>::len), Some(17));
    let agent = Agent::read(options.raw(code::AGENT).unwrap()).unwrap();
    assert_eq!(agent, Agent { circuit: Some(b"br-rack"), ..Agent::default() });
    assert_eq!(message.answer_max(), 1_472 - 28);
}

/// netboot.md §6: EDK2's list of wanted options has a junk octet, here 0, which is no padding there.
#[test]
fn zeros_within_a_value_are_of_the_value() {
    let message = Message::read(&fixture("ukihttp.up.00.discover")).unwrap();
    let wanted = message.options.raw(code::WANTED).unwrap();
    assert!(wanted.contains(&0) && wanted.contains(&code::BOOT_FILE), "{wanted:?}");
}

/// RFC 3396 §5 and §6: a long value goes in pieces, and they are one value however they lie.
#[test]
fn long_options_are_one_value() {
    let mut message = question(Kind::Discover);
    let long: Vec<u8> = (0..=255_u8).cycle().take(600).collect();
    message.options.set(code::VENDOR, long.clone());
    message.options.set(code::CLASS, Vec::new());
    let written = message.write(MESSAGE_MAX).unwrap();
    let pieces = written[240..].iter().filter(|octet| **octet == code::VENDOR).count();
    assert!(pieces >= 3);
    let read = Message::read(&written).unwrap();
    assert_eq!(read.options.raw(code::VENDOR), Some(long.as_slice()));
    assert_eq!(read.options.raw(code::CLASS), Some([].as_slice()));
}

/// RFC 2132 §9.3, RFC 3396 §5: what has no room in the options goes into `file` and then `sname`; 82 stays, as the last one.
#[test]
fn options_without_room_go_into_the_other_fields() {
    let mut message = question(Kind::Offer);
    message.options.set(code::AGENT, *b"\x01\x07br-rack");
    message.options.set(code::HOST_NAME, [b'h'; 200]);
    message.options.set(code::BOOT_FILE, [b'f'; 110]);
    message.options.set(code::CLIENT, [b'c'; 50]);
    let most = 548;
    let written = message.write(most).unwrap();
    assert!(written.len() <= most);
    assert_eq!(Message::read(&written).unwrap(), message);
    let end = written.iter().rposition(|octet| *octet == code::END).unwrap();
    assert_eq!(&written[end - 11..end], b"\x52\x09\x01\x07br-rack");
    message.file = b"snponly.efi".to_vec();
    message.options.set(code::BOOT_FILE, [b'f'; 61]);
    let written = message.write(548).unwrap();
    assert_eq!(Message::read(&written).unwrap(), message);
    message.options.set(code::TEXT, [b't'; 200]);
    assert!(matches!(message.write(548), Err(TooLong { .. })));
}

#[test]
fn what_is_wrong_is_named() {
    let whole = question(Kind::Discover).write(MESSAGE_MAX).unwrap().to_vec();
    let with = |at: usize, octet: u8| {
        let mut packet = whole.clone();
        packet[at] = octet;
        Message::read(&packet)
    };
    assert_eq!(Message::read(&whole[..239]), Err(Malformed::NoCookie));
    assert_eq!(Message::read(&whole[..200]), Err(Malformed::Size(200)));
    assert_eq!(Message::read(&vec![0; MESSAGE_MAX + 1]), Err(Malformed::Size(MESSAGE_MAX + 1)));
    assert_eq!(with(0, 3), Err(Malformed::Op(3)));
    assert_eq!(with(2, 17), Err(Malformed::Hardware(17)));
    assert_eq!(with(236, 0), Err(Malformed::NoCookie));
    assert_eq!(with(240, 12), Err(Malformed::NoType));
    assert_eq!(with(241, 2), Err(Malformed::Length(code::TYPE)));
    assert_eq!(with(242, 9), Err(Malformed::Type(9)));
    assert_eq!(with(241, 200), Err(Malformed::Overruns(code::TYPE)));
    assert_eq!(with(240, code::OVERLOAD), Err(Malformed::NoType));
    let mut message = question(Kind::Request);
    message.options.set(code::REQUESTED, [10, 69, 1]);
    assert_eq!(message.options.address(code::REQUESTED), Err(Malformed::Length(code::REQUESTED)));
}

/// RFC 3527 §3, RFC 5107 §4, beside sub-options of others.
#[test]
fn what_a_relay_says_is_read_or_refused() {
    let value = b"\x01\x02e0\x02\x01m\x05\x04\x0a\x45\x00\x41\x0b\x04\x0a\x45\x00\x42\x97\x01x";
    let agent = Agent::read(value).unwrap();
    assert_eq!((agent.circuit, agent.remote), (Some(b"e0".as_slice()), Some(b"m".as_slice())));
    assert_eq!((agent.link, agent.server), (Some(address("10.69.0.65")), Some(address("10.69.0.66"))));
    let wrong = Err(Malformed::Length(code::AGENT));
    for value in [&b"\x05\x03abc"[..], b"\x05\x04abcd\x05\x04abcd", b"\x01", b"\x01\x05e0", b"\x0b\x00"] {
        assert_eq!(Agent::read(value), wrong, "{value:?}");
    }
    assert_eq!(Agent::read(b""), Ok(Agent::default()));
}

/// Reads octets; what is read must be written and read the same.
fn survives(packet: &[u8]) -> bool {
    let Ok(message) = Message::read(packet) else { return false };
    let _ = Agent::read(message.options.raw(code::AGENT).unwrap_or_default());
    assert!(message.answer_max() <= 1_472);
    let written = message.write(2 * MESSAGE_MAX).unwrap();
    let again = Message::read(&written[..written.len().min(MESSAGE_MAX)]);
    assert!(written.len() > MESSAGE_MAX || again.as_ref() == Ok(&message), "{packet:?}");
    true
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_096, ..ProptestConfig::default() })]

    /// Captured packets with octets changed, cut or added.
    #[test]
    fn mutated_packets_are_read_or_refused(
        which in 0..105_usize,
        changes in prop::collection::vec((236..700_usize, any::<u8>()), 0..8),
        cut in 0..700_usize,
        more in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        thread_local!(static PACKETS: Vec<(String, Vec<u8>)> = fixtures());
        let mut packet = PACKETS.with(|packets| packets[which].1.clone());
        for (at, octet) in changes {
            if let Some(place) = packet.get_mut(at) {
                *place = octet;
            }
        }
        if cut % 3 == 0 {
            packet.truncate(cut);
        }
        packet.extend(more);
        survives(&packet);
    }
}

/// A generator of octets whose seed is in the name of the test: every run sees the same ones.
struct Chance(u64);

impl Chance {
    /// splitmix64, public domain.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// `WEFT_DHCP_PACKETS=1000000` for as many as the acceptance asks for.
#[test]
fn random_packets_are_read_or_refused() {
    let count = std::env::var("WEFT_DHCP_PACKETS").ok().and_then(|count| count.parse().ok()).unwrap_or(100_000);
    let mut chance = Chance(8);
    let mut read = 0_u64;
    for _ in 0..count {
        let length = usize::try_from(chance.next() % 700).unwrap();
        let mut packet: Vec<u8> =
            std::iter::repeat_with(|| chance.next().to_le_bytes()).take(length / 8).flatten().collect();
        // Half of them get past the fixed part.
        if chance.next().is_multiple_of(2) && packet.len() > 244 {
            packet[0] = 1;
            packet[2] = 6;
            packet[236..243].copy_from_slice(&[99, 130, 83, 99, 53, 1, 1]);
        }
        read += u64::from(survives(&packet));
    }
    assert!(read > 0, "none of {count} was a message");
}
