//! What protects the TCP connections of peers: TCP-MD5 (RFC 2385) or TCP-AO (RFC 5925). Keys stand in files of their own, so that the
//! configuration can be shown to anybody; they are read by `io/auth`, at the start and at every reload.

use super::node::Faults;
use serde::Deserialize;
use std::net::IpAddr;
use std::path::PathBuf;
use weft_bgp::types::IpNet;

/// Whose connections a key is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The peer at an address.
    Address(IpAddr),
    /// Whoever connects from a range of `listen`.
    Range(IpNet),
    /// Whoever is at the other end of an unnumbered link.
    Interface(String),
}

/// How segments are signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    /// TCP-MD5 with the password in this file.
    Md5(PathBuf),
    /// TCP-AO.
    Ao(TcpAo),
}

impl Method {
    /// The file with the key.
    #[must_use]
    pub const fn file(&self) -> &PathBuf {
        match self {
            Self::Md5(file) => file,
            Self::Ao(ao) => &ao.key_file,
        }
    }
}

/// One key of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protection {
    /// For whom.
    pub place: Place,
    /// How.
    pub method: Method,
    /// The field that says so, for errors.
    pub field: String,
}

/// `tcp_ao` of a peer: one master key tuple (RFC 5925 §3.1).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TcpAo {
    /// File with the master key.
    pub key_file: PathBuf,
    /// KeyID of what we send.
    pub send_id: u8,
    /// KeyID of what we receive.
    pub receive_id: u8,
    /// Key derivation and MAC (RFC 5926 §3).
    #[serde(default)]
    pub algorithm: AoAlgorithm,
}

/// Algorithms that every implementation of TCP-AO has (RFC 5926 §3.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AoAlgorithm {
    /// HMAC-SHA-1-96.
    #[default]
    #[serde(rename = "hmac-sha-1-96")]
    HmacSha1,
    /// AES-128-CMAC-96.
    #[serde(rename = "aes-128-cmac-96")]
    Aes128Cmac,
}

/// The one method of a peer, at most.
pub(super) fn method(
    password_file: Option<PathBuf>,
    tcp_ao: Option<TcpAo>,
    path: &str,
    faults: &mut Faults<'_>,
) -> Option<Method> {
    if password_file.is_some() && tcp_ao.is_some() {
        faults.add(
            &format!("{path}.tcp_ao"),
            "a connection is signed with TCP-MD5 or with TCP-AO, not both",
            "keep `tcp_ao` where both ends have it, `password_file` otherwise",
        );
    }
    password_file.map(Method::Md5).or_else(|| tcp_ao.map(Method::Ao))
}
