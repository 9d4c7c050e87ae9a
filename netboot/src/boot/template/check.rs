//! Whether a machine can read what was made for it: Ignition by its types and by the rules for which it would stop a machine, cloud-init by
//! YAML and the keys that it knows. What comes of a slip otherwise: Ignition ends in an emergency shell, cloud-init ignores it.

use super::Kind;
use super::ignition;
use serde_json::Value;

/// What cloud-init knows in cloud-config, of its modules and its base configuration (24.x).
const CLOUD_CONFIG: &[&str] = &[
    "allow_public_ssh_keys",
    "ansible",
    "apk_repos",
    "apt",
    "apt_pipelining",
    "apt_reboot_if_required",
    "apt_update",
    "apt_upgrade",
    "bootcmd",
    "byobu_by_default",
    "ca-certs",
    "ca_certs",
    "chef",
    "chpasswd",
    "cloud_config_modules",
    "cloud_final_modules",
    "cloud_init_modules",
    "create_hostname_file",
    "datasource",
    "datasource_list",
    "device_aliases",
    "disable_ec2_metadata",
    "disable_root",
    "disable_root_opts",
    "disk_setup",
    "drivers",
    "fan",
    "final_message",
    "fqdn",
    "fs_setup",
    "groups",
    "growpart",
    "grub-dpkg",
    "grub_dpkg",
    "hostname",
    "keyboard",
    "landscape",
    "launch-index",
    "locale",
    "locale_configfile",
    "lxd",
    "manage_etc_hosts",
    "manage_resolv_conf",
    "manual_cache_clean",
    "mcollective",
    "merge_how",
    "merge_type",
    "mount_default_fields",
    "mounts",
    "network",
    "no_ssh_fingerprints",
    "ntp",
    "output",
    "package_reboot_if_required",
    "package_update",
    "package_upgrade",
    "packages",
    "password",
    "phone_home",
    "power_state",
    "prefer_fqdn_over_hostname",
    "preserve_hostname",
    "puppet",
    "random_seed",
    "reporting",
    "resize_rootfs",
    "resolv_conf",
    "rh_subscription",
    "rsyslog",
    "runcmd",
    "salt_minion",
    "snap",
    "spacewalk",
    "ssh",
    "ssh_authorized_keys",
    "ssh_deletekeys",
    "ssh_fp_console_blacklist",
    "ssh_genkeytypes",
    "ssh_import_id",
    "ssh_key_console_blacklist",
    "ssh_keys",
    "ssh_publish_hostkeys",
    "ssh_pwauth",
    "ssh_quiet_keygen",
    "swap",
    "system_info",
    "timezone",
    "ubuntu_advantage",
    "ubuntu_pro",
    "updates",
    "user",
    "users",
    "vendor_data",
    "wireguard",
    "write_files",
    "yum_repo_dir",
    "yum_repos",
    "zypper",
];

/// Where and why.
pub(super) type Not = (Option<usize>, String);

/// Looks at what a machine would get.
///
/// # Errors
/// The line, when it is known, and what is wrong.
pub fn check(kind: Kind, text: &str) -> Result<(), Not> {
    match kind {
        Kind::Ignition => ignition::check(text),
        Kind::UserData | Kind::VendorData => user_data(text),
        Kind::MetaData => {
            let all = mapping(text)?;
            match all.get("instance-id") {
                Some(Value::String(_) | Value::Number(_)) => Ok(()),
                Some(_) | None => {
                    Err((None, "no `instance-id`: cloud-init tells by it whether it runs anew".to_owned()))
                }
            }
        }
        Kind::NetworkConfig => {
            let all = mapping(text)?;
            let inner = all.get("network").unwrap_or(&all);
            match inner.get("version").and_then(Value::as_u64) {
                Some(1 | 2) => Ok(()),
                Some(_) | None => Err((None, "no `version: 1` or `version: 2`".to_owned())),
            }
        }
        Kind::Part => Ok(()),
    }
}

fn user_data(text: &str) -> Result<(), Not> {
    let first = text.lines().next().unwrap_or_default();
    if first.starts_with("#!") || first.trim_end() == "#include" {
        return Ok(());
    }
    if first.trim_end() != "#cloud-config" {
        let message = format!("it begins with `{}`: write #cloud-config, #! or #include", first.escape_debug());
        return Err((Some(1), message));
    }
    let all = mapping(text)?;
    for key in all.as_object().into_iter().flat_map(serde_json::Map::keys) {
        if !CLOUD_CONFIG.contains(&key.as_str()) {
            let near = CLOUD_CONFIG.iter().min_by_key(|known| strsim::damerau_levenshtein(known, key));
            let near = near.map(|near| format!(": is `{near}` meant?")).unwrap_or_default();
            let line = text.lines().position(|line| line.starts_with(&format!("{key}:"))).map(|at| at + 1);
            return Err((line, format!("cloud-init knows no `{}`{near}", key.escape_debug())));
        }
    }
    Ok(())
}

/// A mapping of YAML.
fn mapping(text: &str) -> Result<Value, Not> {
    let read: Result<Value, serde_saphyr::Error> = serde_saphyr::from_str(text);
    let read = read.map_err(|error| {
        let line = error.location().and_then(|at| usize::try_from(at.line()).ok());
        let full = error.without_snippet().render_with_formatter(&serde_saphyr::UserMessageFormatter);
        (line, full.lines().next().unwrap_or_default().to_owned())
    })?;
    match read {
        // Nothing but comments: nothing to do.
        Value::Null => Ok(Value::Object(serde_json::Map::new())),
        Value::Object(_) => Ok(read),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err((None, "no mapping of YAML".to_owned()))
        }
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
