//! The group that the API's socket belongs to (`api.group`). Who owns a file may give it to a group that he is in (chown(2)) and needs no
//! capability for that: so the daemon enters the group while it may (setgroups(2)), and stays in it, because whatever program takes over
//! makes the socket anew. By then `/etc/group` is out of reach (Landlock): the number is handed on.

use crate::config::{Config, ConfigError};
use rustix::process::{Gid, getegid, getgroups};
use rustix::thread::set_thread_groups;

/// Where groups are (group(5)).
const GROUPS: &str = "/etc/group";

/// The number of the group that a configuration names; `None` where it names none.
///
/// # Errors
/// That there is no such group on this machine: with the place in the file, and the remedy.
pub fn find(config: &Config) -> Result<Option<u32>, Box<ConfigError>> {
    let Some(name) = &config.api.group else { return Ok(None) };
    let refused = |message: String| {
        let remedy =
            format!("`groupadd --system {name}` makes it; of a group that is not in {GROUPS} write the number");
        config.refused("api.group", message, remedy)
    };
    let groups = std::fs::read_to_string(GROUPS).map_err(|error| refused(format!("{GROUPS}: {error}")))?;
    number(&groups, name).map(Some).ok_or_else(|| refused(format!("there is no group `{name}` on this machine")))
}

/// The number of a name; what is a number needs nobody to know it.
fn number(groups: &str, name: &str) -> Option<u32> {
    let named = groups.lines().find_map(|line| match line.split(':').collect::<Vec<_>>()[..] {
        [other, _, id, ..] if other == name => id.parse().ok(),
        _ => None,
    });
    named.or_else(|| name.parse().ok())
}

/// The calling thread, and those that it starts, are in this group. To be called before there are other threads.
///
/// # Errors
/// What the system says to who may not, with the remedy.
pub fn enter(id: u32) -> Result<(), String> {
    let group = Gid::from_raw(id);
    let entered = getgroups().and_then(|mut all| {
        if getegid() == group || all.contains(&group) {
            return Ok(());
        }
        all.push(group);
        set_thread_groups(&all)
    });
    entered.map_err(|error| {
        format!(
            "api.group: cannot enter the group {id}: {error}\n  remedy: start as root, or with CAP_SETGID, or as one of the group \
             (systemd: `SupplementaryGroups=`)"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn groups_are_found_by_name_and_numbers_are_taken_as_they_are() {
        let text = "root:x:0:\nweft:x:998:anna,otto\nbroken\n:x:3:\n42:x:7:\n";
        assert_eq!(number(text, "weft"), Some(998));
        assert_eq!(number(text, "anna"), None);
        assert_eq!(number(text, "4711"), Some(4_711));
        assert_eq!(number(text, "42"), Some(7), "a name first");
        assert_eq!(number(text, "-1"), None);
    }

    #[test]
    fn a_group_that_is_not_there_is_named_with_its_place_and_a_remedy() {
        let text = "asn: 1\nrouter_id: 10.0.0.1\napi:\n  group: weft-nobody-here\n";
        let error = find(&config::parse("t", text).unwrap()).unwrap_err().to_string();
        assert!(
            error.starts_with("t:4:10: api.group: there is no group `weft-nobody-here` on this machine"),
            "{error}"
        );
        assert!(error.contains("`groupadd --system weft-nobody-here` makes it"), "{error}");
        let root = find(&config::parse("t", &text.replace("weft-nobody-here", "root")).unwrap());
        assert_eq!(root.unwrap(), Some(0));
        assert_eq!(find(&config::parse("t", "asn: 1\n").unwrap()).unwrap(), None);
    }
}
