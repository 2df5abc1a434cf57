//! `weft-sim`: runs a scenario on virtual time from a seed and prints what happened. `weft sim …` starts it.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use weft_env::{Link, Traffic};
use weft_identity::Failure;
use weft_sim::{Event, Simulation, enrolment, fleet, membership, policies};

#[derive(Parser)]
#[command(name = "weft-sim", version, about = "Many nodes in one process on virtual time from one seed")]
struct Arguments {
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Subcommand)]
enum Scenario {
    /// Lets nodes join a signer, each with a token of its own; fails unless all get in
    Enrolment(Run),
    /// Starts nodes that find each other by gossip, then changes one endpoint; fails unless all agree on both
    Membership(Run),
    /// Starts the whole actor tree of each node, then lets one service appear; fails unless all agree on both
    Fleet(Run),
    /// Applies revisions: without loss, with loss, and on both sides of a split; fails unless all nodes end alike
    Policies(PoliciesRun),
}

#[derive(Args, Clone, Copy)]
struct Run {
    /// How many nodes
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(2..=600))]
    nodes: u16,
    /// One seed gives one run
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The part of packets that get lost, in percent
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=50))]
    loss: u8,
    /// Prints the summary only
    #[arg(long)]
    quiet: bool,
}

#[derive(Args, Clone, Copy)]
struct PoliciesRun {
    #[command(flatten)]
    run: Run,
    /// How long the split lasts, in seconds
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u64).range(10..=86_400))]
    split: u64,
}

impl Run {
    fn link(self) -> Link {
        Link { loss: f64::from(self.loss) / 100.0, ..Link::default() }
    }
}

fn main() -> anyhow::Result<ExitCode> {
    match Arguments::parse().scenario {
        Scenario::Enrolment(run) => {
            let scenario = async move |simulation: Simulation| enrolment::run(&simulation, run.nodes).await;
            let report = Simulation::run(run.seed, run.link(), scenario)?.map_err(failed)?;
            let summary = [format!("{} of {} nodes joined", report.joined, run.nodes)];
            print(run, &report.events, &summary, report.traffic)?;
            Ok(held(report.joined == usize::from(run.nodes)))
        }
        Scenario::Membership(run) => {
            let scenario = async move |simulation: Simulation| membership::run(&simulation, run.nodes).await;
            let report = Simulation::run(run.seed, run.link(), scenario)?.map_err(failed)?;
            let summary = [
                format!("all agreed after {}", seconds(report.agreed_after)),
                format!("one changed endpoint was known everywhere within {}", seconds(report.spread_within)),
            ];
            print(run, &report.events, &summary, report.traffic)?;
            Ok(held(report.agreed_after.is_some() && report.spread_within.is_some()))
        }
        Scenario::Fleet(run) => {
            let scenario = async move |simulation: Simulation| Box::pin(fleet::run(&simulation, run.nodes)).await;
            let report = Simulation::run(run.seed, run.link(), scenario)?.map_err(failed)?;
            let summary = [
                format!("all agreed after {}", seconds(report.agreed_after)),
                format!("a new service was known everywhere within {}", seconds(report.spread_within)),
            ];
            print(run, &report.events, &summary, report.traffic)?;
            Ok(held(report.agreed_after.is_some() && report.spread_within.is_some()))
        }
        Scenario::Policies(PoliciesRun { run, split }) => {
            let span = Duration::from_secs(split);
            let scenario =
                async move |simulation: Simulation| Box::pin(policies::run(&simulation, run.nodes, span)).await;
            let report = Simulation::run(run.seed, run.link(), scenario)?.map_err(failed)?;
            let times = [report.applied_within, report.applied_with_loss_within, report.healed_within];
            let summary = [
                format!("a revision was in force everywhere within {}", seconds(times[0])),
                format!("with 10 % loss within {}", seconds(times[1])),
                format!(
                    "a split of {split} s healed to one history within {}, {} set aside",
                    seconds(times[2]),
                    report.set_aside
                ),
            ];
            print(run, &report.events, &summary, report.traffic)?;
            Ok(held(times.iter().all(Option::is_some) && report.set_aside == 1))
        }
    }
}

fn seconds(span: Option<Duration>) -> String {
    span.map_or("never".to_owned(), |span| format!("{:.3} s", span.as_secs_f64()))
}

fn failed(failure: Failure) -> anyhow::Error {
    anyhow::anyhow!("{}: {}", failure.code, failure.detail)
}

fn held(all: bool) -> ExitCode {
    if all { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn print(run: Run, events: &[Event], summary: &[String], traffic: Traffic) -> anyhow::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut write = || {
        for event in events.iter().filter(|_| !run.quiet) {
            writeln!(out, "{event}")?;
        }
        for line in summary {
            writeln!(out, "{line}")?;
        }
        writeln!(out, "{} streams, {} datagrams", traffic.streams_opened, traffic.datagrams_sent)?;
        out.flush()
    };
    write().context("write to standard output")
}
