//! An operator: policy files, and the key that signs them.

use std::path::PathBuf;

use serde_json::Value;

use crate::mesh::{Mesh, Node};
use crate::weft::Outcome;

/// The key and the files of one operator.
#[derive(Debug)]
pub struct Operator {
    key: PathBuf,
    passphrase: PathBuf,
    folder: PathBuf,
}

impl Operator {
    /// The operator of `weft init`, whose policies lie in a folder of this name.
    pub fn of(mesh: &Mesh, first: &Node, folder: &str) -> Self {
        Self::with_key(mesh, first.file("keys/operator.key"), folder)
    }

    /// One with a key of its own, made with the mesh's passphrase.
    pub fn with_key(mesh: &Mesh, key: PathBuf, folder: &str) -> Self {
        let folder = mesh.scratch.path().join(folder);
        std::fs::create_dir_all(&folder).expect("the scratch directory is writable");
        Self { key, passphrase: mesh.scratch.path().join("passphrase"), folder }
    }

    /// The folder of the policies.
    pub fn folder(&self) -> String {
        self.folder.display().to_string()
    }

    /// Writes a policy file.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.folder.join(name);
        std::fs::create_dir_all(path.parent().expect("a file lies in a folder")).expect("the folder is writable");
        std::fs::write(path, text).expect("the folder is writable");
    }

    /// Removes a policy file.
    pub fn remove(&self, name: &str) {
        std::fs::remove_file(self.folder.join(name)).expect("the file is there");
    }

    /// The words of a command that signs, on this node.
    pub fn words(&self, node: &Node, words: &[&str]) -> Vec<String> {
        let (key, passphrase) = (self.key.display().to_string(), self.passphrase.display().to_string());
        let mut all = words.to_vec();
        all.extend(["--operator-key", &key, "--passphrase-file", &passphrase]);
        node.words(&all)
    }

    /// Runs a command that signs, on this node.
    pub fn signs(&self, node: &Node, words: &[&str]) -> Outcome {
        Outcome::of(&self.words(node, words))
    }

    /// `weft apply` of the folder.
    pub fn apply(&self, node: &Node) -> Outcome {
        self.signs(node, &["apply", &self.folder()])
    }

    /// `weft apply` of the folder, which every node has in time.
    pub fn applied(&self, node: &Node) -> Value {
        let answer = self.apply(node).json();
        for row in answer["nodes"].as_array().expect("a list of nodes") {
            assert_eq!(row["state"], "in-force", "{answer:#}");
        }
        answer
    }
}

/// A document of `[[traffic]]` for a service of this name.
pub fn traffic(service: &str, seconds: u32) -> String {
    format!("[[traffic]]\nname = \"{service}\"\nservice = \"{service}\"\nrequest_timeout = \"{seconds}s\"\n")
}

/// The documents in force on a node, each as id and text.
pub fn documents(node: &Node) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    node.listing("documents").iter().map(|row| (text(&row["id"]), text(&row["text"]))).collect()
}
