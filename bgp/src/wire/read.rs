//! What every reader of this layer is made of: nom parsers over byte slices, their one error, and its one way to a NOTIFICATION.
//!
//! A field with a length is read by `length_data` or `take`, and what is in it is parsed as a slice of its own: no inner
//! length can reach beyond its parent. The framer hands over whole messages, so a parser that asks for more has failed.

use super::Notification;
use crate::types::Family;
use nom::combinator::{all_consuming, map};
use nom::error::{ErrorKind, FromExternalError, ParseError};
use nom::number::complete::{be_u8, be_u16};
use nom::{IResult, Parser};

/// What a parser of this layer returns: the rest, and what was read.
pub(crate) type Parsed<'a, T> = IResult<&'a [u8], T, Wrong>;

/// Why bytes cannot be read. Small and `Copy`, for the parsers that run once per attribute or prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// They end inside a field, or go on behind the last one: whatever nom itself refuses.
    Malformed,
    /// A field has a value that is answered with this subcode.
    Value(u8),
    /// The same, and one octet of data goes with it.
    Octet(u8, u8),
    /// The same, and two octets of data go with it.
    Word(u8, u16),
}

impl Wrong {
    /// The answer to it in a message whose faults have error code `code`; `malformed` is the subcode of a wrong structure.
    fn notification(self, code: u8, malformed: u8) -> Notification {
        match self {
            Self::Malformed => Notification::new(code, malformed),
            Self::Value(subcode) => Notification::new(code, subcode),
            Self::Octet(subcode, data) => Notification::with_data(code, subcode, &[data]),
            Self::Word(subcode, data) => Notification::with_data(code, subcode, &data.to_be_bytes()),
        }
    }
}

impl<I> ParseError<I> for Wrong {
    fn from_error_kind(_input: I, _kind: ErrorKind) -> Self {
        Self::Malformed
    }

    fn append(_input: I, _kind: ErrorKind, other: Self) -> Self {
        other
    }
}

impl<I> FromExternalError<I, Self> for Wrong {
    fn from_external_error(_input: I, _kind: ErrorKind, wrong: Self) -> Self {
        wrong
    }
}

/// Reads all of `bytes`, or says with which NOTIFICATION of error code `code` the session ends: with subcode `malformed` when
/// a field overruns or something is left over, else with the one that the parser gave.
pub(crate) fn whole<'a, T>(
    bytes: &'a [u8],
    code: u8,
    malformed: u8,
    parser: impl Parser<&'a [u8], Output = T, Error = Wrong>,
) -> Result<T, Notification> {
    match all_consuming(parser).parse(bytes) {
        Ok((_, value)) => Ok(value),
        Err(nom::Err::Error(wrong) | nom::Err::Failure(wrong)) => Err(wrong.notification(code, malformed)),
        // `length_data` asks for more where a field overruns; there is no more.
        Err(nom::Err::Incomplete(_)) => Err(Wrong::Malformed.notification(code, malformed)),
    }
}

/// All of `bytes`, where bytes that cannot be read cost nothing but themselves.
pub(crate) fn exact<'a, T>(bytes: &'a [u8], parser: impl Parser<&'a [u8], Output = T, Error = Wrong>) -> Option<T> {
    all_consuming(parser).parse(bytes).ok().map(|(_, value)| value)
}

/// Reads one item after another until nothing is left.
pub(crate) fn each<'a>(mut bytes: &'a [u8], mut item: impl FnMut(&'a [u8]) -> Parsed<'a, ()>) -> Parsed<'a, ()> {
    while !bytes.is_empty() {
        (bytes, _) = item(bytes)?;
    }
    Ok((bytes, ()))
}

/// AFI, a reserved octet, SAFI (RFC 2918 §3, RFC 4760 §8); `None` for a family that we do not speak.
pub(crate) fn family(input: &[u8]) -> Parsed<'_, Option<Family>> {
    map((be_u16, be_u8, be_u8), |(afi, _reserved, safi)| Family::from_wire(afi, safi)).parse(input)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nom::multi::length_data;

    #[test]
    fn a_wrong_structure_and_a_wrong_value_have_their_own_answers() {
        let read = |bytes| whole(bytes, 2, 7, |input| Parser::parse(&mut length_data(be_u8), input));
        assert_eq!(read(&[2, 1, 2]), Ok([1, 2].as_slice()));
        assert_eq!(read(&[2, 1]), Err(Notification::new(2, 7)), "the field overruns");
        assert_eq!(read(&[2, 1, 2, 3]), Err(Notification::new(2, 7)), "something is left over");
        let refused = |wrong| whole(&[1], 2, 7, nom::combinator::map_res(be_u8, |_| Err::<(), _>(wrong)));
        assert_eq!(refused(Wrong::Value(3)), Err(Notification::new(2, 3)));
        assert_eq!(refused(Wrong::Octet(3, 9)), Err(Notification::with_data(2, 3, &[9])));
        assert_eq!(refused(Wrong::Word(3, 0x0102)), Err(Notification::with_data(2, 3, &[1, 2])));
    }
}
