//! The story: which deployments are made, what their hooks print, when logs rotate. Reads like a
//! screenplay; the machine knows how it is written down.

use jiff::Timestamp;

use super::commands::{Command, Failure};
use super::machine::{Deployment, Key};
use super::stage::Stage;
use super::verify::{SECRET, SECRET_NAME};
use super::{DemoError, Pace};

/// The deployment group that is deployed to again and again.
const CHECKOUT: &str = "9fb43944-176a-43f3-8093-3a53bc771e35";

/// The deployment group in which a hook hangs.
const BILLING: &str = "5d0f1c2e-8b1a-4a57-9f0c-1f6f3f0c77aa";

/// How long the hook must hang for its alarm, in seconds, as in the agent's configuration.
const HUNG_S: i64 = 3;

/// Lines of a hook that prints a lot.
const BURST: usize = 1500;

/// Short deployments before and after the restart.
const SHORT: [&str; 6] = [
    "d-SHORT0004",
    "d-SHORT0005",
    "d-SHORT0006",
    "d-SHORT0007",
    "d-SHORT0008",
    "d-SHORT0009",
];

/// The deployment during which the agent is away.
const UNSEEN: &str = SHORT[3];

/// Plays everything.
pub(super) fn play(stage: &mut Stage<'_>) -> Result<(), DemoError> {
    boot(stage)?;
    good(stage)?;
    failing(stage)?;
    hanging(stage)?;
    let hung = Timestamp::now();
    for id in SHORT {
        match id {
            "d-SHORT0006" => rotations(stage)?,
            UNSEEN => {
                // What is pruned while the agent is away was delivered before: no agent can ship
                // what was deleted before it came.
                for old in stage.machine.to_prune(&deployment(UNSEEN, CHECKOUT)) {
                    stage.await_arrival(&Key::scripts(old.id))?;
                }
                if stage.pace == Pace::Live {
                    stage.say("a period of the metrics is waited for; the hook still hangs")?;
                }
                stage.await_period_end(hung, HUNG_S)?;
                stage.stop_agent()?;
            }
            _ => {}
        }
        short(stage, id)?;
        if id == UNSEEN {
            stage.machine.rotate_deployments_log()?;
            stage.say("the deployments log is renamed away once more")?;
            stage.pause(900)?;
            stage.start_agent()?;
        }
        stage.pause(600)?;
    }
    stage.machine.app("payment taken amount=12.5")?;
    stage.machine.poll()?;
    stage.pause(1000)
}

/// The CodeDeploy agent starts: its first try fails with a backtrace, its second works.
fn boot(stage: &mut Stage<'_>) -> Result<(), DemoError> {
    stage.say("the CodeDeploy agent starts; its first try ends in a backtrace")?;
    stage.machine.master("Spawned child 1/1")?;
    let trace = "booting child: error during start or run: Errno::ECONNREFUSED - Failed to open \
         TCP connection to 169.254.169.254:80 (Connection refused - connect(2) for \
         169.254.169.254:80) - /usr/lib/ruby/3.1.0/socket.rb:1214:in `__connect_nonblock'\n\
         /usr/lib/ruby/3.1.0/socket.rb:1214:in `connect_nonblock'\n\
         /usr/lib/ruby/3.1.0/net/http.rb:998:in `connect'\n\
         /opt/codedeploy-agent/lib/instance_metadata.rb:119:in `http_request'\n\
         /opt/codedeploy-agent/lib/instance_metadata.rb:45:in `host_identifier'\n\
         /opt/codedeploy-agent/bin/../lib/codedeploy-agent.rb:90:in `<main>'";
    stage.machine.agent("ERROR", trace)?;
    for message in [
        "Received CHLD - cleaning dead child process",
        "not enough child processes running - missing at least 1 - respawning",
        "Spawned child 1/1",
    ] {
        stage.machine.master(message)?;
    }
    stage.machine.poll()?;
    stage.pause(500)
}

/// A good deployment: every event, much output, colours, a password, a line in two halves.
fn good(stage: &mut Stage<'_>) -> Result<(), DemoError> {
    let deployment = &deployment("d-GOOD00001", CHECKOUT);
    stage.say("a good deployment: one hook prints 1,500 lines, one a password")?;
    idle(stage, deployment, "ApplicationStop")?;
    download(stage, deployment)?;
    hook(
        stage,
        deployment,
        "BeforeInstall",
        &["[stdout]draining 12 connections", "[stdout]done"],
    )?;
    install(stage, deployment)?;
    let command = begin_hook(stage, deployment, "AfterInstall")?;
    for number in 1..=BURST {
        let text = format!("[stdout]app/assets/chunk-{number:04}.js → /srv/checkout ✓");
        stage.machine.line(deployment, &text)?;
    }
    stage.machine.succeed(&command)?;
    stage.pause(400)?;

    let command = begin_hook(stage, deployment, "ApplicationStart")?;
    let secret = format!("[stdout]connecting with {SECRET_NAME}={SECRET}");
    stage.machine.line(deployment, &secret)?;
    stage.machine.line(
        deployment,
        "[stderr]\u{1b}[33mwarning\u{1b}[0m: log level is debug",
    )?;
    let first = stage
        .machine
        .first_half(deployment, "[stdout]waiting for port 8080 ...")?;
    stage.pause(150)?;
    stage
        .machine
        .second_half(deployment, &first, "... open after 0.2 s")?;
    stage.machine.succeed(&command)?;
    stage.pause(300)?;
    let check = [
        "[stdout]GET /health → 200 in 41 ms",
        "[stdout]LifecycleEvent - is just output here",
    ];
    hook(stage, deployment, "ValidateService", &check)
}

/// A deployment that fails in a hook.
fn failing(stage: &mut Stage<'_>) -> Result<(), DemoError> {
    let deployment = &deployment("d-FAIL00002", CHECKOUT);
    stage.say("a deployment whose database migration fails")?;
    hook(
        stage,
        deployment,
        "ApplicationStop",
        &["[stdout]stopping checkout", "[stdout]stopped"],
    )?;
    download(stage, deployment)?;
    install(stage, deployment)?;
    let command = begin_hook(stage, deployment, "AfterInstall")?;
    let output = [
        "[stdout]== 20261119 AddEmailIndex: migrating",
        "[stderr]PG::UndefinedTable: ERROR:  relation \"users\" does not exist",
        "[stderr]LINE 1: CREATE INDEX index_users_on_email ON users (email)",
        "[stderr]rails aborted!",
    ];
    for line in output {
        stage.machine.line(deployment, line)?;
    }
    stage.pause(300)?;
    let failure = Failure {
        script: "scripts/after_install.sh",
        exit_code: 1,
        output: &output,
    };
    stage.machine.fail(&command, failure)?;
    stage.say("the application, half installed, fails to be paid")?;
    stage.machine.payment_fails(12.5)?;
    stage.machine.payment_fails(30.25)?;
    stage.pause(1200)
}

/// A deployment of another group whose hook never ends.
fn hanging(stage: &mut Stage<'_>) -> Result<(), DemoError> {
    let deployment = &deployment("d-HANG00003", BILLING);
    stage.say("a deployment to another group; its hook waits for ever")?;
    download(stage, deployment)?;
    install(stage, deployment)?;
    begin_hook(stage, deployment, "ApplicationStart")?;
    stage
        .machine
        .line(deployment, "[stdout]waiting for /var/lock/billing.lock")?;
    stage.pause(500)
}

/// Both kinds of rotation.
fn rotations(stage: &mut Stage<'_>) -> Result<(), DemoError> {
    stage.say("midnight: the agent log is copied and truncated")?;
    stage.machine.roll_agent_log()?;
    stage.machine.poll()?;
    stage.say("the deployments log is full and renamed away")?;
    stage.machine.rotate_deployments_log()
}

/// One of the deployments that make old ones fall out.
fn short(stage: &mut Stage<'_>, id: &'static str) -> Result<(), DemoError> {
    let deployment = &deployment(id, CHECKOUT);
    hook(
        stage,
        deployment,
        "ApplicationStop",
        &["[stdout]stopping checkout"],
    )?;
    download(stage, deployment)?;
    install(stage, deployment)?;
    idle(stage, deployment, "AfterInstall")?;
    hook(
        stage,
        deployment,
        "ApplicationStart",
        &["[stdout]checkout started"],
    )?;
    hook(
        stage,
        deployment,
        "ValidateService",
        &["[stdout]GET /health → 200 in 38 ms"],
    )
}

/// An event without a script.
fn idle(stage: &mut Stage<'_>, deployment: &Deployment, event: &str) -> Result<(), DemoError> {
    let command = stage.machine.receive(deployment, event)?;
    stage.machine.noop(&command)?;
    stage.machine.poll()
}

/// The bundle comes, and old deployments go.
fn download(stage: &mut Stage<'_>, deployment: &Deployment) -> Result<(), DemoError> {
    let command = stage.machine.receive(deployment, "DownloadBundle")?;
    stage.machine.begin(&command)?;
    let old = stage.machine.to_prune(deployment);
    for deployment in &old {
        // Five deployments take minutes in life; here the agent may need a moment longer.
        stage.await_arrival(&Key::scripts(deployment.id))?;
        stage.say(&format!("{} and its scripts.log are pruned", deployment.id))?;
    }
    stage.machine.prune(&old)?;
    let executor = "InstanceAgent::Plugins::CodeDeployPlugin::CommandExecutor";
    stage.machine.agent(
        "INFO",
        &format!(
            "{executor}: Downloading artifact bundle from bucket 'demo-bucket' and key \
             'checkout.tgz', version '', etag ''"
        ),
    )?;
    stage.machine.succeed(&command)
}

/// The files are copied.
fn install(stage: &mut Stage<'_>, deployment: &Deployment) -> Result<(), DemoError> {
    let command = stage.machine.receive(deployment, "Install")?;
    stage.machine.begin(&command)?;
    stage.machine.succeed(&command)
}

/// An event whose script prints some lines and ends well.
fn hook(
    stage: &mut Stage<'_>,
    deployment: &Deployment,
    event: &str,
    output: &[&str],
) -> Result<(), DemoError> {
    let command = begin_hook(stage, deployment, event)?;
    for line in output {
        stage.machine.line(deployment, line)?;
    }
    stage.pause(80)?;
    stage.machine.succeed(&command)?;
    stage.pause(40)
}

/// An event whose script is started.
fn begin_hook<'a>(
    stage: &mut Stage<'_>,
    deployment: &'a Deployment,
    event: &'a str,
) -> Result<Command<'a>, DemoError> {
    let command = stage.machine.receive(deployment, event)?;
    stage.machine.begin(&command)?;
    stage
        .machine
        .line(deployment, &format!("LifecycleEvent - {event}"))?;
    let mut script = String::new();
    for letter in event.chars() {
        if letter.is_uppercase() && !script.is_empty() {
            script.push('_');
        }
        script.extend(letter.to_lowercase());
    }
    stage
        .machine
        .line(deployment, &format!("Script - scripts/{script}.sh"))?;
    Ok(command)
}

fn deployment(id: &'static str, group: &'static str) -> Deployment {
    Deployment { id, group }
}
