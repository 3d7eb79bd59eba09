//! What must hold of everything that is counted: by a model that plays schedules of counts, saves,
//! kills, answers and clocks, and by single cases.

mod cases;
mod conservation;

use std::collections::VecDeque;
use std::path::PathBuf;

use super::*;
use crate::config::Config;
use crate::ports::{CallId, Datum, ErrorClass, MetricAnswer, MetricCall, Numbers, ServiceError};

/// A full hour, 2026-11-21T12:00:00Z.
const NOON_MS: EpochMs = 1_795_262_400_000;

const APP: &str = "[[source]]\nname = \"app\"\npaths = [\"/x/y\"]\n";

fn config(text: &str) -> MetricsConfig {
    let files = [(PathBuf::from("a.toml"), format!("{APP}{text}"))];
    Config::parse(&files).unwrap().0.metrics
}

fn identity() -> Identity {
    Identity {
        instance_id: Some("i-1".to_owned()),
        region: Some("eu-west-1".to_owned()),
        asg: Some(String::new()),
        complete: true,
        ..Identity::default()
    }
}

fn error(class: ErrorClass) -> ServiceError {
    ServiceError {
        class,
        code: "Code".to_owned(),
        message: "text".to_owned(),
    }
}

/// What the service does with the next calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    /// Takes them.
    Well,
    /// Takes them, and the answer is lost.
    Deaf,
    /// Does not take them, and says so.
    Refusing(ErrorClass),
    /// Does not answer. What was asked is never done.
    Silent,
}

/// A service that checks every call against the limits.
struct Service {
    mood: Mood,
    /// A datum of that name makes a call invalid.
    poison: Option<&'static str>,
    answers: VecDeque<MetricAnswer>,
    /// Every call that was taken.
    taken: Vec<Vec<Datum>>,
    calls: usize,
    /// By how much its date is ahead of the agent's.
    offset_ms: i64,
}

impl Service {
    fn new() -> Self {
        Self {
            mood: Mood::Well,
            poison: None,
            answers: VecDeque::new(),
            taken: Vec::new(),
            calls: 0,
            offset_ms: 0,
        }
    }

    /// Everything taken, in the order of name, time and coming.
    fn data(&self) -> Vec<&Datum> {
        let mut data: Vec<&Datum> = self.taken.iter().flatten().collect();
        data.sort_by(|a, b| (&a.name, a.time_ms).cmp(&(&b.name, b.time_ms)));
        data
    }

    /// The one-number data of a name, with the seconds since noon.
    fn ones(&self, name: &str) -> Vec<(i64, f64)> {
        let data = self.data().into_iter().filter(|datum| datum.name == name);
        data.map(|datum| match datum.numbers {
            Numbers::One(value) => ((datum.time_ms - NOON_MS) / 1000, value),
            ref other => panic!("{other:?}"),
        })
        .collect()
    }
}

impl MetricService for Service {
    fn submit(&mut self, id: CallId, call: MetricCall) {
        self.calls += 1;
        check_call(&call);
        let poisoned = call
            .data
            .iter()
            .any(|datum| Some(&*datum.name) == self.poison);
        let mood = match poisoned {
            true => Mood::Refusing(ErrorClass::Invalid),
            false => self.mood,
        };
        if matches!(mood, Mood::Well | Mood::Deaf) {
            self.taken.push(call.data.to_vec());
        }
        let result = match mood {
            Mood::Well => Ok(()),
            Mood::Deaf => Err(error(ErrorClass::RetrySoon)),
            Mood::Refusing(class) => Err(error(class)),
            Mood::Silent => return,
        };
        self.answers.push_back(MetricAnswer { id, result });
    }

    fn answer(&mut self) -> Option<MetricAnswer> {
        self.answers.pop_front()
    }

    fn clock_offset_ms(&self) -> i64 {
        self.offset_ms
    }
}

/// The service's rules that a call must keep (CloudWatch API reference, PutMetricData).
fn check_call(call: &MetricCall) {
    assert!((1..=1000).contains(&call.data.len()), "{}", call.data.len());
    let name_is_good = |name: &str| {
        let printable = name.bytes().all(|b| (b' '..=b'~').contains(&b));
        (1..=255).contains(&name.len()) && printable && !name.trim().is_empty()
    };
    for datum in call.data.iter() {
        assert!(name_is_good(&datum.name), "{datum:?}");
        assert!(datum.dimensions.len() <= 30, "{datum:?}");
        for (name, value) in &datum.dimensions {
            assert!(name_is_good(name) && !name.starts_with(':'), "{datum:?}");
            assert!(value.len() <= 1024 && name_is_good(&value[..value.len().min(255)]));
        }
        assert_eq!(datum.time_ms % 10_000, 0, "{datum:?}");
        let numbers: Vec<f64> = match &datum.numbers {
            Numbers::One(value) => vec![*value],
            Numbers::Many(values) => {
                assert!((1..=150).contains(&values.len()));
                values.iter().flat_map(|(v, c)| [*v, *c]).collect()
            }
            Numbers::Summary(all) => vec![all.count, all.sum, all.min, all.max],
        };
        assert!(
            numbers.iter().all(|n| n.abs() <= 2_f64.powi(360)),
            "{datum:?}"
        );
    }
}

/// An agent with its clocks, whose state is saved after every step.
struct Agent {
    metrics: Metrics,
    service: Service,
    now: Now,
}

impl Agent {
    fn new(text: &str) -> Self {
        let mut metrics = Metrics::new(&config(text), None, 7);
        metrics.learn(&identity());
        let mut agent = Self {
            metrics,
            service: Service::new(),
            now: Now {
                mono_ms: 5_000,
                wall_ms: NOON_MS,
            },
        };
        agent.step();
        agent
    }

    fn step(&mut self) {
        // Twice: what is made in the first can leave in the second, saved in between.
        for _ in 0..2 {
            self.metrics
                .step(self.now, &mut self.service, &mut OpenBorder);
            let saved = self.metrics.saved();
            let text = serde_json::to_string(&saved).unwrap();
            let read: Saved = serde_json::from_str(&text).unwrap();
            assert!(
                serde_json::to_string(&read).unwrap() == text,
                "not read as written"
            );
            self.metrics.confirm_saved(saved.version);
        }
        self.metrics
            .step(self.now, &mut self.service, &mut OpenBorder);
    }

    fn pass(&mut self, ms: u64) {
        self.now.mono_ms += ms;
        self.now.wall_ms += ms as EpochMs;
        self.step();
    }

    /// Lets minutes pass, ten seconds at a time.
    fn minutes(&mut self, minutes: u64) {
        for _ in 0..minutes * 6 {
            self.pass(10_000);
        }
    }

    fn count(&mut self, metric: BuiltinMetric, value: f64) {
        self.metrics.count(metric, value, self.now.wall_ms);
    }

    fn hear(&mut self, text: &str) {
        self.metrics.hear("app", text, self.now.wall_ms);
    }

    /// Kills the process and starts it again.
    fn restart(&mut self, text: &str) {
        let saved = serde_json::to_string(&self.metrics.saved()).unwrap();
        let saved = serde_json::from_str(&saved).unwrap();
        self.metrics = Metrics::new(&config(text), Some(saved), 8);
        self.metrics.learn(&identity());
        self.service.answers.clear();
    }

    fn refused(&self, reason: &str) -> u64 {
        let status = self.metrics.status(self.now);
        status.refused.get(reason).copied().unwrap_or(0)
    }
}
