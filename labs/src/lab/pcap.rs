//! The file format of captures that every reader takes: pcap with nanoseconds (draft-ietf-opsawg-pcap §4 and §5).

use std::io::{self, Write};
use std::time::Duration;

/// Nanosecond time stamps, in the byte order in which it is written.
const MAGIC: u32 = 0xa1b2_3c4d;
/// LINKTYPE_ETHERNET.
const ETHERNET: u32 = 1;
/// Most octets kept of a frame.
pub(super) const SNAPLEN: usize = 262_144;

/// Writes the head of a file.
pub(super) fn begin(to: &mut impl Write) -> io::Result<()> {
    let snaplen = u32::try_from(SNAPLEN).map_err(io::Error::other)?;
    to.write_all(&MAGIC.to_le_bytes())?;
    // version 2.4; two reserved words
    to.write_all(&[2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0])?;
    to.write_all(&snaplen.to_le_bytes())?;
    to.write_all(&ETHERNET.to_le_bytes())
}

/// Writes a frame: when it was seen (since 1970), what was kept of it, and how long it was.
pub(super) fn frame(to: &mut impl Write, when: Duration, octets: &[u8], length: usize) -> io::Result<()> {
    // the field ends in 2106
    let seconds = u32::try_from(when.as_secs()).unwrap_or(u32::MAX);
    let sizes = [octets.len(), length].map(u32::try_from);
    let [kept, length] = sizes.map(|size| size.unwrap_or(u32::MAX));
    for word in [seconds, when.subsec_nanos(), kept, length] {
        to.write_all(&word.to_le_bytes())?;
    }
    to.write_all(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_laid_out_as_the_draft_says() {
        let mut file = Vec::new();
        begin(&mut file).unwrap();
        assert_eq!(file[..8], [0x4d, 0x3c, 0xb2, 0xa1, 2, 0, 4, 0]);
        assert_eq!((file.len(), file[20]), (24, 1));
        frame(&mut file, Duration::new(5, 7), &[0xaa; 14], 60).unwrap();
        assert_eq!(file[24..40], [5, 0, 0, 0, 7, 0, 0, 0, 14, 0, 0, 0, 60, 0, 0, 0]);
        assert_eq!((file.len(), file[53]), (54, 0xaa));
    }
}
