//! Seccomp (seccomp(2)): system calls that no router needs are refused (EPERM) for all threads. A list of what is refused, not of what is
//! allowed: a C library or a kernel that is newer than weft uses calls that nobody has listed, and a router that loses one of those stops
//! forwarding at night. What is here changes the system, looks into other processes, or is a kernel interface in which most holes of the
//! last years were found; none of it is ever called by the daemon, its libraries, or the program that takes over.

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter_all_threads,
};
use std::collections::BTreeMap;

/// kexec_file_load(2), which not every C library knows by its name: the number of x86_64, and that of all younger machines.
const KEXEC_FILE_LOAD: libc::c_long = if cfg!(target_arch = "x86_64") { 320 } else { 294 };

/// Refused whatever their arguments are.
const REFUSED: [libc::c_long; 59] = [
    // Looking into, and reaching into, other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    // Other views of the system.
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_chroot,
    libc::SYS_pivot_root,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_personality,
    // The kernel's own code and its end.
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    KEXEC_FILE_LOAD,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_nfsservctl,
    libc::SYS_vhangup,
    // The system's names, clock and log.
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_syslog,
    // Interfaces in which holes are found.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_fanotify_init,
    libc::SYS_lookup_dcookie,
    libc::SYS_memfd_secret,
    libc::SYS_vmsplice,
    libc::SYS_move_pages,
    libc::SYS_migrate_pages,
    libc::SYS_mbind,
    libc::SYS_set_mempolicy,
    libc::SYS_mknodat,
];

/// And these of x86_64 alone.
#[cfg(target_arch = "x86_64")]
const OF_THE_MACHINE: [libc::c_long; 8] = [
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_modify_ldt,
    libc::SYS_mknod,
    libc::SYS_uselib,
    libc::SYS_ustat,
    libc::SYS_sysfs,
    libc::SYS__sysctl,
];
#[cfg(not(target_arch = "x86_64"))]
const OF_THE_MACHINE: [libc::c_long; 0] = [];

/// Bit of the numbers of the x32 interface, a second door to the same calls (x86_64 only).
#[cfg(target_arch = "x86_64")]
const SECOND_DOOR: Option<libc::c_long> = Some(0x4000_0000);
#[cfg(not(target_arch = "x86_64"))]
const SECOND_DOOR: Option<libc::c_long> = None;

/// clone(2) with any of these makes a namespace.
const NAMESPACES: [libc::c_int; 8] = [
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWNS,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWCGROUP,
    // CLONE_NEWTIME is in clone3(2) alone.
    libc::CLONE_PTRACE,
];

/// Restricts all threads, and those that they start.
pub(super) fn restrict() -> Result<(), String> {
    let refused = number(libc::EPERM).map(SeccompAction::Errno)?;
    // clone3(2) hides its flags behind a pointer: a C library that hears ENOSYS takes clone(2).
    let unknown = number(libc::ENOSYS).map(SeccompAction::Errno)?;
    for (rules, action) in [(rules()?, refused), (always([libc::SYS_clone3]), unknown)] {
        let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(|error| error.to_string())?;
        let filter =
            SeccompFilter::new(rules, SeccompAction::Allow, action, arch).map_err(|error| error.to_string())?;
        let program = BpfProgram::try_from(filter).map_err(|error| error.to_string())?;
        apply_filter_all_threads(&program).map_err(|error| error.to_string())?;
    }
    Ok(())
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Calls that match whatever their arguments are.
fn always(calls: impl IntoIterator<Item = libc::c_long>) -> Rules {
    calls.into_iter().flat_map(doors).map(|call| (call, Vec::new())).collect()
}

/// The numbers of a call.
fn doors(call: libc::c_long) -> impl Iterator<Item = libc::c_long> {
    std::iter::once(call).chain(SECOND_DOOR.map(|door| call | door))
}

fn rules() -> Result<Rules, String> {
    let mut rules = always(REFUSED.into_iter().chain(OF_THE_MACHINE));
    let has = |flag: libc::c_int| {
        let flag = u64::try_from(flag).map_err(|error| error.to_string())?;
        SeccompCondition::new(0, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(flag), flag)
            .and_then(|condition| SeccompRule::new(vec![condition]))
            .map_err(|error| error.to_string())
    };
    for clone in doors(libc::SYS_clone) {
        rules.insert(clone, NAMESPACES.into_iter().map(has).collect::<Result<_, String>>()?);
    }
    Ok(rules)
}

fn number(error: libc::c_int) -> Result<u32, String> {
    u32::try_from(error).map_err(|error| error.to_string())
}
