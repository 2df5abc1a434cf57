//! Reads policy files into documents: each top-level `[[kind]]` table is one document, whose text is its slice of the file. Every
//! mistake in every file is found at once.

use std::collections::{BTreeMap, BTreeSet};

use toml_edit::Document;
use weft_identity::ServiceName;

use super::compile::parsed::{self, kind_of};
use super::place::DocumentId;
use crate::strict::{Mistake, Mistakes};

/// Longest file, in bytes.
pub const FILE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A document as it travels: text, and where it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The name of its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The services that it concerns; none: the whole mesh.
    pub services: Option<BTreeSet<ServiceName>>,
    /// The file, as the operator named it.
    pub file: String,
    /// Its first line there, from 1.
    pub line: u32,
    /// Its text: one `[[kind]]` table.
    pub text: String,
}

impl From<&weft_ledger::Document> for Source {
    fn from(document: &weft_ledger::Document) -> Self {
        Self {
            kind: document.id().kind().to_owned(),
            name: document.id().name().to_owned(),
            services: document.services().cloned(),
            file: document.file().to_owned(),
            line: document.line(),
            text: document.text().to_owned(),
        }
    }
}

/// Reads one policy file; `file` is its name for the messages.
///
/// # Errors
///
/// Every mistake in it, in the order of the file.
pub fn read_file(file: &str, text: &str) -> Result<Vec<Source>, Vec<Mistake>> {
    read_files(&[(file.to_owned(), text.to_owned())])
}

/// Reads the policy files of a directory, as (name, text); a document may stand in one of them only.
///
/// # Errors
///
/// Every mistake in every file, file by file.
pub fn read_files(files: &[(String, String)]) -> Result<Vec<Source>, Vec<Mistake>> {
    let (sources, mistakes) = read_all(files);
    if mistakes.is_empty() { Ok(sources) } else { Err(mistakes) }
}

/// The documents of these files that can be read, and every mistake in the others, file by file.
pub fn read_all(files: &[(String, String)]) -> (Vec<Source>, Vec<Mistake>) {
    let mut sources = Vec::new();
    let mut mistakes = Vec::new();
    let mut known: BTreeMap<DocumentId, (String, u32)> = BTreeMap::new();
    for (file, text) in files {
        let (read, mut found) = documents_of(file, text);
        for (source, id) in read {
            let place = (source.file.clone(), source.line);
            if let Some((file, line)) = known.insert(id.clone(), place) {
                found.push(Mistake {
                    file: source.file.clone(),
                    line: usize::try_from(source.line).unwrap_or(1),
                    column: 1,
                    text: format!("`{id}` stands already at {file}:{line}"),
                });
            }
            sources.push(source);
        }
        found.sort_by(|a, b| (a.line, a.column, &a.text).cmp(&(b.line, b.column, &b.text)));
        found.dedup();
        mistakes.append(&mut found);
    }
    (sources, mistakes)
}

fn documents_of(file: &str, text: &str) -> (Vec<(Source, DocumentId)>, Vec<Mistake>) {
    let mut mistakes = Mistakes::new(text, file);
    if text.len() > FILE_BYTES_MAX {
        mistakes.add(None, "the file is larger than 16 MiB");
        return (Vec::new(), mistakes.finish());
    }
    let document = match Document::parse(text) {
        Ok(document) => document,
        Err(error) => {
            mistakes.add(error.span(), error.message().trim().replace('\n', ", "));
            return (Vec::new(), mistakes.finish());
        }
    };
    // Every top-level table ends the document before it, be it one itself or not.
    let mut starts: Vec<(usize, Option<&str>)> = Vec::new();
    for (word, item) in document.as_table() {
        let kind = kind_of(document.as_table(), word, item, &mut mistakes);
        let tables = item.as_array_of_tables().into_iter().flatten().chain(item.as_table());
        starts.extend(tables.filter_map(|table| table.span()).map(|span| (span.start, kind.map(|_| word))));
    }
    starts.sort_unstable();
    let mut read = Vec::new();
    let mut found = mistakes.finish();
    let line_of = |at: usize| u32::try_from(text[..at].matches('\n').count() + 1).unwrap_or(u32::MAX);
    for (position, (start, word)) in starts.iter().enumerate() {
        let Some(word) = word else { continue };
        let end = starts.get(position + 1).map_or(text.len(), |(next, _)| *next);
        let mut source = Source {
            kind: (*word).to_owned(),
            name: String::new(),
            services: None,
            file: file.to_owned(),
            line: line_of(*start),
            text: trimmed(&text[*start..end]).to_owned(),
        };
        match parsed::parse(&source, 0) {
            Ok(document) => {
                source.name.clone_from(&document.place.document.id.name);
                source.services = document.services();
                read.push((source, document.place.document.id.clone()));
            }
            Err(mut wrong) => found.append(&mut wrong),
        }
    }
    (read, found)
}

/// Without the blank lines and comments at the end, which speak of what follows.
fn trimmed(slice: &str) -> &str {
    let mut end = slice.len();
    for line in slice.split_inclusive('\n').rev() {
        let text = line.trim();
        if !text.is_empty() && !text.starts_with('#') {
            break;
        }
        end -= line.len();
    }
    &slice[..end]
}
