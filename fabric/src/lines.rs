//! Listings that may have millions of lines, written from the table itself: for people here, for programs in `json`. A typed answer owns
//! all that it says, and making one of each path, writing it out and reading it again takes far longer than the listing. Pure.

pub mod json;

use crate::node::Node;
use crate::show::{
    ADDRESS_WIDTH, DURATION_WIDTH, INTERFACE_WIDTH, KERNEL_WIDTH, NONE, PREFIX_WIDTH, bgp, duration, routes,
};
use std::fmt::Write as _;
use std::net::IpAddr;
use weft_bgp::speaker::{LOCAL_NAME, PathLine, RouteLine};
use weft_bgp::time::Instant;
use weft_bgp::types::{Hop, IfIndex, IpNet};

/// Columns of IPv6, where most prefixes and addresses fit.
const PREFIX_WIDTH_V6: usize = 29;
const ADDRESS_WIDTH_V6: usize = 25;
/// Of most lines, so that a page is made without moving it.
const LINE_OCTETS: usize = 128;

/// The paths of up to `limit` prefixes `after` another, one line each, with the names of the columns before the first of all; and the
/// last prefix, if there may be more. Columns are as wide on one page as on another.
#[must_use]
pub fn bgp(node: &Node, now: Instant, after: Option<IpNet>, limit: usize) -> (String, Option<IpNet>) {
    let longest = node.speaker().peer_names().map(str::len).max().unwrap_or_default();
    let mut page = Page { text: String::with_capacity(limit * LINE_OCTETS), from: longest.max(LOCAL_NAME.len()) };
    if after.is_none() {
        let widths = [
            bgp::CODES_WIDTH,
            PREFIX_WIDTH,
            ADDRESS_WIDTH,
            INTERFACE_WIDTH,
            page.from,
            bgp::PREF_WIDTH,
            bgp::MED_WIDTH,
            DURATION_WIDTH,
        ];
        page.header(&bgp::COLUMNS, &widths);
    }
    let next = node.speaker().each_path(after, limit, |line| page.path(node, now, line));
    (page.text, next)
}

/// The same of up to `limit` routes: a line for each next hop.
#[must_use]
pub fn routes(node: &Node, now: Instant, after: Option<IpNet>, limit: usize) -> (String, Option<IpNet>) {
    let mut page = Page { text: String::with_capacity(limit * LINE_OCTETS), from: 0 };
    if after.is_none() {
        let widths = [PREFIX_WIDTH, ADDRESS_WIDTH, INTERFACE_WIDTH, KERNEL_WIDTH, DURATION_WIDTH];
        page.header(&routes::COLUMNS, &widths);
    }
    let next = node.speaker().each_route(after, limit, |line| page.route(node, now, line));
    (page.text, next)
}

struct Page {
    text: String,
    /// Width of the names of peers, where something stands behind them.
    from: usize,
}

impl Page {
    /// The names of the columns, the last of which is as wide as it is.
    fn header(&mut self, names: &[&str], widths: &[usize]) {
        for (name, width) in names.iter().zip(widths) {
            self.cell(*width, |text| text.push_str(name));
        }
        self.text.push_str(names.last().copied().unwrap_or_default());
        self.text.push('\n');
    }

    fn route(&mut self, node: &Node, now: Instant, route: &RouteLine<'_>) {
        let (prefix_width, address_width) = widths(&route.prefix);
        let is_aggregate = || node.config().speaker.aggregates.contains(&route.prefix);
        let is_ours = !route.from.is_empty() && !route.is_learnt;
        self.cell(prefix_width, |text| push_prefix(text, &route.prefix));
        self.hop(node, address_width, route.hops.first(), || match route {
            _ if is_ours && is_aggregate() => routes::DISCARD,
            _ if is_ours => routes::LOCAL,
            _ if route.held_back.is_some() => routes::HELD_BACK,
            _ => routes::UNREACHABLE,
        });
        let kernel = match route {
            _ if route.refused => "refused",
            _ if is_ours && !is_aggregate() => NONE,
            _ if route.installed => "installed",
            _ if route.hops.is_empty() => NONE,
            _ => "waiting",
        };
        self.cell(KERNEL_WIDTH, |text| text.push_str(kernel));
        let age_s = route.since_s.map_or(0, |since_s| now.as_secs().saturating_sub(since_s));
        self.cell(DURATION_WIDTH, |text| text.push_str(&duration(age_s)));
        for (at, name) in route.from.iter().enumerate() {
            self.text.push_str(if at == 0 { "" } else { " " });
            self.text.push_str(name);
        }
        self.text.push_str(if route.from.is_empty() { NONE } else { "" });
        self.text.push('\n');
        for hop in route.hops.iter().skip(1) {
            self.cell(prefix_width, |_| {});
            self.hop(node, address_width, Some(hop), || NONE);
            self.text.truncate(self.text.trim_end().len());
            self.text.push('\n');
        }
    }

    /// Two columns: the gateway with its weight, and the interface; or one word for both.
    fn hop(&mut self, node: &Node, width: usize, hop: Option<&Hop>, otherwise: impl FnOnce() -> &'static str) {
        self.cell(width, |text| match hop {
            Some(hop) => {
                push_address(text, hop.gateway);
                if hop.weight != 1 {
                    text.push_str(" ×");
                    push_number(text, hop.weight.into());
                }
            }
            None => text.push_str(otherwise()),
        });
        self.cell(INTERFACE_WIDTH, |text| push_link(text, node, hop.map(|hop| hop.link)));
    }

    fn path(&mut self, node: &Node, now: Instant, path: &PathLine<'_>) {
        let local = path.from == LOCAL_NAME;
        let (prefix_width, address_width) = widths(&path.prefix);
        let reached = path.hop.is_some();
        self.cell(bgp::CODES_WIDTH, |text| {
            bgp::push_codes(text, [path.best, path.used, reached, local, path.external, path.stale]);
        });
        // A prefix is written once, as on other routers.
        self.cell(prefix_width, |text| {
            if path.first {
                push_prefix(text, &path.prefix);
            }
        });
        self.cell(
            address_width,
            |text| if local { text.push_str(LOCAL_NAME) } else { push_address(text, path.next_hop) },
        );
        self.cell(INTERFACE_WIDTH, |text| push_link(text, node, path.hop.map(|hop| hop.link)));
        self.cell(self.from, |text| text.push_str(path.from));
        self.cell(bgp::PREF_WIDTH, |text| push_optional(text, path.attrs.local_pref()));
        self.cell(bgp::MED_WIDTH, |text| push_optional(text, path.attrs.med()));
        self.cell(DURATION_WIDTH, |text| text.push_str(&duration(now.as_secs().saturating_sub(path.since_s))));
        let start = self.text.len();
        // Text is always taken.
        let _ = write!(self.text, "{}", path.attrs.as_path());
        if self.text.len() > start {
            self.text.push(' ');
        }
        self.text.push_str(bgp::origin_code(path.attrs.origin()));
        self.text.push('\n');
    }

    /// A column of this width at least.
    fn cell(&mut self, width: usize, write: impl FnOnce(&mut String)) {
        let start = self.text.len();
        write(&mut self.text);
        let written = self.text[start..].chars().count();
        for _ in written..(width + 2).max(written + 2) {
            self.text.push(' ');
        }
    }
}

const fn widths(prefix: &IpNet) -> (usize, usize) {
    match prefix {
        IpNet::V4(_) => (PREFIX_WIDTH, ADDRESS_WIDTH),
        IpNet::V6(_) => (PREFIX_WIDTH_V6, ADDRESS_WIDTH_V6),
    }
}

fn push_link(text: &mut String, node: &Node, index: Option<IfIndex>) {
    match (index, node.links().iter().find(|link| Some(link.index) == index)) {
        (Some(_), Some(link)) => text.push_str(&link.name),
        (Some(index), None) => text.push_str(&format!("interface {}", index.0)),
        (None, _) => text.push_str(NONE),
    }
}

fn push_prefix(text: &mut String, prefix: &IpNet) {
    push_address(text, prefix.addr());
    text.push('/');
    push_number(text, prefix.prefix_len().into());
}

fn push_optional(text: &mut String, number: Option<u32>) {
    match number {
        Some(number) => push_number(text, number),
        None => text.push_str(NONE),
    }
}

/// Decimal; the formatter of the library takes three times as long, which a million lines show.
fn push_number(text: &mut String, mut number: u32) {
    let mut digits = [0; 10];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(number % 10).unwrap_or_default();
        number /= 10;
        if number == 0 {
            break;
        }
    }
    text.extend(digits[at..].iter().map(|digit| char::from(*digit)));
}

fn push_address(text: &mut String, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            for (at, octet) in address.octets().into_iter().enumerate() {
                if at > 0 {
                    text.push('.');
                }
                push_number(text, octet.into());
            }
        }
        IpAddr::V6(address) => {
            let _ = write!(text, "{address}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_addresses_are_written_as_the_library_writes_them() {
        for number in [0, 7, 10, 255, 65_535, u32::MAX] {
            let mut text = String::new();
            push_number(&mut text, number);
            assert_eq!(text, number.to_string());
        }
        for address in ["0.0.0.0", "10.69.255.1", "2001:db8::1", "::ffff:10.0.0.1"] {
            let mut text = String::new();
            push_address(&mut text, address.parse().unwrap());
            assert_eq!(text, address);
        }
    }
}
