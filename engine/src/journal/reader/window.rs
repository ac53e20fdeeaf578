//! A segment's bytes, read forward in pieces, the next one while this one is looked at.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::salvage;
use crate::env::{File, Io};

/// Bytes of a piece.
const PIECE: u64 = 1 << 20;
/// Pieces that are read ahead. They, the one that is looked at and a frame are all that a reader holds.
const AHEAD: usize = 2;

pub(super) struct Window {
    file: Arc<dyn File>,
    pub(super) size: u64,
    /// Where `piece` begins.
    at: u64,
    piece: Bytes,
    /// Those that follow it, in order.
    ahead: VecDeque<Io<Bytes>>,
    /// Where the next one to be sent for begins.
    next: u64,
}

impl Window {
    pub(super) async fn open(file: Arc<dyn File>) -> io::Result<Window> {
        let size = file.len().await?;
        Ok(Window { file, size, at: 0, piece: Bytes::new(), ahead: VecDeque::new(), next: 0 })
    }

    fn end(&self) -> u64 {
        self.at + self.piece.len() as u64
    }

    /// The next read starts anew from the disk: what was read before may be outdated.
    pub(super) fn forget(&mut self) {
        self.piece = Bytes::new();
        self.ahead.clear();
    }

    /// `n` bytes from `offset` on, as they are on the disk now, past the pieces; fewer at the end of the file.
    pub(super) async fn aside(&self, offset: u64, n: u64) -> io::Result<Bytes> {
        salvage::read_at(&*self.file, offset, n.min(self.size.saturating_sub(offset)) as usize).await
    }

    /// `n` bytes from `offset` on, a whole sector; fewer only at the end of the file.
    pub(super) async fn read(&mut self, offset: u64, n: u64) -> io::Result<Bytes> {
        let to = (offset + n).min(self.size);
        if offset >= to {
            return Ok(Bytes::new());
        }
        if !(self.at..self.end()).contains(&offset) {
            if offset != self.end() {
                self.ahead.clear();
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

    /// Takes the piece at `at`, and sends for those behind it.
    async fn forward(&mut self, at: u64) -> io::Result<()> {
        if self.ahead.is_empty() {
            self.next = at;
        }
        // The one that is taken now, and those behind it.
        while self.ahead.len() <= AHEAD && self.next < self.size {
            self.ahead.push_back(self.file.read_at(self.next, PIECE as usize));
            self.next += PIECE;
        }
        self.at = at;
        self.piece = match self.ahead.pop_front() {
            // Once more where it failed, block by block.
            Some(reading) => match reading.await {
                Ok(piece) => piece,
                Err(_) => salvage::read_at(&*self.file, at, PIECE as usize).await?,
            },
            None => Bytes::new(),
        };
        if self.piece.len() as u64 != PIECE {
            // The end, or somebody cut the file meanwhile: nothing that was sent for follows this.
            self.ahead.clear();
        }
        Ok(())
    }
}
