//! The join token: everything that a new machine needs to know of a mesh, and the secret that admits it once. One line of text:
//! `weft1.` and base64url of a wire message.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use weft_env::{Random, Timestamp};

use super::certificate::Fingerprint;
use super::enrolment::{Grants, Roles};
use super::labels::LabelChanges;
use crate::codes::{Code, Failure};
use crate::ids::{CellName, MeshName, NodeId};
use crate::wire::{self, Kind};

/// What every token starts with; the digit is the version of the form.
const PREFIX: &str = "weft1.";
/// No token is longer; 100 grants of the longest names are 9 KB as text, with labels 11 KB.
const TOKEN_LEN_MAX: usize = 16 * 1024;

/// Names a token in the signer's book; no secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TokenId(pub [u8; 8]);

/// What admits; prints as nothing.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenSecret(pub [u8; 32]);

/// Admits one node to a mesh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinToken {
    /// The mesh.
    pub mesh: MeshName,
    /// Its root certificate's fingerprint.
    pub root_fingerprint: Fingerprint,
    /// Nodes to dial, the signer first.
    pub seeds: Vec<SocketAddr>,
    /// The signer that issued it, and alone redeems it.
    pub signer: NodeId,
    /// Its name.
    pub id: TokenId,
    /// What admits.
    pub secret: TokenSecret,
    /// Until when.
    #[serde(with = "crate::wire::timestamp")]
    pub expires_at: Timestamp,
    /// What the node may offer.
    pub grants: Grants,
    /// What else it may be.
    pub roles: Roles,
    /// What becomes of its labels.
    pub labels: LabelChanges,
    /// The cell that it joins.
    pub cell: CellName,
}

impl TokenId {
    /// A new one.
    pub fn generate(random: &Random) -> Self {
        let mut raw = [0; 8];
        random.fill(&mut raw);
        Self(raw)
    }
}

impl TokenSecret {
    /// A new one.
    pub fn generate(random: &Random) -> Self {
        let mut raw = [0; 32];
        random.fill(&mut raw);
        Self(raw)
    }

    /// What the signer keeps of it. A hash of 32 random bytes needs no salt.
    pub fn hashed(&self) -> [u8; 32] {
        let mut raw = [0; 32];
        raw.copy_from_slice(digest(&SHA256, &self.0).as_ref());
        raw
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for TokenSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenSecret")
    }
}

/// The whole token with its secret, as it is handed over.
impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = wire::encode(Kind::Token, self).map_err(|_| fmt::Error)?;
        write!(f, "{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for JoinToken {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        let malformed = |why: String| Failure::new(Code::TokenMalformed, why);
        let text = text.trim();
        let body = text
            .strip_prefix(PREFIX)
            .ok_or_else(|| malformed(format!("a join token starts with {PREFIX:?}; this text does not")))?;
        if body.len() > TOKEN_LEN_MAX {
            return Err(malformed(format!(
                "the token has {} characters, at most {TOKEN_LEN_MAX} are read",
                body.len()
            )));
        }
        let bytes = URL_SAFE_NO_PAD
            .decode(body)
            .map_err(|_| malformed("the token was cut off or changed when it was copied".to_owned()))?;
        wire::decode(Kind::Token, &bytes, TOKEN_LEN_MAX)
            .map_err(|_| malformed("the token was cut off or changed when it was copied".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token() -> JoinToken {
        let random = Random::seeded(3);
        JoinToken {
            mesh: "bank".parse().unwrap(),
            root_fingerprint: Fingerprint([7; 32]),
            seeds: vec!["10.0.0.11:4510".parse().unwrap()],
            signer: "vm-a".parse().unwrap(),
            id: TokenId::generate(&random),
            secret: TokenSecret::generate(&random),
            expires_at: Timestamp(1000),
            grants: Grants::Only(["web".parse().unwrap()].into()),
            roles: Roles::default(),
            labels: LabelChanges::new([("team".to_owned(), "web".to_owned())], ["env".to_owned()]).unwrap(),
            cell: "default".parse().unwrap(),
        }
    }

    #[test]
    fn a_token_reads_back_and_a_damaged_one_says_so() {
        let text = token().to_string();
        assert_eq!(text.parse::<JoinToken>().unwrap(), token());
        assert_eq!(format!(" {text}\n").parse::<JoinToken>().unwrap(), token());
        for cut in 0..text.len() {
            assert_eq!(text[..cut].parse::<JoinToken>().unwrap_err().code, Code::TokenMalformed, "{cut}");
        }
        assert_eq!("x".parse::<JoinToken>().unwrap_err().code, Code::TokenMalformed);
        let long = format!("weft1.{}", "A".repeat(TOKEN_LEN_MAX + 1));
        assert_eq!(long.parse::<JoinToken>().unwrap_err().code, Code::TokenMalformed);
    }

    #[test]
    fn a_token_prints_no_secret_by_accident() {
        assert!(!format!("{:?}", token()).contains(&format!("{:?}", token().secret.0)));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "(weft1\\.)?[A-Za-z0-9_-]{0,200}") {
            let _ = text.parse::<JoinToken>();
        }
    }
}
