//! What a plan must hold to be taken: every address that it can give is inside its prefix, and nobody else's.

use super::{Ipam, NETWORKS_MAX, POOLS_MAX, Pool, RACK_MAX, RACK_NUMBER_MAX};
use crate::error::Refusal;

impl Ipam {
    /// Looks at the whole plan.
    ///
    /// # Errors
    /// The first field that breaks its rule.
    pub fn check(&self) -> Result<(), Refusal> {
        within("max_nodes_in_rack", self.max_nodes_in_rack, 1, RACK_MAX)?;
        within("node_index_offset", self.node_index_offset, 0, RACK_MAX)?;
        within("node_networks", self.node_networks, 1, NETWORKS_MAX)?;
        if self.node.is_empty() {
            let rule = "write at least one prefix, of IPv4 or IPv6";
            return Err(Refusal::invalid("node", "nodes have no addresses", rule));
        }
        for (list, pools, networks) in [("node", &self.node, self.node_networks), ("bmc", &self.bmc, 1)] {
            if pools.len() > POOLS_MAX {
                return Err(Refusal::invalid(
                    list,
                    format!("has {} pools", pools.len()),
                    format!("at most {POOLS_MAX}"),
                ));
            }
            for (at, pool) in pools.iter().enumerate() {
                self.check_pool(&format!("{list}[{at}]"), pool, networks)?;
                for (before, other) in pools[..at].iter().enumerate() {
                    apart(&format!("{list}[{at}]"), pool, &format!("{list}[{before}]"), other, true)?;
                }
            }
        }
        for (at, pool) in self.bmc.iter().enumerate() {
            for (other_at, other) in self.node.iter().enumerate() {
                apart(&format!("bmc[{at}]"), pool, &format!("node[{other_at}]"), other, false)?;
            }
        }
        Ok(())
    }

    fn check_pool(&self, field: &str, pool: &Pool, networks: u32) -> Result<(), Refusal> {
        let field_of = |name: &str| format!("{field}.{name}");
        if pool.prefix != pool.prefix.trunc() {
            let rule = format!("write {}", pool.prefix.trunc());
            return Err(Refusal::invalid(
                field_of("prefix"),
                format!("{} has bits beyond its length", pool.prefix),
                rule,
            ));
        }
        if let Some(offset) = pool.offset
            && offset.is_ipv4() != pool.is_ipv4()
        {
            let message = format!("{offset} is of another family than {}", pool.prefix);
            return Err(Refusal::invalid(field_of("offset"), message, "write an address of the family of the prefix"));
        }
        let most = pool.bits() - pool.prefix.prefix_len();
        if pool.range_bits > most || pool.range_bits >= 128 {
            let message = format!("2^{} addresses are more than {} has", pool.range_bits, pool.prefix);
            return Err(Refusal::invalid(field_of("range_bits"), message, format!("at most {most}")));
        }
        let (shortest, longest) = (pool.prefix.prefix_len(), pool.part_length());
        if !(shortest..=longest).contains(&pool.mask) {
            let message = format!("/{} is no length between that of the pool and that of a part", pool.mask);
            return Err(Refusal::invalid(field_of("mask"), message, format!("{shortest} to {longest}")));
        }
        self.check_range(field, pool, networks)
    }

    /// The indices fit into a part, and the racks into the pool.
    fn check_range(&self, field: &str, pool: &Pool, networks: u32) -> Result<(), Refusal> {
        let highest = u128::from(self.node_index_offset) + u128::from(self.max_nodes_in_rack);
        let size = 1_u128 << pool.range_bits;
        // Where each part is a network of its own, the last address of IPv4 is its broadcast address.
        let reserved = u128::from(pool.is_ipv4() && pool.mask == pool.part_length());
        if highest + 1 + reserved > size {
            let message = format!("a part has {size} addresses, and the highest index is {highest}");
            let rule = format!(
                "`node_index_offset` and `max_nodes_in_rack` together are at most 2^`range_bits` − {}",
                1 + reserved
            );
            return Err(Refusal::invalid(format!("{field}.range_bits"), message, rule));
        }
        if pool.first_rack > RACK_NUMBER_MAX {
            let message = format!("{} is no rack number", pool.first_rack);
            return Err(Refusal::invalid(format!("{field}.first_rack"), message, format!("at most {RACK_NUMBER_MAX}")));
        }
        let last = pool.last_rack.unwrap_or(pool.first_rack);
        if last < pool.first_rack || last > RACK_NUMBER_MAX || !pool.covers(last, networks) {
            let message = format!("{} has no part for racks {} to {last}", pool.prefix, pool.first_rack);
            let rule = "a wider prefix, smaller parts, a smaller offset, or fewer racks";
            return Err(Refusal::invalid(field, message, rule));
        }
        let inside = u128::from(pool.gateway_offset)
            < 1_u128.checked_shl(u32::from(pool.bits() - pool.mask)).unwrap_or(u128::MAX);
        if !inside {
            let message = format!("{} is beyond a /{}", pool.gateway_offset, pool.mask);
            return Err(Refusal::invalid(
                format!("{field}.gateway_offset"),
                message,
                "the router is inside of the prefix",
            ));
        }
        let taken = pool.mask == pool.part_length()
            && pool.gateway_offset > 0
            && (u128::from(self.node_index_offset)..=highest).contains(&u128::from(pool.gateway_offset));
        if taken {
            let message = format!("{} is also the index of a machine", pool.gateway_offset);
            let rule = format!("below {} or above {highest}", self.node_index_offset);
            return Err(Refusal::invalid(format!("{field}.gateway_offset"), message, rule));
        }
        Ok(())
    }
}

fn within(field: &str, value: u32, least: u32, most: u32) -> Result<(), Refusal> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(Refusal::invalid(field, format!("{value} is out of range"), format!("{least} to {most}")))
}

/// Two pools share no address; pools of one kind and family share no rack either.
fn apart(field: &str, pool: &Pool, other_field: &str, other: &Pool, same_kind: bool) -> Result<(), Refusal> {
    if pool.is_ipv4() != other.is_ipv4() {
        return Ok(());
    }
    if pool.prefix.contains(&other.prefix) || other.prefix.contains(&pool.prefix) {
        let message = format!("{} overlaps {} of {other_field}", pool.prefix, other.prefix);
        return Err(Refusal::invalid(format!("{field}.prefix"), message, "no address belongs to two pools"));
    }
    let end = |pool: &Pool| pool.last_rack.unwrap_or(RACK_NUMBER_MAX);
    if same_kind && pool.first_rack <= end(other) && other.first_rack <= end(pool) {
        let message = format!("racks from {} on are also in {other_field}", pool.first_rack.max(other.first_rack));
        let rule = "a rack has one pool of each family: set `last_rack` of the first and `first_rack` of the second";
        return Err(Refusal::invalid(format!("{field}.first_rack"), message, rule));
    }
    Ok(())
}
