//! ROUTE-REFRESH (RFC 2918 §3) and its demarcations (RFC 7313 §3.2).

use super::{HEADER_BYTES, Kind, put_header, read};
use crate::types::Family;
use bytes::{BufMut, BytesMut};
use nom::Parser;
use nom::number::complete::{be_u8, be_u16};

/// Octets of a whole message.
pub const LENGTH: usize = HEADER_BYTES + 4;

/// What a message says (RFC 7313 §3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subtype {
    /// 0: tell everything again.
    Request,
    /// 1, BoRR: everything follows.
    Begin,
    /// 2, EoRR: that was everything.
    End,
}

impl Subtype {
    /// The subtype with this number; others are ignored (RFC 7313 §5).
    #[must_use]
    pub const fn from_wire(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Request),
            1 => Some(Self::Begin),
            2 => Some(Self::End),
            _ => None,
        }
    }

    /// What people call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Begin => "BoRR",
            Self::End => "EoRR",
        }
    }

    const fn to_wire(self) -> u8 {
        match self {
            Self::Request => 0,
            Self::Begin => 1,
            Self::End => 2,
        }
    }
}

/// The number of the subtype, where one may be.
#[must_use]
pub fn subtype(message: &[u8]) -> Option<u8> {
    message.get(HEADER_BYTES + 2).copied()
}

/// What a whole message is about; `None` for families that we do not speak (RFC 2918 §4) and subtypes that we do not know: ignored.
/// Without the capability of RFC 7313 the octet of the subtype means nothing (RFC 2918 §3).
#[must_use]
pub fn decode(message: &[u8], enhanced: bool) -> Option<(Family, Subtype)> {
    let read = |input| Parser::parse(&mut (be_u16, be_u8, be_u8), input);
    let (afi, subtype, safi) = read::exact(message.get(HEADER_BYTES..)?, read)?;
    let subtype = if enhanced { Subtype::from_wire(subtype)? } else { Subtype::Request };
    Some((Family::from_wire(afi, safi)?, subtype))
}

/// Appends a message about `family`.
pub fn put(buf: &mut BytesMut, family: Family, subtype: Subtype) {
    put_header(buf, 4, Kind::RouteRefresh);
    buf.put_u16(family.afi());
    buf.put_u8(subtype.to_wire());
    buf.put_u8(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_is_read_again_and_foreign_families_are_ignored() {
        for family in Family::ALL {
            for subtype in [Subtype::Request, Subtype::Begin, Subtype::End] {
                let mut buf = BytesMut::new();
                put(&mut buf, family, subtype);
                assert_eq!(decode(&buf, true), Some((family, subtype)));
                assert_eq!(decode(&buf, false), Some((family, Subtype::Request)));
                buf[21] = 3;
                assert_eq!(decode(&buf, true), None);
                buf[20] = 25;
                assert_eq!(decode(&buf, false), None);
            }
        }
    }
}
