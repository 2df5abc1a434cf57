//! Change sets that an operator signs by hand: with the key and the library, past everything that the command line checks.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use weft_env::Clock;
use weft_identity::{KeyFile, KeyRole, MeshName, SigningKey};
use weft_ledger::{Document, DocumentParts, Draft, SignedDraft, Signing};

use crate::mesh::{Mesh, Node};

/// An operator's key, open.
#[derive(Debug)]
pub struct Hand(SigningKey);

impl Hand {
    /// The key of a file, opened with the mesh's passphrase.
    pub fn of(mesh: &Mesh, key: &Path) -> Self {
        let read = |path: &Path| std::fs::read_to_string(path).expect("the file is there");
        let passphrase = read(&mesh.scratch.path().join("passphrase"));
        let name: MeshName = mesh.name.parse().expect("a mesh's name");
        Self(KeyFile::open(&read(key), (KeyRole::Operator, &name), passphrase.trim_end()).expect("its passphrase"))
    }

    /// What would put these documents into force on top of what a node holds, signed.
    pub fn signs(&self, node: &Node, documents: &[Document]) -> SignedDraft {
        let wish = json!({ "documents": { "documents": documents, "prune": "Nothing" } });
        let (status, view) = post(node, "/v1/ledger/draft", &wish);
        assert_eq!(status, 200, "{view:#}");
        let draft: Draft = serde_json::from_value(view["draft"].clone()).expect("a draft");
        let signing = Signing {
            key: &self.0,
            author_node: node.name.parse().expect("a node's name"),
            now: Clock::machine().wall(),
            message: String::new(),
            confirm_by: None,
        };
        draft.sign(signing).expect("a small draft")
    }
}

/// A document of any kind, also of one that no version knows.
pub fn document(id: &str, service: Option<&str>, rest: &str) -> Document {
    let (kind, name) = id.split_once('/').expect("kind and name");
    let of = service.map(|service| format!("service = \"{service}\"\n")).unwrap_or_default();
    let parts = DocumentParts {
        id: id.parse().expect("a document's id"),
        services: service.map(|service| [service.parse().expect("a service's name")].into()),
        file: "by-hand.toml".to_owned(),
        line: 1,
        text: format!("[[{kind}]]\nname = \"{name}\"\n{of}{rest}\n"),
    };
    Document::new(parts).expect("a small document")
}

/// Gives a node a change set; the status, and what it says.
pub fn give(node: &Node, draft: &SignedDraft) -> (u16, Value) {
    post(node, "/v1/ledger/apply", &json!({ "signed": draft, "reach": "anyway" }))
}

/// Posts to the node's socket, which the CLI uses for all it asks.
fn post(node: &Node, path: &str, body: &Value) -> (u16, Value) {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--write-out", "\n%{http_code}", "--data-binary", "@-"]);
    curl.args(["--header", "content-type: application/json"]);
    curl.arg("--unix-socket").arg(node.file("weft.sock")).arg(format!("http://weft{path}"));
    let mut curl = curl.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("curl can be run");
    let mut stdin = curl.stdin.take().expect("it is piped");
    stdin.write_all(body.to_string().as_bytes()).expect("curl reads");
    drop(stdin);
    let told = String::from_utf8(curl.wait_with_output().expect("curl ends").stdout).expect("text");
    let (body, status) = told.rsplit_once('\n').expect("a body and a status");
    (status.parse().expect("a status"), serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}")))
}
