//! Writes down what passes an interface of a node, until there is enough of it or its reader goes away.
#![expect(clippy::disallowed_types, reason = "frames have the time of day, and captures an end")]

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvFlags, recv};
use serde::{Deserialize, Serialize};

use super::{Lab, pcap, splice};

/// Frames written down before the end is looked for.
const BATCH: usize = 256;

/// When a capture ends by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// After so many frames.
    pub frames: Option<u64>,
    /// After so many milliseconds.
    pub lasts_ms: Option<u64>,
}

/// What was captured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Captured {
    /// Frames written down.
    pub frames: u64,
    /// Frames that came faster than they could be written.
    pub lost: u64,
}

/// A capture that has begun.
#[derive(Debug)]
pub(super) struct Capture {
    socket: OwnedFd,
}

impl Capture {
    /// Begins to listen at an interface.
    pub(super) fn begin(lab: &Lab, node: &str, interface: &str) -> io::Result<Self> {
        let machine = lab.machine(node)?;
        let indices = machine.netlink().indices()?;
        let link = indices.get(interface).copied().ok_or_else(|| {
            let names: Vec<&str> = indices.keys().map(String::as_str).collect();
            io::Error::other(format!("{node} has no interface `{interface}`: {}", names.join(", ")))
        })?;
        Ok(Self { socket: machine.in_network(|| splice::listen(link))? })
    }

    /// Writes until the limits, or until the asker closes the connection.
    pub(super) fn write(self, to: OwnedFd, limits: Limits, asker: &UnixStream) -> io::Result<Captured> {
        let until = limits.lasts_ms.and_then(|lasts| Instant::now().checked_add(Duration::from_millis(lasts)));
        let mut to = BufWriter::new(File::from(to));
        pcap::begin(&mut to)?;
        let (mut buffer, mut captured) = (vec![0; pcap::SNAPLEN], Captured::default());
        let is_enough = |frames: u64| limits.frames.is_some_and(|most| frames >= most);
        loop {
            for _ in 0..BATCH {
                if is_enough(captured.frames) {
                    break;
                }
                let Some(length) = self.receive(&mut buffer)? else { break };
                let when = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                pcap::frame(&mut to, when, &buffer[..length.min(pcap::SNAPLEN)], length)?;
                captured.frames += 1;
            }
            to.flush()?;
            if is_enough(captured.frames) || !self.wait(until, asker)? {
                break;
            }
        }
        captured.lost = splice::dropped(&self.socket)?;
        Ok(captured)
    }

    /// Length of the next frame that is there; the buffer has as much of it as fits.
    fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match recv(&self.socket, buffer, RecvFlags::DONTWAIT | RecvFlags::TRUNC) {
            Ok((_, length)) => Ok(Some(length)),
            // the second: its interface went down, and may come up again
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::NETDOWN | rustix::io::Errno::INTR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits for a frame; false when it is time to end, also where frames never cease.
    fn wait(&self, until: Option<Instant>, asker: &UnixStream) -> io::Result<bool> {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Ok(false);
        }
        let left = left.map(|left| Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        });
        let mut watched = [
            PollFd::from_borrowed_fd(self.socket.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(asker.as_fd(), PollFlags::IN),
        ];
        poll(&mut watched, left.as_ref())?;
        Ok(watched[1].revents().is_empty())
    }
}
