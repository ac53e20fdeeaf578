//! The disk alone: `pwrite` and `fdatasync` into a file that was filled with zeroes, round and round.

use std::error::Error;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::{Contender, PACKET_BYTES};

/// As much as two segments of the journal.
const FILE_BYTES: u64 = 16 << 20;

/// A window is one write.
pub(super) struct Raw {
    file: File,
    at: u64,
}

impl Raw {
    pub(super) fn create(dir: &Path) -> Result<Raw, Box<dyn Error>> {
        let file = File::create(dir.join("raw"))?;
        file.write_all_at(&vec![0; FILE_BYTES as usize], 0)?;
        file.sync_all()?;
        Ok(Raw { file, at: 0 })
    }
}

impl Contender for Raw {
    fn carry(&mut self, window: usize, time: Duration) -> Result<u64, Box<dyn Error>> {
        let packets = vec![7; window * PACKET_BYTES];
        let began = Instant::now();
        let mut written = 0;
        while began.elapsed() < time {
            if self.at + packets.len() as u64 > FILE_BYTES {
                self.at = 0;
            }
            self.file.write_all_at(&packets, self.at)?;
            self.file.sync_data()?;
            self.at += packets.len() as u64;
            written += window as u64;
        }
        Ok(written)
    }
}
