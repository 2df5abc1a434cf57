//! The passphrase of the root and operator keys: from a file, the environment or the terminal.

use std::io::IsTerminal;
use std::path::Path;

use weft_env::Env;
use weft_identity::{Code, Failure, KeyRole};

/// Bytes of a passphrase that is made: 128 bits cannot be guessed.
const PASSPHRASE_LEN: usize = 16;

/// Where a new key's passphrase comes from.
pub(super) enum Passphrase {
    /// The operator gave it.
    Given(String),
    /// It was made, and must be shown.
    Made(String),
}

/// For new keys: from the file, the environment or the terminal, asked for twice; with none of them, a new one.
pub(super) fn for_new_keys(env: &Env, file: Option<&Path>) -> Result<Passphrase, Failure> {
    if let Some(text) = stated(env, file)? {
        return Ok(Passphrase::Given(text));
    }
    if !std::io::stdin().is_terminal() {
        let mut bytes = [0; PASSPHRASE_LEN];
        env.random.fill(&mut bytes);
        return Ok(Passphrase::Made(bytes.iter().map(|byte| format!("{byte:02x}")).collect()));
    }
    let first = asked("Passphrase for the new keys: ")?;
    if asked("Once more: ")? != first {
        return Err(missing("the two were not the same".to_owned()));
    }
    Ok(Passphrase::Given(first))
}

/// For a key that exists: from the file, the environment or the terminal.
pub(super) fn for_old_key(env: &Env, key: KeyRole, file: Option<&Path>) -> Result<String, Failure> {
    match stated(env, file)? {
        Some(text) => Ok(text),
        None if std::io::stdin().is_terminal() => asked(&format!("Passphrase of the {} key: ", key.as_str())),
        None => Err(missing("there is no terminal to ask on".to_owned())),
    }
}

fn stated(env: &Env, file: Option<&Path>) -> Result<Option<String>, Failure> {
    let text = if let Some(path) = file {
        let bytes = env.disk.read(path).map_err(|error| missing(format!("read {}: {error}", path.display())))?;
        String::from_utf8(bytes).map_err(|_| missing(format!("{} is not UTF-8", path.display())))?
    } else if let Ok(text) = std::env::var("WEFT_PASSPHRASE") {
        text
    } else {
        return Ok(None);
    };
    cleaned(&text).map(Some)
}

fn asked(prompt: &str) -> Result<String, Failure> {
    let text = rpassword::prompt_password(prompt).map_err(|error| missing(format!("read it: {error}")))?;
    cleaned(&text)
}

fn cleaned(text: &str) -> Result<String, Failure> {
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(missing("the passphrase is empty".to_owned())),
        text => Ok(text.to_owned()),
    }
}

fn missing(detail: String) -> Failure {
    Failure::new(Code::PassphraseMissing, detail)
}
