//! What each fuzz target does with its bytes. The targets call these, and so does `fabric/tests/fuzz_replay.rs` over `corpus/`.
//!
//! | target | must hold |
//! |---|---|
//! | [`bfd::run`] | whatever one peer sends, and however its session is configured meanwhile, another one on its link stays Up; packets are well-formed and not too many |
//! | [`ra::run`] | whatever is heard on a link, its neighbour is somebody else's link-local address; who is told is told in time, and not in a storm |
//! | [`netlink::run`] | whatever the kernel says, lies included: what is not ours is not touched, two readers of a route agree, work comes to an end |
//! | [`lldp::run`] | whatever is heard on a link, a text is short and without control characters, holds as long as it says, and another name is not the expected one |
//! | [`check::run`] | whatever a checked service or command answers: success is a status of success, and a reason is one short line |
//! | [`api::run`] | whatever is asked, and by whom: the port takes no orders, a role gets what it may and no more, answers are bounded, a refusal has a remedy |
//! | [`cli::run`] | whatever stands on the command line: it is read the same every time, or refused with exit code 2; what it asks is understood or refused at the other end |
//! | [`dhcp::run`] | whatever a machine on a server port sends, and whatever a server answers: what goes on is well-formed and not too much, leases are few and of the network, and a machine on another port notices nothing |
//! | [`dhcp6::run`] | the same of DHCPv6 |
//! | [`config::run`] | whatever stands in a file: it is refused with place and words, or read the same every time |
#![expect(clippy::unwrap_used, clippy::panic, reason = "a failed check of a fuzz target is a panic")]

pub mod api;
pub mod bfd;
pub mod check;
pub mod cli;
pub mod config;
pub mod dhcp;
pub mod dhcp6;
pub mod lldp;
pub mod netlink;
pub mod ra;

/// Most records of one input: bounds the virtual time of a run.
const RECORDS_MAX: usize = 64;

/// What happens, how long after what happened before, and the octets that say more.
struct Record<'a> {
    what: u8,
    pause: u8,
    body: &'a [u8],
}

/// Records: type in the lower half of an octet, in its upper half how much time passes before; an octet of length; body.
fn records(mut data: &[u8]) -> impl Iterator<Item = Record<'_>> {
    std::iter::from_fn(move || {
        let (&[head, length], rest) = data.split_first_chunk::<2>()?;
        let (body, rest) = rest.split_at(usize::from(length).min(rest.len()));
        data = rest;
        Some(Record { what: head & 0x0f, pause: head >> 4, body })
    })
    .take(RECORDS_MAX)
}

/// The octet at a place, 0 beyond the end.
fn octet(body: &[u8], at: usize) -> u8 {
    body.get(at).copied().unwrap_or_default()
}
