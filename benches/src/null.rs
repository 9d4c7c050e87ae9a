//! The null router: copies the first peer's bytes to the second and decides nothing. What it reaches is the ceiling of the
//! test bed; a daemon near that figure is measured wrongly.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use anyhow::{Result, ensure};

use crate::bed::LINKS;
use crate::dut::ASN;
use crate::session::{keepalive, open};
use crate::table::HEADER_BYTES;

/// Serves one pair of sessions in the current namespace, until the feeder leaves.
pub fn run() -> Result<()> {
    let feeders = TcpListener::bind((Ipv4Addr::from(LINKS[0].0), 179))?;
    let monitors = TcpListener::bind((Ipv4Addr::from(LINKS[1].0), 179))?;
    let mut feeder = greet(&feeders)?;
    let mut monitor = greet(&monitors)?;
    let mut buffer = vec![0; 1 << 18];
    loop {
        let read = feeder.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        monitor.write_all(&buffer[..read])?;
    }
}

/// OPEN and KEEPALIVE both ways, with the first who says something.
fn greet(listener: &TcpListener) -> Result<TcpStream> {
    loop {
        let mut stream = listener.accept()?.0;
        stream.set_nodelay(true)?;
        let hello = [open(ASN, Ipv4Addr::from(LINKS[0].0), 180), keepalive()].concat();
        let greeted = stream.write_all(&hello).map_err(Into::into).and_then(|()| take(&mut stream));
        if greeted.and_then(|()| take(&mut stream)).is_ok() {
            return Ok(stream);
        }
    }
}

fn take(stream: &mut TcpStream) -> Result<()> {
    let mut header = [0; HEADER_BYTES];
    stream.read_exact(&mut header)?;
    let length = usize::from(u16::from_be_bytes([header[16], header[17]]));
    ensure!((HEADER_BYTES..=4_096).contains(&length), "message of {length} octets");
    Ok(stream.read_exact(&mut vec![0; length - HEADER_BYTES])?)
}
