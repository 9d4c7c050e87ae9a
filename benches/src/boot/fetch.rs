//! Files over HTTP, as machines that boot load them: a server, and connections that read a file whole or in ranges, again and again.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddrV4, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::plant::SERVICE;
use super::server::Place;
use crate::case::Figures;
use crate::dut::Dut;

/// Octets of the file: a kernel with a large initial file system.
pub const FILE: usize = 300 * 1024 * 1024;
/// Octets of a range.
const RANGE: usize = 4 * 1024 * 1024;
const PORT: u16 = 8_080;
/// Octets taken from the kernel at a time.
const BUFFER: usize = 256 * 1024;
/// A connection that hears nothing for so long has been forgotten.
const SILENCE: Duration = Duration::from_secs(20);
/// The server listens within this.
const UP: Duration = Duration::from_secs(20);

/// Who serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Web {
    /// nginx of the distribution, with `sendfile`.
    Nginx,
    /// The same without.
    NginxRead,
    /// `weft-netboot`.
    Weft,
}

impl Web {
    /// The name in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::NginxRead => "nginx-read",
            Self::Weft => "weft",
        }
    }

    /// By that name.
    ///
    /// # Errors
    /// When there is none.
    pub fn named(name: &str) -> Result<Self> {
        Ok(match name {
            "nginx" => Self::Nginx,
            "nginx-read" => Self::NginxRead,
            "weft" => Self::Weft,
            other => bail!("--dut {other}: not one of nginx, nginx-read, weft"),
        })
    }

    /// Makes the file, starts the server and says the path under which the file is.
    ///
    /// # Errors
    /// When it does not listen.
    pub fn start(self, at: &Place<'_>, binary: &Path) -> Result<(Dut, String)> {
        let images = at.dir.join("images");
        fs::create_dir_all(&images)?;
        // Not zeros: nobody is to have an easy time with them.
        let octets: Vec<u8> = (0..FILE).map(|at| at.wrapping_mul(2_654_435_761).to_le_bytes()[2]).collect();
        let file = images.join("file");
        fs::write(&file, octets)?;
        let sum = Command::new("sha256sum").arg(&file).output()?.stdout;
        let digest: String = String::from_utf8(sum)?.chars().take(64).collect();
        fs::rename(&file, images.join(&digest))?;
        let dir = at.dir.display();
        let (program, arguments, path) = match self {
            Self::Nginx | Self::NginxRead => {
                let sendfile = if self == Self::Nginx { "on" } else { "off" };
                let text = format!(
                    "worker_processes 1;\ndaemon off;\nuser root;\npid {dir}/nginx.pid;\nerror_log {dir}/nginx.log;\nevents {{}}\nhttp {{\n\
                     access_log off; sendfile {sendfile}; tcp_nopush on;\nserver {{ listen {SERVICE}:{PORT}; root {dir}/images; }}\n}}\n"
                );
                fs::write(at.dir.join("nginx.conf"), text)?;
                ("nginx", vec!["-c".to_owned(), format!("{dir}/nginx.conf")], format!("/{digest}"))
            }
            Self::Weft => {
                let text = format!(
                    "store: {{embedded: {dir}/inventory.redb}}\nsocket: {dir}/s\nboot: {{listen: ['{SERVICE}:{PORT}'], images: {dir}/images}}\n"
                );
                fs::write(at.dir.join("netboot.yaml"), text)?;
                let binary = binary.to_str().context("the path of weft-netboot is not UTF-8")?;
                let arguments = vec!["serve".to_owned(), "--config".to_owned(), format!("{dir}/netboot.yaml")];
                (binary, arguments, format!("/blobs/{digest}/file"))
            }
        };
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let server = Dut::of(at.bed, at.dir, "taskset", &[&["-c", at.cpus, program][..], &arguments].concat())?;
        let end = Instant::now() + UP;
        while TcpStream::connect(SocketAddrV4::new(SERVICE, PORT)).is_err() {
            ensure!(Instant::now() < end, "{} does not listen; its log is in {dir}", self.name());
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok((server, path))
    }
}

/// Reads the file on so many connections at once, `times` times on each.
///
/// # Errors
/// When an answer is not what was asked for.
pub fn fetch(server: &Dut, path: &str, connections: usize, in_ranges: bool, times: usize) -> Result<Figures> {
    let begin = (Instant::now(), server.cpu_s()?);
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..connections).map(|_| scope.spawn(|| load(path, in_ranges, times))).collect();
        all.into_iter().try_for_each(|one| one.join().map_err(|_| anyhow::anyhow!("a connection panicked"))?)
    })?;
    let (wall_s, cpu_s) = (begin.0.elapsed().as_secs_f64(), server.cpu_s()? - begin.1);
    let megabytes = f64::from(u32::try_from(FILE / 1_000_000 * connections * times)?);
    Ok(vec![("mb_per_s", megabytes / wall_s), ("cpu_s_each_gb", cpu_s / megabytes * 1e3)])
}

fn load(path: &str, in_ranges: bool, times: usize) -> Result<()> {
    let mut stream = TcpStream::connect(SocketAddrV4::new(SERVICE, PORT))?;
    stream.set_read_timeout(Some(SILENCE))?;
    let mut buffer = vec![0; BUFFER];
    let step = if in_ranges { RANGE } else { FILE };
    for _ in 0..times {
        for from in (0..FILE).step_by(step) {
            let to = FILE.min(from + step);
            let range = if in_ranges { format!("Range: bytes={from}-{}\r\n", to - 1) } else { String::new() };
            stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {SERVICE}\r\n{range}\r\n").as_bytes())?;
            one(&mut stream, &mut buffer, if in_ranges { "206" } else { "200" }, to - from)?;
        }
    }
    Ok(())
}

/// One answer: its status, its length, and as many octets.
fn one(stream: &mut TcpStream, buffer: &mut [u8], status: &str, length: usize) -> Result<()> {
    let mut have = 0;
    let end = loop {
        have += stream.read(&mut buffer[have..])?;
        if let Some(end) = buffer[..have].windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        ensure!(have > 0 && have < buffer.len(), "no head of an answer");
    };
    let head = String::from_utf8_lossy(&buffer[..end]).to_ascii_lowercase();
    ensure!(head.split(' ').nth(1) == Some(status), "{head}");
    ensure!(head.contains(&format!("content-length: {length}\r\n")), "{head}");
    let mut left = length - (have - end);
    while left > 0 {
        let most = left.min(buffer.len());
        let read = stream.read(&mut buffer[..most])?;
        ensure!(read > 0, "{left} octets are missing");
        left -= read;
    }
    Ok(())
}
