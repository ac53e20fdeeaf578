//! The spare segments: made, recycled and removed here. The one place where a journal meets a full disk.

use std::io;
use std::sync::Arc;

use super::segment;
use super::{JournalError, is_full};
use crate::env::{Env, File, Open};

/// Spares that there are with room enough: one for whoever comes, and one that stays for those who drain a full disk. What
/// they write is mostly soon dead, but only once it stands in a segment of its own can that segment be had back.
pub(super) const SPARES: u64 = 2;

/// In so many pieces a spare is filled with zeros while commits go on.
pub(super) const PIECES: u64 = 8;

/// How making a spare ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Made {
    /// It is there, allocated and durable by name.
    Spare,
    /// The disk is full; nothing was left behind.
    NoRoom,
}

/// Opens segment `number` for writing.
pub(super) async fn open(env: &Env, number: u64) -> Result<Arc<dyn File>, JournalError> {
    let name = segment::name(number);
    env.disk.open(&name, Open::Write).await.map_err(JournalError::io(format!("open {name}")))
}

/// Allocates segment `number` in full, or leaves nothing. Completes a spare that a crash left half made.
pub(super) async fn create(env: &Env, number: u64, bytes: u64) -> Result<Made, JournalError> {
    create_in(env, number, bytes, 1).await
}

/// The same in so many pieces, so that a commit in between waits for one of them at most.
pub(super) async fn create_in(env: &Env, number: u64, bytes: u64, pieces: u64) -> Result<Made, JournalError> {
    let name = segment::name(number);
    if !has_room(env, &name, bytes).await {
        remove(env, &name).await?;
        return Ok(Made::NoRoom);
    }
    match allocate(env, &name, bytes, pieces).await {
        Ok(()) => Ok(Made::Spare),
        // A disk that can't give a spare now is not a reason to stop: what is here can still drain.
        Err(error) if is_full(&error) => {
            remove(env, &name).await?;
            Ok(Made::NoRoom)
        }
        Err(source) => Err(JournalError::Io { what: format!("allocate {name}"), source: Arc::new(source) }),
    }
}

/// Completes a spare that is there, which a crash may have left half made. Where nothing is missing its name is still to be made
/// durable.
pub(super) async fn complete(env: &Env, number: u64, bytes: u64) -> Result<Made, JournalError> {
    let file = open(env, number).await?;
    if file.len().await.map_err(JournalError::io("read a segment's length"))? < bytes {
        return create(env, number, bytes).await;
    }
    file.sync_data().await.map_err(JournalError::io(format!("sync {}", segment::name(number))))?;
    Ok(Made::Spare)
}

/// False where the disk itself says that it has no room: a try would take what is left from everybody else on it. Not every disk
/// knows how much that is.
async fn has_room(env: &Env, name: &str, bytes: u64) -> bool {
    let Ok(free @ 1..) = env.disk.free_bytes().await else { return true };
    if free >= bytes {
        return true;
    }
    // Half of it may be there.
    let there = match env.disk.open(name, Open::Read).await {
        Ok(file) => file.len().await.unwrap_or(0),
        Err(_) => 0,
    };
    there.saturating_add(free) >= bytes
}

async fn allocate(env: &Env, name: &str, bytes: u64, pieces: u64) -> io::Result<()> {
    let file = env.disk.open(name, Open::CreateOrWrite).await?;
    let mut filled = file.len().await?.min(bytes);
    loop {
        filled = (filled + bytes.div_ceil(pieces)).min(bytes);
        file.zero_fill(filled).await?;
        file.sync_data().await?;
        if filled == bytes {
            break;
        }
    }
    env.disk.sync_dir("").await
}

/// Makes an old segment the spare under a new number, which voids every frame in it.
pub(super) async fn recycle(env: &Env, old: u64, number: u64) -> Result<(), JournalError> {
    let (from, to) = (segment::name(old), segment::name(number));
    env.disk.rename(&from, &to).await.map_err(JournalError::io(format!("recycle {from} as {to}")))?;
    env.disk.sync_dir("").await.map_err(JournalError::io("make a recycled segment's name durable"))
}

/// Removes a file, durably; fine when it isn't there.
pub(super) async fn remove(env: &Env, name: &str) -> Result<(), JournalError> {
    match env.disk.remove(name).await {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(JournalError::Io { what: format!("remove {name}"), source: Arc::new(source) }),
    }
    env.disk.sync_dir("").await.map_err(JournalError::io("make a removal durable"))
}
