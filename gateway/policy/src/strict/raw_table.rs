//! The macros that make a raw table: the struct, its strict reader and its [`Shape`](super::Shape) from one description. Used by
//! [`crate::raw`].

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
        )+
            /// What of it could not be read.
            pub wrong: $crate::strict::Wrong,
        }

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
                let mut fields = $crate::strict::field::Fields::of(node, Self::shape(), mistakes)?;
                $(let $field = fields.$need($crate::raw_table!(@key $field $($key)?), mistakes);)+
                Some(Self { $($field,)+ wrong: fields.wrong() })
            }

            fn stand_in() -> Self {
                Self { $($field: $crate::raw_table!(@stand_in $need $type),)+ wrong: $crate::strict::Wrong::unread() }
            }
        }
    };
    (@stand_in needed $type:ty) => {
        $crate::strict::Spanned { value: <$type as $crate::strict::Read>::stand_in(), span: 0..0 }
    };
    (@stand_in optional $type:ty) => { None };
    (@stand_in list $type:ty) => { Vec::new() };
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

            fn stand_in() -> Self {
                [$(Self::$variant),+][0]
            }
        }
    };
}
