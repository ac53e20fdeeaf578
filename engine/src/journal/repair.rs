//! Moves what is damaged in a journal into side files, so that the next opening and the next reader know of it. Nothing is
//! deleted: every byte that leaves a segment is in a file first, durably.

use std::io;
use std::sync::Arc;

use super::checkpoint;
use super::frame::SECTOR;
use super::reader::{Finding, PARTIAL, QUARANTINE, ReadError, Reader, Step, salvage};
use super::segment;
use crate::env::{Disk, File, Open};
use bytes::{Bytes, BytesMut};

/// Bytes that are moved at a time.
const PIECE: u64 = 1 << 20;

/// What a repair moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// Why.
    pub finding: Finding,
    /// The file in which it is now.
    pub file: String,
}

/// Why a journal can't be repaired.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// Its process runs.
    #[error("could not lock the journal: a process uses this data directory; stop it first")]
    Locked,
    /// It can't be read, or written.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Reads the whole journal under its lock, and moves what is damaged. Gives all findings, in order, and what was moved.
/// Interrupted anywhere, it can be done again.
///
/// # Errors
/// A journal in use, or one that can't be read or written. What was moved until then stays moved.
pub async fn repair(disk: &Arc<dyn Disk>) -> Result<(Vec<Finding>, Vec<Moved>), RepairError> {
    // Before anything is created: a lock needs a directory with a journal in it.
    Reader::open(disk.clone()).await?;
    let _lock = disk.lock("LOCK").await.map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => RepairError::Locked,
        _ => ReadError::io("lock the data directory")(error).into(),
    })?;
    let mut reader = Reader::open(disk.clone()).await?.verifying();
    let (mut findings, mut moved) = (Vec::new(), Vec::new());
    while let Some(step) = reader.next().await? {
        let Step::Finding(finding) = step else { continue };
        if finding.is_damage() && moved.is_empty() {
            // They may point into what is moved; without them the next opening reads everything, and says what is lost. What they
            // prove stays.
            checkpoint::void(disk).await.map_err(ReadError::io("void the checkpoints"))?;
        }
        if finding.is_damage()
            && let Some(file) = put_away(disk, &finding).await?
        {
            moved.push(Moved { finding: finding.clone(), file });
        }
        findings.push(finding);
    }
    Ok((findings, moved))
}

/// Moves what one finding is about, where it is about bytes that can be moved.
async fn put_away(disk: &Arc<dyn Disk>, finding: &Finding) -> Result<Option<String>, ReadError> {
    match finding {
        Finding::Damaged { at, bytes, lost, .. } if *bytes > 0 => {
            let side = format!("{QUARANTINE}{}-{}-lsn-{}-{}", at.segment, at.offset, lost.start, lost.end);
            put_away_bytes(disk, at.segment, at.offset, *bytes, side).await.map(Some)
        }
        Finding::Headless { segment, .. } => {
            let side = format!("{QUARANTINE}{segment}-0-header");
            put_away_bytes(disk, *segment, 0, SECTOR, side).await.map(Some)
        }
        Finding::Foreign { name, is_segment: true, .. } => {
            let side = format!("{QUARANTINE}{name}");
            disk.rename(name, &side).await.map_err(ReadError::io(format!("move {name} to {side}")))?;
            disk.sync_dir("").await.map_err(ReadError::io("make the move durable"))?;
            Ok(Some(side))
        }
        _ => Ok(None),
    }
}

async fn put_away_bytes(
    disk: &Arc<dyn Disk>,
    number: u64,
    offset: u64,
    bytes: u64,
    side: String,
) -> Result<String, ReadError> {
    let name = segment::name(number);
    let from = disk.open(&name, Open::Write).await.map_err(ReadError::io(format!("open {name}")))?;
    let partial = format!("{side}{PARTIAL}");
    let to = disk.open(&partial, Open::CreateOrWrite).await.map_err(ReadError::io(format!("create {partial}")))?;
    copy(&from, &to, offset, bytes).await.map_err(ReadError::io(format!("copy into {partial}")))?;
    disk.rename(&partial, &side).await.map_err(ReadError::io(format!("finish {side}")))?;
    disk.sync_dir("").await.map_err(ReadError::io(format!("make {side} durable")))?;
    erase(&from, offset, bytes).await.map_err(ReadError::io(format!("erase in {name}")))?;
    Ok(side)
}

async fn copy(from: &Arc<dyn File>, to: &Arc<dyn File>, offset: u64, bytes: u64) -> io::Result<()> {
    let mut at = 0;
    while at < bytes {
        let piece = salvage::read_at(&**from, offset + at, PIECE.min(bytes - at) as usize).await?;
        if piece.is_empty() {
            break;
        }
        let len = piece.len() as u64;
        to.write_at(at, vec![piece]).await?;
        at += len;
    }
    to.sync_data().await
}

async fn erase(file: &Arc<dyn File>, offset: u64, bytes: u64) -> io::Result<()> {
    const ZEROS: &[u8] = &[0; PIECE as usize];
    let end = file.len().await?.min(offset.saturating_add(bytes));
    let mut at = offset;
    while at < end {
        let len = PIECE.min(end - at);
        let zeros = vec![Bytes::from_static(&ZEROS[..len as usize])];
        match file.write_at(at, zeros).await {
            Err(error) if salvage::is_medium(&error) => erase_blocks(file, at, at + len).await?,
            written => written?,
        }
        at += len;
    }
    file.sync_data().await
}

/// A part of a block that can't be read can't be written either: the whole block is, with what could be read of the rest.
async fn erase_blocks(file: &Arc<dyn File>, from: u64, to: u64) -> io::Result<()> {
    let start = from / salvage::BLOCK * salvage::BLOCK;
    let end = to.next_multiple_of(salvage::BLOCK).min(file.len().await?);
    let mut blocks = BytesMut::from(&salvage::read_at(&**file, start, (end - start) as usize).await?[..]);
    let within = |at: u64| (at - start) as usize;
    let last = within(to).min(blocks.len());
    blocks[within(from).min(last)..last].fill(0);
    file.write_at(start, vec![blocks.freeze()]).await
}
