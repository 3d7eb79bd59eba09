//! The agent and its alarms: what they are told, what they may hold back, what they have to say.

use std::ffi::OsStr;

use crate::alarms::{Alarms, News, state};
use crate::config::Builtin;
use crate::config::template::Variable;
use crate::event::{EpochMs, Now};
use crate::events::EventKind;
use crate::metrics::Customs;
use crate::ports::Datum;
use crate::tail::File;

use super::insight::Told;
use super::{Agent, Edges, names};

/// The dimension set that an alarm needs for acting on the instance: exactly this.
const ACTING_DIMENSION: &str = "InstanceId";

impl Agent {
    /// Makes of the records that were heard what is to be made of them: metrics, events, alarms.
    pub(super) fn conclude(&mut self, edges: &mut Edges<'_>, now: Now) {
        self.report_losses(now);
        self.tend_alarms(edges, now);
        let suspended = self.alarms.actions_suspended();
        let guarded = Guarded {
            alarms: &mut self.alarms,
            now,
        };
        let (tail, identity) = (&self.tail, &self.identity);
        let layout = self.discovery.layout();
        let scripts = self.insight.source_of(Builtin::Scripts);
        let scripts = scripts.and_then(|name| tail.source_named(&name));
        let agents_own = self.insight.source_of(Builtin::Agent);
        // Any file of the deployment's own will do: only its scripts.log is. One that is still to
        // be found will go to the same place, unless that depends on the group's id.
        let log_of = |deployment: Option<&str>| {
            let is_its = |file: &&File| match deployment {
                Some(deployment) => file
                    .family
                    .iter()
                    .any(|part| part == OsStr::new(deployment)),
                None => Some(&file.source.name) == agents_own.as_ref(),
            };
            if let Some(file) = tail.files().find(is_its) {
                return names::target(&file.source, &file.family, identity, layout).ok();
            }
            let deployment = deployment?;
            let source = scripts.as_ref()?;
            let mut variables = source.group.variables().chain(source.stream.variables());
            if variables.any(|variable| *variable == Variable::DeploymentGroupId) {
                return None;
            }
            let path = layout.root_dir.join("-").join(deployment);
            names::target(source, &path.join("logs/scripts.log"), identity, layout).ok()
        };
        let told = Told {
            counts: &self.keeper.counts,
            suspended,
            log_of: &log_of,
        };
        self.insight.step(edges, &told, guarded, now);
        if self.insight.is_dirty() {
            self.keeper.touch(now);
        }
    }

    /// Reports what was lost since the last call.
    pub(super) fn report_losses(&mut self, now: Now) {
        for loss in std::mem::take(&mut self.keeper.new_losses) {
            self.insight.report_loss(&loss, now);
        }
    }

    /// Lets leave what a durable checkpoint knows of, in the step that made it durable: the next
    /// one may be seconds away.
    pub(super) fn confirm_saved(&mut self) {
        if let Some(version) = self.keeper.saving.take_saved_insight() {
            self.insight.confirm(version);
        }
    }

    /// Looks whether a person gave an order, on the beat of the discovery. It stays where it is until
    /// what came of it is on disk: a kill in between, or a full disk, must not unsay it.
    pub(super) fn take_order(&mut self, edges: &mut Edges<'_>, now: Now) {
        let taken = match state::find_order(edges.store) {
            Ok(None) => return self.alarms.forget_order(),
            Ok(Some(order)) => {
                self.alarms.obey(order, now);
                self.save_alarms(edges);
                if self.alarms.is_dirty() {
                    return;
                }
                state::forget_order(edges.store, order)
            }
            Err(error) => Err(error),
        };
        match taken {
            Ok(()) => self.alarms.forget_order(),
            Err(error) => tracing::error!(%error, "an order about alarms cannot be taken"),
        }
    }

    /// One turn of the alarms.
    fn tend_alarms(&mut self, edges: &mut Edges<'_>, now: Now) {
        self.alarms.step(now, edges.alarms);
        for news in self.alarms.take_news() {
            match news.is_alarming() {
                true => tracing::error!("{news}"),
                false => tracing::info!("{news}"),
            }
            let kind = match &news {
                News::Acted(_) => {
                    self.note_in_stream(&news.to_string(), now.wall_ms, now);
                    continue;
                }
                News::Suspended { .. } => EventKind::ActionsSuspended,
                News::Resumed { .. } => EventKind::ActionsResumed,
                _ => continue,
            };
            self.insight.report_actions(kind, news.to_string(), now);
        }
        self.save_alarms(edges);
    }

    fn save_alarms(&mut self, edges: &mut Edges<'_>) {
        if self.alarms.is_dirty() {
            match state::save(edges.store, &self.alarms.saved()) {
                Ok(()) => self.alarms.note_saved(),
                Err(error) if self.alarms.note_unsaved() => {
                    tracing::error!(%error, "what is known of boots and alarms cannot be written");
                }
                Err(_) => {}
            }
        }
    }

    /// Writes an event of our own into the CodeDeploy agent's stream, where there is one.
    fn note_in_stream(&mut self, text: &str, at_ms: EpochMs, now: Now) {
        let Some(source) = self.insight.source_of(Builtin::Agent) else {
            return;
        };
        let log = self.discovery.layout().agent_log();
        self.keeper.tell(&source, &log, text, at_ms, now);
    }
}

/// What the guard wants to know of data that leave.
pub(super) struct Guarded<'a> {
    pub(super) alarms: &'a mut Alarms,
    pub(super) now: Now,
}

impl Customs for Guarded<'_> {
    fn made(&mut self, datum: &Datum) {
        if is_acting(datum) {
            self.alarms.note_datum(datum, self.now);
        }
    }

    fn may_leave(&self, datum: &Datum) -> bool {
        !is_acting(datum) || !self.alarms.holds_back(datum)
    }
}

fn is_acting(datum: &Datum) -> bool {
    matches!(datum.dimensions.as_slice(), [(name, _)] if name == ACTING_DIMENSION)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::testing::{at, directory_of, run};
    use crate::config::Config;
    use crate::ports::{Numbers, Summary};

    /// An order outlives a disk on which nothing can be written, and is obeyed once meanwhile: shown by a
    /// directory in the place of what is written beside the boots, and by a power cut's next agent.
    #[test]
    fn an_order_stays_until_it_is_on_disk() {
        let dir = directory_of(&[]);
        let state = dir.path().join("state");
        let (order, block) = (state.join(state::ORDER_FILE), state.join(".boots.tmp"));
        let suspended_ms = |agent: &Agent| {
            let alarms = agent.alarms.status();
            let by_hand = alarms.suspended_by.as_deref() == Some("hand");
            by_hand.then_some(alarms.suspended_since_ms)
        };
        run(dir.path(), |mut agent, edges| {
            std::fs::create_dir(&block).unwrap();
            std::fs::write(&order, state::Order::Suspend.word()).unwrap();
            agent.step(edges, at(6_000));
            let since = suspended_ms(&agent);
            assert!(since.is_some() && order.exists());
            agent.step(edges, at(12_000));
            assert_eq!(suspended_ms(&agent), since);
        });
        std::fs::remove_dir(&block).unwrap();
        run(dir.path(), |mut agent, edges| {
            agent.step(edges, at(18_000));
            assert!(suspended_ms(&agent).is_some() && !order.exists());
        });
        run(dir.path(), |agent, _edges| {
            assert!(suspended_ms(&agent).is_some());
        });
    }

    /// Lives of six minutes, each with a datum a minute that makes the alarm reboot the instance in
    /// the end: whether the breaker has tripped in the fifth.
    fn is_stopped(alarm: &str, metric: &str, numbers: &Numbers) -> bool {
        let text = format!(
            "[[source]]\nname = \"shop\"\npaths = [\"/x/y\"]\ngroup = \"/shop\"\n\
             [[metric]]\nname = \"Seconds\"\nsource = \"shop\"\n\
             pattern = 'took (?<value>[0-9]+)'\ndimensions = [[\"InstanceId\"]]\n\
             [[alarm]]\nname = \"a\"\nmetric = \"{metric}\"\nactions = [\"reboot\"]\n{alarm}"
        );
        let (config, _) = Config::parse(&[("a.toml".into(), text)]).unwrap();
        let mut now = Now {
            mono_ms: 0,
            wall_ms: 1_800_000_000_000,
        };
        let mut saved = None;
        for life in 0..5 {
            let mut alarms = Alarms::new(&config.alarms, saved, &format!("boot-{life}"), 1, now);
            if life == 4 {
                return alarms.actions_suspended() > 0.0;
            }
            for _ in 0..6 {
                now.mono_ms += 60_000;
                now.wall_ms += 60_000;
                let mut guarded = Guarded {
                    alarms: &mut alarms,
                    now,
                };
                guarded.made(&Datum {
                    name: metric.to_owned(),
                    dimensions: vec![("InstanceId".to_owned(), "i-1".to_owned())],
                    time_ms: now.wall_ms,
                    unit: "None".to_owned(),
                    resolution_s: 60,
                    numbers: numbers.clone(),
                });
            }
            saved = Some(alarms.saved());
        }
        unreachable!("the fifth life has returned")
    }

    /// Whatever an alarm looks at, a loop of its making is stopped: shown by data of which some
    /// numbers breach and others do not, by sums that only several data together reach, by a count
    /// of samples; and data that breach nothing count for nothing.
    #[test]
    fn a_loop_is_seen_in_every_statistic() {
        let many = Numbers::Many(vec![(1.0, 5.0), (200.0, 1.0)]);
        let often = Numbers::Many(vec![(0.1, 60.0)]);
        let summary = Numbers::Summary(Summary {
            count: 900.0,
            sum: 900.0,
            min: 0.0,
            max: 200.0,
        });
        let one = Numbers::One(1.0);
        let alarm = |statistic: &str, rest: &str| format!("statistic = \"{statistic}\"\n{rest}");
        let over = "comparison = \">\"\nthreshold = 100\nevaluation_periods = 3\n";
        let in_five = "period = \"5m\"\ncomparison = \">=\"\nthreshold = 3\n";
        let under = "comparison = \"<\"\nthreshold = 2\nevaluation_periods = 3\n";
        for (metric, alarm, numbers, stops) in [
            ("Seconds", alarm("maximum", over), &many, true),
            ("Seconds", alarm("p99", over), &many, true),
            ("Seconds", alarm("average", over), &many, true),
            ("Seconds", alarm("minimum", under), &many, true),
            ("Seconds", alarm("maximum", over), &summary, true),
            ("Seconds", alarm("sample_count", over), &summary, true),
            ("Seconds", alarm("sample_count", in_five), &often, true),
            ("DeploymentsFailed", alarm("sum", in_five), &one, true),
            ("Seconds", alarm("minimum", over), &many, false),
            ("Seconds", alarm("maximum", under), &many, false),
            ("Seconds", alarm("sum", over), &one, false),
        ] {
            assert_eq!(
                is_stopped(&alarm, metric, numbers),
                stops,
                "{alarm}{numbers:?}"
            );
        }
    }
}
