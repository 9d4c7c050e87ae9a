//! `show routes`: where packets go, one line for each next hop.

use super::{
    ADDRESS_WIDTH, DURATION_WIDTH, INTERFACE_WIDTH, KERNEL_WIDTH, NONE, PREFIX_WIDTH, Paged, duration, render, table,
};
use crate::api::{Route, Routes};

/// A page of routes; the names of the columns on the first one only.
#[must_use]
pub fn page(answer: &Routes, first: bool) -> String {
    let header = ["Prefix", "Via", "Interface", "Kernel", "For", "From"];
    let mut lines = table(if first { &header } else { &[] });
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
            None if route.kind == "aggregate" => ("discard".to_owned(), NONE.to_owned()),
            None if route.kind == "local" => ("local".to_owned(), NONE.to_owned()),
            None if route.held_back.is_some() => ("held back".to_owned(), NONE.to_owned()),
            None => ("unreachable".to_owned(), NONE.to_owned()),
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
