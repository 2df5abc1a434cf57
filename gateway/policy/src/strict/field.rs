//! Tables described once: a [`raw_table!`](crate::raw_table) is a raw struct, its strict reader and its [`Shape`], from which the JSON
//! Schema and the reference page are made, so that none of them can forget a key.

use std::ops::Range;

use toml_edit::{Array, ArrayOfTables, InlineTable, Item, Table, TableLike, Value};

use super::{Mistakes, nearest};

/// A value with the place at which it stands in the text.
#[derive(Debug, Clone)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Its bytes in the text.
    pub span: Range<usize>,
}

/// A value of a TOML document, however it was written: `[[rule]]` and `rule = [{ … }]` are the same.
#[derive(Clone, Copy)]
pub enum Node<'t> {
    /// Anything inside a line.
    Value(&'t Value),
    /// `[table]`.
    Table(&'t Table),
    /// `[[tables]]`.
    Tables(&'t ArrayOfTables),
}

impl<'t> Node<'t> {
    /// The value of an item, if it holds one.
    pub fn of(item: &'t Item) -> Option<Self> {
        match item {
            Item::None => None,
            Item::Value(value) => Some(Self::Value(value)),
            Item::Table(table) => Some(Self::Table(table)),
            Item::ArrayOfTables(tables) => Some(Self::Tables(tables)),
        }
    }

    /// Where it stands.
    pub fn span(self) -> Option<Range<usize>> {
        match self {
            Self::Value(value) => value.span(),
            Self::Table(table) => table.span(),
            Self::Tables(tables) => tables.span(),
        }
    }

    /// What TOML calls it.
    pub fn type_name(self) -> &'static str {
        match self {
            Self::Value(value) => value.type_name(),
            Self::Table(_) => "table",
            Self::Tables(_) => "list of tables",
        }
    }

    /// The text, if it is one.
    pub fn text(self) -> Option<&'t str> {
        if let Self::Value(value) = self { value.as_str() } else { None }
    }

    /// The table, if it is one.
    pub fn table(self) -> Option<&'t dyn TableLike> {
        match self {
            Self::Value(value) => value.as_inline_table().map(|table: &InlineTable| table as &dyn TableLike),
            Self::Table(table) => Some(table),
            Self::Tables(_) => None,
        }
    }

    /// The elements, if it is a list.
    pub fn elements(self) -> Option<Vec<Self>> {
        match self {
            Self::Value(value) => value.as_array().map(|array: &Array| array.iter().map(Self::Value).collect()),
            Self::Tables(tables) => Some(tables.iter().map(Self::Table).collect()),
            Self::Table(_) => None,
        }
    }
}

/// What may stand at a place; the schema and the reference page are made from it.
pub enum Form {
    /// A text, and what it means: `"span"`, `"service"`.
    Text(&'static str),
    /// A whole number within bounds.
    Whole(u64, u64),
    /// A number from 0 to 100.
    Percent,
    /// `true` or `false`.
    Switch,
    /// One of some words.
    Words(&'static [&'static str]),
    /// A table of any keys with texts.
    TextMap,
    /// A list.
    List(Box<Form>),
    /// A table of known keys.
    Table(&'static Shape),
    /// Either of two.
    Either(Box<Form>, Box<Form>),
}

/// Whether a key must stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// It must.
    Needed,
    /// It may; this holds without it.
    Default(&'static str),
}

/// One key of a table.
pub struct Field {
    /// The key as it is written.
    pub key: &'static str,
    /// Meaning, unit, when to change it.
    pub doc: &'static str,
    /// Whether it must stand.
    pub need: Need,
    /// What may stand there.
    pub form: fn() -> Form,
}

/// A table of known keys.
pub struct Shape {
    /// What the table is called on the reference page.
    pub title: &'static str,
    /// What it is for.
    pub doc: &'static str,
    /// Its keys, in the order of the page.
    pub fields: &'static [Field],
}

/// What can be read from a place of a TOML document.
pub trait Read: Sized {
    /// What may stand there.
    fn form() -> Form;

    /// Reads it, or notes what is wrong and returns nothing.
    fn read(node: Node<'_>, mistakes: &mut Mistakes<'_>) -> Option<Self>;

    /// Stands in for a needed value that is missing or wrong, so that what stands beside it is looked at, too. The mistake was noted, so
    /// that nothing read with it comes into force.
    fn stand_in() -> Self;
}

/// What is wrong with a table that was read. A second look asks it whether what it finds is a mistake or the consequence of one.
#[derive(Debug, Clone, Default)]
pub struct Wrong {
    has_unknown: bool,
    keys: Vec<&'static str>,
}

impl Wrong {
    /// Of a table that was not read at all.
    pub fn unread() -> Self {
        Self { has_unknown: true, keys: Vec::new() }
    }

    /// Whether these keys say what was meant: nothing in them is wrong, and no unknown key stands there in place of one.
    pub fn spares(&self, keys: &[&str]) -> bool {
        !self.has_unknown && !self.keys.iter().any(|key| keys.contains(key))
    }
}

/// A value that is written in either of two ways; the second is a table.
#[derive(Debug, Clone)]
pub enum Either<A, B> {
    /// A word.
    Word(A),
    /// A table.
    Table(B),
}

impl<A: Read, B: Read> Read for Either<A, B> {
    fn form() -> Form {
        Form::Either(Box::new(A::form()), Box::new(B::form()))
    }

    fn read(node: Node<'_>, mistakes: &mut Mistakes<'_>) -> Option<Self> {
        match node.table() {
            Some(_) => B::read(node, mistakes).map(Self::Table),
            None => A::read(node, mistakes).map(Self::Word),
        }
    }

    fn stand_in() -> Self {
        Self::Word(A::stand_in())
    }
}

/// A table that is being read: its keys are those of its shape, and each is read once.
pub struct Fields<'t> {
    table: &'t dyn TableLike,
    span: Option<Range<usize>>,
    title: &'static str,
    wrong: Wrong,
}

impl<'t> Fields<'t> {
    /// Checks that a node is a table with no key but those of the shape.
    pub fn of(node: Node<'t>, shape: &'static Shape, mistakes: &mut Mistakes<'_>) -> Option<Self> {
        let Some(table) = node.table() else {
            mistakes.add(node.span(), format!("must be a table (`{}`), is a {}", shape.title, node.type_name()));
            return None;
        };
        mistakes.at_key(None);
        let mut wrong = Wrong::default();
        for (name, _) in table.iter() {
            if !shape.fields.iter().any(|field| field.key == name) {
                wrong.has_unknown = true;
                mistakes.unknown(name, key_span(table, name), shape.fields.iter().map(|field| field.key));
            }
        }
        Some(Self { table, span: node.span(), title: shape.title, wrong })
    }

    /// What was wrong with what was read so far.
    pub fn wrong(self) -> Wrong {
        self.wrong
    }

    fn node(&self, key: &str) -> Option<Node<'t>> {
        self.table.get(key).and_then(Node::of)
    }

    fn span_of(&self, node: Node<'_>, key: &str) -> Range<usize> {
        node.span().or_else(|| key_span(self.table, key)).unwrap_or_default()
    }

    /// Reads a key that must stand; a stand-in where it does not or is wrong.
    pub fn needed<T: Read>(&mut self, key: &'static str, mistakes: &mut Mistakes<'_>) -> Spanned<T> {
        let span = match self.node(key) {
            Some(node) => match self.value(key, node, mistakes) {
                Some(value) => return value,
                None => self.span_of(node, key),
            },
            None => {
                mistakes.add(self.span.clone(), format!("this `{}` needs `{key}`", self.title));
                self.wrong.keys.push(key);
                self.span.clone().unwrap_or_default()
            }
        };
        Spanned { value: T::stand_in(), span }
    }

    /// Reads a key that may stand; none also where it is wrong.
    pub fn optional<T: Read>(&mut self, key: &'static str, mistakes: &mut Mistakes<'_>) -> Option<Spanned<T>> {
        let node = self.node(key)?;
        self.value(key, node, mistakes)
    }

    /// Reads a list; an element that is wrong is noted and left out, so that the others are looked at, too.
    pub fn list<T: Read>(&mut self, key: &'static str, mistakes: &mut Mistakes<'_>) -> Vec<Spanned<T>> {
        let Some(node) = self.node(key) else { return Vec::new() };
        let (span, before) = (self.span_of(node, key), mistakes.len());
        let elements = node.elements().unwrap_or_else(|| {
            mistakes.add(Some(span.clone()), format!("`{key}` must be a list, is a {}", node.type_name()));
            Vec::new()
        });
        if elements.is_empty() && mistakes.len() == before {
            mistakes.add(Some(span.clone()), format!("`{key}` is an empty list: leave it out, or fill it"));
        }
        let mut read = Vec::with_capacity(elements.len());
        for element in elements {
            let span = element.span().unwrap_or_else(|| span.clone());
            let outer = mistakes.at_key(Some(key));
            read.extend(T::read(element, mistakes).map(|value| Spanned { value, span }));
            mistakes.at_key(outer);
        }
        self.note(key, before, mistakes);
        read
    }

    fn value<T: Read>(&mut self, key: &'static str, node: Node<'_>, mistakes: &mut Mistakes<'_>) -> Option<Spanned<T>> {
        let (span, before) = (self.span_of(node, key), mistakes.len());
        let outer = mistakes.at_key(Some(key));
        let value = T::read(node, mistakes);
        mistakes.at_key(outer);
        self.note(key, before, mistakes);
        value.map(|value| Spanned { value, span })
    }

    fn note(&mut self, key: &'static str, before: usize, mistakes: &Mistakes<'_>) {
        if mistakes.len() > before {
            self.wrong.keys.push(key);
        }
    }
}

/// Where a key stands.
pub fn key_span(table: &dyn TableLike, name: &str) -> Option<Range<usize>> {
    table.key(name).and_then(toml_edit::Key::span)
}

/// Reads one of some words.
pub fn word_of<T: Copy>(node: Node<'_>, words: &[(&'static str, T)], mistakes: &mut Mistakes<'_>) -> Option<T> {
    let names = || words.iter().map(|(name, _)| *name);
    let listed = names().collect::<Vec<_>>().join(", ");
    let Some(text) = node.text() else {
        mistakes.add(node.span(), format!("must be one of {listed} in quotes, is a {}", node.type_name()));
        return None;
    };
    let found = words.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
    if found.is_none() {
        let hint = nearest(text, names()).map(|word| format!("; did you mean {word:?}?")).unwrap_or_default();
        mistakes.add(node.span(), format!("{text:?} is none of {listed}{hint}"));
    }
    found
}
