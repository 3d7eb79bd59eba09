//! `deploywatch check --online`: tries each permission with AWS and names those that are missing.
//!
//! What is tried is what the agent itself does, or is asked of something that does not exist: a
//! permission is judged before the thing is looked for. It leaves behind what the agent would make
//! anyway (groups and streams whose names are the same for all files), one line in each of those
//! streams that says where it came from, and one datum that says that nothing was lost. The
//! alarm it makes to try the permitted actions is switched off and deleted at once. The event it
//! tries is one that EventBridge cannot take, so that nobody receives it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::Context;

use super::probe;
use crate::alarms::apply::OWNER_TAG;
use crate::alarms::spec::{self, Wanted};
use crate::aws::environment::Service;
use crate::aws::{self, AwsOptions, Services};
use crate::cli::ExitCode;
use crate::config::alarm::arn;
use crate::config::{Config, Identity, Sink};
use crate::os::clock;
use crate::ports::alarm::{AlarmCall, AlarmService};
use crate::ports::{
    CallId, ErrorClass, EventCall, EventService, GroupOptions, LogCall, LogService, MetricCall,
    MetricService, ServiceError,
};

/// How long instance metadata may take, and each call.
const PATIENCE: Duration = Duration::from_secs(35);

/// The alarm that is asked for: there is none of that name.
const NO_SUCH_ALARM: &str = "deploywatch-check";

/// What came of one try.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    Permitted,
    Missing(String),
    /// Something else is wrong, so that nobody can say.
    Unknown(String),
    /// There is nothing to try it on yet.
    NotTried(&'static str),
}

/// A permission that was tried.
struct Tried {
    permission: &'static str,
    on: String,
    verdict: Verdict,
}

/// Tries everything the configuration needs and writes what came of it.
///
/// # Errors
/// When the network thread cannot start, or nothing can be written.
pub fn run(config: &Config, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let mut line = Line::open(config)?;
    let identity = line.identity();
    let mut tried = Vec::new();
    if config.logs.sink == Sink::CloudWatch {
        line.try_logs(config, &identity, &mut tried);
    }
    if config.puts_metrics() {
        line.try_metrics(config, &identity, &mut tried);
    }
    if config.tells_events() {
        line.try_events(config, &mut tried);
    }
    if !config.alarms.alarms.is_empty() {
        line.try_alarms(config, &identity, &mut tried);
    }
    Ok(write(&tried, out)?)
}

fn write(tried: &[Tried], out: &mut dyn Write) -> io::Result<ExitCode> {
    let mut bad = 0;
    for one in tried {
        let said = match &one.verdict {
            Verdict::Permitted => "permitted".to_owned(),
            Verdict::Missing(why) => format!("MISSING: {why}"),
            Verdict::Unknown(why) => format!("not known: {why}"),
            Verdict::NotTried(why) => format!("not tried: {why}"),
        };
        let is_bad = matches!(one.verdict, Verdict::Missing(_) | Verdict::Unknown(_));
        bad += usize::from(is_bad);
        writeln!(out, "{:<32} {} {said}", one.permission, one.on)?;
    }
    match bad {
        0 => {
            writeln!(out, "{} permissions tried, none is missing", tried.len())?;
            Ok(ExitCode::Ok)
        }
        bad => {
            writeln!(
                out,
                "{bad} of {} are missing or not known; `deploywatch iam-policy` prints them all",
                tried.len()
            )?;
            Ok(ExitCode::Failure)
        }
    }
}

/// The way to AWS, one call at a time.
struct Line {
    services: Services,
    rings: Receiver<()>,
    next_id: u64,
}

impl Line {
    fn open(config: &Config) -> anyhow::Result<Self> {
        let (ring, rings) = channel();
        let options = AwsOptions {
            aws: config.aws.clone(),
            compression: config.logs.compression,
            wanted: config.variables().iter().map(ToString::to_string).collect(),
            used: Service::used(config),
        };
        let waker = move || {
            // The command may be over.
            let _heard = ring.send(());
        };
        let services = aws::start(options, waker).context("failed to start the network thread")?;
        Ok(Self {
            services,
            rings,
            next_id: 0,
        })
    }

    /// Who we are, as far as it can be known in time.
    fn identity(&mut self) -> Identity {
        let mut identity = Identity::default();
        let until = Instant::now() + PATIENCE;
        while !identity.complete && Instant::now() < until {
            match self.services.identity.take() {
                Some(news) => identity = news,
                None => self.listen(),
            }
        }
        identity
    }

    /// Waits for a ring, or a moment: the caller looks again either way.
    fn listen(&self) {
        let _rung = self.rings.recv_timeout(Duration::from_millis(200));
    }

    /// The answer to the only call that is under way.
    fn wait<A>(&mut self, answer: impl Fn(&mut Services) -> Option<A>) -> A {
        loop {
            match answer(&mut self.services) {
                Some(answer) => return answer,
                None => self.listen(),
            }
        }
    }

    fn id(&mut self) -> CallId {
        self.next_id += 1;
        CallId(self.next_id)
    }

    fn log(&mut self, call: LogCall) -> Result<(), ServiceError> {
        let id = self.id();
        self.services.logs.submit(id, call);
        let answer = self.wait(|services| services.logs.answer());
        answer.result.map(drop)
    }

    fn alarm(&mut self, call: AlarmCall) -> Result<(), ServiceError> {
        let id = self.id();
        self.services.alarms.submit(id, call);
        let answer = self.wait(|services| services.alarms.answer());
        answer.result.map(drop)
    }

    fn try_logs(&mut self, config: &Config, identity: &Identity, tried: &mut Vec<Tried>) {
        let mut seen = BTreeSet::new();
        for source in config.all_sources() {
            let Some(target) = probe::target(source, identity) else {
                let on = format!("group {}", source.group.text());
                let why = "the names differ from file to file, so the first line will show";
                let verdict = Verdict::NotTried(why);
                tried.push(Tried {
                    permission: "logs:PutLogEvents",
                    on,
                    verdict,
                });
                continue;
            };
            if !seen.insert(target.clone()) {
                continue;
            }
            let on = format!("group {}, stream {}", target.group, target.stream);
            let options: GroupOptions = source.group_options.clone();
            let group = LogCall::CreateGroup(target.group.clone(), options);
            let stream = LogCall::CreateStream(target.clone());
            let put = LogCall::Put {
                batch: probe::line(target, clock::now().wall_ms),
                range: 0..1,
            };
            for (permission, call) in [
                ("logs:CreateLogGroup", group),
                ("logs:CreateLogStream", stream),
                ("logs:PutLogEvents", put),
            ] {
                let verdict = judge(self.log(call));
                tried.push(Tried {
                    permission,
                    on: on.clone(),
                    verdict,
                });
            }
        }
    }

    fn try_metrics(&mut self, config: &Config, identity: &Identity, tried: &mut Vec<Tried>) {
        let datum = probe::datum(identity, clock::now().wall_ms);
        let id = self.id();
        let call = MetricCall {
            namespace: config.metrics.namespace.as_str().into(),
            data: Arc::from(vec![datum]),
        };
        self.services.metrics.submit(id, call);
        let answer = self.wait(|services| services.metrics.answer());
        tried.push(Tried {
            permission: "cloudwatch:PutMetricData",
            on: format!("namespace {}", config.metrics.namespace),
            verdict: judge(answer.result),
        });
    }

    fn try_events(&mut self, config: &Config, tried: &mut Vec<Tried>) {
        let id = self.id();
        let call = EventCall {
            bus: config.events.bus.clone(),
            entries: vec![probe::event(clock::now().wall_ms)],
        };
        self.services.events.submit(id, call);
        let answer = self.wait(|services| services.events.answer());
        tried.push(Tried {
            permission: "events:PutEvents",
            on: format!("bus {}", config.events.bus),
            verdict: judge(
                answer
                    .result
                    .and_then(|of_entries| of_entries.into_iter().collect()),
            ),
        });
    }

    fn try_alarms(&mut self, config: &Config, identity: &Identity, tried: &mut Vec<Tried>) {
        let wanted = match spec::wanted(&config.alarms, identity) {
            Ok(wanted) => wanted,
            Err(error) => {
                tried.push(Tried {
                    permission: "cloudwatch:PutMetricAlarm",
                    on: "alarms".to_owned(),
                    verdict: Verdict::Unknown(error.to_string()),
                });
                return;
            }
        };
        let name = format!("{}{NO_SUCH_ALARM}", wanted.prefix);
        let names = vec![name.clone()];
        let mut calls = Vec::new();
        if config.alarms.acts_on_instance() {
            calls.push(AlarmCall::DisableActions {
                names: names.clone(),
            });
            calls.push(AlarmCall::EnableActions {
                names: names.clone(),
            });
            calls.push(AlarmCall::History {
                name: name.clone(),
                since_ms: clock::now().wall_ms - 60_000,
            });
        }
        if config.alarms.manage {
            calls.push(AlarmCall::Describe {
                prefix: wanted.prefix.clone(),
            });
            calls.push(AlarmCall::Delete {
                names: names.clone(),
            });
        }
        for call in calls {
            self.try_alarm(call, &name, tried);
        }
        let may_delete = tried.iter().any(|one| {
            one.permission == "cloudwatch:DeleteAlarms" && one.verdict == Verdict::Permitted
        });
        if may_delete {
            self.try_making(&wanted, &name, identity, tried);
            // Left behind only if the permission went away in this very moment; it is switched off.
            let _deleted = self.alarm(AlarmCall::Delete { names });
        }
    }

    /// Makes an alarm of that name like each that is wanted, one in the place of the other.
    fn try_making(
        &mut self,
        wanted: &Wanted,
        name: &str,
        identity: &Identity,
        tried: &mut Vec<Tried>,
    ) {
        let (key, value) = OWNER_TAG;
        for spec in &wanted.specs {
            let mut spec = spec.clone();
            let on = spec.name.clone();
            name.clone_into(&mut spec.name);
            let put = AlarmCall::Put {
                spec: Box::new(spec),
                actions_enabled: false,
                tags: BTreeMap::from([(key.to_owned(), value.to_owned())]),
            };
            self.try_alarm(put, &format!("an alarm like {on}"), tried);
        }
        if let (Some(region), Some(account)) = (&identity.region, &identity.account_id) {
            let arn = arn::alarm(name, region, account);
            self.try_alarm(AlarmCall::Tags { arn }, name, tried);
        }
    }

    fn try_alarm(&mut self, call: AlarmCall, on: &str, tried: &mut Vec<Tried>) {
        let permission = call.permission();
        let verdict = judge(self.alarm(call));
        tried.push(Tried {
            permission,
            on: on.to_owned(),
            verdict,
        });
    }
}

fn judge(result: Result<(), ServiceError>) -> Verdict {
    match result {
        Ok(()) => Verdict::Permitted,
        Err(error) if is_denied(&error) => Verdict::Missing(error.message),
        // Judged on its merits: so it was permitted.
        Err(error)
            if matches!(
                error.class,
                ErrorClass::AlreadyExists
                    | ErrorClass::AlreadyAccepted
                    | ErrorClass::MissingTarget
                    | ErrorClass::Invalid
            ) =>
        {
            Verdict::Permitted
        }
        Err(error) => Verdict::Unknown(error.to_string()),
    }
}

/// EventBridge has words of its own for what a bus's policy does not permit.
fn is_denied(error: &ServiceError) -> bool {
    crate::ports::alarm::is_denied(error) || error.code.starts_with("NotAuthorizedFor")
}
