//! What a reader does with footers: it passes over what nobody wants, and, when asked, holds each against its frames.

use bytes::Bytes;

use super::{Current, Finding, ReadError, Reader};
use crate::journal::footer::{Digest, Footer, FooterFound, Wanted};
use crate::journal::frame::{At, Header, SECTOR};
use crate::journal::record::Record;
use crate::journal::segment::{self, SegmentHeader};

/// A segment's footer, made again from its frames.
pub(super) struct Check {
    digest: Digest,
    /// Some of the segment can't be read, or was not: its footer says more.
    partial: bool,
}

impl Reader {
    /// Gives only segments and parts of segments that may hold something of what is wanted, as far as their footers tell, and
    /// [`Step::Footer`](super::Step::Footer) of those of which not all is given.
    #[must_use]
    pub fn only(mut self, wanted: Wanted) -> Reader {
        self.wanted = Some(wanted);
        self
    }

    /// Also reads every record, and holds each footer against the frames of its segment and the header of the next.
    #[must_use]
    pub fn verifying(mut self) -> Reader {
        self.verifies = true;
        self
    }

    /// Passes over what of a segment nobody wants; true when that is all of it. The footer is then told.
    pub(super) async fn pass_over(&mut self, current: &mut Current) -> Result<Option<(Footer, bool)>, ReadError> {
        let Some(wanted) = self.wanted.clone() else { return Ok(None) };
        // The last one has no footer yet; of the others only one that the next segment's header vouches for is believed.
        let Some(next) = self.header_behind(current) else { return Ok(None) };
        let Some((at, FooterFound::Footer(footer))) = current.footer().await? else { return Ok(None) };
        let (first, end) = footer.lsns;
        let is_sound = footer.hash() == next.footer && first == current.start.base && first <= end && end <= next.base;
        // Where not all names fit, it can't tell what entered here: whether a copy elsewhere is news.
        if !is_sound || footer.more_names {
            return Ok(None);
        }
        if !footer.may_hold(&wanted) {
            self.next = end;
            return Ok(Some((footer, true)));
        }
        let Some((lsn, offset)) = footer.start(&wanted) else { return Ok(None) };
        if lsn < first || offset < SECTOR || offset >= at.offset || !offset.is_multiple_of(SECTOR) {
            return Ok(None);
        }
        (self.next, current.offset) = (lsn, offset);
        Ok(Some((footer, false)))
    }

    /// The header of the segment behind one, if it follows it and names a footer.
    fn header_behind(&self, current: &Current) -> Option<&SegmentHeader> {
        let (number, next) = self.waiting.first_key_value()?;
        next.header.as_ref().filter(|header| *number == current.number + 1 && header.footer != 0)
    }

    /// Begins to make the footer of a segment again.
    pub(super) fn check_begins(&mut self, current: &Current) {
        let header = current.start.header.as_ref().filter(|_| self.verifies);
        let digest = header.and_then(Digest::begin);
        self.check = digest.map(|digest| Check { digest, partial: false });
    }

    /// A frame was read.
    pub(super) fn check_frame(&mut self, at: At, header: &Header, body: &Bytes) {
        if !self.verifies {
            return;
        }
        let (mut body, mut records) = (body.clone(), Vec::with_capacity(header.count as usize));
        while !body.is_empty() {
            match Record::decode(&mut body) {
                Ok(record) => records.push(record),
                Err(error) => {
                    self.check_breaks();
                    self.findings.push_back(Finding::Unreadable { at, why: error.to_string() });
                    return;
                }
            }
        }
        if let Some(check) = &mut self.check {
            check.digest.frame(at.offset, header, &records);
        }
    }

    /// Something of the segment is gone.
    pub(super) fn check_breaks(&mut self) {
        if let Some(check) = &mut self.check {
            check.partial = true;
        }
    }

    /// The segment is read: was the next one begun behind these frames, and does its footer say the same?
    pub(super) async fn check_ends(&mut self, current: &mut Current) -> Result<(), ReadError> {
        let Some(Check { digest, partial: false }) = self.check.take() else { return Ok(()) };
        let Some(expected) = self.header_behind(current).map(|next| next.footer) else { return Ok(()) };
        let Some((at, found)) = current.footer().await? else { return Ok(()) };
        if !self.is_same(current).await? {
            return Ok(());
        }
        let made = digest.footer();
        let (why, damage) = if made.hash() != expected {
            ("and the frames are not those that the next segment was begun behind: one of the two was exchanged", true)
        } else {
            match found {
                FooterFound::Footer(footer) if footer == *made => return Ok(()),
                FooterFound::None => return Ok(()),
                FooterFound::Footer(_) => ("is another segment's; nobody believes it, and the frames are right", false),
                FooterFound::Damaged => ("is damaged; nobody reads it, and the frames are right", false),
            }
        };
        self.findings.push_back(Finding::Footer { at, why, damage });
        Ok(())
    }
}

impl Reader {
    /// The journal ends at `at`: a checkpoint may know of more.
    pub(super) fn check_end(&mut self, at: At) {
        let proven = self.proven.take().filter(|proven| self.verifies && *proven > self.next);
        let missing = |proven| Finding::Damaged { at, bytes: 0, lost: self.next..proven, quarantined: false };
        self.findings.extend(proven.map(missing));
    }
}

impl Current {
    /// Where the room for frames ends, and what lies behind it; `None` where no footer can.
    async fn footer(&mut self) -> Result<Option<(At, FooterFound)>, ReadError> {
        let Some(offset) = self.start.header.as_ref().and_then(SegmentHeader::footer_at) else { return Ok(None) };
        let at = At { segment: self.number, offset };
        let what = format!("read {} at {offset}", segment::name(self.number));
        let bytes = self.window.aside(offset, u64::MAX).await.map_err(ReadError::io(what))?;
        Ok(Some((at, Footer::decode(self.number, &bytes))))
    }
}
