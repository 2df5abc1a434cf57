//! Where the log of `weft run` and `weft demo` goes: standard error, as text, or as JSON lines under `--output json`.

use std::io::IsTerminal;

use tracing::level_filters::LevelFilter;

use super::args::{Cli, Command};
use super::output::Output;

/// Names the level: error, warn, info, debug, trace or off.
const LEVEL_VARIABLE: &str = "WEFT_LOG";

/// Starts the log of this process. The other commands print what they have to say, so only warnings are logged there.
pub(super) fn start(cli: &Cli) {
    let usual = match cli.command {
        Command::Run => LevelFilter::INFO,
        _ => LevelFilter::WARN,
    };
    let level = std::env::var(LEVEL_VARIABLE).ok().and_then(|text| text.parse().ok()).unwrap_or(usual);
    let terminal = std::io::stderr().is_terminal();
    let log = tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr);
    match cli.output {
        // A log that is there already is one that the caller of the library set up.
        Output::Json => drop(log.json().try_init()),
        Output::Text => drop(log.with_ansi(terminal).try_init()),
    }
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
