//! `weft revoke`: makes a revocation document named after what it revokes and applies it as `weft apply` would.

use http::Method;
use weft_identity::{Code, Failure, JoinToken, NodeId};
use weft_ledger::{Document, DocumentId, Prune};
use weft_policy::read_file;
use weft_world::admin::ledger::DraftWish;

use super::apply::{Change, Place};
use super::args::{RevokeCommand, RevokeOptions};
use super::client::ask;
use super::{plan, policies};

/// What the documents name as their file.
const FILE: &str = "weft revoke";
/// The kind of the documents.
const KIND: &str = "revocation";
/// Digits of a key in a document's name, which holds fewer characters than a key.
const KEY_NAMED_LEN: usize = 32;

/// Digits of a token's id.
const TOKEN_ID_DIGITS: usize = 16;

/// What is revoked.
struct Subject {
    /// The key of the document: `node`, `key` or `token`.
    what: &'static str,
    /// Its value.
    value: String,
}

/// `weft revoke`.
pub(super) async fn run(place: Place<'_>, command: RevokeCommand) -> Result<(), Failure> {
    let (what, value, options) = match command {
        RevokeCommand::Node { node, options } => {
            if options.reason.is_some() {
                note_stranger(place, &node).await?;
            }
            ("node", node.to_string(), options)
        }
        RevokeCommand::Key { key, options } => ("key", key.to_ascii_lowercase(), options),
        RevokeCommand::Token { token, options } => ("token", token_id(&token)?, options),
    };
    if what == "key" && options.reason.is_some() {
        check_no_operator(place, &value).await?;
    }
    Subject { what, value }.change(place, options).await
}

/// Whose word counts stands in the trust bundle: a document would take nothing from an operator.
async fn check_no_operator(place: Place<'_>, key: &str) -> Result<(), Failure> {
    let ca = ask(place.dir, Method::GET, "/v1/ca", None).await?;
    let operators = ca["operators"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !operators.iter().any(|row| row["key"] == key) {
        return Ok(());
    }
    let detail = format!("{key} is an operator's key, which the root takes back: `weft ca operator retire {key}`");
    Err(Failure::new(Code::UsageInvalid, detail))
}

/// The id of a token, of which people have the whole line or the id.
fn token_id(text: &str) -> Result<String, Failure> {
    if text.len() == TOKEN_ID_DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(text.to_ascii_lowercase());
    }
    let token: JoinToken = text.trim().parse().map_err(|failure: Failure| {
        let detail = format!("{}; nor is it the {TOKEN_ID_DIGITS} hexadecimal digits of a token's id", failure.detail);
        Failure::new(Code::TokenMalformed, detail)
    })?;
    Ok(token.id.to_string())
}

/// A node that is not there can be revoked all the same, and a slip looks just like it.
async fn note_stranger(place: Place<'_>, node: &NodeId) -> Result<(), Failure> {
    let nodes = ask(place.dir, Method::GET, "/v1/nodes", None).await?;
    let is_known = nodes.as_array().into_iter().flatten().any(|row| row["node"] == node.as_str());
    if !is_known {
        place.output.note(&format!("no node {node} is known here; `weft ls nodes` names those that are"));
    }
    Ok(())
}

impl Subject {
    async fn change(&self, place: Place<'_>, options: RevokeOptions) -> Result<(), Failure> {
        let id = self.id()?;
        let RevokeOptions { reason, undo: _, signing } = options;
        let Some(reason) = reason else {
            let wish = DraftWish::Documents { documents: Vec::new(), prune: Prune::Document(id.clone()) };
            if plan::draft(place.dir, &wish).await?.draft.is_empty() {
                let detail = format!("no document {id} is in force; `weft ls documents` names those that are");
                return Err(Failure::new(Code::UsageInvalid, detail));
            }
            let message = format!("{} {} is trusted again", self.what, self.value);
            return Change { wish, message, confirm: None, signing }.make(place).await;
        };
        let wish = DraftWish::Documents { documents: vec![self.document(&id, &reason)?], prune: Prune::Nothing };
        let message = format!("{} {} revoked: {reason}", self.what, self.value);
        Change { wish, message, confirm: None, signing }.make(place).await
    }

    fn id(&self) -> Result<DocumentId, Failure> {
        let value: String = self.value.chars().take(KEY_NAMED_LEN).collect();
        DocumentId::new(KIND, &format!("{}-{value}", self.what))
            .map_err(|error| Failure::new(Code::NameInvalid, format!("{} {:?}: {error}", self.what, self.value)))
    }

    /// Written and then read as a file would be, so that what is wrong with it is found here.
    fn document(&self, id: &DocumentId, reason: &str) -> Result<Document, Failure> {
        let quoted = |text: &str| toml_edit::Value::from(text).to_string();
        let text = format!(
            "[[{KIND}]]\nname = {}\n{} = {}\nreason = {}\n",
            quoted(id.name()),
            self.what,
            quoted(&self.value),
            quoted(reason)
        );
        let sources = read_file(FILE, &text).map_err(|mistakes| policies::refused(&mistakes))?;
        let source = sources.into_iter().next();
        let source = source.ok_or_else(|| Failure::new(Code::Internal, "the revocation was read as nothing"))?;
        policies::document(source).map_err(|error| Failure::new(Code::PolicyInvalid, error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(what: &'static str, value: &str, reason: &str) -> Result<(String, String), Failure> {
        let subject = Subject { what, value: value.to_owned() };
        let id = subject.id()?;
        subject.document(&id, reason).map(|document| (id.to_string(), document.text().to_owned()))
    }

    #[test]
    fn a_token_that_cannot_be_read_is_told_as_one() {
        assert_eq!(token_id("0123456789ABCDEF").unwrap(), "0123456789abcdef");
        for wrong in ["Weft1.NONSENSE", "0123", "", "0123456789abcdeg"] {
            let failure = token_id(wrong).unwrap_err();
            assert_eq!(failure.code, Code::TokenMalformed, "{wrong}");
            assert!(failure.detail.ends_with("the 16 hexadecimal digits of a token's id"), "{failure}");
        }
    }

    #[test]
    fn what_is_revoked_is_named_in_a_document_of_its_own() {
        let (id, text) = text_of("node", "vm-d", "stolen, \"said\" she\n[[mesh]]").unwrap();
        assert_eq!(id, "revocation/node-vm-d");
        assert!(text.contains("node = \"vm-d\""), "{text}");
        assert_eq!(read_file("x", &text).unwrap().len(), 1, "a reason cannot end the table: {text}");
        let (id, _) = text_of("key", &"0a".repeat(32), "leaked").unwrap();
        assert_eq!(id, format!("revocation/key-{}", "0a".repeat(16)));
        assert_eq!(text_of("token", "0123456789abcdef", "sent").unwrap().0, "revocation/token-0123456789abcdef");
        for (what, value) in [("key", "0a"), ("token", "xyz")] {
            assert_eq!(text_of(what, value, "leaked").unwrap_err().code, Code::PolicyInvalid, "{what} {value}");
        }
        assert_eq!(text_of("key", "", "leaked").unwrap_err().code, Code::NameInvalid);
    }
}
