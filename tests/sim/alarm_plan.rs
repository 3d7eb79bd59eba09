//! What one seed of the alarms' simulation is about: which alarm, which machine, which troubles.

use deploywatch::config::alarm::PRESETS;

use super::alarm_codedeploy::Generation;

/// What an alarm is about, with the documented times of its evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// The CodeDeploy agent does not work.
    Dead,
    /// A deployment runs for too long.
    Hangs,
    /// The newest deployment of this boot failed.
    LastFailed,
    /// A deployment failed.
    Failed,
    /// EC2 says that the operating system cannot be reached.
    InstanceCheck,
    /// EC2 says that the hardware is broken.
    SystemCheck,
    /// Nothing is heard of us.
    Silent,
    /// Bytes were lost.
    Lost,
}

/// One seed's story.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// The name of the preset.
    pub(crate) preset: &'static str,
    pub(crate) subject: Subject,
    /// `Some`: what the alarm does to the instance.
    pub(crate) action: Option<&'static str>,
    /// Periods that are looked at.
    pub(crate) periods: u64,
    pub(crate) generation: Generation,
    pub(crate) span_ms: u64,
    /// After how long a deployment counts as hanging.
    pub(crate) hangs_after_s: u64,
    /// `false`: `alarms apply` made the alarm before the story begins.
    pub(crate) managed: bool,
    /// IAM actions the role lacks.
    pub(crate) denied: Vec<&'static str>,
    /// Whether the date is set wrong now and then.
    pub(crate) jumpy: bool,
    /// By how much at most, in ms. A request that is signed more than five minutes off is refused.
    pub(crate) jump_ms_max: i64,
    /// Whether a reboot mends what is broken: never, sometimes, always.
    pub(crate) heals: f64,
    /// How often something of the alarm's own subject happens, per minute.
    pub(crate) incidents: f64,
    /// Troubles of our agent and of the services, per minute.
    pub(crate) troubles: f64,
    /// What shuts the machine down tells its processes so, with this chance.
    pub(crate) clean_shutdowns: f64,
    /// Old checkpoints come back, logs are read again.
    pub(crate) rollbacks: bool,
    /// The services' troubles are those of the logs alone.
    pub(crate) is_logs_alone: bool,
}

const MINUTE_MS: u64 = 60_000;

impl Plan {
    /// Everything follows from the seed; each preset in turn.
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed ^ 0xa1a7);
        let preset = PRESETS[usize::try_from(seed).unwrap_or(0) % PRESETS.len()].name;
        let (subject, action, periods) = match preset {
            "reboot-when-codedeploy-agent-dead" => (Subject::Dead, Some("reboot"), 10),
            "reboot-when-deployment-hangs" => (Subject::Hangs, Some("reboot"), 3),
            "stop-when-deployment-hangs" => (Subject::Hangs, Some("stop"), 3),
            "terminate-when-deployment-fails" => (Subject::LastFailed, Some("terminate"), 5),
            "reboot-when-instance-check-fails" => (Subject::InstanceCheck, Some("reboot"), 3),
            "recover-when-system-check-fails" => (Subject::SystemCheck, Some("recover"), 2),
            "notify-when-deployment-fails" => (Subject::Failed, None, 3),
            "notify-when-deployment-hangs" => (Subject::Hangs, None, 2),
            "notify-when-codedeploy-agent-dead" => (Subject::Dead, None, 5),
            "notify-when-silent" => (Subject::Silent, None, 10),
            "notify-when-lines-are-lost" => (Subject::Lost, None, 3),
            other => panic!("the simulation does not know the preset {other}"),
        };
        let hangs = subject == Subject::Hangs;
        let denied = match rng.u8(0..8) {
            0 => vec!["cloudwatch:DisableAlarmActions"],
            1 => vec!["cloudwatch:DescribeAlarmHistory"],
            _ => vec![],
        };
        Self {
            seed,
            preset,
            subject,
            action,
            periods,
            generation: [Generation::First, Generation::Second][rng.usize(0..2)],
            span_ms: rng.u64(120..260) * MINUTE_MS,
            hangs_after_s: match hangs && rng.bool() {
                true => 1_200,
                false if preset == "notify-when-deployment-hangs" => 1_800,
                false => 3_600,
            },
            managed: rng.bool(),
            denied,
            jumpy: rng.u8(0..4) == 0,
            jump_ms_max: 300_000,
            heals: [0.0, 0.5, 1.0][rng.usize(0..3)],
            incidents: [0.01, 0.03, 0.08][rng.usize(0..3)],
            troubles: [0.0, 0.01, 0.05][rng.usize(0..3)],
            clean_shutdowns: [0.0, 0.5, 1.0][rng.usize(0..3)],
            rollbacks: rng.u8(0..4) == 0,
            is_logs_alone: rng.u8(0..4) == 0,
        }
    }

    /// The same with a date that is hours off.
    pub(crate) fn hours_off(seed: u64) -> Self {
        Self {
            jumpy: true,
            jump_ms_max: 10_800_000,
            ..Self::new(seed)
        }
    }

    /// The configuration, as a user would write it.
    pub(crate) fn config(&self) -> String {
        let actions = match self.action {
            Some(action) => format!("actions = [\"{action}\", \"{TOLD}\"]"),
            None => format!("actions = [\"{TOLD}\"]"),
        };
        let threshold = match self.subject {
            Subject::Hangs => format!("threshold = {}\n", self.hangs_after_s),
            _ => String::new(),
        };
        format!(
            "[alarms]\nmanage = {}\nallow_terminate = true\n\n[[alarm]]\npreset = \"{}\"\n{actions}\n\
             {threshold}\n[[source]]\nname = \"app\"\npaths = [\"/var/log/app/*.log\"]\ngroup = \"/app\"\n\
             stream = \"{{instance_id}}\"\n",
            self.managed, self.preset
        )
    }
}

/// Whom the alarms tell.
pub(crate) const TOLD: &str = "arn:aws:sns:eu-west-1:111122223333:oncall";

/// A log of the user's own.
pub(crate) const APP: &str = "/var/log/app/app.log";
