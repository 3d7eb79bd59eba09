//! Where the CodeDeploy agent's files are, as its own configuration says.
//!
//! ```text
//! log_dir        /var/log/aws/codedeploy-agent
//!   codedeploy-agent.log            agent    1.x: copied to .YYYYMMDD.log and truncated
//!   codedeploy-agent.YYYYMMDD.log            2.x: renamed to .YYYYMMDD.log, .YYYYMMDD.N.log
//!   codedeploy-agent-updater.log    updater  2.x
//!   codedeploy-local.log            local    1.x
//!   codedeploy-agent.aws_wire.log   never: requests with their secrets
//! root_dir       /opt/codedeploy-agent/deployment-root
//!   deployment-logs/codedeploy-agent-deployments.log   deployments; .log.0 .. .log.7 when full
//!   GROUP-ID/DEPLOYMENT-ID/logs/scripts.log            scripts; .log.1 .. .log.7 when full (2.x)
//!   ongoing-deployment/DEPLOYMENT-ID                   there while a command runs
//! /tmp/codedeploy-agent.update.log  updater  1.x; .0 when full
//! ```
//!
//! Both generations keep to this, so one [`Layout`] serves an upgrade in place. [`Discovery`]
//! finds it, and finds it again when the configuration changes. Invariants: a configuration that
//! cannot be used never takes a working layout away, and only the two configuration files and the
//! version file are read here (never the on-premises configuration, which holds credentials).

use std::ffi::OsStr;
use std::path::{Component as Part, Path, PathBuf};
use std::sync::Arc;

use yaml_rust2::parser::{Event, Parser};

use crate::config::{Builtin, CodeDeployConfig, Component, PathPattern, Source};

pub use super::discovery::{Change, Discovery};

/// Where the CodeDeploy agent looks for its configuration, in this order.
pub const CONFIG_PATHS: [&str; 2] = [
    "/etc/codedeploy-agent/conf/codedeployagent.yml",
    "/opt/codedeploy-agent/conf/codedeployagent.yml",
];
/// Its installer (1.x) and itself (2.x) note the version here.
pub const VERSION_PATH: &str = "/opt/codedeploy-agent/.version";

/// The unit it runs in, be it systemd's own or made from the SysV script.
pub const SERVICE: &str = "codedeploy-agent.service";

/// Where the main process notes its id unless configured otherwise.
const PID_DIR: &str = "/opt/codedeploy-agent/state/.pid";

/// Where the 1.x installer logs, whatever is configured.
const UPDATE_LOG_DIR: &str = "/tmp";

/// The places that matter to us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The agent's own logs.
    pub log_dir: PathBuf,
    /// Deployments, each with its scripts' log.
    pub root_dir: PathBuf,
    /// Begins the names of the agent's logs.
    pub program_name: String,
    /// One file per deployment with a command under way.
    pub ongoing_deployment: PathBuf,
    /// Holds the id of the agent's main process.
    pub pid_file: PathBuf,
}

impl Default for Layout {
    fn default() -> Self {
        let root_dir = PathBuf::from("/opt/codedeploy-agent/deployment-root");
        Self {
            log_dir: PathBuf::from("/var/log/aws/codedeploy-agent"),
            ongoing_deployment: root_dir.join("ongoing-deployment"),
            root_dir,
            program_name: "codedeploy-agent".to_owned(),
            pid_file: PathBuf::from(PID_DIR).join("codedeploy-agent.pid"),
        }
    }
}

/// Why a configuration of the CodeDeploy agent cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// Not text.
    #[error("it is not UTF-8")]
    NotUtf8,
    /// Not YAML.
    #[error("it is not valid YAML: {0}")]
    Yaml(String),
    /// Not `key: value` lines.
    #[error("it is not a list of settings")]
    NotSettings,
    /// A setting we need has no usable value.
    #[error("its {key} {problem}")]
    Setting {
        /// Which.
        key: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
}

/// Reads a `codedeployagent.yml`. Keys may be Ruby symbols (`:log_dir:`) or plain; what is not set
/// has its default; other settings are none of our business.
///
/// # Errors
/// Where the CodeDeploy agent itself could not use it, or its values are no paths.
pub fn parse(bytes: &[u8]) -> Result<Layout, LayoutError> {
    let text = std::str::from_utf8(bytes).map_err(|_| LayoutError::NotUtf8)?;
    let mut layout = Layout::default();
    let mut tracking = "ongoing-deployment".to_owned();
    let mut pid_dir = PathBuf::from(PID_DIR);
    for (key, value) in settings(text.trim_start_matches('\u{feff}'))? {
        match key.strip_prefix(':').unwrap_or(&key) {
            "log_dir" => directory("log_dir", value, &mut layout.log_dir)?,
            "root_dir" => directory("root_dir", value, &mut layout.root_dir)?,
            "pid_dir" => directory("pid_dir", value, &mut pid_dir)?,
            "program_name" => name("program_name", value, &mut layout.program_name)?,
            "ongoing_deployment_tracking" => {
                name("ongoing_deployment_tracking", value, &mut tracking)?;
            }
            _ => {}
        }
    }
    layout.ongoing_deployment = layout.root_dir.join(tracking);
    layout.pid_file = pid_dir.join(format!("{}.pid", layout.program_name));
    Ok(layout)
}

/// The value of one setting.
enum Value {
    /// Nothing, or `~`.
    Unset,
    Text(String),
    /// A list or another mapping.
    Nested,
}

/// The settings of the top level. We go over the parser's events and build no tree: aliases that
/// multiply and nests without end then cost nothing.
fn settings(text: &str) -> Result<Vec<(String, Value)>, LayoutError> {
    let mut parser = Parser::new_from_str(text);
    let mut settings = Vec::new();
    let mut key = None;
    let mut depth = 0_usize;
    loop {
        let (event, _) = parser
            .next_token()
            .map_err(|error| LayoutError::Yaml(error.to_string()))?;
        let value = match event {
            Event::StreamEnd | Event::DocumentEnd => return Ok(settings),
            Event::MappingStart(..) if depth == 0 => {
                depth = 1;
                continue;
            }
            Event::MappingStart(..) | Event::SequenceStart(..) if depth == 0 => {
                return Err(LayoutError::NotSettings);
            }
            Event::MappingStart(..) | Event::SequenceStart(..) => {
                depth += 1;
                continue;
            }
            Event::MappingEnd | Event::SequenceEnd => {
                depth = depth.saturating_sub(1);
                if depth != 1 {
                    continue;
                }
                Value::Nested
            }
            Event::Scalar(text, style, ..) if depth <= 1 => {
                let plain = style == yaml_rust2::scanner::TScalarStyle::Plain;
                match text.as_str() {
                    "" | "~" | "null" if plain => Value::Unset,
                    _ => Value::Text(text),
                }
            }
            Event::Alias(_) if depth == 1 => Value::Nested,
            _ => continue,
        };
        if depth == 0 {
            // A whole document of one word. An empty one sets nothing.
            match value {
                Value::Unset => continue,
                _ => return Err(LayoutError::NotSettings),
            }
        }
        match (key.take(), value) {
            (None, Value::Text(text)) => key = Some(text),
            (None, _) => key = Some(String::new()),
            (Some(key), value) => settings.push((key, value)),
        }
    }
}

fn directory(key: &'static str, value: Value, into: &mut PathBuf) -> Result<(), LayoutError> {
    let wrong = |problem| Err(LayoutError::Setting { key, problem });
    let text = match value {
        Value::Unset => return Ok(()),
        Value::Nested => return wrong("is not a path"),
        Value::Text(text) => text,
    };
    let path = Path::new(text.trim());
    if !path.is_absolute() {
        return wrong("is not an absolute path");
    }
    if text.contains(char::is_control) || path.components().any(|part| part == Part::ParentDir) {
        return wrong("is not a plain path");
    }
    // Without the trailing and doubled slashes that are common in this file.
    *into = path.components().collect();
    Ok(())
}

fn name(key: &'static str, value: Value, into: &mut String) -> Result<(), LayoutError> {
    let wrong = |problem| Err(LayoutError::Setting { key, problem });
    let text = match value {
        Value::Unset => return Ok(()),
        Value::Nested => return wrong("is not a name"),
        Value::Text(text) => text,
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ' ');
    if text.starts_with('.') || !text.chars().all(plain) {
        return wrong("is not a plain file name");
    }
    *into = text;
    Ok(())
}

impl Layout {
    /// The CodeDeploy agent's own log, as long as it is not rotated.
    #[must_use]
    pub fn agent_log(&self) -> PathBuf {
        self.log_dir.join(format!("{}.log", self.program_name))
    }

    /// The built-in sources that are switched on, with the paths they have in this layout. Paths
    /// the user gave one stay.
    #[must_use]
    pub fn sources(&self, config: &CodeDeployConfig) -> Vec<Arc<Source>> {
        if !config.enabled {
            return Vec::new();
        }
        let fill = |(builtin, source): &(Builtin, Source)| {
            let mut source = source.clone();
            if source.paths.is_empty() {
                source.paths = self.patterns(*builtin);
            }
            Arc::new(source)
        };
        config.sources.iter().map(fill).collect()
    }

    /// Which files are a built-in source's: as narrow as their names are known, since the wire log
    /// lies beside them.
    #[must_use]
    pub fn patterns(&self, builtin: Builtin) -> Vec<PathPattern> {
        let program = &self.program_name;
        match builtin {
            Builtin::Agent => vec![pattern(&self.log_dir, &[&dated(program)])],
            Builtin::Local => vec![pattern(&self.log_dir, &[&dated("codedeploy-local")])],
            Builtin::Deployments => {
                let dir = self.root_dir.join("deployment-logs");
                vec![pattern(
                    &dir,
                    &[&numbered(&format!("{program}-deployments.log"))],
                )]
            }
            Builtin::Scripts => {
                let parts = ["*", "{d-*,local-[0-9]*}", "logs", &numbered("scripts.log")];
                vec![pattern(&self.root_dir, &parts)]
            }
            Builtin::Updater => {
                let installer = "{codedeploy-agent.update.log,codedeploy-agent.update.log.0}";
                vec![
                    pattern(Path::new(UPDATE_LOG_DIR), &[installer]),
                    pattern(&self.log_dir, &["codedeploy-agent-updater.log"]),
                ]
            }
        }
    }
}

/// `NAME.log` and what daily rotation makes of it; N up to 999 a day.
fn dated(name: &str) -> String {
    let digit = "[0-9]";
    let day = digit.repeat(8);
    let counted: Vec<String> = (1..=3)
        .map(|digits| format!("{name}.{day}.{}.log", digit.repeat(digits)))
        .collect();
    format!("{{{name}.log,{name}.{day}.log,{}}}", counted.join(","))
}

/// `NAME` and what rotation by size makes of it.
fn numbered(name: &str) -> String {
    format!("{{{name},{name}.[0-9]}}")
}

/// A pattern of this file's own making.
fn pattern(root: &Path, parts: &[&str]) -> PathPattern {
    let component = |part: &&str| {
        let glob = globset::GlobBuilder::new(part)
            .literal_separator(true)
            .build()
            .expect("globs of our own making, around names checked to be plain, are valid");
        Component::Name(glob.compile_matcher())
    };
    PathPattern {
        text: root.join(parts.join("/")).display().to_string(),
        root: root.into(),
        components: parts.iter().map(component).collect(),
    }
}

/// The deployment group and the deployment a path lies in.
#[must_use]
pub fn deployment_of<'p>(root_dir: &Path, path: &'p Path) -> Option<(&'p str, &'p str)> {
    let mut parts = path.strip_prefix(root_dir).ok()?.iter();
    let (group, deployment) = (parts.next()?.to_str()?, parts.next()?.to_str()?);
    parts.next()?;
    is_deployment_id(OsStr::new(deployment)).then_some((group, deployment))
}

/// `d-` and letters, digits, dashes; or `local-` and digits.
#[must_use]
pub fn is_deployment_id(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    if let Some(rest) = name.strip_prefix(b"d-") {
        return !rest.is_empty() && rest.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-');
    }
    let digits = name.strip_prefix(b"local-").unwrap_or_default();
    !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
}

/// The version in a version file: `1.8.1` of `agent_version: OFFICIAL_1.8.1-6_rpm`.
#[must_use]
pub fn parse_version(text: &str) -> Option<String> {
    let value = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("agent_version:"))?;
    let from = value.find(|c: char| c.is_ascii_digit())?;
    let number: String = value[from..]
        .chars()
        .take_while(|c| c.is_ascii_digit() || *c == '.')
        .take(20)
        .collect();
    Some(number.trim_end_matches('.').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What the 1.x package installs (its documentation lists these settings).
    const SHIPPED: &str = "---\n:log_aws_wire: false\n\
        :log_dir: '/var/log/aws/codedeploy-agent/'\n\
        :pid_dir: '/opt/codedeploy-agent/state/.pid/'\n\
        :program_name: codedeploy-agent\n\
        :root_dir: '/opt/codedeploy-agent/deployment-root'\n\
        :verbose: false\n:wait_between_runs: 1\n:proxy_uri:\n:max_revisions: 5\n\
        :enable_auth_policy: false\n:disable_imds_v1: false\n";

    #[test]
    fn the_shipped_configuration_is_the_default() {
        // What the package installs must give our defaults, as must an empty file: both parsed.
        for text in [
            SHIPPED,
            "",
            "---\n",
            "--- {}\n",
            "# only a comment\n",
            "~\n",
        ] {
            assert_eq!(parse(text.as_bytes()), Ok(Layout::default()), "{text:?}");
        }
    }

    #[test]
    fn keys_may_be_symbols_plain_or_quoted() {
        // Every way to write a setting that either agent takes must move the layout: one table of
        // the same three settings.
        let moved = Layout {
            log_dir: "/data/log".into(),
            root_dir: "/data/root".into(),
            program_name: "cd".to_owned(),
            ongoing_deployment: "/data/root/ongoing-deployment".into(),
            pid_file: "/opt/codedeploy-agent/state/.pid/cd.pid".into(),
        };
        let texts = [
            ":log_dir: /data/log\n:root_dir: /data/root\n:program_name: cd\n",
            "log_dir: /data/log\nroot_dir: /data/root\nprogram_name: cd\n",
            "---\r\n:log_dir: '/data/log/'\r\n:root_dir: \"/data//root/\"\r\n:program_name: 'cd'\r\n",
            "':log_dir': /data/log # moved\n\":root_dir\": /data/root\nprogram_name:   cd\n",
            "{log_dir: /data/log, root_dir: /data/root, program_name: cd}",
            ":log_dir:\t/data/log\n:root_dir:\t'/data/root'\t# tabs\n:program_name: cd\n",
            ":log_dir: /x\n:log_dir: /data/log\n:root_dir: /data/root\n:program_name: cd\n",
            "\u{feff}log_dir: /data/log\nroot_dir: /data/root\nprogram_name: cd\n",
            "a: [1, {b: c}]\nlog_dir: /data/log\nroot_dir: /data/root\nd: &x {e: f}\ng: *x\n\
             program_name: cd\n",
            "? [odd]\n: key\nlog_dir: /data/log\nroot_dir: /data/root\nprogram_name: cd\n",
            "log_dir: /data/log\nroot_dir: /data/root\nprogram_name: cd\nn: {log_dir: /inner}\n",
        ];
        for text in texts {
            assert_eq!(parse(text.as_bytes()), Ok(moved.clone()), "{text:?}");
        }
        let text = ":root_dir: /r\n:ongoing_deployment_tracking: busy\n:log_dir:\n:program_name: ~\n:pid_dir: /p/\n";
        let layout = parse(text.as_bytes()).unwrap();
        assert_eq!(layout.pid_file, Path::new("/p/codedeploy-agent.pid"));
        assert_eq!(layout.ongoing_deployment, Path::new("/r/busy"));
        assert_eq!(layout.log_dir, Layout::default().log_dir);
        assert_eq!(layout.program_name, "codedeploy-agent");
    }

    #[test]
    fn garbage_is_refused_with_the_reason() {
        // Each kind of unusable text must give its own error, none a panic or a half layout: a
        // table, with nests and aliases that would grow without end in a tree.
        let deep = format!("log_dir: {}", "[".repeat(20_000));
        let setting = |key, problem| LayoutError::Setting { key, problem };
        let cases: [(&[u8], LayoutError); 9] = [
            (b"\xff\xfe", LayoutError::NotUtf8),
            (b"just words\n", LayoutError::NotSettings),
            (b"- a\n- list\n", LayoutError::NotSettings),
            (
                b"log_dir: relative/path\n",
                setting("log_dir", "is not an absolute path"),
            ),
            (
                b"log_dir: /var/../etc\n",
                setting("log_dir", "is not a plain path"),
            ),
            (
                b"root_dir: [/a, /b]\n",
                setting("root_dir", "is not a path"),
            ),
            (
                b"program_name: ../x\n",
                setting("program_name", "is not a plain file name"),
            ),
            (
                b"program_name: '*'\n",
                setting("program_name", "is not a plain file name"),
            ),
            (
                b"program_name: {a: b}\n",
                setting("program_name", "is not a name"),
            ),
        ];
        for (text, error) in cases {
            assert_eq!(parse(text), Err(error), "{text:?}");
        }
        for text in [
            "log_dir: 'open\n",
            "log_dir: /a\n\tb: c\n  - d",
            "a: b: c\n",
            &*deep,
        ] {
            let error = parse(text.as_bytes()).unwrap_err();
            assert!(matches!(error, LayoutError::Yaml(_)), "{error}");
        }
        let mut laughs = "a0: &a0 [x, x]\n".to_owned();
        for n in 1..60 {
            laughs += &format!("a{n}: &a{n} [*a{0}, *a{0}, *a{0}]\n", n - 1);
        }
        assert_eq!(parse(laughs.as_bytes()), Ok(Layout::default()));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[-:#'\"\\[\\]{}&*!|>%@`a-z/ \\t\\n~?,]{0,80}") {
            // Whatever is in the file, the answer must be a layout of absolute paths or an error.
            if let Ok(layout) = parse(text.as_bytes()) {
                prop_assert!(layout.log_dir.is_absolute() && layout.root_dir.is_absolute());
            }
        }
    }

    /// Whether a pattern matches a path, part by part.
    fn matches(patterns: &[PathPattern], path: &str) -> bool {
        patterns.iter().any(|pattern| {
            let Ok(below) = Path::new(path).strip_prefix(&pattern.root) else {
                return false;
            };
            let parts: Vec<&OsStr> = below.iter().collect();
            parts.len() == pattern.components.len()
                && pattern
                    .components
                    .iter()
                    .zip(parts)
                    .all(|(component, part)| match component {
                        Component::Name(glob) => glob.is_match(part),
                        Component::AnyDirectories => false,
                    })
        })
    }

    #[test]
    fn each_source_takes_its_files_and_no_others() {
        // Every name either agent writes must belong to exactly the source it belongs to; wire
        // logs, credentials, markers and temporary names to none: a table over all five sources.
        const LOG: &str = "/var/log/aws/codedeploy-agent";
        const ROOT: &str = "/opt/codedeploy-agent/deployment-root";
        let mut cases = Vec::new();
        let mut add = |owner: Option<Builtin>, dir: &str, names: &[&str]| {
            for name in names {
                cases.push((owner, format!("{dir}/{name}")));
            }
        };
        let agent = [
            "codedeploy-agent.log",
            "codedeploy-agent.20261121.log",
            "codedeploy-agent.20261121.1.log",
            "codedeploy-agent.20261121.37.log",
        ];
        add(Some(Builtin::Agent), LOG, &agent);
        let local = ["codedeploy-local.log", "codedeploy-local.20261121.log"];
        add(Some(Builtin::Local), LOG, &local);
        add(
            Some(Builtin::Updater),
            LOG,
            &["codedeploy-agent-updater.log"],
        );
        let update = [
            "codedeploy-agent.update.log",
            "codedeploy-agent.update.log.0",
        ];
        add(Some(Builtin::Updater), "/tmp", &update);
        let deployments = [
            "deployment-logs/codedeploy-agent-deployments.log",
            "deployment-logs/codedeploy-agent-deployments.log.0",
            "deployment-logs/codedeploy-agent-deployments.log.7",
        ];
        add(Some(Builtin::Deployments), ROOT, &deployments);
        let scripts = [
            "b1a2c3d4-0000-1111-2222-333344445555/d-ABCDEFGH1/logs/scripts.log",
            "b1a2c3d4-0000-1111-2222-333344445555/d-ABCDEFGH1/logs/scripts.log.1",
            "default-local-deployment-group/d-S9STN0WZD-local/logs/scripts.log",
            "default-local-deployment-group/local-4711/logs/scripts.log",
        ];
        add(Some(Builtin::Scripts), ROOT, &scripts);
        let nobodys = [
            "codedeploy-agent.aws_wire.log",
            "codedeploy-agent.aws_wire.log.0",
            "codedeploy-agent.wire.log",
            "codedeploy-agent.log.age",
            "codedeploy-agent.log._copy_",
            "codedeploy-agent.2026112.log",
            "codedeploy-agent.20261121.x.log",
            "codedeploy-agent.20261121.log.gz",
            "codedeploy-agent-updater.log.0",
            "codedeploy-agentXlog",
            "other.log",
        ];
        add(None, LOG, &nobodys);
        let nobodys = [
            "deployment-logs/other.log",
            "deployment-instructions/group-install.json",
            "ongoing-deployment/d-ABCDEFGH1",
            "group/d-ABCDEFGH1/logs/other.log",
            "group/d-ABCDEFGH1/logs/scripts.log.10",
            "group/d-ABCDEFGH1/deployment-archive/logs/scripts.log",
            "group/d-ABCDEFGH1/scripts.log",
            "group/x-ABCDEFGH1/logs/scripts.log",
            "group/local-x/logs/scripts.log",
        ];
        add(None, ROOT, &nobodys);
        let layout = Layout::default();
        use Builtin::{Agent, Deployments, Local, Scripts, Updater};
        for (owner, path) in &cases {
            for builtin in [Agent, Deployments, Scripts, Updater, Local] {
                let expected = *owner == Some(builtin);
                let got = matches(&layout.patterns(builtin), path);
                assert_eq!(got, expected, "{builtin:?} and {path}");
            }
        }
    }

    #[test]
    fn patterns_follow_a_moved_layout() {
        // Another log_dir, root_dir and program_name must move every pattern but the installer's:
        // shown by one file each.
        let text = ":log_dir: /l/\n:root_dir: /r\n:program_name: my.agent\n";
        let layout = parse(text.as_bytes()).unwrap();
        let takes = |builtin, path| matches(&layout.patterns(builtin), path);
        assert!(takes(Builtin::Agent, "/l/my.agent.log"));
        assert!(takes(Builtin::Agent, "/l/my.agent.20261121.log"));
        assert!(!takes(Builtin::Agent, "/l/myxagent.log"));
        assert!(takes(
            Builtin::Deployments,
            "/r/deployment-logs/my.agent-deployments.log"
        ));
        assert!(takes(Builtin::Scripts, "/r/g/d-A/logs/scripts.log"));
        assert!(takes(Builtin::Updater, "/tmp/codedeploy-agent.update.log"));
        assert!(takes(Builtin::Updater, "/l/codedeploy-agent-updater.log"));
        let text = &layout.patterns(Builtin::Scripts)[0].text;
        assert!(text.starts_with("/r/*/{d-*,local-[0-9]*}/logs/"), "{text}");
    }

    #[test]
    fn a_path_tells_its_deployment() {
        // Group and deployment must be read from paths below a deployment, and from no other: a
        // table.
        let of = |path: &'static str| deployment_of(Path::new("/r"), Path::new(path));
        assert_eq!(of("/r/g/d-AB12/logs/scripts.log"), Some(("g", "d-AB12")));
        assert_eq!(
            of("/r/g/d-AB12-local/logs/scripts.log.1"),
            Some(("g", "d-AB12-local"))
        );
        assert_eq!(of("/r/g/local-4711/x"), Some(("g", "local-4711")));
        for path in [
            "/r/g/d-AB12",
            "/r/g/d-/x",
            "/r/g/d-A_B/x",
            "/r/g/local-/x",
            "/r/g/local-4x/x",
            "/r/g/x/d-AB12",
            "/r/ongoing-deployment/d-AB12",
            "/s/g/d-AB12/x",
            "/rr/g/d-AB12/x",
        ] {
            assert_eq!(of(path), None, "{path}");
        }
    }

    #[test]
    fn the_version_is_read_from_either_generations_file() {
        // Both agents' version files must give the number alone, garbage nothing: a table.
        let table = [
            ("agent_version: OFFICIAL_1.8.1-6_rpm\n", Some("1.8.1")),
            ("agent_version: 2.1.0", Some("2.1.0")),
            ("x: 1\nagent_version: v2.\n", Some("2")),
            ("agent_version: none", None),
            ("", None),
        ];
        for (text, version) in table {
            assert_eq!(parse_version(text).as_deref(), version, "{text:?}");
        }
    }
}
