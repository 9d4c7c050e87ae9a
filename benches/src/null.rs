//! The null router: copies the first peer's bytes to the second and decides nothing. What it reaches is the ceiling of the
//! test bed; a daemon near that figure is measured wrongly.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use anyhow::{Result, ensure};

use crate::bed::LINKS;
use crate::session::{keepalive, open};
use crate::table::HEADER_BYTES;

/// Serves one pair of sessions in the current namespace, until the feeder leaves.
pub fn run() -> Result<()> {
    let feeders = TcpListener::bind((Ipv4Addr::from(LINKS[0].0), 179))?;
    let monitors = TcpListener::bind((Ipv4Addr::from(LINKS[1].0), 179))?;
    let mut feeder = greet(feeders.accept()?.0)?;
    let mut monitor = greet(monitors.accept()?.0)?;
    let mut buffer = vec![0; 1 << 18];
    loop {
        let read = feeder.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        monitor.write_all(&buffer[..read])?;
    }
}

/// OPEN and KEEPALIVE both ways.
fn greet(mut stream: TcpStream) -> Result<TcpStream> {
    stream.set_nodelay(true)?;
    stream.write_all(&open(65_000, Ipv4Addr::from(LINKS[0].0)))?;
    stream.write_all(&keepalive())?;
    for _ in 0..2 {
        let mut header = [0; HEADER_BYTES];
        stream.read_exact(&mut header)?;
        let length = usize::from(u16::from_be_bytes([header[16], header[17]]));
        ensure!((HEADER_BYTES..=4_096).contains(&length), "message of {length} octets");
        stream.read_exact(&mut vec![0; length - HEADER_BYTES])?;
    }
    Ok(stream)
}
