//! What the program tells about itself: error codes, completions, man pages, version.

use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;
use serde_json::json;
use weft_identity::codes::ALL;
use weft_identity::{Code, Failure};

use super::args::Cli;
use super::output::Output;

/// `weft explain`.
pub(super) fn explain(output: Output, code: Option<&str>) -> Result<(), Failure> {
    let Some(text) = code else {
        let lines: Vec<String> =
            ALL.iter().map(|code| format!("{:<22} {}", code.as_str(), code.entry().title)).collect();
        let codes: Vec<_> = ALL.iter().map(|c| json!({ "code": c.as_str(), "title": c.entry().title })).collect();
        output.result(&lines.join("\n"), json!({ "codes": codes }));
        return Ok(());
    };
    let found = Code::find(text).ok_or_else(|| {
        let near = ALL.iter().map(|code| code.as_str()).min_by_key(|near| strsim::damerau_levenshtein(near, text));
        Failure::new(
            Code::CodeUnknown,
            format!("there is no code {text:?}; the nearest is {}", near.unwrap_or_default()),
        )
    })?;
    let entry = found.entry();
    let value = json!({
        "code": entry.code,
        "title": entry.title,
        "status": entry.status,
        "proxy_status": entry.proxy_status,
        "next": entry.next_step,
        "page": entry.page,
    });
    output.result(entry.page, value);
    Ok(())
}

/// `weft config schema`, `weft policy schema`.
pub(super) fn schema(output: Output, schema: &serde_json::Value) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(schema)
        .map_err(|error| Failure::new(Code::Internal, format!("write the schema: {error}")))?;
    output.result(&text, json!({ "json_schema": schema }));
    Ok(())
}

/// `weft completion`.
pub(super) fn completion(output: Output, shell: Shell) {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "weft", &mut text);
    output.print(&text);
}

/// `weft man`.
pub(super) fn man(output: Output, into: Option<&Path>) -> Result<(), Failure> {
    let command = Cli::command();
    match into {
        None => {
            output.print(&rendered(&command)?);
            Ok(())
        }
        Some(dir) => clap_mangen::generate_to(command, dir).map_err(|error| {
            Failure::new(Code::UsageInvalid, format!("write the man pages into {}: {error}", dir.display()))
        }),
    }
}

fn rendered(command: &clap::Command) -> Result<Vec<u8>, Failure> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone())
        .render(&mut page)
        .map_err(|error| Failure::new(Code::Internal, format!("make the man page: {error}")))?;
    Ok(page)
}

/// `weft version`.
pub(super) fn version(output: Output) {
    let version = env!("CARGO_PKG_VERSION");
    output.result(&format!("weft {version}"), json!({ "version": version }));
}
