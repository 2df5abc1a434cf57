//! The services that one local port leads to, by the server name that a client of TLS asks for (RFC 6066, section 3). Read from the
//! configuration or the admin API, kept on disk by Listeners, asked by the data path once a stream.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use weft_identity::ServiceName;

/// Longest host name (RFC 1035, section 2.3.4).
const NAME_LEN_MAX: usize = 253;
/// Longest label of one.
const LABEL_LEN_MAX: usize = 63;
/// Most names of one port.
const NAMES_MAX: usize = 1_000;
/// Every other name, and clients that state none.
pub const ANY_NAME: &str = "*";

/// Services by server name: `orders.example`, `*.example` for all names below it, `*` for all others and for clients that state none.
/// At least one, all in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, ServiceName>", into = "BTreeMap<String, ServiceName>")]
pub struct ServerNames(BTreeMap<String, ServiceName>);

impl ServerNames {
    /// Of these names and services, at least one, each name once.
    pub fn new(given: impl IntoIterator<Item = (String, ServiceName)>) -> Result<Self, String> {
        let mut names = BTreeMap::new();
        for (name, service) in given {
            check(&name)?;
            let name = name.to_ascii_lowercase();
            if names.insert(name.clone(), service).is_some() {
                return Err(format!("names {name:?} twice"));
            }
        }
        match names.len() {
            0 => Err("names no server: { \"orders.example\" = \"orders\" }".to_owned()),
            1..=NAMES_MAX => Ok(Self(names)),
            _ => Err(format!("names more than {NAMES_MAX} servers")),
        }
    }

    /// Where a client that states this name is led; the longest name that fits wins.
    pub fn service_of(&self, stated: Option<&str>) -> Option<&ServiceName> {
        let named = stated.and_then(|name| {
            let name = name.to_ascii_lowercase();
            let below = name.match_indices('.').map(|(at, _)| format!("*{}", &name[at..]));
            self.0.get(&name).or_else(|| below.into_iter().find_map(|pattern| self.0.get(&pattern)))
        });
        named.or_else(|| self.0.get(ANY_NAME))
    }

    /// Each service that the port leads to, as often as it has names.
    pub fn services(&self) -> impl Iterator<Item = &ServiceName> {
        self.0.values()
    }
}

impl TryFrom<BTreeMap<String, ServiceName>> for ServerNames {
    type Error = String;

    fn try_from(given: BTreeMap<String, ServiceName>) -> Result<Self, String> {
        Self::new(given)
    }
}

impl From<ServerNames> for BTreeMap<String, ServiceName> {
    fn from(names: ServerNames) -> Self {
        names.0
    }
}

/// Whether this is a host name as a client may state it (RFC 1035, section 2.3.4), without a dot at its end; `_` is met in practice.
pub fn is_host_name(name: &str) -> bool {
    let is_label = |label: &str| {
        let is_known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        !label.is_empty() && label.len() <= LABEL_LEN_MAX && label.bytes().all(is_known)
    };
    name.len() <= NAME_LEN_MAX && name.split('.').all(is_label)
}

/// Whether a name can stand in a client's greeting, or for such names.
fn check(name: &str) -> Result<(), String> {
    if name == ANY_NAME {
        return Ok(());
    }
    let host = name.strip_prefix("*.").unwrap_or(name);
    if !is_host_name(host) {
        return Err(format!(
            "{name:?} is no server name: write a host without a dot at its end, \"*.\" and a host, or \"*\" alone"
        ));
    }
    // RFC 6066, section 3: no client may send one.
    let is_address = host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if is_address {
        Err(format!("{name:?} is an IP address, which no client may state as a server's name"))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(pairs: &[(&str, &str)]) -> Result<ServerNames, String> {
        ServerNames::new(pairs.iter().map(|(name, service)| ((*name).to_owned(), service.parse().unwrap())))
    }

    #[test]
    fn the_longest_name_that_fits_wins() {
        let all = names(&[
            ("Orders.bank.example", "orders"),
            ("*.bank.example", "bank"),
            ("*.cards.bank.example", "cards"),
            ("*", "portal"),
        ]);
        let all = all.unwrap();
        for (stated, service) in [
            (Some("orders.bank.example"), "orders"),
            (Some("ORDERS.BANK.EXAMPLE"), "orders"),
            (Some("new.orders.bank.example"), "bank"),
            (Some("a.cards.bank.example"), "cards"),
            (Some("cards.bank.example"), "bank"),
            (Some("bank.example"), "portal"),
            (Some("xbank.example"), "portal"),
            (Some(""), "portal"),
            (Some("*.bank.example"), "bank"),
            (None, "portal"),
        ] {
            assert_eq!(all.service_of(stated).unwrap().as_str(), service, "{stated:?}");
        }
        let few = names(&[("orders.bank.example", "orders"), ("*.cards.example", "cards")]).unwrap();
        for stated in [None, Some("bank.example"), Some("*"), Some("cards.example"), Some(".cards.exampl")] {
            assert_eq!(few.service_of(stated), None, "{stated:?}");
        }
    }

    #[test]
    fn only_what_a_client_can_state_is_a_name() {
        let long = format!("{}.example", "a".repeat(64));
        for bad in [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "*a.b",
            "a.*",
            "**",
            "*.",
            "10.0.0.1",
            "::1",
            "a b",
            "a/b",
            "é.example",
            &long,
        ] {
            let why = names(&[(bad, "orders")]).unwrap_err();
            assert!(why.contains(&format!("{bad:?}")), "{why}");
        }
        assert!(names(&[]).is_err() && names(&[("a.b", "x"), ("A.B", "y")]).is_err());
        for good in ["localhost", "_x.y-z.example", "*.example", "*", "1.example"] {
            names(&[(good, "orders")]).unwrap();
        }
    }
}
