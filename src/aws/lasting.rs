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

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use aws_smithy_async::time::TimeSource;

use super::clock_skew::Clock;

/// The keys of a role that were loaded last, for as long as nobody refuses them. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Lasting(Arc<Mutex<Option<Credentials>>>);

impl Lasting {
    /// The same source, with what it said last where it says nothing.
    pub(super) fn over(
        &self,
        source: impl ProvideCredentials + 'static,
        clock: &Clock,
    ) -> SharedCredentialsProvider {
        SharedCredentialsProvider::new(Source {
            source: SharedCredentialsProvider::new(source),
            last: self.clone(),
            clock: clock.clone(),
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
}

impl Source {
    async fn load(&self) -> Result<Credentials, CredentialsError> {
        let loaded = self.source.provide_credentials().await?;
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

    fn fallback_on_interrupt(&self) -> Option<Credentials> {
        self.still_good()
    }
}
