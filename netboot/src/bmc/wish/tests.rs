//! A wish and its store, step by step.

use super::*;
use crate::bmc::power::Goal;

const ZERO: Duration = Duration::ZERO;

fn drive(wish: Wish) -> Drive {
    let record = Record::new(wish, false, ("ops", "s0"), Timestamp::UNIX_EPOCH, Times::default().longest());
    Drive::new("s0", (record, Revision(1)), (Times::default(), true), (Timestamp::UNIX_EPOCH, ZERO))
}

/// Stores the draft as revision `to`.
fn kept(drive: &mut Drive, to: u64) {
    assert_eq!(drive.next(ZERO), Act::Save);
    let draft = drive.draft(Timestamp::UNIX_EPOCH);
    drive.on_saved((ZERO, ZERO), draft, Saved::Kept(Revision(to)));
}

#[test]
fn what_is_pressed_is_stored_before_it_is_pressed() {
    let mut wish = drive(Wish::Off);
    assert_eq!(wish.next(ZERO), Act::Read);
    wish.on_state(ZERO, Ok(Power::On));
    assert_eq!(wish.next(ZERO), Act::Save);
    let draft = wish.draft(Timestamp::UNIX_EPOCH);
    assert_eq!(
        draft.phase.pressed.map(|last| (last.press, last.count, last.answered)),
        Some((Press::SoftOff, 1, false))
    );
    assert_eq!(draft.says(), "is on: soft power-off");
    kept(&mut wish, 2);
    assert_eq!((wish.next(ZERO), wish.trusted()), (Act::Press(Press::SoftOff), TRUST));
    wish.on_pressed(ZERO, Ok(()));
    kept(&mut wish, 3);
    assert!(wish.record().phase.pressed.unwrap().answered);
    assert_eq!(wish.next(ZERO), Act::Wait(Duration::from_secs(2)));
}

#[test]
fn a_server_without_its_store_presses_nothing_and_says_why() {
    let mut wish = drive(Wish::Off);
    let mut now = ZERO;
    for _ in 0..10 {
        while let Act::Wait(until) = wish.next(now) {
            now = until;
        }
        assert_eq!(wish.next(now), Act::Read, "the state is asked for anew each time");
        wish.on_state(now, Ok(Power::On));
        assert_eq!(wish.next(now), Act::Save);
        let draft = wish.draft(Timestamp::UNIX_EPOCH);
        wish.on_saved((now, now), draft, Saved::Away("no etcd answers".to_owned()));
        assert_eq!(wish.says(), "the store is away, so nothing is pressed: no etcd answers");
    }
    // It comes back: the first press is the first one.
    while let Act::Wait(until) = wish.next(now) {
        now = until;
    }
    wish.on_state(now, Ok(Power::On));
    let draft = wish.draft(Timestamp::UNIX_EPOCH);
    assert_eq!(draft.phase.pressed.unwrap().count, 1);
}

#[test]
fn whoever_lost_a_wish_stops_and_says_to_whom() {
    let mut wish = drive(Wish::On);
    wish.on_state(ZERO, Ok(Power::Off));
    let draft = wish.draft(Timestamp::UNIX_EPOCH);
    let taken = wish.record().clone().handed(Timestamp::UNIX_EPOCH, "s1", Some("s1"), "taken from s0");
    wish.on_saved((ZERO, ZERO), draft, Saved::Changed(Some((taken, Revision(7)))));
    assert_eq!((wish.next(ZERO), wish.says(), wish.end()), (Act::End, "s1 has it now", None));
    let mut wish = drive(Wish::On);
    wish.heard(None);
    assert_eq!((wish.next(ZERO), wish.says()), (Act::End, "it is no longer wished"));
}

#[test]
fn a_lost_answer_is_found_and_counts() {
    let mut wish = drive(Wish::On);
    wish.on_state(ZERO, Ok(Power::Off));
    let stored = wish.draft(Timestamp::UNIX_EPOCH);
    // The store has it, and did not say so; it is tried again.
    let again = wish.draft(Timestamp::UNIX_EPOCH);
    wish.on_saved((ZERO, ZERO), again, Saved::Changed(Some((stored, Revision(2)))));
    assert_eq!(wish.next(ZERO), Act::Press(Press::On));
}

#[test]
fn a_wish_that_became_harder_at_another_server_does_not_wait() {
    let mut wish = drive(Wish::Off);
    wish.on_state(ZERO, Ok(Power::On));
    kept(&mut wish, 2);
    wish.on_pressed(ZERO, Ok(()));
    kept(&mut wish, 3);
    let harder = Record { hard: true, ..wish.record().clone() };
    wish.heard(Some((harder, Revision(4))));
    assert_eq!(wish.next(ZERO), Act::Read);
    wish.on_state(ZERO, Ok(Power::On));
    assert_eq!(wish.draft(Timestamp::UNIX_EPOCH).phase.pressed.unwrap().press, Press::HardOff);
}

/// Whatever goes on: a wish does not outlive its time, and one that nobody had is not begun afterwards.
#[test]
fn a_wish_is_given_up_when_its_time_is_over() {
    let longest = Times::default().longest();
    assert_eq!(longest, Duration::from_secs(120 + 3 * (30 + 60) + 2 * (3 + 180)));
    let mut wish = drive(Wish::On);
    assert_eq!(wish.next(longest), Act::Save);
    assert!(!wish.draft(Timestamp::UNIX_EPOCH).end.unwrap().well);
    let record = Record::new(Wish::On, false, ("ops", "s0"), Timestamp::UNIX_EPOCH, longest);
    let late = Timestamp::UNIX_EPOCH.checked_add(jiff::SignedDuration::from_hours(9)).unwrap();
    let mut old = Drive::new("s1", (record, Revision(1)), (Times::default(), true), (late, ZERO));
    assert_eq!(old.next(ZERO), Act::Save, "and not read");
    assert!(old.draft(late).says().contains("its time is over"), "{}", old.says());
}

#[test]
fn steps_are_bounded() {
    let mut record = drive(Wish::On).record().clone();
    for at in 0..100 {
        record = record.with_step(Timestamp::UNIX_EPOCH, "s0", &format!("{at} {}", "x".repeat(1_000)));
    }
    assert_eq!((record.steps.len(), record.says().len(), &record.says()[..3]), (STEPS_MAX, SAYS_MAX, "99 "));
    assert_eq!(record.phase.goal, Goal::On);
    assert!(serde_json::to_vec(&record).unwrap().len() < 10_000);
}
