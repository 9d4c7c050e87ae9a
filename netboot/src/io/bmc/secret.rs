//! Credentials of controllers: a file that only its owner can read. They are never shown, logged or stored elsewhere.

use crate::bmc::Trouble;
use serde::Deserialize;
use std::fmt;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Octets of the file.
const FILE_MAX: u64 = 4_096;

/// A user and his password.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Secret {
    pub(super) user: String,
    pub(super) password: String,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").field("user", &self.user).finish_non_exhaustive()
    }
}

impl Secret {
    /// Reads it anew each time: a password that was changed counts at once.
    pub(super) fn read(file: &Path) -> Result<Self, Trouble> {
        let name = file.display();
        let wrong = |why: String| Trouble::Credentials(format!("{name}: {why}"));
        let metadata = std::fs::metadata(file).map_err(|error| wrong(error.to_string()))?;
        if metadata.mode() & 0o077 != 0 {
            return Err(wrong(format!("others can read it (mode {:03o}): chmod 600", metadata.mode() & 0o777)));
        }
        if metadata.len() > FILE_MAX {
            return Err(wrong(format!("more than {FILE_MAX} octets")));
        }
        let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
        // The reader's words could quote the file.
        let read: Result<Self, _> = serde_saphyr::from_str(&text);
        let secret =
            read.map_err(|_| wrong("write `user: NAME` and `password: \"…\"`, and nothing else".to_owned()))?;
        if secret.user.is_empty() || secret.user.contains(':') || secret.user.chars().any(char::is_control) {
            return Err(wrong("`user` is empty, or has a colon or control character".to_owned()));
        }
        Ok(secret)
    }

    /// `Authorization` of RFC 7617 §2.
    pub(super) fn basic(&self) -> String {
        format!("Basic {}", base64(format!("{}:{}", self.user, self.password).as_bytes()))
    }
}

/// RFC 4648 §4.
fn base64(octets: &[u8]) -> String {
    const SIGNS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in octets.chunks(3) {
        let bits = group.iter().fold(0_u32, |bits, octet| bits << 8 | u32::from(*octet)) << (8 * (3 - group.len()));
        for at in 0..4 {
            let index = usize::try_from(bits >> (18 - 6 * at) & 0x3f).unwrap_or_default();
            text.push(if at > group.len() { '=' } else { char::from(SIGNS[index]) });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    /// RFC 4648 §10, and RFC 7617 §2 and its `charset` example with UTF-8.
    #[test]
    fn names_and_passwords_are_written_as_the_rfcs_say() {
        for (plain, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE=")]
        {
            assert_eq!(base64(plain.as_bytes()), text);
        }
        let secret = |user: &str, password: &str| Secret { user: user.to_owned(), password: password.to_owned() };
        assert_eq!(secret("Aladdin", "open sesame").basic(), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert_eq!(secret("test", "123\u{a3}").basic(), "Basic dGVzdDoxMjPCow==");
        assert!(!format!("{:?}", secret("root", "calvin")).contains("calvin"));
    }

    #[test]
    fn a_file_that_others_can_read_is_refused_and_no_message_quotes_it() {
        let file = std::env::temp_dir().join(format!("weft-secret-{}", std::process::id()));
        let set = |text: &str, mode| {
            std::fs::write(&file, text).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            Secret::read(&file)
        };
        assert_eq!(set("user: root\npassword: \"12\"\n", 0o600).unwrap().password, "12");
        assert!(set("user: root\npassword: \"12\"\n", 0o640).unwrap_err().to_string().contains("chmod 600"));
        for text in ["user: root\npassword: [geheim]\n", "user: root\npasswort: geheim\n", "geheim"] {
            assert!(!set(text, 0o600).unwrap_err().to_string().contains("geheim"), "{text}");
        }
        std::fs::remove_file(&file).unwrap();
    }
}
