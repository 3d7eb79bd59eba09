//! What one seed does: a random subset of troubles and writers with random rates, so that no two
//! seeds test the same mixture and no trouble hides another.

use std::fmt::Write as _;
use std::path::Path;

use crate::oracle::counts::LINES;
use crate::oracle::{Clockwork, Expect, Told};
use crate::world::watch::Hearing;
use crate::world::wire::Mood;

/// Where the CodeDeploy agent writes.
pub(crate) const LOG_DIR: &str = "/var/log/aws/codedeploy-agent";
/// Where deployments lie.
pub(crate) const ROOT_DIR: &str = "/opt/codedeploy-agent/deployment-root";
/// Where the user's application writes.
pub(crate) const APP_DIR: &str = "/var/log/app";
/// The CodeDeploy agent's own configuration.
pub(crate) const CODEDEPLOY_YML: &str = "/etc/codedeploy-agent/conf/codedeployagent.yml";

const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;

/// Something goes wrong for a while.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Trouble {
    Throttled(f64),
    Errors(f64),
    Timeouts(f64),
    LostAnswers(f64),
    Slow(u64),
    Down,
    Expired,
    Denied(&'static str),
    DiskFull,
    FileErrors(f64),
}

/// A trouble and when.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    pub(crate) from_ms: u64,
    pub(crate) to_ms: u64,
    pub(crate) trouble: Trouble,
}

/// Chances of things that happen to the process and the machine, per minute.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Blows {
    pub(crate) kill: f64,
    pub(crate) stop: f64,
    pub(crate) power_cut: f64,
    pub(crate) clock_jump: f64,
    pub(crate) group_deleted: f64,
    pub(crate) reload: f64,
    /// At most so long until the agent is started again.
    pub(crate) down_ms_max: u64,
}

/// What writers do besides writing plain lines. Each is a weight or a chance; 0 = never.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Habits {
    pub(crate) codedeploy: bool,
    pub(crate) app_files: usize,
    pub(crate) rename: u32,
    pub(crate) dated: u32,
    pub(crate) copy_truncate: u32,
    pub(crate) ruby_roll: u32,
    pub(crate) rolls_at_once: u32,
    pub(crate) late_write: bool,
    pub(crate) truncate: u32,
    pub(crate) delete: u32,
    pub(crate) new_deployment: u32,
    pub(crate) chmod: u32,
    /// Commands of the CodeDeploy service that fail.
    pub(crate) hooks: u32,
    pub(crate) half: f64,
    pub(crate) broken: f64,
    pub(crate) giant: f64,
    pub(crate) poison: f64,
    pub(crate) odd_dates: f64,
    pub(crate) empty: f64,
    pub(crate) crlf: bool,
    pub(crate) strangers: bool,
    /// Greatest pause between two doings.
    pub(crate) gap_ms_max: u64,
    pub(crate) burst_lines_max: usize,
}

/// Which of the application's files the agent is told to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AppPattern {
    /// `*.log`: rotated names like `app1.log.1` are not named, dated ones are.
    Live,
    /// `*.log*`: everything is named.
    All,
}

/// What one seed does.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// How long there is trouble and writing.
    pub(crate) span_ms: u64,
    pub(crate) hearing: Hearing,
    pub(crate) reuse_inodes: bool,
    pub(crate) groups_exist: bool,
    pub(crate) identity_delay_ms: u64,
    pub(crate) app_pattern: AppPattern,
    pub(crate) app_shares_stream: bool,
    pub(crate) windows: Vec<Window>,
    /// What goes wrong with EventBridge, which has its own troubles.
    pub(crate) bus_windows: Vec<Window>,
    pub(crate) blows: Blows,
    pub(crate) habits: Habits,
    /// Whether the application's lines are counted by a metric, and how exactly.
    pub(crate) counting: Counting,
}

/// What is expected of a metric that counts the application's lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counting {
    /// That its calls break no rule.
    Legally,
    /// That it adds up: nobody copies, damages or splits what is written.
    Exactly,
}

impl Plan {
    /// Everything the seed decides.
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x91a7);
        let span_ms = match rng.u8(0..20) {
            0 => rng.u64(HOUR_MS..6 * HOUR_MS),
            1..=9 => rng.u64(5_000..MINUTE_MS),
            _ => rng.u64(MINUTE_MS..20 * MINUTE_MS),
        };
        let hearing = match rng.u8(0..8) {
            0..=3 => Hearing::Perfect,
            4 => Hearing::Lossy([0.01, 0.3, 1.0][rng.usize(0..3)]),
            5 | 6 => Hearing::Overflowing(0.05),
            _ => Hearing::Absent,
        };
        Self {
            seed,
            span_ms,
            hearing,
            reuse_inodes: rng.bool(),
            groups_exist: rng.bool(),
            identity_delay_ms: if rng.bool() { 0 } else { rng.u64(0..90_000) },
            app_pattern: if rng.bool() {
                AppPattern::Live
            } else {
                AppPattern::All
            },
            app_shares_stream: rng.bool(),
            windows: windows(&mut rng, span_ms),
            bus_windows: Vec::new(),
            blows: blows(seed, &mut rng, span_ms),
            habits: habits(&mut rng, span_ms),
            counting: Counting::Legally,
        }
    }

    /// Kills, stops, outages, lost answers and renames, with an application that writes nothing but
    /// whole lines of today: what must add up to the line.
    pub(crate) fn counting(seed: u64) -> Self {
        let mut plan = Self::new(seed);
        let habits = plan.habits;
        plan.habits = Habits {
            codedeploy: habits.codedeploy,
            app_files: habits.app_files.max(1),
            rename: habits.rename,
            rolls_at_once: habits.rolls_at_once,
            new_deployment: habits.new_deployment,
            gap_ms_max: habits.gap_ms_max,
            burst_lines_max: habits.burst_lines_max,
            ..Habits::default()
        };
        plan.blows = Blows {
            kill: plan.blows.kill,
            stop: plan.blows.stop,
            reload: plan.blows.reload,
            down_ms_max: plan.blows.down_ms_max,
            ..Blows::default()
        };
        let below =
            |window: &Window| matches!(window.trouble, Trouble::FileErrors(_) | Trouble::DiskFull);
        plan.windows.retain(|window| !below(window));
        plan.counting = Counting::Exactly;
        plan
    }

    /// The same writers and blows, with deployments that fail, and an EventBridge with troubles of its
    /// own: each failure is to be told there once.
    pub(crate) fn telling(seed: u64) -> Self {
        let mut plan = Self::counting(seed);
        let mut rng = fastrand::Rng::with_seed(seed ^ 0x7e11);
        plan.habits.codedeploy = true;
        plan.habits.hooks = 12;
        while plan.bus_windows.len() < 4 {
            plan.bus_windows.extend(windows(&mut rng, plan.span_ms));
        }
        plan
    }

    /// Whether incidents are told to EventBridge.
    pub(crate) fn is_telling(&self) -> bool {
        self.habits.hooks > 0
    }

    /// More long lines than fit into memory while the service is away.
    pub(crate) fn flooding(seed: u64) -> Self {
        let mut plan = Self::gentle(seed);
        plan.span_ms = MINUTE_MS;
        plan.windows = vec![Window {
            from_ms: 0,
            to_ms: MINUTE_MS,
            trouble: Trouble::Down,
        }];
        plan.blows = Blows {
            down_ms_max: 500,
            ..Blows::default()
        };
        plan.habits = Habits {
            app_files: 3,
            giant: 0.6,
            gap_ms_max: 2_000,
            burst_lines_max: 3,
            ..Habits::default()
        };
        plan
    }

    /// A machine without troubles but outages, kills and renames: what a naive reader survives.
    pub(crate) fn gentle(seed: u64) -> Self {
        let mut plan = Self::new(seed);
        let mut rng = fastrand::Rng::with_seed(seed);
        plan.span_ms = rng.u64(MINUTE_MS..5 * MINUTE_MS);
        plan.hearing = Hearing::Absent;
        plan.reuse_inodes = false;
        plan.groups_exist = false;
        plan.identity_delay_ms = 0;
        plan.app_pattern = AppPattern::Live;
        plan.windows = vec![Window {
            from_ms: 20_000,
            to_ms: 50_000,
            trouble: [
                Trouble::Down,
                Trouble::Throttled(0.7),
                Trouble::LostAnswers(0.5),
            ][rng.usize(0..3)]
            .clone(),
        }];
        plan.blows = Blows {
            kill: 1.0,
            down_ms_max: 20_000,
            ..Blows::default()
        };
        plan.habits = Habits {
            codedeploy: true,
            app_files: 2,
            rename: 3,
            new_deployment: 0,
            half: 0.1,
            gap_ms_max: 3_000,
            burst_lines_max: 20,
            ..Habits::default()
        };
        plan
    }

    /// What may be expected of the agent beyond the promises' letter.
    pub(crate) fn expect(&self) -> Expect {
        let deaf = matches!(self.hearing, Hearing::Lossy(_));
        Expect {
            found_ms: if deaf { 3 * MINUTE_MS } else { 45_000 },
            // While a guilty event is looked for, its neighbours are delivered but not settled.
            saved_ms: if self.habits.poison > 0.0 {
                u64::MAX
            } else {
                4_000
            },
            clock: if self.blows.clock_jump > 0.0 {
                Clockwork::Jumping
            } else {
                Clockwork::Steady
            },
        }
    }

    /// The service's mood at a moment; none of the troubles once the span is over.
    pub(crate) fn mood(&self, ms: u64) -> Mood {
        mood(self.troubles(ms))
    }

    /// EventBridge's, likewise.
    pub(crate) fn bus_mood(&self, ms: u64) -> Mood {
        mood(at(&self.bus_windows, ms))
    }

    /// What goes wrong at a moment.
    pub(crate) fn troubles(&self, ms: u64) -> impl Iterator<Item = &Trouble> {
        at(&self.windows, ms)
    }

    /// When the next trouble begins or ends.
    pub(crate) fn next_change_ms(&self, ms: u64) -> Option<u64> {
        self.windows
            .iter()
            .chain(&self.bus_windows)
            .flat_map(|window| [window.from_ms, window.to_ms])
            .filter(|at| *at > ms)
            .min()
    }

    /// Whether the agent is told to read a path.
    pub(crate) fn told(&self) -> Box<dyn Fn(&Path) -> Told> {
        let all = self.app_pattern == AppPattern::All;
        Box::new(move |path| told(path, all))
    }

    /// The agent's configuration file.
    pub(crate) fn config(&self) -> String {
        let mut text = String::new();
        let pattern = match self.app_pattern {
            AppPattern::Live => "*.log",
            AppPattern::All => "*.log*",
        };
        let stream = if self.app_shares_stream {
            "{instance_id}"
        } else {
            "{instance_id}/{file_name}"
        };
        write!(
            text,
            "[codedeploy]\nconfig_file = \"{CODEDEPLOY_YML}\"\n\n[[source]]\nname = \"app\"\n\
             paths = [\"{APP_DIR}/{pattern}\"]\ngroup = \"/app\"\nstream = \"{stream}\"\n\n\
             [[metric]]\nname = \"{LINES}\"\nsource = \"app\"\npattern = \".\"\n"
        )
        .expect("a string takes all");
        if self.is_telling() {
            text.push_str("\n[events]\nenabled = true\n");
        }
        text
    }
}

/// The mood that troubles make.
fn mood<'a>(troubles: impl Iterator<Item = &'a Trouble>) -> Mood {
    let mut mood = Mood::default();
    for trouble in troubles {
        match trouble {
            Trouble::Throttled(share) => mood.throttle = *share,
            Trouble::Errors(share) => mood.error = *share,
            Trouble::Timeouts(share) => mood.timeout = *share,
            Trouble::LostAnswers(share) => mood.lost_answer = *share,
            Trouble::Slow(ms) => mood.slow_ms = *ms,
            Trouble::Down => mood.down = true,
            Trouble::Expired => mood.expired = true,
            Trouble::Denied(group) => mood.denied = Some((*group).to_owned()),
            Trouble::DiskFull | Trouble::FileErrors(_) => {}
        }
    }
    mood
}

/// What goes wrong at a moment.
fn at(windows: &[Window], ms: u64) -> impl Iterator<Item = &Trouble> {
    let now = windows
        .iter()
        .filter(move |window| window.from_ms <= ms && ms < window.to_ms);
    now.map(|window| &window.trouble)
}

/// The rules of [`Plan::told`].
fn told(path: &Path, all: bool) -> Told {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or("");
    let dir = path.parent().and_then(Path::to_str).unwrap_or("");
    if dir == APP_DIR && name.starts_with("app") {
        let named = if all {
            name.contains(".log")
        } else {
            name.ends_with(".log")
        };
        return if named { Told::Named } else { Told::Sibling };
    }
    if dir == LOG_DIR && name.starts_with("codedeploy-agent.") {
        return match name {
            "codedeploy-agent.log" => Told::Named,
            "codedeploy-agent.log.age" => Told::No,
            _ => Told::Sibling,
        };
    }
    if !path.starts_with(ROOT_DIR) {
        return Told::No;
    }
    let deployments = "codedeploy-agent-deployments.log";
    match name {
        "scripts.log" if dir.ends_with("/logs") => Told::Named,
        _ if name == deployments => Told::Named,
        _ if name.starts_with(deployments) => Told::Sibling,
        _ => Told::No,
    }
}

fn windows(rng: &mut fastrand::Rng, span_ms: u64) -> Vec<Window> {
    let count = [0, 0, 1, 2, 4, 8][rng.usize(0..6)];
    let groups = ["/app", "/codedeploy/agent", "/codedeploy/scripts"];
    (0..count)
        .map(|_| {
            let from_ms = rng.u64(0..span_ms);
            let longest = if rng.u8(0..4) == 0 {
                span_ms
            } else {
                span_ms.min(90_000)
            };
            let share = [0.05, 0.5, 1.0][rng.usize(0..3)];
            Window {
                from_ms,
                to_ms: (from_ms + rng.u64(1_000..=longest.max(1_001))).min(span_ms),
                trouble: match rng.u8(0..10) {
                    0 => Trouble::Throttled(share),
                    1 => Trouble::Errors(share),
                    2 => Trouble::Timeouts(share),
                    3 => Trouble::LostAnswers(share),
                    4 => Trouble::Slow(rng.u64(100..20_000)),
                    5 => Trouble::Down,
                    6 => Trouble::Expired,
                    7 => Trouble::Denied(groups[rng.usize(0..3)]),
                    8 => Trouble::DiskFull,
                    _ => Trouble::FileErrors([0.01, 0.2][rng.usize(0..2)]),
                },
            }
        })
        .collect()
}

/// A rate per minute that makes about `1..=times` of a thing in the span.
fn rate(rng: &mut fastrand::Rng, span_ms: u64, times: f64) -> f64 {
    match rng.u8(0..3) {
        0 => times * rng.f64() * 60_000.0 / span_ms as f64,
        _ => 0.0,
    }
}

fn blows(seed: u64, rng: &mut fastrand::Rng, span_ms: u64) -> Blows {
    Blows {
        kill: rate(rng, span_ms, 8.0),
        stop: rate(rng, span_ms, 6.0),
        power_cut: rate(rng, span_ms, 4.0),
        clock_jump: rate(rng, span_ms, 4.0),
        group_deleted: rate(rng, span_ms, 2.0),
        // From a generator of its own, so that every seed is what it was.
        reload: rate(&mut fastrand::Rng::with_seed(seed ^ 0x4e10), span_ms, 12.0),
        down_ms_max: [500, 30_000, span_ms / 3 + 1][rng.usize(0..3)],
    }
}

fn habits(rng: &mut fastrand::Rng, span_ms: u64) -> Habits {
    let mut some = |weight: u32| if rng.bool() { weight } else { 0 };
    let weights = [
        some(3),
        some(3),
        some(3),
        some(3),
        some(2),
        some(1),
        some(2),
        some(3),
        some(1),
    ];
    let [
        rename,
        dated,
        copy_truncate,
        ruby_roll,
        rolls_at_once,
        truncate,
        delete,
        new_deployment,
        chmod,
    ] = weights;
    let mut share = |most: f64| {
        if rng.u8(0..3) == 0 {
            most * rng.f64()
        } else {
            0.0
        }
    };
    let (half, broken, giant) = (share(0.5), share(0.2), share(0.002));
    let (poison, odd_dates, empty) = (share(0.02), share(0.05), share(0.3));
    Habits {
        codedeploy: rng.u8(0..4) > 0,
        app_files: rng.usize(0..4),
        rename,
        dated,
        copy_truncate,
        ruby_roll,
        rolls_at_once,
        late_write: rng.bool(),
        truncate,
        delete,
        new_deployment,
        chmod,
        hooks: 0,
        half,
        broken,
        giant,
        poison,
        odd_dates,
        empty,
        crlf: rng.u8(0..5) == 0,
        strangers: rng.bool(),
        gap_ms_max: (span_ms / [20, 60, 150][rng.usize(0..3)]).max(20),
        burst_lines_max: [2, 10, 60][rng.usize(0..3)],
    }
}
