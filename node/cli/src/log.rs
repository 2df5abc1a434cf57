//! Where the log of `weft run` and `weft demo` goes: standard error, as text, or as JSON lines under `--output json`. These two never
//! wait for whoever reads it; the other commands write as they go.

mod backlog;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, IsTerminal};
use std::panic::PanicHookInfo;
use std::time::Duration;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::args::{Cli, Command};
use super::output::{Output, complain};
use backlog::Backlog;

/// Names the level: error, warn, info, debug, trace or off.
const LEVEL_VARIABLE: &str = "WEFT_LOG";
/// How long the end of the process waits for its last lines: a reader that has not read by then does not read.
const FLUSH_LIMIT: Duration = Duration::from_secs(1);

/// The log of this process.
pub(super) struct Log {
    /// None where lines are written by whoever logs.
    backlog: Option<Backlog>,
}

/// Starts the log of this process. The commands that end print what they have to say, so only warnings are logged there.
pub(super) fn start(cli: &Cli) -> Log {
    let usual = match cli.command {
        Command::Run => LevelFilter::INFO,
        _ => LevelFilter::WARN,
    };
    let level = std::env::var(LEVEL_VARIABLE).ok().and_then(|text| text.parse().ok()).unwrap_or(usual);
    let terminal = io::stderr().is_terminal();
    let backlog = match cli.command {
        Command::Run | Command::Demo { .. } => Backlog::start(io::stderr()).ok(),
        _ => None,
    };
    let writer = match backlog.clone() {
        Some(lines) => BoxMakeWriter::new(move || lines.clone()),
        None => BoxMakeWriter::new(io::stderr),
    };
    let log = tracing_subscriber::fmt().with_max_level(level).with_writer(writer);
    // What a peer does wrong is counted where it is noticed; h2 would write a line for each of its frames.
    let quiet = if level > LevelFilter::INFO { level } else { level.min(LevelFilter::ERROR) };
    let targets = Targets::new().with_default(level).with_target("h2", quiet);
    match cli.output {
        // A log that is there already is one that the caller of the library set up.
        Output::Json => drop(log.json().finish().with(targets).try_init()),
        Output::Text => drop(log.with_ansi(terminal).finish().with(targets).try_init()),
    }
    if let Some(lines) = backlog.clone() {
        std::panic::set_hook(Box::new(move |info| lines.push(panic_text(info).as_bytes())));
    }
    Log { backlog }
}

impl Log {
    /// Says the last thing of the process, behind its log.
    pub(super) fn say(&self, text: &str) {
        match &self.backlog {
            Some(lines) => lines.push(format!("{text}\n").as_bytes()),
            None => complain(text),
        }
    }

    /// Waits for what is not written yet, for a moment.
    pub(super) fn finish(&self) {
        if let Some(lines) = &self.backlog {
            lines.flush(FLUSH_LIMIT);
        }
    }
}

/// As the standard library says it; which would wait for the reader.
fn panic_text(info: &PanicHookInfo<'_>) -> String {
    let thread = std::thread::current();
    let mut text = format!("thread '{}' {info}\n", thread.name().unwrap_or("<unnamed>"));
    let trace = Backtrace::capture();
    if trace.status() == BacktraceStatus::Captured {
        text.push_str(&format!("stack backtrace:\n{trace}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_levels_of_the_manual_are_read() {
        for text in ["error", "warn", "info", "debug", "trace", "off"] {
            assert!(text.parse::<LevelFilter>().is_ok(), "{text}");
        }
    }
}
