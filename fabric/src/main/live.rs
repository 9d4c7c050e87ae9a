//! `weft top` and `weft trace`: verbs that do more than ask one daemon once.

use crate::{Output, form};
use std::io::Write as _;
use std::net::IpAddr;
use std::path::Path;
use std::process::ExitCode;
use weft_fabric::io::verbs::{self, VerbError};
use weft_fabric::io::{top as screen, trace as way};

pub(crate) fn top(socket: Option<&Path>, lab: Option<&str>) -> ExitCode {
    match verbs::socket(socket, lab) {
        Ok(socket) => ended(screen::run(&socket)),
        Err(error) => wrong(&error),
    }
}

pub(crate) fn trace(target: IpAddr, socket: Option<&Path>, lab: Option<&str>, output: Output) -> ExitCode {
    // Also says what is wrong with the name of a lab.
    let socket = match verbs::socket(socket, lab) {
        Ok(socket) => socket,
        Err(error) => return wrong(&error),
    };
    let place = match lab.and_then(|lab| lab.split_once('/')) {
        Some((lab, node)) => way::Place::Lab(lab.to_owned(), node.to_owned()),
        None => way::Place::Socket(socket),
    };
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    ended(way::run(target, &place, form(output), &mut out).and_then(|()| Ok(out.flush()?)))
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

fn wrong(error: &str) -> ExitCode {
    eprintln!("weft: {error}");
    ExitCode::from(2)
}
