//! `weft top`, `weft trace` and `weft record`: verbs that do more than ask one daemon once.

use crate::{form, target};
use std::io::Write as _;
use std::net::IpAddr;
use std::path::Path;
use std::process::ExitCode;
use weft_bgp::time::Duration;
use weft_fabric::cli::{Output, Whom};
use weft_fabric::io::client::ClientError;
use weft_fabric::io::verbs::VerbError;
use weft_fabric::io::{record as recording, top as screen, trace as way};

pub(crate) fn top(whom: &Whom) -> ExitCode {
    match target(whom) {
        Ok(target) => ended(screen::run(&target)),
        Err(wrong) => wrong,
    }
}

pub(crate) fn trace(address: IpAddr, whom: &Whom, output: Output) -> ExitCode {
    // Also says what is wrong with the name of a lab.
    let target = match target(whom) {
        Ok(target) => target,
        Err(wrong) => return wrong,
    };
    let place = match whom.lab() {
        Some((lab, node)) => way::Place::Lab(lab.to_owned(), node.to_owned()),
        None => way::Place::One(target),
    };
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    ended(way::run(address, &place, form(output), &mut out).and_then(|()| Ok(out.flush()?)))
}

/// A recording that is over is worth a word: nothing more will come, however long somebody waits.
pub(crate) fn record(file: &Path, time: Option<Duration>, whom: &Whom) -> ExitCode {
    let target = match target(whom) {
        Ok(target) => target,
        Err(wrong) => return wrong,
    };
    match recording::take(&target, file, time) {
        Ok(taken) => {
            println!("{}: {} lines, {} octets", file.display(), taken.lines, taken.octets);
            if let Some(why) = taken.over {
                eprintln!("weft: the recording is over, and what came later is not in it: {why}");
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            let code = error.downcast_ref().map_or(1, |error: &ClientError| VerbError::exit_code_of(error));
            eprintln!("weft: {error:#}");
            ExitCode::from(code)
        }
    }
}

fn ended(result: Result<(), VerbError>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_closed_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("weft: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
