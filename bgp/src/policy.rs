//! Import and export policy. So far the two that every speaker has; named rules come with the policy language.

/// What a policy says of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Take or tell it.
    Accept,
    /// Do not.
    Reject,
}

/// Policies by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policies {}

impl Policies {
    /// The verdict of the policy called `name` on a session that is external or not. Without a policy an external peer's routes
    /// are rejected both ways (RFC 8212 §3) and an internal one's are accepted; an unknown name rejects.
    #[must_use]
    pub fn verdict(&self, name: Option<&str>, ebgp: bool) -> Verdict {
        match name {
            Some("accept-all") => Verdict::Accept,
            Some(_) => Verdict::Reject,
            None if ebgp => Verdict::Reject,
            None => Verdict::Accept,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_policy_external_routes_are_rejected() {
        // RFC 8212 §3
        let policies = Policies::default();
        assert_eq!(policies.verdict(None, true), Verdict::Reject);
        assert_eq!(policies.verdict(None, false), Verdict::Accept);
        assert_eq!(policies.verdict(Some("accept-all"), true), Verdict::Accept);
        assert_eq!(policies.verdict(Some("misspelt"), false), Verdict::Reject);
    }
}
