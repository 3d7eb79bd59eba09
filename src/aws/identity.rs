//! Who and where this instance is, for the names of groups and streams.
//!
//! Region: the user's `[aws]`, environment, profile, instance metadata, in this order. Everything
//! else comes from instance metadata (version 2 only), and only what the templates use is asked
//! for. On EC2 the questions are repeated until they are answered; off EC2 the host's name stands
//! in for the instance id. EC2 is recognised by what the firmware says, or by metadata that
//! answers, or by an address set for it; where none of these holds after [`TRIES_OFF_EC2`] tries,
//! this is not EC2. Each time more is known, the identity is fed again.

use std::collections::BTreeSet;
use std::rc::Rc;

use aws_config::environment::region::EnvironmentVariableRegionProvider;
use aws_config::imds::client::error::ImdsError;
use aws_config::meta::region::ProvideRegion;
use aws_config::profile::region::ProfileFileRegionProvider;
use aws_config::{Region, imds};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use tokio::sync::watch;

use super::client::{
    Ambient, Machine, Metadata, RegionState, Settings, metadata_client, surroundings,
};
use super::clock_skew::Clock;
use super::errors::clean;
use crate::config::Identity;

/// Tries to reach metadata where nothing else says that this is EC2.
const TRIES_OFF_EC2: u32 = 2;

/// Each how many failed tries on EC2 the log says so again.
const TRIES_PER_WARNING: u32 = 30;

/// Longest value that is believed. Tag values have at most 256 characters.
pub(crate) const VALUE_BYTES_MAX: usize = 1_024;

/// Where the instance's Auto Scaling group stands among its tags.
const ASG_TAG: &str = "aws:autoscaling:groupName";

/// Finds out who we are and tells it.
pub(crate) struct Seeker {
    settings: Settings,
    http: SharedHttpClient,
    clock: Clock,
    wanted: BTreeSet<String>,
    region: watch::Sender<RegionState>,
    feed: watch::Sender<Option<Identity>>,
    bell: Rc<dyn Fn()>,
}

/// What a [`Seeker`] works with and whom it tells.
pub(crate) struct Parts {
    /// Limits and the user's wishes.
    pub(crate) settings: Settings,
    /// The shared client.
    pub(crate) http: SharedHttpClient,
    /// The shared clock.
    pub(crate) clock: Clock,
    /// Template variables in use (`asg`, `tag:NAME`, …).
    pub(crate) wanted: BTreeSet<String>,
    /// Told the region.
    pub(crate) region: watch::Sender<RegionState>,
    /// Told the identity.
    pub(crate) feed: watch::Sender<Option<Identity>>,
    /// Rung after each news.
    pub(crate) bell: Rc<dyn Fn()>,
}

/// Why one round of questions ended early.
enum Obstacle {
    /// Nobody there, or not in the mood: ask again.
    Silent(String),
    /// Metadata has no such thing.
    Absent,
}

impl Seeker {
    /// Ready to run.
    pub(crate) fn new(parts: Parts) -> Self {
        Self {
            settings: parts.settings,
            http: parts.http,
            clock: parts.clock,
            wanted: parts.wanted,
            region: parts.region,
            feed: parts.feed,
            bell: parts.bell,
        }
    }

    /// Runs until everything that can be known is known.
    pub(crate) async fn run(self) {
        let mut identity = Identity {
            hostname: Some(hostname()),
            region: self.local_region().await,
            ..Identity::default()
        };
        self.tell(&identity);
        if self.settings.metadata == Metadata::Disabled {
            self.settle_off_ec2(&mut identity);
        } else {
            self.ask_until_known(&mut identity).await;
        }
    }

    async fn ask_until_known(&self, identity: &mut Identity) {
        let surroundings = surroundings(&self.http, &self.clock);
        let metadata = metadata_client(&self.settings, &surroundings);
        let mut machine = self.settings.machine;
        let (mut pause, longest) = self.settings.identity_pauses;
        let mut failed = 0_u32;
        loop {
            let before = identity.clone();
            match self.ask(&metadata, identity).await {
                Ok(()) => {
                    identity.complete = true;
                    self.tell(identity);
                    return;
                }
                Err(why) => {
                    failed += 1;
                    if identity.instance_id.is_some() {
                        machine = Machine::Ec2;
                    }
                    if machine == Machine::Unknown && failed >= TRIES_OFF_EC2 {
                        self.settle_off_ec2(identity);
                        return;
                    }
                    if machine == Machine::Ec2 && failed % TRIES_PER_WARNING == 2 {
                        tracing::warn!(
                            error = %why,
                            "instance metadata does not answer; logs whose names need it wait \
                             (AWS_EC2_METADATA_DISABLED=true uses the host name instead)"
                        );
                    }
                    if *identity != before {
                        self.tell(identity);
                    }
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(longest);
        }
    }

    /// One round: asks for what is still missing.
    async fn ask(&self, metadata: &imds::Client, identity: &mut Identity) -> Result<(), String> {
        if identity.instance_id.is_none() {
            self.ask_document(metadata, identity).await?;
        }
        let tags: Vec<&str> = self
            .wanted
            .iter()
            .filter_map(|name| name.strip_prefix("tag:"))
            .filter(|name| !identity.tags.contains_key(*name))
            .collect();
        let asg = self.wanted.contains("asg") && identity.asg.is_none();
        if tags.is_empty() && !asg {
            return Ok(());
        }
        for name in tags {
            if let Some(value) = tag(metadata, name).await? {
                identity.tags.insert(name.to_owned(), value);
            }
        }
        if asg {
            identity.asg = Some(tag(metadata, ASG_TAG).await?.unwrap_or_default());
        }
        Ok(())
    }

    /// The identity document; where there is none, its parts one by one.
    async fn ask_document(
        &self,
        metadata: &imds::Client,
        identity: &mut Identity,
    ) -> Result<(), String> {
        const DOCUMENT: &str = "/latest/dynamic/instance-identity/document";
        let (instance, region, account) = match get(metadata, DOCUMENT).await {
            Ok(text) => parse_document(&text)?,
            Err(Obstacle::Absent) => (
                optional(get(metadata, "/latest/meta-data/instance-id").await)?,
                optional(get(metadata, "/latest/meta-data/placement/region").await)?,
                None,
            ),
            Err(Obstacle::Silent(why)) => return Err(why),
        };
        let instance = instance.ok_or("instance metadata names no instance id")?;
        if identity.region.is_none() {
            identity.region = region;
        }
        identity.account_id = account;
        tracing::info!(instance_id = %instance, region = ?identity.region, "running on EC2");
        identity.instance_id = Some(instance);
        Ok(())
    }

    fn settle_off_ec2(&self, identity: &mut Identity) {
        identity.instance_id = identity.hostname.clone();
        identity.complete = true;
        tracing::info!(
            instance_id = identity.instance_id,
            "no instance metadata here: the host name stands in for the instance id"
        );
        self.tell(identity);
    }

    async fn local_region(&self) -> Option<String> {
        if let Some(region) = &self.settings.aws.region {
            return Some(region.clone());
        }
        if !matches!(self.settings.ambient, Ambient::Process) {
            return None;
        }
        let environment = EnvironmentVariableRegionProvider::new().region().await;
        let environment = environment.map(|region| region.as_ref().trim().to_owned());
        if let Some(region) = environment.filter(|region| !region.is_empty()) {
            return Some(region);
        }
        let profile: Option<Region> = ProfileFileRegionProvider::builder()
            .configure(&surroundings(&self.http, &self.clock))
            .build()
            .region()
            .await;
        profile.map(|region| region.to_string())
    }

    fn tell(&self, identity: &Identity) {
        let region = match (&identity.region, identity.complete) {
            (Some(region), _) => RegionState::Known(region.clone()),
            (None, false) => RegionState::Looking,
            (None, true) => RegionState::Nowhere,
        };
        self.region.send_replace(region);
        self.feed.send_replace(Some(identity.clone()));
        (self.bell)();
    }
}

/// A tag's value; `None` where the instance has no such tag or does not show its tags.
async fn tag(metadata: &imds::Client, name: &str) -> Result<Option<String>, String> {
    let mut path = "/latest/meta-data/tags/instance/".to_owned();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:@+=,".contains(&byte) {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
    }
    optional(get(metadata, &path).await)
}

async fn get(metadata: &imds::Client, path: &str) -> Result<String, Obstacle> {
    match metadata.get(path).await {
        Ok(value) if value.as_ref().len() <= VALUE_BYTES_MAX || path.ends_with("/document") => {
            Ok(value.as_ref().trim().to_owned())
        }
        Ok(_) => Err(Obstacle::Silent(format!("{path}: value too long"))),
        Err(ImdsError::ErrorResponse(error)) if error.response().status().as_u16() == 404 => {
            Err(Obstacle::Absent)
        }
        Err(error) => {
            let text = aws_smithy_types::error::display::DisplayErrorContext(&error).to_string();
            Err(Obstacle::Silent(clean(&format!("{path}: {text}"))))
        }
    }
}

fn optional(answer: Result<String, Obstacle>) -> Result<Option<String>, String> {
    match answer {
        Ok(value) => Ok(Some(value).filter(|value| !value.is_empty())),
        Err(Obstacle::Absent) => Ok(None),
        Err(Obstacle::Silent(why)) => Err(why),
    }
}

/// Instance id, region, account id.
pub(crate) type Document = (Option<String>, Option<String>, Option<String>);

pub(crate) fn parse_document(text: &str) -> Result<Document, String> {
    let document: serde_json::Value =
        serde_json::from_str(text).map_err(|_| "the identity document is not JSON".to_owned())?;
    let field = |name: &str| {
        document
            .get(name)
            .and_then(serde_json::Value::as_str)
            .filter(|value| !value.is_empty() && value.len() <= VALUE_BYTES_MAX)
            .map(str::to_owned)
    };
    Ok((field("instanceId"), field("region"), field("accountId")))
}

fn hostname() -> String {
    let system = rustix::system::uname();
    match system.nodename().to_string_lossy() {
        name if name.is_empty() => "localhost".to_owned(),
        name => name.into_owned(),
    }
}

/// Nitro instances name their vendor; Xen ones have a hypervisor UUID that begins with `ec2`.
pub(crate) fn firmware() -> Machine {
    let starts = |path: &str, with: &str| {
        std::fs::read_to_string(path).is_ok_and(|text| {
            text.trim()
                .get(..with.len())
                .is_some_and(|head| head.eq_ignore_ascii_case(with))
        })
    };
    let ec2 = starts("/sys/class/dmi/id/sys_vendor", "Amazon EC2")
        || starts("/sys/class/dmi/id/board_asset_tag", "i-")
        || starts("/sys/hypervisor/uuid", "ec2")
        || starts("/sys/class/dmi/id/product_uuid", "ec2");
    if ec2 { Machine::Ec2 } else { Machine::Unknown }
}
