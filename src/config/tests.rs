//! What a whole configuration means, and what is said about a bad one.

use std::path::Path;

use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Result<(Config, Vec<Note>), Vec<Mistake>> {
    Config::parse(&[(PathBuf::from("a.toml"), text.to_owned())])
}

fn parse_all(texts: &[(&str, &str)]) -> Result<(Config, Vec<Note>), Vec<Mistake>> {
    let files: Vec<_> = texts
        .iter()
        .map(|(name, text)| (PathBuf::from(name), (*text).to_owned()))
        .collect();
    Config::parse(&files)
}

/// The lines `Config::parse` has to say about a text.
fn said(text: &str) -> String {
    let mut said = String::new();
    match parse(text) {
        Ok((_, notes)) => {
            for note in notes {
                said += &format!("NOTE {note}\n");
            }
        }
        Err(mistakes) => {
            for mistake in mistakes {
                assert!(!mistake.remedy.is_empty(), "no remedy: {mistake}");
                said += &format!("{mistake}\n");
            }
        }
    }
    said
}

/// Every mistake of a file is told at once, with place, key, problem and remedy, in words that
/// change only on purpose: shown by a file of cases with the exact text expected of each.
#[test]
fn mistakes_are_told_exactly() {
    let golden = include_str!("mistakes.golden");
    let mut lines = 0;
    for case in golden.split("=== case\n").skip(1) {
        let (text, expected) = case.split_once("\n=== says\n").unwrap();
        assert_eq!(said(text), expected, "of this file:\n{text}");
        lines += expected.lines().count();
    }
    assert!(lines > 90, "only {lines} lines of mistakes were checked");
}

/// An empty file, no file and `Config::default()` are the same: shown by their debug texts.
#[test]
fn an_empty_file_is_the_default() {
    let (empty, notes) = parse("").unwrap();
    assert_eq!(format!("{empty:?}"), format!("{:?}", Config::default()));
    assert_eq!(notes, []);
}

/// Without a word from the user the CodeDeploy agent's four logs go where the manual says:
/// shown by their names, groups and streams.
#[test]
fn the_default_ships_four_logs_of_the_codedeploy_agent() {
    let config = Config::default();
    let seen: Vec<String> = config
        .all_sources()
        .map(|s| format!("{} {} {}", s.name, s.group.text(), s.stream.text()))
        .collect();
    assert_eq!(
        seen,
        [
            "agent /codedeploy/agent {instance_id}",
            "deployments /codedeploy/deployments {instance_id}",
            "scripts /codedeploy/scripts {deployment_id}/{instance_id}",
            "updater /codedeploy/updater {instance_id}",
        ]
    );
    let asked: Vec<Variable> = config.variables().into_iter().collect();
    assert_eq!(asked, [Variable::InstanceId, Variable::DeploymentId]);
}

/// Every key arrives where it belongs: shown by a file that sets all of them and the parts of the
/// configuration it must become.
#[test]
fn every_key_arrives() {
    let text = r#"
        [agent]
        state_dir = "/srv/state"
        shutdown_grace = "90s"
        log_level = "debug"
        [aws]
        region = "us-gov-west-1"
        endpoint_url = "http://127.0.0.1:4566/"
        ca_bundle = "/etc/ca.pem"
        [logs]
        sink = "directory"
        directory = "/srv/out"
        compression = "none"
        flush_interval = "250ms"
        retention_days = "never"
        tags = { Team = "shop" }
        redact_rules = [{ name = "card", pattern = 'card=(?<secret>\d+)' }]
        [codedeploy]
        config_file = "/etc/x.yml"
        [codedeploy.agent]
        enabled = false
        [codedeploy.scripts]
        group = "/x/{tag:Stage|none}"
        start = "boot"
        exclude_lines = ["^DEBUG"]
        [codedeploy.local]
        enabled = true
        [[source]]
        name = "app"
        paths = ["/var/log/app/*.log", "/var/log/b/**/x"]
        exclude = ["*.debug.log", "**/old/*"]
        group = "/app"
        stream = "{hostname}"
        start = "end"
        timestamp = "%b %d %H:%M:%S"
        multiline = { start = '^\d{4}-' }
        include_lines = ["a", "b"]
        retention_days = 7
        log_class = "infrequent_access"
        kms_key_id = "arn:aws:kms:eu-west-1:111122223333:key/1-2"
        tags = { Stage = "live" }
        redact = "off"
        redact_rules = [{ name = "pin", pattern = "pin" }]
        strip_ansi = true
        hard_links = "allow"
        event_bytes_max = 262144
        [[source]]
        name = "off"
        enabled = false
        paths = ["/x/y"]
    "#;
    let (config, notes) = parse(text).unwrap();
    assert_eq!(notes, []);
    assert_eq!(config.agent.state_dir, PathBuf::from("/srv/state"));
    assert_eq!(config.agent.shutdown_grace, Duration::from_secs(90));
    assert_eq!(config.agent.log_level, tracing::Level::DEBUG);
    let aws = &config.aws;
    assert_eq!(aws.region.as_deref(), Some("us-gov-west-1"));
    assert_eq!(aws.endpoint_url.as_deref(), Some("http://127.0.0.1:4566"));
    assert_eq!(aws.ca_bundle, Some(PathBuf::from("/etc/ca.pem")));
    let (kinds, _) = parse("[aws]\nuse_fips = true\nuse_dualstack = true\n").unwrap();
    assert!(kinds.aws.use_fips && kinds.aws.use_dualstack);
    assert_eq!(config.logs.sink, Sink::Directory(PathBuf::from("/srv/out")));
    assert_eq!(config.logs.compression, Compression::None);
    assert_eq!(config.logs.flush_interval, Duration::from_millis(250));
    assert_eq!(config.codedeploy.config_file, PathBuf::from("/etc/x.yml"));
    let names: Vec<&str> = config.all_sources().map(|s| &*s.name).collect();
    assert_eq!(names, ["deployments", "scripts", "updater", "local", "app"]);

    let scripts = &config.codedeploy.sources[1].1;
    assert_eq!(scripts.group.text(), "/x/{tag:Stage|none}");
    assert_eq!(scripts.start, Start::Boot);
    assert_eq!(scripts.exclude_lines[0].as_str(), "^DEBUG");
    assert_eq!(scripts.group_options.retention_days, None);
    assert_eq!(scripts.redact.rules[0].0, "card");
    assert!(scripts.redact.builtin);

    let app = &config.sources[0];
    assert_eq!(*app.paths[1].root, *std::path::Path::new("/var/log/b"));
    assert!(app.exclude[1].is_match("/var/log/app/old/x"));
    assert_eq!(app.stream.text(), "{hostname}");
    assert_eq!(app.start, Start::End);
    assert!(matches!(&app.timestamp, Timestamp::Pattern(p) if p == "%b %d %H:%M:%S"));
    assert!(matches!(&app.multiline, Multiline::Start(r) if r.as_str() == r"^\d{4}-"));
    assert_eq!(app.include_lines.len(), 2);
    let options = &app.group_options;
    assert_eq!(options.retention_days, Some(7));
    assert_eq!(options.class.as_deref(), Some("INFREQUENT_ACCESS"));
    assert!(options.kms_key_id.is_some());
    assert_eq!(options.tags.len(), 2);
    let rules: Vec<&str> = app
        .redact
        .rules
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(rules, ["card", "pin"]);
    assert!(!app.redact.builtin && app.strip_ansi);
    assert_eq!(app.event_bytes_max, 262_144);
    assert_eq!(app.hard_links, HardLinks::Allow);
    assert_eq!(scripts.hard_links, HardLinks::Refuse);
}

/// Every way to write a timestamp and a multi-line rule is understood: shown by their debug
/// texts.
#[test]
fn all_timestamps_and_multilines() {
    for (key, written, expected) in [
        ("timestamp", "\"auto\"", "Auto"),
        ("timestamp", "\"none\"", "None"),
        ("timestamp", "\"epoch_ms\"", "EpochMillis"),
        ("timestamp", "\"epoch_s\"", "EpochSeconds"),
        ("timestamp", "\"codedeploy_agent\"", "CodeDeployAgent"),
        ("timestamp", "{ json = \"ts\" }", "Json(\"ts\")"),
        ("timestamp", "\"%s\"", "Pattern(\"%s\")"),
        (
            "timestamp",
            "\"%d/%b/%Y:%T %z\"",
            "Pattern(\"%d/%b/%Y:%T %z\")",
        ),
        ("timestamp", "\"%F %I:%M %p\"", "Pattern(\"%F %I:%M %p\")"),
        ("multiline", "\"none\"", "None"),
        ("multiline", "\"java\"", "Continue(Regex("),
        ("multiline", "\"python\"", "Continue(Regex("),
        ("multiline", "\"go\"", "Continue(Regex("),
        ("multiline", "{ start = \"^a\" }", "Start(Regex(\"^a\"))"),
        (
            "multiline",
            "{ continue = \"^b\" }",
            "Continue(Regex(\"^b\"))",
        ),
    ] {
        let text = format!("[[source]]\nname = \"a\"\npaths = [\"/x/y\"]\n{key} = {written}");
        let (config, _) = parse(&text).unwrap();
        let source = &config.sources[0];
        let got = match key {
            "timestamp" => format!("{:?}", source.timestamp),
            _ => format!("{:?}", source.multiline),
        };
        assert!(got.starts_with(expected), "{written} became {got}");
    }
}

/// Later files add sources and override the rest key by key, and mistakes name the right file:
/// shown with three files, the second of which changes one key of a table.
#[test]
fn files_are_laid_over_each_other() {
    let main = "[agent]\nlog_level = \"warn\"\nshutdown_grace = \"5s\"\n\
                [[source]]\nname = \"a\"\npaths = [\"/x/a\"]";
    let over = "[agent]\nlog_level = \"error\"\n[[source]]\nname = \"b\"\npaths = [\"/x/b\"]";
    let (config, _) = parse_all(&[("main", main), ("conf.d/1", over)]).unwrap();
    assert_eq!(config.agent.log_level, tracing::Level::ERROR);
    assert_eq!(config.agent.shutdown_grace, Duration::from_secs(5));
    let names: Vec<&str> = config.sources.iter().map(|s| &*s.name).collect();
    assert_eq!(names, ["a", "b"]);

    let bad = "\n[[source]]\nname = \"a\"\npaths = [\"/x/c\"]";
    let broken = "[agent";
    let files = [("main", main), ("conf.d/1", bad), ("conf.d/2", broken)];
    let mistakes = parse_all(&files).unwrap_err();
    let places: Vec<_> = mistakes
        .iter()
        .map(|m| (m.file.to_str().unwrap(), m.line))
        .collect();
    assert_eq!(places, [("conf.d/1", Some(3)), ("conf.d/2", Some(1))]);
}

/// No text makes the checks panic, and a refusal always says something: shown by mangling a good
/// file at every place.
#[test]
fn mangled_files_are_answered() {
    let good = "[logs]\ntags = { \"A\" = \"b\" }\nredact_rules = [{ name = \"x\", pattern = \"y\" }]\n\
                [[source]]\nname = \"ä\"\npaths = [\"/x/y\"]\nmultiline = { start = \"^a\" }\n";
    for at in (0..good.len()).filter(|at| good.is_char_boundary(*at)) {
        for piece in ["", "3", "\"", "[", "{", "é", "\n", "= ["] {
            let text = format!("{}{piece}{}", &good[..at], &good[at..]);
            if let Err(mistakes) = parse(&text) {
                assert!(!mistakes.is_empty());
            }
            if let Err(mistakes) = parse(&text[..at]) {
                assert!(!mistakes.is_empty());
            }
        }
    }
}

proptest! {
    /// An `exclude` that matches the path of any file is taken: shown by globs of every shape, on paths they
    /// may match.
    #[test]
    fn an_exclude_that_matches_a_file_is_no_mistake(
        exclude in r"(\*|\*\*|a|\?|\[ab\]|\{,a\}|\{a,/b\}|\\)?(/(\*|\*\*|a|\?b|\*\.log)){1,4}/?",
        path in "(/(a|b|ab)){0,4}/(a|b|ab|a\\.log)",
    ) {
        if let Ok(glob) = pattern::glob(&exclude)
            && glob.is_match(&path)
        {
            let text = format!("[[source]]\nname = \"app\"\npaths = [\"/r/*.log\"]\nexclude = ['{exclude}']\n");
            let (config, _) = parse(&text).unwrap();
            prop_assert!(is_excluded(&config.sources[0].exclude, Path::new(&path)));
        }
    }
}
