//! The rules, one function for each subject.

use super::{Finding, Report, Severity, System};
use crate::api::Certificate;
use crate::config::{NodeConfig, Role};
use crate::health::EXPIRES_SOON;
use weft_bgp::peer::Endpoint;

/// Least sizes of the kernel's neighbour tables: soft limit, and the one beyond which neighbours are refused. A rack has dozens of
/// neighbours; a switch, or a host with containers, has thousands, and the kernel's own 1,024 for all namespaces together is few.
const NEIGHBOURS: [(&str, u32); 3] = [("gc_thresh1", 1_024), ("gc_thresh2", 4_096), ("gc_thresh3", 8_192)];

/// A walk through the settings.
pub(super) struct Visit<'a> {
    config: &'a NodeConfig,
    system: &'a dyn System,
    /// Interfaces with a peer on them that are there, in the order of the configuration.
    uplinks: Vec<String>,
    pub(super) report: Report,
}

/// What is to be said about a setting that is not as it should be.
struct Wanted<'a> {
    severity: Severity,
    wanted: &'a str,
    fix: Option<&'a str>,
    why: &'a str,
}

impl<'a> Visit<'a> {
    pub(super) fn new(config: &'a NodeConfig, system: &'a dyn System) -> Self {
        let all = system.interfaces();
        let declared = config.peers.iter().filter_map(|peer| match &peer.endpoint {
            Endpoint::Interface(name) => Some(name.clone()),
            Endpoint::Address(_) => None,
        });
        let uplinks = declared.filter(|name| all.contains(name)).collect();
        Self { config, system, uplinks, report: Report::default() }
    }

    /// Looks at a number; what is not `good` is found.
    fn number(&mut self, name: &str, good: impl Fn(u32) -> bool, wanted: &Wanted<'_>) {
        let Some(text) = self.system.setting(name) else {
            self.report.unseen.push(name.to_owned());
            return;
        };
        let found = text.trim();
        if found.parse().is_ok_and(good) {
            self.report.right += 1;
            return;
        }
        let remedy = match wanted.fix {
            Some(value) => format!("sysctl -w {name}={value}"),
            None => format!("set {name} to {}", wanted.wanted),
        };
        self.report.findings.push(Finding {
            severity: wanted.severity,
            subject: name.to_owned(),
            found: found.to_owned(),
            wanted: wanted.wanted.to_owned(),
            why: wanted.why.to_owned(),
            remedy,
            fix: wanted.fix.map(str::to_owned),
        });
    }

    fn value(&self, name: &str) -> u32 {
        self.system.setting(name).and_then(|text| text.trim().parse().ok()).unwrap_or(0)
    }

    /// Whether it passes on packets of others.
    fn is_router(&self) -> bool {
        matches!(self.config.role, Some(Role::Tor | Role::Spine | Role::Border))
    }

    pub(super) fn forwarding(&mut self) {
        let pods = !self.config.import.kernel.is_empty() || !self.config.import.connected.is_empty();
        if !self.is_router() && !pods {
            return;
        }
        let why = if self.is_router() {
            "this role forwards packets of others, and the kernel drops them"
        } else {
            "networks behind this machine are announced, and the kernel drops what is sent to them"
        };
        let wanted = Wanted { severity: Severity::Fault, wanted: "1", fix: Some("1"), why };
        for name in ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"] {
            self.number(name, |value| value == 1, &wanted);
        }
    }

    pub(super) fn uplinks(&mut self) {
        let several = self.uplinks.len() > 1;
        for link in self.uplinks.clone() {
            let [v4, v6] = ["ipv4", "ipv6"].map(|family| format!("net.{family}.conf.{link}"));
            self.reverse_path(&v4, several);
            let wanted = Wanted {
                severity: Severity::Fault,
                wanted: "0",
                fix: Some("0"),
                why: "an unnumbered peer is found and spoken to by its IPv6 link-local address",
            };
            self.number(&format!("{v6}.disable_ipv6"), |value| value == 0, &wanted);
            self.router_advertisements(&v6);
            self.duplicates(&v6);
        }
    }

    /// The greater of `all` and the interface's own counts (ip-sysctl.rst).
    fn reverse_path(&mut self, conf: &str, several: bool) {
        if !several && !self.is_router() {
            return;
        }
        let all = self.value("net.ipv4.conf.all.rp_filter");
        let wanted = Wanted {
            severity: Severity::Fault,
            wanted: "0 or 2",
            fix: Some("2"),
            why: "packets come in by any uplink, whichever the way back is: the strict filter drops those that do not come by the best one",
        };
        self.number(&format!("{conf}.rp_filter"), |own| own.max(all) != 1, &wanted);
    }

    /// 1 is obeyed only where nothing is forwarded, 2 always (ip-sysctl.rst).
    fn router_advertisements(&mut self, conf: &str) {
        let forwards = self.value(&format!("{conf}.forwarding")) == 1;
        let wanted = Wanted {
            severity: Severity::Advice,
            wanted: "0",
            fix: Some("0"),
            why: "whoever sends router advertisements on this link becomes a default router, with a route (metric 1024) and addresses that \
                  nobody planned; neighbours are found by the daemon's own socket",
        };
        self.number(&format!("{conf}.accept_ra"), |value| value == 0 || (value == 1 && forwards), &wanted);
    }

    fn duplicates(&mut self, conf: &str) {
        let optimistic = self.value(&format!("{conf}.optimistic_dad")) == 1;
        let wanted = Wanted {
            severity: Severity::Advice,
            wanted: "0, or optimistic_dad and use_optimistic 1",
            fix: Some("0"),
            why: "for a second or two after the link comes up its link-local address may not be used, and there is no session; on a link \
                  between two machines there are no duplicates to be found",
        };
        self.number(&format!("{conf}.accept_dad"), |value| value == 0 || optimistic, &wanted);
    }

    pub(super) fn hashing(&mut self) {
        if self.config.peers.len() + self.config.dynamic.len() < 2 {
            return;
        }
        let wanted = Wanted {
            severity: Severity::Advice,
            wanted: "1",
            fix: Some("1"),
            why: "with policy 0 all flows between two machines take one of the equal paths; 1 looks at ports too",
        };
        for family in ["ipv4", "ipv6"] {
            self.number(&format!("net.{family}.fib_multipath_hash_policy"), |value| (1..=3).contains(&value), &wanted);
        }
        if self.is_router() {
            // Any number of its own will do, and this one is.
            let seed = self.config.speaker.router_id.to_bits().max(1).to_string();
            let wanted = Wanted {
                severity: Severity::Advice,
                wanted: "a number of its own",
                fix: Some(&seed),
                why: "0 takes the seed of the boot, which all namespaces of a kernel share: tiers with one seed choose alike and leave links \
                      empty. On a machine of its own that seed is its own, and this does not matter",
            };
            self.number("net.ipv4.fib_multipath_hash_seed", |value| value != 0, &wanted);
        }
    }

    pub(super) fn neighbour_tables(&mut self) {
        for family in ["ipv4", "ipv6"] {
            for (name, least) in NEIGHBOURS {
                let text = least.to_string();
                let wanted = Wanted {
                    severity: if name == "gc_thresh3" { Severity::Fault } else { Severity::Advice },
                    wanted: &format!("{least} or more"),
                    fix: Some(&text),
                    why: "beyond these limits neighbours are forgotten, and then refused (\"neighbour table overflow\"): packets to \
                          machines that answer are lost",
                };
                self.number(&format!("net.{family}.neigh.default.{name}"), |value| value >= least, &wanted);
            }
        }
    }

    pub(super) fn mtus(&mut self) {
        let mtus = self.uplinks.iter().filter_map(|link| Some((link.clone(), self.system.mtu(link)?)));
        let mtus: Vec<(String, u32)> = mtus.collect();
        let (Some(least), Some(most)) =
            (mtus.iter().map(|(_, mtu)| *mtu).min(), mtus.iter().map(|(_, mtu)| *mtu).max())
        else {
            return;
        };
        if least == most {
            self.report.right += 1;
            return;
        }
        for (link, mtu) in mtus.into_iter().filter(|(_, mtu)| *mtu < most) {
            self.report.findings.push(Finding {
                severity: Severity::Fault,
                subject: format!("mtu of {link}"),
                found: mtu.to_string(),
                wanted: most.to_string(),
                why: "equal paths must carry equal packets: flows that are hashed to this link lose what fits on the others".to_owned(),
                remedy: format!("ip link set {link} mtu {most}, here and at the far end, or less on the others"),
                fix: None,
            });
        }
    }

    /// Addresses on `lo` are routed to; nobody asks for them by ARP.
    pub(super) fn addresses(&mut self) {
        if self.config.addresses.is_empty() && self.config.vips.is_empty() {
            return;
        }
        let severity = if self.config.vips.is_empty() { Severity::Advice } else { Severity::Fault };
        let why = "on a segment with other machines this one answers ARP for the addresses of lo, on whichever interface it is asked; with \
                   a service address every origin would answer, and whoever asked keeps one of them whatever BGP says";
        let announce =
            "asking for a neighbour with an address of lo as the sender puts that into the neighbour's table";
        for (name, least, why) in [("arp_ignore", 1, why), ("arp_announce", 2, announce)] {
            let all = self.value(&format!("net.ipv4.conf.all.{name}"));
            for link in self.arp_links() {
                let fix = least.to_string();
                let wanted = Wanted { severity, wanted: &format!("{least} or more"), fix: Some(&fix), why };
                self.number(&format!("net.ipv4.conf.{link}.{name}"), |own| own.max(all) >= least, &wanted);
            }
        }
    }

    /// A service address is on `lo` only while its service is well.
    pub(super) fn services(&mut self) {
        if self.config.vips.is_empty() {
            return;
        }
        for socket in self.system.listeners() {
            let vips = self.config.vips.iter();
            if !vips.flat_map(|vip| &vip.addresses).any(|net| net.addr() == socket.address.ip()) {
                continue;
            }
            let family = if socket.address.is_ipv4() { "ipv4" } else { "ipv6" };
            let setting = format!("net.{family}.ip_nonlocal_bind");
            if socket.is_free || self.value(&setting) == 1 {
                self.report.right += 1;
                continue;
            }
            self.report.findings.push(Finding {
                severity: Severity::Advice,
                subject: format!("{} socket at {}", if socket.is_udp { "UDP" } else { "TCP" }, socket.address),
                found: "bound without IP_FREEBIND".to_owned(),
                wanted: "IP_FREEBIND".to_owned(),
                why: "a service address is on lo only while its service is well: a service that must find it there when it starts does \
                      not come back by itself"
                    .to_owned(),
                remedy: format!(
                    "have the service bind with IP_FREEBIND (HAProxy: `transparent`; systemd sockets: `FreeBind=yes`) or to the \
                     unspecified address, or `sysctl -w {setting}=1`"
                ),
                fix: None,
            });
        }
    }

    /// Without Landlock the daemon runs all the same, with less given up.
    pub(super) fn sandbox(&mut self) {
        match self.system.has_landlock().filter(|_| self.config.sandbox.landlock) {
            None => {}
            Some(true) => self.report.right += 1,
            Some(false) => self.report.findings.push(Finding {
                severity: Severity::Advice,
                subject: "Landlock".to_owned(),
                found: "not in this kernel, or switched off".to_owned(),
                wanted: "CONFIG_SECURITY_LANDLOCK (Linux 5.13), and `landlock` among the modules of `lsm=`".to_owned(),
                why: "the daemon can open every file that its user can".to_owned(),
                remedy: "boot a kernel that has it; `sandbox: {landlock: false}` accepts that".to_owned(),
                fix: None,
            }),
        }
    }

    /// Nobody connects to `api.remote` with a certificate that has expired, and the daemon does not start with files it cannot use.
    pub(super) fn certificate(&mut self) {
        let Some(remote) = &self.config.api.remote else { return };
        let finding = |severity, found: String, remedy: &str| Finding {
            severity,
            subject: "certificate of `api.remote`".to_owned(),
            found,
            wanted: format!("good for {} days or longer", EXPIRES_SOON.as_secs() / 86_400),
            why: "other machines cannot ask the daemon".to_owned(),
            remedy: remedy.to_owned(),
            fix: None,
        };
        let renew = "renew it; a running daemon reads the files again by itself";
        let found = match self.system.certificate(remote) {
            None => return,
            Some(Err(error)) => {
                let (why, remedy) = error.split_once("\n  remedy: ").unwrap_or((&error, renew));
                finding(Severity::Fault, why.to_owned(), remedy)
            }
            Some(Ok(Certificate { expires_in_s: Some(left @ ..0), .. })) => {
                let since = crate::show::duration(left.unsigned_abs());
                finding(Severity::Fault, format!("expired {since} ago"), renew)
            }
            Some(Ok(Certificate { expires_in_s: Some(left), .. })) if left.unsigned_abs() < EXPIRES_SOON.as_secs() => {
                finding(Severity::Advice, format!("expires in {}", crate::show::duration(left.unsigned_abs())), renew)
            }
            Some(Ok(_)) => {
                self.report.right += 1;
                return;
            }
        };
        self.report.findings.push(found);
    }

    /// Every interface but `lo` when peers are spoken to by address, for then there are segments; only declared ones otherwise.
    fn arp_links(&self) -> Vec<String> {
        let by_address = self.config.peers.iter().any(|peer| matches!(peer.endpoint, Endpoint::Address(_)));
        if !by_address && self.config.dynamic.is_empty() {
            return self.uplinks.clone();
        }
        self.system.interfaces().into_iter().filter(|name| name != "lo").collect()
    }
}
