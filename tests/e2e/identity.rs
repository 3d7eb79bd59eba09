//! Who the agent is, and whom it trusts.

#![cfg(test)]

use std::time::Duration;

use crate::support::cloud::Cloud;
use crate::support::imds::{Imds, Instance};
use crate::support::lines::Writer;
use crate::support::oracle::{APP, findings, wait_complete};
use crate::support::sigv4::Key;
use crate::support::state::KeyState;
use crate::support::world::World;
use crate::{LIMIT, SLOWLY};

const SIX_HOURS: Duration = Duration::from_secs(6 * 3600);

fn source_by_identity(world: &mut World) -> Writer {
    let path = world.log("app.log");
    world.source(&format!(
        "name = \"app\"\npaths = [\"{}\"]\ngroup = \"/app/{{asg|none}}/{{tag:Name|x}}\"\n\
         stream = \"{{account_id}}/{{region}}/{{instance_id}}\"\ntimestamp = \"none\"",
        path.display()
    ));
    Writer::open(&path, "app")
}

/// Region, credentials, and every part of the names come from instance metadata, version 2.
#[test]
fn names_and_credentials_come_from_instance_metadata() {
    let cloud = Cloud::start();
    let tags = [("aws:autoscaling:groupName", "web-asg"), ("Name", "web-1")];
    let imds = Imds::start(Instance {
        tags: Some(
            tags.map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
        ),
        ..Instance::default()
    });
    let mut world = World::on_instance(&cloud, &imds);
    let mut writer = source_by_identity(&mut world);
    writer.write(10);
    let _agent = world.start();
    let stream = "123456789012/eu-west-1/i-0123456789abcdef0";
    cloud.wait(LIMIT, "all arrives under its names", |state| {
        state.events("/app/web-asg/web-1", stream).len() == 10
    });
    let asked = imds.state().asked.clone();
    assert!(
        asked.contains_key("/latest/meta-data/iam/security-credentials/web"),
        "{asked:?}"
    );
    assert!(
        imds.state().violations.is_empty(),
        "{:?}",
        imds.state().violations
    );
    cloud.assert_no_violations();
}

/// Where metadata shows no tags, the fallbacks of the templates are used.
#[test]
fn without_tags_the_fallbacks_are_used() {
    let cloud = Cloud::start();
    let imds = Imds::start(Instance::default());
    let mut world = World::on_instance(&cloud, &imds);
    let mut writer = source_by_identity(&mut world);
    writer.write(10);
    let _agent = world.start();
    let stream = "123456789012/eu-west-1/i-0123456789abcdef0";
    cloud.wait(LIMIT, "all arrives under the fallbacks", |state| {
        state.events("/app/none/x", stream).len() == 10
    });
    cloud.assert_no_violations();
}

/// Credentials that the service calls expired are asked for anew; the lines wait meanwhile.
#[test]
fn expired_credentials_are_renewed() {
    let cloud = Cloud::start();
    let imds = Imds::start(Instance::default());
    let mut world = World::on_instance(&cloud, &imds);
    cloud.set_key(&Key::temporary(1), KeyState::Expired);
    world.app_source("*.log");
    let mut writer = Writer::open(&world.log("app.log"), "app");
    writer.write(100);
    let mut agent = world.start();
    cloud.wait(LIMIT, "the old credentials are refused", |state| {
        state.answered("ExpiredTokenException") > 0
    });
    assert_eq!(cloud.state().total(), 0);
    agent.assert_runs();
    imds.set_role(&Key::temporary(2), SIX_HOURS);
    cloud.set_key(&Key::temporary(2), KeyState::Good);
    wait_complete(&cloud, SLOWLY, &writer, APP);
    findings(&cloud, &writer, APP).assert_exact();
}

/// An instance without a role keeps its lines; when a role is attached they arrive.
#[test]
fn a_role_attached_later_is_used() {
    let cloud = Cloud::start();
    let imds = Imds::start(Instance {
        role: None,
        ..Instance::default()
    });
    let mut world = World::on_instance(&cloud, &imds);
    world.app_source("*.log");
    let mut writer = Writer::open(&world.log("app.log"), "app");
    writer.write(100);
    let mut agent = world.start();
    world.wait_status(LIMIT, "it says what is missing", |status| {
        status.targets.iter().any(|target| {
            !["", "ok"].contains(&target.last_answer.as_str()) && target.pending_bytes > 0
        })
    });
    agent.assert_runs();
    imds.set_role(&Key::temporary(3), SIX_HOURS);
    cloud.set_key(&Key::temporary(3), KeyState::Good);
    wait_complete(&cloud, SLOWLY, &writer, APP);
    cloud.assert_no_violations();
}

/// Over TLS, a service vouched for by the configured authority is spoken to.
#[test]
fn tls_with_an_authority_of_ones_own() {
    let cloud = Cloud::start_tls();
    let mut world = World::new(&cloud);
    world.set(
        "aws",
        &format!("ca_bundle = \"{}\"", cloud.ca_pem().display()),
    );
    world.app_source("*.log");
    let mut writer = Writer::open(&world.log("app.log"), "app");
    writer.write(5_000);
    let agent = world.start();
    wait_complete(&cloud, LIMIT, &writer, APP);
    agent.stop(LIMIT);
    findings(&cloud, &writer, APP).assert_exact();
}

/// A service that nobody trusted vouches for gets not one request, and the lines wait.
#[test]
fn tls_without_trust_sends_nothing() {
    let cloud = Cloud::start_tls();
    let mut world = World::new(&cloud);
    world.app_source("*.log");
    Writer::open(&world.log("app.log"), "app").write(100);
    let mut agent = world.start();
    world.wait_status(LIMIT, "it says that it cannot deliver", |status| {
        let untrusted = |answer: &str| answer != "ok" && !answer.is_empty();
        status
            .targets
            .iter()
            .any(|target| untrusted(&target.last_answer))
    });
    agent.assert_runs();
    assert_eq!(cloud.state().calls.values().sum::<u64>(), 0);
}
