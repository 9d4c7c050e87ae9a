//! `weft top`: asks the daemon once a second, owns the terminal meanwhile, and gives it back whatever happens.

use super::client::{Client, ClientError, Target};
use super::verbs::VerbError;
use crate::show::top::{Sample, View, draw, most_skipped};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use ratatui::crossterm::{cursor, execute};
use serde::de::DeserializeOwned;
use std::io::{self, IsTerminal as _, Stdout};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use weft_bgp::time::Duration;

/// How often the daemon is asked.
const EVERY: Duration = Duration::from_secs(1);
/// How often keys and answers are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Answers that wait to be drawn.
const SAMPLES: usize = 1;

/// Runs until `q`.
///
/// # Errors
/// When there is no terminal, no daemon at the start, or the terminal cannot be used.
pub fn run(target: &Target) -> Result<(), VerbError> {
    if !(io::stdout().is_terminal() && io::stdin().is_terminal()) {
        let remedy = "`weft monitor` and `weft show … --output json` are for pipes and files";
        return Err(VerbError::Unknown(format!("`weft top` needs a terminal\n  remedy: {remedy}")));
    }
    let clock = super::clock::Clock::start();
    let millis = move || clock.now().0 / 1_000_000;
    // What is wrong at the start is said like everywhere else.
    let first = sample(&Client::new(target).map_err(VerbError::Unusable)?, millis())?;
    let (sender, samples) = sync_channel(SAMPLES);
    let target = target.clone();
    std::thread::Builder::new().name("sampler".into()).spawn(move || ask_again(&target, millis, &sender))?;
    let mut screen = Screen::take()?;
    follow(&mut screen.terminal, first, &samples)
}

/// Until nobody wants samples any more.
fn ask_again(target: &Target, millis: impl Fn() -> u64, samples: &SyncSender<Result<Sample, ClientError>>) {
    let Ok(client) = Client::new(target) else {
        return;
    };
    loop {
        std::thread::sleep(EVERY);
        if samples.send(sample(&client, millis())).is_err() {
            return;
        }
    }
}

fn sample(client: &Client, at_ms: u64) -> Result<Sample, ClientError> {
    fn get<T: DeserializeOwned>(client: &Client, target: &str) -> Result<T, ClientError> {
        Ok(client.get(target)?.body)
    }
    let version = client.get("/v1/version")?;
    Ok(Sample {
        node: version.node,
        at_ms,
        version: version.body,
        neighbors: get(client, "/v1/neighbors")?,
        health: get(client, "/v1/health")?,
        kernel: get(client, "/v1/fib")?,
        bfd: get(client, "/v1/bfd")?,
        history: get(client, "/v1/history")?,
    })
}

fn follow(
    terminal: &mut Terminal<CrosstermBackend<Stdout>>,
    first: Sample,
    samples: &Receiver<Result<Sample, ClientError>>,
) -> Result<(), VerbError> {
    let (mut now, mut before) = (first, None);
    let (mut skipped, mut trouble) = (0_usize, None);
    loop {
        let view = View { now: &now, before: before.as_ref(), skipped, trouble: trouble.as_deref() };
        terminal.draw(|frame| draw(frame.area(), frame.buffer_mut(), &view))?;
        loop {
            if event::poll(LOOK_EVERY)? {
                match event::read()? {
                    Event::Key(key) if key.kind != KeyEventKind::Release => match key {
                        key if leaves(key) => return Ok(()),
                        key => skipped = moved(key.code, skipped).min(most_skipped(&now)),
                    },
                    Event::Key(_)
                    | Event::Resize(..)
                    | Event::Mouse(_)
                    | Event::Paste(_)
                    | Event::FocusGained
                    | Event::FocusLost => {}
                }
                break;
            }
            match samples.try_recv() {
                Ok(Ok(sample)) => {
                    before = Some(std::mem::replace(&mut now, sample));
                    trouble = None;
                    break;
                }
                Ok(Err(error)) => {
                    trouble = Some(error.to_string());
                    break;
                }
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => {
                    return Err(VerbError::Unknown("the thread that asks the daemon has ended".to_owned()));
                }
            }
        }
    }
}

/// `q`, Escape, and Ctrl-C, which is a key like others while the terminal is ours.
fn leaves(key: KeyEvent) -> bool {
    matches!(key.code, KeyCode::Char('q') | KeyCode::Esc)
        || (key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL))
}

/// Keys of less(1) and the arrows.
#[expect(clippy::wildcard_enum_match_arm, reason = "a keyboard has many other keys")]
const fn moved(code: KeyCode, skipped: usize) -> usize {
    match code {
        KeyCode::Down | KeyCode::Char('j') => skipped.saturating_add(1),
        KeyCode::Up | KeyCode::Char('k') => skipped.saturating_sub(1),
        KeyCode::Home => 0,
        KeyCode::End => usize::MAX,
        _ => skipped,
    }
}

/// The terminal while it is ours; it is as before when this is dropped, also by a panic.
struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
}

impl Screen {
    fn take() -> io::Result<Self> {
        enable_raw_mode()?;
        // From here on whatever fails must give it back.
        let give_back = |error| {
            restore();
            error
        };
        execute!(io::stdout(), EnterAlternateScreen, cursor::Hide).map_err(give_back)?;
        let terminal = Terminal::new(CrosstermBackend::new(io::stdout())).map_err(give_back)?;
        Ok(Self { terminal })
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

/// Nothing is left to be done if the terminal is gone.
fn restore() {
    let _ = execute!(io::stdout(), LeaveAlternateScreen, cursor::Show);
    let _ = disable_raw_mode();
}
