//! The keys of one kind of log: `[[source]]` and the CodeDeploy agent's own.

use std::collections::BTreeSet;
use std::sync::Arc;

use regex::Regex;

use super::mistake::Problem;
use super::name::NameKind;
use super::own::Own;
use super::pattern::{PathPattern, PatternError, glob};
use super::record;
use super::section::Section;
use super::shipping::Shipping;
use super::template::Template;
use super::tree::Node;
use super::value;
use super::{Builtin, HardLinks, Multiline, Source, Start, Timestamp};

/// Shortest limit for an event of the CodeDeploy agent's own log: a record that ends a command names it
/// behind a thousand characters of output, and only an event's beginning is listened to.
const AGENT_EVENT_BYTES_MIN: usize = 8_192;

/// Longest source name, in bytes; it is part of every status line.
const NAME_BYTES_MAX: usize = 64;

/// One `[[source]]`; `None` when it is switched off or has a mistake. `taken` holds the names
/// that are used already.
pub(super) fn user_source(
    mut section: Section<'_>,
    defaults: &Shipping,
    own: &Own,
    taken: &mut BTreeSet<String>,
) -> Option<Source> {
    let name = name(&mut section, taken);
    let enabled = section.read("enabled", value::boolean).unwrap_or(true);
    let paths = paths(&mut section);
    let exclude = section.read_list("exclude", "\"*.debug.log\"", exclude_glob);
    let exclude = exclude.unwrap_or_default();
    if enabled {
        own.check(&mut section, paths.as_deref().unwrap_or_default(), &exclude);
    }
    let group = template(
        &mut section,
        "group",
        NameKind::Group,
        "/deploywatch/{source}",
    );
    let stream = template(
        &mut section,
        "stream",
        NameKind::Stream,
        "{instance_id}/{file_name}",
    );
    let timestamp = section.read("timestamp", record::timestamp);
    let multiline = section.read("multiline", record::multiline);
    let hard_links = section.read("hard_links", |node| {
        value::choice(
            node,
            &[("refuse", HardLinks::Refuse), ("allow", HardLinks::Allow)],
        )
    });
    let common = Common::read(&mut section, defaults);
    section.finish(&[
        ("path", "write paths = [\"…\"]"),
        ("log_group_name", "write group"),
        ("log_stream_name", "write stream"),
    ]);
    let (name, paths) = (name?, paths?);
    let source = common.source(name, group, stream);
    enabled.then(|| Source {
        paths,
        exclude,
        timestamp: timestamp.unwrap_or(Timestamp::Auto),
        multiline: multiline.unwrap_or(Multiline::None),
        hard_links: hard_links.unwrap_or(HardLinks::Refuse),
        ..source
    })
}

/// One of the CodeDeploy agent's own logs; `None` when it is switched off.
pub(super) fn builtin_source(
    mut section: Section<'_>,
    builtin: Builtin,
    defaults: &Shipping,
) -> Option<Source> {
    let by_default = builtin != Builtin::Local;
    let enabled = section
        .read("enabled", value::boolean)
        .unwrap_or(by_default);
    let (default_group, default_stream) = builtin.target();
    let group = template(&mut section, "group", NameKind::Group, default_group);
    let stream = template(&mut section, "stream", NameKind::Stream, default_stream);
    let common = Common::read(&mut section, defaults);
    let layout = "remove it: the CodeDeploy agent's own configuration says where its files are";
    let format = "remove it: the format of the CodeDeploy agent's files is known";
    section.finish(&[
        ("paths", layout),
        ("exclude", layout),
        (
            "hard_links",
            "remove it: the CodeDeploy agent links no files",
        ),
        ("timestamp", format),
        ("multiline", format),
    ]);
    let source = common.source(builtin.name().to_owned(), group, stream);
    let (timestamp, multiline) = match builtin {
        Builtin::Agent | Builtin::Local => (Timestamp::CodeDeployAgent, Multiline::CodeDeployAgent),
        Builtin::Deployments => (Timestamp::CodeDeployDeployments, Multiline::None),
        Builtin::Scripts => (Timestamp::CodeDeployScripts, Multiline::None),
        Builtin::Updater => (Timestamp::CodeDeployUpdater, Multiline::None),
    };
    let event_bytes_max = match builtin {
        Builtin::Agent => source.event_bytes_max.max(AGENT_EVENT_BYTES_MIN),
        _ => source.event_bytes_max,
    };
    enabled.then_some(Source {
        timestamp,
        multiline,
        event_bytes_max,
        ..source
    })
}

/// What `[[source]]` and the built-in sources have in common.
struct Common {
    start: Option<Start>,
    include_lines: Vec<Regex>,
    exclude_lines: Vec<Regex>,
    shipping: Shipping,
}

impl Common {
    fn read(section: &mut Section<'_>, defaults: &Shipping) -> Self {
        let start = section.read("start", |node| {
            value::choice(
                node,
                &[
                    ("beginning", Start::Beginning),
                    ("end", Start::End),
                    ("boot", Start::Boot),
                ],
            )
        });
        let include = section.read_list("include_lines", "\"^ERROR\"", value::regex);
        let exclude = section.read_list("exclude_lines", "\"^DEBUG\"", value::regex);
        Self {
            start,
            include_lines: include.unwrap_or_default(),
            exclude_lines: exclude.unwrap_or_default(),
            shipping: defaults.overridden_by(section),
        }
    }

    fn source(self, name: String, group: Template, stream: Template) -> Source {
        Source {
            name: Arc::from(name),
            paths: Vec::new(),
            exclude: Vec::new(),
            group,
            stream,
            group_options: self.shipping.group_options,
            start: self.start.unwrap_or(Start::Beginning),
            timestamp: Timestamp::Auto,
            multiline: Multiline::None,
            include_lines: self.include_lines,
            exclude_lines: self.exclude_lines,
            redact: self.shipping.redact,
            strip_ansi: self.shipping.strip_ansi,
            hard_links: HardLinks::Refuse,
            event_bytes_max: self.shipping.event_bytes_max,
        }
    }
}

impl Builtin {
    /// All of them, in the order of [`super::CodeDeployConfig::sources`].
    pub const ALL: [Self; 5] = [
        Self::Agent,
        Self::Deployments,
        Self::Scripts,
        Self::Updater,
        Self::Local,
    ];

    /// Its key under `[codedeploy]` and its source's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Deployments => "deployments",
            Self::Scripts => "scripts",
            Self::Updater => "updater",
            Self::Local => "local",
        }
    }

    /// Group and stream as they are by default.
    fn target(self) -> (&'static str, &'static str) {
        match self {
            Self::Agent => ("/codedeploy/agent", "{instance_id}"),
            Self::Deployments => ("/codedeploy/deployments", "{instance_id}"),
            Self::Scripts => ("/codedeploy/scripts", "{deployment_id}/{instance_id}"),
            Self::Updater => ("/codedeploy/updater", "{instance_id}"),
            Self::Local => ("/codedeploy/local", "{instance_id}"),
        }
    }
}

fn name(section: &mut Section<'_>, taken: &mut BTreeSet<String>) -> Option<String> {
    if section.place_of("name").is_none() {
        section.missing(
            "name",
            "write name = \"…\": status and metrics call the source by it",
        );
    }
    section.read("name", |node| {
        let written = value::text(node, "app")?;
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        let length = 1..=NAME_BYTES_MAX;
        if !length.contains(&written.len()) || !written.bytes().all(allowed) {
            return Err(Problem::new(
                format!("\"{written}\" is not a name"),
                format!("write 1 to {NAME_BYTES_MAX} letters, digits or . _ -"),
            ));
        }
        if Builtin::ALL.iter().any(|builtin| builtin.name() == written) {
            return Err(Problem::new(
                format!("\"{written}\" is the name of a log of the CodeDeploy agent"),
                format!("choose another, or set its keys under [codedeploy.{written}]"),
            ));
        }
        if !taken.insert(written.to_owned()) {
            let what = format!("there is another source \"{written}\"");
            return Err(Problem::new(what, "give each its own name"));
        }
        Ok(written.to_owned())
    })
}

fn paths(section: &mut Section<'_>) -> Option<Vec<PathPattern>> {
    let Some(place) = section.place_of("paths") else {
        section.missing("paths", "write paths = [\"/var/log/app/*.log\"]");
        return None;
    };
    let mut written = 0;
    let paths = section.read_list("paths", "\"/var/log/app/*.log\"", |node| {
        written += 1;
        let text = value::text(node, "/var/log/app/*.log")?;
        PathPattern::parse(text).map_err(pattern_problem)
    })?;
    if written == 0 {
        let problem = Problem::new("the array is empty", "name at least one file or glob");
        section.complain("paths", place, problem);
    }
    Some(paths)
}

/// Reads a template; the default where there is none (or a bad one, which is reported).
fn template(
    section: &mut Section<'_>,
    key: &'static str,
    kind: NameKind,
    default: &str,
) -> Template {
    let written = section.read(key, |node| {
        Template::parse(value::text(node, default)?, kind)
            .map_err(|error| Problem::new(error.to_string(), error.remedy()))
    });
    written.unwrap_or_else(|| {
        Template::parse(default, kind).expect("the default names in the code are valid")
    })
}

fn pattern_problem(error: PatternError) -> Problem {
    let remedy = error.remedy();
    Problem::new(error.to_string(), remedy)
}

fn exclude_glob(node: &Node) -> Result<globset::GlobMatcher, Problem> {
    let written = value::text(node, "*.debug.log")?;
    // A whole path begins with a /, before which only what may stand for nothing is of use.
    let may_be_nothing = |begin: &str| glob(begin).is_ok_and(|glob| glob.is_match(""));
    let may_begin =
        |(begin, _): (&str, &str)| begin.contains(['{', '[', '\\']) || may_be_nothing(begin);
    let is_directory = written.ends_with('/') && !written.ends_with("**/");
    if written.is_empty() || is_directory || !written.split_once('/').is_none_or(may_begin) {
        return Err(Problem::new(
            format!("\"{written}\" matches no file"),
            "write a file name such as \"*.debug.log\", or a whole path such as \"/var/log/x/*\"",
        ));
    }
    glob(written).map_err(pattern_problem)
}
