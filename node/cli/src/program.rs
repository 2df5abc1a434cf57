//! The command line of one process: reads it, does what it says, prints the outcome and returns the exit code. Called by `main`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;
use futures_util::future::BoxFuture;
use weft_env::Env;
use weft_identity::{Code, Failure};
use weft_world::admin::TokenRequest;
use weft_world::config;

use crate::apply::{self, Place};
use crate::args::{CertCommand, Cli, Command, ConfigCommand, PolicyCommand, TokenCommand, TokenOptions};
use crate::output::Output;
use crate::{ca, check, curl, history, life, log, pages, plan, remote, revoke, why};

/// The command line was not valid.
const EXIT_USAGE: u8 = 2;
/// A part of the node crashed again and again (`EX_SOFTWARE` of sysexits.h): a service manager may tell it from a refusal.
const EXIT_BUDGET: u8 = 70;
/// The command did not do what it was told.
const EXIT_FAILURE: u8 = 1;
/// Threads for the actors and the admin API; the data path brings its own.
const ACTOR_THREADS: usize = 2;

/// How a program ended.
type Ending = BoxFuture<'static, Result<(), Failure>>;

/// The programs that run for long and lie above the command line.
pub struct Programs {
    /// `weft run`: the node of this state directory.
    pub node: fn(PathBuf) -> Ending,
    /// `weft demo`.
    pub demo: fn() -> Ending,
    /// `weft demo --check`.
    pub demo_check: fn() -> Ending,
}

/// Runs the command line of this process.
pub fn main(programs: &Programs) -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let output = cli.output;
    let log = log::start(&cli);
    let ended = in_runtime(cli, programs);
    if let Err(failure) = &ended {
        log.say(&output.failure_text(failure));
    }
    log.finish();
    ended.map_or_else(|failure| ExitCode::from(exit_code(failure.code)), |()| ExitCode::SUCCESS)
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

fn in_runtime(cli: Cli, programs: &Programs) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(ACTOR_THREADS)
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Code::Internal, format!("start the runtime: {error}")))?;
    runtime.block_on(Box::pin(dispatch(cli, programs)))
}

async fn dispatch(cli: Cli, programs: &Programs) -> Result<(), Failure> {
    let env = Env::machine();
    let Cli { dir, output, command } = cli;
    match command {
        Command::Init(options) => life::init(&env, &dir, output, options).await,
        Command::Join(options) => life::join(&env, &dir, output, options).await,
        Command::Run => (programs.node)(dir).await,
        Command::Demo { check: true } => (programs.demo_check)().await,
        Command::Demo { check: false } => (programs.demo)().await,
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
        Command::Policy { command: PolicyCommand::Schema { kind } } => {
            pages::schema(output, &weft_policy::schema(kind))
        }
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
