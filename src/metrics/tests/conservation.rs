//! The sum of what is delivered is the sum of what was counted, each count in its own period.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// What can happen.
#[derive(Clone, Debug)]
enum Action {
    /// A deployment failed so long ago.
    Count(u32),
    /// A line of the user's, of one of some shops, so long ago.
    Hear(u8, u32),
    Gauge(u8),
    Pass(u32),
    Jump(i32),
    Save,
    Kill,
    Learn,
    Mood(Mood),
}

fn action() -> impl Strategy<Value = Action> {
    let ago_ms = || 0_u32..3 * 3_600_000;
    prop_oneof![
        3 => ago_ms().prop_map(Action::Count),
        2 => (0_u8..4, ago_ms()).prop_map(|(shop, ago)| Action::Hear(shop, ago)),
        1 => (0_u8..9).prop_map(Action::Gauge),
        4 => (1_u32..100_000).prop_map(Action::Pass),
        1 => (-3_000_000_i32..3_000_000).prop_map(Action::Jump),
        4 => Just(Action::Save),
        1 => Just(Action::Kill),
        2 => Just(Action::Learn),
        3 => prop_oneof![
            3 => Just(Mood::Well),
            1 => Just(Mood::Deaf),
            1 => Just(Mood::Silent),
            1 => Just(Mood::Refusing(ErrorClass::RetrySoon)),
            1 => Just(Mood::Refusing(ErrorClass::Throttled)),
            1 => Just(Mood::Refusing(ErrorClass::RetrySlowly)),
        ].prop_map(Action::Mood),
    ]
}

const SHOPS: &str = "[[metric]]\nname = \"Sold\"\nsource = \"app\"\nstatistic = \"sum\"\n\
    pattern = 'shop=(?<Shop>\\S+) n=(?<value>\\d+)'\ndimensions = [[\"Shop\"], []]\n";

/// One count: every one is another power of two, so that sums tell which are in them.
#[derive(Clone, Debug)]
struct Counted {
    shop: Option<u8>,
    value: f64,
    at_ms: EpochMs,
}

/// By name, dimensions and time.
type Sums = BTreeMap<(String, String, EpochMs), f64>;

struct Model {
    config: MetricsConfig,
    metrics: Metrics,
    service: Service,
    now: Now,
    disk: String,
    /// Counts that the disk does not know: their lines are read again after a kill.
    unsaved: Vec<Counted>,
    expected: Sums,
    next_value: f64,
    /// Calls taken that were judged.
    judged: usize,
    /// A call that was taken, and whether that is known is not on disk yet.
    doubtful: Option<Vec<Datum>>,
    delivered: Sums,
    gauges: BTreeMap<(String, EpochMs), u32>,
    wall_slip_ms: EpochMs,
    saved_mono_ms: u64,
}

impl Model {
    fn new(period: &str) -> Self {
        let config = config(&format!("[metrics]\nperiod = \"{period}\"\n{SHOPS}"));
        let metrics = Metrics::new(&config, None, 1);
        Self {
            disk: serde_json::to_string(&metrics.saved()).unwrap(),
            config,
            metrics,
            service: Service::new(),
            now: Now {
                mono_ms: 0,
                wall_ms: NOON_MS + 12_345,
            },
            unsaved: Vec::new(),
            expected: Sums::new(),
            next_value: 1.0,
            judged: 0,
            doubtful: None,
            delivered: Sums::new(),
            gauges: BTreeMap::new(),
            wall_slip_ms: 0,
            saved_mono_ms: 0,
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Count(ago_ms) => self.counted(None, ago_ms),
            Action::Hear(shop, ago_ms) => self.counted(Some(shop), ago_ms),
            Action::Gauge(value) => {
                let value = f64::from(value);
                self.metrics
                    .gauge(BuiltinMetric::DeploymentRunningSeconds, Some(value));
            }
            Action::Pass(ms) => {
                self.now.mono_ms += u64::from(ms);
                self.now.wall_ms += EpochMs::from(ms);
            }
            Action::Jump(ms) => {
                // Not so far that the service would refuse what was counted before.
                let slip_ms = (self.wall_slip_ms + EpochMs::from(ms)).clamp(0, 6_000_000);
                // What is read again after the date was set back is dated ahead, and refused.
                if slip_ms < self.wall_slip_ms {
                    self.save();
                }
                self.now.wall_ms += slip_ms - self.wall_slip_ms;
                self.wall_slip_ms = slip_ms;
            }
            Action::Save => self.save(),
            Action::Kill => self.kill(),
            Action::Learn => self.metrics.learn(&identity()),
            Action::Mood(mood) => self.service.mood = mood,
        }
        // Longer than this the agent does not go without saving, but for a full disk.
        if self.now.mono_ms > self.saved_mono_ms + 20_000 {
            self.save();
        }
        self.metrics
            .step(self.now, &mut self.service, &mut OpenBorder);
        self.judge();
    }

    fn counted(&mut self, shop: Option<u8>, ago_ms: u32) {
        if self.next_value > 1e15 {
            return;
        }
        let counted = Counted {
            shop,
            value: self.next_value,
            at_ms: self.now.wall_ms - EpochMs::from(ago_ms),
        };
        self.next_value *= 2.0;
        let period_ms = EpochMs::from(self.config.period_s) * 1000;
        let at_ms = counted.at_ms / period_ms * period_ms;
        let names = match shop {
            None => vec![("DeploymentsFailed", "InstanceId=i-1".to_owned())],
            Some(shop) => vec![("Sold", format!("Shop=s{shop}")), ("Sold", String::new())],
        };
        for (name, dimensions) in names {
            *self
                .expected
                .entry((name.to_owned(), dimensions, at_ms))
                .or_default() += counted.value;
        }
        self.say(&counted);
        self.unsaved.push(counted);
    }

    fn say(&mut self, counted: &Counted) {
        let Counted { shop, value, at_ms } = counted;
        match shop {
            None => self
                .metrics
                .count(BuiltinMetric::DeploymentsFailed, *value, *at_ms),
            Some(shop) => {
                let text = format!("shop=s{shop} n={value}");
                self.metrics.hear("app", &text, *at_ms);
            }
        }
    }

    fn save(&mut self) {
        let saved = self.metrics.saved();
        self.disk = serde_json::to_string(&saved).unwrap();
        self.unsaved.clear();
        self.saved_mono_ms = self.now.mono_ms;
        let waits = |data: &Vec<Datum>| self.disk.contains(&serde_json::to_string(data).unwrap());
        self.doubtful = self.doubtful.take().filter(waits);
        self.metrics.confirm_saved(saved.version);
        assert!(!self.metrics.is_dirty());
    }

    fn kill(&mut self) {
        let saved = serde_json::from_str(&self.disk).unwrap();
        self.metrics = Metrics::new(&self.config, Some(saved), 2);
        self.service.answers.clear();
        for counted in self.unsaved.clone() {
            self.say(&counted);
        }
    }

    /// Adds up what was delivered; a call that is repeated word for word because nobody could
    /// know that it was taken is counted once.
    fn judge(&mut self) {
        while let Some(data) = self.service.taken.get(self.judged) {
            self.judged += 1;
            if self.doubtful.as_ref() == Some(data) {
                continue;
            }
            self.doubtful = Some(data.clone());
            for datum in data {
                let dimensions: Vec<String> = datum
                    .dimensions
                    .iter()
                    .map(|(n, v)| format!("{n}={v}"))
                    .collect();
                let Numbers::One(value) = datum.numbers else {
                    panic!("{datum:?}");
                };
                if datum.name == "DeploymentRunningSeconds" || datum.name == "Heartbeat" {
                    let times = self
                        .gauges
                        .entry((datum.name.clone(), datum.time_ms))
                        .or_default();
                    *times += 1;
                    assert_eq!(*times, 1, "a gauge came twice: {datum:?}");
                }
                if value != 0.0 && (datum.name == "DeploymentsFailed" || datum.name == "Sold") {
                    let key = (datum.name.clone(), dimensions.join(","), datum.time_ms);
                    *self.delivered.entry(key).or_default() += value;
                }
            }
        }
    }

    /// All faults end, and so does the agent.
    fn end(&mut self) {
        self.service.mood = Mood::Well;
        // What was in flight without an answer is only known to be undone after a kill.
        self.save();
        self.kill();
        self.metrics.learn(&identity());
        self.metrics.stop();
        for _ in 0..200 {
            self.act(Action::Save);
            self.act(Action::Pass(1_000));
            if self.metrics.is_idle() {
                return;
            }
        }
        panic!("not idle: {:?}", self.metrics.status(self.now));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// The sum of what is delivered is the sum of what was counted, each count in its own period,
    /// no gauge comes twice, and only a call in doubt is repeated: shown by playing any schedule of
    /// counts, saves, kills, answers, outages and clocks, with counts that sums tell apart.
    #[test]
    fn counts_are_conserved(
        period in prop_oneof![Just("60s"), Just("10s"), Just("5m")],
        actions in proptest::collection::vec(action(), 1..120),
    ) {
        let mut model = Model::new(period);
        for action in actions {
            model.act(action);
        }
        model.end();
        prop_assert_eq!(&model.delivered, &model.expected);
        let status = model.metrics.status(model.now);
        prop_assert_eq!(status.refused, BTreeMap::new());
        prop_assert_eq!(status.pending, 0);
    }
}
