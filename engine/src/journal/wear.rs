//! What a journal costs its medium.

/// What a journal wrote since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wear {
    /// Bytes of packets that entered channels.
    pub payload_bytes: u64,
    /// Bytes handed to the disk: frames, small state, new segments, checkpoints.
    pub written_bytes: u64,
    /// Syncs of files. Those of directories come on top: one or two a segment.
    pub syncs: u64,
    /// How long it has been open, ns.
    pub open_ns: u64,
}

impl Wear {
    /// Bytes written a payload byte; `None` before the first packet.
    #[must_use]
    pub fn amplification(&self) -> Option<f64> {
        (self.payload_bytes > 0).then(|| self.written_bytes as f64 / self.payload_bytes as f64)
    }

    /// Syncs an hour, at the rate since it was opened.
    #[must_use]
    pub fn syncs_an_hour(&self) -> f64 {
        const HOUR_NS: f64 = 3.6e12;
        self.syncs as f64 * HOUR_NS / self.open_ns.max(1) as f64
    }

    /// Counts a write that was synced. Nothing written is nothing synced.
    pub(super) fn wrote_synced(&mut self, bytes: u64) {
        self.written_bytes += bytes;
        self.syncs += u64::from(bytes > 0);
    }
}

impl std::fmt::Display for Wear {
    /// `1.07 bytes written a payload byte, 412 syncs an hour`
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.amplification() {
            Some(bytes) => write!(f, "{bytes:.2} bytes written a payload byte")?,
            None => write!(f, "{} bytes written, no payload", self.written_bytes)?,
        }
        write!(f, ", {:.0} syncs an hour", self.syncs_an_hour())
    }
}
