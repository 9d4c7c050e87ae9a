//! The file of `weft-netboot serve`: which store, and where it answers to whom. Strict: an unknown key is refused with line and field.

use serde::Deserialize;
use std::net::SocketAddr;
use std::path::PathBuf;

/// The whole file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where everything is kept.
    pub store: StoreConfig,
    /// Unix socket for who is on this machine; its permissions say who may, and whoever may is an administrator.
    #[serde(default = "default_socket")]
    pub socket: PathBuf,
    /// For others, with certificates of both sides; nobody else unless set.
    pub https: Option<Https>,
    /// The web page for people at this machine, without certificates and for reading alone: a loopback address; nowhere unless set.
    #[serde(default, deserialize_with = "loopback")]
    pub web: Option<SocketAddr>,
    /// Where machines without a certificate may say that they are there, without TLS; nowhere unless set.
    pub enrol: Option<SocketAddr>,
    /// Judges machines by the routes that the `weft daemon` of this server knows; nobody does unless set.
    pub liveness: Option<crate::liveness::Rules>,
    /// Gives machines addresses, and tells them what to boot; nobody unless set.
    pub dhcp: Option<crate::dhcp::v4::rules::Rules>,
    /// The same by DHCPv6.
    pub dhcp6: Option<crate::dhcp::v6::rules::Rules>,
    /// Keeps halves of disk keys, for machines that show by their TPM what they booted; nobody does unless set.
    pub disk_keys: Option<crate::keys::policy::Rules>,
    /// Serves machines what they boot; nobody unless set.
    pub boot: Option<crate::boot::rules::Rules>,
    /// Speaks to management controllers; nobody does unless set.
    pub bmc: Option<crate::bmc::rules::Rules>,
}

fn loopback<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<SocketAddr>, D::Error> {
    let read = Option::<SocketAddr>::deserialize(deserializer)?;
    match read {
        Some(address) if !address.ip().is_loopback() => Err(serde::de::Error::custom(format!(
            "`{address}` can be reached from elsewhere, and it asks for no certificate: write 127.0.0.1:10080; `https` serves the page too"
        ))),
        Some(_) | None => Ok(read),
    }
}

/// One of two.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreConfig {
    /// A file of this server alone.
    Embedded(PathBuf),
    /// A cluster that several boot servers share.
    Etcd(EtcdConfig),
}

/// Where etcd is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EtcdConfig {
    /// Its members.
    pub endpoints: Vec<String>,
    /// What is ours in it.
    #[serde(default = "default_prefix")]
    pub prefix: String,
    /// PEM file with the authority of its members' certificates.
    pub ca: Option<PathBuf>,
    /// PEM file with our certificate.
    pub cert: Option<PathBuf>,
    /// PEM file with its key.
    pub key: Option<PathBuf>,
}

/// The server for others.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Https {
    /// Addresses and ports.
    pub listen: Vec<SocketAddr>,
    /// PEM file with our certificate and those between it and its authority.
    pub cert: PathBuf,
    /// PEM file with its key.
    pub key: PathBuf,
    /// PEM file with the authorities of clients.
    pub client_ca: PathBuf,
    /// Trust domain of clients' identities: `spiffe://TRUST_DOMAIN/weft/ROLE/NAME`.
    #[serde(default = "default_trust_domain")]
    pub trust_domain: String,
}

fn default_socket() -> PathBuf {
    PathBuf::from("/run/weft/netboot.sock")
}

fn default_prefix() -> String {
    "/weft".to_owned()
}

fn default_trust_domain() -> String {
    "weft".to_owned()
}

/// Reads YAML (or JSON); `file` is only for messages.
///
/// # Errors
/// One line with file, line, column, field and what is wrong.
pub fn parse<T: serde::de::DeserializeOwned>(file: &str, text: &str) -> Result<T, String> {
    let mut field = String::new();
    let read: Result<T, serde_saphyr::Error> = serde_saphyr::with_deserializer_from_str(text, |deserializer| {
        serde_path_to_error::deserialize(deserializer).map_err(|error| {
            field = error.path().to_string();
            error.into_inner()
        })
    });
    read.map_err(|error| {
        let full = error.without_snippet().render_with_formatter(&serde_saphyr::UserMessageFormatter);
        let message = full.rsplit_once(" at line ").map_or(full.as_str(), |(message, _)| message).to_owned();
        let at = error.location().map(|at| format!("{}:{}: ", at.line(), at.column())).unwrap_or_default();
        let field = field.trim_matches(['.', '?']);
        let field = if field.is_empty() { String::new() } else { format!("{field}: ") };
        format!("{file}:{at}{field}{message}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read() {
        let text = "store: {embedded: /var/lib/weft/inventory.redb}\nhttps: {listen: ['[::]:10443'], cert: a, key: b, client_ca: c}\n";
        let config: Config = parse("f", text).unwrap();
        assert_eq!(config.store, StoreConfig::Embedded("/var/lib/weft/inventory.redb".into()));
        assert_eq!(config.socket, PathBuf::from("/run/weft/netboot.sock"));
        assert_eq!(config.https.unwrap().trust_domain, "weft");
        let config: Config = parse("f", "store: {etcd: {endpoints: ['http://10.69.0.3:2379']}}").unwrap();
        assert!(matches!(config.store, StoreConfig::Etcd(etcd) if etcd.prefix == "/weft"));
    }

    #[test]
    fn slips_name_line_and_field() {
        let error = parse::<Config>("netboot.yaml", "store:\n  etcd:\n    endpoint: []\n").unwrap_err();
        assert!(error.starts_with("netboot.yaml:3:5: store.etcd"), "{error}");
        assert!(error.contains("unknown field `endpoint`"), "{error}");
        assert_eq!(parse::<Config>("f", "store: {embedded: x}\nweb: '[::1]:80'").unwrap().web, "[::1]:80".parse().ok());
        let open = parse::<Config>("f", "store: {embedded: x}\nweb: 0.0.0.0:80").unwrap_err();
        assert!(open.contains("can be reached from elsewhere"), "{open}");
        assert!(parse::<Config>("f", "store: {file: x}").unwrap_err().contains("unknown variant `file`"));
    }
}
