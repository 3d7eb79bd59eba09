//! What this machine says of itself: name, time zone, time of boot.

use std::io;
use std::time::Duration;

use jiff::tz::TimeZone;

use crate::event::EpochMs;

/// The system's host name; `None` where it has none.
#[must_use]
pub fn hostname() -> Option<String> {
    let uname = rustix::system::uname();
    let name = uname.nodename().to_string_lossy();
    match name.as_ref() {
        "" | "(none)" => None,
        name => Some(name.to_owned()),
    }
}

/// Keeps our memory, which holds credentials and other people's log lines, out of core dumps and
/// from other processes of the same user.
///
/// # Errors
/// As the system says.
pub fn keep_memory_private() -> io::Result<()> {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// The zone the CodeDeploy agent's local times are in: `TZ`, else `/etc/localtime`, else UTC. A
/// zone that cannot be read is said in the log, since every local time is then off.
#[must_use]
pub fn time_zone() -> TimeZone {
    TimeZone::try_system().unwrap_or_else(|error| {
        tracing::warn!(%error, "system time zone unknown, taking UTC");
        TimeZone::UTC
    })
}

/// When this system booted.
///
/// # Errors
/// Where `/proc/stat` cannot be read or does not say.
pub fn boot_time_ms() -> io::Result<EpochMs> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    parse_boot_time(&stat)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no btime in /proc/stat"))
}

/// The kernel's name for this boot, another one after each.
///
/// # Errors
/// Where `/proc` does not say.
pub fn boot_id() -> io::Result<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(id.trim().to_owned())
}

/// How long this system has been up, suspended time included.
#[must_use]
pub fn uptime() -> Duration {
    Duration::from_millis(super::clock::now().mono_ms)
}

fn parse_boot_time(stat: &str) -> Option<EpochMs> {
    let line = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    line.trim().parse::<i64>().ok()?.checked_mul(1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_memory_is_not_dumped() {
        // After the call the kernel must say so; it is undone, for the other tests.
        use rustix::process::{DumpableBehavior, dumpable_behavior, set_dumpable_behavior};
        keep_memory_private().unwrap();
        let behavior = dumpable_behavior().unwrap();
        set_dumpable_behavior(DumpableBehavior::Dumpable).unwrap();
        assert_eq!(behavior, DumpableBehavior::NotDumpable);
    }

    #[test]
    fn boot_time_is_read_from_its_line() {
        // The btime line must be found among others, and garbage be refused: shown by texts.
        let stat = "cpu  1 2 3\nintr 5 6\nctxt 1\nbtime 1763684000\nprocesses 9\n";
        assert_eq!(parse_boot_time(stat), Some(1_763_684_000_000));
        assert_eq!(parse_boot_time("cpu 1\nbtime x\n"), None);
        assert_eq!(parse_boot_time(""), None);
    }

    #[test]
    fn this_machine_booted_in_the_past() {
        // Boot time and uptime must agree with the wall clock: shown within a minute (btime is in
        // whole seconds and moves when the clock is set).
        let now = crate::os::clock::now().wall_ms;
        let boot = boot_time_ms().unwrap();
        let up = i64::try_from(uptime().as_millis()).unwrap();
        assert!((now - up - boot).abs() < 60_000, "{now} {up} {boot}");
        let boot = boot_id().unwrap();
        assert!(boot.len() == 36 && boot == boot_id().unwrap(), "{boot}");
        assert!(hostname().is_some_and(|name| !name.contains('\0')));
    }
}
