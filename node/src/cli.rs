//! The command line: reads it, does what it says, prints the outcome and returns the exit code. Called by `main`.

mod apply;
mod args;
mod ca;
mod check;
mod client;
mod curl;
mod history;
mod key;
mod life;
mod log;
mod output;
mod pages;
mod passphrase;
mod plan;
mod policies;
mod receipt;
mod remote;
mod revoke;
mod status;
mod target;
mod why;

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;
use weft_env::Env;
use weft_gateway::policy;
use weft_gossip::{Code, Failure};

pub use args::{Cli, Command};
pub use output::Output;

use crate::admin::TokenRequest;
use crate::config;
use crate::demo::{self, DemoMode};
use crate::node::{self, NodeOptions};
use apply::Place;
use args::{CertCommand, ConfigCommand, PolicyCommand, TokenCommand, TokenOptions};

/// The command line was not valid.
const EXIT_USAGE: u8 = 2;
/// A part of the node crashed again and again (`EX_SOFTWARE` of sysexits.h): a service manager may tell it from a refusal.
const EXIT_BUDGET: u8 = 70;
/// The command did not do what it was told.
const EXIT_FAILURE: u8 = 1;
/// Threads for the actors and the admin API; the data path brings its own.
const ACTOR_THREADS: usize = 2;

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let output = cli.output;
    log::start(&cli);
    match in_runtime(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output.failure(&failure);
            ExitCode::from(exit_code(failure.code))
        }
    }
}

fn exit_code(code: Code) -> u8 {
    match code {
        Code::UsageInvalid | Code::CodeUnknown => EXIT_USAGE,
        Code::RestartBudgetSpent => EXIT_BUDGET,
        _ => EXIT_FAILURE,
    }
}

fn usage(error: &clap::Error) -> ExitCode {
    let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    if asked {
        Output::Text.print(error.render().to_string().as_bytes());
        return ExitCode::SUCCESS;
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        // Goes to standard error; what cannot be written there has the exit code left.
        let _unsaid = error.print();
        return ExitCode::from(EXIT_USAGE);
    }
    let words: Vec<String> = std::env::args().collect();
    let json = words.iter().any(|word| word == "--output=json")
        || words.windows(2).any(|pair| pair[0] == "--output" && pair[1] == "json");
    let text = error.render().to_string();
    let detail = text.trim().trim_start_matches("error: ").to_owned();
    let output = if json { Output::Json } else { Output::Text };
    output.failure(&Failure::new(Code::UsageInvalid, detail));
    ExitCode::from(EXIT_USAGE)
}

fn in_runtime(cli: Cli) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(ACTOR_THREADS)
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Code::Internal, format!("start the runtime: {error}")))?;
    runtime.block_on(Box::pin(dispatch(cli)))
}

async fn dispatch(cli: Cli) -> Result<(), Failure> {
    let env = Env::machine();
    let Cli { dir, output, command } = cli;
    match command {
        Command::Init(options) => life::init(&env, &dir, output, options).await,
        Command::Join(options) => life::join(&env, &dir, output, options).await,
        Command::Run => node::run(NodeOptions::new(dir)).await,
        Command::Demo { check: true } => demo::run(DemoMode::Check).await,
        Command::Demo { check: false } => demo::run(DemoMode::Stay).await,
        Command::Token { command: TokenCommand::Create(options) } => {
            let TokenOptions { grants, grant_all, signer, labels, removed_labels, cell, ttl } = options;
            let labels = remote::label_changes(labels, removed_labels)?;
            let request = TokenRequest { grants, grant_all, signer, labels, cell, ttl_seconds: ttl.as_secs() };
            remote::create_token(&dir, output, request).await
        }
        Command::Expose(options) => remote::expose(&dir, output, options).await,
        Command::Bind(options) => remote::bind(&dir, output, options).await,
        Command::Leave => remote::leave(&dir, output).await,
        Command::Status => remote::status(&dir, output).await,
        Command::Ls { what, name } => remote::list(&dir, output, what, name).await,
        Command::Cert { command: CertCommand::Ls } => remote::list_certificates(&dir, output).await,
        Command::Ca { command } => ca::run(&env, &dir, output, command).await,
        Command::Plan(options) => plan::run(&dir, output, options).await,
        Command::Apply(options) => apply::run(Place { env: &env, dir: &dir, output }, options).await,
        Command::Confirm(options) => apply::confirm(Place { env: &env, dir: &dir, output }, options).await,
        Command::History(options) => history::run(&dir, output, options).await,
        Command::Rollback(options) => apply::rollback(Place { env: &env, dir: &dir, output }, options).await,
        Command::Revoke { command } => revoke::run(Place { env: &env, dir: &dir, output }, command).await,
        Command::Curl(options) => curl::run(&env, &dir, output, options).await,
        Command::Check => check::run(&env, &dir, output).await,
        Command::Why(options) => why::run(&dir, output, options).await,
        Command::Route(options) => why::route(&dir, output, options).await,
        Command::Config { command: ConfigCommand::Schema } => pages::schema(output, &config::config_schema()),
        Command::Policy { command: PolicyCommand::Schema { kind } } => pages::schema(output, &policy::schema(kind)),
        Command::Explain { code } => pages::explain(output, code.as_deref()),
        Command::Completion { shell } => {
            pages::completion(output, shell);
            Ok(())
        }
        Command::Man { into } => pages::man(output, into.as_deref()),
        Command::Version => {
            pages::version(output);
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests;
