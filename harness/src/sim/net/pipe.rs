//! What the two kernels know of one connection: which segments are under way in each direction, and how each end is
//! doing. The bytes themselves travel in turmoil's stream, one of its segments for each of ours; the receiver looks at
//! them only once ours has arrived. Pure: gates, time and wakers belong to the caller.

use std::collections::VecDeque;
use std::task::Waker;

use crate::sim::hosts::HostIndex;

/// Bytes that may be sent and not yet read, in each direction.
pub(crate) const WINDOW_BYTES: usize = 256 * 1024;

/// An errno as Linux numbers it.
pub(crate) type Errno = i32;
pub(crate) const ECONNRESET: Errno = 104;
pub(crate) const ETIMEDOUT: Errno = 110;
pub(crate) const ECONNREFUSED: Errno = 111;
pub(crate) const EHOSTUNREACH: Errno = 113;

/// One of the two ends: 0 called, 1 answered.
pub(crate) type Side = usize;

/// The other end.
pub(crate) fn other(side: Side) -> Side {
    1 - side
}

/// A connection.
pub(crate) struct Pipe {
    pub ends: [End; 2],
    /// `ways[side]` leads away from that side.
    pub ways: [Way; 2],
}

/// One end of a connection.
pub(crate) struct End {
    pub host: HostIndex,
    /// Who holds it; 0 until it is accepted.
    pub incarnation: u64,
    /// False once its process closed it, or is no more.
    pub held: bool,
    /// Set when the connection broke; what had arrived before is still readable.
    pub broken: Option<Errno>,
    pub reader: Option<Waker>,
    pub writer: Option<Waker>,
}

/// One direction of a connection.
#[derive(Default)]
pub(crate) struct Way {
    /// Which gate it passes.
    pub gate: usize,
    /// What is sent arrives nowhere.
    pub dead: bool,
    pub segments: VecDeque<Segment>,
    /// Bytes at the far end, ready to be read.
    pub arrived: usize,
    /// Bytes sent and not yet read, `arrived` included.
    pub unread: usize,
    /// The near end sends no more.
    pub shut: bool,
    /// The far end has seen that.
    pub ended: bool,
    /// Nothing overtakes: when the last segment is due.
    last_due_ns: u64,
    /// When the oldest segment was sent that has arrived while its acknowledgement could not come back.
    unacked_ns: Option<u64>,
}

/// What is under way.
pub(crate) struct Segment {
    pub what: What,
    pub sent_ns: u64,
    pub due_ns: u64,
    /// Counted as held back by a closed gate.
    pub held: bool,
}

/// What a segment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// So many bytes.
    Data(usize),
    /// No more will come.
    Fin,
    /// The connection is no more.
    Reset,
}

/// What the first segment of a direction meets at the far host.
pub(crate) enum Fate {
    /// Nothing is due.
    Wait,
    /// Due, but not on its way.
    Blocked,
    /// It came.
    Arrived(What),
}

impl End {
    pub fn new(host: HostIndex, incarnation: u64) -> End {
        End { host, incarnation, held: true, broken: None, reader: None, writer: None }
    }

    /// Breaks the end, unless it broke before.
    fn break_off(&mut self, errno: Errno) -> [Option<Waker>; 2] {
        self.broken.get_or_insert(errno);
        [self.reader.take(), self.writer.take()]
    }
}

impl Way {
    /// Sends a segment that takes `latency_ns`.
    pub fn send(&mut self, what: What, now_ns: u64, latency_ns: u64) {
        self.last_due_ns = self.last_due_ns.max(now_ns.saturating_add(latency_ns));
        if let What::Data(bytes) = what {
            self.unread += bytes;
        }
        self.segments.push_back(Segment { what, sent_ns: now_ns, due_ns: self.last_due_ns, held: false });
    }

    /// Bytes that may be sent now.
    pub fn room(&self) -> usize {
        WINDOW_BYTES.saturating_sub(self.unread)
    }

    /// Whether anything has been on its way, or waited for its acknowledgement, since `since_ns` or longer.
    pub fn stalled_since(&self, since_ns: u64) -> bool {
        let oldest = self.segments.front().map(|segment| segment.sent_ns);
        self.unacked_ns.or(oldest).is_some_and(|sent_ns| sent_ns <= since_ns)
    }
}

impl Pipe {
    /// A connection that `caller` opens to `callee`, over the gates there and back.
    pub fn new(caller: End, callee: End, gates: [usize; 2]) -> Pipe {
        Pipe { ends: [caller, callee], ways: gates.map(|gate| Way { gate, ..Way::default() }) }
    }

    /// Moves on the first segment sent by `side`, if it is due. `there` and `back` say whether the gates are open, and
    /// `powered` whether the far machine is on: if it is, but nobody holds the connection there, it answers data with a
    /// reset (which the caller sends).
    pub fn advance(
        &mut self,
        side: Side,
        now_ns: u64,
        there: bool,
        back: bool,
        powered: bool,
    ) -> (Fate, Option<Waker>) {
        let (far, way) = (&mut self.ends[other(side)], &mut self.ways[side]);
        if back {
            way.unacked_ns = None;
        }
        let Some(first) = way.segments.front() else { return (Fate::Wait, None) };
        if first.due_ns > now_ns {
            return (Fate::Wait, None);
        }
        if !there || !powered {
            return (Fate::Blocked, None);
        }
        let Segment { what, sent_ns, .. } = way.segments.pop_front().expect("it has a first segment");
        if !back {
            way.unacked_ns.get_or_insert(sent_ns);
        }
        let waker = match what {
            What::Data(bytes) => {
                way.arrived += bytes;
                far.reader.take()
            }
            What::Fin => {
                way.ended = true;
                far.reader.take()
            }
            What::Reset => None,
        };
        (Fate::Arrived(what), waker)
    }

    /// Breaks one end: what was under way to or from it is void.
    pub fn break_end(&mut self, side: Side, errno: Errno) -> [Option<Waker>; 2] {
        self.ways[side].segments.clear();
        self.ways[side].unacked_ns = None;
        self.ends[side].break_off(errno)
    }

    /// The holder of `side` is gone; it will neither read nor write again. Its wakers come back to be dropped.
    pub fn let_go(&mut self, side: Side) -> [Option<Waker>; 2] {
        let end = &mut self.ends[side];
        end.held = false;
        [end.reader.take(), end.writer.take()]
    }

    /// Whether closing `side` now leaves bytes unread, which TCP answers with a reset instead of a FIN.
    pub fn leaves_unread(&self, side: Side) -> bool {
        self.ways[other(side)].arrived > 0
    }

    /// Whether nobody can see it any more.
    pub fn is_over(&self) -> bool {
        !self.ends[0].held && !self.ends[1].held
    }
}
