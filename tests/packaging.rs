//! What the packages are made of, as far as no package is needed to see it: the unit, the scripts with
//! a broken or absent systemd, the papers.

#![cfg(test)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Exposure that `systemd-analyze security --offline` may find, in tenths; tests/vm asks the same of the
/// running unit.
const EXPOSURE_MAX: u32 = 16;

/// Programs that the scripts call and that change a machine.
const CHANGERS: &[&str] = &[
    "systemctl",
    "systemd-sysusers",
    "deb-systemd-helper",
    "deb-systemd-invoke",
    "useradd",
    "groupadd",
    "getent",
    "rm",
    "rmdir",
];

/// Calls of each script that a package manager makes: its file and its arguments.
const CALLS: &[(&str, &[&str])] = &[
    ("deb/postinst", &["configure", ""]),
    ("deb/postinst", &["configure", "0.0.9-1"]),
    ("deb/postinst", &["abort-upgrade", "0.2.0-1"]),
    ("deb/postinst", &["triggered"]),
    ("deb/prerm", &["remove"]),
    ("deb/prerm", &["upgrade", "0.2.0-1"]),
    ("deb/postrm", &["remove"]),
    ("deb/postrm", &["upgrade", "0.2.0-1"]),
    ("deb/postrm", &["purge"]),
    ("rpm/pre", &["1"]),
    ("rpm/post", &["1"]),
    ("rpm/post", &["2"]),
    ("rpm/preun", &["0"]),
    ("rpm/preun", &["1"]),
    ("rpm/postun", &["0"]),
    ("rpm/postun", &["1"]),
];

fn packaging(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("packaging")
        .join(name)
}

/// A directory of programs that only note how they are called; the ones in `failing` then fail, and
/// `absent` ones are not there.
struct Programs {
    dir: tempfile::TempDir,
}

impl Programs {
    fn make(failing: &[&str], absent: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in CHANGERS.iter().filter(|name| !absent.contains(*name)) {
            let code = u8::from(failing.contains(name));
            let text = format!(
                "#!/bin/sh\necho \"{name} $*\" >>{}/calls\nexit {code}\n",
                dir.path().display()
            );
            let path = dir.path().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self { dir }
    }

    /// Runs a script with no other program in reach, as if systemd ran. Returns its exit code and the
    /// calls it made.
    fn run(&self, script: &str, arguments: &[&str]) -> (Option<i32>, String) {
        let calls = self.dir.path().join("calls");
        // The first script of several makes it.
        fs::remove_file(&calls).ok();
        let text = fs::read_to_string(packaging(script)).unwrap();
        let here = self.dir.path().display().to_string();
        let finished = Command::new("/bin/sh")
            .args(["-c", &text.replace("/run/systemd/system", &here), script])
            .args(arguments)
            .env_clear()
            .env("PATH", self.dir.path())
            .output()
            .unwrap();
        (
            finished.status.code(),
            fs::read_to_string(&calls).unwrap_or_default(),
        )
    }
}

/// No script fails because systemd is broken or not there (a container, an image being built): shown by
/// every call a package manager makes, with programs that all fail, and with none at all.
#[test]
fn scripts_end_well_without_a_working_systemd() {
    let systemd = [
        "systemctl",
        "systemd-sysusers",
        "deb-systemd-helper",
        "deb-systemd-invoke",
    ];
    for programs in [
        Programs::make(&[], &[]),
        Programs::make(&systemd, &[]),
        Programs::make(&[], &systemd),
    ] {
        for (script, arguments) in CALLS {
            let (code, calls) = programs.run(script, arguments);
            assert_eq!(code, Some(0), "{script} {arguments:?} after\n{calls}");
        }
    }
}

/// The user is made when it is not there, by useradd where systemd cannot; and an installation that
/// cannot make it fails: shown by a getent that knows nobody.
#[test]
fn the_user_is_made_or_the_installation_fails() {
    let nobody = Programs::make(&["getent", "systemd-sysusers"], &[]);
    for (script, argument) in [("deb/postinst", "configure"), ("rpm/pre", "1")] {
        let (code, calls) = nobody.run(script, &[argument]);
        assert_eq!(code, Some(0), "{script}\n{calls}");
        assert!(calls.contains("useradd --system"), "{script}\n{calls}");
        // One that is there already is used: useradd refuses to make it again.
        assert!(calls.contains("--gid deploywatch"), "{script}\n{calls}");
        let broken = Programs::make(&["getent", "systemd-sysusers", "useradd"], &[]);
        let (code, calls) = broken.run(script, &[argument]);
        assert_ne!(code, Some(0), "{script}\n{calls}");
    }
    let known = Programs::make(&[], &[]);
    for (script, argument) in [("deb/postinst", "configure"), ("rpm/pre", "1")] {
        let (_, calls) = known.run(script, &[argument]);
        assert!(!calls.contains("useradd"), "{script}\n{calls}");
    }
}

/// Only a purge takes the state, and an upgrade disables and stops nothing: shown by the calls.
#[test]
fn state_outlives_everything_but_a_purge() {
    let programs = Programs::make(&[], &[]);
    for (script, arguments) in CALLS {
        let (_, calls) = programs.run(script, arguments);
        let purges = *script == "deb/postrm" && arguments[0] == "purge";
        assert_eq!(
            calls.contains("rm -rf /var/lib/deploywatch"),
            purges,
            "{script} {arguments:?}"
        );
        let leaves = matches!((*script, arguments[0]), ("rpm/preun", "0"));
        let ends = ["disable", "systemctl stop"];
        assert_eq!(
            ends.iter().any(|word| calls.contains(word)),
            leaves,
            "{script} {arguments:?}\n{calls}"
        );
    }
    // rpm's convention: the presets decide, once.
    assert!(
        programs
            .run("rpm/post", &["1"])
            .1
            .contains("preset deploywatch.service")
    );
    assert!(!programs.run("rpm/post", &["2"]).1.contains("preset"));
    assert!(
        programs
            .run("rpm/postun", &["1"])
            .1
            .contains("try-restart deploywatch.service")
    );
}

/// systemd finds nothing to say about the unit, and its exposure stays low: shown by systemd itself,
/// with the binary of this build in place of the installed one.
#[test]
fn systemd_accepts_the_unit() {
    if Command::new("systemd-analyze")
        .arg("--version")
        .output()
        .is_err()
    {
        eprintln!("SKIPPED the unit is not looked at: no systemd-analyze here");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let unit = dir.path().join("deploywatch.service");
    let text = fs::read_to_string(packaging("deploywatch.service")).unwrap();
    let text = text.replace("/usr/bin/deploywatch", env!("CARGO_BIN_EXE_deploywatch"));
    fs::write(&unit, text).unwrap();
    let analyze = |arguments: &[&str]| {
        let finished = Command::new("systemd-analyze")
            .args(arguments)
            .arg(&unit)
            .output()
            .unwrap();
        let said = [finished.stdout, finished.stderr].concat();
        (
            finished.status.success(),
            String::from_utf8_lossy(&said).into_owned(),
        )
    };
    // Of some faults it only tells.
    let (good, said) = analyze(&["verify", "--man=no"]);
    assert!(good && said.is_empty(), "{said}");
    let threshold = format!("--threshold={EXPOSURE_MAX}");
    let (good, said) = analyze(&["security", "--offline=true", "--no-pager", &threshold]);
    assert!(good, "{said}");
}

/// systemd gives the agent more time to stop than the agent takes, by default and at most with a word of
/// warning in the unit; shown by the two files.
#[test]
fn a_stop_is_given_more_time_than_it_takes() {
    let unit = fs::read_to_string(packaging("deploywatch.service")).unwrap();
    let allowed = unit
        .lines()
        .find_map(|line| line.strip_prefix("TimeoutStopSec="))
        .unwrap();
    let allowed: u64 = allowed.trim_end_matches('s').parse().unwrap();
    let (config, _) = deploywatch::config::Config::parse(&[]).unwrap();
    assert!(allowed >= config.agent.shutdown_grace.as_secs() + 10);
    for line in [
        "After=network.target",
        "Type=notify",
        "StartLimitIntervalSec=0",
    ] {
        assert!(unit.lines().any(|other| other == line), "{line}");
    }
    let orders = unit.lines().filter(|line| !line.starts_with('#'));
    assert_eq!(
        orders
            .filter(|line| line.contains("network-online"))
            .count(),
        0
    );
}

/// The manual page and the completions know every command, and the page every option of it: shown by what
/// the program says of itself, command by command.
#[test]
fn the_manual_knows_every_command_and_option() {
    let said = |arguments: &[&str]| {
        let finished = Command::new(env!("CARGO_BIN_EXE_deploywatch"))
            .args(arguments)
            .output()
            .unwrap();
        assert!(finished.status.success(), "{arguments:?}");
        String::from_utf8(finished.stdout).unwrap()
    };
    let manual = fs::read_to_string(packaging("deploywatch.8")).unwrap();
    let completions = ["bash", "zsh", "fish"].map(|shell| said(&["completions", shell]));
    let mut waiting: Vec<Vec<String>> = vec![Vec::new()];
    let mut options = 0;
    while let Some(path) = waiting.pop() {
        let mut arguments: Vec<&str> = path.iter().map(String::as_str).collect();
        arguments.push("--help");
        let help = said(&arguments);
        // Entries stand indented by two, options without a short form by four more.
        let entries = help.lines().filter_map(|line| line.strip_prefix("  "));
        let words = entries.filter_map(|entry| entry.split_ascii_whitespace().next());
        let (_, commands) = help.split_once("\nCommands:\n").unwrap_or_default();
        let (commands, _) = commands.split_once("\n\n").unwrap_or_default();
        for command in commands.lines().filter_map(|line| line.strip_prefix("  ")) {
            let name = command.split(' ').next().unwrap();
            if name.is_empty() || name == "help" {
                continue;
            }
            assert!(manual.contains(&format!("Cm {name}")), "{path:?} {name}");
            for script in &completions {
                assert!(script.contains(name), "{path:?} {name}");
            }
            waiting.push([path.as_slice(), &[name.to_owned()]].concat());
        }
        for option in words.filter_map(|word| word.strip_prefix("--")) {
            let name = option.trim_end_matches(',');
            options += 1;
            let flag = format!("Fl -{name}");
            let of_command = of_command(&manual, &path);
            let is_there = of_command.match_indices(&flag).any(|(at, _)| {
                let behind = of_command[at + flag.len()..].chars().next();
                behind.is_none_or(|c| !c.is_ascii_alphanumeric() && c != '-')
            });
            assert!(is_there, "deploywatch {} --{name}", path.join(" "));
        }
    }
    assert!(options > 10, "only {options} options were found");
}

/// What the manual page says of a command: its synopsis, and the entries that begin with its name.
fn of_command(manual: &str, path: &[String]) -> String {
    let name = path.first().map_or("", String::as_str);
    let parts = manual.split("\n.Nm\n").chain(manual.split("\n.It "));
    parts
        .filter(|part| {
            part.starts_with(&format!("Cm {name}")) || part.starts_with(&format!(".Cm {name}\n"))
        })
        .collect()
}

/// The papers that go with a package are complete: every key of the configuration is in its manual page,
/// every linked library stands in the bill of materials and among the licences; shown by making
/// them.
#[test]
fn the_papers_are_complete() {
    if Command::new("python3").arg("--version").output().is_err() {
        eprintln!("SKIPPED the papers are not made: no python3 here");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let made = Command::new("python3")
        .arg(packaging("papers.py"))
        .args(["x86_64-unknown-linux-gnu", "1795000000"])
        .arg(dir.path())
        .output()
        .unwrap();
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    let paper = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();

    let manual = paper("deploywatch.toml.5");
    let conf = fs::read_to_string(packaging("../conf/deploywatch.toml")).unwrap();
    let keys: Vec<&str> = conf
        .lines()
        // An example in the comments is indented.
        .filter_map(|line| line.strip_prefix('#').unwrap_or(line).split_once(" = "))
        .map(|(key, _)| key)
        .filter(|key| key.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
        .collect();
    assert!(keys.len() > 30, "{keys:?}");
    for key in keys {
        assert!(manual.contains(&format!(".It Li \"{key} = ")), "{key}");
    }

    let bill: serde_json::Value = serde_json::from_str(&paper("sbom.cdx.json")).unwrap();
    let licenses = paper("THIRD-PARTY-LICENSES");
    let components = bill["components"].as_array().unwrap();
    let names: Vec<&str> = components
        .iter()
        .map(|c| c["name"].as_str().unwrap())
        .collect();
    for linked in ["ring", "rustls", "aws-sdk-cloudwatchlogs", "rust-std"] {
        assert!(names.contains(&linked), "{linked} is missing");
    }
    for unlinked in ["proptest", "serde_derive", "tempfile"] {
        assert!(!names.contains(&unlinked), "{unlinked} is not linked in");
    }
    for component in components {
        let name = component["name"].as_str().unwrap();
        let version = component["version"].as_str().unwrap();
        assert!(component["licenses"][0]["expression"].is_string(), "{name}");
        assert!(licenses.contains(&format!("{name} {version}: ")), "{name}");
    }
    let newest = format!("deploywatch ({}-1) ", env!("CARGO_PKG_VERSION"));
    assert!(paper("changelog").starts_with(&newest));
}
