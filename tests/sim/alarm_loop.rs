//! The real alarm stage, the modelled alarm and a *simulated* executor that reboots the modelled
//! machine when the alarm calls for it. No real action runs here.

#![cfg(test)]

use std::collections::VecDeque;
use std::path::PathBuf;

use deploywatch::alarms::Alarms;
use deploywatch::alarms::spec;
use deploywatch::config::{Config, Identity};
use deploywatch::event::Now;
use deploywatch::ports::alarm::{AlarmAnswer, AlarmCall, AlarmReply, AlarmService};
use deploywatch::ports::{CallId, Datum, ErrorClass, Numbers, ServiceError};

use crate::alarm_model::AlarmModel;

const MINUTE: u64 = 60_000;
const METRIC: &str = "CodeDeployAgentHealthy";

/// How the modelled machine's CodeDeploy agent fares after each boot.
#[derive(Clone, Copy, Debug)]
struct Fate {
    /// Minutes it is well after a boot.
    well: u64,
    /// After how many reboots it stays well.
    healed_after: u32,
    /// Whether the role may suspend.
    permitted: bool,
    /// How far the wall clock jumps at each boot, in ms.
    jump_ms: i64,
    /// Minutes a reboot takes.
    off: u64,
}

/// The service: the model, and the answers to the stage's calls.
struct Service<'a> {
    model: &'a mut AlarmModel,
    answers: &'a mut VecDeque<AlarmAnswer>,
    permitted: bool,
}

impl AlarmService for Service<'_> {
    fn submit(&mut self, id: CallId, call: AlarmCall) {
        let result = match call {
            AlarmCall::DisableActions { .. } if !self.permitted => Err(ServiceError {
                class: ErrorClass::RetrySlowly,
                code: "AccessDenied".to_owned(),
                message: String::new(),
            }),
            AlarmCall::DisableActions { .. } => {
                self.model.actions_enabled = false;
                Ok(AlarmReply::Done)
            }
            AlarmCall::EnableActions { .. } => {
                self.model.actions_enabled = true;
                Ok(AlarmReply::Done)
            }
            AlarmCall::History { .. } => Ok(AlarmReply::History(Vec::new())),
            _ => Ok(AlarmReply::Done),
        };
        self.answers.push_back(AlarmAnswer { id, result });
    }

    fn answer(&mut self) -> Option<AlarmAnswer> {
        self.answers.pop_front()
    }
}

/// Lives for so many minutes; how often the simulated executor rebooted the machine.
fn reboots(fate: Fate, minutes: u64) -> u32 {
    let text = "[[alarm]]\npreset = \"reboot-when-codedeploy-agent-dead\"\nevaluation_periods = 3";
    let files = [(PathBuf::from("a"), text.to_owned())];
    let config = Config::parse(&files).unwrap().0.alarms;
    let identity = Identity {
        instance_id: Some("i-0".to_owned()),
        region: Some("eu-west-1".to_owned()),
        complete: true,
        ..Identity::default()
    };
    let start_ms = 1_800_000_000_000_i64;
    let spec = spec::wanted(&config, &identity).unwrap().specs.remove(0);
    let mut model = AlarmModel::put(spec, start_ms);
    let (mut boots, mut saved, mut answers) = (0_u32, None, VecDeque::new());
    // True time runs on; the machine's wall clock is off by `error_ms`.
    let (mut true_ms, mut error_ms) = (0_u64, 0_i64);
    while true_ms < minutes * MINUTE {
        let boot_ms = true_ms;
        let wall_of = |true_ms: u64| start_ms + i64::try_from(true_ms).unwrap() + error_ms;
        let now = |true_ms: u64| Now {
            mono_ms: true_ms - boot_ms + 20_000,
            wall_ms: wall_of(true_ms),
        };
        let boot_id = format!("boot-{boots}");
        let mut stage = Alarms::new(&config, saved.take(), &boot_id, 7, now(true_ms));
        stage.learn(&identity, now(true_ms));
        answers.clear();
        let is_healed = boots >= fate.healed_after;
        loop {
            let up = (true_ms - boot_ms) / MINUTE;
            let health = f64::from(u8::from(is_healed || up < fate.well));
            let datum = Datum {
                name: METRIC.to_owned(),
                dimensions: Vec::new(),
                time_ms: now(true_ms).wall_ms,
                unit: "None".to_owned(),
                resolution_s: 60,
                numbers: Numbers::One(health),
            };
            stage.note_datum(&datum, now(true_ms));
            // The service dates by its own clock here: a datum of a wrong clock is refused there.
            let service_ms = start_ms + i64::try_from(true_ms).unwrap();
            if !stage.holds_back(&datum) {
                model.publish(service_ms, &Numbers::One(health));
            }
            for second in 0..4 {
                let mut service = Service {
                    model: &mut model,
                    answers: &mut answers,
                    permitted: fate.permitted,
                };
                stage.step(now(true_ms + second * 15_000), &mut service);
            }
            true_ms += MINUTE;
            let called = model.called.len();
            model.evaluate(service_ms + 60_000);
            saved = Some(stage.saved());
            let reboots = model.called[called..]
                .iter()
                .any(|(_, arn)| arn.ends_with("ec2:reboot"));
            if reboots || true_ms >= minutes * MINUTE {
                break;
            }
        }
        if true_ms < minutes * MINUTE {
            boots += 1;
            error_ms += fate.jump_ms;
            for _ in 0..fate.off {
                true_ms += MINUTE;
                model.evaluate(start_ms + i64::try_from(true_ms).unwrap());
            }
        }
    }
    boots
}

/// In every fate, over half a day: a machine that is well is never rebooted, one that a reboot
/// heals is rebooted once, one that breaks once and for all also once, and one that is well for a
/// while after each boot is rebooted as often as is let pass and once more, never again; with and
/// without the permission to suspend, and with clocks that jump by hours at every boot.
#[test]
fn no_fate_leads_to_a_loop() {
    const HALF_A_DAY: u64 = 12 * 60;
    let mut played = 0;
    for permitted in [true, false] {
        for jump_ms in [0, 7_200_000, -7_200_000, 86_400_000] {
            for off in [1, 2, 5] {
                for well in [0, 1, 2, 4, 9] {
                    let fate = |healed_after| Fate {
                        well,
                        healed_after,
                        permitted,
                        jump_ms,
                        off,
                    };
                    assert_eq!(reboots(fate(0), HALF_A_DAY), 0, "{:?}", fate(0));
                    assert_eq!(reboots(fate(1), HALF_A_DAY), 1, "{:?}", fate(1));
                    let count = reboots(fate(u32::MAX), HALF_A_DAY);
                    let expected = if well == 0 { 1 } else { 4 };
                    assert_eq!(count, expected, "{:?}", fate(u32::MAX));
                    played += 3;
                }
            }
        }
    }
    assert_eq!(played, 360);
}
