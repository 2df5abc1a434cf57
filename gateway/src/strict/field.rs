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
}

/// A table that is being read: its keys are those of its shape, and each is read once.
pub struct Fields<'t> {
    table: &'t dyn TableLike,
    span: Option<Range<usize>>,
    title: &'static str,
}

impl<'t> Fields<'t> {
    /// Checks that a node is a table with no key but those of the shape.
    pub fn of(node: Node<'t>, shape: &'static Shape, mistakes: &mut Mistakes<'_>) -> Option<Self> {
        let Some(table) = node.table() else {
            mistakes.add(node.span(), format!("must be a table (`{}`), is a {}", shape.title, node.type_name()));
            return None;
        };
        mistakes.at_key(None);
        for (name, _) in table.iter() {
            if !shape.fields.iter().any(|field| field.key == name) {
                mistakes.unknown(name, key_span(table, name), shape.fields.iter().map(|field| field.key));
            }
        }
        Some(Self { table, span: node.span(), title: shape.title })
    }

    fn node(&self, key: &str) -> Option<Node<'t>> {
        self.table.get(key).and_then(Node::of)
    }

    fn span_of(&self, node: Node<'_>, key: &str) -> Range<usize> {
        node.span().or_else(|| key_span(self.table, key)).unwrap_or_default()
    }

    /// Reads a key that must stand.
    pub fn needed<T: Read>(&self, key: &'static str, mistakes: &mut Mistakes<'_>) -> Option<Spanned<T>> {
        match self.node(key) {
            Some(node) => self.value(key, node, mistakes),
            None => {
                mistakes.add(self.span.clone(), format!("this `{}` needs `{key}`", self.title));
                None
            }
        }
    }

    /// Reads a key that may stand; the outer `None` says that it stands and is wrong.
    pub fn optional<T: Read>(&self, key: &'static str, mistakes: &mut Mistakes<'_>) -> Option<Option<Spanned<T>>> {
        match self.node(key) {
            Some(node) => self.value(key, node, mistakes).map(Some),
            None => Some(None),
        }
    }

    /// Reads a list; an element that is wrong is noted and left out, so that the others are looked at, too.
    pub fn list<T: Read>(&self, key: &'static str, mistakes: &mut Mistakes<'_>) -> Option<Vec<Spanned<T>>> {
        let Some(node) = self.node(key) else { return Some(Vec::new()) };
        let span = self.span_of(node, key);
        let Some(elements) = node.elements() else {
            mistakes.add(Some(span), format!("`{key}` must be a list, is a {}", node.type_name()));
            return None;
        };
        if elements.is_empty() {
            mistakes.add(Some(span), format!("`{key}` is an empty list: leave it out, or fill it"));
            return None;
        }
        let mut read = Vec::with_capacity(elements.len());
        for element in elements {
            let span = element.span().unwrap_or_else(|| span.clone());
            let outer = mistakes.at_key(Some(key));
            read.extend(T::read(element, mistakes).map(|value| Spanned { value, span }));
            mistakes.at_key(outer);
        }
        Some(read)
    }

    fn value<T: Read>(&self, key: &'static str, node: Node<'_>, mistakes: &mut Mistakes<'_>) -> Option<Spanned<T>> {
        let span = self.span_of(node, key);
        let outer = mistakes.at_key(Some(key));
        let value = T::read(node, mistakes);
        mistakes.at_key(outer);
        value.map(|value| Spanned { value, span })
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

/// A raw table: the struct, its reader and its shape. Each key is `needed`, `optional` (with what holds without it) or `list`, and a key whose name is
/// no name in Rust is written `name as "key"`.
#[macro_export]
macro_rules! raw_table {
    ($(#[doc = $doc:literal])+ $name:ident, $title:literal { $(
        $(#[doc = $field_doc:literal])+
        $field:ident $(as $key:literal)? : $need:ident $type:ty $(= $default:literal)?,
    )+ }) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone)]
        pub struct $name { $(
            $(#[doc = $field_doc])+
            pub $field: $crate::raw_table!(@type $need $type),
        )+ }

        impl $name {
            /// Its keys.
            pub fn shape() -> &'static $crate::strict::Shape {
                static SHAPE: $crate::strict::Shape = $crate::strict::Shape {
                    title: $title,
                    doc: concat!($($doc, "\n"),+),
                    fields: &[$($crate::strict::Field {
                        key: $crate::raw_table!(@key $field $($key)?),
                        doc: concat!($($field_doc, "\n"),+),
                        need: $crate::raw_table!(@need $need $($default)?),
                        form: $crate::raw_table!(@form $need $type),
                    }),+],
                };
                &SHAPE
            }
        }

        impl $crate::strict::Read for $name {
            fn form() -> $crate::strict::Form {
                $crate::strict::Form::Table(Self::shape())
            }

            fn read(
                node: $crate::strict::Node<'_>,
                mistakes: &mut $crate::strict::Mistakes<'_>,
            ) -> Option<Self> {
                let fields = $crate::strict::field::Fields::of(node, Self::shape(), mistakes)?;
                $(let $field = fields.$need($crate::raw_table!(@key $field $($key)?), mistakes);)+
                Some(Self { $($field: $field?),+ })
            }
        }
    };
    (@type needed $type:ty) => { $crate::strict::Spanned<$type> };
    (@type optional $type:ty) => { Option<$crate::strict::Spanned<$type>> };
    (@type list $type:ty) => { Vec<$crate::strict::Spanned<$type>> };
    (@key $field:ident $key:literal) => { $key };
    (@key $field:ident) => { stringify!($field) };
    (@need needed) => { $crate::strict::Need::Needed };
    (@need list) => { $crate::strict::Need::Default("none") };
    (@need $need:ident $default:literal) => { $crate::strict::Need::Default($default) };
    (@form list $type:ty) => {
        || $crate::strict::Form::List(Box::new(<$type as $crate::strict::Read>::form()))
    };
    (@form $need:ident $type:ty) => { <$type as $crate::strict::Read>::form };
}

/// An enum of which each variant is a word.
#[macro_export]
macro_rules! raw_words {
    ($(#[doc = $doc:literal])+ $name:ident { $($(#[doc = $variant_doc:literal])+ $variant:ident = $word:literal,)+ }) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[doc = $variant_doc])+ $variant,)+ }

        impl $name {
            /// The word.
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl $crate::strict::Read for $name {
            fn form() -> $crate::strict::Form {
                $crate::strict::Form::Words(&[$($word),+])
            }

            fn read(
                node: $crate::strict::Node<'_>,
                mistakes: &mut $crate::strict::Mistakes<'_>,
            ) -> Option<Self> {
                $crate::strict::field::word_of(node, &[$(($word, Self::$variant)),+], mistakes)
            }
        }
    };
}
