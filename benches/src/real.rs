//! a7: a real table out of a dump of Route Views, as the one peer that had it whole would offer it to us.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use weft_bgp::mrt::{Dump, Entry, Framer, Record};
use weft_bgp::types::IpNet;
use weft_bgp::wire::attrs::{AttrIter, kind};

use crate::dut::ASN;
use crate::table::{HEADER_BYTES, Prefix, PrefixSet, Table, put_update};

/// The dump, beside this crate's manifest.
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/routeviews.jinx.ribs.20140530.2200.bz2");
/// Longest message (RFC 4271 §4.1).
const MESSAGE_BYTES: usize = 4_096;

/// The table of the peer with most prefixes, as feeder `asn` offers it with itself in front of each path. Paths that hold the
/// device's AS or an AS_SET are left out: some daemons drop them.
pub fn table(asn: u32, next_hop: Ipv4Addr) -> Result<Table> {
    let mut bytes = Vec::new();
    let file = File::open(FILE).with_context(|| format!("open {FILE}"))?;
    bzip2::bufread::MultiBzDecoder::new(BufReader::new(file)).read_to_end(&mut bytes)?;
    let mut counts: HashMap<u16, usize> = HashMap::new();
    walk(&bytes, |_, entry| *counts.entry(entry.peer).or_default() += 1)?;
    let fullest = counts.iter().max_by_key(|(_, count)| **count).map(|(peer, _)| *peer).context("an empty dump")?;
    let mut sets: Vec<(Vec<u8>, Vec<Prefix>)> = Vec::new();
    let mut known: HashMap<Vec<u8>, usize> = HashMap::new();
    walk(&bytes, |prefix, entry| {
        if let Some(block) = Some(entry).filter(|entry| entry.peer == fullest).and_then(|e| offered(e, asn, next_hop)) {
            let at = *known.entry(block).or_insert_with_key(|block| {
                sets.push((block.clone(), Vec::new()));
                sets.len() - 1
            });
            sets[at].1.push(prefix);
        }
    })?;
    let mut table = Table { stream: Vec::new(), prefixes: PrefixSet::default(), attribute_sets: sets.len() };
    for (block, prefixes) in &sets {
        // A prefix takes at most five octets.
        for message in prefixes.chunks((MESSAGE_BYTES - HEADER_BYTES - 4 - block.len()) / 5) {
            put_update(&mut table.stream, block, message);
        }
        prefixes.iter().for_each(|prefix| _ = table.prefixes.insert(*prefix));
    }
    Ok(table)
}

/// Calls `each` for every IPv4 path of the dump.
fn walk(bytes: &[u8], mut each: impl FnMut(Prefix, &Entry<'_>)) -> Result<()> {
    let (mut framer, mut dump) = (Framer::default(), Dump::default());
    for piece in bytes.chunks(1 << 20) {
        framer.push(piece);
        while let Some(raw) = framer.next_record() {
            let raw = raw?;
            if let Record::Rib(rib) = dump.record(&raw)?
                && let IpNet::V4(net) = rib.prefix
            {
                rib.entries().for_each(|entry| each((net.addr().to_bits(), net.prefix_len()), &entry));
            }
        }
    }
    Ok(())
}

/// The attributes as our feeder sends them; `None`: a path that is left out.
fn offered(entry: &Entry<'_>, asn: u32, next_hop: Ipv4Addr) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for attr in AttrIter::new(entry.attributes.bytes) {
        match attr.kind {
            kind::AS_PATH => put(&mut out, attr.flags, attr.kind, &prepended(attr.value, asn)?),
            kind::NEXT_HOP => put(&mut out, attr.flags, attr.kind, &next_hop.octets()),
            // RFC 4271 §5.1.5: internal.
            kind::LOCAL_PREF => {}
            _ => put(&mut out, attr.flags, attr.kind, attr.value),
        }
    }
    Some(out)
}

/// The feeder in front of an AS_PATH of one AS_SEQUENCE without the device (RFC 4271 §5.1.2).
fn prepended(path: &[u8], asn: u32) -> Option<Vec<u8>> {
    let (&[segment, count], asns) = path.split_first_chunk::<2>()?;
    let is_plain = segment == 2 && asns.len() == usize::from(count) * 4 && count < u8::MAX;
    if !is_plain || asns.chunks(4).any(|held| held == ASN.to_be_bytes()) {
        return None;
    }
    Some([&[2, count + 1], &asn.to_be_bytes()[..], asns].concat())
}

/// Appends a path attribute (RFC 4271 §4.3).
fn put(out: &mut Vec<u8>, flags: u8, kind: u8, value: &[u8]) {
    const EXTENDED: u8 = 0x10;
    let length = u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes();
    if length[0] == 0 {
        out.extend([flags & !EXTENDED, kind, length[1]]);
    } else {
        out.extend([flags | EXTENDED, kind, length[0], length[1]]);
    }
    out.extend_from_slice(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_feeder_stands_in_front_and_sets_are_left_out() {
        let path = [2, 1, 0, 0, 0, 7];
        assert_eq!(prepended(&path, 9), Some(vec![2, 2, 0, 0, 0, 9, 0, 0, 0, 7]));
        assert_eq!(prepended(&[1, 1, 0, 0, 0, 7], 9), None);
        assert_eq!(prepended(&[2, 1, 0, 0, 0xfd, 0xe8], 9), None, "the device's own AS");
    }
}
