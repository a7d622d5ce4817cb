//! pretokens -> weighted counts.

mod corpus;
mod long;
mod table;

pub(crate) use corpus::{for_each_chunk, for_each_piece};
pub(crate) use long::LongCounts;
pub(crate) use table::CountTable;
