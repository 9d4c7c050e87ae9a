//! Keys of TCP-MD5 (RFC 2385) and TCP-AO (RFC 5925): read from their files, given to sockets. A key is never printed, nor part of any
//! answer of the API.

use super::raw::{self, TCP_AO_ADD_KEY, TCP_AO_DEL_KEY, TCP_AO_INFO, TCP_MD5SIG_EXT};
use crate::config::{AoAlgorithm, Method, NodeConfig, Place};
use crate::link::LinkInfo;
use ipnet::IpNet;

use std::fmt;
use std::io::{self, Read as _};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;

/// Longest key of either method (TCP_MD5SIG_MAXKEYLEN, TCP_AO_MAXKEYLEN).
const KEY_MAX_BYTES: usize = 80;
/// TCP_MD5SIG_FLAG_PREFIX: the key is for a whole prefix.
const MD5_PREFIX: u8 = 1;
/// Octets of the MAC in a segment (RFC 5926 §3.2: both algorithms are cut to 96 bits).
const AO_MAC_BYTES: u8 = 12;
/// `struct sockaddr_storage`.
const STORAGE_BYTES: usize = 128;

/// A key that nobody gets to see.
#[derive(Clone, PartialEq, Eq)]
struct Secret(Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// What a socket needs to speak to a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    secret: Secret,
    /// TCP-AO's identifiers and algorithm; `None` = TCP-MD5.
    ao: Option<(u8, u8, AoAlgorithm)>,
}

/// The keys of a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys(Vec<(Place, Key)>);

impl Keys {
    /// Reads every key.
    ///
    /// # Errors
    /// Field, file and remedy: a file that cannot be read, a key that is empty or too long, TCP-AO where the kernel has none.
    pub fn load(config: &NodeConfig) -> Result<Self, String> {
        let mut keys = Vec::new();
        for protection in &config.protections {
            let file = protection.method.file();
            let fault = |why: String, remedy: &str| {
                format!("{}: {}: {why}\n  remedy: {remedy}", protection.field, file.display())
            };
            let secret = read(file).map_err(|why| fault(why, "one line of 1 to 80 bytes, readable for the daemon"))?;
            let ao = match &protection.method {
                Method::Md5(_) => None,
                Method::Ao(ao) => Some((ao.send_id, ao.receive_id, ao.algorithm)),
            };
            if ao.is_some() && !kernel_has_ao() {
                let why = "this kernel has no TCP-AO (CONFIG_TCP_AO, Linux 6.7 and later)".to_owned();
                return Err(fault(why, "use `password_file` (TCP-MD5) with this peer, or another kernel"));
            }
            keys.push((protection.place.clone(), Key { secret, ao }));
        }
        Ok(Self(keys))
    }

    /// The key of a peer: its own, or that of the range it is in.
    #[must_use]
    pub fn of(&self, remote: SocketAddr, links: &[LinkInfo]) -> Option<&Key> {
        let is = |place: &Place| match (place, remote) {
            (Place::Address(address), _) => *address == remote.ip(),
            (Place::Range(_), _) => false,
            (Place::Interface(name), SocketAddr::V6(from)) => {
                from.ip().is_unicast_link_local()
                    && links.iter().any(|link| link.name == *name && link.index.0 == from.scope_id())
            }
            (Place::Interface(_), SocketAddr::V4(_)) => false,
        };
        let covers = |place: &Place| matches!(place, Place::Range(range) if range.contains(&remote.ip()));
        let own = self.0.iter().find(|(place, _)| is(place));
        own.or_else(|| self.0.iter().find(|(place, _)| covers(place))).map(|(_, key)| key)
    }

    /// What a listener on all addresses of a family needs, by prefix.
    pub fn of_family(&self, ipv6: bool) -> impl Iterator<Item = (IpNet, &Key)> {
        self.0.iter().filter_map(move |(place, key)| {
            let net = match place {
                Place::Address(address) => IpNet::from(*address),
                Place::Range(range) => *range,
                Place::Interface(_) => return None,
            };
            (net.addr().is_ipv6() == ipv6).then_some((net, key))
        })
    }

    /// Links that need a listener of their own, because link-local addresses are the same on all of them.
    pub fn of_links(&self) -> impl Iterator<Item = (&str, &Key)> {
        self.0.iter().filter_map(|(place, key)| match place {
            Place::Interface(name) => Some((name.as_str(), key)),
            Place::Address(_) | Place::Range(_) => None,
        })
    }
}

impl Key {
    /// Gives the key to a socket, for peers in a prefix; a key that is there already is replaced.
    ///
    /// # Errors
    /// What the system says; a socket takes about 960 keys (`net.core.optmem_max`).
    pub fn give(&self, socket: &impl AsFd, net: IpNet) -> io::Result<()> {
        let Some((send_id, receive_id, algorithm)) = self.ao else {
            return raw::set(socket, TCP_MD5SIG_EXT, &md5(net, &self.secret.0));
        };
        let name = match algorithm {
            AoAlgorithm::HmacSha1 => "hmac(sha1)",
            AoAlgorithm::Aes128Cmac => "cmac(aes128)",
        };
        // A key that is replaced is taken away first; there may be none.
        let _ = self.take(socket, net);
        raw::set(socket, TCP_AO_ADD_KEY, &ao_add(net, name, (send_id, receive_id), &self.secret.0))
    }

    /// Takes it away again.
    ///
    /// # Errors
    /// What the system says.
    pub fn take(&self, socket: &impl AsFd, net: IpNet) -> io::Result<()> {
        match self.ao {
            None => raw::set(socket, TCP_MD5SIG_EXT, &md5(net, &[])),
            Some((send_id, receive_id, _)) => raw::set(socket, TCP_AO_DEL_KEY, &ao_delete(net, (send_id, receive_id))),
        }
    }
}

/// Takes whatever TCP-MD5 key a socket has for these peers.
pub fn clear(socket: &impl AsFd, net: IpNet) {
    // ENOENT: it had none.
    let _ = raw::set(socket, TCP_MD5SIG_EXT, &md5(net, &[]));
}

/// One line; what follows is a slip.
fn read(path: &std::path::Path) -> Result<Secret, String> {
    let mut text = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| super::sockopt::plain(&error))?;
    let most = u64::try_from(KEY_MAX_BYTES + 2).unwrap_or(u64::MAX);
    file.take(most).read_to_end(&mut text).map_err(|error| super::sockopt::plain(&error))?;
    while text.last().is_some_and(|last| matches!(last, b'\n' | b'\r')) {
        text.pop();
    }
    match text.len() {
        0 => Err("the key is empty".to_owned()),
        1..=KEY_MAX_BYTES if text.contains(&b'\n') => Err("more than one line".to_owned()),
        1..=KEY_MAX_BYTES => Ok(Secret(text)),
        _ => Err("the key is longer than 80 bytes".to_owned()),
    }
}

/// Whether this kernel knows TCP-AO: asked of a fresh socket, which answers that it has no keys.
fn kernel_has_ao() -> bool {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    socket.is_ok_and(|socket| raw::knows(&socket, TCP_AO_INFO))
}

/// `struct sockaddr_in` or `sockaddr_in6` in the room of a `sockaddr_storage`, without port and scope.
fn storage(net: IpNet) -> [u8; STORAGE_BYTES] {
    let mut out = [0; STORAGE_BYTES];
    match net.network() {
        IpAddr::V4(address) => {
            out[..2].copy_from_slice(&family(libc::AF_INET));
            out[4..8].copy_from_slice(&address.octets());
        }
        IpAddr::V6(address) => {
            out[..2].copy_from_slice(&family(libc::AF_INET6));
            out[8..24].copy_from_slice(&address.octets());
        }
    }
    out
}

fn family(family: libc::c_int) -> [u8; 2] {
    u16::try_from(family).unwrap_or_default().to_ne_bytes()
}

/// `struct tcp_md5sig` (linux/tcp.h): storage 128, flags 1, prefix length 1, key length 2, interface 4, key 80.
fn md5(net: IpNet, key: &[u8]) -> Vec<u8> {
    let mut out = storage(net).to_vec();
    out.extend([MD5_PREFIX, net.prefix_len()]);
    out.extend(u16::try_from(key.len()).unwrap_or_default().to_ne_bytes());
    out.extend([0; 4]);
    out.extend(padded::<KEY_MAX_BYTES>(key));
    out
}

/// `struct tcp_ao_add` (linux/tcp.h): storage 128, name 64, interface 4, bits 4, reserved 2, prefix, send id, receive id, MAC length,
/// flags, key length, key 80.
fn ao_add(net: IpNet, algorithm: &str, (send_id, receive_id): (u8, u8), key: &[u8]) -> Vec<u8> {
    let mut out = storage(net).to_vec();
    out.extend(padded::<64>(algorithm.as_bytes()));
    out.extend([0; 10]);
    out.extend([net.prefix_len(), send_id, receive_id, AO_MAC_BYTES, 0, u8::try_from(key.len()).unwrap_or_default()]);
    out.extend(padded::<KEY_MAX_BYTES>(key));
    out
}

/// `struct tcp_ao_del` (linux/tcp.h): storage 128, interface 4, bits 4, reserved 2, prefix, send id, receive id, current key, next key,
/// flags.
fn ao_delete(net: IpNet, (send_id, receive_id): (u8, u8)) -> Vec<u8> {
    let mut out = storage(net).to_vec();
    out.extend([0; 10]);
    out.extend([net.prefix_len(), send_id, receive_id, 0, 0, 0]);
    out
}

fn padded<const N: usize>(value: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    let length = value.len().min(N);
    out[..length].copy_from_slice(&value[..length]);
    out
}

#[cfg(test)]
mod tests;
