//! Ed25519 keys: of the root, of signers, operators, nodes and certificates. Private keys leave a process only as PKCS#8 for
//! the state directory.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};
use weft_env::Random;

/// A key file that is not an Ed25519 private key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the bytes are not an Ed25519 private key in PKCS#8")]
pub struct KeyError;

/// A private key. Cheap to clone; prints as its public half.
#[derive(Clone)]
pub struct SigningKey {
    pair: Arc<Ed25519KeyPair>,
    pkcs8: Arc<[u8]>,
}

/// The public half of a [`SigningKey`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PublicKey(pub [u8; 32]);

/// An Ed25519 signature.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "([u8; 32], [u8; 32])", into = "([u8; 32], [u8; 32])")]
pub struct Signature(pub [u8; 64]);

impl SigningKey {
    /// Makes a key.
    pub fn generate(random: &Random) -> Self {
        let mut seed = [0; 32];
        random.fill(&mut seed);
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).expect("any 32 bytes are an Ed25519 seed");
        let pkcs8 = pair.to_pkcs8().expect("a key made from a seed has its seed");
        Self { pkcs8: Arc::from(pkcs8.as_ref()), pair: Arc::new(pair) }
    }

    /// Reads a key from PKCS#8.
    pub fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, KeyError> {
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8).map_err(|_| KeyError)?;
        Ok(Self { pair: Arc::new(pair), pkcs8: Arc::from(pkcs8) })
    }

    /// The key as PKCS#8: secret.
    pub fn to_pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// The key as rustls takes it.
    pub fn to_tls(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.pkcs8.to_vec()))
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        let mut raw = [0; 32];
        raw.copy_from_slice(self.pair.public_key().as_ref());
        PublicKey(raw)
    }

    /// Signs bytes for one use: `context` is signed with them, so that no signature can be taken for another's.
    pub fn sign(&self, context: &'static str, bytes: &[u8]) -> Signature {
        let mut raw = [0; 64];
        raw.copy_from_slice(self.pair.sign(&in_context(context, bytes)).as_ref());
        Signature(raw)
    }

    /// The public half, borrowed.
    pub(crate) fn public_raw(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    /// Signs bytes as they are, for certificates.
    pub(crate) fn sign_raw(&self, bytes: &[u8]) -> Vec<u8> {
        self.pair.sign(bytes).as_ref().to_vec()
    }
}

impl PublicKey {
    /// Whether the signature is this key's over these bytes, for this use.
    pub fn verify(&self, context: &'static str, bytes: &[u8], signature: &Signature) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0).verify(&in_context(context, bytes), &signature.0).is_ok()
    }
}

/// `weft/1`, the use, a zero byte, the bytes. No use contains a zero byte, so two uses never meet in one text.
fn in_context(context: &'static str, bytes: &[u8]) -> Vec<u8> {
    debug_assert!(!context.as_bytes().contains(&0), "a context is text");
    [b"weft/1 ".as_slice(), context.as_bytes(), &[0], bytes].concat()
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public())
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({:02x}{:02x}..)", self.0[0], self.0[1])
    }
}

impl From<([u8; 32], [u8; 32])> for Signature {
    fn from((first, second): ([u8; 32], [u8; 32])) -> Self {
        let mut raw = [0; 64];
        raw[..32].copy_from_slice(&first);
        raw[32..].copy_from_slice(&second);
        Self(raw)
    }
}

impl From<Signature> for ([u8; 32], [u8; 32]) {
    fn from(signature: Signature) -> Self {
        let mut halves = ([0; 32], [0; 32]);
        halves.0.copy_from_slice(&signature.0[..32]);
        halves.1.copy_from_slice(&signature.0[32..]);
        halves
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_pkcs8_and_prints_no_secret() {
        let key = SigningKey::generate(&Random::seeded(7));
        let back = SigningKey::from_pkcs8(key.to_pkcs8()).unwrap();
        assert_eq!(back.public(), key.public());
        assert!(key.public().verify("test", b"x", &back.sign("test", b"x")));
        assert_eq!(format!("{key:?}"), format!("SigningKey({})", key.public()));
        assert_eq!(SigningKey::from_pkcs8(b"nonsense").unwrap_err(), KeyError);
    }
}
