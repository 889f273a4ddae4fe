//! Which system calls the daemon may make: what it takes to move packets, to answer on sockets that are
//! open, and to read and write its files. Everything else answers EPERM.
//!
//! Not among them, whatever a packet may bring about: `socket`, `connect`, `bind`, `listen`, `execve`,
//! `fork`, `ptrace`, `setns`, `unshare`, `mount`, `bpf`, `kill`, `io_uring_setup`.
//!
//! Costs nothing on a packet's way: the kernel keeps a bitmap of the calls that a filter allows
//! whatever their arguments are (Linux 5.11, kernel/seccomp.c, `seccomp_cache_check_allow`), and those of
//! the workers are all of that kind.

use std::{collections::BTreeMap, env::consts::ARCH};

use libc::c_long;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, apply_filter_all_threads,
};

use crate::error::Error;

/// Allowed whatever their arguments are.
const ALLOWED: &[c_long] = &[
    // Packets.
    libc::SYS_preadv2,
    libc::SYS_pwritev2,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_read,
    libc::SYS_write,
    // Sockets that are open, and queues that come over them.
    libc::SYS_accept4,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_shutdown,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_fcntl,
    libc::SYS_close,
    libc::SYS_ppoll,
    // Files: which ones is for Landlock to say.
    libc::SYS_openat,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_lseek,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_flock,
    libc::SYS_unlinkat,
    libc::SYS_getdents64,
    libc::SYS_readlinkat,
    libc::SYS_getcwd,
    // Memory, threads, time.
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_prlimit64,
    libc::SYS_getrandom,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
];

/// The older forms of some of them, which libraries still use where there are any.
#[cfg(target_arch = "x86_64")]
const OLDER: &[c_long] = &[
    libc::SYS_open,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_unlink,
    libc::SYS_rmdir,
    libc::SYS_readlink,
    libc::SYS_poll,
    libc::SYS_epoll_wait,
];
#[cfg(not(target_arch = "x86_64"))]
const OLDER: &[c_long] = &[];

/// Requests of `ioctl`: what a queue is asked when it is taken, and what sockets and logs are.
const REQUESTS: &[u64] = &[libc::FIONBIO, libc::TCGETS];

/// Restricts all threads of the process. Returns how many calls are left.
pub(super) fn restrict() -> Result<usize, Error> {
    let failed = |error: &dyn std::fmt::Display| Error::Confine {
        what: "restrict system calls",
        why: error.to_string(),
    };
    let (filters, calls) = filters().map_err(|error| failed(&error))?;
    for filter in &filters {
        apply_filter_all_threads(filter).map_err(|error| failed(&error))?;
    }
    Ok(calls)
}

/// The programs, in the order in which they are put in force, and how many calls they allow. What one of
/// them forbids is forbidden, in its words.
fn filters() -> Result<([BpfProgram; 2], usize), BackendError> {
    let arch = TargetArch::try_from(ARCH)?;
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        ALLOWED.iter().chain(OLDER).map(|call| (*call, Vec::new())).collect();
    // A thread, not a process.
    let thread = libc::CLONE_THREAD as u64;
    let thread = argument(0, SeccompCmpOp::MaskedEq(thread), thread)?;
    rules.insert(libc::SYS_clone, vec![SeccompRule::new(vec![thread])?]);
    // What a thread is called.
    let name = argument(0, SeccompCmpOp::Eq, libc::PR_SET_NAME as u64)?;
    rules.insert(libc::SYS_prctl, vec![SeccompRule::new(vec![name])?]);
    // A signal to a thread of this process: how a process ends that finds itself broken.
    let own = |index| argument(index, SeccompCmpOp::Eq, u64::from(std::process::id()));
    rules.insert(libc::SYS_tgkill, vec![SeccompRule::new(vec![own(0)?])?]);
    // Whether two descriptors of this process are of one file, where `fcntl` does not say.
    rules.insert(libc::SYS_kcmp, vec![SeccompRule::new(vec![own(0)?, own(1)?])?]);
    let queue = viaduct_tun::queue::REQUESTS.iter().copied().map(u64::from);
    let requests = queue.chain(REQUESTS.iter().copied()).map(|request| {
        let request = argument(1, SeccompCmpOp::Eq, request)?;
        SeccompRule::new(vec![request])
    });
    rules.insert(libc::SYS_ioctl, requests.collect::<Result<_, _>>()?);
    let calls = rules.len();
    rules.insert(libc::SYS_clone3, Vec::new());
    let refuse = |errno: libc::c_int| SeccompAction::Errno(errno.unsigned_abs());
    // The flags of `clone3` lie in memory, where a filter does not look. The C library takes ENOSYS for an old kernel
    // and uses `clone`.
    let unknown = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    let all = SeccompFilter::new(rules, refuse(libc::EPERM), SeccompAction::Allow, arch)?;
    let clone3 = SeccompFilter::new(unknown, SeccompAction::Allow, refuse(libc::ENOSYS), arch)?;
    Ok(([clone3.try_into()?, all.try_into()?], calls))
}

fn argument(index: u8, is: SeccompCmpOp, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(index, SeccompCmpArgLen::Dword, is, value)
}
