//! `weft mrt`: what becomes of it.

use crate::{form, target};
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use weft_fabric::cli::{Mrt, Output, Replay, Whom};
use weft_fabric::io::mrt;

/// Carries it out.
pub(crate) fn run(mrt: Mrt, output: Output, whom: &Whom) -> ExitCode {
    match mrt {
        Mrt::Show { file, limit } => show(&file, limit, output),
        Mrt::Replay(wanted) => replay(&wanted),
        Mrt::Dump { file } => dump(&file, whom),
    }
}

/// Prints a dump; 1 if part of it could not be read.
fn show(file: &Path, limit: Option<u64>, output: Output) -> ExitCode {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let complain = |damage| eprintln!("weft: {damage}");
    let shown = mrt::verbs::show(file, form(output), limit, &mut out, complain);
    match shown.and_then(|counts| Ok((counts, out.flush()?))) {
        Ok((counts, ())) if counts.left_out == 0 => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            let closed = |error: &std::io::Error| error.kind() == std::io::ErrorKind::BrokenPipe;
            if error.downcast_ref().is_some_and(closed) {
                return ExitCode::SUCCESS;
            }
            eprintln!("weft: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dump(file: &Path, whom: &Whom) -> ExitCode {
    let target = match target(whom) {
        Ok(target) => target,
        Err(wrong) => return wrong,
    };
    match mrt::verbs::dump(&target, file) {
        Ok(counts) => {
            println!("{}: {} prefixes, {} paths left out", file.display(), counts.done, counts.left_out);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("weft: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn replay(replay: &Replay) -> ExitCode {
    let done = mrt::replay::run(&replay.file, &replay.wanted(), |told| {
        let mrt::replay::Told { octets, prefixes, messages, untold, took } = told;
        println!(
            "told {prefixes} prefixes of tables and {messages} messages, {octets} octets in {:.3} s; {untold} could not be told",
            took.as_secs_f64()
        );
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("weft: {error:#}");
            ExitCode::FAILURE
        }
    }
}
