//! Commands: arguments in, lines out. One file a command; exit status 0 fine, 1 it did not work, 2 wrong usage.
mod check;
#[cfg(feature = "demo")]
mod demo;
mod logs;
mod migrate;
mod progress;
mod run;
mod signals;
mod store;
mod token;
pub(crate) mod verify;

use crate::config::{self, Config};
use crate::fault;
use anyhow::Context;
use clap::{Parser, Subcommand};
use std::future::Future;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// From a commit in Postgres to a signed webhook.
#[derive(Debug, Parser)]
#[command(name = "tailhook", version, disable_help_subcommand = true, after_help = examples())]
struct Cli {
    /// The configuration file [default: `tailhook.toml`, or `TAILHOOK_CONFIG`]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

fn examples() -> String {
    let demo = "\n  tailhook demo --for 20s                       see it work, without any set-up";
    let demo = if cfg!(feature = "demo") { demo } else { "" };
    format!(
        "Examples:{demo}
  tailhook check --config /etc/tailhook.toml    check the file and the database
  tailhook migrate && tailhook run              make the tables, then run"
    )
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::RunArguments),
    Check(check::CheckArguments),
    Migrate(migrate::MigrateArguments),
    Verify(verify::VerifyArguments),
    Token(token::TokenArguments),
    Store(store::StoreArguments),
    #[cfg(feature = "demo")]
    Demo(demo::DemoArguments),
}

/// The whole program.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let config = ConfigSource(cli.config);
    let done = match cli.command {
        Command::Run(arguments) => run::main(arguments, &config),
        Command::Check(arguments) => check::main(&arguments, &config),
        Command::Migrate(arguments) => migrate::main(arguments, &config),
        Command::Verify(arguments) => verify::main(&arguments),
        Command::Token(arguments) => token::main(&arguments),
        Command::Store(arguments) => store::main(&arguments, &config),
        #[cfg(feature = "demo")]
        Command::Demo(arguments) => demo::main(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&error);
            ExitCode::FAILURE
        }
    }
}

/// Problems of a file stand each on its own line, ready for an editor; anything else is one line.
fn report(error: &anyhow::Error) {
    if error.is::<config::Problems>() {
        warn(&error.to_string());
    } else {
        warn(&format!("tailhook: {}", format!("{error:#}").replace('\n', " ")));
    }
}

/// A line on standard output; a reader that has gone (`| head`) is an error, not a panic.
fn say(text: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{text}")
}

/// A line on standard error; with nobody there to read it there is nobody to tell.
fn warn(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Where the configuration is.
struct ConfigSource(Option<PathBuf>);

impl ConfigSource {
    fn path(&self) -> PathBuf {
        let named = || std::env::var_os("TAILHOOK_CONFIG").filter(|name| !name.is_empty()).map(PathBuf::from);
        self.0.clone().or_else(named).unwrap_or_else(|| Path::new("tailhook.toml").to_owned())
    }
    fn load(&self) -> Result<Config, config::Problems> {
        config::load(&self.path(), &environment)
    }
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Runs an asynchronous command to its end.
fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime =
        runtime.context("the threads cannot be started; raise the limit of processes (ulimit -u)")?;
    let done = runtime.block_on(work);
    // a call that a hung disk holds must not hold the end
    if !fault::planted("end-waits") {
        runtime.shutdown_background();
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn arguments_are_consistent_and_every_command_shows_an_example() {
        let command = Cli::command();
        command.clone().debug_assert();
        for command in command.get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("tailhook "), "{} has no example", command.get_name());
        }
    }
}
