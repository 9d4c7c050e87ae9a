//! What a management controller answers, or who pretends to be one.

use serde_json::Value;
use std::time::Duration;
use weft_netboot::bmc::redfish::{Answer, Dialog, Goal, Identity, Known, Step};
use weft_netboot::bmc::{Boot, BootFrom, Press, Trouble};

/// Steps of one dialogue, however it is led astray: each request, and a wait before it.
const STEPS_MAX: usize = 256;

/// Each line is an answer: a document with `status`, `body` and what else is heard of a head. What is none is an answer without a body. Five
/// dialogues one after the other share what they know, as a server's do.
pub fn redfish(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.lines();
    let mut known = Known::default();
    let boot = Boot { from: BootFrom::Http, once: true, mode: None, uri: Some("http://10.72.0.1/uki.efi".to_owned()) };
    for goal in [Goal::Read, Goal::Press(Press::On), Goal::Boot(boot), Goal::Press(Press::SoftOff), Goal::Leave] {
        let leaves = goal == Goal::Leave;
        let mut dialog = Dialog::new(goal, Some("00112233-4455-6677-8899-aabbccddeeff"), "N1", "root");
        let mut steps = 0;
        loop {
            steps += 1;
            assert!(steps <= STEPS_MAX, "a dialogue without an end");
            match dialog.next(&known) {
                Step::Ask(ask) => {
                    assert!(ask.path.starts_with('/') && ask.path.len() <= 512, "{}", ask.path);
                    assert!(ask.path.bytes().all(|octet| (0x21..0x7f).contains(&octet)), "{}", ask.path);
                    assert!(!leaves || ask.identity != Identity::Basic, "nobody says his password to say good-bye");
                    let answer = lines.next().map(answer);
                    dialog.handle(&mut known, answer.ok_or_else(|| Trouble::Silent("no more".to_owned())));
                }
                Step::Wait(rest) => assert!(rest <= Duration::from_secs(30)),
                Step::End(end) => {
                    let said = end.err().map(|trouble| trouble.to_string()).unwrap_or_default();
                    assert!(said.chars().all(|c| !c.is_control()) && said.len() < 16_384, "{said:?}");
                    break;
                }
            }
        }
    }
}

fn answer(line: &str) -> Answer {
    let mut document: Value = serde_json::from_str(line).unwrap_or_default();
    let body = document.get_mut("body").map(Value::take).unwrap_or_default();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    Answer {
        status: document["status"].as_u64().and_then(|status| u16::try_from(status).ok()).unwrap_or(200),
        retry_after_s: document["retry"].as_u64(),
        etag: text(&document["etag"]),
        location: text(&document["location"]),
        token: text(&document["token"]),
        body,
    }
}
