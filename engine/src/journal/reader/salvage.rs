//! Reads around sectors that a medium no longer gives.

use std::io;

use bytes::{Bytes, BytesMut};

use crate::env::File;

/// What is read by itself where a larger read failed: no medium gives less.
pub(in crate::journal) const BLOCK: u64 = 4096;
/// What stands where nothing could be read. No frame begins so, and no room that was never written.
const UNREAD: u8 = 0xff;

/// As [`File::read_at`]; blocks that can't be read come as bytes that are no frame.
///
/// # Errors
/// Any error but the medium's own (`EIO`).
pub(in crate::journal) async fn read_at(file: &dyn File, at: u64, n: usize) -> io::Result<Bytes> {
    match file.read_at(at, n).await {
        Err(error) if is_medium(&error) => {}
        read => return read,
    }
    let end = at.saturating_add(n as u64).min(file.len().await?);
    let mut whole = BytesMut::with_capacity(end.saturating_sub(at) as usize);
    let mut from = at;
    while from < end {
        let to = ((from / BLOCK + 1) * BLOCK).min(end);
        match file.read_at(from, (to - from) as usize).await {
            // Somebody cut the file meanwhile.
            Ok(block) if block.is_empty() => break,
            Ok(block) => whole.extend_from_slice(&block),
            Err(error) if is_medium(&error) => whole.resize(whole.len() + (to - from) as usize, UNREAD),
            Err(error) => return Err(error),
        }
        from = at + whole.len() as u64;
    }
    Ok(whole.freeze())
}

pub(in crate::journal) fn is_medium(error: &io::Error) -> bool {
    const EIO: i32 = 5;
    error.raw_os_error() == Some(EIO)
}
