//! A private key encrypted with a passphrase, as text: the root key and the operator's key, which their owner keeps offline.
//!
//! Argon2id (RFC 9106) makes a key of the passphrase, AES-256-GCM encrypts; the lines above the secret are authenticated with it.

use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use weft_env::Random;

use super::keys::SigningKey;
use crate::codes::{Code, Failure};
use crate::ids::MeshName;

/// RFC 9106's second recommendation: 64 MiB, three passes, four lanes. About 0.1 s.
const MEMORY_KIB: u32 = 64 * 1024;
const PASSES: u32 = 3;
const LANES: u32 = 4;
/// A file that asks for more is not ours: 1 GiB.
const MEMORY_KIB_MAX: u32 = 1024 * 1024;
/// A file that asks for more is not ours.
const PASSES_MAX: u32 = 64;
/// RFC 9106, section 3.1.
const SALT_LEN: usize = 16;
/// A key file has 600 bytes.
const FILE_LEN_MAX: usize = 16 * 1024;

/// Whose key it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyRole {
    /// The mesh's root.
    Root,
    /// An operator's.
    Operator,
}

/// Reads and writes encrypted keys.
#[derive(Debug, Clone, Copy)]
pub struct KeyFile;

impl KeyRole {
    /// Its name: `root`, `operator`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Operator => "operator",
        }
    }
}

impl KeyFile {
    /// The key, encrypted, as the text of a file. Takes about 0.1 s of one core and 64 MiB.
    pub fn seal(
        key: &SigningKey,
        owner: (KeyRole, &MeshName),
        passphrase: &str,
        random: &Random,
    ) -> Result<String, Failure> {
        let (mut salt, mut nonce) = ([0; SALT_LEN], [0; NONCE_LEN]);
        random.fill(&mut salt);
        random.fill(&mut nonce);
        let (role, mesh) = owner;
        let head = format!(
            "# The {role} key of mesh {mesh}, encrypted with a passphrase. Keep it, and a copy, away from the machines.\n\
             weft-key = 1\nrole = \"{role}\"\nmesh = \"{mesh}\"\nkdf = \"argon2id\"\nmemory_kib = {MEMORY_KIB}\n\
             passes = {PASSES}\nlanes = {LANES}\nsalt = \"{}\"\nnonce = \"{}\"\n",
            STANDARD.encode(salt),
            STANDARD.encode(nonce),
            role = role.as_str(),
        );
        let params = Params::new(MEMORY_KIB, PASSES, LANES, Some(32)).map_err(broken)?;
        let sealing = stretched(passphrase, &salt, params)?;
        let mut secret = key.to_pkcs8().to_vec();
        sealing
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(head.as_bytes()), &mut secret)
            .map_err(broken)?;
        Ok(format!("{head}sealed = \"{}\"\n", STANDARD.encode(secret)))
    }

    /// The key in a file's text. [`Code::PassphraseWrong`] when the passphrase does not open it, [`Code::KeyFileWrong`] when it is no
    /// key file of this role and mesh.
    pub fn open(text: &str, owner: (KeyRole, &MeshName), passphrase: &str) -> Result<SigningKey, Failure> {
        let (role, mesh) = owner;
        if text.len() > FILE_LEN_MAX {
            return Err(broken("it is too long"));
        }
        let head_len = text.find("sealed = ").ok_or_else(|| broken("the line `sealed` is missing"))?;
        let (head, _) = text.split_at(head_len);
        expect(text, "weft-key", "1")?;
        let found = (field(text, "role")?, field(text, "mesh")?);
        if found != (role.as_str(), mesh.as_str()) {
            let wanted = format!("the {} key of mesh {mesh} is needed", role.as_str());
            return Err(broken(format!("it is the {} key of mesh {}, and {wanted}", found.0, found.1)));
        }
        expect(text, "kdf", "argon2id")?;
        let memory_kib = number(text, "memory_kib", MEMORY_KIB_MAX)?;
        let passes = number(text, "passes", PASSES_MAX)?;
        let lanes = number(text, "lanes", PASSES_MAX)?;
        let params = Params::new(memory_kib, passes, lanes, Some(32)).map_err(broken)?;
        let opening = stretched(passphrase, &bytes(text, "salt")?, params)?;
        let nonce = Nonce::try_assume_unique_for_key(&bytes(text, "nonce")?).map_err(broken)?;
        let mut secret = bytes(text, "sealed")?;
        let opened = opening.open_in_place(nonce, Aad::from(head.as_bytes()), &mut secret).map_err(|_| {
            Failure::new(
                Code::PassphraseWrong,
                format!("the passphrase does not open the {} key of {mesh}", role.as_str()),
            )
        })?;
        SigningKey::from_pkcs8(opened).map_err(broken)
    }
}

fn stretched(passphrase: &str, salt: &[u8], params: Params) -> Result<LessSafeKey, Failure> {
    let mut raw = [0; 32];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.as_bytes(), salt, &mut raw)
        .map_err(broken)?;
    UnboundKey::new(&AES_256_GCM, &raw).map(LessSafeKey::new).map_err(broken)
}

fn field<'a>(text: &'a str, name: &str) -> Result<&'a str, Failure> {
    text.lines()
        .filter_map(|line| line.split_once('='))
        .find(|(key, _)| key.trim() == name)
        .map(|(_, value)| value.trim().trim_matches('"'))
        .ok_or_else(|| broken(format!("the line `{name}` is missing")))
}

fn expect(text: &str, name: &str, value: &str) -> Result<(), Failure> {
    let found = field(text, name)?;
    if found == value { Ok(()) } else { Err(broken(format!("`{name}` is {found:?}, not {value:?}"))) }
}

fn number(text: &str, name: &str, max: u32) -> Result<u32, Failure> {
    let value: u32 = field(text, name)?.parse().map_err(broken)?;
    if value <= max { Ok(value) } else { Err(broken(format!("`{name}` is over {max}"))) }
}

fn bytes(text: &str, name: &str) -> Result<Vec<u8>, Failure> {
    STANDARD.decode(field(text, name)?).map_err(broken)
}

fn broken(why: impl std::fmt::Display) -> Failure {
    Failure::new(Code::KeyFileWrong, format!("this key file cannot be used: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_key_opens_with_its_passphrase_only_and_unchanged_only() {
        let random = Random::seeded(5);
        let mesh: MeshName = "bank".parse().unwrap();
        let key = SigningKey::generate(&random);
        let text = KeyFile::seal(&key, (KeyRole::Root, &mesh), "open sesame", &random).unwrap();
        let open = |text: &str, role, pass| KeyFile::open(text, (role, &mesh), pass);

        assert_eq!(open(&text, KeyRole::Root, "open sesame").unwrap().public(), key.public());
        assert_eq!(open(&text, KeyRole::Root, "wrong").unwrap_err().code, Code::PassphraseWrong);
        let other = open(&text, KeyRole::Operator, "open sesame").unwrap_err();
        assert_eq!(other.code, Code::KeyFileWrong);
        assert!(other.detail.ends_with("it is the root key of mesh bank, and the operator key of mesh bank is needed"));
        let changed = text.replace("# The root", "# the root");
        assert_eq!(open(&changed, KeyRole::Root, "open sesame").unwrap_err().code, Code::PassphraseWrong);
        let greedy = text.replace("memory_kib = 65536", "memory_kib = 4000000000");
        assert_eq!(open(&greedy, KeyRole::Root, "open sesame").unwrap_err().code, Code::KeyFileWrong);
        assert_eq!(open("", KeyRole::Root, "").unwrap_err().code, Code::KeyFileWrong);
        assert!(!text.contains(&STANDARD.encode(&key.to_pkcs8()[16..48])));
    }
}
