//! The connection to one BMP collector: dialled again and again, written to, and watched for its end; a collector never says anything
//! (RFC 7854 §3.2).

use super::{Event, PIECES};
use bytes::Bytes;
use std::io;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use weft_bgp::time::Duration;

/// RFC 7854 §3.2: retries at least 30 seconds apart at first and doubled is what it suggests; a data center's collector is one hop away,
/// and a second costs nobody anything.
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// Longest wait between two dials.
const RETRY_LAST: Duration = Duration::from_secs(60);
/// A dial that is not answered is given up.
const DIAL_LIMIT: Duration = Duration::from_secs(5);
/// A collector that takes nothing for so long is as good as gone.
const WRITE_LIMIT: Duration = Duration::from_secs(60);

/// Serves a collector until the task is aborted.
pub(super) async fn serve(id: u32, address: SocketAddr, events: mpsc::Sender<Event>) {
    let mut wait = RETRY_FIRST;
    loop {
        let dialled = tokio::time::timeout(DIAL_LIMIT, TcpStream::connect(address)).await;
        let error = match dialled.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(stream) => {
                let (sender, pieces) = mpsc::channel(PIECES);
                if events.send(Event::Up(id, sender)).await.is_err() {
                    return;
                }
                let begun = tokio::time::Instant::now();
                let end = carry(id, stream, pieces, &events).await;
                // One that held is dialled again at once; one that falls at once is not.
                if begun.elapsed() > RETRY_LAST {
                    wait = RETRY_FIRST;
                }
                match end {
                    Ok(()) => "closed by us".to_owned(),
                    Err(error) => crate::io::sockopt::plain(&error),
                }
            }
            Err(error) => crate::io::sockopt::plain(&error),
        };
        if events.send(Event::Lost(id, error)).await.is_err() {
            return;
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(RETRY_LAST);
    }
}

/// Writes pieces until there can be no more, or the connection ends.
async fn carry(
    id: u32,
    stream: TcpStream,
    mut pieces: mpsc::Receiver<Bytes>,
    events: &mpsc::Sender<Event>,
) -> io::Result<()> {
    let (mut reader, mut writer) = stream.into_split();
    let mut sink = [0; 256];
    loop {
        tokio::select! {
            piece = pieces.recv() => {
                let Some(piece) = piece else {
                    return writer.shutdown().await;
                };
                let written = tokio::time::timeout(WRITE_LIMIT, writer.write_all(&piece)).await;
                written.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
                if events.send(Event::Room(id)).await.is_err() {
                    return Ok(());
                }
            }
            read = reader.read(&mut sink) => {
                if read? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
        }
    }
}
