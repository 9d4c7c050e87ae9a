//! Import and export policy: compiled rules over prefix, path and community matches. Being written.

/// Compiled policies by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policies {}
