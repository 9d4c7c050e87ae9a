//! Questions to the daemon of this machine and to boot servers, each on a connection of its own.

use crate::fetch::Fetch;
use crate::http::{self, HEAD_MAX, Head};
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Longest wait for a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Longest wait for the next octets. An uplink that dies unnoticed is left after 9 s (hold time); what is asked for again begins where it broke.
const READ_WITHIN: Duration = Duration::from_secs(10);
/// Octets of a file that are read at a time.
const PART: usize = 128 * 1024;
/// Octets of an answer that is kept as a whole.
const ANSWER_MAX: u64 = 4 * 1024 * 1024;

/// Asks the routing daemon.
///
/// # Errors
/// Why there is no answer.
pub fn daemon(socket: &str, path: &str) -> Result<String, String> {
    let stream = UnixStream::connect(socket).map_err(|error| error.to_string())?;
    stream.set_read_timeout(Some(READ_WITHIN)).map_err(|error| error.to_string())?;
    whole(stream, &http::get("weft", path, 0))
}

/// Says something to a boot server, from this address.
///
/// # Errors
/// Why it was not heard.
pub fn post(server: SocketAddr, source: Option<IpAddr>, path: &str, document: &str) -> Result<String, String> {
    let stream = connect(server, source).map_err(|error| error.to_string())?;
    whole(stream, &http::post(&server.to_string(), path, document))
}

/// Gets what is missing of a file, as far as this connection goes; what came is written, and stays when it breaks.
///
/// # Errors
/// Why it did not go on.
pub fn part(
    server: SocketAddr,
    source: Option<IpAddr>,
    path: &str,
    (fetch, out): (&mut Fetch, &mut impl Write),
    progress: &mut dyn FnMut(&Fetch),
) -> Result<(), String> {
    let mut stream = connect(server, source).map_err(|error| error.to_string())?;
    let request = http::get(&server.to_string(), path, fetch.done());
    stream.write_all(request.as_bytes()).map_err(|error| error.to_string())?;
    let (head, first) = head(&mut stream)?;
    fetch.judge(&head)?;
    let mut some = vec![0; PART];
    let mut octets = first.as_slice();
    loop {
        fetch.take(octets)?;
        out.write_all(octets).map_err(|error| format!("{error}: too little memory?"))?;
        progress(fetch);
        if fetch.is_whole() {
            return Ok(());
        }
        let count = stream.read(&mut some).map_err(|error| {
            let is_late = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
            if is_late { format!("nothing came for {} s", READ_WITHIN.as_secs()) } else { error.to_string() }
        })?;
        if count == 0 {
            return Err("the connection ended".to_owned());
        }
        octets = some.get(..count).unwrap_or_default();
    }
}

/// A connection from this address.
fn connect(server: SocketAddr, source: Option<IpAddr>) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(server), Type::STREAM, Some(Protocol::TCP))?;
    if let Some(source) = source.filter(|source| source.is_ipv4() == server.is_ipv4()) {
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    socket.connect_timeout(&server.into(), CONNECT_WITHIN)?;
    socket.set_read_timeout(Some(READ_WITHIN))?;
    socket.set_write_timeout(Some(READ_WITHIN))?;
    Ok(socket.into())
}

fn whole(mut stream: impl Read + Write, request: &str) -> Result<String, String> {
    stream.write_all(request.as_bytes()).map_err(|error| error.to_string())?;
    let (head, body) = head(&mut stream)?;
    let mut body = body;
    // The daemon keeps a connection open that asked it to close: the length says where the answer ends.
    let left = head
        .length
        .map_or(ANSWER_MAX, |length| length.min(ANSWER_MAX))
        .saturating_sub(u64::try_from(body.len()).unwrap_or(u64::MAX));
    stream.take(left).read_to_end(&mut body).map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&body).into_owned();
    match head.status {
        200..=299 => Ok(text),
        status => Err(format!("{status} {}", text.trim())),
    }
}

/// Reads the head of an answer, and what of the body came with it.
fn head(stream: &mut impl Read) -> Result<(Head, Vec<u8>), String> {
    let mut octets = Vec::new();
    let mut some = [0; HEAD_MAX];
    loop {
        if let Some((head, end)) = Head::read(&octets)? {
            return Ok((head, octets.split_off(end)));
        }
        match stream.read(&mut some).map_err(|error| error.to_string())? {
            0 => return Err("the connection ended before an answer".to_owned()),
            count => octets.extend_from_slice(some.get(..count).unwrap_or_default()),
        }
    }
}
