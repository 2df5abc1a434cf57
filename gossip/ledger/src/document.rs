//! One table of a policy file as its operator wrote it. A value of these types is within its limits.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use weft_identity::Grants;
use weft_identity::ids::{self, LABEL_LEN_MAX, ServiceName};
use weft_identity::wire::{self, Kind};

use super::hash::Hash;

/// Longest text of a document, in bytes: a table with hundreds of rules has a tenth of it.
pub const TEXT_LEN_MAX: usize = 64 * 1024;
/// Longest file name, in bytes; it is shown, not opened.
pub const FILE_LEN_MAX: usize = 256;
/// Most services that one document names; above it, the document is for the whole mesh.
pub const SERVICES_MAX: usize = 64;
/// Longest kind, in bytes.
pub const KIND_LEN_MAX: usize = 32;

/// Which document: its kind and its name, `route/orders-canary`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DocumentId {
    text: Arc<str>,
    slash: usize,
}

/// A document that is not one, or over a limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("document {name:?}: {rule}")]
pub struct DocumentError {
    /// As it was given.
    pub name: String,
    /// The rule that it breaks.
    pub rule: &'static str,
}

/// One document.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "DocumentParts", into = "DocumentParts")]
pub struct Document {
    parts: DocumentParts,
}

/// What a [`Document`] is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentParts {
    /// Kind and name.
    pub id: DocumentId,
    /// The services that it concerns; none means the whole mesh.
    pub services: Option<BTreeSet<ServiceName>>,
    /// The file that it stood in.
    pub file: String,
    /// The first line of it in that file, from 1.
    pub line: u32,
    /// The table as it was written.
    pub text: String,
}

impl DocumentId {
    /// An id of its two parts.
    pub fn new(kind: &str, name: &str) -> Result<Self, DocumentError> {
        let error = |rule| DocumentError { name: format!("{kind}/{name}"), rule };
        let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_lowercase);
        let bytes = kind.as_bytes();
        if bytes.len() > KIND_LEN_MAX {
            return Err(error("its kind is longer than 32 bytes"));
        }
        let letters = bytes.iter().all(|byte| byte.is_ascii_lowercase() || *byte == b'-');
        if !letters || !edge(bytes.first()) || !edge(bytes.last()) {
            return Err(error("its kind is not of a-z and -"));
        }
        if let Some(rule) = ids::broken_rule(name, LABEL_LEN_MAX) {
            return Err(error(rule));
        }
        Ok(Self { text: format!("{kind}/{name}").into(), slash: kind.len() })
    }

    /// What sort of document: `route`.
    pub fn kind(&self) -> &str {
        &self.text[..self.slash]
    }

    /// Which one of its kind: `orders-canary`.
    pub fn name(&self) -> &str {
        &self.text[self.slash + 1..]
    }
}

impl FromStr for DocumentId {
    type Err = DocumentError;

    fn from_str(text: &str) -> Result<Self, DocumentError> {
        match text.split_once('/') {
            Some((kind, name)) => Self::new(kind, name),
            None => Err(DocumentError { name: text.to_owned(), rule: "it is not of the form kind/name" }),
        }
    }
}

impl TryFrom<String> for DocumentId {
    type Error = DocumentError;

    fn try_from(text: String) -> Result<Self, DocumentError> {
        text.parse()
    }
}

impl From<DocumentId> for String {
    fn from(id: DocumentId) -> Self {
        id.text.as_ref().to_owned()
    }
}

impl fmt::Display for DocumentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for DocumentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Document {
    /// A document, if its parts are within the limits.
    pub fn new(parts: DocumentParts) -> Result<Self, DocumentError> {
        let broken = if parts.text.len() > TEXT_LEN_MAX {
            "its text is longer than 64 KiB"
        } else if parts.file.len() > FILE_LEN_MAX {
            "its file name is longer than 256 bytes"
        } else if parts.services.as_ref().is_some_and(|services| services.len() > SERVICES_MAX) {
            "it names more than 64 services"
        } else {
            return Ok(Self { parts });
        };
        Err(DocumentError { name: parts.id.to_string(), rule: broken })
    }

    /// Its content's address: SHA-256 over its wire encoding.
    pub fn hash(&self) -> Hash {
        let bytes = wire::encode(Kind::Document, self).expect("what is within its limits is below the wire's");
        Hash::of(&bytes)
    }

    /// Kind and name.
    pub fn id(&self) -> &DocumentId {
        &self.parts.id
    }

    /// The services that it concerns; none means the whole mesh.
    pub fn services(&self) -> Option<&BTreeSet<ServiceName>> {
        self.parts.services.as_ref()
    }

    /// The file that it stood in.
    pub fn file(&self) -> &str {
        &self.parts.file
    }

    /// The first line of it in that file.
    pub fn line(&self) -> u32 {
        self.parts.line
    }

    /// The table as it was written.
    pub fn text(&self) -> &str {
        &self.parts.text
    }

    /// About how many bytes it takes.
    pub fn size(&self) -> usize {
        let services: usize = self.parts.services.iter().flatten().map(|name| name.as_str().len() + 1).sum();
        self.parts.id.text.len() + services + self.parts.file.len() + self.parts.text.len() + DOCUMENT_OVERHEAD
    }
}

/// Bytes of a document besides its texts: lengths, line, hash and the maps that hold it.
const DOCUMENT_OVERHEAD: usize = 64;

impl TryFrom<DocumentParts> for Document {
    type Error = DocumentError;

    fn try_from(parts: DocumentParts) -> Result<Self, DocumentError> {
        Self::new(parts)
    }
}

impl From<Document> for DocumentParts {
    fn from(document: Document) -> Self {
        document.parts
    }
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Document({} {}:{})", self.parts.id, self.parts.file, self.parts.line)
    }
}

/// Declared services as a scope.
pub(super) fn scope_of(services: Option<&BTreeSet<ServiceName>>) -> Grants {
    services.map_or(Grants::All, |services| Grants::Only(services.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts() -> DocumentParts {
        DocumentParts {
            id: "route/orders".parse().unwrap(),
            services: Some(["orders".parse().unwrap()].into()),
            file: "policies/orders.toml".to_owned(),
            line: 14,
            text: "[route]".to_owned(),
        }
    }

    #[test]
    fn an_id_is_a_kind_and_a_name() {
        let id: DocumentId = "rate-limit/orders-2".parse().unwrap();
        assert_eq!((id.kind(), id.name()), ("rate-limit", "orders-2"));
        assert_eq!(id.to_string(), "rate-limit/orders-2");
        let long = format!("{}/a", "k".repeat(33));
        for bad in ["", "route", "/a", "route/", "Route/a", "r2/a", "-r/a", "r-/a", "route/A", "route/a/b", &long] {
            assert!(bad.parse::<DocumentId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn every_part_of_a_document_is_in_its_hash() {
        let same = Document::new(parts()).unwrap().hash();
        assert_eq!(Document::new(parts()).unwrap().hash(), same);
        let changes: [fn(&mut DocumentParts); 5] = [
            |parts| parts.id = "route/order".parse().unwrap(),
            |parts| parts.services = None,
            |parts| parts.file.push('x'),
            |parts| parts.line += 1,
            |parts| parts.text.push(' '),
        ];
        for change in changes {
            let mut other = parts();
            change(&mut other);
            assert_ne!(Document::new(other).unwrap().hash(), same);
        }
    }

    #[test]
    fn what_is_over_a_limit_is_no_document_and_does_not_come_in_over_the_wire() {
        let changes: [fn(&mut DocumentParts); 3] = [
            |parts| parts.text = "x".repeat(TEXT_LEN_MAX + 1),
            |parts| parts.file = "x".repeat(FILE_LEN_MAX + 1),
            |parts| parts.services = Some((0..=SERVICES_MAX).map(|n| format!("s{n}").parse().unwrap()).collect()),
        ];
        for change in changes {
            let mut over = parts();
            change(&mut over);
            let bytes = wire::encode(Kind::Document, &over).unwrap();
            assert!(wire::decode::<Document>(Kind::Document, &bytes, bytes.len()).is_err());
            assert!(Document::new(over).is_err());
        }
        let bytes = wire::encode(Kind::Document, &Document::new(parts()).unwrap()).unwrap();
        assert_eq!(wire::decode::<Document>(Kind::Document, &bytes, 1000).unwrap(), Document::new(parts()).unwrap());
    }
}
