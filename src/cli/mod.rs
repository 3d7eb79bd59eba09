//! The command line: what may be typed, and what a command's end means to who typed it.
//!
//! One file for each command; `main.rs` picks. Arguments are only taken apart here, nothing is
//! done yet.

pub mod alarms;
pub mod check;
pub mod demo;
pub mod first_minutes;
pub mod iam_policy;
pub mod load;
pub mod run;
pub mod status;
pub mod terminal;

use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand};

/// Ships the logs of AWS CodeDeploy, and any others you name, to CloudWatch Logs.
#[derive(Clone, Debug, PartialEq, Eq, Parser)]
#[command(name = "deploywatch", version, after_help = EXAMPLES, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
Examples:
  deploywatch demo                see what it does: no AWS account, no network, no root needed
  deploywatch check               is the configuration right, what is shipped, and where to
  deploywatch run                 ship until stopped (the systemd unit does this)
  deploywatch run --once          ship all there is, wait for the answers, exit
  deploywatch status              where is every file now, what was not delivered
  deploywatch alarms plan         what would `alarms apply` change in CloudWatch
  deploywatch iam-policy          the least permissions this configuration needs

Configuration: /etc/deploywatch/deploywatch.toml, then /etc/deploywatch/conf.d/*.toml
Exit codes: 0 good, 1 failed, 2 wrong usage (`alarms plan`: there is a difference), 3 no agent is running, 75 not all was delivered,
  78 the configuration has mistakes";

/// The commands.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Ship logs until stopped by SIGTERM; SIGHUP reads the configuration again
    Run(RunArgs),
    /// Report every mistake in the configuration, or what is watched and where it is sent
    Check(CheckArgs),
    /// Ask the running agent where every file is and what was not delivered
    Status(StatusArgs),
    /// Compare, make, delete, suspend or test this instance's CloudWatch alarms
    Alarms(AlarmsArgs),
    /// Print the least IAM policy this configuration needs
    IamPolicy(IamPolicyArgs),
    /// Play deployments into a temporary tree and watch them arrive, without AWS
    Demo(DemoArgs),
    /// Print the completions for a shell
    Completions(CompletionsArgs),
}

/// `deploywatch run`.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
#[command(after_help = "\
Examples:
  deploywatch run
  deploywatch run --once --config /root/dry-run.toml")]
pub struct RunArgs {
    /// Read everything to its end, wait for the answers, then exit
    #[arg(long)]
    pub once: bool,
    /// Which configuration.
    #[command(flatten)]
    pub config: ConfigArg,
}

/// `deploywatch check`.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
#[command(after_help = "\
Examples:
  deploywatch check
  deploywatch check --config ./new.toml && cp ./new.toml /etc/deploywatch/deploywatch.toml
  deploywatch check --json | jq -r '.mistakes[] | .key'")]
pub struct CheckArgs {
    /// Answer in JSON, for tools
    #[arg(long)]
    pub json: bool,
    /// Then try each permission with AWS, and name those that are missing
    #[arg(long, conflicts_with = "json")]
    pub online: bool,
    /// Which configuration.
    #[command(flatten)]
    pub config: ConfigArg,
}

/// `deploywatch status`.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
#[command(after_help = "\
Examples:
  deploywatch status
  deploywatch status --json | jq '.files[] | select(.lag_bytes > 0)'")]
pub struct StatusArgs {
    /// Answer in JSON, for tools
    #[arg(long)]
    pub json: bool,
    /// Which configuration.
    #[command(flatten)]
    pub config: ConfigArg,
}

/// `deploywatch alarms`.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "\
Examples:
  deploywatch alarms plan || test $? -eq 2
  deploywatch alarms apply --adopt
  deploywatch alarms status --json
  deploywatch alarms suspend
  deploywatch alarms test reboot-when-codedeploy-agent-dead"
)]
pub struct AlarmsArgs {
    /// What to do with them
    #[command(subcommand)]
    pub command: AlarmsCommand,
    /// Configuration file; a conf.d/ beside it is read as well
    /// [default: /etc/deploywatch/deploywatch.toml]
    #[arg(long = "config", value_name = "PATH", global = true)]
    pub config: Option<PathBuf>,
}

/// What can be done with alarms.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum AlarmsCommand {
    /// Show how CloudWatch differs from the configuration; exit code 2 when it does
    Plan(AlarmsPlanArgs),
    /// Make CloudWatch have the alarms of the configuration, and no others of ours
    Apply(AlarmsPlanArgs),
    /// Delete every alarm of this instance that is ours
    Delete(AlarmsTargetArgs),
    /// Show each alarm: configuration, state, last change, last action
    Status(AlarmsTargetArgs),
    /// Call no action on this instance until `resume`
    Suspend(AlarmsTargetArgs),
    /// Call actions again, and forget restarts that would suspend them at once
    Resume(AlarmsTargetArgs),
    /// Set an alarm to ALARM, so that its actions are really called
    Test(AlarmsTestArgs),
}

/// `deploywatch alarms plan` and `apply`.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct AlarmsPlanArgs {
    /// Take over alarms with our names, and keep what people added to ours
    #[arg(long)]
    pub adopt: bool,
    /// For which instance.
    #[command(flatten)]
    pub target: AlarmsTargetArgs,
}

/// For which instance, and how to answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct AlarmsTargetArgs {
    /// Another instance than this one, such as from a pipeline
    #[arg(long, value_name = "ID")]
    pub instance_id: Option<String>,
    /// Answer in JSON, for tools
    #[arg(long)]
    pub json: bool,
}

/// `deploywatch alarms test`.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct AlarmsTestArgs {
    /// The alarm's name in the configuration
    pub name: String,
    /// Do not ask: the instance may be rebooted, stopped or terminated
    #[arg(long)]
    pub yes_run_the_action: bool,
    /// For which instance.
    #[command(flatten)]
    pub target: AlarmsTargetArgs,
}

/// `deploywatch iam-policy`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
#[command(after_help = "\
Examples:
  deploywatch iam-policy --region eu-west-1 --account 111122223333 > policy.json
  deploywatch iam-policy --explain
  deploywatch iam-policy --one-off")]
pub struct IamPolicyArgs {
    /// Say in one line for each statement what it is for
    #[arg(long)]
    pub explain: bool,
    /// Print what must be permitted once in an account, to whoever sets it up
    #[arg(long, conflicts_with = "explain")]
    pub one_off: bool,
    /// Also permit `alarms apply` where the agent does not manage alarms by itself
    #[arg(long)]
    pub with_apply: bool,
    /// The Region [default: that of the configuration, else any]
    #[arg(long, value_parser = region)]
    pub region: Option<String>,
    /// The account's 12 digits [default: any]
    #[arg(long, value_parser = account)]
    pub account: Option<String>,
    /// Which configuration.
    #[command(flatten)]
    pub config: ConfigArg,
}

/// A Region: what is something else would be a policy that permits nothing.
fn region(written: &str) -> Result<String, &'static str> {
    match crate::config::is_region(written) {
        true => Ok(written.to_owned()),
        false => Err("write it as AWS does, such as eu-west-1"),
    }
}

/// An account, likewise.
fn account(written: &str) -> Result<String, &'static str> {
    match written.len() == 12 && written.bytes().all(|b| b.is_ascii_digit()) {
        true => Ok(written.to_owned()),
        false => Err("write its 12 digits, such as 111122223333"),
    }
}

/// `deploywatch demo`.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
#[command(after_help = "\
Examples:
  deploywatch demo
  deploywatch demo --keep /tmp/demo")]
pub struct DemoArgs {
    /// Play in this directory and leave everything there to be looked at
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
    /// Play without pauses
    #[arg(long)]
    pub fast: bool,
}

/// `deploywatch completions`.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
#[command(after_help = "\
Examples:
  deploywatch completions bash > /etc/bash_completion.d/deploywatch
  deploywatch completions zsh > /usr/local/share/zsh/site-functions/_deploywatch")]
pub struct CompletionsArgs {
    /// Which shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

/// Where the configuration is, for every command that needs it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct ConfigArg {
    /// Configuration file; a conf.d/ beside it is read as well
    /// [default: /etc/deploywatch/deploywatch.toml]
    #[arg(long = "config", value_name = "PATH")]
    pub path: Option<PathBuf>,
}

/// What the end of a command means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitCode {
    /// 0: all is well.
    Ok,
    /// 1: it failed; standard error says why.
    Failure,
    /// 2: the arguments make no sense (clap's own code).
    Usage,
    /// 2: `alarms plan` found a difference, as such commands say it to pipelines.
    Different,
    /// 3: `status`: no agent answers.
    NotRunning,
    /// 75: `run --once`: not everything could be delivered; another try may (`EX_TEMPFAIL`).
    Incomplete,
    /// 78: the configuration has mistakes (`EX_CONFIG`): trying again without a change is no use.
    BadConfig,
}

impl ExitCode {
    /// The code for arguments that clap did not turn into a [`Cli`]: asking for help or the
    /// version is no mistake.
    #[must_use]
    pub fn of_usage(error: &clap::Error) -> Self {
        match error.kind() {
            clap::error::ErrorKind::DisplayHelp | clap::error::ErrorKind::DisplayVersion => {
                Self::Ok
            }
            _ => Self::Usage,
        }
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(match code {
            ExitCode::Ok => 0,
            ExitCode::Failure => 1,
            ExitCode::Usage | ExitCode::Different => 2,
            ExitCode::NotRunning => 3,
            ExitCode::Incomplete => 75,
            ExitCode::BadConfig => 78,
        })
    }
}

/// The completion script for a shell.
#[must_use]
pub fn completions(shell: clap_complete::Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "deploywatch", &mut script);
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    /// The definition is consistent: shown by clap's own check.
    #[test]
    fn the_definition_holds() {
        Cli::command().debug_assert();
    }

    /// Every command line in the help texts is understood: shown by taking them out of the help
    /// of all commands.
    #[test]
    fn examples_in_help_are_understood() {
        let mut seen = 0;
        let root = Cli::command();
        for command in std::iter::once(&root).chain(root.get_subcommands()) {
            let help = command.get_after_help().unwrap().to_string();
            for line in help
                .lines()
                .filter_map(|l| l.strip_prefix("  deploywatch "))
            {
                let line = line.split(['|', '>', '&']).next().unwrap();
                let words = line.split("   ").next().unwrap().trim();
                parse(&format!("deploywatch {words}")).unwrap_or_else(|e| panic!("{words}: {e}"));
                seen += 1;
            }
        }
        assert!(seen >= 15, "only {seen} examples");
    }

    /// Arguments arrive in their fields: shown by one full line of each command.
    #[test]
    fn arguments_arrive() {
        let path = |text: &str| ConfigArg {
            path: Some(PathBuf::from(text)),
        };
        for (line, expected) in [
            (
                "deploywatch run --once --config /a",
                Command::Run(RunArgs {
                    once: true,
                    config: path("/a"),
                }),
            ),
            (
                "deploywatch check --json --config b",
                Command::Check(CheckArgs {
                    json: true,
                    online: false,
                    config: path("b"),
                }),
            ),
            (
                "deploywatch status",
                Command::Status(StatusArgs {
                    json: false,
                    config: ConfigArg::default(),
                }),
            ),
            (
                "deploywatch demo --keep /d",
                Command::Demo(DemoArgs {
                    keep: Some(PathBuf::from("/d")),
                    fast: false,
                }),
            ),
        ] {
            assert_eq!(parse(line).unwrap().command, expected);
        }
    }

    /// Help and version end well, everything that is not understood is wrong usage: shown by
    /// their codes.
    #[test]
    fn usage_has_its_codes() {
        for (line, expected) in [
            ("deploywatch --help", ExitCode::Ok),
            ("deploywatch run --help", ExitCode::Ok),
            ("deploywatch --version", ExitCode::Ok),
            ("deploywatch", ExitCode::Usage),
            ("deploywatch chek", ExitCode::Usage),
            ("deploywatch run --twice", ExitCode::Usage),
            (
                "deploywatch iam-policy --account 1111-2222",
                ExitCode::Usage,
            ),
            ("deploywatch iam-policy --region Ireland", ExitCode::Usage),
            (
                "deploywatch iam-policy --region eu-west-1a",
                ExitCode::Usage,
            ),
        ] {
            assert_eq!(
                ExitCode::of_usage(&parse(line).unwrap_err()),
                expected,
                "{line}"
            );
        }
    }

    /// Each shell gets a script that knows the commands: shown by looking for one.
    #[test]
    fn completions_know_the_commands() {
        for shell in [clap_complete::Shell::Bash, clap_complete::Shell::Fish] {
            let script = String::from_utf8(completions(shell)).unwrap();
            assert!(script.contains("status"));
        }
    }
}
