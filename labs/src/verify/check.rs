//! Decides one expectation at one moment, from kernel tables, the daemon's RIB and a ping.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;

use ipnet::IpNet;

use crate::expect::{Expectation, Group, What, flat, names};
use crate::personality::Personality;
use crate::probe::{self, End};
use crate::verify::kernel::{self, KernelHop, KernelRoute};
use crate::verify::{Plant, api, udp};

/// The kernel's own index of `lo`, in every network namespace.
const LOOPBACK: u32 = 1;
/// Characters of a command's output shown when it is not as expected.
const EXCERPT: usize = 1_500;

/// What a look at the lab says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is so.
    Holds,
    /// It is not (yet); this is there instead.
    Instead(String),
    /// This node can never answer that, and why.
    CannotAsk(String),
}

/// A lab with what does not change while it runs: who is behind which interface, one netlink socket per node.
pub struct Site<'a> {
    plant: &'a dyn Plant,
    sockets: BTreeMap<String, OwnedFd>,
    far_ends: BTreeMap<(String, String), String>,
    owners: BTreeMap<IpAddr, String>,
    /// Addresses on `lo` that other machines may know.
    loopbacks: BTreeMap<String, Vec<IpAddr>>,
    /// For each expectation of groups, by its text, how many nodes had everything: they are not asked again at every look.
    settled: RefCell<BTreeMap<String, usize>>,
}

impl std::fmt::Debug for Site<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Site").field("owners", &self.owners).finish_non_exhaustive()
    }
}

impl<'a> Site<'a> {
    /// Opens a netlink socket in every node and notes who has which address.
    ///
    /// # Errors
    /// When a namespace cannot be entered.
    pub fn new(plant: &'a dyn Plant) -> io::Result<Self> {
        let mut site = Self {
            plant,
            sockets: BTreeMap::new(),
            far_ends: BTreeMap::new(),
            owners: BTreeMap::new(),
            loopbacks: BTreeMap::new(),
            settled: RefCell::default(),
        };
        for [a, b] in plant.links() {
            site.far_ends.insert(a.clone(), b.0.clone());
            site.far_ends.insert(b, a.0);
        }
        for node in plant.nodes() {
            let socket = plant.open(&node, Box::new(kernel::open))?;
            for (link, address) in kernel::addresses(&socket)? {
                if !address.is_loopback() && !is_link_local(address) {
                    site.owners.insert(address, node.clone());
                    if link == LOOPBACK {
                        site.loopbacks.entry(node.clone()).or_default().push(address);
                    }
                }
            }
            site.sockets.insert(node, socket);
        }
        Ok(site)
    }

    /// The lab itself.
    #[must_use]
    pub fn plant(&self) -> &'a dyn Plant {
        self.plant
    }

    /// A node's netlink socket.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn netlink(&self, node: &str) -> io::Result<&OwnedFd> {
        self.sockets.get(node).ok_or_else(|| io::Error::other(format!("there is no node `{node}` in this lab")))
    }

    /// The address that a node's packets carry: the first routable one of `lo`.
    ///
    /// # Errors
    /// When it has none (yet).
    pub fn end(&self, node: &str) -> io::Result<End> {
        let socket = self.netlink(node)?;
        let loopback = kernel::links(socket)?.get("lo").map(|link| link.index);
        let address = kernel::addresses(socket)?
            .into_iter()
            .find(|(link, address)| Some(*link) == loopback && address.is_ipv4() && !address.is_loopback())
            .map(|(_, address)| address)
            .ok_or_else(|| io::Error::other(format!("{node} has no address of its own on lo")))?;
        Ok(End { node: node.to_owned(), address })
    }

    /// Routes of a node that a routing protocol put there and that forward packets.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn learnt(&self, node: &str) -> io::Result<Vec<KernelRoute>> {
        let mut routes = kernel::routes(self.netlink(node)?)?;
        routes.retain(|route| !route.own && route.unicast);
        Ok(routes)
    }

    /// Whether an expectation holds now.
    #[must_use]
    pub fn holds(&self, expectation: &Expectation) -> Answer {
        let answer = match &expectation.what {
            What::Route { at, route, via, paths, weights } => self.route(at, *route, via, *paths, weights),
            What::Command { at, run, says, lacks } => self.command(at, run, says, lacks),
            What::Only { at, only } => self.only(at, only),
            What::Absent { at, absent } => self.absent(at, *absent),
            What::Reach { each, reaches } => self.reach(&expectation.to_string(), each, reaches),
            What::Ping { from, ping, loss } => self.ping(from, ping, *loss),
        };
        answer.unwrap_or_else(|error| Answer::Instead(error.to_string()))
    }

    fn route(
        &self,
        at: &str,
        prefix: IpNet,
        via: &BTreeSet<String>,
        paths: Option<usize>,
        weights: &BTreeMap<String, u16>,
    ) -> io::Result<Answer> {
        if let Some(why) = self.no_kernel_routes(at) {
            return Ok(why);
        }
        let routes = self.learnt(at)?;
        let Some(route) = routes.iter().find(|route| route.prefix == prefix) else {
            return Ok(Answer::Instead(format!("the kernel has no {prefix} ({} other routes)", routes.len())));
        };
        let shares = self.next_nodes(at, &route.hops)?;
        let next: BTreeSet<String> = shares.keys().cloned().collect();
        if !via.is_empty() && next != *via {
            return Ok(Answer::Instead(format!("via {}", next.into_iter().collect::<Vec<_>>().join(", "))));
        }
        if let Some(paths) = paths
            && route.hops.len() != paths
        {
            return Ok(Answer::Instead(format!("{} paths", route.hops.len())));
        }
        if weights.iter().any(|(node, weight)| shares.get(node) != Some(weight)) {
            let shown: Vec<String> = shares.iter().map(|(node, weight)| format!("{node} ×{weight}")).collect();
            return Ok(Answer::Instead(shown.join(", ")));
        }
        if self.plant.personality(at) == "weft" {
            match api::installed(&self.plant.api_socket(at), prefix)? {
                Some(true) => {}
                Some(false) => {
                    return Ok(Answer::Instead("in the kernel, but the RIB says not installed".to_owned()));
                }
                None => {
                    return Ok(Answer::Instead("in the kernel, but not in the RIB".to_owned()));
                }
            }
        }
        Ok(Answer::Holds)
    }

    fn only(&self, at: &str, only: &BTreeSet<IpNet>) -> io::Result<Answer> {
        if let Some(why) = self.no_kernel_routes(at) {
            return Ok(why);
        }
        let found: BTreeSet<IpNet> = self.learnt(at)?.iter().map(|route| route.prefix).collect();
        let surplus = names(&found.difference(only).collect());
        let missing = names(&only.difference(&found).collect());
        Ok(if found == *only {
            Answer::Holds
        } else {
            Answer::Instead(format!("too many: [{surplus}], missing: [{missing}]"))
        })
    }

    /// Looks at the nodes one after the other, up to the first that lacks something: a thousand tables take seconds to read.
    fn reach(&self, name: &str, each: &Group, reaches: &Group) -> io::Result<Answer> {
        let before = self.settled.borrow().get(name).copied().unwrap_or(0);
        for (count, node) in each.nodes.iter().enumerate().skip(before) {
            if let Some(why) = self.no_kernel_routes(node) {
                return Ok(why);
            }
            let prefixes: BTreeSet<IpNet> = self.learnt(node)?.iter().map(|route| route.prefix).collect();
            let shorter: Vec<IpNet> =
                prefixes.iter().filter(|net| net.prefix_len() < net.max_prefix_len()).copied().collect();
            let is_covered =
                |to: &IpAddr| prefixes.contains(&IpNet::from(*to)) || shorter.iter().any(|net| net.contains(to));
            let others = reaches.nodes.iter().filter(|other| *other != node);
            let mut missing = BTreeSet::new();
            for other in others {
                match self.loopbacks.get(other) {
                    Some(addresses) => missing.extend(addresses.iter().filter(|to| !is_covered(to)).copied()),
                    None => return Ok(Answer::Instead(format!("{other} has no address of its own on lo"))),
                }
            }
            if !missing.is_empty() {
                let (had, all) = (count, each.nodes.len());
                let missing = names(&missing);
                return Ok(Answer::Instead(format!("{had} of {all} do; {node} has no route to {missing}")));
            }
            self.settled.borrow_mut().insert(name.to_owned(), count + 1);
        }
        Ok(Answer::Holds)
    }

    fn command(&self, at: &str, run: &[String], says: &[String], lacks: &[String]) -> io::Result<Answer> {
        let (succeeded, output) = self.plant.run(at, run)?;
        let output = flat(&output);
        let missing = says.iter().find(|text| !output.contains(*text)).map(|text| format!("no `{text}`"));
        let surplus = || lacks.iter().find(|text| output.contains(*text)).map(|text| format!("there is `{text}`"));
        let failed = || (!succeeded).then(|| "it failed".to_owned());
        Ok(match missing.or_else(surplus).or_else(failed) {
            None => Answer::Holds,
            Some(wrong) => Answer::Instead(format!("{wrong} in: {}", excerpt(&output))),
        })
    }

    fn absent(&self, at: &str, prefix: IpNet) -> io::Result<Answer> {
        let there = self.learnt(at)?.iter().any(|route| route.prefix == prefix);
        Ok(if there { Answer::Instead(format!("the kernel has {prefix}")) } else { Answer::Holds })
    }

    fn ping(&self, from: &str, to: &str, loss: u8) -> io::Result<Answer> {
        // one at the edge is no way for anybody's packets
        let links = self.plant.links();
        let is_between = |node: &str| links.iter().flatten().filter(|end| end.0 == node).count() > 1;
        let nodes = self.plant.nodes();
        if let Some(blind) = nodes.iter().find(|node| is_between(node) && self.no_kernel_routes(node).is_some()) {
            let what = self.plant.personality(blind);
            return Ok(Answer::CannotAsk(format!(
                "{blind} runs {what}, which forwards nothing: equal paths lose packets"
            )));
        }
        let open = |node: &str, address: SocketAddr| udp(self.plant, node, address);
        let (back, sent) = probe::ping(&open, &self.end(from)?, &self.end(to)?)?;
        let lost = sent.saturating_sub(back);
        Ok(if lost * 100 <= u64::from(loss) * sent {
            Answer::Holds
        } else {
            Answer::Instead(format!("{lost} of {sent} datagrams lost"))
        })
    }

    /// GoBGP, and OpenBGPD on Linux, have no forwarding table: nothing can be read in their kernel.
    fn no_kernel_routes(&self, at: &str) -> Option<Answer> {
        let personality: Personality = self.plant.personality(at).parse().ok()?;
        let is_blind = personality != Personality::Plain && !personality.has_kernel_routes();
        is_blind.then(|| Answer::CannotAsk(format!("{personality} keeps no kernel routes")))
    }

    /// The nodes that these next hops lead to, each with its weight: owner of the gateway's address, else whoever is at the link's far
    /// end.
    fn next_nodes(&self, at: &str, hops: &BTreeSet<KernelHop>) -> io::Result<BTreeMap<String, u16>> {
        let links = kernel::links(self.netlink(at)?)?;
        let mut nodes: BTreeMap<String, u16> = BTreeMap::new();
        for hop in hops {
            let owner = hop.gateway.and_then(|gateway| self.owners.get(&gateway));
            let interface = links.iter().find(|(_, link)| link.index == hop.link).map(|(name, _)| name.clone());
            let interface = interface.unwrap_or_default();
            let far_end = || self.far_ends.get(&(at.to_owned(), interface.clone()));
            let name = owner.or_else(far_end).cloned().unwrap_or_else(|| format!("?{interface}"));
            *nodes.entry(name).or_default() += hop.weight;
        }
        Ok(nodes)
    }
}

/// As much of an output as a reader of a report wants.
fn excerpt(output: &str) -> String {
    output.char_indices().nth(EXCERPT).map_or_else(|| output.to_owned(), |(end, _)| format!("{} …", &output[..end]))
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local() || address == Ipv4Addr::UNSPECIFIED,
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}
