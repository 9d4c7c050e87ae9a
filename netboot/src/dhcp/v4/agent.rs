//! What a relay says about the link that a question came from: option 82 (RFC 3046), of which the server obeys two parts.
//!
//! The option itself is echoed as it came; this file only reads it.

use super::message::Malformed;
use super::option::code;
use nom::Parser as _;
use nom::multi::length_data;
use nom::number::complete::be_u8;
use std::net::Ipv4Addr;

/// Sub-options (RFC 3046 §3.1, §3.2).
const CIRCUIT: u8 = 1;
const REMOTE: u8 = 2;
/// The link of the client, where `giaddr` is another address of the relay (RFC 3527 §3).
const LINK: u8 = 5;
/// The address that clients are to take for their server, so that renewals come through the relay too (RFC 5107 §4).
const SERVER: u8 = 11;

/// Option 82, read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Agent<'a> {
    /// The relay's interface.
    pub circuit: Option<&'a [u8]>,
    /// Who is at the other end of it.
    pub remote: Option<&'a [u8]>,
    /// Link selection.
    pub link: Option<Ipv4Addr>,
    /// Server identifier override.
    pub server: Option<Ipv4Addr>,
}

impl<'a> Agent<'a> {
    /// Reads the value of option 82; sub-options that mean nothing here are passed over.
    ///
    /// # Errors
    /// When a sub-option is longer than what is left, there twice, or no address where it must be one: by guess a client would get an
    /// address of another link.
    pub fn read(mut value: &'a [u8]) -> Result<Self, Malformed> {
        let wrong = Malformed::Length(code::AGENT);
        let mut agent = Self::default();
        while !value.is_empty() {
            let (rest, (kind, said)) = (be_u8, length_data(be_u8)).parse(value).map_err(|_: nom::Err<()>| wrong)?;
            let address = || <[u8; 4]>::try_from(said).map(Ipv4Addr::from).map_err(|_| wrong);
            let twice = match kind {
                CIRCUIT => agent.circuit.replace(said).is_some(),
                REMOTE => agent.remote.replace(said).is_some(),
                LINK => agent.link.replace(address()?).is_some(),
                SERVER => agent.server.replace(address()?).is_some(),
                _ => false,
            };
            if twice {
                return Err(wrong);
            }
            value = rest;
        }
        Ok(agent)
    }
}
