//! Reads an operator's policy files into documents; every mistake of every file at once. Called by `weft plan` and `weft apply`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use weft_gateway::policy::source::FILE_BYTES_MAX;
use weft_gateway::policy::{Source, read_files};
use weft_gateway::strict::Mistake;
use weft_gossip::ledger::{Document, DocumentError, DocumentId, DocumentParts};
use weft_gossip::{Code, Failure};

/// Most files that are read: a change set has at most 1,000 changes, and a mesh rarely more documents than this.
const FILES_MAX: usize = 10_000;
/// Deepest folder; below it there is a loop of links.
const DEPTH_MAX: usize = 16;
/// What a policy file ends with.
const ENDING: &str = "toml";

/// The documents of these files and directories. A file is named as the operator named it, or the directory above it.
pub(super) fn read(paths: &[PathBuf]) -> Result<Vec<Document>, Failure> {
    let mut files = Vec::new();
    for path in paths {
        gather(path, 0, &mut files).map_err(|error| unread(path, &error))?;
    }
    if files.is_empty() {
        let named: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
        let detail = format!("there is no file *.{ENDING} below {}", named.join(", "));
        return Err(Failure::new(Code::UsageInvalid, detail));
    }
    let texts = files.iter().map(|path| Ok((name_of(path), text_of(path)?)));
    let texts: Vec<(String, String)> = texts.collect::<Result<_, Failure>>()?;
    let sources = read_files(&texts).map_err(|mistakes| refused(&mistakes))?;
    let mut documents = Vec::new();
    let mut mistakes = Vec::new();
    for source in sources {
        let place = (source.file.clone(), source.line);
        match document(source) {
            Ok(document) => documents.push(document),
            Err(error) => mistakes.push(mistake(place, &error)),
        }
    }
    if mistakes.is_empty() { Ok(documents) } else { Err(refused(&mistakes)) }
}

/// A document as the ledger carries it.
pub(super) fn document(source: Source) -> Result<Document, DocumentError> {
    let id = DocumentId::new(&source.kind, &source.name)?;
    Document::new(DocumentParts {
        id,
        services: source.services,
        file: source.file,
        line: source.line,
        text: source.text,
    })
}

/// All mistakes in one failure, a line each.
pub(super) fn refused(mistakes: &[Mistake]) -> Failure {
    let lines: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
    Failure::new(Code::PolicyInvalid, lines.join("\n"))
}

fn mistake((file, line): (String, u32), error: &DocumentError) -> Mistake {
    Mistake { file, line: usize::try_from(line).unwrap_or(1), column: 1, text: error.to_string() }
}

/// Files in the order of their names, folder by folder. What starts with a dot belongs to some other program.
fn gather(path: &Path, depth: usize, files: &mut Vec<PathBuf>) -> io::Result<()> {
    if !fs::metadata(path)?.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    let mut entries = fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    entries.sort();
    for entry in entries {
        let is_hidden = entry.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        let is_folder = entry.is_dir();
        if is_hidden || !is_folder && entry.extension().is_none_or(|ending| ending != ENDING) {
            continue;
        }
        if depth == DEPTH_MAX || files.len() == FILES_MAX {
            let detail = format!("more than {FILES_MAX} files, or folders deeper than {DEPTH_MAX}");
            return Err(io::Error::other(detail));
        }
        gather(&entry, depth + 1, files)?;
    }
    Ok(())
}

fn name_of(path: &Path) -> String {
    let text = path.display().to_string();
    text.strip_prefix("./").map_or(text.clone(), str::to_owned)
}

fn text_of(path: &Path) -> Result<String, Failure> {
    let len = fs::metadata(path).map_err(|error| unread(path, &error))?.len();
    if usize::try_from(len).unwrap_or(usize::MAX) > FILE_BYTES_MAX {
        return Err(unread(path, &io::Error::other("the file is larger than 16 MiB")));
    }
    fs::read_to_string(path).map_err(|error| unread(path, &error))
}

fn unread(path: &Path, error: &io::Error) -> Failure {
    Failure::new(Code::PolicyInvalid, format!("read {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str, files: &[(&str, &str)]) -> PathBuf {
        let top = std::env::temp_dir().join(format!("weft-policies-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&top);
        for (file, text) in files {
            let path = top.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        top
    }

    const ONE: &str = "# first\n[[traffic]]\nname = \"one\"\nservice = \"one\"\nrequest_timeout = \"1s\"\n";

    #[test]
    fn files_are_read_in_order_and_named_as_the_operator_named_them() {
        let two = ONE.replace("one", "two");
        let top = folder("order", &[("b/one.toml", ONE), ("a.toml", &two), (".git/x.toml", "?"), ("notes.md", "?")]);
        let documents = read(std::slice::from_ref(&top)).unwrap();
        let named: Vec<(String, String, u32)> =
            documents.iter().map(|one| (one.id().to_string(), one.file().to_owned(), one.line())).collect();
        let file = |name: &str| top.join(name).display().to_string();
        assert_eq!(
            named,
            [("traffic/two".to_owned(), file("a.toml"), 2), ("traffic/one".to_owned(), file("b/one.toml"), 2)]
        );
        fs::remove_dir_all(top).unwrap();
        assert_eq!(name_of(Path::new("./orders.toml")), "orders.toml");
    }

    #[test]
    fn every_mistake_of_every_file_is_reported() {
        let wrong = ONE.replace("request_timeout", "request_timeuot");
        let top = folder("wrong", &[("a.toml", &wrong), ("b.toml", "[[rout]]\nname = \"x\"\n")]);
        let failure = read(std::slice::from_ref(&top)).unwrap_err();
        assert_eq!(failure.code, Code::PolicyInvalid);
        assert!(failure.detail.contains("a.toml:5:1: ") && failure.detail.contains("`request_timeout`"), "{failure}");
        assert!(failure.detail.contains("b.toml:1:"), "{failure}");
        fs::remove_dir_all(&top).unwrap();
        assert_eq!(read(&[top]).unwrap_err().code, Code::PolicyInvalid);
    }

    #[test]
    fn a_folder_without_policies_is_told() {
        let top = folder("none", &[("notes.md", "?")]);
        assert_eq!(read(std::slice::from_ref(&top)).unwrap_err().code, Code::UsageInvalid);
        fs::remove_dir_all(top).unwrap();
    }
}
