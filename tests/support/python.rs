//! Python with packages pinned by hash, for tests that need what others wrote in it.
//!
//! A virtual environment is made once below `target/`, from a `requirements.txt`. Where that cannot
//! be had (no Python, no network) the caller's tests say SKIPPED and pass, unless `CI=true` or
//! their variable says `required`: then they fail.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The interpreter of the virtual environment `name`-venv with `folder`'s `requirements.txt`, or
/// `None`, which was said. `variable` is the one that can say `required`.
pub(crate) fn interpreter(name: &str, folder: &Path, variable: &str) -> Option<PathBuf> {
    match environment(name, folder) {
        Ok(python) => Some(python),
        Err(why) => {
            let value = |name| std::env::var(name).unwrap_or_default();
            let required = value("CI") == "true" || value(variable) == "required";
            assert!(!required, "the {name} tests are required here, but: {why}");
            // Written to the handle, since the harness swallows what a passing test prints.
            let mut handle = std::io::stderr();
            writeln!(handle, "SKIPPED {name}: {why}").unwrap();
            None
        }
    }
}

fn environment(name: &str, folder: &Path) -> Result<PathBuf, String> {
    let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-venv"));
    let python = venv.join("bin/python");
    let requirements = folder.join("requirements.txt");
    let wanted = std::fs::read(&requirements).unwrap();
    let stamp = venv.join("installed-requirements.txt");
    if std::fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(python);
    }
    if venv.exists() {
        std::fs::remove_dir_all(&venv).unwrap();
    }
    quietly(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    let options = [
        "--quiet",
        "--no-input",
        "--disable-pip-version-check",
        "--retries",
        "2",
    ];
    quietly(
        Command::new(&python)
            .args(["-m", "pip", "install"])
            .args(options)
            .args(["--require-hashes", "-r"])
            .arg(&requirements),
    )?;
    std::fs::write(stamp, wanted).unwrap();
    Ok(python)
}

/// Runs a command whose output matters only when it fails.
fn quietly(command: &mut Command) -> Result<(), String> {
    let name = format!("{command:?}");
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{name}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let text = [output.stdout, output.stderr].concat();
            Err(format!("{name}: {}", String::from_utf8_lossy(&text).trim()))
        }
    }
}
