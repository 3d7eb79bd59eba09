//! `deploywatch check`: every mistake in the configuration, or what it means.
//!
//! Needs no AWS and no running agent. Which files match right now is asked of the caller, who
//! has the real scanner.

mod alarms;
mod listed;
mod metrics;
pub mod online;
mod probe;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};

use super::load::{CONFIG_FILE, ConfigError, Missing, read_files};
use super::terminal::escape;
use super::{CheckArgs, ExitCode};
use crate::config::events::{DOLLARS_PER_MILLION, EventKind};
use crate::config::{
    Builtin, Compression, Config, Mistake, Multiline, Note, Sink, Source, Start, Timestamp,
};
use crate::event::FileKey;

/// Files with their sizes in bytes and their inodes, and in words where it could not be looked for them.
pub type Listed = (Vec<(PathBuf, u64, FileKey)>, Vec<String>);

/// Finds the files of a source that are there right now.
pub type ListFiles<'a> = &'a mut dyn FnMut(&Config, &Source) -> Listed;

/// Checks the configuration and writes what there is to say about it.
///
/// # Errors
/// Only when writing fails.
pub fn check(
    args: &CheckArgs,
    list_files: ListFiles<'_>,
    out: &mut dyn Write,
) -> io::Result<ExitCode> {
    let read = match &args.config.path {
        Some(path) => read_files(path, Missing::Refused),
        None => read_files(Path::new(CONFIG_FILE), Missing::Allowed),
    };
    let checked = read.and_then(|mut read| {
        let (config, notes) = Config::parse(&read.files).map_err(ConfigError::Mistakes)?;
        read.notes.extend(notes);
        let names = read.files.into_iter().map(|(path, _)| path).collect();
        Ok(Checked {
            names,
            notes: read.notes,
            watched: watched(&config, list_files),
            config,
        })
    });
    match (&checked, args.json) {
        (Ok(checked), true) => write_json(out, &checked.json())?,
        (Ok(checked), false) => checked.write(out)?,
        (Err(error), true) => write_json(out, &error_json(error))?,
        (Err(error), false) => write_error(out, error)?,
    }
    Ok(match checked {
        Ok(_) => ExitCode::Ok,
        Err(error) => error.exit_code(),
    })
}

/// A good configuration and all there is to say about it.
struct Checked {
    names: Vec<PathBuf>,
    notes: Vec<Note>,
    config: Config,
    watched: Vec<Watched>,
}

/// One source, with the files that match right now.
struct Watched {
    builtin: Option<Builtin>,
    source: Source,
    listed: Listed,
    /// Those of them that a source before this one ships.
    elsewhere: Vec<(PathBuf, Arc<str>)>,
}

fn watched(config: &Config, list_files: ListFiles<'_>) -> Vec<Watched> {
    let mut one = |builtin, source: &Source| Watched {
        builtin,
        listed: list_files(config, source),
        elsewhere: Vec::new(),
        source: source.clone(),
    };
    let mut all = Vec::new();
    if config.codedeploy.enabled {
        let builtin = config.codedeploy.sources.iter();
        all.extend(builtin.map(|(builtin, source)| one(Some(*builtin), source)));
    }
    all.extend(config.sources.iter().map(|source| one(None, source)));
    listed::share_out(&mut all);
    all
}

impl Checked {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let names: Vec<String> = self.names.iter().map(|n| n.display().to_string()).collect();
        match names.as_slice() {
            [] => writeln!(out, "The configuration is good: nothing but defaults.")?,
            names => {
                let names = names.join(", ");
                writeln!(out, "The configuration is good: {}", escape(&names))?;
            }
        }
        for note in &self.notes {
            writeln!(out, "note: {}", escape(&note.to_string()))?;
        }
        for watched in &self.watched {
            writeln!(out)?;
            watched.write(out, &self.config)?;
        }
        if self.watched.is_empty() {
            writeln!(out, "\nNothing is watched: every source is switched off.")?;
        }
        writeln!(out)?;
        writeln!(out, "All of it goes to {}.", self.sink())?;
        if let Some(events) = self.events() {
            writeln!(out, "{events}")?;
        }
        writeln!(out, "Cost: {}", self.cost())?;
        writeln!(out)?;
        metrics::write(&self.config.metrics, &self.config.logs.sink, out)?;
        writeln!(out)?;
        alarms::write(&self.config.alarms, out)?;
        writeln!(out, "{NOTHING_ELSE}")
    }

    fn sink(&self) -> String {
        let logs = &self.config.logs;
        match &logs.sink {
            Sink::Directory(path) => format!("files in {}", path.display()),
            Sink::CloudWatch => {
                let region = match &self.config.aws.region {
                    Some(region) => format!("Region {region}"),
                    None => "the instance's Region".to_owned(),
                };
                let endpoint = match &self.config.aws.endpoint_url {
                    Some(url) => format!(" at {url}"),
                    None => String::new(),
                };
                let packed = match logs.compression {
                    Compression::Gzip => "compressed",
                    Compression::None => "not compressed",
                };
                let interval = logs.flush_interval;
                format!(
                    "CloudWatch Logs, {region}{endpoint}, {packed}, at most one request per \
                     stream in {interval:?} unless it is full"
                )
            }
        }
    }

    /// What is told to EventBridge, if anything is.
    fn events(&self) -> Option<String> {
        let events = &self.config.events;
        let kinds: Vec<&str> = events.kinds().map(EventKind::name).collect();
        let (place, price) = match &self.config.logs.sink {
            Sink::Directory(path) => (format!("files in {}", path.display()), String::new()),
            Sink::CloudWatch => (
                format!("the EventBridge bus {}", events.bus),
                format!("; {DOLLARS_PER_MILLION} US dollar for a million"),
            ),
        };
        (!kinds.is_empty()).then(|| {
            format!(
                "Incidents are told as events to {place}: {}{price}.",
                kinds.join(", ")
            )
        })
    }

    fn cost(&self) -> &'static str {
        let alarms = &self.config.alarms;
        match self.config.logs.sink {
            Sink::Directory(_) if alarms.manage && !alarms.alarms.is_empty() => {
                "none, but for the alarms: CloudWatch charges for each."
            }
            Sink::Directory(_) => "none, nothing is sent to AWS.",
            Sink::CloudWatch => CLOUDWATCH_COST,
        }
    }

    fn json(&self) -> Value {
        json!({
            "ok": true,
            "config_files": self.names,
            "notes": self.notes,
            "sources": self.watched.iter().map(Watched::json).collect::<Vec<_>>(),
            "sink": match &self.config.logs.sink {
                Sink::CloudWatch => json!({
                    "kind": "cloudwatch",
                    "region": self.config.aws.region,
                    "endpoint_url": self.config.aws.endpoint_url,
                }),
                Sink::Directory(path) => json!({ "kind": "directory", "path": path }),
            },
            "also_sent": self.events().map(|_| json!({
                "kind": "events",
                "bus": &*self.config.events.bus,
                "kinds": self.config.events.kinds().map(EventKind::name).collect::<Vec<_>>(),
            })).into_iter().collect::<Vec<_>>(),
            "cost": self.cost(),
            "metrics": metrics::to_json(&self.config.metrics),
            "alarms": alarms::to_json(&self.config.alarms),
        })
    }
}

/// What a user who worries about data wants to read.
const NOTHING_ELSE: &str = "Nothing else leaves this machine, but for the requests that prepare \
    this: groups and streams, identity, credentials.";

/// Prices differ between Regions and years, the rule does not.
const CLOUDWATCH_COST: &str = "CloudWatch Logs charges for what it takes in, before compression \
    and 26 bytes more for each event (about 0.50 USD per GB in us-east-1, half of that in groups \
    of class infrequent_access), and for what it keeps (about 0.03 USD per GB and month); how much \
    your logs will weigh cannot be known here.";

impl Watched {
    fn write(&self, out: &mut dyn Write, config: &Config) -> io::Result<()> {
        let source = &self.source;
        writeln!(out, "{}", source.name)?;
        match self.builtin {
            Some(_) => {
                let file = config.codedeploy.config_file.display();
                writeln!(out, "  reads     the CodeDeploy agent's, placed by {file}")?;
            }
            None => writeln!(out, "  reads     {}", patterns(source).join(", "))?,
        }
        let excluded = excluded(source);
        if !excluded.is_empty() {
            writeln!(out, "  but not   {}", excluded.join(", "))?;
        }
        self.write_files(out)?;
        let (group, stream) = (source.group.text(), source.stream.text());
        writeln!(out, "  sends to  group {group}, stream {stream}")?;
        let kept = match source.group_options.retention_days {
            Some(days) => format!("{days} days"),
            None => "for ever".to_owned(),
        };
        writeln!(out, "  keeps     {kept}, where the group is not there yet")?;
        writeln!(out, "  starts    {}", start(source.start))?;
        for (head, rules) in [
            ("only", &source.include_lines),
            ("skips", &source.exclude_lines),
        ] {
            if !rules.is_empty() {
                let rules = expressions(rules).join("  or  ");
                writeln!(out, "  {head:<9} records that match {rules}")?;
            }
        }
        let rules = source.redact.rules.len();
        let builtin = match source.redact.builtin {
            true => "keys, tokens and passwords (built-in rules)",
            false => "nothing by itself: redact = \"off\"",
        };
        match rules {
            0 => writeln!(out, "  redacts   {builtin}"),
            _ => writeln!(
                out,
                "  redacts   {builtin}, and what {rules} of your rules match"
            ),
        }
    }

    fn json(&self) -> Value {
        let source = &self.source;
        let (files, unseen) = &self.listed;
        json!({
            "name": &*source.name,
            "codedeploy": self.builtin.is_some(),
            "paths": patterns(source),
            "exclude": excluded(source),
            "files": files
                .iter()
                .map(|(path, bytes, _)| json!({ "path": path.display().to_string(), "bytes": bytes }))
                .collect::<Vec<_>>(),
            "elsewhere": self.elsewhere
                .iter()
                .map(|(path, source)| json!({ "path": path.display().to_string(), "source": &**source }))
                .collect::<Vec<_>>(),
            "unseen": unseen,
            "group": source.group.text(),
            "stream": source.stream.text(),
            "retention_days": source.group_options.retention_days,
            "log_class": source.group_options.class,
            "start": start_word(source.start),
            "timestamp": timestamp(&source.timestamp),
            "multiline": multiline(&source.multiline),
            "include_lines": expressions(&source.include_lines),
            "exclude_lines": expressions(&source.exclude_lines),
            "redact": source.redact.builtin,
            "redact_rules": source.redact.rules.iter().map(|(name, _)| name).collect::<Vec<_>>(),
            "strip_ansi": source.strip_ansi,
            "event_bytes_max": source.event_bytes_max,
        })
    }
}

fn patterns(source: &Source) -> Vec<String> {
    let paths = source.paths.iter();
    paths.map(|pattern| pattern.text.clone()).collect()
}

fn excluded(source: &Source) -> Vec<String> {
    let globs = source.exclude.iter();
    globs.map(|glob| glob.glob().glob().to_owned()).collect()
}

fn expressions(rules: &[regex::Regex]) -> Vec<String> {
    rules.iter().map(|rule| rule.as_str().to_owned()).collect()
}

fn start(start: Start) -> &'static str {
    match start {
        Start::Beginning => "at the beginning of every file",
        Start::End => "at the end of files that are there at the very first start",
        Start::Boot => "at the beginning of files written since boot, at the end of older ones",
    }
}

fn start_word(start: Start) -> &'static str {
    match start {
        Start::Beginning => "beginning",
        Start::End => "end",
        Start::Boot => "boot",
    }
}

fn timestamp(timestamp: &Timestamp) -> Value {
    match timestamp {
        Timestamp::None => json!("none"),
        Timestamp::Auto => json!("auto"),
        Timestamp::Pattern(pattern) => json!(pattern),
        Timestamp::EpochMillis => json!("epoch_ms"),
        Timestamp::EpochSeconds => json!("epoch_s"),
        Timestamp::Json(field) => json!({ "json": field }),
        Timestamp::CodeDeployAgent => json!("codedeploy_agent"),
        Timestamp::CodeDeployDeployments => json!("codedeploy_deployments"),
        Timestamp::CodeDeployScripts => json!("codedeploy_scripts"),
        Timestamp::CodeDeployUpdater => json!("codedeploy_updater"),
    }
}

fn multiline(multiline: &Multiline) -> Value {
    match multiline {
        Multiline::None => json!("none"),
        Multiline::Start(rule) => json!({ "start": rule.as_str() }),
        Multiline::Continue(rule) => json!({ "continue": rule.as_str() }),
        Multiline::CodeDeployAgent => json!("codedeploy_agent"),
    }
}

fn write_json(out: &mut dyn Write, value: &Value) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    writeln!(out)
}

fn write_error(out: &mut dyn Write, error: &ConfigError) -> io::Result<()> {
    match error {
        ConfigError::Mistakes(mistakes) => {
            writeln!(out, "{error}")?;
            let number = mistakes.len();
            let what = if number == 1 { "mistake" } else { "mistakes" };
            writeln!(out, "{number} {what}; nothing was changed.")
        }
        ConfigError::Unreadable { .. } => writeln!(out, "{error}"),
    }
}

fn error_json(error: &ConfigError) -> Value {
    let (mistakes, text): (&[Mistake], Option<String>) = match error {
        ConfigError::Mistakes(mistakes) => (mistakes, None),
        ConfigError::Unreadable { .. } => (&[], Some(error.to_string())),
    };
    json!({ "ok": false, "mistakes": mistakes, "error": text })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::cli::ConfigArg;

    /// Runs the command on a file with this text; the answer has `FILE` for the file's name.
    fn run(text: &str, json: bool) -> (ExitCode, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.toml");
        fs::write(&path, text).unwrap();
        let args = CheckArgs {
            json,
            online: false,
            config: ConfigArg {
                path: Some(path.clone()),
            },
        };
        let mut list = |_: &Config, source: &Source| match &*source.name {
            "app" | "again" => {
                let logs = (0..12).map(|inode| {
                    let path = format!("/var/log/{}/{inode}.log", source.name);
                    let device = 1;
                    (path.into(), inode, FileKey { device, inode })
                });
                (logs.collect(), Vec::new())
            }
            "locked" => (Vec::new(), vec!["/l\u{1b}: denied".to_owned()]),
            _ => Listed::default(),
        };
        let mut out = Vec::new();
        let code = check(&args, &mut list, &mut out).unwrap();
        let said = String::from_utf8(out).unwrap();
        (code, said.replace(path.to_str().unwrap(), "FILE"))
    }

    const APP: &str = "[codedeploy]\nenabled = false\n[[source]]\nname = \"app\"\n\
        paths = [\"/var/log/app/*.log\"]\nexclude = [\"x*\"]\ngroup = \"/app\"\n\
        exclude_lines = [\"^DEBUG\"]\nretention_days = \"never\"\nstart = \"end\"\n[[alarm]]\nname = \"lost\"\n\
        metric = \"LostBytes\"\ncomparison = \">\"\nthreshold = 0\n";

    /// A file that several sources name is shown where it is shipped, by the first, and elsewhere who ships
    /// it: shown by two sources with the same files, by the way of a link, in words and in JSON.
    #[test]
    fn a_file_has_one_source() {
        let again = "[[source]]\nname = \"again\"\npaths = [\"/var/log/again/*.log\"]\n";
        let (_, said) = run(&[APP, again].concat(), false);
        let expected = "\
again
  reads     /var/log/again/*.log
  elsewhere /var/log/again/0.log: source app ships it
            /var/log/again/1.log: source app ships it
";
        assert!(said.contains(expected), "{said}");
        let (_, said) = run(&[APP, again].concat(), true);
        let said: Value = serde_json::from_str(&said).unwrap();
        let sources = &said["sources"];
        assert_eq!(sources[0]["files"].as_array().unwrap().len(), 12);
        assert_eq!(sources[1]["files"], json!([]));
        let shipped = json!({ "path": "/var/log/again/0.log", "source": "app" });
        assert_eq!(sources[1]["elsewhere"][0], shipped);
    }

    /// A good configuration is explained: what is read, what is there, where it goes, what it
    /// costs; shown by the whole text.
    #[test]
    fn a_good_configuration_is_explained() {
        let (code, said) = run(APP, false);
        assert_eq!(code, ExitCode::Ok);
        let expected = "\
The configuration is good: FILE
note: FILE:11: alarm lost calls nobody: it only shows its state

app
  reads     /var/log/app/*.log
  but not   x*
  now       /var/log/app/0.log (0 bytes)
            /var/log/app/1.log (1 bytes)
            /var/log/app/2.log (2 bytes)
            /var/log/app/3.log (3 bytes)
            /var/log/app/4.log (4 bytes)
            /var/log/app/5.log (5 bytes)
            /var/log/app/6.log (6 bytes)
            /var/log/app/7.log (7 bytes)
            /var/log/app/8.log (8 bytes)
            /var/log/app/9.log (9 bytes)
            and 2 more
  sends to  group /app, stream {instance_id}/{file_name}
  keeps     for ever, where the group is not there yet
  starts    at the end of files that are there at the very first start
  skips     records that match ^DEBUG
  redacts   keys, tokens and passwords (built-in rules)

All of it goes to CloudWatch Logs, the instance's Region, compressed, at most one request per \
stream in 1s unless it is full.
Cost: ";
        assert!(said.starts_with(expected), "{said}");
        assert!(said.contains("cannot be known here.\n\nMetrics go to CloudWatch"));
        assert!(
            said.contains(
                "\n\nCloudWatch alarms, named deploywatch/{instance_id}/…; `deploywatch alarms apply` \
                 makes them:\n  lost  Deploywatch LostBytes  calls nobody\n\nNothing else leaves"
            ),
            "{said}"
        );
        assert!(said.ends_with("groups and streams, identity, credentials.\n"));
    }

    /// Each alarm is named with its metric and all that each of its states calls, and without
    /// alarms there is no word of them: shown by text and JSON.
    #[test]
    fn alarms_are_explained() {
        let (_, without) = run("", false);
        assert!(!without.contains("alarms"), "{without}");
        let text = "[alarms]\nmanage = true\n[[alarm]]\npreset = \"reboot-when-codedeploy-agent-dead\"\n\
                    ok_actions = [\"arn:aws:sns:eu-west-1:111122223333:oncall\"]\n";
        let (code, said) = run(text, false);
        assert_eq!(code, ExitCode::Ok, "{said}");
        let row = "…; the agent keeps them so:\n  reboot-when-codedeploy-agent-dead  Deploywatch \
                   CodeDeployAgentHealthy  ALARM: reboot; OK: arn:aws:sns:eu-west-1:111122223333:oncall\n";
        assert!(said.contains(row), "{said}");
        let (_, said) = run(&format!("[logs]\nsink = \"directory\"\n{text}"), false);
        assert!(said.contains("Cost: none, but for the alarms"), "{said}");
        let (_, said) = run(text, true);
        let json: Value = serde_json::from_str(&said).unwrap();
        let alarm = &json["alarms"]["alarms"][0];
        assert_eq!(alarm["metric"], "CodeDeployAgentHealthy");
        assert_eq!(alarm["actions"], json!(["reboot"]));
    }

    /// Events are named when they are on, and only then, with where they go and what they cost:
    /// shown for both sinks and as JSON.
    #[test]
    fn events_are_explained() {
        let (_, without) = run("", false);
        assert!(!without.contains("events to"), "{without}");
        let on = "[events]\nenabled = true\nbus = \"ops\"\ndisable = [\"deployment_succeeded\"]\n";
        let (_, said) = run(on, false);
        let begin = "Incidents are told as events to the EventBridge bus ops: \
                     lifecycle_event_failed, deployment_failed,";
        assert!(said.contains(begin), "{said}");
        assert!(
            said.contains("bytes_lost; 1 US dollar for a million.\n"),
            "{said}"
        );
        let (_, said) = run(&format!("{on}[logs]\nsink = \"directory\"\n"), false);
        assert!(
            said.contains("events to files in /var/tmp/deploywatch-out: "),
            "{said}"
        );
        let (_, said) = run(on, true);
        let json: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(json["also_sent"][0]["bus"], "ops");
        assert_eq!(json["also_sent"][0]["kinds"].as_array().unwrap().len(), 8);
    }

    /// Without a word the four logs of the CodeDeploy agent are watched: shown by the names and
    /// by where their places come from.
    #[test]
    fn the_default_is_explained() {
        let (code, said) = run("", false);
        assert_eq!(code, ExitCode::Ok);
        for name in ["\nagent\n", "\ndeployments\n", "\nscripts\n", "\nupdater\n"] {
            assert!(said.contains(name), "{said}");
        }
        assert!(said.contains("placed by /etc/codedeploy-agent/conf/codedeployagent.yml"));
        assert!(said.contains("now       no such file yet"));
    }

    /// All mistakes are told and the exit code says whose fault it is: shown by text and JSON.
    #[test]
    fn mistakes_are_told() {
        let bad = "[logs]\nsink = \"s3\"\nretention_day = 3\n";
        let (code, said) = run(bad, false);
        assert_eq!(code, ExitCode::BadConfig);
        assert_eq!(
            said,
            "FILE:2:8: logs.sink: \"s3\" is not known here; write \"cloudwatch\" or \"directory\"\n\
             FILE:3:1: logs.retention_day: unknown key; did you mean retention_days?\n\
             2 mistakes; nothing was changed.\n"
        );
        let (code, said) = run(bad, true);
        assert_eq!(code, ExitCode::BadConfig);
        let json: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(json["ok"], false);
        assert_eq!(json["mistakes"][1]["line"], 3);
        assert_eq!(json["mistakes"][1]["key"], "logs.retention_day");
    }

    /// The JSON holds the same facts for tools: shown by picking some.
    #[test]
    fn json_holds_the_facts() {
        let text = format!("[logs]\nsink = \"directory\"\n{APP}");
        let (code, said) = run(&text, true);
        assert_eq!(code, ExitCode::Ok);
        let json: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(json["ok"], true);
        assert_eq!(json["sink"]["path"], "/var/tmp/deploywatch-out");
        let app = &json["sources"][0];
        assert_eq!(app["files"].as_array().unwrap().len(), 12);
        assert_eq!(app["group"], "/app");
        assert_eq!(app["retention_days"], Value::Null);
        assert_eq!(app["multiline"], "none");
        assert_eq!(json["notes"][0]["line"], 13);
    }

    /// A directory that may not be looked into is not called empty: shown by text and in JSON.
    #[test]
    fn a_directory_that_cannot_be_looked_into_is_named() {
        let text =
            "[codedeploy]\nenabled = false\n[[source]]\nname = \"locked\"\npaths = [\"/l/*\"]";
        let (code, said) = run(text, false);
        assert_eq!(code, ExitCode::Ok);
        assert!(said.contains("\n  unseen    /l\\u001b: denied\n"), "{said}");
        assert!(!said.contains("no such file yet"), "{said}");
        let json: Value = serde_json::from_str(&run(text, true).1).unwrap();
        assert_eq!(json["sources"][0]["unseen"][0], "/l\u{1b}: denied");
    }

    /// A named file that is not there is said in so many words: shown by code and text.
    #[test]
    fn an_unreadable_file_is_named() {
        let args = CheckArgs {
            json: false,
            online: false,
            config: ConfigArg {
                path: Some(PathBuf::from("/nowhere/a.toml")),
            },
        };
        let mut out = Vec::new();
        let code = check(&args, &mut |_, _| Listed::default(), &mut out).unwrap();
        assert_eq!(code, ExitCode::BadConfig);
        let said = String::from_utf8(out).unwrap();
        assert!(
            said.starts_with("failed to read /nowhere/a.toml: No such file"),
            "{said}"
        );
    }
}
