//! Ignition 2.3.0, whose types the crate for 3.x has not: <https://coreos.github.io/ignition/configuration-v2_3/>. What is not there is refused.

use serde::Deserialize;

macro_rules! section {
    ($(#[$doc:meta])* $name:ident { $($(#[$with:meta])* $field:ident: $kind:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields, rename_all = "camelCase", default)]
        pub(super) struct $name { $($(#[$with])* $field: Option<$kind>,)* }
    };
}

section! {
    /// The whole of it.
    Config { ignition: Ignition, storage: Storage, systemd: Systemd, networkd: Networkd, passwd: Passwd, }
}
section! {
    /// About this configuration itself.
    Ignition { version: String, config: Configs, timeouts: Timeouts, security: Security, }
}
section! {
    /// Others beside it.
    Configs { append: Vec<Other>, replace: Other, }
}
section! {
    /// Where another document is.
    Other { source: String, verification: Verification, }
}
section! {
    /// Where something is.
    Source { source: String, compression: String, verification: Verification, }
}
section! {
    /// What it must be.
    Verification { hash: String, }
}
section! {
    /// Of requests.
    Timeouts { http_response_headers: u64, http_total: u64, }
}
section! {
    /// Of requests.
    Security { tls: Tls, }
}
section! {
    /// Whom to believe.
    Tls { certificate_authorities: Vec<Other>, }
}
section! {
    /// Disks and what is on them.
    Storage { disks: Vec<Disk>, raid: Vec<Raid>, filesystems: Vec<Filesystem>, files: Vec<File>, directories: Vec<Directory>, links: Vec<Link>, }
}
section! {
    /// A disk.
    Disk { device: String, wipe_table: bool, partitions: Vec<Partition>, }
}
section! {
    /// A part of it.
    Partition {
        label: String, number: u32, size: u64, start: u64, #[serde(rename = "sizeMiB")] size_mib: u64, #[serde(rename = "startMiB")] start_mib: u64,
        type_guid: String, guid: String, wipe_partition_entry: bool, should_exist: bool,
    }
}
section! {
    /// Disks together.
    Raid { name: String, level: String, devices: Vec<String>, spares: u32, options: Vec<String>, }
}
section! {
    /// A file system.
    Filesystem { name: String, mount: Mount, path: String, }
}
section! {
    /// How it is made.
    Mount { device: String, format: String, wipe_filesystem: bool, label: String, uuid: String, options: Vec<String>, create: MakeFilesystem, }
}
section! {
    /// How it was made, before 2.1.
    MakeFilesystem { force: bool, options: Vec<String>, }
}
section! {
    /// A file.
    File { filesystem: String, path: String, overwrite: bool, append: bool, contents: Source, mode: u32, user: Owner, group: Owner, }
}
section! {
    /// A folder.
    Directory { filesystem: String, path: String, overwrite: bool, mode: u32, user: Owner, group: Owner, }
}
section! {
    /// A link.
    Link { filesystem: String, path: String, overwrite: bool, target: String, hard: bool, user: Owner, group: Owner, }
}
section! {
    /// Whose it is.
    Owner { id: u32, name: String, }
}
section! {
    /// Units.
    Systemd { units: Vec<Unit>, }
}
section! {
    /// A unit.
    Unit { name: String, enable: bool, enabled: bool, mask: bool, contents: String, dropins: Vec<Dropin>, }
}
section! {
    /// A part of one.
    Dropin { name: String, contents: String, }
}
section! {
    /// Units of networkd.
    Networkd { units: Vec<NetworkUnit>, }
}
section! {
    /// A unit of networkd.
    NetworkUnit { name: String, contents: String, dropins: Vec<Dropin>, }
}
section! {
    /// Who may log in.
    Passwd { users: Vec<User>, groups: Vec<Group>, }
}
section! {
    /// Somebody.
    User {
        name: String, password_hash: String, ssh_authorized_keys: Vec<String>, create: MakeUser, uid: u32, gecos: String, home_dir: String,
        no_create_home: bool, primary_group: String, groups: Vec<String>, no_user_group: bool, no_log_init: bool, shell: String, system: bool,
    }
}
section! {
    /// How he was made, before 2.1.
    MakeUser {
        uid: u32, gecos: String, home_dir: String, no_create_home: bool, primary_group: String, groups: Vec<String>, no_user_group: bool,
        no_log_init: bool, shell: String, system: bool,
    }
}
section! {
    /// Some of them.
    Group { name: String, gid: u32, password_hash: String, system: bool, }
}
