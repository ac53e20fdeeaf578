//! What is in a file: the page cache over the durable image, in blocks of eight sectors.
//!
//! Each block is held in three states that share memory where they are equal: as programs see it, as it will be once
//! every sync in flight is done, and as it is on the platter. Completed syncs only ever go from left to right.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

/// What a power cut keeps or loses as one.
pub(super) const SECTOR: usize = 512;
/// What space is allocated in.
pub(super) const BLOCK: usize = 4096;

/// A block's bytes; `None` is all zero.
type Image = Option<Arc<[u8; BLOCK]>>;

#[derive(Clone, Default)]
struct Block {
    cached: Image,
    scheduled: Image,
    durable: Image,
    /// Sectors, as bits, written since the last sync was issued.
    dirty: u8,
}

/// A sync on its way: what it makes durable at its completion.
pub(super) struct Flight {
    blocks: Vec<(u64, Image, u8)>,
    len: u64,
}

impl Flight {
    /// Bytes that the device has to write.
    pub(super) fn bytes(&self) -> u64 {
        self.blocks.iter().map(|(_, _, mask)| u64::from(mask.count_ones()) * SECTOR as u64).sum()
    }
}

/// What a power cut does to one unsynced sector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It was written in time.
    Keep,
    /// It wasn't.
    Drop,
    /// The first bytes were written, the rest wasn't.
    Tear(usize),
    /// What changed in it is noise from this seed. What didn't change stays: noise there would be rot of synced data.
    Garble(u64),
}

/// How many unsynced sectors met which fate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Losses {
    pub(super) kept: u64,
    pub(super) dropped: u64,
    pub(super) torn: u64,
}

/// One file's content.
#[derive(Default)]
pub(super) struct Content {
    blocks: BTreeMap<u64, Block>,
    dirty: BTreeSet<u64>,
    /// Blocks that programs see, and the platter does not hold: a sync of them failed, and none will try again by itself.
    unsound: BTreeSet<u64>,
    len: u64,
    durable_len: u64,
    /// Blocks allocated since the last sync was issued: their place on the device isn't settled.
    unplaced: u64,
}

impl Content {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Blocks that it takes up.
    pub(super) fn allocated(&self) -> u64 {
        self.blocks.len() as u64
    }

    pub(super) fn has_unplaced(&self) -> bool {
        self.unplaced > 0
    }

    /// Up to `n` bytes at `at`.
    pub(super) fn read(&self, at: u64, n: usize) -> Bytes {
        let end = self.len.min(at.saturating_add(n as u64));
        let mut out = BytesMut::zeroed(usize::try_from(end.saturating_sub(at)).expect("at most n"));
        for (number, from, part) in parts(at, out.len()) {
            if let Some(Some(image)) = self.blocks.get(&number).map(|block| &block.cached) {
                out[part.clone()].copy_from_slice(&image[from..from + part.len()]);
            }
        }
        out.freeze()
    }

    /// How many of `n` bytes at `at` could be written with `room` blocks to allocate; whole blocks up to the first that
    /// doesn't fit.
    pub(super) fn fitting(&self, at: u64, n: usize, room: u64) -> usize {
        let mut missing = 0;
        for (number, _, part) in parts(at, n) {
            missing += u64::from(!self.blocks.contains_key(&number));
            if missing > room {
                return part.start;
            }
        }
        n
    }

    /// Writes `data` at `at` into the cache; returns how many blocks that allocated.
    pub(super) fn write(&mut self, at: u64, data: &[u8]) -> u64 {
        let before = self.allocated();
        for (number, from, part) in parts(at, data.len()) {
            let block = self.blocks.entry(number).or_default();
            let image = Arc::make_mut(block.cached.get_or_insert_with(|| Arc::new([0; BLOCK])));
            image[from..from + part.len()].copy_from_slice(&data[part.clone()]);
            block.dirty |= mask(from, part.len());
            self.dirty.insert(number);
        }
        self.grew(before, at + data.len() as u64)
    }

    /// Blocks that `zero_fill(to)` would allocate.
    pub(super) fn missing_until(&self, to: u64) -> u64 {
        let (from, end) = (self.len / BLOCK as u64, to.div_ceil(BLOCK as u64));
        end.saturating_sub(from).saturating_sub(self.blocks.range(from..end.max(from)).count() as u64)
    }

    /// Extends the file with allocated zeroes to `to` bytes; returns how many blocks that allocated.
    pub(super) fn zero_fill(&mut self, to: u64) -> u64 {
        let before = self.allocated();
        for number in self.len / BLOCK as u64..to.div_ceil(BLOCK as u64) {
            let block = self.blocks.entry(number).or_default();
            let start = number * BLOCK as u64;
            let from = self.len.max(start) - start;
            block.dirty |= mask(from as usize, (to.min(start + BLOCK as u64) - start - from) as usize);
            self.dirty.insert(number);
        }
        self.grew(before, to)
    }

    fn grew(&mut self, before: u64, end: u64) -> u64 {
        self.len = self.len.max(end);
        let allocated = self.allocated() - before;
        self.unplaced += allocated;
        allocated
    }

    /// Takes all that is dirty on its way to the platter.
    pub(super) fn begin_sync(&mut self) -> Flight {
        self.unplaced = 0;
        let blocks = std::mem::take(&mut self.dirty).into_iter().map(|number| {
            let block = self.blocks.get_mut(&number).expect("a dirty block is allocated");
            self.unsound.remove(&number);
            block.scheduled.clone_from(&block.cached);
            (number, block.cached.clone(), std::mem::take(&mut block.dirty))
        });
        Flight { blocks: blocks.collect(), len: self.len }
    }

    /// A sync is complete. Syncs complete in the order in which they began, so each block's image is whole.
    pub(super) fn finish_sync(&mut self, flight: Flight) {
        self.durable_len = self.durable_len.max(flight.len);
        for (number, image, _) in flight.blocks {
            self.blocks.get_mut(&number).expect("a block in flight is allocated").durable = image;
        }
    }

    /// A sync failed: what was dirty counts as clean, and will be in no later sync. Programs go on seeing it as Linux has it, until
    /// its pages are needed for something else (`evicted`) or the power goes. Returns how many sectors.
    pub(super) fn lose_dirty(&mut self, evicted: bool) -> u64 {
        let mut lost = 0;
        for number in std::mem::take(&mut self.dirty) {
            let block = self.blocks.get_mut(&number).expect("a dirty block is allocated");
            if evicted {
                block.cached.clone_from(&block.scheduled);
            } else {
                self.unsound.insert(number);
            }
            lost += u64::from(std::mem::take(&mut block.dirty).count_ones());
        }
        lost
    }

    /// The power goes. `flights` are the syncs that aren't complete, oldest first; `fate` is asked with each unsynced
    /// sector's number and version, `end` (any value) decides where between its durable and its cached length the file
    /// ends.
    pub(super) fn power_cut(
        &mut self,
        flights: Vec<Flight>,
        mut fate: impl FnMut(u64, u64) -> Fate,
        end: u64,
    ) -> Losses {
        let mut versions: Vec<(u64, Image, u8)> = flights.into_iter().flat_map(|flight| flight.blocks).collect();
        for number in std::mem::take(&mut self.dirty) {
            let block = self.blocks.get_mut(&number).expect("a dirty block is allocated");
            versions.push((number, block.cached.clone(), std::mem::take(&mut block.dirty)));
        }
        let mut losses = Losses::default();
        for (version, (number, image, mask)) in versions.iter().enumerate() {
            let block = self.blocks.get_mut(number).expect("an unsynced block is allocated");
            for sector in (0..8).filter(|sector| mask & (1 << sector) != 0) {
                let fate = fate(number * 8 + sector as u64, version as u64);
                settle(&mut block.durable, image, sector * SECTOR, fate);
                match fate {
                    Fate::Keep => losses.kept += 1,
                    Fate::Drop => losses.dropped += 1,
                    Fate::Tear(_) | Fate::Garble(_) => losses.torn += 1,
                }
            }
        }
        let unsound = std::mem::take(&mut self.unsound);
        for number in versions.iter().map(|(number, ..)| number).chain(&unsound) {
            let block = self.blocks.get_mut(number).expect("an unsynced block is allocated");
            block.cached.clone_from(&block.durable);
            block.scheduled.clone_from(&block.durable);
        }
        let unsure = self.len - self.durable_len;
        self.cut(match end % 3 {
            0 => self.durable_len,
            1 => self.len,
            _ => self.durable_len + (end / 3) % (unsure + 1),
        });
        losses
    }

    /// Ends the file at `len`; what was behind reads as zero should it grow again.
    fn cut(&mut self, len: u64) {
        (self.len, self.durable_len, self.unplaced) = (len, len, 0);
        self.blocks.split_off(&len.div_ceil(BLOCK as u64));
        let inside = (len % BLOCK as u64) as usize;
        if let Some(block) = self.blocks.get_mut(&(len / BLOCK as u64))
            && let Some(image) = &mut block.durable
        {
            Arc::make_mut(image)[inside..].fill(0);
            block.cached.clone_from(&block.durable);
            block.scheduled.clone_from(&block.durable);
        }
    }

    /// Flips a bit of the byte at `at`, in the cache and on the platter; false where nothing is stored there.
    pub(super) fn rot(&mut self, at: u64) -> bool {
        let Some(block) = self.blocks.get_mut(&(at / BLOCK as u64)).filter(|_| at < self.len) else { return false };
        for image in [&mut block.cached, &mut block.scheduled, &mut block.durable] {
            Arc::make_mut(image.get_or_insert_with(|| Arc::new([0; BLOCK])))[at as usize % BLOCK] ^= 1;
        }
        true
    }
}

/// Lets one sector of `new` reach the platter as `fate` says.
fn settle(durable: &mut Image, new: &Image, at: usize, fate: Fate) {
    let zeroes = [0; SECTOR];
    let new = new.as_ref().map_or(&zeroes[..], |image| &image[at..at + SECTOR]);
    if fate == Fate::Drop {
        return;
    }
    let old = &mut Arc::make_mut(durable.get_or_insert_with(|| Arc::new([0; BLOCK])))[at..at + SECTOR];
    match fate {
        Fate::Drop => {}
        Fate::Keep => old.copy_from_slice(new),
        Fate::Tear(bytes) => old[..bytes].copy_from_slice(&new[..bytes]),
        Fate::Garble(seed) => {
            for (index, (old, new)) in old.iter_mut().zip(new).enumerate().filter(|(_, (old, new))| old != new) {
                *old = xxhash_rust::xxh3::xxh3_64_with_seed(&[*new], seed.wrapping_add(index as u64)) as u8;
            }
        }
    }
}

/// The blocks of a range: number, offset in the block, and which part of the range lies there.
fn parts(at: u64, n: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let here = at + done as u64;
        let from = (here % BLOCK as u64) as usize;
        let part = done..n.min(done + BLOCK - from);
        done = part.end;
        (!part.is_empty()).then_some((here / BLOCK as u64, from, part))
    })
}

/// The sectors of `n > 0` bytes at `from` in a block, as bits.
fn mask(from: usize, n: usize) -> u8 {
    let (first, last) = (from / SECTOR, (from + n.max(1) - 1) / SECTOR);
    (0xff << first) & (0xff >> (7 - last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_split_at_blocks_and_masks_at_sectors() {
        let split: Vec<_> = parts(4000, 5000).collect();
        assert_eq!(split, [(0, 4000, 0..96), (1, 0, 96..4192), (2, 0, 4192..5000)]);
        assert_eq!(parts(7, 0).count(), 0);
        assert_eq!((mask(0, 4096), mask(511, 2), mask(4095, 1), mask(512, 512)), (0xff, 0b11, 0x80, 0b10));
    }

    #[test]
    fn a_torn_or_garbled_sector_leaves_its_unchanged_bytes() {
        for fate in [Fate::Tear(300), Fate::Garble(9)] {
            let mut content = Content::default();
            content.write(0, &[7; 200]);
            let flight = content.begin_sync();
            content.finish_sync(flight);
            content.write(200, &[8; 312]);
            let losses = content.power_cut(Vec::new(), |_, _| fate, 1);
            assert_eq!(losses, Losses { torn: 1, ..Losses::default() });
            assert_eq!(content.read(0, 200), [7u8; 200][..]);
            assert_ne!(content.read(200, 312), [8u8; 312][..]);
        }
    }

    #[test]
    fn what_is_cut_off_reads_as_zero_later() {
        let mut content = Content::default();
        content.write(0, &[7; 100]);
        let flight = content.begin_sync();
        content.finish_sync(flight);
        content.write(100, &[8; 9_000]);
        content.power_cut(Vec::new(), |_, _| Fate::Keep, 0);
        assert_eq!((content.len(), content.allocated()), (100, 1));
        content.write(300, &[9; 1]);
        assert_eq!(content.read(100, 200), [0u8; 200][..]);
    }

    #[test]
    fn a_sync_in_flight_leaves_the_version_that_it_took() {
        let mut content = Content::default();
        content.write(0, &[1; 512]);
        let flight = content.begin_sync();
        content.write(0, &[2; 512]);
        // Version 0 is the flight's, version 1 the cache's.
        content.power_cut(vec![flight], |_, version| if version == 0 { Fate::Keep } else { Fate::Drop }, 1);
        assert_eq!(content.read(0, 512), [1u8; 512][..]);
    }

    #[test]
    fn a_failed_sync_goes_back_to_what_was_scheduled_at_once_or_with_the_power() {
        let scheduled = [&[1u8; 512][..], &[0; 512]].concat();
        for evicted in [true, false] {
            let mut content = Content::default();
            content.write(0, &[1; 512]);
            let flight = content.begin_sync();
            content.write(0, &[2; 1024]);
            assert_eq!(content.lose_dirty(evicted), 2);
            content.finish_sync(flight);
            assert_eq!(content.read(0, 1024), if evicted { scheduled.clone() } else { vec![2; 1024] });
            // A later sync has nothing to write.
            assert_eq!(content.begin_sync().bytes(), 0);
            content.power_cut(vec![], |_, _| Fate::Keep, 1);
            assert_eq!(content.read(0, 1024), scheduled);
        }
    }

    #[test]
    fn what_is_written_again_after_a_failed_sync_is_synced() {
        let mut content = Content::default();
        content.write(0, &[1; 1024]);
        content.lose_dirty(false);
        content.write(0, &[1; 1024]);
        let flight = content.begin_sync();
        content.finish_sync(flight);
        content.power_cut(vec![], |_, _| Fate::Drop, 1);
        assert_eq!(content.read(0, 1024), [1u8; 1024][..]);
    }
}
