//! Two questions to the kernel that no crate in the tree asks, or asks soundly.

#![allow(unsafe_code)]

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

use libc::{c_int, c_long};

/// Whether two descriptors are of one open file, by value (linux/fcntl.h, Linux 6.10).
const F_DUPFD_QUERY: c_int = 1024 + 3;

/// What kcmp(2) is to compare.
const KCMP_FILE: c_long = 0;

/// Process and user at the other end of a Unix socket (SO_PEERCRED, unix(7)). The process is 0 where
/// this one does not see it: rustix reads a number there that is never 0.
pub(crate) fn peer_of(socket: BorrowedFd<'_>) -> io::Result<(i32, u32)> {
    let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = size_of_val(&peer) as libc::socklen_t;
    // SAFETY: SO_PEERCRED writes one `struct ucred`, and no more than `length`. Both live across the call.
    let answer = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &raw mut length,
        )
    };
    match answer {
        0 => Ok((peer.pid, peer.uid)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Whether two descriptors of this process are of one open file. None where the kernel does not say:
/// before Linux 6.10, unless it may be asked by kcmp(2).
pub(crate) fn is_one_file(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> Option<bool> {
    // SAFETY: F_DUPFD_QUERY takes a number and changes nothing.
    match unsafe { libc::fcntl(one.as_raw_fd(), F_DUPFD_QUERY, other.as_raw_fd()) } {
        0 => return Some(false),
        1 => return Some(true),
        _ => {}
    }
    let own = c_long::from(std::process::id());
    let (one, other) = (c_long::from(one.as_raw_fd()), c_long::from(other.as_raw_fd()));
    // SAFETY: kcmp takes five numbers and changes nothing.
    match unsafe { libc::syscall(libc::SYS_kcmp, own, own, KCMP_FILE, one, other) } {
        0 => Some(true),
        // The order of the two in memory, or none.
        1..=3 => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_duplicate_is_one_file_and_a_second_opening_is_not() {
        let open = || std::fs::File::open("/dev/null").unwrap();
        let (one, other) = (open(), open());
        let duplicate = one.try_clone().unwrap();
        let Some(same) = is_one_file(one.as_fd(), duplicate.as_fd()) else {
            println!("skipped: this kernel does not say");
            return;
        };
        assert!(same);
        assert_eq!(is_one_file(one.as_fd(), other.as_fd()), Some(false));
    }

    #[test]
    fn the_other_end_is_this_process() {
        let (ours, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let (pid, uid) = peer_of(ours.as_fd()).unwrap();
        assert_eq!(u32::try_from(pid).unwrap(), std::process::id());
        assert_eq!(uid, rustix::process::geteuid().as_raw());
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(peer_of(file.as_fd()).is_err());
    }
}
