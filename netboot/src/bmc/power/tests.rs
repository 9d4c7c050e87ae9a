//! A wish against controllers with faults, on virtual time.

use super::*;

/// A machine and its controller, as they are and as they say.
pub(in crate::bmc) struct Model {
    pub(in crate::bmc) on: bool,
    /// The operating system shuts down this long after it was asked; never if it hangs.
    pub(in crate::bmc) obeys: Option<u64>,
    /// A press has its effect this long after it was taken.
    pub(in crate::bmc) lag: u64,
    /// Presses that are taken and come to nothing.
    pub(in crate::bmc) swallows: u32,
    pub(in crate::bmc) knows_soft: bool,
    /// Says On for this long after a press, whatever is true.
    pub(in crate::bmc) boasts: u64,
    /// Does not answer from, until.
    pub(in crate::bmc) away: (u64, u64),
    pub(in crate::bmc) coming: Option<(u64, bool)>,
    pub(in crate::bmc) boast_until: u64,
    pub(in crate::bmc) presses: Vec<(u64, Press)>,
}

impl Model {
    pub(in crate::bmc) fn new(on: bool) -> Self {
        Self {
            on,
            obeys: Some(20),
            lag: 1,
            swallows: 0,
            knows_soft: true,
            boasts: 0,
            away: (0, 0),
            coming: None,
            boast_until: 0,
            presses: Vec::new(),
        }
    }

    fn is_away(&self, now: u64) -> bool {
        (self.away.0..self.away.1).contains(&now)
    }

    pub(in crate::bmc) fn read(&mut self, now: u64) -> Result<Power, Trouble> {
        if let Some((at, on)) = self.coming
            && at <= now
        {
            (self.on, self.coming) = (on, None);
        }
        if self.is_away(now) {
            return Err(Trouble::Silent("timeout".to_owned()));
        }
        Ok(if self.on || now < self.boast_until { Power::On } else { Power::Off })
    }

    pub(in crate::bmc) fn press(&mut self, now: u64, press: Press) -> Result<(), Trouble> {
        if self.is_away(now) {
            return Err(Trouble::Silent("timeout".to_owned()));
        }
        if press == Press::SoftOff && !self.knows_soft {
            return Err(Trouble::Unsupported("no GracefulShutdown".to_owned()));
        }
        self.presses.push((now, press));
        if self.swallows > 0 {
            self.swallows -= 1;
            self.boast_until = now + self.boasts;
            return Ok(());
        }
        self.coming = match press {
            Press::On => Some((now + self.lag, true)),
            Press::HardOff => Some((now + self.lag, false)),
            Press::SoftOff => self.obeys.map(|after| (now + after, false)),
        };
        Ok(())
    }

    pub(in crate::bmc) fn pressed(&self) -> Vec<Press> {
        self.presses.iter().map(|(_, press)| *press).collect()
    }

    /// Until the end of the task; the second at which it was.
    fn run(&mut self, task: &mut Task) -> u64 {
        self.run_until(task, u64::MAX)
    }

    fn run_until(&mut self, task: &mut Task, limit: u64) -> u64 {
        let mut now = 0;
        for _ in 0..10_000 {
            let time = Duration::from_secs(now);
            match task.next(time) {
                Act::Read => {
                    let heard = self.read(now);
                    task.on_state(time, heard);
                }
                Act::Press(press) => {
                    let heard = self.press(now, press);
                    task.on_pressed(time, heard);
                }
                Act::Wait(until) if until.as_secs() > limit => return now,
                Act::Wait(until) => now = until.as_secs().max(now + 1),
                Act::End => return now,
            }
        }
        panic!("a wish without an end: {task:?}");
    }
}

fn task(wish: Wish) -> Task {
    Task::new(wish, false, Times::default())
}

fn failure(task: &Task) -> &str {
    match task.end() {
        Some(End::Failed(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_so_already_is_not_pressed() {
    for (wish, on) in [(Wish::On, true), (Wish::Off, false)] {
        let (mut model, mut task) = (Model::new(on), task(wish));
        assert_eq!(model.run(&mut task), 3, "and believed after `steady_s`");
        assert_eq!((task.end(), model.pressed()), (Some(&End::Done), vec![]));
    }
}

#[test]
fn off_is_soft_first_and_hard_when_the_time_of_the_model_is_over() {
    let (mut model, mut wish) = (Model::new(true), task(Wish::Off));
    assert!((20..30).contains(&model.run(&mut wish)));
    assert_eq!((wish.end(), model.pressed()), (Some(&End::Done), vec![Press::SoftOff]));
    let (mut hung, mut wish) = (Model { obeys: None, ..Model::new(true) }, task(Wish::Off));
    hung.run(&mut wish);
    assert_eq!((wish.end(), hung.pressed()), (Some(&End::Done), vec![Press::SoftOff, Press::HardOff]));
    assert!((120..=122).contains(&hung.presses[1].0), "{:?}", hung.presses);
}

#[test]
fn hard_and_cycle_ask_no_operating_system_and_restart_does() {
    for (wish, hard, pressed) in [
        (Wish::Off, true, vec![Press::HardOff]),
        (Wish::Cycle, false, vec![Press::HardOff, Press::On]),
        (Wish::Restart, false, vec![Press::SoftOff, Press::On]),
    ] {
        let (mut model, mut task) = (Model::new(true), Task::new(wish, hard, Times::default()));
        model.run(&mut task);
        assert_eq!((task.end(), model.pressed()), (Some(&End::Done), pressed), "{wish}");
        assert_eq!(model.on, wish != Wish::Off);
    }
    let (mut off, mut task) = (Model::new(false), task(Wish::Restart));
    off.run(&mut task);
    assert_eq!(off.pressed(), [Press::On], "a machine that is off is turned on");
}

/// ironcore-dev/metal-operator#129: a soft power-off that is not known must not be asked for again and again.
#[test]
fn an_unknown_soft_off_is_learned() {
    let (mut model, mut wish) = (Model { knows_soft: false, ..Model::new(true) }, task(Wish::Off));
    model.run(&mut wish);
    assert_eq!((wish.end(), model.pressed(), wish.knows_soft()), (Some(&End::Done), vec![Press::HardOff], false));
    let mut again = Task::new(Wish::Off, false, Times::default()).without_soft();
    let mut model = Model::new(true);
    model.run(&mut again);
    assert_eq!(model.pressed(), [Press::HardOff]);
}

#[test]
fn a_press_without_effect_is_repeated_a_few_times_and_then_said() {
    let (mut model, mut wish) = (Model { swallows: 2, ..Model::new(false) }, task(Wish::On));
    model.run(&mut wish);
    assert_eq!((wish.end(), model.presses.len()), (Some(&End::Done), 3));
    let (mut dead, mut wish) = (Model { swallows: 99, ..Model::new(false) }, task(Wish::On));
    dead.run(&mut wish);
    assert_eq!(failure(&wish), "it is off after 3 times power on");
    assert_eq!(dead.presses.len(), 3);
}

/// A controller that says On although nothing came of it.
#[test]
fn a_state_is_believed_when_it_stays() {
    let (mut model, mut wish) = (Model { swallows: 1, boasts: 3, ..Model::new(false) }, task(Wish::On));
    model.run(&mut wish);
    assert_eq!((wish.end(), model.presses.len(), model.on), (Some(&End::Done), 2, true));
}

/// metal3-io/baremetal-operator#984: nobody is told that a machine is off while its controller does not answer.
#[test]
fn a_controller_that_is_away_is_waited_for_and_never_guessed() {
    let (mut model, mut wish) = (Model { away: (0, 100), ..Model::new(true) }, task(Wish::Off));
    assert!(model.run(&mut wish) > 100);
    assert_eq!(wish.end(), Some(&End::Done));
    let (mut gone, mut wish) = (Model { away: (0, u64::MAX), ..Model::new(true) }, task(Wish::Off));
    assert!((180..190).contains(&gone.run(&mut wish)));
    assert!(failure(&wish).ends_with("whether the machine is off is not known"), "{wish:?}");
    // It goes just after it was read, and the press is lost: the press is made again.
    let (mut model, mut wish) = (Model::new(false), task(Wish::On));
    let now = Duration::ZERO;
    wish.on_state(now, Ok(Power::Off));
    assert_eq!(wish.next(now), Act::Press(Press::On));
    wish.on_pressed(now, Err(Trouble::Silent("reset by peer".to_owned())));
    model.run(&mut wish);
    assert_eq!((wish.end(), model.pressed()), (Some(&End::Done), vec![Press::On]));
}

#[test]
fn who_wishes_it_harder_does_not_wait() {
    let (mut hung, mut wish) = (Model { obeys: None, ..Model::new(true) }, task(Wish::Off));
    let now = hung.run_until(&mut wish, 10);
    wish.harden();
    assert_eq!(wish.next(Duration::from_secs(now)), Act::Read);
    hung.run(&mut wish);
    assert_eq!((wish.end(), hung.pressed()), (Some(&End::Done), vec![Press::SoftOff, Press::HardOff]));
    assert!(hung.presses[1].0 < 20, "{:?}", hung.presses);
}

#[test]
fn what_trying_cannot_mend_ends_at_once() {
    for trouble in [Trouble::Credentials("root".to_owned()), Trouble::Untrusted("another certificate".to_owned())] {
        let mut wish = task(Wish::On);
        wish.on_state(Duration::ZERO, Err(trouble.clone()));
        assert_eq!(failure(&wish), trouble.to_string());
    }
}
