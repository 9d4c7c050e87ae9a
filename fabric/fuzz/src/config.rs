//! What may stand in a configuration file.

use weft_fabric::config::{ConfigError, parse};

/// The text of a file.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let read = || parse("weft.yaml", text).and_then(|config| config.node());
    match (read(), read()) {
        (Ok(node), Ok(again)) => assert_eq!(format!("{node:?}"), format!("{again:?}")),
        (Err(error), Err(again)) => {
            assert_eq!(error.to_string(), again.to_string());
            refused(text, &error);
        }
        (one, other) => panic!("read once as {one:?}, once as {other:?}"),
    }
}

/// Each fault says where it is, within the text, and what is wrong.
fn refused(text: &str, error: &ConfigError) {
    assert!(!error.faults.is_empty());
    for fault in &error.faults {
        assert!(fault.at.0 > 0 && fault.at.1 > 0 && !fault.message.is_empty(), "{fault:?}");
    }
    let labels = miette::Diagnostic::labels(error).unwrap();
    for label in labels {
        assert!(label.offset() <= text.len() && text.is_char_boundary(label.offset()), "{label:?}");
    }
}
