//! The names of things: meshes, nodes, services, cells. Every crate above uses these newtypes, and a value of one is valid.
//!
//! A name is a DNS label (RFC 1123): 1 to 63 of `a-z`, `0-9`, `-`, starting and ending with a letter or digit.
//! Node ids are shorter (32) because every gossip digest repeats them.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The domain under which services answer: `<service>.weft.internal`.
pub const SERVICE_DOMAIN: &str = "weft.internal";

/// Longest mesh, service or cell name, in bytes (one DNS label).
pub const LABEL_LEN_MAX: usize = 63;

/// Longest node id, in bytes: digests repeat it for every member.
pub const NODE_ID_LEN_MAX: usize = 32;

/// A name that is not a valid label; says which rule it broke.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} name {text:?} is not valid: {rule}")]
pub struct NameError {
    /// What was being named, for the message.
    pub kind: &'static str,
    /// The text as given.
    pub text: String,
    /// The rule that it breaks.
    pub rule: &'static str,
}

/// Returns the rule that `text` breaks as a label of at most `len_max` bytes, if any.
pub fn broken_rule(text: &str, len_max: usize) -> Option<&'static str> {
    let bytes = text.as_bytes();
    let edge = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if bytes.is_empty() {
        Some("it is empty")
    } else if bytes.len() > len_max {
        Some(if len_max == NODE_ID_LEN_MAX { "it is longer than 32 bytes" } else { "it is longer than 63 bytes" })
    } else if !bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-') {
        Some("only a-z, 0-9 and - are allowed")
    } else if !edge(bytes.first()) || !edge(bytes.last()) {
        Some("it must start and end with a letter or digit")
    } else {
        None
    }
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $len_max:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                match broken_rule(text, $len_max) {
                    Some(rule) => Err(NameError { kind: $kind, text: text.to_owned(), rule }),
                    None => Ok(Self(Arc::from(text))),
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name_type!(
    /// A mesh, which is one trust domain: the authority of its SPIFFE ids.
    MeshName, "mesh", LABEL_LEN_MAX
);
name_type!(
    /// A node of a mesh; unique in the mesh, chosen at `weft init` or `weft join`.
    NodeId, "node", NODE_ID_LEN_MAX
);
name_type!(
    /// A service that callers dial; it answers at `<service>.weft.internal`.
    ServiceName, "service", LABEL_LEN_MAX
);
name_type!(
    /// One replica of a service on its node: one application process. Unique on the node among the replicas of the service.
    ReplicaName, "replica", LABEL_LEN_MAX
);
name_type!(
    /// A cell: one gossip pool, by convention one datacenter.
    CellName, "cell", LABEL_LEN_MAX
);
name_type!(
    /// A zone inside a cell, for locality; a rack or an availability zone.
    ZoneName, "zone", LABEL_LEN_MAX
);

impl From<&ServiceName> for ReplicaName {
    /// What a replica is called whose operator does not say: like its service.
    fn from(service: &ServiceName) -> Self {
        Self(Arc::clone(&service.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_taken_and_anything_else_says_the_rule() {
        for good in ["a", "orders", "ledger-db", "4me", &"a".repeat(63)] {
            assert!(good.parse::<ServiceName>().is_ok(), "{good}");
        }
        for (bad, rule) in [
            ("", "empty"),
            ("Orders", "only a-z"),
            ("-a", "start and end"),
            ("a-", "start and end"),
            ("a.b", "only a-z"),
            ("ö", "only a-z"),
            (&"a".repeat(64), "longer than 63"),
        ] {
            let error = bad.parse::<ServiceName>().unwrap_err();
            assert!(error.rule.contains(rule), "{bad}: {error}");
        }
        assert!("a".repeat(33).parse::<NodeId>().unwrap_err().rule.contains("32"));
    }

    #[test]
    fn a_bad_name_does_not_come_in_by_serde() {
        assert!(
            serde::Deserialize::deserialize(serde::de::value::StrDeserializer::<serde::de::value::Error>::new("A"))
                .map(|_: MeshName| ())
                .is_err()
        );
    }
}
