//! The tables of images.

use super::{NONE, render, table};
use crate::boot::pull::Spread;
use crate::boot::{Boots, Image, Start};

/// Images, a line for each, with who boots it.
#[must_use]
pub fn images(boots: &Boots) -> String {
    if boots.images.is_empty() {
        return "there is no image\n".to_owned();
    }
    let mut lines = table(&["Image", "Size", "Initrds", "Roles", "Machines", "Everybody else", "Command line"]);
    for (name, image) in &boots.images {
        let is = |choice: &crate::boot::Choice| choice.to_string() == *name;
        let roles: Vec<&str> = boots.roles.iter().filter(|(_, to)| is(to)).map(|(role, _)| role.as_str()).collect();
        let tries = boots.canaries.iter().filter(|(_, canary)| is(&canary.to));
        let tries: Vec<String> = tries.map(|(role, canary)| format!("{role} {} %", canary.percent)).collect();
        let roles: Vec<&str> = roles.into_iter().chain(tries.iter().map(String::as_str)).collect();
        let machines = boots.machines.values().filter(|to| is(to)).count();
        let rest = if boots.rest.as_ref().is_some_and(is) { "yes" } else { "no" };
        let roles = if roles.is_empty() { NONE.to_owned() } else { roles.join(", ") };
        let size: u64 = image.blobs().map(|blob| blob.bytes).sum();
        let cmdline = if image.cmdline.is_empty() { NONE } else { &image.cmdline };
        let initrds = image.initrds.len().to_string();
        lines.add_row([name, &megabytes(size), &initrds, &roles, &machines.to_string(), rest, cmdline]);
    }
    render(&lines)
}

/// One image, a line for each of its files, with the servers that have them as far as that is known.
#[must_use]
pub fn image(image: &Image, files: &[Spread]) -> String {
    let servers = files.first().map_or(&[][..], |file| &file.servers);
    let names = servers.iter().map(|holds| holds.server.as_str());
    let mut lines = table(&["File", "Size", "SHA-256"].into_iter().chain(names).collect::<Vec<_>>());
    for (at, blob) in image.blobs().enumerate() {
        let name = match at {
            0 => "kernel".to_owned(),
            _ if at > image.initrds.len() => "root".to_owned(),
            _ => format!("initrd{}", at - 1),
        };
        let has = files.get(at).map_or(&[][..], |file| &file.servers);
        let has = has.iter().map(|holds| match holds.octets {
            Some(octets) if octets == blob.bytes => "whole".to_owned(),
            Some(octets) => format!("{} %", (octets.saturating_mul(100)).checked_div(blob.bytes).unwrap_or(0)),
            None => "no answer".to_owned(),
        });
        lines.add_row([name, megabytes(blob.bytes), blob.sha256.to_string()].into_iter().chain(has));
    }
    let cmdline = if image.cmdline.is_empty() { String::new() } else { format!("command line: {}\n", image.cmdline) };
    let start = match &image.start {
        Some(Start::Run) => "start: runs as the system\n".to_owned(),
        Some(Start::Load(_)) => "start: loads root into memory, and runs it\n".to_owned(),
        Some(Start::Disk(device)) => format!("start: runs the system on {device}\n"),
        None => String::new(),
    };
    format!("{}{cmdline}{start}", render(&lines))
}

/// What is in an initial file system, a line for each part.
#[must_use]
pub fn parts(parts: &[(String, usize)]) -> String {
    let mut lines = table(&["In initrd0", "Size"]);
    for (name, octets) in parts {
        lines.add_row([name.clone(), megabytes(u64::try_from(*octets).unwrap_or(u64::MAX))]);
    }
    render(&lines)
}

/// PCRs that are predicted, as the server answers them.
#[must_use]
pub fn pcrs(answer: &serde_json::Value) -> String {
    let mut lines = table(&["PCR", "SHA-256"]);
    let pcrs = answer["pcrs"].as_object().into_iter().flatten();
    let mut pcrs: Vec<_> = pcrs.map(|(pcr, value)| (pcr.parse().unwrap_or(u8::MAX), value)).collect();
    pcrs.sort_unstable_by_key(|(pcr, _)| *pcr);
    for (pcr, value) in pcrs {
        lines.add_row([&pcr.to_string(), value.as_str().unwrap_or(NONE)]);
    }
    format!("image {}\n{}", answer["image"].as_str().unwrap_or(NONE), render(&lines))
}

fn megabytes(bytes: u64) -> String {
    format!("{}.{} MB", bytes / 1_000_000, bytes % 1_000_000 / 100_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::{Blob, Change, Choice, Digest, Whom};

    #[test]
    fn an_image_says_who_boots_it() {
        let blob = |octet: u8, bytes| Blob { sha256: Digest::of(&[octet; 32]), bytes };
        let one = Image {
            kernel: blob(1, 8_200_000),
            initrds: vec![blob(2, 1_350_000)],
            cmdline: "quiet".to_owned(),
            start: None,
        };
        let mut boots = Boots::default();
        let to = Some(Choice::Image("a".to_owned()));
        for change in [
            Change::Add { name: "a".to_owned(), image: one.clone() },
            Change::Pin { whom: Whom::Role("cs".to_owned()), to: to.clone() },
            Change::Pin { whom: Whom::Machine("N1".to_owned()), to },
        ] {
            boots = boots.after(&change).unwrap();
        }
        let text = images(&boots);
        let line: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(line, ["a", "9.5", "MB", "1", "cs", "1", "no", "quiet"]);
        assert_eq!(images(&Boots::default()), "there is no image\n");
        let text = image(&one, &[]);
        assert!(text.contains("kernel") && text.contains("0202") && text.ends_with("command line: quiet\n"), "{text}");
    }
}
