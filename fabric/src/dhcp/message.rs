//! A DHCPv4 message as a relay sees it (RFC 2131 §2, RFC 3046): the octets as they came, and the few places in them that a relay reads or
//! changes. What a client and a server say to each other is never taken apart and put together again, so that nothing of it is lost: that
//! is why the codec of the boot servers, which makes a map of the options, is none for a relay.

use std::net::Ipv4Addr;

/// Octets of the longest message: one Ethernet frame without its IP and UDP headers. What does not fit is not relayed.
pub const MESSAGE_MAX: usize = 1_472;
/// Octets of the shortest message that is sent: clients and relays of old drop shorter ones (RFC 1542 §2.1).
const MESSAGE_MIN: usize = 300;
/// Octets before the options, with the cookie.
const HEADER: usize = 240;
/// What the options begin with (RFC 2131 §3).
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// The flag that asks for an answer to everybody (RFC 2131 §2).
const BROADCAST: u8 = 0x80;

/// Where the fields stand (RFC 2131 §2).
mod field {
    use std::ops::Range;
    pub(super) const HOPS: usize = 3;
    pub(super) const FLAGS: usize = 10;
    pub(super) const CIADDR: Range<usize> = 12..16;
    pub(super) const YIADDR: Range<usize> = 16..20;
    pub(super) const GIADDR: Range<usize> = 24..28;
    pub(super) const CHADDR: Range<usize> = 28..34;
    pub(super) const SNAME: Range<usize> = 44..108;
    pub(super) const FILE: Range<usize> = 108..236;
    pub(super) const COOKIE: Range<usize> = 236..240;
}

/// Options that a relay reads (RFC 2132; 82: RFC 3046).
mod code {
    pub(super) const PAD: u8 = 0;
    pub(super) const REQUESTED: u8 = 50;
    pub(super) const LEASE_TIME: u8 = 51;
    pub(super) const OVERLOAD: u8 = 52;
    pub(super) const TYPE: u8 = 53;
    pub(super) const AGENT: u8 = 82;
    pub(super) const END: u8 = 255;
}

/// Sub-options of option 82.
mod sub {
    /// Circuit (RFC 3046 §3.1).
    pub(super) const CIRCUIT: u8 = 1;
    /// Link selection (RFC 3527 §3).
    pub(super) const LINK: u8 = 5;
    /// Server identifier override (RFC 5107 §4).
    pub(super) const SERVER: u8 = 11;
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    /// A client, or a relay for it.
    Request,
    /// A server.
    Reply,
}

/// Kinds of messages that mean something to a relay (RFC 2132 §9.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// An address is lent, or lent for longer.
    Ack,
    /// The client says that somebody else uses the address that it was lent.
    Decline,
    /// The client needs its address no longer.
    Release,
    /// Any other: it is passed on.
    Other,
}

/// Why octets are no message for a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    octets: Vec<u8>,
    /// Who speaks.
    pub(super) op: Op,
    /// What it is.
    pub(super) kind: Kind,
    /// Seconds of the lease, if it says some.
    pub(super) lease_s: Option<u32>,
    /// The address that the client asks for, or complains of.
    pub(super) requested: Option<Ipv4Addr>,
    /// The options without option 82, padding and end.
    plain: Vec<u8>,
    /// The value of option 82.
    agent: Option<Vec<u8>>,
}

/// What a relay says of where a message came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Agent<'a> {
    /// The port (RFC 3046 §3.1).
    pub(super) circuit: &'a str,
    /// An address of the client's network, where `giaddr` is none (RFC 3527).
    pub(super) link: Option<Ipv4Addr>,
    /// Whom clients are to take for their server (RFC 5107).
    pub(super) server: Ipv4Addr,
}

impl Message {
    /// Reads a datagram of an Ethernet client, or of a server for one.
    ///
    /// # Errors
    /// When it is too long or too short, no message of DHCP (BOOTP, say), for other hardware, or has an option that overruns its field.
    pub(super) fn read(octets: &[u8]) -> Result<Self, Malformed> {
        let (Some(options), true) = (octets.get(HEADER..), octets.len() <= MESSAGE_MAX) else {
            return Err(Malformed);
        };
        let op = match octets {
            [1, 1, 6, ..] => Op::Request,
            [2, 1, 6, ..] => Op::Reply,
            _ => return Err(Malformed),
        };
        if octets[field::COOKIE] != COOKIE {
            return Err(Malformed);
        }
        let mut said = Said::default();
        let plain = said.read(options)?;
        let agent = said.agent.take();
        // RFC 2132 §9.3: these may hold options too. What a relay adds stands in the first field only.
        let overload = said.overload.unwrap_or_default();
        for (bit, place) in [(1, field::FILE), (2, field::SNAME)] {
            if overload & bit != 0 {
                said.read(&octets[place])?;
            }
        }
        let kind = match said.kind.ok_or(Malformed)? {
            4 => Kind::Decline,
            5 => Kind::Ack,
            7 => Kind::Release,
            _ => Kind::Other,
        };
        let (lease_s, requested) = (said.lease_s, said.requested);
        Ok(Self { octets: octets.to_vec(), op, kind, lease_s, requested, plain, agent })
    }

    /// Relays that it went through.
    #[must_use]
    pub(super) fn hops(&self) -> u8 {
        self.octets[field::HOPS]
    }

    /// Whether the answer is to go to everybody on the client's link.
    #[must_use]
    pub(super) fn is_broadcast(&self) -> bool {
        self.octets[field::FLAGS] & BROADCAST != 0
    }

    /// The address that the client has.
    #[must_use]
    pub(super) fn ciaddr(&self) -> Ipv4Addr {
        self.address(field::CIADDR)
    }

    /// The address that it is given.
    #[must_use]
    pub(super) fn yiaddr(&self) -> Ipv4Addr {
        self.address(field::YIADDR)
    }

    /// The relay that it came through.
    #[must_use]
    pub(super) fn giaddr(&self) -> Ipv4Addr {
        self.address(field::GIADDR)
    }

    /// The client's hardware address.
    #[must_use]
    pub(super) fn mac(&self) -> [u8; 6] {
        let mut mac = [0; 6];
        mac.copy_from_slice(&self.octets[field::CHADDR]);
        mac
    }

    /// Whether somebody put option 82 into it.
    #[must_use]
    pub(super) const fn has_agent(&self) -> bool {
        self.agent.is_some()
    }

    /// The circuit that option 82 names.
    #[must_use]
    pub(super) fn circuit(&self) -> Option<&str> {
        let mut rest = self.agent.as_deref()?;
        while let [kind, length, behind @ ..] = rest {
            let (value, behind) = behind.split_at_checked(usize::from(*length))?;
            if *kind == sub::CIRCUIT {
                return str::from_utf8(value).ok();
            }
            rest = behind;
        }
        None
    }

    /// The message for a server: through this relay, with option 82 as the last one (RFC 3046 §2.1); `None` if that has no room.
    #[must_use]
    pub(super) fn for_server(&self, giaddr: Ipv4Addr, agent: &Agent<'_>) -> Option<Vec<u8>> {
        let mut value = Vec::new();
        let link = agent.link.map(|link| link.octets());
        let server = agent.server.octets();
        let subs = [
            (sub::CIRCUIT, Some(agent.circuit.as_bytes())),
            (sub::LINK, link.as_ref().map(<[u8; 4]>::as_slice)),
            (sub::SERVER, Some(&server)),
        ];
        for (kind, said) in subs.into_iter().filter_map(|(kind, said)| Some((kind, said?))) {
            value.extend([kind, u8::try_from(said.len()).ok()?]);
            value.extend(said);
        }
        let mut octets = self.with_options(Some(&value))?;
        octets[field::HOPS] = self.hops().saturating_add(1);
        octets[field::GIADDR].copy_from_slice(&giaddr.octets());
        Some(octets)
    }

    /// The message for the client: without option 82 (RFC 3046 §2.1).
    #[must_use]
    pub(super) fn for_client(&self) -> Vec<u8> {
        // Without the option it is no longer than it was.
        self.with_options(None).unwrap_or_default()
    }

    fn with_options(&self, agent: Option<&[u8]>) -> Option<Vec<u8>> {
        let mut octets = self.octets[..HEADER].to_vec();
        octets.extend(&self.plain);
        if let Some(agent) = agent {
            octets.extend([code::AGENT, u8::try_from(agent.len()).ok()?]);
            octets.extend(agent);
        }
        octets.push(code::END);
        octets.resize(octets.len().max(MESSAGE_MIN), 0);
        (octets.len() <= MESSAGE_MAX).then_some(octets)
    }

    fn address(&self, place: std::ops::Range<usize>) -> Ipv4Addr {
        let mut octets = [0; 4];
        octets.copy_from_slice(&self.octets[place]);
        Ipv4Addr::from(octets)
    }
}

/// What options say.
#[derive(Debug, Default)]
struct Said {
    kind: Option<u8>,
    lease_s: Option<u32>,
    requested: Option<Ipv4Addr>,
    overload: Option<u8>,
    agent: Option<Vec<u8>>,
}

impl Said {
    /// Reads one field; all of it but padding, end, and option 82, of which several pieces are one (RFC 3396 §5).
    fn read(&mut self, mut field: &[u8]) -> Result<Vec<u8>, Malformed> {
        let mut plain = Vec::with_capacity(field.len());
        loop {
            match field {
                [] | [code::END, ..] => return Ok(plain),
                [code::PAD, rest @ ..] => field = rest,
                [kind, length, rest @ ..] => {
                    let (value, rest) = rest.split_at_checked(usize::from(*length)).ok_or(Malformed)?;
                    match (*kind, value) {
                        (code::TYPE, [kind]) => self.kind = Some(*kind),
                        (code::OVERLOAD, [overload]) => self.overload = Some(*overload),
                        (code::REQUESTED, value) => {
                            let octets: [u8; 4] = value.try_into().map_err(|_| Malformed)?;
                            self.requested = Some(Ipv4Addr::from(octets));
                        }
                        (code::LEASE_TIME, value) => {
                            self.lease_s = Some(u32::from_be_bytes(value.try_into().map_err(|_| Malformed)?));
                        }
                        (code::TYPE | code::OVERLOAD, _) => return Err(Malformed),
                        (code::AGENT, value) => self.agent.get_or_insert_default().extend(value),
                        _ => {}
                    }
                    if *kind != code::AGENT {
                        plain.extend([*kind, *length]);
                        plain.extend(value);
                    }
                    field = rest;
                }
                [_] => return Err(Malformed),
            }
        }
    }
}
