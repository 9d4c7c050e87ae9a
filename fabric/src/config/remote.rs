//! `api.remote`: the API for other machines, with certificates of both sides. What a certificate permits its holder is `api/access`'s.

use super::file::Config;
use super::node::Faults;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Most addresses to listen at.
const LISTEN_MAX: usize = 8;
/// Longest trust domain (SPIFFE-ID §2.1).
const TRUST_DOMAIN_MAX: usize = 255;

/// `api.remote` as written.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Remote {
    /// Addresses with ports; `[::]` takes IPv4 too.
    pub listen: Vec<SocketAddr>,
    /// PEM file with our certificate and those between it and its authority.
    pub cert: PathBuf,
    /// PEM file with its key.
    pub key: PathBuf,
    /// PEM file with the authorities that sign certificates of clients.
    pub client_ca: PathBuf,
    /// The trust domain in those certificates; default `weft`.
    pub trust_domain: Option<String>,
}

/// The same with its defaults.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteConfig {
    /// Where it listens; one address at least.
    pub listen: Vec<SocketAddr>,
    /// Our certificate.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Who signs certificates of clients.
    pub client_ca: PathBuf,
    /// In their names.
    pub trust_domain: String,
}

/// The section with its defaults.
pub(super) fn remote(config: &Config, http: Option<SocketAddr>, faults: &mut Faults<'_>) -> Option<RemoteConfig> {
    let written = config.api.remote.as_ref()?;
    let wanted = "write addresses with ports, as [\"[::]:9180\"]";
    if written.listen.is_empty() {
        faults.add("api.remote.listen", "nobody could connect", wanted);
    }
    if written.listen.len() > LISTEN_MAX {
        let message = format!("{} addresses", written.listen.len());
        faults.add("api.remote.listen", message, format!("write {LISTEN_MAX} at most; [::] means all of the machine"));
    }
    for (index, address) in written.listen.iter().enumerate() {
        let field = format!("api.remote.listen[{index}]");
        if address.port() == 0 {
            faults.add(&field, format!("{address} has no port"), wanted);
        } else if Some(*address) == http {
            faults.add(&field, format!("{address} is that of `api.http`"), "write another port");
        } else if written.listen.iter().take(index).any(|other| other == address) {
            faults.add(&field, format!("{address} is there twice"), "keep one");
        }
    }
    let trust_domain = written.trust_domain.clone().unwrap_or_else(|| "weft".to_owned());
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | '_');
    if !(1..=TRUST_DOMAIN_MAX).contains(&trust_domain.len()) || !trust_domain.chars().all(fits) {
        let message = format!("`{}` is no trust domain", trust_domain.chars().take(64).collect::<String>());
        faults.add(
            "api.remote.trust_domain",
            message,
            "write small letters, digits, `.`, `-` and `_`, as in dc1.example",
        );
    }
    Some(RemoteConfig {
        listen: written.listen.clone(),
        cert: written.cert.clone(),
        key: written.key.clone(),
        client_ca: written.client_ca.clone(),
        trust_domain,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn read(remote: &str) -> Result<RemoteConfig, String> {
        let text = format!("asn: 1\nrouter_id: 10.0.0.1\napi:\n  remote: {{{remote}}}\n");
        let node = config::parse("t", &text).and_then(|config| config.node());
        node.map(|node| node.api.remote.unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_section_has_defaults_and_is_off_unless_written() {
        let node = config::parse("t", "asn: 1\nrouter_id: 10.0.0.1\n").and_then(|config| config.node()).unwrap();
        assert_eq!(node.api.remote, None);
        let read = read("listen: ['[::]:9180'], cert: a, key: b, client_ca: c").unwrap();
        assert_eq!((read.listen[0].port(), read.trust_domain.as_str()), (9_180, "weft"));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_remedy() {
        for (written, said) in [
            (
                "listen: [], cert: a, key: b, client_ca: c",
                "t:4:20: api.remote.listen: nobody could connect\n  remedy: write addresses",
            ),
            ("listen: ['[::]:0'], cert: a, key: b, client_ca: c", "api.remote.listen[0]: [::]:0 has no port"),
            ("listen: ['127.0.0.1:9179'], cert: a, key: b, client_ca: c", "127.0.0.1:9179 is that of `api.http`"),
            (
                "listen: ['[::]:1', '[::]:1'], cert: a, key: b, client_ca: c",
                "api.remote.listen[1]: [::]:1 is there twice",
            ),
            ("listen: ['[::]:1'], cert: a, key: b, client_ca: c, trust_domain: A/b", "`A/b` is no trust domain"),
            (
                "listen: ['[::]:1'], key: b, client_ca: c",
                "missing field `cert`\n  remedy: add `cert:` under `api.remote`",
            ),
            ("listen: ['9180'], cert: a, key: b, client_ca: c", "remedy: write an address with its port"),
            ("listen: ['[::]:1'], certificate: a, key: b, client_ca: c", "remedy: did you mean `cert`?"),
        ] {
            let error = read(written).unwrap_err();
            assert!(error.contains(said), "{written}: {error}");
        }
    }
}
