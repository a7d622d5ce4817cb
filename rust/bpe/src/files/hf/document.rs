//! What a `tokenizer.json` looks like, as far as the ids depend on it.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct File<'a> {
    #[serde(borrow)]
    pub(super) model: Model<'a>,
    pub(super) added_tokens: Option<Vec<Value>>,
    pub(super) truncation: Value,
    pub(super) padding: Value,
    pub(super) normalizer: Value,
    pub(super) pre_tokenizer: Value,
    pub(super) post_processor: Value,
    pub(super) decoder: Value,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Model<'a> {
    pub(super) r#type: Value,
    pub(super) dropout: Value,
    pub(super) continuing_subword_prefix: Value,
    pub(super) end_of_word_suffix: Value,
    pub(super) byte_fallback: Value,
    pub(super) ignore_merges: Value,
    #[serde(borrow)]
    pub(super) vocab: Entries<'a>,
    #[serde(borrow)]
    pub(super) merges: Merges<'a>,
}

/// Borrowed from the file unless there are escapes in it.
#[derive(Deserialize)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

/// The entries of `vocab`, if it is an object. Other models have a list there.
#[derive(Default)]
pub(super) struct Entries<'a>(pub(super) Option<Vec<(Text<'a>, Value)>>);

/// The items of `merges`, if it is a list.
#[derive(Default)]
pub(super) struct Merges<'a>(pub(super) Option<Vec<Merge<'a>>>);

/// `"a b"`, `["a", "b"]`, or neither.
pub(super) enum Merge<'a> {
    Line(Cow<'a, str>),
    Pair(Text<'a>, Text<'a>),
    Neither,
}

impl<'de: 'a, 'a> Deserialize<'de> for Entries<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Found<'a>(Entries<'a>);

        impl<'de: 'a, 'a> Visitor<'de> for Found<'a> {
            type Value = Entries<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map from tokens to ids")
            }

            fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Entries<'a>, A::Error> {
                let entries = self.0.0.insert(Vec::new());
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(self.0)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Entries<'a>, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(self.0)
            }
        }

        deserializer.deserialize_any(Found(Entries(None)))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Merges<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::<Vec<Merge<'a>>>::deserialize(deserializer).map(Merges)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Merge<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Found;

        impl<'de> Visitor<'de> for Found {
            type Value = Merge<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a merge: a string or a pair of strings")
            }

            fn visit_borrowed_str<E>(self, line: &'de str) -> Result<Merge<'de>, E> {
                Ok(Merge::Line(Cow::Borrowed(line)))
            }

            fn visit_str<E>(self, line: &str) -> Result<Merge<'de>, E> {
                Ok(Merge::Line(Cow::Owned(line.to_owned())))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Merge<'de>, A::Error> {
                let parts = (seq.next_element()?, seq.next_element()?);
                let mut is_longer = false;
                while seq.next_element::<IgnoredAny>()?.is_some() {
                    is_longer = true;
                }
                match parts {
                    (Some(left), Some(right)) if !is_longer => Ok(Merge::Pair(left, right)),
                    _ => Ok(Merge::Neither),
                }
            }
        }

        deserializer.deserialize_any(Found)
    }
}
