//! What this machine says of itself: name, time zone, time of boot.

use std::io;
use std::path::Path;
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

/// Where the system keeps its time zone.
const LOCALTIME: &str = "/etc/localtime";

/// The zone the CodeDeploy agent's local times are in: `TZ`, else `/etc/localtime`, else UTC. A
/// zone that cannot be read is said in the log, since every local time is then off.
#[must_use]
pub fn time_zone() -> TimeZone {
    let in_file = match std::env::var_os("TZ") {
        None => zone_of_file(Path::new(LOCALTIME)),
        Some(_) => None,
    };
    let zone = in_file.map_or_else(TimeZone::try_system, Ok);
    zone.unwrap_or_else(|error| {
        tracing::warn!(%error, "system time zone unknown, taking UTC");
        TimeZone::UTC
    })
}

/// The zone a file holds. jiff's own look at the same file asks for the zone's name first: for that it
/// lists the directories of all zones and keeps 600 names, 150 KB.
fn zone_of_file(path: &Path) -> Option<TimeZone> {
    let content = std::fs::read(path).ok()?;
    TimeZone::tzif("local", &content).ok()
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
    fn the_zone_is_the_files() {
        // A zone must be read as RFC 9636 writes one, and none be made of anything else: shown by a
        // file whose only rule is two hours east, by its first half, and by none.
        let header = |types: u8, letters: u8| {
            let mut header = b"TZif2".to_vec();
            header.resize(44, 0);
            (header[39], header[43]) = (types, letters);
            header
        };
        let east = [0, 0, 0x1c, 0x20, 0, 0, b'X', b'X', b'X', 0];
        let content = [&header(1, 4)[..], &east, &header(1, 4), &east, b"\nXXX-2\n"].concat();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("localtime");
        assert!(zone_of_file(&path).is_none());
        std::fs::write(&path, &content).unwrap();
        let zone = zone_of_file(&path).unwrap();
        let noon: jiff::Timestamp = "2026-06-01T12:00:00Z".parse().unwrap();
        assert_eq!(zone.to_datetime(noon).hour(), 14);
        std::fs::write(&path, &content[..content.len() / 2]).unwrap();
        assert!(zone_of_file(&path).is_none());
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
