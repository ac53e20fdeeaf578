//! Journals spoilt in every way, on real files: a reader says what is lost, exactly, and takes nothing that isn't valid.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests of real files read and write them; a failure is the test\'s"
)]

use std::fs;
use std::sync::OnceLock;

use proptest::prelude::*;
use seaworthy_engine::journal::Lsn;
use seaworthy_engine::journal::reader::{Finding, ReadError};
use seaworthy_engine::journal::repair::repair;

use super::peer::block_on;
use super::queue_journal::{Read, Sample, disk, read, segment};

/// Packets of the sample: about six segments.
const PACKETS: u64 = 500;

/// One thing done to a directory.
#[derive(Clone, Debug)]
enum Spoil {
    /// A bit of a segment, by shares of its size and of the number of segments.
    Flip(prop::sample::Index, prop::sample::Index, u8),
    /// A stretch of random bytes.
    Garbage(prop::sample::Index, prop::sample::Index, Vec<u8>),
    Truncate(prop::sample::Index, prop::sample::Index),
    Remove(prop::sample::Index),
    /// A copy of a segment under another's name.
    Overwrite(prop::sample::Index, prop::sample::Index),
    /// A copy of a segment under a new name.
    Duplicate(prop::sample::Index, u64),
    /// A segment of another journal, in place of one of ours.
    Foreign(prop::sample::Index),
}

fn spoil() -> impl Strategy<Value = Spoil> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        6 => (index(), index(), 0u8..8).prop_map(|(a, b, bit)| Spoil::Flip(a, b, bit)),
        2 => (index(), index(), prop::collection::vec(any::<u8>(), 1..3000)).prop_map(|(a, b, c)| Spoil::Garbage(a, b, c)),
        1 => (index(), index()).prop_map(|(a, b)| Spoil::Truncate(a, b)),
        1 => index().prop_map(Spoil::Remove),
        1 => (index(), index()).prop_map(|(a, b)| Spoil::Overwrite(a, b)),
        1 => (index(), 20u64..30).prop_map(|(a, n)| Spoil::Duplicate(a, n)),
        1 => index().prop_map(Spoil::Foreign),
    ]
}

struct Samples {
    ours: Sample,
    other: Sample,
    whole: Read,
}

fn samples() -> Samples {
    block_on(async {
        let (ours, other) = (Sample::new(PACKETS).await, Sample::new(PACKETS).await);
        let whole = read(&ours.dir()).await.unwrap();
        Samples { ours, other, whole }
    })
}

fn apply(sample: &Sample, other: &Sample, spoil: &Spoil) {
    let segments: Vec<String> = sample.names().into_iter().filter(|name| name.starts_with("seg-")).collect();
    let Some(last) = segments.len().checked_sub(1) else { return };
    let name = |index: &prop::sample::Index| &segments[index.index(last + 1)];
    let bytes = |name: &str| fs::read(sample.path(name)).unwrap();
    match spoil {
        Spoil::Flip(segment, byte, bit) => {
            let len = bytes(name(segment)).len();
            if len > 0 {
                sample.flip(name(segment), byte.index(len) as u64, *bit);
            }
        }
        Spoil::Garbage(segment, at, garbage) => {
            let mut bytes = bytes(name(segment));
            let at = at.index(bytes.len().max(1));
            let end = (at + garbage.len()).min(bytes.len());
            bytes[at..end].copy_from_slice(&garbage[..end - at]);
            fs::write(sample.path(name(segment)), bytes).unwrap();
        }
        Spoil::Truncate(segment, to) => {
            let mut bytes = bytes(name(segment));
            bytes.truncate(to.index(bytes.len().max(1)));
            fs::write(sample.path(name(segment)), bytes).unwrap();
        }
        Spoil::Remove(segment) => fs::remove_file(sample.path(name(segment))).unwrap(),
        Spoil::Overwrite(from, to) => drop(fs::write(sample.path(name(to)), bytes(name(from)))),
        Spoil::Duplicate(from, number) => drop(fs::write(sample.path(&segment(*number)), bytes(name(from)))),
        Spoil::Foreign(at) => drop(fs::copy(other.path(name(at)), sample.path(name(at)))),
    }
}

/// What is read is what was written; what isn't is told to be lost, up to where the reader says that the journal ends.
fn check(found: &Read, whole: &Read) -> Result<(), TestCaseError> {
    for (lsn, record) in &found.records {
        prop_assert_eq!(Some(record), whole.records.get(lsn), "LSN {} is not what was written", lsn);
    }
    let is_lost = |lsn: Lsn| found.findings.iter().any(|finding| finding.lost().contains(&lsn));
    for lsn in (found.first.unwrap().0..found.next.0).map(Lsn) {
        let (read, lost) = (found.records.contains_key(&lsn), is_lost(lsn));
        prop_assert!(read != lost, "LSN {}: read {}, lost {}; {:?}", lsn, read, lost, found.findings);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_spoilt_journal_is_read_as_far_as_it_is_right(spoils in prop::collection::vec(spoil(), 1..4)) {
        static SAMPLES: OnceLock<Samples> = OnceLock::new();
        let Samples { ours, other, whole } = SAMPLES.get_or_init(samples);
        let spoilt = ours.copy();
        spoils.iter().for_each(|spoil| apply(&spoilt, other, spoil));
        block_on(async {
            match read(&spoilt.dir()).await {
                Ok(found) if found.findings.iter().any(|finding| matches!(finding, Finding::Foreign { .. })) => {
                    // Where as many segments are another's as are ours, nobody can say which is the guest.
                    if found.records.iter().all(|(lsn, record)| whole.records.get(lsn) == Some(record)) {
                        check(&found, whole)?;
                    }
                }
                Ok(found) => check(&found, whole)?,
                Err(ReadError::NoJournal) => {}
                Err(error) => return Err(TestCaseError::fail(format!("{error:?}"))),
            }
            // A repair moves, and never makes it worse.
            let before = read(&spoilt.dir()).await.ok();
            if let Some(before) = before {
                let (_, moved) = repair(&disk(&spoilt.dir())).await.unwrap();
                let after = read(&spoilt.dir()).await.unwrap();
                prop_assert_eq!(&after.records, &before.records, "after {:?}", moved);
                let bad = |finding: &&Finding| matches!(finding, Finding::Damaged { bytes, quarantined: false, .. } if *bytes > 0);
                let left: Vec<_> = after.findings.iter().filter(bad).collect();
                prop_assert!(left.is_empty(), "left: {:?}, moved: {:?}", left, moved);
            }
            Ok(())
        })?;
    }
}

#[test]
fn every_frame_is_missed_when_a_bit_of_it_flips() {
    let Samples { ours, whole, .. } = samples();
    assert!(whole.findings.is_empty(), "{:?}", whole.findings);
    assert!(whole.frames.last().unwrap().0 >= 4, "several segments");
    block_on(async {
        for (i, (number, offset, len)) in whole.frames.iter().enumerate().step_by(9) {
            let spoilt = ours.copy();
            let byte = offset + (i as u64 * 31) % u64::from(*len);
            spoilt.flip(&segment(*number), byte, (i % 8) as u8);
            let found = read(&spoilt.dir()).await.unwrap();
            assert!(!found.findings.is_empty(), "frame {i} at {number}:{offset}, byte {byte}");
            check(&found, &whole).unwrap();
        }
    });
}
