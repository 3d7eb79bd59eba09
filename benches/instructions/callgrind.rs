//! Runs one workload of this program under callgrind and reads what it collected.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Instructions per unit of one workload.
pub(crate) fn count(name: &str) -> Result<f64, String> {
    counted(name, Path::new("/dev/null"))
}

/// The same, keeping callgrind's file.
pub(crate) fn profile(name: &str) -> Result<PathBuf, String> {
    let file = format!("callgrind.{}.out", name.replace('/', "-"));
    let path = std::env::temp_dir().join(file);
    counted(name, &path).map(|_| path)
}

fn counted(name: &str, out_file: &Path) -> Result<f64, String> {
    let this =
        std::env::current_exe().map_err(|error| format!("failed to find itself: {error}"))?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no"])
        .arg("--toggle-collect=instructions::measured*")
        .arg(format!("--callgrind-out-file={}", out_file.display()))
        .arg(this)
        .args(["--run", name])
        // The tables of hash maps and the length of the stack must not differ between two runs.
        .env_clear()
        .env("TZ", "UTC")
        .output()
        .map_err(|error| format!("failed to run valgrind (is it installed?): {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("{name} failed under valgrind:\n{said}"));
    }
    let units = String::from_utf8_lossy(&output.stdout);
    let units: f64 = units
        .trim()
        .parse()
        .map_err(|_| format!("{name} did not say its units: {units}"))?;
    let collected = said
        .lines()
        .find_map(|line| line.split_once("Collected : "))
        .and_then(|(_, count)| count.trim().parse::<f64>().ok());
    match collected {
        Some(collected) if collected > 0.0 => Ok(collected / units),
        _ => Err(format!("callgrind counted nothing for {name}:\n{said}")),
    }
}
