//! What is sent to try a permission, where the agent's own calls would say more than is known yet.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::config::metric::BuiltinMetric;
use crate::config::template::{Rendered, Variable, Vars};
use crate::config::{Identity, Source};
use crate::event::{Batch, EpochMs, FileOrigin, Origin, Piece, Slot, Target};
use crate::events::SOURCE;
use crate::ports::{Datum, EventEntry, Numbers};

/// Where a source's lines go, where that is the same for all its files.
pub(super) fn target(source: &Source, identity: &Identity) -> Option<Target> {
    let of_files = [
        Variable::DeploymentId,
        Variable::DeploymentGroupId,
        Variable::FileName,
    ];
    let mut variables = source.group.variables().chain(source.stream.variables());
    if variables.any(|variable| of_files.contains(variable)) {
        return None;
    }
    let vars = Vars {
        identity,
        source: &source.name,
        file_name: "",
        deployment_id: None,
        deployment_group_id: None,
    };
    match (source.group.render(&vars), source.stream.render(&vars)) {
        (Rendered::Name(group), Rendered::Name(stream)) => Some(Target { group, stream }),
        _ => None,
    }
}

/// One event that says where it comes from.
pub(super) fn line(target: Target, now_ms: EpochMs) -> Batch {
    let message = "deploywatch check --online: this stream can be written";
    let name = |text: &str| Value::from(text).to_string();
    let mut body = format!(
        "{{\"logGroupName\":{},\"logStreamName\":{},\"logEvents\":[",
        name(&target.group),
        name(&target.stream)
    );
    let head = body.len();
    body += &json!({ "timestamp": now_ms, "message": message }).to_string();
    let end = body.len();
    body += "]}";
    let bounded = |bytes: usize| u32::try_from(bytes).expect("names are short");
    Batch {
        target: Arc::new(target),
        body: body.into_bytes(),
        body_head: bounded(head),
        slots: vec![Slot {
            time_ms: now_ms,
            body_end: bounded(end),
            message_bytes: bounded(message.len()),
            piece: 0,
        }],
        pieces: vec![Piece {
            origin: Origin::Marker(0),
            file: Arc::new(FileOrigin {
                source: "check".into(),
                path: Path::new("").into(),
            }),
        }],
        counted_bytes: message.len() + 26,
    }
}

/// What tries whether metrics may be published: the zero that says that no bytes were lost, as it is
/// published each period. A heartbeat of 0 would look to an alarm as if the agent were dead.
const NOTHING_LOST: BuiltinMetric = BuiltinMetric::LostBytes;

/// A datum that no alarm acts on.
pub(super) fn datum(identity: &Identity, now_ms: EpochMs) -> Datum {
    let instance = identity.instance_id.iter();
    let instance = instance.map(|id| ("InstanceId".to_owned(), id.clone()));
    Datum {
        name: NOTHING_LOST.name().to_owned(),
        dimensions: instance.collect(),
        time_ms: now_ms,
        unit: NOTHING_LOST.unit().to_owned(),
        resolution_s: 60,
        numbers: Numbers::One(0.0),
    }
}

/// An event that cannot be taken: its detail is no JSON. The permission is judged for the whole
/// call, before any entry is looked at, so that what comes back for the entry tells of it.
pub(super) fn event(now_ms: EpochMs) -> EventEntry {
    EventEntry {
        time_ms: now_ms,
        source: SOURCE,
        detail_type: "Deploywatch Check",
        detail: "deploywatch check --online: no event".to_owned(),
        resources: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::config::alarm::PRESETS;
    use crate::config::metric::Statistic;

    /// Trying a permission sets off no alarm, whatever its statistic: what is published is a zero that
    /// the agent fills each period with, and breaches no preset.
    #[test]
    fn trying_sets_off_no_alarm() {
        let datum = datum(&Identity::default(), 1);
        let named = |metric: &&BuiltinMetric| metric.name() == datum.name;
        let metric = BuiltinMetric::ALL.iter().find(named).unwrap();
        assert_eq!(metric.statistic(), Statistic::Sum);
        assert_eq!(datum.numbers, Numbers::One(0.0));
        let told = PRESETS.iter().map(|preset| {
            let (name, sns) = (preset.name, "arn:aws:sns:eu-west-1:111122223333:oncall");
            format!("[[alarm]]\npreset = \"{name}\"\nactions = [\"{sns}\"]\n")
        });
        let (config, _) = Config::parse(&[("a.toml".into(), told.collect())]).unwrap();
        let alarms = config.alarms.alarms.iter();
        for alarm in alarms.filter(|alarm| alarm.metric == datum.name) {
            assert!(!alarm.comparison.holds(0.0, alarm.threshold), "{alarm:?}");
        }
    }
}
