//! What rotation does to names.
//!
//! Rotated files keep the live file's name with something inserted or appended that counts or
//! dates: `app.log.1`, `app.log-20261121`, `app.20261121.log`, `app.log.2026-11-21T10`. Names
//! only tell where to look and in which order to read; what a file is, its content tells.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// Whether `name` is the name of a rotated `live`.
pub(crate) fn is_rotation_of(live: &OsStr, name: &OsStr) -> bool {
    let (live, name) = (live.as_encoded_bytes(), name.as_encoded_bytes());
    if name.len() <= live.len() {
        return false;
    }
    let prefix = live.iter().zip(name).take_while(|(a, b)| a == b).count();
    let suffix_max = live.len() - prefix;
    let suffix = live.iter().rev().zip(name.iter().rev()).take(suffix_max);
    let suffix = suffix.take_while(|(a, b)| a == b).count();
    prefix + suffix == live.len() && is_counter(&name[prefix..name.len() - suffix])
}

/// Whether a path is that of the live file `family`, or one that rotation could have given it.
pub(crate) fn belongs_to(family: &Path, path: &Path) -> bool {
    let names = family.file_name().zip(path.file_name());
    family == path
        || family.parent() == path.parent()
            && names.is_some_and(|(live, name)| is_rotation_of(live, name))
}

/// The live path a rotated file of that name belongs to, or the path itself.
pub(crate) fn family_of(path: &Path) -> PathBuf {
    let Some(name) = path.file_name().and_then(OsStr::to_str) else {
        return path.to_path_buf();
    };
    let parts: Vec<&str> = name.split('.').collect();
    let kept = parts
        .iter()
        .enumerate()
        .filter(|(at, part)| *at == 0 || !is_date_or_number(part));
    let kept: Vec<&str> = kept.map(|(_, part)| strip_date(part)).collect();
    path.with_file_name(kept.join("."))
}

/// The live paths that a rotated file of that name may belong to.
pub(crate) fn live_names(path: &Path) -> impl Iterator<Item = PathBuf> {
    let name = path.file_name().map_or(&[][..], OsStr::as_encoded_bytes);
    let ends = name
        .iter()
        .enumerate()
        .filter(|(at, byte)| *at > 0 && matches!(byte, b'.' | b'-' | b'_'));
    let cut = ends.map(|(at, _)| path.with_file_name(OsStr::from_bytes(&name[..at])));
    std::iter::once(family_of(path)).chain(cut)
}

/// `.1`, `-20261121`, `.2026-11-21`, also with the dot behind (`20261121.`): a separator and
/// digits.
fn is_counter(inserted: &[u8]) -> bool {
    let separator = |byte: &u8| matches!(byte, b'.' | b'-' | b'_');
    let bounded = inserted.first().is_some_and(separator) || inserted.last().is_some_and(separator);
    bounded
        && inserted.iter().any(u8::is_ascii_digit)
        && inserted
            .iter()
            .all(|b| b.is_ascii_digit() || separator(b) || matches!(b, b'T' | b':'))
}

fn is_date_or_number(part: &str) -> bool {
    !part.is_empty()
        && part.bytes().any(|b| b.is_ascii_digit())
        && part
            .bytes()
            .all(|b| b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'T' | b':'))
}

/// `log-20261121` → `log`.
fn strip_date(part: &str) -> &str {
    match part.find(['-', '_']) {
        Some(at) if at > 0 && is_date_or_number(&part[at + 1..]) && part.len() - at > 6 => {
            &part[..at]
        }
        _ => part,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A rotated name counts or dates its live name; other names do not. Shown on real schemes.
    #[test]
    fn rotated_names_are_told_from_other_logs() {
        let yes = [
            ("app.log", "app.log.1"),
            ("app.log", "app.log-20261121"),
            ("app.log", "app.20261121.log"),
            ("app.log", "app-2026-11-21.log"),
            ("app.log", "app.log.2026-11-21T10:00"),
            ("codedeploy-agent.log", "codedeploy-agent.20261121.log"),
            ("codedeploy-agent.log", "codedeploy-agent.20261121.1.log"),
            ("scripts.log", "scripts.log.7"),
        ];
        for (live, name) in yes {
            assert!(
                is_rotation_of(live.as_ref(), name.as_ref()),
                "{name} of {live}"
            );
            assert_eq!(family_of(Path::new(name)), Path::new(live), "{name}");
            assert!(live_names(Path::new(name)).any(|path| path == Path::new(live)));
        }
        let no = [
            ("app.log", "app.log"),
            ("app.log", "app2.log"),
            ("app.log", "app.log.gz"),
            ("app.log", "app.log.old"),
            ("app.log", "apps.log.1"),
            ("codedeploy-agent.log", "codedeploy-agent.aws_wire.log"),
            ("codedeploy-agent.log", "codedeploy-agent.log._copy_"),
            ("codedeploy-agent.log", "codedeploy-agent.log.age"),
        ];
        for (live, name) in no {
            assert!(
                !is_rotation_of(live.as_ref(), name.as_ref()),
                "{name} of {live}"
            );
        }
        assert_eq!(
            family_of(Path::new("/l/worker-0001.log")),
            Path::new("/l/worker-0001.log")
        );
    }
}
