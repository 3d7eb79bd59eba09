//! What numbers belong to: a metric under one of its dimension sets, as far as it is known when
//! the number comes. Values of the machine are filled in when the data are sent, since they may
//! be learned later.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::config::Identity;
use crate::config::metric::{Dimension, DimensionSet, Statistic};

/// Longest value of a dimension in bytes (CloudWatch API reference, Dimension).
const VALUE_BYTES_MAX: usize = 1024;

/// Longest value told by a line, in bytes: what is longer is no name but a text, and is cut.
const LABEL_BYTES_MAX: usize = 255;

/// A metric under one set of dimensions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Series {
    /// Metric name.
    pub(super) name: String,
    /// One of CloudWatch's units.
    pub(super) unit: String,
    /// `StorageResolution` in seconds.
    pub(super) resolution_s: u32,
    /// How its numbers become one datum.
    pub(super) statistic: Statistic,
    /// Its dimensions, with the value where it is not one of the machine's.
    pub(super) dimensions: Vec<(Dimension, Option<String>)>,
}

/// What is known of a series' dimensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// All values.
    Known(Vec<(String, String)>),
    /// A value of the machine may still be learned.
    Waiting,
    /// This instance has no value for the dimension of that name.
    Nowhere(String),
}

impl Series {
    /// The dimensions with the machine's values.
    pub(super) fn place(&self, identity: &Identity) -> Place {
        let mut dimensions = Vec::with_capacity(self.dimensions.len());
        for (dimension, label) in &self.dimensions {
            let value = match label {
                Some(label) => Some(label.clone()),
                None => of_the_machine(dimension, identity).and_then(|v| clean(v, VALUE_BYTES_MAX)),
            };
            match value {
                Some(value) => dimensions.push((dimension.name().to_owned(), value)),
                None if !identity.complete => return Place::Waiting,
                None => return Place::Nowhere(dimension.name().to_owned()),
            }
        }
        Place::Known(dimensions)
    }

    /// Bytes its labels take.
    fn label_bytes(&self) -> usize {
        let labels = self
            .dimensions
            .iter()
            .filter_map(|(_, label)| label.as_ref());
        labels.map(String::len).sum()
    }
}

fn of_the_machine<'i>(dimension: &Dimension, identity: &'i Identity) -> Option<&'i str> {
    match dimension {
        Dimension::InstanceId => identity.instance_id.as_deref(),
        Dimension::AutoScalingGroupName => identity.asg.as_deref(),
        Dimension::Hostname => identity.hostname.as_deref(),
        Dimension::Region => identity.region.as_deref(),
        Dimension::AccountId => identity.account_id.as_deref(),
        Dimension::Tag(name) => identity.tags.get(name).map(String::as_str),
        Dimension::LifecycleEvent | Dimension::Group(_) => None,
    }
}

/// A value as the service takes it: what is not printable ASCII becomes `_`, blanks around it and
/// what is too long go. `None` where nothing is left.
fn clean(value: &str, bytes_max: usize) -> Option<String> {
    let allowed = |c: char| {
        if c == ' ' || c.is_ascii_graphic() {
            c
        } else {
            '_'
        }
    };
    let cut: String = value.trim().chars().take(bytes_max).map(allowed).collect();
    let cut = cut.trim_end();
    (!cut.is_empty()).then(|| cut.to_owned())
}

/// A value told by a line, as a dimension takes it; `None` where there is nothing in it.
pub(super) fn label(value: &str) -> Option<String> {
    clean(value, LABEL_BYTES_MAX)
}

/// All series of one metric under one set: one, or one for each combination of labels.
#[derive(Debug)]
pub(super) struct Family {
    /// The series without its labels.
    template: Series,
    /// By labels, with when each was last used (ms of the clock that never goes back).
    members: BTreeMap<Vec<String>, (Arc<Series>, u64)>,
    /// How many may be kept apart.
    members_max: usize,
}

/// Why there is no series for some labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Crowded;

impl Family {
    pub(super) fn new(template: Series, members_max: usize) -> Self {
        Self {
            template,
            members: BTreeMap::new(),
            members_max,
        }
    }

    /// The dimensions that labels must be given for, in their order.
    pub(super) fn asks(&self) -> impl Iterator<Item = &Dimension> {
        let dimensions = self
            .template
            .dimensions
            .iter()
            .map(|(dimension, _)| dimension);
        dimensions.filter(|d| matches!(d, Dimension::Group(_) | Dimension::LifecycleEvent))
    }

    /// The series of these labels. `room` is how many bytes of labels a new one may take, and is
    /// used up.
    pub(super) fn series(
        &mut self,
        labels: &[String],
        mono_ms: u64,
        room: &mut usize,
    ) -> Result<Arc<Series>, Crowded> {
        if let Some((series, used_ms)) = self.members.get_mut(labels) {
            *used_ms = mono_ms;
            return Ok(Arc::clone(series));
        }
        let mut series = self.template.clone();
        let mut rest = labels.iter();
        for (dimension, label) in &mut series.dimensions {
            if matches!(dimension, Dimension::Group(_) | Dimension::LifecycleEvent) {
                *label = rest.next().cloned();
            }
        }
        let bytes = series.label_bytes();
        if self.members.len() >= self.members_max || bytes > *room {
            return Err(Crowded);
        }
        *room -= bytes;
        let series = Arc::new(series);
        let member = (Arc::clone(&series), mono_ms);
        self.members.insert(labels.to_vec(), member);
        Ok(series)
    }

    /// Lets go of series with labels that were not used for a while; how many bytes of labels
    /// that frees.
    pub(super) fn forget_unused_since(&mut self, mono_ms: u64) -> usize {
        let mut freed = 0;
        self.members.retain(|labels, (series, used_ms)| {
            let stays = labels.is_empty() || *used_ms >= mono_ms;
            freed += if stays { 0 } else { series.label_bytes() };
            stays
        });
        freed
    }

    /// Takes back a series that an earlier run knew; false if it is none of this family.
    pub(super) fn restore(&mut self, series: &Series, room: &mut usize) -> bool {
        let bare = series.dimensions.iter().map(|(dimension, _)| dimension);
        let same = series.name == self.template.name
            && bare.eq(self
                .template
                .dimensions
                .iter()
                .map(|(dimension, _)| dimension));
        let labels = series
            .dimensions
            .iter()
            .filter_map(|(_, label)| label.clone());
        let labels: Vec<String> = labels.collect();
        same && labels.len() == self.asks().count() && self.series(&labels, 0, room).is_ok()
    }

    /// The series that lines made.
    pub(super) fn labelled(&self) -> impl Iterator<Item = &Arc<Series>> {
        let members = self.members.iter().filter(|(labels, _)| !labels.is_empty());
        members.map(|(_, (series, _))| series)
    }
}

/// The families of one metric, one for each of its sets.
pub(super) fn families(
    template: &Series,
    sets: &[DimensionSet],
    members_max: usize,
) -> Vec<Family> {
    let families = sets.iter().map(|set| {
        let dimensions = set.0.iter().map(|dimension| (dimension.clone(), None));
        let template = Series {
            dimensions: dimensions.collect(),
            ..template.clone()
        };
        Family::new(template, members_max)
    });
    families.collect()
}
