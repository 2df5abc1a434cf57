//! Reads an operator's policy files into documents; every mistake of every file at once. Called by `weft plan` and `weft apply`.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use weft_identity::{Code, Failure};
use weft_ledger::{Document, DocumentError, DocumentId, DocumentParts, Prune};
use weft_policy::source::FILE_BYTES_MAX;
use weft_policy::strict::{Mistake, one_line};
use weft_policy::{Source, compile, read_all};

/// Most files that are read: a change set has at most 1,000 changes, and a mesh rarely more documents than this.
const FILES_MAX: usize = 10_000;
/// Deepest folder; below it there is a loop of links.
const DEPTH_MAX: usize = 16;
/// What a policy file ends with.
const ENDING: &str = "toml";

/// The documents of these files and directories. A file is named as the operator named it, or the directory above it. Directories
/// without any are a slip, unless `prune` says what goes because nothing is there.
pub(super) fn read(paths: &[PathBuf], prune: &Prune) -> Result<Vec<Document>, Failure> {
    let mut files = Vec::new();
    let mut unread = Vec::new();
    for path in paths {
        let gathered = gather(path, 0, &mut files);
        unread.extend(gathered.err().map(|error| unreadable(path, &error)));
    }
    if files.is_empty() && unread.is_empty() && *prune == Prune::Nothing {
        let named: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
        let detail = format!("there is no file *.{ENDING} below {}", named.join(", "));
        return Err(Failure::new(Code::UsageInvalid, detail));
    }
    let mut texts = Vec::new();
    for path in &files {
        match text_of(path) {
            Ok(text) => texts.push((name_of(path), text)),
            Err(error) => unread.push(unreadable(path, &error)),
        }
    }
    let (sources, mut mistakes) = read_all(&texts);
    if !mistakes.is_empty() || !unread.is_empty() {
        // The node would find these later; here they are told with the others.
        let found = contradictions(&sources).into_iter().filter(|one| !is_told(one, &mistakes)).collect::<Vec<_>>();
        mistakes.extend(found);
    }
    let mut documents = Vec::new();
    for source in sources {
        let place = (source.file.clone(), source.line);
        match document(source) {
            Ok(document) => documents.push(document),
            Err(error) => mistakes.push(mistake(place, &error)),
        }
    }
    if mistakes.is_empty() && unread.is_empty() {
        return Ok(documents);
    }
    mistakes.sort_by(|one, other| (&one.file, one.line, one.column).cmp(&(&other.file, other.line, other.column)));
    let lines: Vec<String> = unread.into_iter().chain(mistakes.iter().map(ToString::to_string)).collect();
    Err(Failure::new(Code::PolicyInvalid, lines.join("\n")))
}

/// What the documents that could be read say against each other.
fn contradictions(sources: &[Source]) -> Vec<Mistake> {
    let sources: Vec<(Source, u64)> = sources.iter().map(|source| (source.clone(), 0)).collect();
    compile(&sources).err().unwrap_or_default()
}

/// Whether a mistake is known at this line, of which another would only be the consequence.
fn is_told(one: &Mistake, known: &[Mistake]) -> bool {
    known.iter().any(|other| (&one.file, one.line) == (&other.file, other.line))
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

/// A device or a pipe may have no end and a file grow while it is read, so that the bound is on what is read, not on what its length says.
fn text_of(path: &Path) -> io::Result<String> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("this is not a regular file"));
    }
    let mut bytes = Vec::new();
    let most = u64::try_from(FILE_BYTES_MAX).unwrap_or(u64::MAX);
    File::open(path)?.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() > FILE_BYTES_MAX {
        return Err(io::Error::other("the file is larger than 16 MiB"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        io::Error::other(format!("it is not UTF-8 after {at} bytes"))
    })
}

fn unreadable(path: &Path, error: &io::Error) -> String {
    one_line(&format!("read {}: {error}", name_of(path))).into_owned()
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
        let documents = read(std::slice::from_ref(&top), &Prune::Nothing).unwrap();
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
        let failure = read(std::slice::from_ref(&top), &Prune::Nothing).unwrap_err();
        assert_eq!(failure.code, Code::PolicyInvalid);
        assert!(failure.detail.contains("a.toml:5:1: ") && failure.detail.contains("`request_timeout`"), "{failure}");
        assert!(failure.detail.contains("b.toml:1:"), "{failure}");
        fs::remove_dir_all(&top).unwrap();
        assert_eq!(read(&[top], &Prune::Nothing).unwrap_err().code, Code::PolicyInvalid);
    }

    #[test]
    fn what_cannot_be_read_hides_no_mistake_of_another_file() {
        let wide = ONE.replace("one", "wide") + &format!("# {}\nconnect_timeout = \"1s\"\n", "x".repeat(70_000));
        let top = folder("all", &[("b.toml", "[[rout]]\n"), ("wide.toml", &wide), ("latin.toml", "caf\u{e9}")]);
        fs::write(top.join("latin.toml"), b"# caf\xe9\n").unwrap();
        std::os::unix::fs::symlink("/dev/zero", top.join("zero.toml")).unwrap();
        let told = read(std::slice::from_ref(&top), &Prune::All).unwrap_err().detail;
        let lines: Vec<&str> = told.lines().collect();
        assert_eq!(lines.len(), 4, "{told}");
        for part in ["latin.toml: it is not UTF-8 after 5 bytes", "zero.toml: this is not a regular file"] {
            assert!(told.contains(part), "{part} in {told}");
        }
        assert!(told.contains("b.toml:1:3: unknown kind") && told.contains("its text is longer than 64 KiB"), "{told}");
        fs::remove_dir_all(top).unwrap();
    }

    #[test]
    fn documents_that_contradict_each_other_are_told_beside_other_mistakes() {
        let twice = ONE.to_owned() + &ONE.replace("name = \"one\"", "name = \"two\"");
        let top = folder("twice", &[("a.toml", &twice), ("b.toml", "[[rout]]\n")]);
        let told = read(std::slice::from_ref(&top), &Prune::Nothing).unwrap_err().detail;
        assert!(told.contains("one has a `[[traffic]]` already") && told.contains("b.toml:1:3: "), "{told}");
        fs::remove_dir_all(top).unwrap();
    }

    #[test]
    fn a_file_is_read_to_the_limit_and_no_further() {
        let top = folder("long", &[]);
        fs::create_dir_all(&top).unwrap();
        File::create(top.join("long.toml")).unwrap().set_len(FILE_BYTES_MAX as u64 + 1).unwrap();
        let told = read(&[top.join("long.toml")], &Prune::Nothing).unwrap_err();
        assert!(told.detail.ends_with("larger than 16 MiB"), "{told}");
        fs::remove_dir_all(top).unwrap();
    }

    #[test]
    fn an_empty_folder_is_meant_where_documents_are_pruned() {
        let top = folder("prune", &[("notes.md", "?")]);
        assert_eq!(read(std::slice::from_ref(&top), &Prune::Service("orders".parse().unwrap())), Ok(Vec::new()));
        fs::remove_dir_all(&top).unwrap();
        assert_eq!(read(&[top], &Prune::All).unwrap_err().code, Code::PolicyInvalid, "a folder that is not there");
    }

    #[test]
    fn a_folder_without_policies_is_told() {
        let top = folder("none", &[("notes.md", "?")]);
        assert_eq!(read(std::slice::from_ref(&top), &Prune::Nothing).unwrap_err().code, Code::UsageInvalid);
        fs::remove_dir_all(top).unwrap();
    }
}
