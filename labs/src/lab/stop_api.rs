//! Asks a weft daemon to stop for good: sessions end with Cease, routes go.
//!
//! A signal would not do: by default it means a restart, for which routes stay.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// A daemon that does not take the question by then is told by a signal.
const LIMIT: Duration = Duration::from_secs(1);

/// Asks; an error when nobody listens or the daemon refuses.
pub(super) fn stop(socket: &Path) -> io::Result<()> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    stream.write_all(b"POST /v1/stop HTTP/1.1\r\nHost: weft\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
    let mut head = [0; 12];
    stream.read_exact(&mut head)?;
    if head.starts_with(b"HTTP/1.1 2") {
        Ok(())
    } else {
        Err(io::Error::other(format!("refused: {}", String::from_utf8_lossy(&head))))
    }
}
