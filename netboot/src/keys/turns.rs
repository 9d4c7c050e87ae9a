//! Challenges that are open: each is answered once, or not at all. They are of one server, and of its memory: who asks another one begins anew.

use std::collections::BTreeMap;
use std::time::Duration;
use weft_machine::tpm::key::Public;

/// How long a machine may take: a TPM needs a second or two.
pub const WITHIN: Duration = Duration::from_secs(30);
/// Open at a time. Machines begin 50 of them in a second at most, and 256 at once (`Rate`), so there is room for what comes within
/// [`WITHIN`].
pub const TURNS_MAX: usize = 2_048;

/// What a server remembers of a challenge.
#[derive(Clone, Debug)]
pub struct Turn {
    /// Who began.
    pub serial: String,
    /// Its endorsement key.
    pub ek: Public,
    /// Its attestation key.
    pub ak: Public,
    /// What was sealed.
    pub nonce: [u8; 32],
}

/// All that are open.
#[derive(Clone, Debug, Default)]
pub struct Turns {
    open: BTreeMap<Vec<u8>, (Duration, Turn)>,
}

impl Turns {
    /// Begins one; false when there is no room.
    pub fn begin(&mut self, now: Duration, id: Vec<u8>, turn: Turn) -> bool {
        self.open.retain(|_, (until, _)| *until > now);
        if self.open.len() >= TURNS_MAX {
            return false;
        }
        self.open.insert(id, (now + WITHIN, turn));
        true
    }

    /// Ends one: nobody answers it again.
    pub fn end(&mut self, now: Duration, id: &[u8]) -> Option<Turn> {
        self.open.remove(id).filter(|(until, _)| *until > now).map(|(_, turn)| turn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weft_machine::tpm::key::Kind;

    fn turn() -> Turn {
        // Octets of a public area are checked elsewhere; what counts here is when it ends.
        let public = |kind, head: &str| {
            let text =
                format!("{head}{}{}", format_args!("0020{}", "11".repeat(32)), format_args!("0020{}", "22".repeat(32)));
            Public::read(kind, &text.parse::<weft_machine::keys::Hex>().unwrap().0).unwrap()
        };
        let policy = "837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa";
        Turn {
            serial: "N1".to_owned(),
            ek: public(Kind::Endorsement, &format!("0023000b000300b20020{policy}00060080004300100003{}", "0010")),
            ak: public(Kind::Attestation, "0023000b000504720000001000180 00b00030010".replace(' ', "").as_str()),
            nonce: [0; 32],
        }
    }

    #[test]
    fn each_is_answered_once_and_in_time() {
        let mut turns = Turns::default();
        let second = Duration::from_secs;
        assert!(turns.begin(second(0), vec![1], turn()));
        assert!(turns.end(second(1), &[2]).is_none());
        assert!(turns.end(second(1), &[1]).is_some());
        assert!(turns.end(second(1), &[1]).is_none(), "a second time");
        assert!(turns.begin(second(2), vec![1], turn()));
        assert!(turns.end(second(32), &[1]).is_none(), "too late");
    }

    #[test]
    fn there_is_room_for_so_many() {
        let mut turns = Turns::default();
        let begun =
            (0..TURNS_MAX + 9).filter(|at| turns.begin(Duration::ZERO, at.to_be_bytes().to_vec(), turn())).count();
        assert_eq!(begun, TURNS_MAX);
        assert!(turns.begin(WITHIN, vec![1], turn()), "those that are over make room");
    }
}
