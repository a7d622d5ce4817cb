//! pretokens -> weighted counts.

mod corpus;
mod long;
mod table;

pub(crate) use corpus::{count_file, count_texts};
pub(crate) use table::CountTable;
