//! Labels that a signer granted to a node: `team=payments`. They stand in its enrolment and in every certificate of the node and its
//! replicas, and rules ask for them. The labels that a node states of its replicas in gossip are something else: they prove nothing.

use std::collections::BTreeMap;
use std::collections::btree_map::Iter;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Most labels of a node. With the longest texts they are 1,023 bytes, and a certificate's description has at most 1,024 (X.520).
pub const GRANTED_LABELS_MAX: usize = 8;
/// Longest name and longest value of a label, in bytes.
const GRANTED_TEXT_LEN_MAX: usize = 63;

/// Labels that cannot be granted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// Not a name and a value.
    #[error("the label {0:?} is not NAME=VALUE")]
    Form(String),
    /// A name or value with other characters, or too long.
    #[error(
        "{0:?} cannot be the name or value of a granted label: 1 to {GRANTED_TEXT_LEN_MAX} of A-Z, a-z, 0-9, -, _, . and / can"
    )]
    Text(String),
    /// A name that is stated twice.
    #[error("the label {0:?} is stated twice")]
    Twice(String),
    /// More than a certificate carries.
    #[error("{0} granted labels are more than {GRANTED_LABELS_MAX}")]
    Many(usize),
    /// Not in the one form in which certificates carry them.
    #[error("the labels {0:?} are not in order")]
    Order(String),
}

/// The labels that a signer granted to a node, by name; none by default. Always valid; as text `name=value,name=value`, in the order of
/// the names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, String>", into = "BTreeMap<String, String>")]
pub struct GrantedLabels(BTreeMap<String, String>);

/// What a token does to the labels of the node that redeems it: by name, the value that it gets, or none where the label is taken away. Of
/// other names it says nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, Option<String>>", into = "BTreeMap<String, Option<String>>")]
pub struct LabelChanges(BTreeMap<String, Option<String>>);

impl GrantedLabels {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Names and values, in the order of the names.
    pub fn iter(&self) -> Iter<'_, String, String> {
        self.0.iter()
    }

    /// Whether all of `others` are among them.
    pub fn includes(&self, others: &Self) -> bool {
        others.iter().all(|(name, value)| self.0.get(name) == Some(value))
    }

    /// These, after a token's changes.
    pub fn after(&self, changes: &LabelChanges) -> Result<Self, LabelError> {
        let mut labels = self.0.clone();
        for (name, value) in &changes.0 {
            match value {
                Some(value) => labels.insert(name.clone(), value.clone()),
                None => labels.remove(name),
            };
        }
        Self::try_from(labels)
    }
}

impl<'l> IntoIterator for &'l GrantedLabels {
    type Item = (&'l String, &'l String);
    type IntoIter = Iter<'l, String, String>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl TryFrom<BTreeMap<String, String>> for GrantedLabels {
    type Error = LabelError;

    fn try_from(labels: BTreeMap<String, String>) -> Result<Self, LabelError> {
        labels.iter().flat_map(|(name, value)| [name, value]).try_for_each(|text| check(text))?;
        if labels.len() > GRANTED_LABELS_MAX {
            return Err(LabelError::Many(labels.len()));
        }
        Ok(Self(labels))
    }
}

impl From<GrantedLabels> for BTreeMap<String, String> {
    fn from(labels: GrantedLabels) -> Self {
        labels.0
    }
}

impl fmt::Display for GrantedLabels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (name, value)) in self.0.iter().enumerate() {
            let comma = if number == 0 { "" } else { "," };
            write!(f, "{comma}{name}={value}")?;
        }
        Ok(())
    }
}

/// Reads the text that [`GrantedLabels`] prints and no other; no labels have no text.
impl FromStr for GrantedLabels {
    type Err = LabelError;

    fn from_str(text: &str) -> Result<Self, LabelError> {
        let pairs = text.split(',').map(granted_label).collect::<Result<Vec<_>, _>>()?;
        if !pairs.is_sorted_by(|(one, _), (two, _)| one < two) {
            return Err(LabelError::Order(text.to_owned()));
        }
        Self::try_from(pairs.into_iter().collect::<BTreeMap<_, _>>())
    }
}

impl LabelChanges {
    /// Grants these labels and takes away those of these names; a name may stand once.
    pub fn new(
        granted: impl IntoIterator<Item = (String, String)>,
        removed: impl IntoIterator<Item = String>,
    ) -> Result<Self, LabelError> {
        let granted = granted.into_iter().map(|(name, value)| (name, Some(value)));
        let mut changes = BTreeMap::new();
        for (name, value) in granted.chain(removed.into_iter().map(|name| (name, None))) {
            if changes.insert(name.clone(), value).is_some() {
                return Err(LabelError::Twice(name));
            }
        }
        Self::try_from(changes)
    }

    /// Whether it grants a label.
    pub fn grants_any(&self) -> bool {
        self.0.values().any(Option::is_some)
    }
}

impl TryFrom<BTreeMap<String, Option<String>>> for LabelChanges {
    type Error = LabelError;

    fn try_from(changes: BTreeMap<String, Option<String>>) -> Result<Self, LabelError> {
        changes
            .iter()
            .flat_map(|(name, value)| [Some(name), value.as_ref()])
            .flatten()
            .try_for_each(|text| check(text))?;
        for count in [changes.values().flatten().count(), changes.values().filter(|value| value.is_none()).count()] {
            if count > GRANTED_LABELS_MAX {
                return Err(LabelError::Many(count));
            }
        }
        Ok(Self(changes))
    }
}

impl From<LabelChanges> for BTreeMap<String, Option<String>> {
    fn from(changes: LabelChanges) -> Self {
        changes.0
    }
}

/// Reads `NAME=VALUE`.
pub fn granted_label(text: &str) -> Result<(String, String), LabelError> {
    let (name, value) = text.split_once('=').ok_or_else(|| LabelError::Form(text.to_owned()))?;
    check(name)?;
    check(value)?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Whether a text can be a name or value. Neither `=` nor `,` can stand in one, so that the text of labels has one meaning.
fn check(text: &str) -> Result<(), LabelError> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
    let is_valid = (1..=GRANTED_TEXT_LEN_MAX).contains(&text.len()) && text.bytes().all(is_plain);
    if is_valid { Ok(()) } else { Err(LabelError::Text(text.to_owned())) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::{self, Kind};

    fn labels(text: &str) -> GrantedLabels {
        text.parse().unwrap()
    }

    fn changes(granted: &[(&str, &str)], removed: &[&str]) -> Result<LabelChanges, LabelError> {
        let granted = granted.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        LabelChanges::new(granted, removed.iter().map(|name| (*name).to_owned()))
    }

    #[test]
    fn labels_have_one_text() {
        for text in ["team=payments", "a=1,b=2", "A/x.y=Z_9,a-b=-,a=/"] {
            let mut sorted: Vec<&str> = text.split(',').collect();
            sorted.sort_by_key(|pair| pair.split('=').next());
            let text = sorted.join(",");
            assert_eq!(labels(&text).to_string(), text);
        }
        for wrong in [
            "", ",", "a", "a=", "=1", "a=1,", "a=1,,b=2", "b=2,a=1", "a=1,a=1", "a=1,a=2", "a=b=c", "a =1", "a=1 ",
            "a=ä", "a=1\n", "a=1;b=2", "a=1,b", "a=\u{0}",
        ] {
            assert!(wrong.parse::<GrantedLabels>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_longest_labels_fit_a_description_and_no_longer_ones_are_labels() {
        let text = |count: usize, len: usize| {
            let pair = |number: usize| format!("{number}{}={}", "n".repeat(len - 1), "v".repeat(len));
            (0..count).map(pair).collect::<Vec<_>>().join(",")
        };
        let longest = text(GRANTED_LABELS_MAX, GRANTED_TEXT_LEN_MAX);
        assert_eq!(longest.len(), 1023);
        assert_eq!(labels(&longest).to_string(), longest);
        let many = text(GRANTED_LABELS_MAX + 1, 3).parse::<GrantedLabels>();
        assert_eq!(many.unwrap_err(), LabelError::Many(9));
        assert!(matches!(text(1, GRANTED_TEXT_LEN_MAX + 1).parse::<GrantedLabels>(), Err(LabelError::Text(_))));
    }

    #[test]
    fn a_token_changes_what_it_names_and_nothing_else() {
        let held = labels("env=live,team=payments");
        let after = |granted: &[_], removed: &[_]| held.after(&changes(granted, removed).unwrap()).unwrap().to_string();
        assert_eq!(after(&[], &[]), "env=live,team=payments");
        assert_eq!(after(&[("team", "web")], &[]), "env=live,team=web");
        assert_eq!(after(&[("tier", "gold")], &["env"]), "team=payments,tier=gold");
        assert_eq!(after(&[], &["env", "team", "never-there"]), "");
        assert_eq!(changes(&[("a", "1"), ("a", "2")], &[]).unwrap_err(), LabelError::Twice("a".to_owned()));
        assert_eq!(changes(&[("a", "1")], &["a"]).unwrap_err(), LabelError::Twice("a".to_owned()));
        let eight: Vec<String> = (0..8).map(|number| number.to_string()).collect();
        let eight: Vec<(&str, &str)> = eight.iter().map(|name| (name.as_str(), "v")).collect();
        let over = held.after(&changes(&eight, &[]).unwrap());
        assert_eq!(over.unwrap_err(), LabelError::Many(10), "with the two that it has");
        assert!(held.after(&changes(&eight, &["env", "team"]).unwrap()).is_ok());
    }

    #[test]
    fn labels_include_others_by_name_and_value() {
        let held = labels("env=live,team=payments");
        assert!(held.includes(&labels("team=payments")) && held.includes(&GrantedLabels::default()));
        assert!(!held.includes(&labels("team=web")) && !labels("team=payments").includes(&held));
    }

    #[test]
    fn what_was_decoded_is_valid() {
        fn through<T: Serialize, U: serde::de::DeserializeOwned>(sent: &T) -> Option<U> {
            wire::decode(Kind::State, &wire::encode(Kind::State, sent).unwrap(), 4000).ok()
        }
        let map = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
        assert_eq!(through::<_, GrantedLabels>(&map("a", "1")), Some(labels("a=1")));
        assert_eq!(through::<_, GrantedLabels>(&map("a", "1,b=2")), None);
        let map = |name: &str, value: Option<&str>| BTreeMap::from([(name.to_owned(), value.map(str::to_owned))]);
        assert_eq!(through::<_, LabelChanges>(&map("a", None)), Some(changes(&[], &["a"]).unwrap()));
        assert_eq!(through::<_, LabelChanges>(&map("a=b", None)), None);
        assert_eq!(through::<_, LabelChanges>(&map("a", Some(""))), None);
    }

    proptest! {
        #[test]
        fn what_reads_prints_the_same(text in "([a-c=,./]|[a-b]=[1-2],?){0,12}") {
            if let Ok(labels) = text.parse::<GrantedLabels>() {
                prop_assert_eq!(labels.to_string(), text);
            }
        }
    }
}
