//! The services' clients: built when first needed, thrown away when its credentials fail.
//!
//! The SDK caches credentials until they expire, and the profile file for ever. That is right
//! until someone attaches a role, rotates a key or rewrites the file; so an answer that speaks of
//! credentials makes the next call build a new client, which looks at everything afresh. Building
//! costs no connection: all clients share one pool. The SDK's retries are off, because the
//! middle decides about retries, and so is its clock correction ([`super::clock_skew`]).

use std::cell::OnceCell;
use std::future::Future;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::provider_config::ProviderConfig;
use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{AppName, BehaviorVersion, ConfigLoader, Region, SdkConfig, imds};
use aws_sdk_cloudwatchlogs::Client;
use aws_sdk_cloudwatchlogs::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use tokio::sync::{Mutex, watch};

use super::clock_skew::Clock;
use super::environment::is_true;
use super::errors::{Cause, Failure};
use super::identity::firmware;
use super::lasting::Lasting;
use crate::config::AwsConfig;

/// Everything the edge was told, and its limits in time.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The user's `[aws]`.
    pub(crate) aws: AwsConfig,
    /// Where region and credentials come from when the user does not say.
    pub(crate) ambient: Ambient,
    /// Where instance metadata is asked for.
    pub(crate) metadata: Metadata,
    /// Whether that must answer some day.
    pub(crate) machine: Machine,
    /// Whole call, credentials and upload included. 1 MiB in 30 s is 280 kbit/s.
    pub(crate) call_timeout: Duration,
    /// Until a connection stands.
    pub(crate) connect_timeout: Duration,
    /// A client is replaced when it is as old as this, not sooner: many calls fail at once for
    /// one reason.
    pub(crate) client_age_min: Duration,
    /// How long a call waits for the region while instance metadata is still being asked.
    pub(crate) region_wait: Duration,
    /// First and longest pause between tries to learn the instance's identity.
    pub(crate) identity_pauses: (Duration, Duration),
}

/// The surroundings of the process.
#[derive(Clone, Debug)]
pub(crate) enum Ambient {
    /// Environment variables and the AWS profile files, then container or instance role.
    Process,
    /// This provider and nothing else, so that a developer's own account stays out of tests.
    #[cfg(any(test, fuzzing))]
    Keys(aws_credential_types::provider::SharedCredentialsProvider),
    /// The instance's role and nothing else.
    #[cfg(test)]
    Role,
}

/// Whether there is instance metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Metadata {
    /// `AWS_EC2_METADATA_DISABLED=true`.
    Disabled,
    /// At the usual address.
    Usual,
    /// `AWS_EC2_METADATA_SERVICE_ENDPOINT`: whoever sets it says that there is some.
    At(String),
}

/// What is known before instance metadata is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Machine {
    /// EC2, by its firmware or because someone set an address for its metadata.
    Ec2,
    /// Nothing says so.
    Unknown,
}

impl Settings {
    /// The product's own limits, and what the environment says about metadata and trust.
    pub(crate) fn from_environment(mut aws: AwsConfig) -> Self {
        if aws.ca_bundle.is_none() {
            aws.ca_bundle = variable("AWS_CA_BUNDLE").map(PathBuf::from);
        }
        let disabled = is_true("AWS_EC2_METADATA_DISABLED");
        let metadata = match variable("AWS_EC2_METADATA_SERVICE_ENDPOINT") {
            _ if disabled => Metadata::Disabled,
            Some(url) if super::http::is_near_url(&url) => Metadata::At(url),
            Some(url) => {
                tracing::error!(
                    %url,
                    "AWS_EC2_METADATA_SERVICE_ENDPOINT is no link-local address: a host elsewhere \
                     could hand out credentials; the usual one is asked"
                );
                Metadata::Usual
            }
            None => Metadata::Usual,
        };
        let machine = match &metadata {
            Metadata::At(_) => Machine::Ec2,
            Metadata::Usual | Metadata::Disabled => firmware(),
        };
        Self {
            aws,
            ambient: Ambient::Process,
            metadata,
            machine,
            call_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(5),
            client_age_min: Duration::from_secs(1),
            region_wait: Duration::from_secs(5),
            identity_pauses: (Duration::from_secs(1), Duration::from_secs(60)),
        }
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// What is known of the region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RegionState {
    /// Instance metadata has not answered yet.
    Looking,
    /// This one.
    Known(String),
    /// Nobody says, and nobody will.
    Nowhere,
}

/// A client and when it was made, to know later whether it is still the one that failed.
#[derive(Clone)]
pub(crate) struct Connection {
    /// The SDK's client for CloudWatch Logs.
    pub(crate) client: Client,
    /// What it was made of, for other services' clients.
    config: SdkConfig,
    monitoring: Rc<OnceCell<aws_sdk_cloudwatch::Client>>,
    bus: Rc<OnceCell<aws_sdk_eventbridge::Client>>,
    generation: u64,
    made: Instant,
    /// Whether its credentials failed.
    failed: bool,
}

impl Connection {
    /// The SDK's client for CloudWatch: made when it is first needed, of the same parts.
    pub(crate) fn monitoring(&self) -> &aws_sdk_cloudwatch::Client {
        self.monitoring
            .get_or_init(|| aws_sdk_cloudwatch::Client::new(&self.config))
    }

    /// The same for EventBridge.
    pub(crate) fn bus(&self) -> &aws_sdk_eventbridge::Client {
        self.bus
            .get_or_init(|| aws_sdk_eventbridge::Client::new(&self.config))
    }
}

/// Makes clients and keeps the present one.
pub(crate) struct Gateway {
    settings: Settings,
    http: SharedHttpClient,
    clock: Clock,
    region: watch::Receiver<RegionState>,
    present: Mutex<Option<Connection>>,
    /// The keys of every client.
    lasting: Lasting,
}

impl Gateway {
    /// Nothing is loaded before the first call.
    pub(crate) fn new(
        settings: Settings,
        http: SharedHttpClient,
        clock: Clock,
        region: watch::Receiver<RegionState>,
    ) -> Self {
        Self {
            settings,
            http,
            clock,
            region,
            present: Mutex::new(None),
            lasting: Lasting::default(),
        }
    }

    /// The present client; built if there is none.
    ///
    /// # Errors
    /// While no region is known.
    pub(crate) async fn connection(&self) -> Result<Connection, Failure> {
        let region = self.region().await?;
        let mut present = self.present.lock().await;
        if let Some(connection) = &*present
            && (!connection.failed || connection.made.elapsed() < self.settings.client_age_min)
        {
            return Ok(connection.clone());
        }
        let generation = present.as_ref().map_or(0, |old| old.generation + 1);
        let config = self.build(region).await;
        let connection = Connection {
            client: Client::new(&config),
            config,
            monitoring: Rc::default(),
            bus: Rc::default(),
            generation,
            made: Instant::now(),
            failed: false,
        };
        *present = Some(connection.clone());
        Ok(connection)
    }

    /// One request through the present client; what goes wrong is learnt from.
    pub(crate) async fn call<O, E, F>(
        &self,
        request: impl FnOnce(&Connection) -> F,
    ) -> Result<O, Failure>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
        F: Future<Output = Result<O, SdkError<E, HttpResponse>>>,
    {
        let connection = self.connection().await?;
        match request(&connection).await {
            Ok(output) => Ok(output),
            Err(error) => {
                let failure = Failure::of(&error);
                tracing::debug!(code = %failure.code, status = failure.status, "call failed");
                self.learn(&connection, &failure).await;
                Err(failure)
            }
        }
    }

    /// Learns from a bad answer: sets the clock, marks a client whose credentials failed.
    pub(crate) async fn learn(&self, failed: &Connection, failure: &Failure) {
        if failure.is_about_the_clock() {
            self.clock
                .correct(failure.date.as_deref().unwrap_or_default());
        }
        if failure.is_about_credentials() {
            if !failure.is_denied() {
                self.lasting.forget();
            }
            let mut present = self.present.lock().await;
            if let Some(connection) = &mut *present
                && connection.generation == failed.generation
            {
                connection.failed = true;
            }
        }
    }

    async fn region(&self) -> Result<String, Failure> {
        let mut region = self.region.clone();
        let settled = region.wait_for(|state| *state != RegionState::Looking);
        let state = match tokio::time::timeout(self.settings.region_wait, settled).await {
            Ok(Ok(state)) => state.clone(),
            Ok(Err(_)) | Err(_) => RegionState::Looking,
        };
        match state {
            RegionState::Known(region) => Ok(region),
            RegionState::Looking => Err(Failure {
                cause: Cause::Timeout,
                code: "RegionUnknown".to_owned(),
                message: "instance metadata has not told the region yet".to_owned(),
                ..Failure::default()
            }),
            RegionState::Nowhere => Err(Failure {
                cause: Cause::Request,
                code: "RegionMissing".to_owned(),
                message: "no region: set region in [aws], or AWS_REGION in the unit's environment"
                    .to_owned(),
                ..Failure::default()
            }),
        }
    }

    async fn build(&self, region: String) -> SdkConfig {
        let region = Region::new(region);
        let settings = &self.settings;
        let mut loader = self
            .with_credentials(region.clone())
            .await
            .region(region)
            .http_client(self.http.clone())
            .time_source(self.clock.clone())
            .disable_clock_skew_correction(true)
            .retry_config(RetryConfig::disabled())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(settings.connect_timeout)
                    .operation_timeout(settings.call_timeout)
                    .build(),
            );
        if let Ok(name) = AppName::new(concat!("deploywatch-", env!("CARGO_PKG_VERSION"))) {
            loader = loader.app_name(name);
        }
        if let Some(url) = &settings.aws.endpoint_url {
            loader = loader.endpoint_url(url);
        }
        if settings.aws.use_fips {
            loader = loader.use_fips(true);
        }
        if settings.aws.use_dualstack {
            loader = loader.use_dual_stack(true);
        }
        loader.load().await
    }

    async fn with_credentials(&self, region: Region) -> ConfigLoader {
        let loader = aws_config::defaults(BehaviorVersion::v2026_01_12());
        let surroundings = surroundings(&self.http, &self.clock).with_region(Some(region));
        let role = metadata_client(&self.settings, &surroundings);
        // The SDK's cache waits twice as long as for a connection.
        let wait = self.settings.connect_timeout * 3 / 2;
        let source = match &self.settings.ambient {
            Ambient::Process => {
                let chain = DefaultCredentialsChain::builder()
                    .imds_client(role)
                    .configure(surroundings)
                    .build()
                    .await;
                self.lasting.over(chain, &self.clock, wait)
            }
            #[cfg(any(test, fuzzing))]
            Ambient::Keys(keys) => keys.clone(),
            #[cfg(test)]
            Ambient::Role => {
                let role = imds::credentials::ImdsCredentialsProvider::builder()
                    .imds_client(role)
                    .configure(&surroundings)
                    .build();
                self.lasting.over(role, &self.clock, wait)
            }
        };
        loader.credentials_provider(source)
    }
}

/// What the SDK's own providers (profile, container, instance role) work with.
pub(crate) fn surroundings(http: &SharedHttpClient, clock: &Clock) -> ProviderConfig {
    ProviderConfig::without_region()
        .with_http_client(http.clone())
        .with_time_source(clock.clone())
        .with_behavior_version(Some(BehaviorVersion::v2026_01_12()))
}

/// A client for instance metadata, version 2 only. It fetches and renews the session token; one
/// retry, since whoever calls it tries again later anyway. Its address is always ours to say: else
/// the SDK would look for one in the environment and in the profile, wherever that may be.
pub(crate) fn metadata_client(settings: &Settings, surroundings: &ProviderConfig) -> imds::Client {
    let at = |url: &str| {
        imds::Client::builder()
            .configure(surroundings)
            .max_attempts(2)
            .operation_timeout(Duration::from_secs(5))
            .endpoint(url)
    };
    let usual = || at(usual_address()).expect("a constant is a URL");
    let builder = match &settings.metadata {
        Metadata::At(url) => at(url).unwrap_or_else(|error| {
            tracing::error!(%error, "AWS_EC2_METADATA_SERVICE_ENDPOINT is not a URL");
            usual()
        }),
        Metadata::Usual | Metadata::Disabled => usual(),
    };
    builder.build()
}

fn usual_address() -> &'static str {
    match variable("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE") {
        Some(mode) if mode.eq_ignore_ascii_case("IPv6") => "http://[fd00:ec2::254]",
        _ => "http://169.254.169.254",
    }
}
