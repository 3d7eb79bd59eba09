//! Identity, and credentials that come and go, against stand-in instance metadata.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::super::client::{Ambient, Machine, Metadata, Settings};
use super::stand_in::{Reply, Request, StandIn};
use super::{Edge, batch, settings};
use crate::config::{Compression, Identity};
use crate::ports::{Accepted, ErrorClass};

const TOKEN: &str = "AQAEAFTNrA4eEGx0AQgJ1arIq_Cc-t4tWt3fB0Hd8RKhXlKc5ccvhg==";

fn text(body: &str) -> Reply {
    Reply::Whole(200, vec![], body.as_bytes().to_vec())
}

fn missing() -> Reply {
    Reply::Whole(404, vec![], vec![])
}

fn token(ttl: u32) -> Reply {
    let header = ("x-aws-ec2-metadata-token-ttl-seconds", ttl.to_string());
    Reply::Whole(200, vec![header], TOKEN.as_bytes().to_vec())
}

/// Metadata of an instance in an Auto Scaling group, version 2 only.
pub(super) fn metadata(request: &Request) -> Reply {
    let asks_token = request.method == "PUT" && request.path == "/latest/api/token";
    if asks_token {
        let ttl = request.header("x-aws-ec2-metadata-token-ttl-seconds");
        assert!((1..=21_600).contains(&ttl.parse::<u32>().unwrap()));
        return token(21_600);
    }
    if request.header("x-aws-ec2-metadata-token") != TOKEN {
        return Reply::Whole(401, vec![], vec![]);
    }
    match request.path.as_str() {
        "/latest/dynamic/instance-identity/document" => text(
            r#"{"accountId":"111122223333","region":"ap-south-1","instanceId":"i-0abc","imageId":"ami-1"}"#,
        ),
        "/latest/meta-data/tags/instance/aws:autoscaling:groupName" => text("web-asg"),
        "/latest/meta-data/tags/instance/Name" => text("web 1"),
        "/latest/meta-data/tags/instance/odd%20%2Fkey" => text("odd"),
        _ => missing(),
    }
}

pub(super) fn on_instance(metadata: &StandIn) -> Settings {
    let mut settings = settings("http://127.0.0.1:9");
    settings.aws.region = None;
    settings.metadata = Metadata::At(metadata.url.clone());
    settings
}

pub(super) fn complete(identity: &Identity) -> bool {
    identity.complete
}

/// Everything wanted is found by IMDSv2 with one token, and nothing else is asked for.
#[test]
fn learns_what_is_wanted() {
    let imds = StandIn::new(|_, request| metadata(request));
    let wanted = ["instance_id", "asg", "tag:Name", "tag:odd /key", "tag:None"];
    let mut edge = Edge::start(on_instance(&imds), Compression::Gzip, &wanted);
    let identity = edge.identity(complete);
    assert_eq!(identity.instance_id.as_deref(), Some("i-0abc"));
    assert_eq!(identity.region.as_deref(), Some("ap-south-1"));
    assert_eq!(identity.account_id.as_deref(), Some("111122223333"));
    assert_eq!(identity.asg.as_deref(), Some("web-asg"));
    assert_eq!(identity.tags["Name"], "web 1");
    assert_eq!(identity.tags["odd /key"], "odd");
    assert!(!identity.tags.contains_key("None"));
    assert!(identity.hostname.is_some());
    let seen = imds.seen();
    assert_eq!(seen.iter().filter(|r| r.method == "PUT").count(), 1);
    assert_eq!(seen.len(), 6);

    let imds = StandIn::new(|_, request| metadata(request));
    let mut edge = Edge::start(on_instance(&imds), Compression::Gzip, &["instance_id"]);
    let identity = edge.identity(complete);
    assert_eq!((identity.asg, identity.tags.len()), (None, 0));
    assert_eq!(imds.seen().len(), 2);
}

/// The user's region wins over the instance's; no tags in metadata means no group, which is known.
#[test]
fn prefers_the_users_region() {
    let imds = StandIn::new(|_, request| match request.path.contains("/tags/") {
        true => missing(),
        false => metadata(request),
    });
    let mut settings = on_instance(&imds);
    settings.aws.region = Some("eu-west-1".to_owned());
    let mut edge = Edge::start(settings, Compression::Gzip, &["asg"]);
    let identity = edge.identity(complete);
    assert_eq!(identity.region.as_deref(), Some("eu-west-1"));
    assert_eq!(identity.asg.as_deref(), Some(""));
}

/// Metadata that refuses tokens, fails, forgets the token's lifetime or hangs up at first is asked
/// again until it answers; what is already known (the host name) is fed before.
#[test]
fn keeps_asking_on_an_instance() {
    let imds = StandIn::new(|n, request| match n {
        0 | 1 => Reply::Whole(403, vec![], vec![]),
        2 | 3 => Reply::Whole(503, vec![], vec![]),
        4 | 5 => text(TOKEN),
        6 => Reply::Hangup,
        _ if request.path.ends_with("/Name") && n < 16 => Reply::Whole(500, vec![], vec![]),
        _ => metadata(request),
    });
    let mut edge = Edge::start(on_instance(&imds), Compression::Gzip, &["tag:Name"]);
    let first = edge.identity(|_| true);
    assert_eq!((first.instance_id, first.complete), (None, false));
    assert!(first.hostname.is_some());
    let partly = edge.identity(|identity| identity.instance_id.is_some());
    assert!(!partly.complete, "the tag is still missing");
    assert_eq!(edge.identity(complete).tags["Name"], "web 1");
    assert!(edge.feed.take().is_none(), "no news without news");
}

/// Without an identity document its parts are asked for one by one.
#[test]
fn does_without_the_document() {
    let imds = StandIn::new(|_, request| match request.path.as_str() {
        "/latest/dynamic/instance-identity/document" => missing(),
        "/latest/meta-data/instance-id" => text("i-0def"),
        "/latest/meta-data/placement/region" => text("us-east-2"),
        _ => metadata(request),
    });
    let mut edge = Edge::start(on_instance(&imds), Compression::Gzip, &["account_id"]);
    let identity = edge.identity(complete);
    assert_eq!(identity.instance_id.as_deref(), Some("i-0def"));
    assert_eq!(identity.region.as_deref(), Some("us-east-2"));
    assert_eq!(identity.account_id, None);
}

/// Where metadata is switched off, the host name stands in at once.
#[test]
fn uses_the_host_name_off_ec2() {
    let mut edge = Edge::to("http://127.0.0.1:9", Compression::Gzip);
    let identity = edge.identity(complete);
    assert!(identity.hostname.is_some());
    assert_eq!(identity.instance_id, identity.hostname);
    assert_eq!(identity.region.as_deref(), Some("eu-west-1"));
}

/// On a machine that nothing says is EC2, silence or another cloud's answers mean that it is not,
/// after two tries; an answer means that it is, also when the rest takes longer.
#[test]
fn finds_out_whether_this_is_ec2() {
    for other_cloud in [missing(), Reply::Hangup, text("<html>")] {
        let imds = StandIn::new(move |_, _| other_cloud.clone());
        let mut settings = on_instance(&imds);
        settings.machine = Machine::Unknown;
        let mut edge = Edge::start(settings, Compression::Gzip, &["asg"]);
        let identity = edge.identity(complete);
        assert_eq!(identity.instance_id, identity.hostname);
        assert_eq!((identity.region, identity.asg), (None, None));
    }
    let imds = StandIn::new(
        |n, request| match request.path.ends_with("/Name") && n < 12 {
            true => Reply::Whole(500, vec![], vec![]),
            false => metadata(request),
        },
    );
    let mut settings = on_instance(&imds);
    settings.machine = Machine::Unknown;
    let mut edge = Edge::start(settings, Compression::Gzip, &["tag:Name"]);
    let identity = edge.identity(complete);
    assert_eq!(identity.instance_id.as_deref(), Some("i-0abc"));
    assert_eq!(identity.tags["Name"], "web 1");
}

/// A put before the region is known waits for it and is then signed for the region found.
#[test]
fn waits_for_the_region() {
    let imds = StandIn::new(|n, request| match n {
        0..=5 => Reply::Whole(503, vec![], vec![]),
        _ => metadata(request),
    });
    let service = StandIn::new(|_, _| Reply::ok());
    let mut settings = on_instance(&imds);
    settings.aws.endpoint_url = Some(service.url.clone());
    let mut edge = Edge::start(settings, Compression::Gzip, &[]);
    assert_eq!(edge.put(batch(&["a"])), Ok(Accepted::default()));
    let seen = service.seen();
    assert!(
        seen[0]
            .header("authorization")
            .contains("/ap-south-1/logs/")
    );

    let imds = StandIn::new(|_, _| Reply::Silence);
    let mut settings = on_instance(&imds);
    settings.region_wait = Duration::from_millis(20);
    let mut edge = Edge::start(settings, Compression::Gzip, &[]);
    let error = edge.put(batch(&["a"])).unwrap_err();
    assert_eq!(error.class, ErrorClass::RetrySoon);
    assert_eq!(error.code, "RegionUnknown");
}

fn role(request: &Request, name: &str, keys: usize) -> Reply {
    let path = request
        .path
        .strip_prefix("/latest/meta-data/iam/security-credentials/");
    match path {
        Some("") => text(name),
        Some(_) => text(&format!(
            r#"{{"Code":"Success","LastUpdated":"2026-01-01T00:00:00Z","Type":"AWS-HMAC",
                "AccessKeyId":"ASIAKEYS{keys}","SecretAccessKey":"s","Token":"session",
                "Expiration":"2999-01-01T00:00:00Z"}}"#
        )),
        None => match metadata(request) {
            Reply::Whole(404, ..) => missing(),
            other => other,
        },
    }
}

/// No role yet: the data waits with a class that says so; once a role is attached, the very next
/// call finds it.
#[test]
fn finds_a_role_attached_later() {
    let asked = Arc::new(AtomicUsize::new(0));
    let attached = Arc::clone(&asked);
    let imds = StandIn::new(move |_, request| {
        let about_role = request.path.contains("/iam/");
        match about_role && attached.load(Ordering::SeqCst) == 0 {
            true => missing(),
            false => role(request, "late-role", 1),
        }
    });
    let service = StandIn::new(|_, _| Reply::ok());
    let mut settings = on_instance(&imds);
    settings.aws.endpoint_url = Some(service.url.clone());
    settings.ambient = Ambient::Role;
    let mut edge = Edge::start(settings, Compression::Gzip, &[]);
    let error = edge.put(batch(&["a"])).unwrap_err();
    assert_eq!(
        (error.class, error.code.as_str()),
        (ErrorClass::RetrySlowly, "Credentials"),
        "{error}"
    );
    assert!(service.seen().is_empty());
    asked.store(1, Ordering::SeqCst);
    assert_eq!(edge.put(batch(&["a"])), Ok(Accepted::default()));
    let seen = service.seen();
    assert_eq!(seen[0].header("x-amz-security-token"), "session");
}

/// Keys that the service refuses are not used again: the next call asks metadata for new ones,
/// although the old ones would have been good for centuries. Calls that work ask only once.
#[test]
fn replaces_refused_keys() {
    let turn = Arc::new(AtomicUsize::new(1));
    let (given, accepted) = (Arc::clone(&turn), Arc::clone(&turn));
    let imds = StandIn::new(move |_, request| role(request, "r", given.load(Ordering::SeqCst)));
    let service = StandIn::new(move |_, request| {
        let key = format!("ASIAKEYS{}/", accepted.load(Ordering::SeqCst));
        match request.header("authorization").contains(&key) {
            true => Reply::ok(),
            false => Reply::error(400, "ExpiredTokenException", "The security token expired"),
        }
    });
    let mut settings = on_instance(&imds);
    settings.aws.endpoint_url = Some(service.url.clone());
    settings.ambient = Ambient::Role;
    let mut edge = Edge::start(settings, Compression::Gzip, &[]);
    for _ in 0..3 {
        assert_eq!(edge.put(batch(&["a"])), Ok(Accepted::default()));
    }
    let about_role = |r: &&Request| r.path.contains("/iam/");
    assert_eq!(imds.seen().iter().filter(about_role).count(), 2);
    turn.store(2, Ordering::SeqCst);
    let error = edge.put(batch(&["a"])).unwrap_err();
    assert_eq!(error.class, ErrorClass::RetrySlowly);
    assert_eq!(edge.put(batch(&["a"])), Ok(Accepted::default()));
}

/// What is permitted goes on while metadata does not answer, though something else was denied: the
/// keys are as good as before. Keys that the service refuses do not outlast their client.
#[test]
fn a_denied_call_costs_nobody_the_keys() {
    let is_down = Arc::new(AtomicUsize::new(0));
    let down = Arc::clone(&is_down);
    let imds = StandIn::new(move |_, request| match down.load(Ordering::SeqCst) {
        0 => role(request, "r", 1),
        _ => Reply::Whole(500, vec![], vec![]),
    });
    let service = StandIn::new(|n, _| match n {
        1 => Reply::error(400, "AccessDeniedException", "not authorized"),
        3 => Reply::error(400, "NotAuthorized", "You do not have permission"),
        5 => Reply::error(400, "ExpiredTokenException", "The security token expired"),
        _ => Reply::ok(),
    });
    let mut settings = on_instance(&imds);
    settings.aws.endpoint_url = Some(service.url.clone());
    settings.ambient = Ambient::Role;
    let mut edge = Edge::start(settings, Compression::Gzip, &[]);
    assert_eq!(edge.put(batch(&["a"])), Ok(Accepted::default()));
    is_down.store(1, Ordering::SeqCst);
    for code in ["AccessDeniedException", "NotAuthorized"] {
        assert_eq!(edge.put(batch(&["denied"])).unwrap_err().code, code);
        assert_eq!(edge.put(batch(&["a"])), Ok(Accepted::default()));
    }
    for code in ["ExpiredTokenException", "Credentials"] {
        assert_eq!(edge.put(batch(&["a"])).unwrap_err().code, code);
    }
}
