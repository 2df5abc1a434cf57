use super::*;
use crate::*;

mod authorising;
mod documents;
mod limiting;
mod mistaken;
mod paths;
mod random;
mod routing;
mod series;

use std::collections::BTreeMap;
use std::sync::Arc;

use http::Method;

use crate::fields::Fields;
use weft_identity::{GrantedLabels, SpiffeId, granted_label};

/// The documents of one file, all of one revision.
fn policy(text: &str) -> Policy {
    let sources = read_file("policy.toml", text).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"));
    let documents: Vec<(Source, u64)> = sources.into_iter().map(|source| (source, 1)).collect();
    compile(&documents).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"))
}

/// `file:line:column: text` of everything that is wrong with a file.
fn mistakes(text: &str) -> Vec<String> {
    let found = match read_file("p", text) {
        Err(mistakes) => mistakes,
        Ok(sources) => compile(&sources.into_iter().map(|source| (source, 1)).collect::<Vec<_>>()).unwrap_err(),
    };
    found.iter().map(ToString::to_string).collect()
}

/// `svc/web`, or with labels `svc/web team=payments,env=live`.
struct From {
    identity: SpiffeId,
    labels: Arc<GrantedLabels>,
}

fn caller(text: &str) -> From {
    let (subject, labels) = text.split_once(' ').unwrap_or((text, ""));
    let pairs = labels.split(',').filter(|pair| !pair.is_empty());
    let labels: BTreeMap<String, String> = pairs.map(|pair| granted_label(pair).unwrap()).collect();
    From {
        identity: format!("spiffe://bank/{subject}").parse().unwrap(),
        labels: Arc::new(GrantedLabels::try_from(labels).unwrap()),
    }
}

impl From {
    fn calls(&self) -> Caller<'_> {
        Caller { identity: &self.identity, labels: &self.labels }
    }
}

fn service(name: &str) -> ServiceName {
    name.parse().unwrap()
}

/// A request as one line: `GET /path?query name:value …`.
struct Request {
    method: Method,
    path: String,
    query: Option<String>,
    headers: Fields,
}

impl Request {
    fn of(line: &str) -> Self {
        let mut words = line.split(' ');
        let method = words.next().unwrap().parse().unwrap();
        let target = words.next().unwrap();
        let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        let mut headers = Fields::new();
        for field in words {
            let (name, value) = field.split_once(':').unwrap();
            headers.push(name.as_bytes(), value.as_bytes());
        }
        Self { method, path: path.to_owned(), query: query.map(str::to_owned), headers }
    }

    fn ask<T>(&self, ask: impl FnOnce(&RequestView<'_>) -> T) -> T {
        let path = NormalPath::of(&self.path).unwrap();
        let view =
            RequestView { method: &self.method, path: &path, query: self.query.as_deref(), headers: &self.headers };
        ask(&view)
    }
}

/// `orders` 2: the document and its rule, counted from 1, at a place of a text.
fn rule_name(text: &str, place: &Place) -> String {
    let from = usize::try_from(place.document.line).unwrap() - 1;
    let to = usize::try_from(place.line).unwrap();
    let lines = text.lines().skip(from).take(to - from);
    let rules = lines.filter(|line| line.trim_start().starts_with("[[") && line.contains(".rule]]")).count();
    format!("`{}` {rules}", place.document.id.name)
}

/// The first block of TOML of a page of the book, and the rows of its last table.
fn page(name: &str) -> (String, Vec<Vec<String>>) {
    let file = format!("{}/../../docs/reference/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file}: {error}"));
    let toml = text.split("```toml\n").nth(1).unwrap().split("```").next().unwrap().to_owned();
    let table = text.rsplit("|---|\n").next().unwrap();
    let cells = |row: &str| row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    let rows: Vec<Vec<String>> = table.lines().filter(|line| line.starts_with('|')).map(cells).collect();
    assert!(rows.len() > 10, "the table was read");
    (toml, rows)
}
