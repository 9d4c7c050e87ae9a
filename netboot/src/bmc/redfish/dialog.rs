//! From a goal to requests: what is not known yet is asked for, in the order root, session, system, and kept for the next time.
//!
//! ```text
//!   root ─▶ session (or Basic) ─▶ systems ─▶ system ─▶ read | reset | boot, read again ─▶ end
//!     401: the session is forgotten, another one is made      503, 429: again, when it says
//!     404 of the system: looked for anew                      412, 428: read, and again
//!     202: its task is followed                               unknown word: another one, and it is remembered
//! ```

use super::{Answer, Ask, Content, Identity, Method, Power, Press, ROOT, SYSTEMS_MAX, System};
use super::{is_unknown, link, patch, path, patience, refusal, resets};
use crate::bmc::{Boot, BootFrom, Trouble};
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Duration;

/// Requests of one dialogue: enough for every detour above, and an end to a controller that leads in circles.
const ASKS_MAX: u32 = 64;
/// Times that a busy controller is waited for.
const BUSY_MAX: u32 = 5;
/// Times that a session is made anew, a system looked for anew, a change tried anew.
const ANEW_MAX: u32 = 2;
/// Looks at a task of the controller.
const TASK_LOOKS_MAX: u32 = 30;

/// What somebody wants of a controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Goal {
    /// How it is.
    Read,
    /// Press a button.
    Press(Press),
    /// Say what firmware boots; read afterwards.
    Boot(Boot),
    /// End the session.
    Leave,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// How it is.
    Read(super::Reading),
    /// It took what it was told.
    Done,
}

/// What is known of a controller from one dialogue to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    root: Option<Root>,
    session: Option<(String, Option<String>)>,
    /// It has no sessions that work.
    no_sessions: bool,
    system: Option<String>,
    reset: Option<(String, Vec<String>)>,
    /// Words that it did not know, although it may say so.
    refused: BTreeSet<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Root {
    systems: String,
    sessions: Option<String>,
}

impl Known {
    /// Whether there is a session to end.
    #[must_use]
    pub const fn has_session(&self) -> bool {
        self.session.is_some()
    }

    /// Whether the controller has it or not.
    pub fn forget_session(&mut self) {
        self.session = None;
    }

    /// The word for a press that it knows as far as is known.
    fn word(&self, press: Press) -> Option<&'static str> {
        let allowed = self.reset.as_ref().map_or(&[][..], |(_, allowed)| allowed);
        let knows = |word: &&&str| {
            (allowed.is_empty() || allowed.iter().any(|one| one == **word)) && !self.refused.contains(**word)
        };
        resets(press).iter().find(knows).copied()
    }
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send this, and say what came back.
    Ask(Ask),
    /// Wait, then go on.
    Wait(Duration),
    /// It is over.
    End(Result<Outcome, Trouble>),
}

/// What was asked last.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Asked {
    Root,
    Login,
    Systems,
    System(String),
    Info,
    Reset(&'static str),
    Patch,
    Task(String),
    Leave,
}

/// One dialogue.
#[derive(Clone, Debug)]
pub struct Dialog {
    goal: Goal,
    /// UUID and serial number of the machine: they tell it from others behind the same controller.
    ids: (Option<String>, String),
    user: String,
    asked: Option<Asked>,
    wait: Option<Duration>,
    /// Systems to look at, when there are several.
    candidates: Vec<String>,
    /// There is only one.
    is_lone: bool,
    system: Option<System>,
    /// The change of the boot source was taken.
    patched: bool,
    task: Option<String>,
    asks: u32,
    busy: u32,
    anew: u32,
    looks: u32,
    end: Option<Result<Outcome, Trouble>>,
}

impl Dialog {
    /// Begins; `user` is for messages.
    #[must_use]
    pub fn new(goal: Goal, uuid: Option<&str>, serial: &str, user: &str) -> Self {
        let ids = (uuid.map(str::to_ascii_lowercase), serial.to_owned());
        Self {
            goal,
            ids,
            user: user.to_owned(),
            asked: None,
            wait: None,
            candidates: Vec::new(),
            is_lone: false,
            system: None,
            patched: false,
            task: None,
            asks: 0,
            busy: 0,
            anew: 0,
            looks: 0,
            end: None,
        }
    }

    /// What to do now.
    pub fn next(&mut self, known: &Known) -> Step {
        if let Some(wait) = self.wait.take() {
            return Step::Wait(wait);
        }
        if self.end.is_none() && self.asks >= ASKS_MAX {
            self.end = Some(Err(Trouble::Refused(format!("{ASKS_MAX} requests, and still no end"))));
        }
        if self.end.is_none() {
            let (asked, mut ask) = match self.wanted(known) {
                Ok(wanted) => wanted,
                Err(end) => return self.over(end),
            };
            ask.identity = match (&asked, &known.session) {
                (Asked::Root | Asked::Login, _) => Identity::Nobody,
                (_, Some((token, _))) => Identity::Token(token.clone()),
                (_, None) => Identity::Basic,
            };
            self.asks += 1;
            self.asked = Some(asked);
            return Step::Ask(ask);
        }
        Step::End(self.end.clone().unwrap_or(Ok(Outcome::Done)))
    }

    fn over(&mut self, end: Result<Outcome, Trouble>) -> Step {
        self.end = Some(end.clone());
        Step::End(end)
    }

    /// The next request, or the end.
    fn wanted(&self, known: &Known) -> Result<(Asked, Ask), Result<Outcome, Trouble>> {
        if self.goal == Goal::Leave {
            let Some((_, Some(path))) = &known.session else { return Err(Ok(Outcome::Done)) };
            return Ok((Asked::Leave, ask(Method::Delete, path)));
        }
        let Some(root) = &known.root else { return Ok((Asked::Root, ask(Method::Get, ROOT))) };
        if let Some(path) = root.sessions.as_ref().filter(|_| known.session.is_none() && !known.no_sessions) {
            return Ok((Asked::Login, Ask { content: Content::Login, ..ask(Method::Post, path) }));
        }
        if let Some(task) = &self.task {
            return Ok((Asked::Task(task.clone()), ask(Method::Get, task)));
        }
        let Some(path) = known.system.as_ref().or_else(|| self.candidates.last()) else {
            return Ok((Asked::Systems, ask(Method::Get, &root.systems)));
        };
        let read = || Ok((Asked::System(path.clone()), ask(Method::Get, path)));
        match (&self.goal, &self.system) {
            (Goal::Press(press), _) if known.system.is_some() && known.reset.is_some() => self.reset(known, *press),
            (Goal::Press(_), Some(system)) => match &system.info {
                Some(info) if system.reset.is_some() => Ok((Asked::Info, ask(Method::Get, info))),
                _ => Err(Err(Trouble::Unsupported("its system has no action Reset".to_owned()))),
            },
            (_, None) => read(),
            (Goal::Read, Some(system)) => Err(Ok(Outcome::Read(system.reading.clone()))),
            (Goal::Boot(boot), Some(system)) if self.patched => Err(confirm(boot, system)),
            (Goal::Boot(boot), Some(system)) => change(path, boot, system),
            (Goal::Leave, Some(_)) => Err(Ok(Outcome::Done)),
        }
    }

    fn reset(&self, known: &Known, press: Press) -> Result<(Asked, Ask), Result<Outcome, Trouble>> {
        let (target, allowed) = known.reset.as_ref().map(|(t, a)| (t.as_str(), a.as_slice())).unwrap_or_default();
        let Some(word) = known.word(press) else {
            let knows = if allowed.is_empty() { "other words".to_owned() } else { allowed.join(", ") };
            let why = format!("it knows {knows}, and none of {}", resets(press).join(", "));
            return Err(Err(Trouble::Unsupported(why)));
        };
        let content = Content::Document(json!({ "ResetType": word }));
        Ok((Asked::Reset(word), Ask { content, ..ask(Method::Post, target) }))
    }

    /// An answer, or why there was none. After that, [`Dialog::next`].
    pub fn handle(&mut self, known: &mut Known, answer: Result<Answer, Trouble>) {
        let Some(asked) = self.asked.take() else { return };
        let answer = match answer {
            Ok(answer) => answer,
            Err(trouble) => {
                self.end = Some(Err(trouble));
                return;
            }
        };
        match answer.status {
            200..300 => self.on_success(known, asked, &answer),
            401 => self.on_unknown_user(known, &asked),
            // DSP0266 §7.5.2: busy for now.
            429 | 503 if self.busy < BUSY_MAX => {
                self.busy += 1;
                self.wait = Some(patience(&answer));
            }
            412 | 428 if asked == Asked::Patch && self.anew < ANEW_MAX => {
                self.anew += 1;
                self.system = None;
            }
            _ => self.on_refusal(known, asked, &answer),
        }
    }

    fn on_success(&mut self, known: &mut Known, asked: Asked, answer: &Answer) {
        match asked {
            Asked::Root => match link(&answer.body["Systems"]) {
                Some(systems) => {
                    let sessions = link(&answer.body["Links"]["Sessions"]);
                    known.root = Some(Root { systems, sessions });
                }
                None => self.fails(Trouble::Absent(format!("{ROOT} names no systems"))),
            },
            Asked::Login => match &answer.token {
                Some(token) => {
                    let place = answer.location.as_deref().and_then(path).or_else(|| link(&answer.body));
                    known.session = Some((token.clone(), place));
                }
                None => known.no_sessions = true,
            },
            Asked::Systems => {
                let all = answer.body["Members"].as_array().into_iter().flatten();
                self.candidates = all.take(SYSTEMS_MAX).filter_map(link).collect();
                self.is_lone = self.candidates.len() == 1;
                if self.candidates.is_empty() {
                    self.fails(Trouble::Refused("it names no system".to_owned()));
                }
            }
            Asked::System(path) => self.on_system(known, path, answer),
            Asked::Info => {
                let parameters = answer.body["Parameters"].as_array().into_iter().flatten();
                let of = parameters
                    .filter(|one| one["Name"] == "ResetType")
                    .flat_map(|one| super::words(&one["AllowableValues"]));
                let target = self.system.as_ref().and_then(|system| system.reset.as_ref());
                known.reset = target.map(|(target, _)| (target.clone(), of.collect()));
            }
            Asked::Reset(_) | Asked::Patch if answer.status == 202 && self.on_monitor(answer) => {}
            Asked::Reset(_) => self.end = Some(Ok(Outcome::Done)),
            Asked::Patch => (self.patched, self.system) = (true, None),
            Asked::Task(path) => self.on_task(path, answer),
            Asked::Leave => {
                known.session = None;
                self.end = Some(Ok(Outcome::Done));
            }
        }
    }

    fn on_system(&mut self, known: &mut Known, path: String, answer: &Answer) {
        let Some(system) = System::read(answer) else {
            return self.fails(Trouble::Refused(format!("what it says of {path} is no system")));
        };
        if known.system.is_none() {
            match system.is_of(self.ids.0.as_deref(), &self.ids.1) {
                Some(true) => {}
                None if self.is_lone => {}
                Some(false) | None => {
                    self.candidates.pop();
                    if self.candidates.is_empty() {
                        let [uuid, serial] = &system.ids;
                        let why =
                            format!("it is the controller of another machine: serial number `{serial}`, UUID `{uuid}`");
                        self.fails(Trouble::Refused(why));
                    }
                    return;
                }
            }
            known.system = Some(path);
        }
        if let Some((target, allowed)) = &system.reset
            && (system.info.is_none() || !allowed.is_empty())
        {
            known.reset = Some((target.clone(), allowed.clone()));
        }
        self.system = Some(system);
    }

    /// Whether there is a task to follow (DSP0266 §12).
    fn on_monitor(&mut self, answer: &Answer) -> bool {
        self.task = answer.location.as_deref().and_then(path).or_else(|| link(&answer.body));
        self.wait = self.task.as_ref().map(|_| patience(answer));
        self.task.is_some()
    }

    fn on_task(&mut self, path: String, answer: &Answer) {
        let state = answer.body["TaskState"].as_str().unwrap_or_default();
        let is_done = answer.status != 202 && matches!(state, "" | "Completed");
        if matches!(state, "Exception" | "Killed" | "Cancelled") {
            let messages = json!({ "error": { "@Message.ExtendedInfo": answer.body["Messages"] } });
            let why = refusal(&Answer { body: messages, ..answer.clone() });
            return self.fails(Trouble::Refused(format!("its task ended as {state}: {why}")));
        }
        if is_done {
            self.task = None;
            match self.goal {
                Goal::Boot(_) => (self.patched, self.system) = (true, None),
                Goal::Read | Goal::Press(_) | Goal::Leave => self.end = Some(Ok(Outcome::Done)),
            }
            return;
        }
        self.looks += 1;
        if self.looks >= TASK_LOOKS_MAX {
            return self.fails(Trouble::Refused(format!("its task {path} does not end")));
        }
        self.asks = self.asks.saturating_sub(1);
        self.wait = Some(patience(answer));
    }

    fn on_unknown_user(&mut self, known: &mut Known, asked: &Asked) {
        let had = known.session.take().is_some();
        if *asked == Asked::Leave {
            self.end = Some(Ok(Outcome::Done));
        } else if had && self.anew < ANEW_MAX {
            self.anew += 1;
        } else {
            self.fails(Trouble::Credentials(self.user.clone()));
        }
    }

    fn on_refusal(&mut self, known: &mut Known, asked: Asked, answer: &Answer) {
        let why = refusal(answer);
        match asked {
            Asked::Root => self.fails(Trouble::Absent(why)),
            // A controller without sessions, or with all of them taken: name and password go with each request.
            Asked::Login if matches!(answer.status, 400 | 403..=405 | 500..=503) => known.no_sessions = true,
            Asked::System(_) | Asked::Systems | Asked::Reset(_)
                if answer.status == 404 && known.system.is_some() && self.anew < ANEW_MAX =>
            {
                self.anew += 1;
                (known.system, known.reset, self.system) = (None, None, None);
                self.candidates.clear();
            }
            Asked::Reset(word) if is_unknown(answer) => {
                known.refused.insert(word.to_owned());
            }
            // Without a list it knows what it knows.
            Asked::Info => {
                let target = self.system.as_ref().and_then(|system| system.reset.as_ref());
                known.reset = target.map(|(target, _)| (target.clone(), Vec::new()));
            }
            Asked::Leave => {
                known.session = None;
                self.end = Some(Ok(Outcome::Done));
            }
            // A task that is over may be gone.
            Asked::Task(_) if answer.status == 404 => {
                self.task = None;
                self.on_task(String::new(), &Answer { status: 200, ..Answer::default() });
            }
            Asked::Patch if is_unknown(answer) => self.fails(Trouble::Unsupported(why)),
            Asked::Login | Asked::Systems | Asked::System(_) | Asked::Reset(_) | Asked::Patch | Asked::Task(_) => {
                self.fails(Trouble::Refused(why));
            }
        }
    }

    fn fails(&mut self, trouble: Trouble) {
        self.end = Some(Err(trouble));
    }
}

fn ask(method: Method, path: &str) -> Ask {
    Ask { method, path: path.to_owned(), identity: Identity::Nobody, content: Content::Nothing, if_match: None }
}

/// The change, if the system says that it can be told that.
fn change(path: &str, boot: &Boot, system: &System) -> Result<(Asked, Ask), Result<Outcome, Trouble>> {
    let said = patch(boot, system.has_mode);
    let known = said.filter(|(target, _)| system.targets.is_empty() || system.targets.iter().any(|one| one == target));
    let Some((_, document)) = known else {
        let why = format!("firmware boots from {}, and not from {}", system.targets.join(", "), boot.from.name());
        return Err(Err(Trouble::Unsupported(why)));
    };
    let content = Content::Document(document);
    Ok((Asked::Patch, Ask { content, if_match: system.etag.clone(), ..ask(Method::Patch, path) }))
}

/// Whether the system says now what it was told.
fn confirm(boot: &Boot, system: &System) -> Result<Outcome, Trouble> {
    let is = system.reading.boot.as_ref();
    let same = is.is_some_and(|is| is.from == boot.from && (boot.from == BootFrom::None || is.once == boot.once));
    if same {
        return Ok(Outcome::Read(system.reading.clone()));
    }
    let is = is.map_or("nothing", |is| is.from.name());
    Err(Trouble::Refused(format!("it took the change, and still says that firmware boots {is}")))
}

/// What a reading says of power.
impl Outcome {
    /// The power, where it was read.
    #[must_use]
    pub const fn power(&self) -> Option<Power> {
        match self {
            Self::Read(reading) => Some(reading.power),
            Self::Done => None,
        }
    }
}
