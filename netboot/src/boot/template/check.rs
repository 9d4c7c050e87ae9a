//! Whether a machine can read what was made for it. What comes of a slip otherwise: Ignition ends in an emergency shell, cloud-init ignores it.

use super::Kind;
use super::yaml::Not;
use super::{cloud, ignition};

/// Looks at what a machine would get.
///
/// # Errors
/// The line, when it is known, and what is wrong.
pub fn check(kind: Kind, text: &str) -> Result<(), Not> {
    match kind {
        Kind::Ignition => ignition::check(text),
        Kind::UserData | Kind::VendorData => cloud::user_data(text),
        Kind::MetaData => cloud::meta_data(text),
        Kind::NetworkConfig => cloud::network(text),
        Kind::Part => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cloud_init_is_read_as_yaml_with_keys_that_it_knows() {
        assert_eq!(check(Kind::UserData, "#cloud-config\nhostname: n1\nruncmd:\n  - [ls]\n"), Ok(()));
        assert_eq!(check(Kind::UserData, "#!/bin/sh\nexit 0\n"), Ok(()));
        let wrong = check(Kind::UserData, "#cloud-config\nhostname: n1\nruncmds: []\n").unwrap_err();
        assert_eq!(wrong, (Some(3), "cloud-init knows no `runcmds`: is `runcmd` meant?".to_owned()));
        assert_eq!(check(Kind::UserData, "hostname: n1\n").unwrap_err().0, Some(1));
        assert_eq!(check(Kind::UserData, "#cloud-config\na: [\n").map_err(|(line, _)| line.is_some()), Err(true));
        assert!(check(Kind::UserData, "#cloud-config\n- a\n").is_err());
        assert!(
            check(Kind::MetaData, "instance-id: N1\n").is_ok()
                && check(Kind::MetaData, "local-hostname: n1\n").is_err()
        );
        assert!(check(Kind::NetworkConfig, "network: {version: 2, ethernets: {}}\n").is_ok());
        assert!(
            check(Kind::NetworkConfig, "version: 1\nconfig: []\n").is_ok()
                && check(Kind::NetworkConfig, "ethernets: {}\n").is_err()
        );
    }
}
