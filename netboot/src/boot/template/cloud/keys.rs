//! What cloud-init knows in cloud-config: of its modules and its base configuration (24.x). Below keys that few machines are given, as those of
//! other configuration managers, is looked at no further.

use super::shape::Shape::{self, Any, Each, Either, Flag, List, Map, Null, Number, Some, Text, Word};

const TEXTS: Shape = List(&Text);
/// A mapping, of what another program reads.
const THEIRS: Shape = Each(&Any);
/// A command: words, or a line for the shell.
const COMMAND: Shape = Either(&[Text, TEXTS]);
const FLAG_OR_TEXT: Shape = Either(&[Flag, Text]);
const TEXT_OR_TEXTS: Shape = Either(&[Text, TEXTS]);

const USER: &[(&str, Shape)] = &[
    ("name", Text),
    ("create_groups", Flag),
    ("doas", TEXTS),
    ("expiredate", Text),
    ("gecos", Text),
    ("groups", Either(&[Text, Some(&Text), Each(&Null)])),
    ("hashed_passwd", Text),
    ("homedir", Text),
    ("inactive", Text),
    ("lock-passwd", Flag),
    ("lock_passwd", Flag),
    ("no_create_home", Flag),
    ("no_log_init", Flag),
    ("no_user_group", Flag),
    ("passwd", Text),
    ("plain_text_passwd", Text),
    ("primary_group", Text),
    ("selinux_user", Text),
    ("shell", Text),
    ("snapuser", Text),
    ("ssh_authorized_keys", Some(&Text)),
    ("ssh_import_id", Some(&Text)),
    ("ssh_redirect_user", Flag),
    ("sudo", Either(&[Text, Flag, Null, TEXTS])),
    ("system", Flag),
    ("uid", Either(&[Number, Text])),
];

const ENCODINGS: &[&str] =
    &["gz", "gzip", "gz+base64", "gzip+base64", "gz+b64", "gzip+b64", "b64", "base64", "text/plain"];
const FILE: &[(&str, Shape)] = &[
    ("path!", Text),
    ("append", Flag),
    ("content", Text),
    ("defer", Flag),
    ("encoding", Word(ENCODINGS)),
    ("owner", Text),
    ("permissions", Text),
    ("source", Map(&[("uri!", Text), ("headers", Each(&Text))])),
];

const MIRROR: Shape = Some(&Map(&[
    ("arches!", Some(&Text)),
    ("key", Text),
    ("keyid", Text),
    ("keyserver", Text),
    ("search", Some(&Text)),
    ("search_dns", Flag),
    ("uri", Text),
]));
const APT: Shape = Map(&[
    ("add_apt_repo_match", Text),
    ("conf", Text),
    ("debconf_selections", Each(&Text)),
    ("disable_suites", Some(&Text)),
    ("ftp_proxy", Text),
    ("generate_mirrorlists", Flag),
    ("http_proxy", Text),
    ("https_proxy", Text),
    ("preserve_sources_list", Flag),
    ("primary", MIRROR),
    ("proxy", Text),
    ("security", MIRROR),
    (
        "sources",
        Each(&Map(&[
            ("append", Flag),
            ("filename", Text),
            ("key", Text),
            ("keyid", Text),
            ("keyserver", Text),
            ("source", Text),
        ])),
    ),
    ("sources_list", Text),
]);

const CERTIFICATES: Shape = Map(&[("remove-defaults", Flag), ("remove_defaults", Flag), ("trusted", Some(&Text))]);
const PASSWORDS: Shape = Map(&[
    ("expire", Flag),
    ("list", TEXT_OR_TEXTS),
    ("users", List(&Map(&[("name!", Text), ("password", Text), ("type", Word(&["RANDOM", "hash", "text"]))]))),
]);
const DISK: Shape = Each(&Map(&[
    ("layout", Either(&[Flag, Word(&["remove"]), List(&Either(&[Number, List(&Either(&[Number, Text]))]))])),
    ("overwrite", Flag),
    ("table_type", Word(&["mbr", "gpt"])),
]));
const FILESYSTEMS: Shape = List(&Map(&[
    ("cmd", TEXT_OR_TEXTS),
    ("device", Text),
    ("extra_opts", TEXT_OR_TEXTS),
    ("filesystem", Text),
    ("label", Text),
    ("overwrite", Flag),
    ("partition", Either(&[Number, Text])),
    ("replace_fs", Text),
]));
const HOME: Shape = Map(&[
    ("url!", Text),
    (
        "post",
        Either(&[
            Word(&["all"]),
            List(&Word(&[
                "pub_key_rsa",
                "pub_key_ecdsa",
                "pub_key_ed25519",
                "pub_key_dsa",
                "instance_id",
                "hostname",
                "fqdn",
            ])),
        ]),
    ),
    ("tries", Number),
]);
const POWER: Shape = Map(&[
    ("mode!", Word(&["poweroff", "reboot", "halt"])),
    ("condition", Either(&[Text, Flag, List(&Any)])),
    ("delay", Either(&[Number, Text])),
    ("message", Text),
    ("timeout", Number),
]);
const NTP: Shape = Either(&[
    Null,
    Map(&[
        ("allow", TEXTS),
        (
            "config",
            Map(&[
                ("check_exe", Text),
                ("confpath", Text),
                ("packages", TEXTS),
                ("service_name", Text),
                ("template", Text),
            ]),
        ),
        ("enabled", Flag),
        ("ntp_client", Text),
        ("peers", TEXTS),
        ("pools", TEXTS),
        ("servers", TEXTS),
    ]),
]);
const RSYSLOG: Shape = Map(&[
    ("check_exe", Text),
    ("config_dir", Text),
    ("config_filename", Text),
    ("configs", List(&Either(&[Text, Map(&[("content!", Text), ("filename", Text)])]))),
    ("packages", TEXTS),
    ("remotes", THEIRS),
    ("service_reload_command", Either(&[Word(&["auto"]), TEXTS])),
]);
const RESOLVER: Shape = Map(&[
    ("domain", Text),
    ("nameservers", List(&Any)),
    ("options", THEIRS),
    ("searchdomains", List(&Any)),
    ("sortlist", List(&Any)),
]);
const KEY_TYPES: &[&str] = &["dsa", "ecdsa", "ed25519", "rsa"];

/// At the top.
pub(super) const CLOUD_CONFIG: &[(&str, Shape)] = &[
    ("allow_public_ssh_keys", Flag),
    ("ansible", THEIRS),
    ("apk_repos", THEIRS),
    ("apt", APT),
    ("apt_pipelining", Either(&[Number, Flag, Word(&["none", "unchanged", "os"])])),
    ("apt_reboot_if_required", Flag),
    ("apt_update", Flag),
    ("apt_upgrade", Flag),
    ("authkey_hash", Text),
    ("autoinstall", THEIRS),
    ("bootcmd", Some(&COMMAND)),
    ("byobu_by_default", Text),
    ("ca-certs", CERTIFICATES),
    ("ca_certs", CERTIFICATES),
    ("chef", THEIRS),
    ("chpasswd", PASSWORDS),
    ("cloud_config_modules", List(&Any)),
    ("cloud_final_modules", List(&Any)),
    ("cloud_init_modules", List(&Any)),
    ("create_hostname_file", Flag),
    ("datasource", THEIRS),
    ("datasource_list", TEXTS),
    ("device_aliases", Each(&Text)),
    ("disable_ec2_metadata", Flag),
    ("disable_root", Flag),
    ("disable_root_opts", Text),
    ("disk_setup", DISK),
    ("drivers", THEIRS),
    ("fan", Map(&[("config!", Text), ("config_path", Text)])),
    ("final_message", Text),
    ("fqdn", Text),
    ("fs_setup", FILESYSTEMS),
    ("groups", Either(&[Text, List(&Either(&[Text, Each(&TEXT_OR_TEXTS)])), Each(&TEXT_OR_TEXTS)])),
    (
        "growpart",
        Map(&[
            ("devices", TEXTS),
            ("ignore_growroot_disabled", Flag),
            ("mode", Either(&[Word(&["auto", "growpart", "gpart", "off"]), Flag])),
        ]),
    ),
    ("grub-dpkg", THEIRS),
    ("grub_dpkg", THEIRS),
    ("hostname", Text),
    ("keyboard", Map(&[("layout!", Text), ("model", Text), ("options", Text), ("variant", Text)])),
    ("landscape", THEIRS),
    ("launch-index", Number),
    ("locale", Either(&[Text, Flag])),
    ("locale_configfile", Text),
    ("lxd", THEIRS),
    ("manage_etc_hosts", Either(&[Flag, Word(&["localhost", "template"])])),
    ("manage_resolv_conf", Flag),
    ("manual_cache_clean", Flag),
    ("mcollective", THEIRS),
    ("merge_how", Any),
    ("merge_type", Any),
    ("migrate", Flag),
    ("mount_default_fields", Some(&Either(&[Text, Null]))),
    ("mounts", Some(&Some(&Text))),
    ("network", THEIRS),
    ("no_ssh_fingerprints", Flag),
    ("ntp", NTP),
    ("output", THEIRS),
    ("package_reboot_if_required", Flag),
    ("package_update", Flag),
    ("package_upgrade", Flag),
    ("packages", Some(&Either(&[Text, TEXTS, Each(&List(&TEXT_OR_TEXTS))]))),
    ("password", Text),
    ("phone_home", HOME),
    ("power_state", POWER),
    ("prefer_fqdn_over_hostname", Flag),
    ("preserve_hostname", Flag),
    ("puppet", THEIRS),
    (
        "random_seed",
        Map(&[
            ("command", TEXTS),
            ("command_required", Flag),
            ("data", Text),
            ("encoding", Word(&["raw", "base64", "b64", "gzip", "gz"])),
            ("file", Text),
        ]),
    ),
    ("reporting", Each(&THEIRS)),
    ("resize_rootfs", Either(&[Flag, Word(&["noblock"])])),
    ("resolv_conf", RESOLVER),
    ("rh_subscription", THEIRS),
    ("rsyslog", RSYSLOG),
    ("runcmd", Some(&Either(&[Text, TEXTS, Null]))),
    ("salt_minion", THEIRS),
    ("snap", THEIRS),
    ("spacewalk", THEIRS),
    ("ssh", Map(&[("emit_keys_to_console!", Flag)])),
    ("ssh_authorized_keys", Some(&Text)),
    ("ssh_deletekeys", Flag),
    ("ssh_fp_console_blacklist", TEXTS),
    ("ssh_genkeytypes", Some(&Word(KEY_TYPES))),
    ("ssh_import_id", TEXTS),
    ("ssh_key_console_blacklist", TEXTS),
    ("ssh_keys", Each(&Text)),
    ("ssh_publish_hostkeys", Map(&[("blacklist", TEXTS), ("enabled", Flag)])),
    ("ssh_pwauth", FLAG_OR_TEXT),
    ("ssh_quiet_keygen", Flag),
    ("swap", Map(&[("filename", Text), ("maxsize", Either(&[Number, Text])), ("size", Either(&[Number, Text]))])),
    ("system_info", THEIRS),
    ("timezone", Text),
    ("ubuntu_advantage", THEIRS),
    ("ubuntu_pro", THEIRS),
    (
        "updates",
        Map(&[("network", Map(&[("when!", List(&Word(&["boot-new-instance", "boot-legacy", "boot", "hotplug"])))]))]),
    ),
    ("user", Either(&[Text, Map(USER)])),
    ("users", Either(&[Text, Some(&Either(&[Text, TEXTS, Map(USER)])), Map(USER), Each(&THEIRS)])),
    ("vendor_data", Map(&[("enabled", FLAG_OR_TEXT), ("prefix", Either(&[Text, List(&Either(&[Text, Number]))]))])),
    ("wireguard", Either(&[Null, THEIRS])),
    ("write_files", Some(&Map(FILE))),
    ("yum_repo_dir", Text),
    ("yum_repos", Each(&Each(&Any))),
    ("zypper", THEIRS),
];
