//! A TPM in software, in a folder of its own. It ends with the test: it serves one connection, and its parent's death ends it.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use weft_machine::tpm::Tpm;

/// Longest wait for it to listen.
const WITHIN: Duration = Duration::from_secs(20);

pub(crate) struct Software {
    folder: PathBuf,
    process: Child,
}

impl Software {
    /// One that never was before; `None`, said loudly, when swtpm is not installed.
    pub(crate) fn start(name: &str) -> Option<Self> {
        let folder = std::env::temp_dir().join(format!("weft-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        if Command::new("swtpm").arg("--version").stdout(Stdio::null()).status().is_err() {
            println!("SKIPPED: no `swtpm` (Debian: swtpm): nothing is known of {name}");
            return None;
        }
        Some(Self { process: run(&folder), folder })
    }

    pub(crate) fn tpm(&self) -> Tpm<UnixStream> {
        let began = Instant::now();
        loop {
            match UnixStream::connect(self.folder.join("tpm")) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(WITHIN)).unwrap();
                    return Tpm::new(stream);
                }
                Err(error) => assert!(began.elapsed() < WITHIN, "swtpm does not listen: {error}"),
            }
            std::thread::yield_now();
        }
    }

    /// Switched off and on: PCRs are zero again, what it keeps is there.
    pub(crate) fn power_cycle(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_file(self.folder.join("tpm"));
        self.process = run(&self.folder);
    }
}

fn run(folder: &std::path::Path) -> Child {
    Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "swtpm", "socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
        .args(["--tpmstate".to_owned(), format!("dir={}", folder.display())])
        .args(["--server".to_owned(), format!("type=unixio,path={}", folder.join("tpm").display())])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

impl Drop for Software {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
