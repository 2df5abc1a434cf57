//! Opens an operator's encrypted key files. A failure names the option that gave the file.

use std::path::Path;

use weft_env::Env;
use weft_identity::{Code, Failure, KeyFile, KeyRole, MeshName, SigningKey};

/// A key file, and the option that names it.
#[derive(Clone, Copy)]
pub(super) struct KeyPlace<'a> {
    /// The option: `--root-key`.
    pub(super) option: &'static str,
    /// The file.
    pub(super) path: &'a Path,
}

impl KeyPlace<'_> {
    /// The text of the file; `code` is that of a file that cannot be read.
    pub(super) fn text(self, env: &Env, code: Code) -> Result<String, Failure> {
        let bytes =
            env.disk.read(self.path).map_err(|error| Failure::new(code, self.said(&format!("read it: {error}"))))?;
        String::from_utf8(bytes).map_err(|_| Failure::new(Code::KeyFileWrong, self.said("it is no text")))
    }

    /// The key of this owner in the file's text.
    pub(super) fn open(self, text: &str, owner: (KeyRole, &MeshName), passphrase: &str) -> Result<SigningKey, Failure> {
        KeyFile::open(text, owner, passphrase).map_err(|failure| Failure::new(failure.code, self.said(&failure.detail)))
    }

    fn said(self, what: &str) -> String {
        format!("{} {}: {what}", self.option, self.path.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_option_and_the_file() {
        let env = Env::machine();
        let place = KeyPlace { option: "--root-key", path: Path::new("/nowhere/root.key") };
        let missing = place.text(&env, Code::KeyFileWrong).unwrap_err();
        assert_eq!(missing.code, Code::KeyFileWrong);
        assert!(missing.detail.starts_with("--root-key /nowhere/root.key: read it: "), "{missing}");
        let wrong = place.open("x = 1\n", (KeyRole::Root, &"bank".parse().unwrap()), "").unwrap_err();
        assert_eq!(wrong.code, Code::KeyFileWrong);
        assert!(wrong.detail.starts_with("--root-key /nowhere/root.key: "), "{wrong}");
    }
}
