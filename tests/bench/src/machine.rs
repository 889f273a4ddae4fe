//! What the machine did meanwhile: processor time, from /proc.

use std::{fs, io};

/// Ticks of the clock in which /proc counts processor time: USER_HZ, 100 on every architecture that
/// is built for (proc(5)).
const TICKS: f64 = 100.0;

/// Seconds that all processors together have worked since boot: for programs, for the kernel and for
/// interrupts. Waiting for a disk and time taken by other virtual machines are not work.
pub fn busy_seconds() -> io::Result<f64> {
    let stat = fs::read_to_string("/proc/stat")?;
    busy_of(&stat).ok_or_else(|| unexpected("/proc/stat"))
}

/// Seconds that a process's threads have run. Threads that have ended are left out.
pub fn busy_seconds_of(pid: u32) -> io::Result<f64> {
    let mut nanoseconds = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let path = task?.path().join("schedstat");
        let path = path.display().to_string();
        let stat = fs::read_to_string(&path)?;
        // Time run, time waited for a processor, time slices.
        let ran: Option<u64> = stat.split_whitespace().next().and_then(|ran| ran.parse().ok());
        nanoseconds += ran.ok_or_else(|| unexpected(&path))?;
    }
    Ok(nanoseconds as f64 / 1e9)
}

/// Bytes of memory that a process holds.
pub fn resident_bytes(pid: u32) -> io::Result<u64> {
    let path = format!("/proc/{pid}/status");
    resident_of(&fs::read_to_string(&path)?).ok_or_else(|| unexpected(&path))
}

fn unexpected(path: &str) -> io::Error {
    io::Error::other(format!("{path} does not look as proc(5) says"))
}

fn busy_of(stat: &str) -> Option<f64> {
    // cpu  user nice system idle iowait irq softirq steal guest guest_nice; guests are in user.
    let fields = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> =
        fields.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
    let [user, nice, system, _idle, _iowait, irq, softirq, ..] = ticks[..] else { return None };
    Some((user + nice + system + irq + softirq) as f64 / TICKS)
}

fn resident_of(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idling_and_waiting_are_not_work() {
        let stat = "cpu  100 20 30 9999 8888 5 45 7777 0 0\ncpu0 1 2 3 4 5 6 7 8 9 10\n";
        assert_eq!(busy_of(stat), Some(2.0));
        assert_eq!(busy_of("intr 1"), None);
    }

    #[test]
    fn memory_is_told_in_bytes() {
        assert_eq!(resident_of("Name:\tx\nVmRSS:\t    2048 kB\n"), Some(2 << 20));
        assert_eq!(resident_of("Name:\tx\n"), None);
    }

    #[test]
    fn this_machine_can_be_asked() {
        assert!(busy_seconds().unwrap() > 0.0);
        assert!(busy_seconds_of(std::process::id()).unwrap() >= 0.0);
        assert!(resident_bytes(std::process::id()).unwrap() > 0);
    }
}
