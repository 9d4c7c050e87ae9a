//! A file of MRT records that a new one replaces from time to time; only so many older ones are kept. Pieces hold whole records.

use super::{Event, PIECES};
use crate::config::DumpConfig;
use crate::io::clock;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use tokio::sync::mpsc;
use weft_bgp::mrt::Stamp;
use weft_bgp::time::Duration;

/// Writes until there can be no more pieces. A file that cannot be written is reported and tried again with the next piece.
pub(super) fn serve(id: u32, config: &DumpConfig, events: &mpsc::Sender<Event>) {
    let (sender, mut pieces) = mpsc::channel(PIECES);
    if events.blocking_send(Event::Up(id, sender)).is_err() {
        return;
    }
    let mut current: Option<(File, Duration)> = None;
    let mut is_broken = false;
    while let Some(piece) = pieces.blocking_recv() {
        let result = write(config, &mut current, &piece);
        if let Err(error) = &result
            && !is_broken
        {
            tracing::error!(file = %config.file.display(), %error, "MRT records are lost");
        }
        let is_news = !is_broken;
        is_broken = result.is_err();
        if let Err(error) = result {
            current = None;
            if is_news && events.blocking_send(Event::Failed(id, format!("records were lost: {error}"))).is_err() {
                return;
            }
        }
        if events.blocking_send(Event::Room(id)).is_err() {
            return;
        }
    }
}

fn write(config: &DumpConfig, current: &mut Option<(File, Duration)>, piece: &[u8]) -> io::Result<()> {
    let now = clock::wall();
    if current
        .as_ref()
        .is_some_and(|(_, begun)| !config.rotate.is_zero() && now.saturating_sub(*begun) >= config.rotate)
    {
        *current = None;
    }
    let (file, _) = match current {
        Some(open) => open,
        None => {
            put_aside(&config.file, config.keep)?;
            if let Some(folder) = config.file.parent() {
                std::fs::create_dir_all(folder)?;
            }
            current.insert((OpenOptions::new().create(true).append(true).open(&config.file)?, now))
        }
    };
    file.write_all(piece)
}

/// Gives the current file a name with the time of its last change, and removes the oldest beyond `keep`.
fn put_aside(file: &Path, keep: usize) -> io::Result<()> {
    let changed = match std::fs::metadata(file) {
        Ok(found) => found.modified()?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let seconds = changed.duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs();
    let stamp = Stamp { seconds: u32::try_from(seconds).unwrap_or(u32::MAX), micros: 0 }.to_string();
    let digits: String = stamp.chars().take(19).filter(char::is_ascii_digit).collect();
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".{digits}"));
    std::fs::rename(file, &name)?;
    let mut older = older(file)?;
    older.sort();
    for gone in older.iter().take(older.len().saturating_sub(keep)) {
        std::fs::remove_file(gone)?;
    }
    Ok(())
}

/// Files that were put aside.
fn older(file: &Path) -> io::Result<Vec<PathBuf>> {
    let (Some(folder), Some(name)) = (file.parent(), file.file_name()) else {
        return Ok(Vec::new());
    };
    let start = format!("{}.", name.to_string_lossy());
    let is_ours = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        name.strip_prefix(&start)
            .is_some_and(|rest| rest.len() == 14 && rest.bytes().all(|digit| digit.is_ascii_digit()))
    };
    Ok(std::fs::read_dir(folder)?.filter_map(|entry| Some(entry.ok()?.path())).filter(is_ours).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_many_older_files_are_kept() {
        let folder = std::env::temp_dir().join(format!("weft-mrt-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("updates.mrt");
        for older in ["20140530220000", "20140530220015", "2014", "20140530220030x"] {
            std::fs::write(folder.join(format!("updates.mrt.{older}")), b"old").unwrap();
        }
        let config = DumpConfig { file: file.clone(), rotate: Duration::from_secs(900), keep: 2 };
        let mut current = None;
        write(&config, &mut current, b"one").unwrap();
        write(&config, &mut current, b"two").unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"onetwo");
        // A daemon that starts again begins a new file.
        write(&config, &mut None, b"three").unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"three");
        let mut names: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names.len(), 5, "{names:?}");
        assert!(!folder.join("updates.mrt.20140530220000").exists(), "the oldest is gone");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
