//! A command as a check: as somebody without rights, in a process group of its own that is killed when its time is over, its output
//! read to a bound so that it neither blocks nor fills anything.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;

/// Octets of output that are kept: the reason is one line. What comes beyond is read and forgotten.
const OUTPUT_BYTES: u64 = 4 << 10;
/// Where accounts are (passwd(5)).
const ACCOUNTS: &str = "/etc/passwd";

/// Kills the whole group when the check ends before the command does.
struct Group(Option<rustix::process::Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // Gone already is as good.
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
    }
}

/// Runs a command; its first line of output is the reason when it fails.
pub(super) async fn run(words: &[String], user: &str) -> Result<(), String> {
    let Some((program, arguments)) = words.split_first() else {
        return Err("there is no command".to_owned());
    };
    let mut command = Command::new(program);
    command.args(arguments).env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).process_group(0);
    // Who has no rights to give away runs the command as himself.
    if rustix::process::geteuid().is_root() {
        let accounts = std::fs::read_to_string(ACCOUNTS).map_err(|error| format!("{ACCOUNTS}: {error}"))?;
        let (uid, gid) = account(&accounts, user).ok_or_else(|| format!("there is no user `{user}`"))?;
        // The standard library drops supplementary groups along with root's rights.
        command.uid(uid).gid(gid);
    }
    let mut child = command.spawn().map_err(|error| format!("{program} as {user}: {error}"))?;
    let mut group = Group(child.id().and_then(|id| rustix::process::Pid::from_raw(i32::try_from(id).ok()?)));
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let (out, err, status) = tokio::join!(read(out), read(err), child.wait());
    group.0 = None;
    let status = status.map_err(|error| format!("{program}: {error}"))?;
    if status.success() {
        return Ok(());
    }
    let line = [err, out].into_iter().find_map(|text| first_line(&text));
    Err(match line {
        Some(line) => format!("{program}: {}: {line}", ending(status)),
        None => format!("{program}: {}", ending(status)),
    })
}

fn ending(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

/// A command that leaves children behind with its output open is waited for until the check's time is over.
async fn read(pipe: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let Some(mut pipe) = pipe else {
        return Vec::new();
    };
    let mut kept = Vec::new();
    // What cannot be read is no output.
    let _ = (&mut pipe).take(OUTPUT_BYTES).read_to_end(&mut kept).await;
    let mut rest = [0; 1_024];
    while pipe.read(&mut rest).await.is_ok_and(|length| length > 0) {}
    kept
}

/// The reason in what a command said: its first line that is not blank, without control characters.
#[must_use]
pub fn first_line(output: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(output);
    let plain = |line: &str| line.chars().filter(|c| !c.is_control()).collect::<String>().trim().to_owned();
    text.lines().map(plain).find(|line| !line.is_empty())
}

/// User and group id of a name, or of a number.
fn account(accounts: &str, user: &str) -> Option<(u32, u32)> {
    let line = accounts.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| match fields[..] {
        [name, _, uid, ..] => name == user || uid == user,
        _ => false,
    })?;
    Some((line.get(2)?.parse().ok()?, line.get(3)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_found_by_name_and_by_number() {
        let text = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65533:nobody:/:/usr/sbin/nologin\nbroken\n";
        assert_eq!(account(text, "nobody"), Some((65_534, 65_533)));
        assert_eq!(account(text, "65534"), Some((65_534, 65_533)));
        assert_eq!(account(text, "somebody"), None);
    }

    #[test]
    fn a_reason_is_one_line_without_control_characters() {
        assert_eq!(first_line(b"\n  \x1b[31mdisk full\n more"), Some("[31mdisk full".to_owned()));
        assert_eq!(first_line(b" \n"), None);
        assert_eq!(
            first_line(b"\x07\n\x1b \x07\nfull"),
            Some("full".to_owned()),
            "a line of control characters is blank"
        );
    }
}
