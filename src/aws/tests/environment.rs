//! What only the environment decides: each test runs itself again in a process of its own.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::stand_in::{Reply, StandIn};
use super::{Edge, batch};
use crate::aws::client::{Metadata, Settings};
use crate::aws::environment::{Service, check};
use crate::aws::{AwsOptions, start};
use crate::config::{AwsConfig, Compression, Config};
use crate::ports::{Accepted, ErrorClass};

/// Set in the process that plays the second part.
const CHILD: &str = "DEPLOYWATCH_TEST_CHILD";

fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

/// Runs one test of this file with nothing in its environment but these variables.
fn run_again(test: &str, variables: &[(&str, &str)]) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("aws::tests::environment::{test}")])
        .env_clear()
        .env(CHILD, "1")
        .env("HOME", "/nonexistent")
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("1 passed"), "{text}");
}

/// An edge as the product makes it, to this endpoint.
fn ambient_edge(endpoint: &str) -> Edge {
    let options = AwsOptions {
        aws: AwsConfig {
            endpoint_url: Some(endpoint.to_owned()),
            ..AwsConfig::default()
        },
        compression: Compression::Gzip,
        wanted: ["asg".to_owned()].into(),
        used: vec![Service::Logs],
    };
    let (ring, rings) = std::sync::mpsc::channel();
    let waker = move || {
        let _heard = ring.send(());
    };
    let services = start(options, waker).unwrap();
    Edge {
        logs: services.logs,
        metrics: services.metrics,
        events: services.events,
        alarms: services.alarms,
        feed: services.identity,
        rings,
        next: 0,
    }
}

/// Region and keys come from the environment, the service is reached through the proxy named
/// there, instance metadata is not, and nobody elsewhere over plain http, proxy or not.
#[test]
fn goes_through_a_proxy_but_not_to_metadata() {
    if is_child() {
        let mut edge = ambient_edge("https://logs.example.invalid");
        let identity = edge.identity(|identity| identity.complete);
        assert_eq!(identity.instance_id.as_deref(), Some("i-0abc"));
        assert_eq!(identity.region.as_deref(), Some("eu-north-1"));
        let error = edge.put(batch(&["a"])).unwrap_err();
        assert_eq!(error.class, ErrorClass::RetrySoon, "{error}");
        let error = ambient_edge("http://logs.example.invalid").put(batch(&["a"]));
        let error = error.unwrap_err();
        assert_eq!(error.class, ErrorClass::RetrySlowly, "{error}");
        assert!(error.message.contains("only https"), "{error}");
        return;
    }
    let proxy = StandIn::new(|_, _| Reply::error(502, "NoTunnel", "not today"));
    let imds = StandIn::new(|_, request| super::identity::metadata(request));
    run_again(
        "goes_through_a_proxy_but_not_to_metadata",
        &[
            ("HTTP_PROXY", &proxy.url),
            ("HTTPS_PROXY", &proxy.url),
            ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &imds.url),
            ("AWS_REGION", "eu-north-1"),
            ("AWS_ACCESS_KEY_ID", "AKIDENV"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
        ],
    );
    let seen = proxy.seen();
    assert!(!seen.is_empty());
    for request in seen {
        assert_eq!(request.method, "CONNECT");
        assert_eq!(request.path, "logs.example.invalid:443");
        assert_eq!(request.header("authorization"), "");
    }
    assert!(imds.seen().len() >= 3);
}

/// A host elsewhere is not asked for metadata, whatever the environment says: it could hand out
/// credentials. Shown by what the settings make of addresses near and far.
#[test]
fn metadata_is_only_asked_nearby() {
    const ADDRESS: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT";
    if is_child() {
        let settings = Settings::from_environment(AwsConfig::default());
        let near = std::env::var("NEAR").is_ok();
        let address = std::env::var(ADDRESS).unwrap();
        match near {
            true => assert_eq!(settings.metadata, Metadata::At(address)),
            false => assert_eq!(settings.metadata, Metadata::Usual, "{address}"),
        }
        return;
    }
    for near in [
        "http://169.254.169.254",
        "http://[fd00:ec2::254]/",
        "http://127.0.0.1:1338",
    ] {
        let variables = [(ADDRESS, near), ("NEAR", "yes")];
        run_again("metadata_is_only_asked_nearby", &variables);
    }
    for far in [
        "http://10.0.0.1/",
        "http://169.254.7.7/",
        "http://metadata.example.com",
        "https://169.254.169.254/",
        "http://169.254.169.254@example.com",
        "http://169.254.169.254.example.com",
        "file:///etc/passwd",
    ] {
        run_again("metadata_is_only_asked_nearby", &[(ADDRESS, far)]);
    }
}

fn write_profile(folder: &Path, key: &str) {
    let keys = format!("[shipper]\naws_access_key_id = {key}\naws_secret_access_key = secret\n");
    std::fs::write(folder.join("credentials"), keys).unwrap();
}

/// Region, keys and endpoint come from the profile files and `AWS_ENDPOINT_URL`; keys that are
/// rewritten in the file after the service refused the old ones are found without a restart.
#[test]
fn reads_rewritten_profile_files() {
    if is_child() {
        let mut settings = Settings::from_environment(AwsConfig::default());
        settings.client_age_min = Duration::ZERO;
        let mut edge = Edge::start(settings, Compression::Gzip, &[]);
        let error = edge.put(batch(&["a"])).unwrap_err();
        assert_eq!(error.class, ErrorClass::RetrySlowly, "{error}");
        let credentials = std::env::var("AWS_SHARED_CREDENTIALS_FILE").unwrap();
        write_profile(Path::new(&credentials).parent().unwrap(), "AKIDNEW");
        assert_eq!(edge.put(batch(&["a"])), Ok(Accepted::default()));
        return;
    }
    let service =
        StandIn::new(
            |_, request| match request.header("authorization").contains("AKIDNEW/") {
                true => Reply::ok(),
                false => Reply::error(400, "UnrecognizedClientException", "token is invalid"),
            },
        );
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config");
    std::fs::write(&config, "[profile shipper]\nregion = sa-east-1\n").unwrap();
    write_profile(folder.path(), "AKIDOLD");
    run_again(
        "reads_rewritten_profile_files",
        &[
            ("AWS_PROFILE", "shipper"),
            ("AWS_CONFIG_FILE", config.to_str().unwrap()),
            (
                "AWS_SHARED_CREDENTIALS_FILE",
                folder.path().join("credentials").to_str().unwrap(),
            ),
            ("AWS_ENDPOINT_URL", &service.url),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ],
    );
    let seen = service.seen();
    assert_eq!(seen.len(), 2);
    assert!(seen[1].header("authorization").contains("/sa-east-1/logs/"));
}

/// What is wrong in the environment with the endpoint of the one service that is called.
const WRONG: &str = "WRONG";

/// What the environment says of an endpoint ends the start, and is named but not quoted, just where calls
/// would fail for it: where it is no address (of an empty one the SDK panics), or stands beside FIPS or
/// dual-stack, and is that of a service in use.
#[test]
fn an_endpoint_that_no_call_would_reach_is_named() {
    if is_child() {
        let wrong = std::env::var(WRONG).ok();
        let aws = AwsConfig::default();
        let of_one = [Service::Logs, Service::CloudWatch, Service::EventBridge];
        let said = check(&aws, &of_one[2..]).err().map(|e| e.to_string());
        let begins = |name: &String| said.as_ref().is_some_and(|said| said.starts_with(name));
        assert!(wrong.as_ref().map_or(said.is_none(), begins), "{said:?}");
        assert!(!said.unwrap_or_default().contains("pw"));
        check(&aws, &[]).unwrap();
        let own = AwsConfig {
            endpoint_url: Some("https://127.0.0.1:1".to_owned()),
            ..aws
        };
        let is_chosen = std::env::vars().any(|(name, _)| name.starts_with("AWS_USE_"));
        assert_eq!(check(&own, &of_one).is_err(), is_chosen);
        return;
    }
    const ALL: &str = "AWS_ENDPOINT_URL";
    const ONE: &str = "AWS_ENDPOINT_URL_EVENTBRIDGE";
    const OTHER: &str = "AWS_ENDPOINT_URL_CLOUDWATCH_LOGS";
    const FIPS: (&str, &str) = ("AWS_USE_FIPS_ENDPOINT", "True");
    let good = "https://127.0.0.1:1";
    for none in ["", "https://user:pw@host ", "127.0.0.1:1"] {
        for (variables, wrong) in [
            (vec![(ALL, none)], Some(ALL)),
            (vec![(ONE, none)], Some(ONE)),
            (vec![(ONE, none), (ALL, good)], Some(ONE)),
            (vec![(ONE, good), (ALL, none)], None),
            (vec![(OTHER, none)], None),
            (vec![(ONE, good), FIPS], Some(ONE)),
            (vec![(OTHER, good), FIPS], None),
            (
                vec![(ALL, good), ("AWS_USE_DUALSTACK_ENDPOINT", "true")],
                Some(ALL),
            ),
            (
                vec![(ALL, none), ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")],
                None,
            ),
        ] {
            let variables: Vec<_> = variables
                .into_iter()
                .chain(wrong.map(|name| (WRONG, name)))
                .collect();
            run_again("an_endpoint_that_no_call_would_reach_is_named", &variables);
        }
    }
}

/// What a configuration calls: with the directory sink only CloudWatch, and that for alarms.
#[test]
fn only_what_is_called_is_used() {
    let used = |text: &str| {
        let files = [("a.toml".into(), text.to_owned())];
        Service::used(&Config::parse(&files).unwrap().0)
    };
    let alarm = "[[alarm]]\npreset = \"notify-when-codedeploy-agent-dead\"\n\
                 actions = [\"arn:aws:sns:eu-west-1:111122223333:ops\"]\n";
    let dry = "[logs]\nsink = \"directory\"\n[events]\nenabled = true\n";
    assert_eq!(used(""), [Service::Logs, Service::CloudWatch]);
    assert_eq!(used(dry), []);
    assert_eq!(used(&format!("{dry}{alarm}")), [Service::CloudWatch]);
    assert!(used("[events]\nenabled = true\n").contains(&Service::EventBridge));
}

/// Blanks and the line break that a file ends with are no part of a Region.
#[test]
fn a_region_with_blanks_around_it_is_found() {
    if is_child() {
        let mut edge = ambient_edge("https://127.0.0.1:1");
        let identity = edge.identity(|identity| identity.complete);
        let region = std::env::var("REGION").ok();
        assert_eq!(identity.region, region);
        return;
    }
    for (written, region) in [(" eu-north-1\n", Some("eu-north-1")), (" ", None)] {
        let region = region.map(|region| ("REGION", region));
        let variables = [
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("AWS_REGION", written),
        ];
        let variables: Vec<_> = variables.into_iter().chain(region).collect();
        run_again("a_region_with_blanks_around_it_is_found", &variables);
    }
}

/// A key with the line break that its file ended with is called that: the SDK panics when it signs with it.
#[test]
fn a_key_with_a_line_break_is_named() {
    if is_child() {
        let settings = Settings::from_environment(AwsConfig::default());
        let mut edge = Edge::start(settings, Compression::Gzip, &[]);
        let error = edge.put(batch(&["a"])).unwrap_err();
        assert_eq!(error.code, "Credentials", "{error}");
        assert!(error.message.contains("access key id"), "{error}");
        assert!(!error.message.contains("AKIDENV"), "{error}");
        return;
    }
    run_again(
        "a_key_with_a_line_break_is_named",
        &[
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("AWS_REGION", "eu-north-1"),
            ("AWS_ACCESS_KEY_ID", "AKIDENV\n"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
        ],
    );
}

/// Nothing anywhere: no metadata, no keys, no region in reach. The host name stands in, and what
/// is missing is said in turn; nothing hangs.
#[test]
fn says_what_is_missing() {
    if is_child() {
        let settings = Settings::from_environment(AwsConfig::default());
        let mut edge = Edge::start(settings, Compression::Gzip, &[]);
        let identity = edge.identity(|identity| identity.complete);
        assert_eq!(identity.instance_id, identity.hostname);
        let error = edge.put(batch(&["a"])).unwrap_err();
        assert_eq!(error.code, "RegionMissing");
        let mut settings = Settings::from_environment(AwsConfig::default());
        settings.aws.region = Some("eu-west-1".to_owned());
        let mut edge = Edge::start(settings, Compression::Gzip, &[]);
        let error = edge.put(batch(&["a"])).unwrap_err();
        assert_eq!(error.code, "Credentials", "{error}");
        assert_eq!(error.class, ErrorClass::RetrySlowly);
        return;
    }
    run_again(
        "says_what_is_missing",
        &[("AWS_EC2_METADATA_DISABLED", "true")],
    );
}

/// Nobody elsewhere is asked for metadata, by https neither: what the environment says of such an
/// address is passed over for the identity and for the keys, also those a profile takes a role with.
#[test]
fn metadata_elsewhere_is_not_even_connected_to() {
    if is_child() {
        // Without a profile the usual address is asked, where an instance has keys of its own.
        let mut edge = ambient_edge("https://logs.example.invalid");
        let error = edge.put(batch(&["a"])).unwrap_err();
        let has_profile = Path::new(&std::env::var("AWS_CONFIG_FILE").unwrap()).exists();
        let is_without_keys = error.code == "Credentials";
        assert!(is_without_keys || !has_profile, "{error}");
        return;
    }
    let elsewhere = StandIn::new(|_, _| Reply::Hangup);
    let address = elsewhere.url.replace("http://", "https://");
    let folder = tempfile::tempdir().unwrap();
    let profile = folder.path().join("config");
    let role = "[default]\nrole_arn = arn:aws:iam::111122223333:role/x\n\
                credential_source = Ec2InstanceMetadata\n";
    std::fs::write(&profile, role).unwrap();
    for config in [Path::new("/nonexistent"), &profile] {
        run_again(
            "metadata_elsewhere_is_not_even_connected_to",
            &[
                ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &address),
                ("AWS_CONFIG_FILE", config.to_str().unwrap()),
                ("AWS_REGION", "eu-north-1"),
            ],
        );
    }
    assert_eq!(elsewhere.connections(), 0);
}
