//! Whether packets still come: counters of links and of what is forwarded, as the kernel writes them in /proc/net, and the rate between
//! two looks.

use serde::{Deserialize, Serialize};

/// What the kernel counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// When, in milliseconds since the daemon started.
    pub at_ms: u64,
    /// Packets passed on for others, both families.
    pub forwarded_packets: Option<u64>,
    /// Of each link.
    pub interfaces: Vec<LinkTraffic>,
}

/// What passed a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkTraffic {
    /// Its name.
    pub name: String,
    /// Packets that came.
    pub received_packets: u64,
    /// Packets that went.
    pub sent_packets: u64,
}

impl Traffic {
    /// Packets of a link, both ways.
    fn of(&self, link: &str) -> Option<u64> {
        let found = self.interfaces.iter().find(|one| one.name == link)?;
        Some(found.received_packets.saturating_add(found.sent_packets))
    }

    /// Packets a second since an earlier look: of a link, or of all that is forwarded. `None` where nobody counted.
    #[must_use]
    pub fn rate(&self, before: &Self, link: Option<&str>) -> Option<u64> {
        let (from, to) = match link {
            Some(link) => (before.of(link)?, self.of(link)?),
            None => (before.forwarded_packets?, self.forwarded_packets?),
        };
        let millis = self.at_ms.checked_sub(before.at_ms).filter(|millis| *millis > 0)?;
        Some(to.saturating_sub(from).saturating_mul(1_000) / millis)
    }
}

/// Counters of links, from /proc/net/dev (proc_pid_net(5)): name, then eight numbers received and eight sent, packets second.
#[must_use]
pub fn links(dev: &str) -> Vec<LinkTraffic> {
    let lines = dev.lines().filter_map(|line| {
        let (name, numbers) = line.split_once(':')?;
        let mut numbers = numbers.split_whitespace().map(str::parse::<u64>);
        let received_packets = numbers.nth(1)?.ok()?;
        let sent_packets = numbers.nth(7)?.ok()?;
        Some(LinkTraffic { name: name.trim().to_owned(), received_packets, sent_packets })
    });
    lines.filter(|link| link.name != "lo").collect()
}

/// Packets passed on, from /proc/net/snmp (two lines for each protocol: names, numbers) and /proc/net/snmp6 (a name and a number in
/// each line).
#[must_use]
pub fn forwarded(snmp: &str, snmp6: &str) -> Option<u64> {
    let mut ip = snmp.lines().filter(|line| line.starts_with("Ip:"));
    let (names, numbers) = (ip.next()?, ip.next()?);
    let place = names.split_whitespace().position(|name| name == "ForwDatagrams")?;
    let v4: u64 = numbers.split_whitespace().nth(place)?.parse().ok()?;
    // Without IPv6 there is no such file.
    let v6 = snmp6.lines().find_map(|line| line.strip_prefix("Ip6OutForwDatagrams")?.trim().parse::<u64>().ok());
    Some(v4.saturating_add(v6.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEV: &str = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     100       7    0    0    0     0          0         0      100       7    0    0    0     0       0          0
  eth1: 5000000    4000    0    0    0     0          0         0  9000000    6000    0    0    0     0       0          0
";

    #[test]
    fn counters_are_read_as_the_kernel_writes_them() {
        let eth1 = LinkTraffic { name: "eth1".to_owned(), received_packets: 4_000, sent_packets: 6_000 };
        assert_eq!(links(DEV), [eth1]);
        let snmp = "Ip: Forwarding DefaultTTL InReceives ForwDatagrams InUnknownProtos\nIp: 1 64 900 700 0\nIcmp: x\nIcmp: 1\n";
        let snmp6 = "Ip6InReceives                   \t50\nIp6OutForwDatagrams             \t30\n";
        assert_eq!(forwarded(snmp, snmp6), Some(730));
        assert_eq!(
            (forwarded(snmp, ""), forwarded("Ip: a\nIp: 1\n", snmp6), forwarded("", "")),
            (Some(700), None, None)
        );
    }

    #[test]
    fn a_rate_is_of_the_time_between_two_looks() {
        let before = Traffic { at_ms: 1_000, forwarded_packets: Some(10), interfaces: links(DEV) };
        let mut after = Traffic { at_ms: 1_500, forwarded_packets: Some(60), interfaces: links(DEV) };
        after.interfaces[0].sent_packets += 1_000;
        assert_eq!((after.rate(&before, Some("eth1")), after.rate(&before, None)), (Some(2_000), Some(100)));
        assert_eq!((after.rate(&before, Some("eth9")), after.rate(&after, None)), (None, None));
    }
}
