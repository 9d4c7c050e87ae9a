//! The life of a lab's runner: started, watched, taken down by Ctrl-C, a signal, or another terminal's `down`.
//!
//! One thread waits for the end, whatever the main thread is busy with, takes the lab down and ends the process.
#![expect(clippy::disallowed_methods, reason = "a thread waits for signals")]

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;

use anyhow::{Context as _, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

use crate::lab::Lab;
use crate::lab::home::Home;
use crate::lab::progress::Progress;

/// Exit code of a command that was interrupted, as shells have it for SIGINT.
const INTERRUPTED: u8 = 130;

/// What the waiting thread needs.
#[derive(Debug)]
pub(super) struct Session {
    home: Arc<Home>,
    lab: OnceLock<Arc<Lab>>,
    asked: Notify,
    code: AtomicU8,
}

impl Session {
    /// From here on, the end is waited for.
    pub(super) fn new(home: Arc<Home>) -> Result<Arc<Self>> {
        let session =
            Arc::new(Self { home, lab: OnceLock::new(), asked: Notify::new(), code: AtomicU8::new(INTERRUPTED) });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let waiting = Arc::clone(&session);
        let (ready, is_ready) = std::sync::mpsc::channel();
        thread::spawn(move || {
            runtime.block_on(async {
                let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
                let [interrupt, terminate, hangup] = kinds.map(signal);
                let (Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)) = (interrupt, terminate, hangup) else {
                    return; // says so by dropping `ready`
                };
                let _ = ready.send(());
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hangup.recv() => {}
                    () = waiting.asked.notified() => {}
                }
                waiting.end();
            });
        });
        is_ready.recv().context("cannot wait for signals")?;
        Ok(session)
    }

    /// The lab is up.
    pub(super) fn set(&self, lab: Arc<Lab>) {
        let _ = self.lab.set(lab);
    }

    /// Exit code if the end comes now.
    pub(super) fn set_code(&self, code: u8) {
        self.code.store(code, Ordering::Relaxed);
    }

    /// Asks for the end, as a signal does.
    pub(super) fn ask(&self) {
        self.asked.notify_one();
    }

    /// Stays until the end; never returns.
    pub(super) fn stay(&self) -> ! {
        loop {
            thread::park();
        }
    }

    fn end(&self) {
        match self.lab.get() {
            Some(lab) => lab.down(&Progress::new()),
            // still being made: its processes end with this one
            None => drop(self.home.remove()),
        }
        std::process::exit(i32::from(self.code.load(Ordering::Relaxed)));
    }
}
