//! Landlock (landlock(7)): which files may be opened. The folders of what the configuration names, what the system says of itself, and
//! programs; nothing else, whoever owns it. Executing is left alone: it gains nothing here, and reading the program is restricted.

use crate::sandbox::{Access, Needs, SYSTEM, WRITTEN};
use landlock::{
    ABI, Access as _, AccessFs, BitFlags, CompatLevel, Compatible as _, LandlockStatus, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetStatus, path_beneath_rules,
};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// The newest whose rights we know: kernels with less restrict less (Linux 5.13: the first; 6.2: truncating).
const KNOWN: ABI = ABI::V5;
/// Nobody's business here, and there on every system.
const OUTSIDE: &str = "/";

/// Keeps the kernel's settings the ones that the rule is about: `/proc` forgets a folder that nobody holds, and makes another of the name.
pub(super) fn pin() -> Option<OwnedFd> {
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
    rustix::fs::open(WRITTEN[0], flags, rustix::fs::Mode::empty()).ok()
}

/// Restricts this thread and those that it starts; the folders in which files may be opened from now on.
pub(super) fn restrict(needs: &Needs) -> Result<Vec<(PathBuf, Access)>, String> {
    let all = AccessFs::from_all(KNOWN) & !BitFlags::from(AccessFs::Execute);
    let read = AccessFs::from_read(KNOWN) & all;
    let folders = folders(needs);
    let of = |wanted: Access| folders.iter().filter(move |(_, access)| *access == wanted).map(|(folder, _)| folder);
    let ruleset = Ruleset::default()
        .handle_access(all)
        .and_then(Ruleset::create)
        .and_then(|ruleset| ruleset.add_rules(path_beneath_rules(of(Access::Read), read)))
        .and_then(|ruleset| ruleset.add_rules(path_beneath_rules(of(Access::Write), all)))
        .and_then(|ruleset| ruleset.restrict_self());
    match ruleset {
        Ok(status) => match (status.ruleset, status.landlock) {
            (RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced, _) => Ok(folders),
            (RulesetStatus::NotEnforced, LandlockStatus::NotEnabled) => {
                Err("this kernel has it switched off (add `landlock` to its parameter `lsm=`)".to_owned())
            }
            (RulesetStatus::NotEnforced, _) => {
                Err("this kernel has none (CONFIG_SECURITY_LANDLOCK, Linux 5.13)".to_owned())
            }
        },
        Err(error) => Err(error.to_string()),
    }
}

/// All folders, as the system resolves them. Those that are to be written and are not there are made: a rule is about what is there.
fn folders(needs: &Needs) -> Vec<(PathBuf, Access)> {
    let system = SYSTEM.iter().map(|path| (PathBuf::from(path), Access::Read));
    let written = WRITTEN.iter().map(|path| (PathBuf::from(path), Access::Write));
    let program = std::env::current_exe().ok().and_then(|program| Some((program.parent()?.to_owned(), Access::Read)));
    let named = needs.places.iter().map(|place| match place.folder() {
        // A whole system is no folder of anything: the file itself must do.
        folder if folder == Path::new(OUTSIDE) => (place.file.clone(), Access::Read),
        folder => (folder.to_owned(), place.access),
    });
    let mut all = Vec::new();
    for (path, access) in system.chain(written).chain(program).chain(named) {
        if access == Access::Write
            && !path.exists()
            && let Err(error) = std::fs::create_dir_all(&path)
        {
            tracing::warn!(folder = %path.display(), %error, "cannot be made: nothing is written there before the next start");
        }
        let path = path.canonicalize().unwrap_or(path);
        if !all.contains(&(path.clone(), access)) {
            all.push((path, access));
        }
    }
    all
}

/// Whether a file of nobody's business is refused: the kernel tells it in no other way.
pub(super) fn is_restricted() -> bool {
    std::fs::read_dir(OUTSIDE).is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
}

/// Whether this kernel has it; nothing is restricted by asking.
pub(super) fn is_supported() -> bool {
    let strict = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    strict.handle_access(AccessFs::from_all(ABI::V1)).and_then(Ruleset::create).is_ok()
}
