//! The command line of `weft`: every call is made with `--output json`, and a refusal is read back with its code.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// The `weft` binary: `WEFT_BIN`, or the release binary of the target directory that cargo uses.
pub fn binary() -> PathBuf {
    let found = std::env::var_os("WEFT_BIN").map(PathBuf::from).unwrap_or_else(|| target().join("release/weft"));
    assert!(found.is_file(), "{} is missing: `cargo build --release -p weft`, or set WEFT_BIN", found.display());
    found
}

fn target() -> PathBuf {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from).unwrap_or_else(default)
}

/// What a command of `weft` ended with.
#[derive(Debug)]
pub struct Outcome {
    /// The words after `weft`.
    pub words: Vec<String>,
    /// The exit code; -1 where a signal ended it.
    pub exit: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Outcome {
    /// Runs `weft` with these words and reads its end.
    pub fn of<S: AsRef<OsStr>>(words: &[S]) -> Self {
        Self::from_command(Command::new(binary()).args(words), words)
    }

    /// Runs a command that ends in a call of `weft` with these words.
    pub fn from_command<S: AsRef<OsStr>>(command: &mut Command, words: &[S]) -> Self {
        let Output { status, stdout, stderr } = command.output().expect("the command can be started");
        Self {
            words: words.iter().map(|word| word.as_ref().to_string_lossy().into_owned()).collect(),
            exit: status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&stdout).into_owned(),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
        }
    }

    /// The text it printed; panics if it failed.
    pub fn text(self) -> String {
        assert_eq!(self.exit, 0, "{self:#?}");
        self.stdout
    }

    /// The JSON it printed, checked for its schema version; panics if it failed.
    pub fn json(self) -> Value {
        assert_eq!(self.exit, 0, "{self:#?}");
        let value: Value = serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error} in {self:#?}"));
        assert_eq!(value["schema"], 1, "every JSON answer states its schema: {value:#}");
        value
    }

    /// The code it refused with; panics if it succeeded, gave no code, or named no next step.
    pub fn code(&self) -> String {
        assert!(self.exit != 0, "expected a refusal: {self:#?}");
        let line = self.stderr.lines().find(|line| line.starts_with('{')).map(str::to_owned);
        if let Some(value) = line.and_then(|line| serde_json::from_str::<Value>(&line).ok()) {
            let error = if value["error"].is_object() { &value["error"] } else { &value };
            assert!(error["next"].as_str().is_some_and(|next| !next.is_empty()), "a next step: {self:#?}");
            return error["code"].as_str().unwrap_or_else(|| panic!("a code: {self:#?}")).to_owned();
        }
        let first = self.stderr.lines().find_map(|line| line.strip_prefix("error["));
        let code = first.and_then(|rest| rest.split(']').next()).unwrap_or_else(|| panic!("a code: {self:#?}"));
        assert!(self.stderr.lines().any(|line| line.starts_with("next: ")), "a next step: {self:#?}");
        code.to_owned()
    }
}
