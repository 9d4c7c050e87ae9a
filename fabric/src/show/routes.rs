//! `show routes`: where packets go, one line for each next hop.

use super::{
    ADDRESS_WIDTH, DURATION_WIDTH, INTERFACE_WIDTH, KERNEL_WIDTH, NONE, PREFIX_WIDTH, Paged, duration, render, table,
};
use crate::api::{Route, Routes};

/// Names of the columns.
pub(crate) const COLUMNS: [&str; 6] = ["Prefix", "Via", "Interface", "Kernel", "For", "From"];
/// What stands in the place of a gateway: an aggregate's packets are dropped, those for us are ours.
pub(crate) const DISCARD: &str = "discard";
pub(crate) const LOCAL: &str = "local";
pub(crate) const HELD_BACK: &str = "held back";
pub(crate) const UNREACHABLE: &str = "unreachable";

/// A page of routes; the names of the columns on the first one only.
#[must_use]
pub fn page(answer: &Routes, first: bool) -> String {
    let mut lines = table(if first { &COLUMNS } else { &[] });
    let paged = Paged(!first || answer.next.is_some());
    for route in &answer.routes {
        let fixed = [
            paged.cell(&route.prefix.to_string(), PREFIX_WIDTH),
            paged.cell(kernel(route), KERNEL_WIDTH),
            paged.cell(&duration(route.age_s), DURATION_WIDTH),
        ];
        let from = route.from.join(" ");
        let [prefix, kernel, age] = fixed;
        let mut hops = route.via.iter();
        let (via, interface) = match hops.next() {
            Some(hop) => (paged.cell(&gateway(hop), ADDRESS_WIDTH), paged.cell(&hop.interface, INTERFACE_WIDTH)),
            None if route.kind == "aggregate" => (DISCARD.to_owned(), NONE.to_owned()),
            None if route.kind == "local" => (LOCAL.to_owned(), NONE.to_owned()),
            None if route.held_back.is_some() => (HELD_BACK.to_owned(), NONE.to_owned()),
            None => (UNREACHABLE.to_owned(), NONE.to_owned()),
        };
        lines.add_row([prefix, via, interface, kernel, age, if from.is_empty() { NONE.to_owned() } else { from }]);
        for hop in hops {
            lines.add_row([String::new(), gateway(hop), hop.interface.clone()]);
        }
    }
    render(&lines, 0)
}

fn gateway(hop: &crate::api::Via) -> String {
    if hop.weight == 1 { hop.gateway.to_string() } else { format!("{} ×{}", hop.gateway, hop.weight) }
}

fn kernel(route: &Route) -> &str {
    if route.kernel == "none" { NONE } else { &route.kernel }
}
