//! A configuration as text: the form in which people write them, so that what is generated and what is in a repository can be compared.

use super::generate::{Document, PeerLine, PeerPlace, RuleLine};
use std::fmt;

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# {}. Generated from the inventory: changes here are lost.", self.comment)?;
        writeln!(f, "role: {}", self.role)?;
        if let Some(hostname) = &self.hostname {
            writeln!(f, "hostname: {}", quoted(hostname))?;
        }
        writeln!(f, "asn: {}", self.asn)?;
        if let Some(id) = self.router_id {
            writeln!(f, "router_id: {id}   # as before, while addresses are changed: no session ends by it")?;
        }
        writeln!(f, "addresses: {}", list(&self.addresses))?;
        if !self.uplinks.is_empty() {
            writeln!(f, "uplinks: {}", list(&self.uplinks))?;
        }
        if !self.peers.is_empty() {
            writeln!(f, "peers:")?;
            for (name, peer) in &self.peers {
                writeln!(f, "  {}: {}", quoted(name), peer_line(peer))?;
            }
        }
        self.write_servers(f)?;
        self.write_policy(f)?;
        if !self.unreachable.is_empty() {
            writeln!(
                f,
                "fib:\n  unreachable: {}   # a dead machine's address must not follow the default route",
                list(&self.unreachable)
            )?;
        }
        Ok(())
    }
}

impl Document {
    fn write_servers(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(servers) = &self.servers else {
            return Ok(());
        };
        let max = servers.max_prefixes;
        writeln!(
            f,
            "groups:\n  servers: {{route_reflector_client: true, max_prefixes: {max}, import: plan}}\nlisten:"
        )?;
        for network in &servers.networks {
            let (network, asn) = (quoted(&network.to_string()), servers.asn);
            writeln!(f, "  - {{prefix: {network}, remote_asn: {asn}, group: servers, limit: {}}}", servers.limit)?;
        }
        Ok(())
    }

    fn write_policy(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.role != "tor" {
            return Ok(());
        }
        if self.rules.is_empty() {
            return writeln!(f, "policy:\n  plan: [{{then: reject}}]   # no machine is registered here");
        }
        writeln!(f, "policy:\n  sets:")?;
        for (name, ranges) in &self.sets {
            writeln!(f, "    {}: {}", quoted(name), list(ranges))?;
        }
        writeln!(f, "  plan:   # what each machine may announce; everything else is refused and counted")?;
        for rule in &self.rules {
            match rule {
                RuleLine::RefuseMarks(asn) => {
                    writeln!(f, "    - {{match: {{large_community: \"{asn}:*:*\"}}, then: reject}}   # a forged role")?;
                }
                RuleLine::Accept { peer, set, marks } => {
                    let then = if marks.is_empty() {
                        "accept".to_owned()
                    } else {
                        let marks: Vec<String> = marks.iter().map(|mark| format!("\"{mark}\"")).collect();
                        format!("{{add: {{large_communities: [{}]}}, do: accept}}", marks.join(", "))
                    };
                    writeln!(f, "    - {{match: {{peer: {}, prefix: {}}}, then: {then}}}", quoted(peer), quoted(set))?;
                }
            }
        }
        Ok(())
    }
}

fn peer_line(peer: &PeerLine) -> String {
    let place = match &peer.place {
        PeerPlace::Address(address) => format!("address: {}", quoted(&address.to_string())),
        PeerPlace::Interface(interface) => format!("interface: {}", quoted(interface)),
    };
    let plan = peer.max_prefixes.map(|max| format!(", max_prefixes: {max}, import: plan")).unwrap_or_default();
    format!("{{{place}, remote_asn: {}{plan}}}", peer.asn)
}

fn list<T: fmt::Display>(items: &[T]) -> String {
    let items: Vec<String> = items.iter().map(|item| quoted(&item.to_string())).collect();
    format!("[{}]", items.join(", "))
}

/// Quoted where YAML would read something else: colons, digits that are a number, and its own words. All texts here are of letters,
/// digits and `_.-/: `, so nothing has to be escaped.
fn quoted(text: &str) -> String {
    let word = !text.starts_with(|c: char| c.is_ascii_alphabetic());
    let address = text.contains(['.', '/']) && !text.contains(':') && text.parse::<f64>().is_err();
    let own =
        ["true", "false", "yes", "no", "on", "off", "null", "y", "n"].contains(&text.to_ascii_lowercase().as_str());
    if text.contains(':') || own || (word && !address) { format!("\"{text}\"") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn what_yaml_would_misread_is_quoted() {
        for plain in ["eth0", "cs-0-4", "10.69.0.4", "10.69.0.4/32", "10.72.32.0/20 ge 32", "switch.a"] {
            assert_eq!(quoted(plain), plain);
        }
        for other in ["fd00::1", "12", "1.5", "1e5", "no", "NULL", "4a", "0x1F"] {
            assert_eq!(quoted(other), format!("\"{other}\""));
        }
    }
}
