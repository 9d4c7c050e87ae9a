//! The same listings as JSON, one object for each prefix: what the typed answers say, field by field, without making them. Fields stand in
//! the order of their names, as in every document that `--output json` puts together of pages; a test compares both.

use super::LINE_OCTETS;
use crate::link::LinkInfo;
use crate::node::Node;
use serde::{Serialize, Serializer};
use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};
use weft_bgp::rpki::Validity;
use weft_bgp::speaker::{PathLine, RouteLine, origin};
use weft_bgp::time::Instant;
use weft_bgp::types::{Hop, IpNet};
use weft_bgp::wire::attrs::Attrs;

/// Of most paths with their attributes.
const PATH_OCTETS: usize = 4 * LINE_OCTETS;

/// [`crate::api::BgpRoute`] of up to `limit` prefixes `after` another, one to a line; and the last prefix, if there may be more.
#[must_use]
pub fn bgp(node: &Node, now: Instant, after: Option<IpNet>, limit: usize) -> (String, Option<IpNet>) {
    let mut page = Page::new(limit * PATH_OCTETS);
    let mut open = None;
    let next = node.speaker().each_path(after, limit, |line| {
        if line.first {
            page.close(open.replace(line.prefix));
            page.text(if line.installed {
                "{\"installed\":true,\"paths\":["
            } else {
                "{\"installed\":false,\"paths\":["
            });
        } else {
            page.text(",");
        }
        page.value(&Path::new(node, now, line));
    });
    page.close(open);
    (page.finish(), next)
}

/// [`crate::api::Route`] likewise.
#[must_use]
pub fn routes(node: &Node, now: Instant, after: Option<IpNet>, limit: usize) -> (String, Option<IpNet>) {
    let mut page = Page::new(limit * 2 * LINE_OCTETS);
    let next = node.speaker().each_route(after, limit, |line| {
        page.value(&Route::new(node, now, line));
        page.text("\n");
    });
    (page.finish(), next)
}

struct Page(Vec<u8>);

impl Page {
    fn new(octets: usize) -> Self {
        Self(Vec::with_capacity(octets))
    }

    fn text(&mut self, text: &str) {
        self.0.extend_from_slice(text.as_bytes());
    }

    /// Our own types always become JSON, and memory always takes it.
    fn value(&mut self, value: &impl Serialize) {
        let _ = serde_json::to_writer(&mut self.0, value);
    }

    /// Ends the paths of a prefix.
    fn close(&mut self, prefix: Option<IpNet>) {
        let Some(prefix) = prefix else { return };
        self.text("],\"prefix\":");
        self.value(&prefix);
        self.text("}\n");
    }

    fn finish(self) -> String {
        // JSON of strings is UTF-8.
        String::from_utf8(self.0).unwrap_or_default()
    }
}

/// [`crate::api::Route`], borrowed.
#[derive(Serialize)]
struct Route<'a> {
    age_s: u64,
    from: &'a [&'a str],
    #[serde(skip_serializing_if = "Option::is_none")]
    held_back: Option<String>,
    installed: bool,
    kernel: &'static str,
    kind: &'static str,
    prefix: IpNet,
    via: Hops<'a>,
}

impl<'a> Route<'a> {
    fn new(node: &'a Node, now: Instant, line: &RouteLine<'a>) -> Self {
        let kind = match line {
            _ if line.from.is_empty() => "none",
            _ if line.is_learnt => "bgp",
            _ if node.config().speaker.aggregates.contains(&line.prefix) => "aggregate",
            _ => "local",
        };
        let kernel = match line {
            _ if line.refused => "refused",
            _ if kind == "local" => "none",
            _ if line.installed => "installed",
            _ if line.hops.is_empty() => "none",
            _ => "waiting",
        };
        Self {
            age_s: line.since_s.map_or(0, |since_s| now.as_secs().saturating_sub(since_s)),
            from: line.from,
            held_back: line.held_back.map(|why| why.to_string()),
            installed: line.installed,
            kernel,
            kind,
            prefix: line.prefix,
            via: Hops(node.links(), line.hops),
        }
    }
}

/// [`crate::api::BgpPath`], borrowed.
#[derive(Serialize)]
struct Path<'a> {
    age_s: u64,
    #[serde(serialize_with = "as_path")]
    as_path: Attrs<'a>,
    best: bool,
    #[serde(serialize_with = "cluster_list")]
    cluster_list: Attrs<'a>,
    #[serde(serialize_with = "communities")]
    communities: Attrs<'a>,
    #[serde(serialize_with = "ext_communities")]
    ext_communities: Attrs<'a>,
    external: bool,
    from: &'a str,
    #[serde(serialize_with = "large_communities")]
    large_communities: Attrs<'a>,
    local_pref: Option<u32>,
    med: Option<u32>,
    next_hop: IpAddr,
    origin: &'static str,
    originator_id: Option<Ipv4Addr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_id: Option<u32>,
    reason: Cow<'static, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rpki: Option<Validity>,
    stale: bool,
    used: bool,
    via: Option<Via<'a>>,
}

impl<'a> Path<'a> {
    fn new(node: &'a Node, now: Instant, line: &PathLine<'a>) -> Self {
        let attrs = line.attrs;
        Self {
            age_s: now.as_secs().saturating_sub(line.since_s),
            as_path: attrs,
            best: line.best,
            cluster_list: attrs,
            communities: attrs,
            ext_communities: attrs,
            external: line.external,
            from: line.from,
            large_communities: attrs,
            local_pref: attrs.local_pref(),
            med: attrs.med(),
            next_hop: line.next_hop,
            origin: origin(attrs.origin()),
            originator_id: attrs.originator_id(),
            path_id: line.path_id(),
            reason: line.reason(),
            rpki: line.validity(),
            stale: line.stale,
            used: line.used,
            via: line.hop.map(|hop| Via::new(node.links(), &hop)),
        }
    }
}

fn as_path<S: Serializer>(attrs: &Attrs<'_>, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&attrs.as_path())
}

fn cluster_list<S: Serializer>(attrs: &Attrs<'_>, to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(attrs.cluster_list())
}

fn communities<S: Serializer>(attrs: &Attrs<'_>, to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(attrs.communities().map(|word| format!("{}:{}", word >> 16, word & 0xffff)))
}

fn large_communities<S: Serializer>(attrs: &Attrs<'_>, to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(attrs.large_communities().map(|[a, b, c]| format!("{a}:{b}:{c}")))
}

fn ext_communities<S: Serializer>(attrs: &Attrs<'_>, to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(attrs.ext_communities().map(|community| community.to_string()))
}

/// Next hops, on these links.
struct Hops<'a>(&'a [LinkInfo], &'a [Hop]);

impl Serialize for Hops<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.1.iter().map(|hop| Via::new(self.0, hop)))
    }
}

/// [`crate::api::Via`], borrowed.
#[derive(Serialize)]
struct Via<'a> {
    gateway: IpAddr,
    interface: Cow<'a, str>,
    weight: u8,
}

impl<'a> Via<'a> {
    fn new(links: &'a [LinkInfo], hop: &Hop) -> Self {
        let known = links.iter().find(|link| link.index == hop.link);
        let interface =
            known.map_or_else(|| format!("interface {}", hop.link.0).into(), |link| link.name.as_str().into());
        Self { gateway: hop.gateway, interface, weight: hop.weight }
    }
}
