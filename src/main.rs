//! The process: arguments, a command, one place where errors are printed, an exit code.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process;

use anyhow::Context;
use clap::Parser;
use deploywatch::cli::status::{Format, Standing};
use deploywatch::cli::terminal::{self, Colour, Plain};
use deploywatch::cli::{
    self, CheckArgs, Cli, Command, DemoArgs, ExitCode, StatusArgs, demo, first_minutes,
};
use deploywatch::codedeploy::layout::Discovery;
use deploywatch::config::{Config, Source};
use deploywatch::os::files::OsFiles;
use deploywatch::os::status_socket;
use deploywatch::tail;

fn main() -> process::ExitCode {
    let code = match Cli::try_parse() {
        Ok(cli) => run(cli.command).unwrap_or_else(|error| {
            if is_broken_pipe(&error) {
                // `deploywatch check | head`: the reader has seen enough.
                return ExitCode::Ok;
            }
            eprintln!("deploywatch: {}", terminal::escape(&format!("{error:#}")));
            ExitCode::Failure
        }),
        Err(error) => {
            // Nobody is left to tell when standard error is closed too.
            let _printed = error.print();
            ExitCode::of_usage(&error)
        }
    };
    code.into()
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref());
    causes.any(|cause: &io::Error| cause.kind() == io::ErrorKind::BrokenPipe)
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    let mut out = io::stdout().lock();
    match command {
        Command::Run(args) => {
            drop(out);
            let until = if args.once {
                cli::run::Until::Drained
            } else {
                cli::run::Until::Signalled
            };
            cli::run::run(args.config.path.as_deref(), until)
        }
        Command::Check(args) => {
            let mut out = Plain(out);
            let code = cli::check::check(&args, &mut list_files, &mut out);
            let code = code.context("failed to write")?;
            if code == ExitCode::Ok && args.online {
                return check_online(&args, &mut out);
            }
            if code == ExitCode::Ok && !args.json {
                first_minutes(args.config.path.as_deref(), &mut out)?;
            }
            Ok(code)
        }
        Command::Status(args) => status(&args, &mut out),
        Command::Alarms(args) => {
            let mut terminal = cli::alarms::Terminal {
                out: &mut Plain(out),
                err: &mut Plain(io::stderr()),
                input: &mut io::stdin().lock(),
                is_interactive: io::stdin().is_terminal(),
            };
            cli::alarms::run(&args, &mut terminal)
        }
        Command::IamPolicy(args) => {
            let code = cli::iam_policy::run(&args, &mut out, &mut io::stderr());
            code.context("failed to write")
        }
        Command::Demo(args) => demo(args, &mut out),
        Command::Completions(args) => {
            out.write_all(&cli::completions(args.shell))
                .context("failed to write")?;
            Ok(ExitCode::Ok)
        }
    }
}

fn check_online(args: &CheckArgs, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    match cli::load::load_config(args.config.path.as_deref()) {
        Ok((config, _notes)) => cli::check::online::run(&config, out),
        // Changed since it was checked.
        Err(error) => Ok(error.exit_code()),
    }
}

/// The files of a source that are there now, as the agent would find them, and where it could not look.
fn list_files(config: &Config, source: &Source) -> cli::check::Listed {
    let mut files = OsFiles::new();
    let mut discovery = Discovery::default();
    discovery.look(&mut files, &config.codedeploy);
    let built_in = discovery.layout().sources(&config.codedeploy);
    match built_in.iter().find(|other| other.name == source.name) {
        Some(built_in) => tail::list(&mut files, built_in),
        None => tail::list(&mut files, source),
    }
}

/// What this machine still lacks, after a configuration that is good.
fn first_minutes(config: Option<&Path>, out: &mut dyn Write) -> anyhow::Result<()> {
    let Ok((config, _notes)) = cli::load::load_config(config) else {
        return Ok(());
    };
    let mut discovery = Discovery::default();
    discovery.look(&mut OsFiles::new(), &config.codedeploy);
    let fetched = status_socket::fetch(&status_socket::status_socket_path(&config.agent));
    let fetched = fetched.map_err(|error| error.to_string());
    let here = first_minutes::Here {
        agent: fetched.as_ref().map_err(String::as_str),
        codedeploy: config.codedeploy.enabled.then(|| discovery.words()),
        is_codedeploy_found: !discovery.words().starts_with("waiting"),
    };
    first_minutes::write(out, &here).context("failed to write")
}

fn status(args: &StatusArgs, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let (config, _notes) = match cli::load::load_config(args.config.path.as_deref()) {
        Ok(loaded) => loaded,
        Err(error) => {
            eprintln!("{error}");
            return Ok(error.exit_code());
        }
    };
    let path = status_socket::status_socket_path(&config.agent);
    let format = if args.json {
        Format::Json
    } else {
        Format::Glance
    };
    let fetch = || status_socket::fetch(&path);
    let standing = cli::status::run(fetch, format, out, &mut io::stderr());
    Ok(match standing.context("failed to write")? {
        Standing::Well => ExitCode::Ok,
        Standing::Problems => ExitCode::Failure,
        Standing::NotRunning => ExitCode::NotRunning,
    })
}

fn demo(args: DemoArgs, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let options = demo::Options {
        pace: if args.fast {
            demo::Pace::Fast
        } else {
            demo::Pace::Live
        },
        place: args.keep.map_or(demo::Place::Temporary, demo::Place::Kept),
        binary: std::env::current_exe().context("failed to find this program")?,
        colour: Colour::detect(),
        width: terminal::width(),
    };
    Ok(
        match demo::run(&options, out).context("failed to play the demo")? {
            demo::Outcome::Complete => ExitCode::Ok,
            demo::Outcome::Incomplete => ExitCode::Failure,
        },
    )
}
