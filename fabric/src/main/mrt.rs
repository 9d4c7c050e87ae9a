//! `weft mrt`: what is written, and what becomes of it.

use crate::whom::Whom;
use crate::{Output, form};
use clap::Subcommand;
use std::io::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use weft_bgp::time::Duration;
use weft_bgp::types::Asn;
use weft_fabric::io::mrt;

#[derive(Debug, Subcommand)]
pub(crate) enum Mrt {
    /// Print a dump, a line for each path, message and state change (--output json: a document for each)
    Show {
        /// The dump
        file: PathBuf,
        /// Stop after so many lines
        #[arg(long, value_name = "NUMBER")]
        limit: Option<u64>,
    },
    /// Write the daemon's table, as it is after the import policies, as TABLE_DUMP_V2
    Dump {
        /// The file; it is replaced when the dump is whole
        file: PathBuf,
    },
    /// Tell a BGP speaker what a dump holds, as its peer, and stay until the session ends
    Replay(Replay),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Replay {
    /// The dump: of a table, of messages, or both
    file: PathBuf,
    /// Where the speaker is, as 10.0.0.1 or `[fd00::1]:1179`
    #[arg(long, value_name = "ADDRESS", value_parser = endpoint)]
    to: std::net::SocketAddr,
    /// Our AS; put in front of every path, unless the speaker is in it too
    #[arg(long, value_name = "NUMBER")]
    asn: u32,
    /// Our address, also the next hop [default: the system's choice]
    #[arg(long, value_name = "ADDRESS")]
    from: Option<IpAddr>,
    /// Our BGP identifier
    #[arg(long, value_name = "ADDRESS", default_value = "192.0.2.1")]
    router_id: std::net::Ipv4Addr,
    /// Tell the routes of this peer of a table dump, by its index [default: the first path of every prefix]
    #[arg(long, value_name = "NUMBER")]
    peer: Option<u16>,
    /// End the session so many seconds after everything was told
    #[arg(long, value_name = "SECONDS")]
    stay_s: Option<u64>,
}

/// An address, with a port or without.
fn endpoint(text: &str) -> Result<std::net::SocketAddr, String> {
    let address = text.parse().map(|address: IpAddr| std::net::SocketAddr::new(address, 179));
    address.or_else(|_| text.parse()).map_err(|_| "write 10.0.0.1, 10.0.0.1:179 or [fd00::1]:179".to_owned())
}

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
    let target = match whom.target() {
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
    let wanted = mrt::replay::Replay {
        to: replay.to,
        from: replay.from,
        asn: Asn(replay.asn),
        router_id: replay.router_id,
        peer: replay.peer,
        stay: replay.stay_s.map(Duration::from_secs),
    };
    let done = mrt::replay::run(&replay.file, &wanted, |told| {
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
