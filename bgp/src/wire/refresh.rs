//! ROUTE-REFRESH (RFC 2918 §3).

use super::{HEADER_BYTES, Kind, put_header, read};
use crate::types::Family;
use bytes::{BufMut, BytesMut};

/// The family that a whole ROUTE-REFRESH message asks for; `None` for families we do not speak (RFC 2918 §4: ignored).
#[must_use]
pub fn decode(message: &[u8]) -> Option<Family> {
    read::exact(message.get(HEADER_BYTES..)?, read::family)?
}

/// Appends a request for `family`.
pub fn put(buf: &mut BytesMut, family: Family) {
    put_header(buf, 4, Kind::RouteRefresh);
    buf.put_u16(family.afi());
    buf.put_u8(0);
    buf.put_u8(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_again_and_foreign_families_are_ignored() {
        for family in Family::ALL {
            let mut buf = BytesMut::new();
            put(&mut buf, family);
            assert_eq!(decode(&buf), Some(family));
            buf[20] = 25;
            assert_eq!(decode(&buf), None);
        }
    }
}
