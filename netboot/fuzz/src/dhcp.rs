//! Datagrams as a client, a relay or anybody else sends them to the DHCP server.

use weft_netboot::dhcp::v4::agent::Agent;
use weft_netboot::dhcp::v4::message::{MESSAGE_MAX, Message};
use weft_netboot::dhcp::v4::option::code;

/// One datagram.
pub fn dhcp4(data: &[u8]) {
    let Ok(message) = Message::read(data) else { return };
    let _ = Agent::read(message.options.raw(code::AGENT).unwrap_or_default());
    let written = message.write(2 * MESSAGE_MAX).unwrap();
    if written.len() <= MESSAGE_MAX {
        assert_eq!(Message::read(&written).as_ref(), Ok(&message));
    }
    for most in [0, 300, 548, 1_472] {
        if let Ok(short) = message.write(most) {
            assert!(short.len() <= most.max(300));
            assert_eq!(Message::read(&short).as_ref(), Ok(&message));
        }
    }
}
