//! What a checked service, or a command that checks it, may answer.

use weft_fabric::io::check::{ask, exec};

/// Octets of a reason: a line of the 4 KiB that are kept, every octet at worst a character of three.
const REASON_MAX: usize = 3 * 4_096;

/// First octet: what answers, a service (even) or a command. The rest: what it says.
pub fn run(data: &[u8]) {
    match data.split_first() {
        Some((kind, answer)) if kind % 2 == 0 => service(answer),
        Some((_, output)) => command(&output[..output.len().min(4_096)]),
        None => {}
    }
}

fn service(answer: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    // What is asked goes nowhere; the answer is there, and then the end.
    let stream = tokio::io::join(answer, tokio::io::sink());
    match runtime.block_on(ask(stream, "service", "/health")) {
        Ok(()) => {
            let codes = statuses(answer);
            assert!(
                codes.iter().any(|code| (200..300).contains(code)),
                "success without a status of success: {codes:?}"
            );
        }
        Err(reason) => line(&reason),
    }
}

/// Numbers that stand where a status line has its code: answers that only announce another one come first (RFC 9110 §15.2).
fn statuses(answer: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(answer);
    let code = |line: &str| line.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok();
    text.split('\n').filter_map(code).collect()
}

fn command(output: &[u8]) {
    let reason = exec::first_line(output);
    let says_something = String::from_utf8_lossy(output).chars().any(|c| !c.is_control() && !c.is_whitespace());
    assert_eq!(reason.is_some(), says_something);
    reason.iter().for_each(|reason| line(reason));
}

/// One line for people.
fn line(reason: &str) {
    assert!(!reason.is_empty() && reason.len() <= REASON_MAX, "{} octets", reason.len());
    assert!(!reason.chars().any(char::is_control), "{reason:?}");
}
