//! `weft demo`: a bank on this machine. Five nodes in one process, each on its own loopback address, with small applications
//! that really call each other through the mesh.

mod app;
mod bank;
mod check;

use std::io::Write;
use std::time::Duration;

use weft_identity::{Code, Failure};

use bank::Bank;

/// What `weft demo` does once the mesh stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DemoMode {
    /// Prints what to try and waits for Ctrl-C.
    Stay,
    /// Makes the calls, kills a replica, looks whether calls go on, and ends.
    Check,
}

/// Runs the demo. An error says which of its promises did not hold.
pub async fn run(mode: DemoMode) -> Result<(), Failure> {
    let start = tokio::time::Instant::now();
    say("Starting a bank of five nodes on 127.0.1.1 to 127.0.1.5 ...")?;
    let mut bank = Bank::start().await?;
    let outcome = tour(&mut bank, mode, start).await;
    bank.stop().await;
    outcome
}

async fn tour(bank: &mut Bank, mode: DemoMode, start: tokio::time::Instant) -> Result<(), Failure> {
    bank.first_call().await?;
    say(&format!("First call over mutual TLS after {:.1} s.\n", start.elapsed().as_secs_f64()))?;
    match mode {
        DemoMode::Stay => {
            say(&bank.page())?;
            tokio::signal::ctrl_c().await.map_err(|e| Failure::new(Code::Internal, format!("wait for Ctrl-C: {e}")))?;
            say("\nStopping.")
        }
        DemoMode::Check => checked(bank).await,
    }
}

async fn checked(bank: &mut Bank) -> Result<(), Failure> {
    let outbound = bank.caller();
    bank.every_service_reachable().await?;
    for line in check::invited_calls(outbound).await? {
        say(&format!("ok   {line}"))?;
    }
    let seen = check::replicas_seen(outbound, "accounts", "/accounts/7").await?;
    if seen.len() < 2 {
        return Err(Failure::new(Code::CheckFailed, format!("only {seen:?} answered for accounts")));
    }
    say(&format!("ok   accounts is answered by {}", Vec::from_iter(seen).join(" and ")))?;
    bank.kill_replica("accounts", "vm-b");
    say("     killed accounts on vm-b")?;
    let line = check::calls_go_on(outbound, "accounts", "/accounts/7").await?;
    say(&format!("ok   {line}"))?;
    bank.kill_node("vm-e").await;
    say("     stopped the node vm-e, which had a replica of orders and of payments")?;
    for line in check::invited_calls(outbound).await? {
        say(&format!("ok   {line}"))?;
    }
    say("Everything held.")
}

/// Prints a line of the demo to the terminal.
fn say(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")
        .and_then(|()| out.flush())
        .map_err(|e| Failure::new(Code::OutputFailed, format!("print: {e}")))
}

/// How long the demo waits for its mesh to stand.
const STAND_TIMEOUT: Duration = Duration::from_secs(30);
