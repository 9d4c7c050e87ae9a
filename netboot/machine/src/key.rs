//! `weft-key`: on a machine, before its disk is open. Gets the disk's key, of which one half is in the TPM and the other one at the boot
//! server (without a TPM: all of it), and gives it to cryptsetup. No key is in an argument, a log or a file of a disk.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line talks to a person")]
#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "waits for a server that is not there yet")]

#[path = "key/disk.rs"]
mod disk;

use std::fs::OpenOptions;
use std::net::{TcpStream, ToSocketAddrs as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use weft_machine::claim::{Claim, Failed, Key, claim, claim_by_certificate};
use weft_machine::io::tls::{self, Identity};
use weft_machine::keys::Hex;
use weft_machine::tpm::Tpm;
use weft_machine::tpm::key::Kind;

const HELP: &str = "\
The key of a disk, of which one half is in this machine's TPM and the other one at a boot server

Usage: weft-key show [--tpm DEVICE]
       weft-key open DISK --name NAME --server HOST:PORT --serial SERIAL [--format] [--close] [--within SECONDS] [--tpm DEVICE]
       weft-key open DISK --name NAME --server HOST:PORT --certificate FILE --key FILE --ca FILE [--format] [--within SECONDS]

  show      what the inventory knows the TPM by (ids.tpm_ek), and its PCRs
  open      opens DISK as /dev/mapper/NAME; the server knows its key by NAME
  --format  formats a DISK that begins with nothing but zeros, as a new one does
  --close   extends PCR 11 afterwards: until the next boot nobody gets a key again
  --within  how long a server that does not answer is tried again (default: 60)
  --tpm     the TPM (default: /dev/tpmrm0)
  --certificate, --key, --ca
            without a TPM: who this machine is, and whose servers it believes (PEM). The server's half is then all of the
            key, and whoever has these files gets it: weaker, and only where `disk_keys.without_tpm` of the server says so
Exit codes: 0 done, 1 refused, 2 wrong command line, 3 the server does not answer
";
/// Longest wait for a connection, and for an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);
/// Wait before a server is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// The PCR that `--close` extends, and with what.
const CLOSED: (u8, &[u8; 32]) = (11, b"weft: disk keys are given out\0\0\0");

#[derive(Default)]
struct Arguments {
    words: Vec<String>,
    tpm: Option<String>,
    name: Option<String>,
    server: Option<String>,
    serial: Option<String>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    ca: Option<PathBuf>,
    within: Option<u64>,
    format: bool,
    close: bool,
}

impl Arguments {
    fn read(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut read = Self::default();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word}: its value is missing"));
            match word.as_str() {
                "--tpm" => read.tpm = Some(value()?),
                "--name" => read.name = Some(value()?),
                "--server" => read.server = Some(value()?),
                "--serial" => read.serial = Some(value()?),
                "--certificate" => read.certificate = Some(value()?.into()),
                "--key" => read.key = Some(value()?.into()),
                "--ca" => read.ca = Some(value()?.into()),
                "--within" => read.within = Some(value()?.parse().map_err(|_| "--within: write seconds")?),
                "--format" => read.format = true,
                "--close" => read.close = true,
                _ if word.starts_with('-') => return Err(format!("{word}: there is no such option")),
                _ => read.words.push(word),
            }
        }
        Ok(read)
    }

    /// How it shows who it is.
    fn way(&self) -> Result<Way<'_>, &'static str> {
        match (&self.serial, &self.certificate, &self.key, &self.ca) {
            (Some(serial), None, None, None) => Ok(Way::Tpm(serial)),
            (None, Some(_), Some(_), Some(_)) if self.close || self.tpm.is_some() => {
                Err("--close and --tpm are for a machine with a TPM, which needs no certificate")
            }
            (None, Some(certificate), Some(key), Some(ca)) => Ok(Way::Certificate(Identity { certificate, key, ca })),
            _ => Err("say --serial, or --certificate, --key and --ca for a machine without a TPM"),
        }
    }
}

/// By its TPM, which knows nothing of serial numbers, or by certificate.
#[derive(Clone, Copy)]
enum Way<'a> {
    Tpm(&'a str),
    Certificate(Identity<'a>),
}

fn main() -> ExitCode {
    let arguments = match Arguments::read(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(wrong) => return usage(&wrong),
    };
    let words: Vec<&str> = arguments.words.iter().map(String::as_str).collect();
    let done = match (words.as_slice(), &arguments.name, &arguments.server) {
        (["show"], ..) => show(&arguments),
        (["open", device], Some(name), Some(server)) => {
            if !disk::is_name(name) {
                return usage("--name: letters, digits, `-`, `_` and `.`");
            }
            let way = match arguments.way() {
                Ok(way) => way,
                Err(wrong) => return usage(wrong),
            };
            let serial = if let Way::Tpm(serial) = way { serial } else { "" };
            open(&arguments, way, device, &Claim { host: server, serial, disk: name, format: arguments.format })
        }
        _ => return usage("say `show`, or `open DISK` with --name and --server"),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed::Refused(why)) => {
            eprintln!("weft-key: {why}");
            ExitCode::FAILURE
        }
        Err(Failed::Again(why)) => {
            eprintln!("weft-key: {why}");
            ExitCode::from(3)
        }
    }
}

fn usage(wrong: &str) -> ExitCode {
    eprint!("weft-key: {wrong}\n\n{HELP}");
    ExitCode::from(2)
}

fn tpm(arguments: &Arguments) -> Result<Tpm<std::fs::File>, Failed> {
    let path = arguments.tpm.as_deref().unwrap_or("/dev/tpmrm0");
    let opened = OpenOptions::new().read(true).write(true).open(path);
    opened.map(Tpm::new).map_err(|error| Failed::Refused(format!("{path}: {error}: is there a TPM 2.0?")))
}

fn show(arguments: &Arguments) -> Result<(), Failed> {
    let mut tpm = tpm(arguments)?;
    let failed = |error: weft_machine::tpm::TpmError| Failed::Refused(error.to_string());
    let (handle, ek) = tpm.primary(Kind::Endorsement).map_err(failed)?;
    tpm.flush(handle).map_err(failed)?;
    println!("tpm_ek  {}", ek.fingerprint());
    for pcrs in [[0, 1, 2, 3, 4, 5, 6, 7].as_slice(), &[8, 9, 10, 11, 12, 13, 14]] {
        for (pcr, value) in pcrs.iter().zip(tpm.pcrs(pcrs).map_err(failed)?) {
            println!("pcr {pcr:<4}{}", Hex(value.to_vec()));
        }
    }
    Ok(())
}

fn open(arguments: &Arguments, way: Way<'_>, device: &str, wanted: &Claim<'_>) -> Result<(), Failed> {
    let is_new = disk::is_new(device).map_err(Failed::Refused)?;
    let wanted = Claim { format: wanted.format && is_new, ..wanted.clone() };
    if is_new && !wanted.format {
        return Err(Failed::Refused(format!("{device} is empty: `--format` formats it")));
    }
    match way {
        Way::Tpm(_) => {
            let mut tpm = tpm(arguments)?;
            let key = patiently(arguments, wanted.host, |mut server| claim(&wanted, &mut tpm, &mut server))?;
            unlock(device, &wanted, &key)?;
            if arguments.close {
                tpm.extend(CLOSED.0, CLOSED.1).map_err(|error| Failed::Refused(error.to_string()))?;
            }
        }
        Way::Certificate(identity) => {
            let key = patiently(arguments, wanted.host, |server| {
                let server = tls::over(server, wanted.host, &identity).map_err(Failed::Refused);
                claim_by_certificate(&wanted, &mut server?)
            })?;
            println!("weft-key: the key came by certificate alone, which is weaker than by a TPM");
            unlock(device, &wanted, &key)?;
        }
    }
    Ok(())
}

/// Formats the disk, where that is wanted, and opens it.
fn unlock(device: &str, wanted: &Claim<'_>, key: &Key) -> Result<(), Failed> {
    if wanted.format {
        disk::format(device, key).map_err(Failed::Refused)?;
        println!(
            "weft-key: {device} is formatted{}",
            if key.recovery.is_some() { ", with a recovery key" } else { "" }
        );
    }
    disk::open(device, wanted.disk, key).map_err(Failed::Refused)?;
    println!("weft-key: {device} is open as /dev/mapper/{}", wanted.disk);
    Ok(())
}

/// Until the server has answered, or for so long.
fn patiently(
    arguments: &Arguments,
    server: &str,
    mut ask: impl FnMut(TcpStream) -> Result<Key, Failed>,
) -> Result<Key, Failed> {
    let (began, within) = (Instant::now(), Duration::from_secs(arguments.within.unwrap_or(60)));
    loop {
        match connect(server).and_then(&mut ask) {
            Err(Failed::Again(why)) if began.elapsed() < within => {
                eprintln!("weft-key: {why}; tries again");
                std::thread::sleep(AGAIN_AFTER);
            }
            done => return done,
        }
    }
}

fn connect(server: &str) -> Result<TcpStream, Failed> {
    let failed = |error: std::io::Error| Failed::Again(format!("{server}: {error}"));
    let address = server.to_socket_addrs().map_err(failed)?.next();
    let address = address.ok_or_else(|| Failed::Again(format!("{server} has no address")))?;
    let stream = TcpStream::connect_timeout(&address, ANSWER_WITHIN).map_err(failed)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN)).map_err(failed)?;
    stream.set_write_timeout(Some(ANSWER_WITHIN)).map_err(failed)?;
    Ok(stream)
}
