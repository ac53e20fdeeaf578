//! A segment's bytes, read forward in pieces, the next one while this one is looked at.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::env::{File, Io};
use crate::journal::frame::SECTOR;

/// Bytes of a piece. Two of them and a frame are all that a reader holds.
const PIECE: u64 = 1 << 20;

pub(super) struct Window {
    file: Arc<dyn File>,
    pub(super) size: u64,
    /// Where `piece` begins.
    at: u64,
    piece: Bytes,
    ahead: Option<Io<Bytes>>,
}

impl Window {
    pub(super) async fn open(file: Arc<dyn File>) -> io::Result<Window> {
        let size = file.len().await?;
        Ok(Window { file, size, at: 0, piece: Bytes::new(), ahead: None })
    }

    fn end(&self) -> u64 {
        self.at + self.piece.len() as u64
    }

    /// The next read starts anew from the disk: what was read before may be outdated.
    pub(super) fn forget(&mut self) {
        (self.piece, self.ahead) = (Bytes::new(), None);
    }

    /// All from `offset` to the end of the file, past the pieces.
    pub(super) async fn aside(&self, offset: u64) -> io::Result<Bytes> {
        self.file.read_at(offset, (self.size - offset.min(self.size)) as usize).await
    }

    /// `n` bytes from `offset` on, a whole sector; fewer only at the end of the file.
    pub(super) async fn read(&mut self, offset: u64, n: u64) -> io::Result<Bytes> {
        let to = (offset + n).min(self.size);
        if offset >= to {
            return Ok(Bytes::new());
        }
        if !(self.at..self.end()).contains(&offset) {
            if offset != self.end() || self.ahead.is_none() {
                self.ahead = Some(self.file.read_at(offset, PIECE as usize));
            }
            self.forward(offset).await?;
        }
        let here = self.piece.slice((offset - self.at) as usize..(to.min(self.end()) - self.at) as usize);
        if self.end() >= to {
            return Ok(here);
        }
        // A frame across the border of two pieces, or larger than one.
        let mut whole = BytesMut::with_capacity((to - offset) as usize);
        whole.extend_from_slice(&here);
        while offset + (whole.len() as u64) < to && !self.piece.is_empty() {
            self.forward(self.end()).await?;
            let more = self.piece.len().min((to - offset) as usize - whole.len());
            whole.extend_from_slice(&self.piece[..more]);
        }
        Ok(whole.freeze())
    }

    /// Takes the piece at `at`, and sends for the one behind it.
    async fn forward(&mut self, at: u64) -> io::Result<()> {
        let reading = self.ahead.take().unwrap_or_else(|| self.file.read_at(at, PIECE as usize));
        self.piece = reading.await?;
        self.at = at;
        let whole = self.piece.len() as u64 == PIECE;
        self.ahead = (whole && self.end() + SECTOR <= self.size).then(|| self.file.read_at(self.end(), PIECE as usize));
        Ok(())
    }
}
