//! How the API is used, and how its certificate is: for metrics and health.

/// Requests of one door by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// With what was asked for.
    pub answered: u64,
    /// What was asked is not possible, or not permitted.
    pub refused: u64,
    /// The daemon could not: too much to do, no answer in time.
    pub failed: u64,
}

/// TLS handshakes by their end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Handshakes {
    /// The client has a certificate of ours.
    pub known: u64,
    /// He has none, or one that does not count.
    pub refused: u64,
    /// He did not come to an end in time.
    pub late: u64,
    /// He made room for others.
    pub displaced: u64,
    /// He was known, and there was no place.
    pub full: u64,
}

/// The certificate of `api.remote`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Certificate {
    /// Seconds until it, or one between it and its authority, expires; negative afterwards. `None`: never.
    pub expires_in_s: Option<i64>,
    /// Why those in the files now cannot be used.
    pub broken: Option<String>,
    /// Times that others were taken.
    pub renewed: u64,
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Doors {
    /// The unix socket.
    pub socket: Requests,
    /// `api.http`.
    pub port: Requests,
    /// `api.remote`.
    pub remote: Requests,
    /// Of `api.remote`.
    pub handshakes: Handshakes,
    /// Where there is one.
    pub certificate: Option<Certificate>,
}
