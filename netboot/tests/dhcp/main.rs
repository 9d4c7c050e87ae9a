//! DHCP as packets show it: octets of real clients, and what the server makes of them.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod boot;
mod exchange;
mod model;
mod sockets;
mod wire;
mod world;

use std::net::Ipv4Addr;
use std::path::Path;
use weft_netboot::dhcp::v4::message::{Hardware, Kind, Message, Op};
use weft_netboot::dhcp::v4::option::Options;

/// Names and octets of the packets in `tests/fixtures/dhcp`.
fn fixtures() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/dhcp");
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let mut packets: Vec<_> = files
        .filter(|path| path.extension().is_some_and(|extension| extension == "hex"))
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, octets(text.lines().find(|line| !line.starts_with('#')).unwrap()))
        })
        .collect();
    packets.sort();
    assert_eq!(packets.len(), 105);
    packets
}

/// One of them.
fn fixture(name: &str) -> Vec<u8> {
    fixtures().into_iter().find(|(found, _)| found == name).unwrap().1
}

fn octets(hex: &str) -> Vec<u8> {
    let digits = hex.trim().as_bytes();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn address(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

/// A short question with nothing special about it.
fn question(kind: Kind) -> Message {
    Message {
        op: Op::Request,
        kind,
        hardware: Hardware::ethernet([0x52, 0x54, 0, 0x69, 1, 1]),
        hops: 1,
        xid: 0x2324_9431,
        secs: 4,
        flags: 0,
        ciaddr: Ipv4Addr::UNSPECIFIED,
        yiaddr: Ipv4Addr::UNSPECIFIED,
        siaddr: Ipv4Addr::UNSPECIFIED,
        giaddr: address("10.69.1.1"),
        sname: Vec::new(),
        file: Vec::new(),
        options: Options::default(),
    }
}
