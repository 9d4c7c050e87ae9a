//! What of DER (ITU-T X.690) a signature needs: elements with tag and length, written and read.

/// Tags.
pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OBJECT: u8 = 0x06;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;

/// A tag of the context, constructed.
pub(super) const fn context(number: u8) -> u8 {
    0xa0 | number
}

/// An element of these parts.
pub(super) fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let octets = length.to_be_bytes();
    let significant = octets.iter().position(|octet| *octet != 0).map_or(&octets[..0], |first| &octets[first..]);
    let mut out = vec![tag];
    match significant {
        [] => out.push(0),
        [short @ 0..0x80] => out.push(*short),
        long => {
            out.push(0x80 | u8::try_from(long.len()).unwrap_or(8));
            out.extend_from_slice(long);
        }
    }
    out.extend(parts.iter().flat_map(|part| part.iter()));
    out
}

/// Elements one behind the other.
pub(super) struct Reader<'o>(pub(super) &'o [u8]);

/// One of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Element<'o> {
    /// What is in it.
    pub(super) content: &'o [u8],
    /// With its tag and length.
    pub(super) whole: &'o [u8],
}

impl<'o> Reader<'o> {
    /// The next one, when it has this tag; otherwise nothing is read.
    pub(super) fn take(&mut self, tag: u8) -> Option<Element<'o>> {
        let [first, length, rest @ ..] = self.0 else { return None };
        let (length, begin) = match *length {
            short @ 0..0x80 => (usize::from(short), 2),
            long => {
                let count = usize::from(long & 0x7f);
                let octets = rest.get(..count).filter(|octets| (1..=4).contains(&octets.len()))?;
                (octets.iter().fold(0_usize, |length, octet| length << 8 | usize::from(*octet)), 2 + count)
            }
        };
        let end = begin.checked_add(length).filter(|_| *first == tag)?;
        let (whole, rest) = (self.0.get(..end)?, self.0.get(end..)?);
        self.0 = rest;
        Some(Element { content: whole.get(begin..)?, whole })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// X.690 §8.1.3: lengths up to 127 are one octet, longer ones say how many octets they are.
    #[test]
    fn lengths_are_as_short_as_they_can_be() {
        for (length, head) in [
            (0, &[4, 0][..]),
            (1, &[4, 1]),
            (127, &[4, 127]),
            (128, &[4, 0x81, 128]),
            (255, &[4, 0x81, 255]),
            (256, &[4, 0x82, 1, 0]),
            (65_536, &[4, 0x83, 1, 0, 0]),
        ] {
            let content = vec![7; length];
            let written = element(OCTET_STRING, &[&content]);
            assert!(written == [head, &content].concat(), "{length}");
            let mut reader = Reader(&written);
            let read = reader.take(OCTET_STRING).unwrap();
            assert!(read.content == content && read.whole == written && reader.0.is_empty(), "{length}");
        }
    }

    #[test]
    fn what_is_no_element_is_refused() {
        for wrong in [&[][..], &[4], &[4, 2, 1], &[2, 0], &[4, 0x80], &[4, 0x81], &[4, 0x85, 0, 0, 0, 0, 0], &[4, 0xff]]
        {
            assert!(Reader(wrong).take(OCTET_STRING).is_none(), "{wrong:?}");
        }
        let mut two = Reader(&[2, 1, 5, 4, 0]);
        assert!(two.take(OCTET_STRING).is_none());
        assert_eq!(two.take(INTEGER).unwrap().content, [5]);
        assert!(two.take(OCTET_STRING).unwrap().content.is_empty());
    }
}
