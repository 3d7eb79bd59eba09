//! Credentials that outlast the client they were loaded for.
//!
//! A client whose call was denied is thrown away, since another role may have been attached; its
//! keys are no worse for it. While their source does not answer, the next client goes on with them:
//! one permission that is missing must not turn an outage of instance metadata into one of
//! everything that is permitted.
//!
//! A key that no request can be signed with, as one with a line break behind it, is none: the SDK would
//! panic.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use aws_smithy_async::time::TimeSource;
use tokio::time::timeout;

use super::clock_skew::Clock;

/// The keys of a role that were loaded last, for as long as nobody refuses them. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Lasting(Arc<Mutex<Option<Credentials>>>);

impl Lasting {
    /// The same source, with what it said last where it says nothing for so long. That must be less
    /// than the SDK's cache waits, which gives up without asking for what was good.
    pub(super) fn over(
        &self,
        source: impl ProvideCredentials + 'static,
        clock: &Clock,
        wait: Duration,
    ) -> SharedCredentialsProvider {
        SharedCredentialsProvider::new(Source {
            source: SharedCredentialsProvider::new(source),
            last: self.clone(),
            clock: clock.clone(),
            wait,
        })
    }

    /// The service refuses them.
    pub(super) fn forget(&self) {
        self.set(None);
    }

    fn set(&self, credentials: Option<Credentials>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = credentials;
    }

    fn get(&self) -> Option<Credentials> {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.clone()
    }
}

#[derive(Debug)]
struct Source {
    source: SharedCredentialsProvider,
    last: Lasting,
    clock: Clock,
    wait: Duration,
}

impl Source {
    async fn load(&self) -> Result<Credentials, CredentialsError> {
        let loaded = timeout(self.wait, self.source.provide_credentials());
        let loaded = loaded
            .await
            .map_err(|_| CredentialsError::provider_timed_out(self.wait))??;
        match loaded.access_key_id().contains(char::is_control) {
            false => Ok(loaded),
            true => Err(CredentialsError::invalid_configuration(
                "a line break or the like in the access key id",
            )),
        }
    }

    /// Keys without an end are somebody's own: who takes them away means it.
    fn still_good(&self) -> Option<Credentials> {
        let now = self.clock.now();
        let last = self.last.get();
        last.filter(|last| last.expiry().is_some_and(|end| end > now))
    }
}

impl ProvideCredentials for Source {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async move {
            match self.load().await {
                Ok(loaded) => {
                    self.last.set(Some(loaded.clone()));
                    Ok(loaded)
                }
                Err(error) => self.still_good().ok_or(error),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::SystemTime;

    use super::*;

    /// Answers once, and then never again.
    #[derive(Debug, Default)]
    struct Once(AtomicBool);

    impl ProvideCredentials for Once {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            let is_over = self.0.swap(true, Ordering::SeqCst);
            future::ProvideCredentials::new(async move {
                if is_over {
                    std::future::pending::<()>().await;
                }
                let end = SystemTime::now() + Duration::from_secs(3_600);
                Ok(Credentials::new("AKID", "s", None, Some(end), "test"))
            })
        }
    }

    /// Good keys outlast a source that is silent, too: shown by one that answers once. Once they are
    /// refused, its silence is an error.
    #[test]
    fn a_silent_source_costs_nobody_the_keys() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            let lasting = Lasting::default();
            let wait = Duration::from_millis(20);
            let source = lasting.over(Once::default(), &Clock::default(), wait);
            let load = || timeout(Duration::from_secs(60), source.provide_credentials());
            for _ in 0..2 {
                let loaded = load().await.expect("an answer in time");
                assert_eq!(loaded.unwrap().access_key_id(), "AKID");
            }
            lasting.forget();
            load().await.expect("an answer in time").unwrap_err();
        });
    }
}
