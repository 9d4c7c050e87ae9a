//! DHCPv6 for machines that boot (RFC 8415, RFC 5970), behind relays: one address for a client, of the formula or lent, and what it is to
//! boot. Prefixes, temporary addresses and Reconfigure are not there: nothing that boots asks for them.
//!
//! | file | what it decides |
//! |---|---|
//! | [`message`] | octets: kind, transaction, options, an IA_NA; relays around it |
//! | [`client`] | who asks: its DUID in one form, its machine, its firmware |
//! | [`network`] | where a question came from |
//! | [`server`] | what becomes of it |
//! | [`rules`], [`counts`] | the configuration, the figures |

pub mod client;
pub mod counts;
pub mod message;
pub mod network;
pub mod rules;
pub mod server;
