//! Whether a machine can read what was made for it: Ignition by its types and by the rules for which it would stop a machine, cloud-init by
//! YAML and the keys that it knows. What comes of a slip otherwise: Ignition ends in an emergency shell, cloud-init ignores it.

use super::Kind;
use super::ignition2;
use serde_json::Value;
use std::collections::BTreeSet;

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
type Not = (Option<usize>, String);

/// Looks at what a machine would get.
///
/// # Errors
/// The line, when it is known, and what is wrong.
pub fn check(kind: Kind, text: &str) -> Result<(), Not> {
    match kind {
        Kind::Ignition => ignition(text),
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

fn ignition(text: &str) -> Result<(), Not> {
    let all: Value = serde_json::from_str(text).map_err(|error| (Some(error.line()), error.to_string()))?;
    let version = all["ignition"]["version"].as_str();
    let Some(version) = version else { return Err((None, "no `ignition.version`".to_owned())) };
    if version == "2.3.0" {
        let mut reader = serde_json::Deserializer::from_str(text);
        serde_path_to_error::deserialize::<_, ignition2::Config>(&mut reader).map_err(|error| {
            let (path, inner) = (error.path().to_string(), error.into_inner());
            (Some(inner.line()), format!("{path}: {inner}"))
        })?;
    } else {
        let (_, unknown) = ignition_config::Config::parse_str(text).map_err(|error| {
            if let ignition_config::Error::Serialization(error) = error {
                return (Some(error.line()), error.to_string());
            }
            (None, format!("`ignition.version`: {error}: write 2.3.0, or 3.0.0 to 3.6.0"))
        })?;
        if let Some(first) = unknown.first() {
            return Err((None, format!("version {version} knows no such key: {first}")));
        }
    }
    nodes(&all, version == "2.3.0").map_err(|message| (None, message))
}

/// Paths are absolute, and in 3.x each is of one thing; units have names that systemd takes. Ignition stops a machine for it.
fn nodes(all: &Value, is_old: bool) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for list in ["files", "directories", "links"] {
        for (at, node) in all["storage"][list].as_array().into_iter().flatten().enumerate() {
            let path = node["path"].as_str().unwrap_or_default();
            if !path.starts_with('/') {
                return Err(format!("storage.{list}[{at}].path: `{}` is not absolute", path.escape_debug()));
            }
            if !seen.insert(path) && !is_old {
                return Err(format!("storage.{list}[{at}].path: `{}` is there twice", path.escape_debug()));
            }
        }
    }
    let kinds = [
        ".service",
        ".socket",
        ".device",
        ".mount",
        ".automount",
        ".swap",
        ".target",
        ".path",
        ".timer",
        ".slice",
        ".scope",
    ];
    for (at, unit) in all["systemd"]["units"].as_array().into_iter().flatten().enumerate() {
        let name = unit["name"].as_str().unwrap_or_default();
        if !kinds.iter().any(|kind| name.len() > kind.len() && name.ends_with(kind)) {
            return Err(format!("systemd.units[{at}].name: `{}` is no unit", name.escape_debug()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignition_is_read_by_its_types() {
        let file = |version: &str, more: &str| {
            format!(
                r#"{{"ignition": {{"version": "{version}"}}, "storage": {{"files": [{{"path": "/etc/hostname", "mode": 420, "contents": {{"source": "data:,n1"}}{more}}}]}}}}"#
            )
        };
        for version in ["3.0.0", "3.1.0", "3.2.0", "3.3.0", "3.4.0"] {
            assert_eq!(check(Kind::Ignition, &file(version, "")), Ok(()), "{version}");
            // 2.x has it, 3.x has not.
            let wrong = check(Kind::Ignition, &file(version, r#", "filesystem": "root""#)).unwrap_err();
            assert!(wrong.1.contains("storage.files.0.filesystem"), "{wrong:?}");
        }
        assert_eq!(check(Kind::Ignition, &file("2.3.0", r#", "filesystem": "root""#)), Ok(()));
        // 3.1 made it an array, and has it for files only.
        assert!(
            check(Kind::Ignition, &file("2.3.0", r#", "append": [{"source": "data:,x"}]"#))
                .unwrap_err()
                .1
                .contains("storage.files[0].append")
        );
        assert!(check(Kind::Ignition, &file("3.1.0", r#", "append": [{"source": "data:,x"}]"#)).is_ok());
        // Kernel arguments came with 3.3.
        let arguments = |version: &str| {
            format!(r#"{{"ignition": {{"version": "{version}"}}, "kernelArguments": {{"shouldExist": ["quiet"]}}}}"#)
        };
        assert!(
            check(Kind::Ignition, &arguments("3.3.0")).is_ok() && check(Kind::Ignition, &arguments("3.2.0")).is_err()
        );
        for version in ["2.1.0", "3.0", "4.0.0", "3.5.0-experimental"] {
            assert!(check(Kind::Ignition, &file(version, "")).unwrap_err().1.contains("ignition.version"), "{version}");
        }
        assert_eq!(check(Kind::Ignition, "{\n\"ignition\": ]}").unwrap_err().0, Some(2));
        assert!(check(Kind::Ignition, "{}").is_err());
    }

    #[test]
    fn what_would_stop_a_machine_is_refused() {
        let storage = |version: &str, files: &str| {
            format!(r#"{{"ignition": {{"version": "{version}"}}, "storage": {{"files": [{files}]}}}}"#)
        };
        let twice = r#"{"path": "/a"}, {"path": "/a"}"#;
        assert!(
            check(Kind::Ignition, &storage("3.2.0", twice))
                .unwrap_err()
                .1
                .contains("files[1].path: `/a` is there twice")
        );
        assert!(
            check(Kind::Ignition, &storage("3.2.0", r#"{"path": "etc/a"}"#)).unwrap_err().1.contains("not absolute")
        );
        let unit = r#"{"ignition": {"version": "3.4.0"}, "systemd": {"units": [{"name": "a", "enabled": true}]}}"#;
        assert!(check(Kind::Ignition, unit).unwrap_err().1.contains("`a` is no unit"));
    }

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
