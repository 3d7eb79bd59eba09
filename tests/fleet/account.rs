//! The account: what all agents' calls together may be, and what becomes of each call.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use deploywatch::event::Target;
use deploywatch::ports::{ErrorClass, ServiceError};

/// PutLogEvents calls a second, for the account in a Region
/// (<https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/cloudwatch_limits_cwl.html>).
pub(crate) const PUTS_PER_S: u64 = 5_000;
/// CreateLogStream calls a second (same page).
pub(crate) const CREATES_PER_S: u64 = 50;

/// Calls that may come at once, as seconds of the rate.
const BURST_S: f64 = 1.0;

/// So many calls a second, and a few more at once.
#[derive(Debug)]
struct Quota {
    per_ms: f64,
    most: f64,
    left: f64,
    since_ms: u64,
}

impl Quota {
    fn new(per_s: f64) -> Self {
        let most = (per_s * BURST_S).max(1.0);
        Self {
            per_ms: per_s / 1_000.0,
            most,
            left: most,
            since_ms: 0,
        }
    }

    fn takes(&mut self, now_ms: u64) -> bool {
        let passed_ms = now_ms.saturating_sub(self.since_ms) as f64;
        self.since_ms = now_ms.max(self.since_ms);
        self.left = (self.left + passed_ms * self.per_ms).min(self.most);
        let has_one = self.left >= 1.0;
        if has_one {
            self.left -= 1.0;
        }
        has_one
    }
}

/// One account.
#[derive(Debug)]
pub(crate) struct Account {
    put: Quota,
    create: Quota,
    streams: HashSet<Arc<Target>>,
    /// When nothing is answered but 503.
    pub(crate) outage_ms: Range<u64>,
    pub(crate) puts: u64,
    pub(crate) creates: u64,
    pub(crate) throttled: u64,
    pub(crate) failed: u64,
}

impl Account {
    /// One whose quotas are for so many agents what the real ones are for a fleet.
    pub(crate) fn new(agents: u64, fleet: u64) -> Self {
        let share = agents as f64 / fleet as f64;
        Self {
            put: Quota::new(PUTS_PER_S as f64 * share),
            create: Quota::new(CREATES_PER_S as f64 * share),
            streams: HashSet::new(),
            outage_ms: 0..0,
            puts: 0,
            creates: 0,
            throttled: 0,
            failed: 0,
        }
    }

    /// A stream that was there before.
    pub(crate) fn has(&mut self, target: Target) {
        self.streams.insert(Arc::new(target));
    }

    /// PutLogEvents.
    pub(crate) fn put(&mut self, target: &Arc<Target>, now_ms: u64) -> Result<(), ServiceError> {
        self.puts += 1;
        self.is_up(now_ms)?;
        let has_room = self.put.takes(now_ms);
        self.within(has_room)?;
        match self.streams.contains(target) {
            true => Ok(()),
            false => Err(error(
                ErrorClass::MissingTarget,
                "ResourceNotFoundException",
            )),
        }
    }

    /// CreateLogStream.
    pub(crate) fn create(&mut self, target: &Target, now_ms: u64) -> Result<(), ServiceError> {
        self.creates += 1;
        self.is_up(now_ms)?;
        let has_room = self.create.takes(now_ms);
        self.within(has_room)?;
        self.streams.insert(Arc::new(target.clone()));
        Ok(())
    }

    fn is_up(&mut self, now_ms: u64) -> Result<(), ServiceError> {
        if self.outage_ms.contains(&now_ms) {
            self.failed += 1;
            return Err(error(ErrorClass::RetrySoon, "ServiceUnavailableException"));
        }
        Ok(())
    }

    fn within(&mut self, has_room: bool) -> Result<(), ServiceError> {
        if !has_room {
            self.throttled += 1;
            return Err(error(ErrorClass::Throttled, "ThrottlingException"));
        }
        Ok(())
    }
}

fn error(class: ErrorClass, code: &str) -> ServiceError {
    ServiceError {
        class,
        code: code.to_owned(),
        message: String::new(),
    }
}
