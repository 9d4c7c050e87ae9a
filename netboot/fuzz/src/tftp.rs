//! Datagrams as a client of TFTP, or anybody else, sends them.

use std::time::Duration;
use weft_netboot::tftp::{BLOCK_MAX, Output, REQUEST_MAX, Request, Transfer, WINDOW_MAX};

/// A request, behind two octets of its length; the length of the file; then packets, each behind an octet that says its length, or that time
/// goes on instead.
pub fn tftp(data: &[u8]) {
    let Some((length, rest)) = data.split_first_chunk::<2>() else { return };
    let (octets, rest) = rest.split_at(usize::from(u16::from_be_bytes(*length)).min(rest.len()));
    let Some(Ok(request)) = Request::read(octets) else { return };
    assert!(octets.len() <= REQUEST_MAX && request.name.len() < REQUEST_MAX);
    let Some((length, mut rest)) = rest.split_first_chunk::<4>() else { return };
    let length = u64::from(u32::from_be_bytes(*length));
    let mut now = Duration::ZERO;
    let mut transfer = Transfer::new(now, length, request.options);
    for _ in 0..256 {
        let mut count = 0;
        while let Some(output) = transfer.poll() {
            count += 1;
            if let Output::Data { from, count, .. } = output {
                assert!(from + u64::from(count) <= length && count <= BLOCK_MAX);
            }
        }
        assert!(count <= WINDOW_MAX);
        let Some((&next, behind)) = rest.split_first() else { break };
        rest = behind;
        if next >= 0x80 {
            now = transfer.next_timeout();
            transfer.tick(now);
        } else {
            let (octets, behind) = rest.split_at(usize::from(next).min(rest.len()));
            rest = behind;
            transfer.handle(now, octets);
        }
    }
    // Whoever says nothing any more is forgotten.
    for _ in 0..16 {
        now = transfer.next_timeout();
        transfer.tick(now);
    }
    assert!(transfer.end().is_some());
}
