//! What may be configured about a peer beyond the essentials, grouped by the part of the speaker that acts on it. Every default is
//! what a data center wants; nothing here costs anything while it is off.

use serde::{Deserialize, Serialize};

/// How the session is run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionOptions {}

/// How its routes are treated, before and after the policies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteOptions {}

/// Several paths for a prefix on one session (RFC 7911).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddPath {}
