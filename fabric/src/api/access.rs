//! Who may do what over `api.remote`. A client's identity is one URI among the alternative names of its certificate, as SPIFFE has it:
//! `spiffe://TRUST_DOMAIN/weft/ROLE/NAME`; the subject is not looked at. The same names open the boot servers' API.

use super::{Command, Request};
use std::fmt;

/// Longest name.
const NAME_MAX: usize = 64;
/// Roles that are named when somebody has another one.
const ROLES: &str = "read, operator or admin";

/// What a role permits; each permits what those before it do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// Questions, watches and plans.
    Read,
    /// And changes of what the daemon does: drain, reload, clear, service addresses, routes.
    Operator,
    /// And its end, and another program in its place.
    Admin,
}

impl Access {
    /// Every role.
    pub const ALL: [Self; 3] = [Self::Read, Self::Operator, Self::Admin];

    /// As in a certificate.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// What a request needs.
    #[must_use]
    pub const fn needed(request: &Request) -> Self {
        match request {
            Request::Show(_) | Request::Plan | Request::Record(_) | Request::Watch(_) => Self::Read,
            Request::Do(Command::Stop | Command::Upgrade { .. }) => Self::Admin,
            Request::Do(
                Command::Reload(_)
                | Command::ConfirmReload
                | Command::Clear { .. }
                | Command::AddRoute(_)
                | Command::RemoveRoutes { .. }
                | Command::SetVip { .. }
                | Command::Drain { .. },
            ) => Self::Operator,
        }
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Whose certificate it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// For the log.
    pub name: String,
    /// What he may.
    pub access: Access,
}

impl Caller {
    /// From the URI names of a certificate; one with two identities has none.
    ///
    /// # Errors
    /// A sentence that says what the certificate lacks.
    pub fn of<'a>(trust_domain: &str, names: impl Iterator<Item = &'a str>) -> Result<Self, String> {
        let prefix = format!("spiffe://{trust_domain}/weft/");
        let ours: Vec<&str> = names.filter_map(|name| name.strip_prefix(&prefix)).collect();
        let [one] = ours.as_slice() else {
            return Err(format!("your certificate has {} names {prefix}ROLE/NAME, not one", ours.len()));
        };
        let (role, name) = one.split_once('/').unwrap_or((one, ""));
        let Some(access) = Access::ALL.into_iter().find(|access| access.name() == role) else {
            return Err(format!("the role in your certificate is not {ROLES}"));
        };
        let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        if !(1..=NAME_MAX).contains(&name.len()) || !name.chars().all(inner) {
            return Err(format!(
                "the name in your certificate is not 1 to {NAME_MAX} letters, digits, `_`, `.` and `-`"
            ));
        }
        Ok(Self { name: name.to_owned(), access })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Door, parse};

    #[test]
    fn a_certificate_has_one_identity() {
        let read = |names: &[&str]| Caller::of("dc1", names.iter().copied());
        let known = read(&["https://other", "spiffe://dc1/weft/operator/cke"]).unwrap();
        assert_eq!(known, Caller { name: "cke".to_owned(), access: Access::Operator });
        let long = format!("spiffe://dc1/weft/read/{}", "a".repeat(NAME_MAX + 1));
        for names in [
            &[] as &[&str],
            &["spiffe://dc2/weft/admin/a"],
            &["spiffe://dc1/weft/admin/a", "spiffe://dc1/weft/read/a"],
            &["spiffe://dc1/weft/machine/a"],
            &["spiffe://dc1/weft/admin"],
            &["spiffe://dc1/weft/admin/"],
            &["spiffe://dc1/weft/admin/a/b"],
            &["spiffe://dc1/weft/admin/a\nb"],
            &["spiffe://dc1x/weft/admin/a"],
            &[&long],
        ] {
            assert!(read(names).is_err(), "{names:?}");
        }
    }

    #[test]
    fn a_role_may_what_it_may_and_what_those_before_it_may() {
        for (line, needed) in [
            ("GET /v1/neighbors", Access::Read),
            ("GET /v1/dump", Access::Read),
            ("GET /v1/plan", Access::Read),
            ("GET /v1/record", Access::Read),
            ("GET /v1/watch/events", Access::Read),
            ("GET /metrics", Access::Read),
            ("POST /v1/drain?state=soft", Access::Operator),
            ("POST /v1/reload", Access::Operator),
            ("POST /v1/reload/confirm", Access::Operator),
            ("POST /v1/clear?peer=tor1", Access::Operator),
            ("POST /v1/vips/set?name=web&state=down", Access::Operator),
            ("POST /v1/routes?prefix=10.0.0.0/8&owner=lb&lease_s=10", Access::Operator),
            ("DELETE /v1/routes?owner=lb", Access::Operator),
            ("POST /v1/stop", Access::Admin),
            ("POST /v1/upgrade", Access::Admin),
        ] {
            let (method, target) = line.split_once(' ').unwrap();
            for access in Access::ALL {
                let said = parse(Door::Remote(access), method, target);
                if access >= needed {
                    assert!(said.is_ok(), "{access}: {line}: {said:?}");
                } else {
                    let refusal = said.unwrap_err();
                    assert_eq!(refusal.status, 403, "{access}: {line}: {refusal:?}");
                    assert!(refusal.remedy.unwrap().contains(needed.name()));
                }
            }
        }
        for (line, status) in [
            ("GET /v1/nothing", 404),
            ("GET /", 404),
            ("PUT /v1/version", 405),
            ("HEAD /v1/version", 405),
            ("GET /v1/stop", 405),
            ("POST /metrics", 405),
        ] {
            let (method, target) = line.split_once(' ').unwrap();
            assert_eq!(parse(Door::Remote(Access::Admin), method, target).unwrap_err().status, status, "{line}");
        }
    }
}
