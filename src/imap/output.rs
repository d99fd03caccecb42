//! What becomes of a chunk on its way through. Pure.

use bytes::BytesMut;

/// What a chunk became.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Passed {
    /// So many bytes of it pass as they are; what is behind them is held back and to be shown again.
    AsIs(usize),
    /// This passes in place of so many bytes of it; what is behind them is held back.
    Instead(BytesMut, usize),
}

/// What goes on of a chunk: the chunk itself as long as nothing in it changes.
pub(super) struct Output<'a> {
    chunk: &'a [u8],
    /// How many bytes of the chunk have been dealt with.
    done: usize,
    changed: Option<BytesMut>,
}

impl<'a> Output<'a> {
    pub(super) fn new(chunk: &'a [u8]) -> Self {
        Self { chunk, done: 0, changed: None }
    }

    /// These bytes, the next ones of the chunk, go on as they are.
    pub(super) fn pass(&mut self, bytes: &[u8]) {
        self.done += bytes.len();
        if let Some(changed) = &mut self.changed {
            changed.extend_from_slice(bytes);
        }
    }

    /// These bytes, the next ones of the chunk, do not go on.
    pub(super) fn drop(&mut self, bytes: &[u8]) {
        self.change();
        self.done += bytes.len();
    }

    /// Bytes of ours.
    pub(super) fn put(&mut self, bytes: &[u8]) {
        self.change().extend_from_slice(bytes);
    }

    fn change(&mut self) -> &mut BytesMut {
        let before = self.chunk.get(..self.done).unwrap_or_default();
        self.changed.get_or_insert_with(|| BytesMut::from(before))
    }

    /// `held`: so many bytes at the end of the chunk are to be shown again.
    pub(super) fn finish(self, held: usize) -> Passed {
        let taken = self.chunk.len() - held;
        match self.changed {
            None => Passed::AsIs(taken),
            Some(changed) => Passed::Instead(changed, taken),
        }
    }
}
