//! Ids as they stand in shards.

use crate::encode::Tokenizer;
use crate::error::{Error, Result};

/// How wide the ids of a corpus are: as narrow as every id of the vocabulary allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IdType {
    Uint16,
    Uint32,
}

impl IdType {
    pub(super) fn of(tokenizer: &Tokenizer) -> Self {
        if tokenizer.vocab_size() <= 1 << 16 { Self::Uint16 } else { Self::Uint32 }
    }

    /// The bytes of an id.
    pub(super) fn width(self) -> usize {
        match self {
            Self::Uint16 => 2,
            Self::Uint32 => 4,
        }
    }

    /// As journals and manifests call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Uint16 => "uint16",
            Self::Uint32 => "uint32",
        }
    }

    /// As the header of an array calls it.
    pub(super) fn descr(self) -> &'static str {
        match self {
            Self::Uint16 => "<u2",
            Self::Uint32 => "<u4",
        }
    }

    /// Appends ids, little-endian.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for one that does not fit, which no tokenizer of this type gives;
    /// [`Error::OutOfMemory`].
    pub(super) fn append(self, ids: &[u32], out: &mut Vec<u8>) -> Result<()> {
        let start = out.len();
        let size_bytes = ids.len() * self.width();
        out.try_reserve(size_bytes).map_err(|_| Error::OutOfMemory(size_bytes))?;
        out.resize(start + size_bytes, 0);
        let places = &mut out[start..];
        match self {
            Self::Uint16 => {
                if let Some(id) = ids.iter().max().filter(|id| **id > u32::from(u16::MAX)) {
                    return Err(Error::invalid(format!("id {id} does not fit into uint16, the type of this corpus")));
                }
                for (place, id) in places.as_chunks_mut().0.iter_mut().zip(ids) {
                    *place = (*id as u16).to_le_bytes();
                }
            }
            Self::Uint32 => {
                for (place, id) in places.as_chunks_mut().0.iter_mut().zip(ids) {
                    *place = id.to_le_bytes();
                }
            }
        }
        Ok(())
    }

    /// Each id of what was appended.
    pub(super) fn iter(self, bytes: &[u8]) -> impl Iterator<Item = u32> {
        bytes.chunks_exact(self.width()).map(move |id| match *id {
            [a, b] => u32::from(u16::from_le_bytes([a, b])),
            [a, b, c, d] => u32::from_le_bytes([a, b, c, d]),
            _ => 0,
        })
    }

    /// The greatest of them.
    pub(super) fn greatest(self, bytes: &[u8]) -> Option<u32> {
        match self {
            Self::Uint16 => bytes.as_chunks().0.iter().map(|id| u16::from_le_bytes(*id)).max().map(u32::from),
            Self::Uint32 => bytes.as_chunks().0.iter().map(|id| u32::from_le_bytes(*id)).max(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_back_and_none_is_cut() {
        for (id_type, ids) in
            [(IdType::Uint16, vec![0, 1, 255, 65_535, 7]), (IdType::Uint32, vec![70_000, u32::MAX, 3])]
        {
            let mut bytes = vec![];
            id_type.append(&ids[..2], &mut bytes).unwrap();
            id_type.append(&ids[2..], &mut bytes).unwrap();
            assert_eq!(bytes.len(), ids.len() * id_type.width());
            assert_eq!(id_type.iter(&bytes).collect::<Vec<_>>(), ids);
            assert_eq!(id_type.greatest(&bytes), ids.iter().max().copied());
            assert_eq!(id_type.greatest(&[]), None);
        }
        let error = IdType::Uint16.append(&[65_536], &mut Vec::new()).unwrap_err().to_string();
        assert_eq!(error, "id 65536 does not fit into uint16, the type of this corpus");
    }
}
