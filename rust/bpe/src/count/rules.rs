//! What was counted, and how the texts were cut.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::split::Pattern;

/// What decides how a text falls into pretokens. Only counts by equal rules may be added up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountRules {
    /// The regular expression of the pattern, of a named one, too: names may come to mean something else.
    pub pattern: String,
    /// In the order of their bytes: the order in which they are given does not matter to counts.
    pub special_tokens: Vec<String>,
}

impl CountRules {
    pub(crate) fn new(pattern: &Pattern, special_tokens: &[String]) -> Self {
        let mut special_tokens = special_tokens.to_vec();
        special_tokens.sort_unstable();
        Self { pattern: pattern.regex().to_owned(), special_tokens }
    }

    /// # Errors
    /// [`Error::InvalidArgument`] that says in what the rules of `path` differ.
    pub(crate) fn check_equal(&self, path: &Path, theirs: &Self) -> Result<()> {
        let differing = if self.pattern != theirs.pattern {
            format!("the pattern {:?}, expected {:?}", theirs.pattern, self.pattern)
        } else if self.special_tokens != theirs.special_tokens {
            format!("the special tokens {:?}, expected {:?}", theirs.special_tokens, self.special_tokens)
        } else {
            return Ok(());
        };
        Err(Error::invalid(format!("{} was counted with {differing}; count its texts again", path.display())))
    }
}

/// What is in a file of counts, without its pretokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountSummary {
    /// How the texts were cut.
    pub rules: CountRules,
    /// The number of distinct pretokens.
    pub num_pretokens: u64,
    /// The bytes of the texts counted, each as often as it weighed: no count is greater.
    pub num_bytes: u64,
}
