//! The simulated network: turmoil's TCP carries the bytes, gates of our own say when they arrive. One `Network` a world.
//!
//! A segment arrives one base latency after it was sent, plus what faults add, never before the one sent before it, and
//! only while its gate is open: what is held back arrives in order after the heal. Nothing on a connection that both
//! ends hold is lost or doubled. What stays unacknowledged for [`USER_TIMEOUT_NS`] breaks its sender with ETIMEDOUT.

mod dial;
mod gate;
mod pipe;
mod stream;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

pub(crate) use dial::SimNet;
use dial::{Dial, DialId};
use gate::Gate;
pub(crate) use gate::Hindrance;
use pipe::{ECONNRESET, ETIMEDOUT, Errno, Fate, Pipe, Side, What, other};

use super::hosts::HostIndex;
use super::recorder::Recorder;
use super::trace::Kind;
use crate::plan::Link;

/// How long sent bytes stay unacknowledged, or a connect unanswered, before the caller hears of it, virtual ns.
pub const USER_TIMEOUT_NS: u64 = 20_000_000_000;

/// What a name means on one host: `from` connects to `to`, and reaches `via`. Cuts of `from<->to` apply to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The host that connects.
    pub from: String,
    /// The process that it asks for.
    pub to: String,
    /// The host that it is connected to.
    pub via: String,
}

/// A connection's number, from 1 in order of the connects.
type PipeId = u64;

/// All connections of a world.
pub(crate) struct Network {
    recorder: Arc<Recorder>,
    base_ns: u64,
    tick_ns: u64,
    routes: Vec<Route>,
    state: Mutex<State>,
}

pub(crate) struct State {
    /// `gates[from * hosts + to]`.
    gates: Vec<Gate>,
    /// Which machines have power.
    powered: Vec<bool>,
    /// Services by name; their port is their place.
    services: Vec<String>,
    listening: BTreeSet<(HostIndex, u16)>,
    pipes: BTreeMap<PipeId, Pipe>,
    dials: BTreeMap<DialId, Dial>,
    last_pipe: PipeId,
    last_dial: DialId,
}

impl Network {
    /// A network of all the recorder's hosts, where a segment takes `base_ns`, at least one tick.
    pub fn new(recorder: Arc<Recorder>, base_ns: u64, tick_ns: u64, routes: Vec<Route>) -> Arc<Network> {
        let hosts = recorder.hosts().len();
        let state = State {
            gates: std::iter::repeat_with(Gate::default).take(hosts * hosts).collect(),
            powered: vec![true; hosts],
            services: Vec::new(),
            listening: BTreeSet::new(),
            pipes: BTreeMap::new(),
            dials: BTreeMap::new(),
            last_pipe: 0,
            last_dial: 0,
        };
        Arc::new(Network { recorder, base_ns: base_ns.max(tick_ns), tick_ns, routes, state: state.into() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn gate_index(&self, from: HostIndex, to: HostIndex) -> usize {
        from * self.recorder.hosts().len() + to
    }

    /// The gates of a link: one, or both directions. Empty when it names no two hosts of this world.
    fn gates_of(&self, link: &Link) -> Vec<usize> {
        let hosts = self.recorder.hosts();
        let (Some(a), Some(b)) = (hosts.index(&link.a), hosts.index(&link.b)) else { return Vec::new() };
        let there = self.gate_index(a, b);
        if link.one_way { vec![there] } else { vec![there, self.gate_index(b, a)] }
    }

    /// A number for draws that depends on the two hosts' names only.
    fn link_key(&self, gate: usize) -> u64 {
        let hosts = self.recorder.hosts();
        hosts.key(gate / hosts.len()) ^ hosts.key(gate % hosts.len()).rotate_left(32)
    }

    /// Hinders what passes the link until the step is healed.
    pub fn hinder(&self, step: usize, link: &Link, what: Hindrance) {
        let mut state = self.lock();
        self.gates_of(link).into_iter().for_each(|gate| state.gates[gate].hinder(step, what));
    }

    /// Takes back what the step did to any link; how often it had an effect.
    pub fn heal(&self, step: usize) -> u64 {
        self.lock().gates.iter_mut().map(|gate| gate.heal(step)).sum()
    }

    /// Makes the link's open connections go dead, in the link's direction or both: whatever is sent on them from now on, or
    /// is under way, never arrives. How many there were.
    pub fn deaden(&self, link: &Link) -> u64 {
        let gates = self.gates_of(link);
        let mut state = self.lock();
        let ids = state.open_over(&gates);
        for id in &ids {
            let ways = state.pipe(*id).ways.iter_mut();
            ways.filter(|way| gates.contains(&way.gate)).for_each(|way| way.dead = true);
        }
        ids.len() as u64
    }

    /// Breaks all open connections of a host, as its restart would.
    pub fn reset_host(&self, host: &str) -> u64 {
        let hosts = self.recorder.hosts();
        let others = (0..hosts.len()).map(|other| hosts.name(other).to_string()).filter(|other| other != host);
        others.map(|other| self.reset(&Link { a: host.to_owned(), b: other, one_way: false })).sum()
    }

    /// Breaks all open connections of the link with ECONNRESET at both ends; how many there were.
    pub fn reset(&self, link: &Link) -> u64 {
        let gates = self.gates_of(link);
        let mut state = self.lock();
        let ids = state.open_over(&gates);
        let mut wakers = Vec::new();
        for id in &ids {
            for side in [0, 1] {
                state.break_end(self, *id, side, ECONNRESET, &mut wakers);
            }
        }
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        ids.len() as u64
    }

    /// The host's processes are no more. At a SIGKILL its kernel closes what they held; without power nobody does.
    pub fn host_down(&self, host: HostIndex, power: bool) {
        let mut state = self.lock();
        state.powered[host] = !power;
        state.listening.retain(|(at, _)| *at != host);
        let ends: Vec<(PipeId, Side)> = state
            .pipes
            .iter()
            .flat_map(|(id, pipe)| [(*id, 0), (*id, 1)].map(|(id, side)| (id, side, &pipe.ends[side])))
            .filter(|(_, _, end)| end.host == host && end.held)
            .map(|(id, side, _)| (id, side))
            .collect();
        let mut stale = Vec::new();
        for (id, side) in ends {
            if power {
                state.lose_unsent(id, side);
            } else {
                state.say_goodbye(self, id, side);
            }
            stale.extend(state.let_go(id, side));
        }
        let gone: Vec<Dial> = state.dials.extract_if(.., |_, dial| dial.from == host).map(|(_, dial)| dial).collect();
        drop(state);
        drop((stale, gone));
    }

    /// The host's software goes on: it looks at all its connections again.
    pub fn resume(&self, host: HostIndex) {
        let mut state = self.lock();
        let State { pipes, dials, .. } = &mut *state;
        let ends = pipes.values_mut().flat_map(|pipe| &mut pipe.ends).filter(|end| end.host == host);
        let mut wakers: Vec<Waker> = ends.flat_map(|end| [end.reader.take(), end.writer.take()]).flatten().collect();
        wakers.extend(dials.values_mut().filter(|dial| dial.from == host).filter_map(|dial| dial.waker.take()));
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Whether the host's software stands still.
    fn is_paused(&self, host: HostIndex) -> bool {
        self.recorder.hosts().resumes_ns(host) > self.recorder.now_ns()
    }

    /// The machine has power again.
    pub fn host_up(&self, host: HostIndex) {
        self.lock().powered[host] = true;
    }

    /// Lets everything arrive that is due; called at each border between two ticks.
    pub fn deliver(&self) {
        let now_ns = self.recorder.now_ns();
        let mut state = self.lock();
        let mut wakers = Vec::new();
        if !state.dials.is_empty() {
            state.advance_dials(self, now_ns, &mut wakers);
        }
        let busy = |pipe: &Pipe| pipe.ways.iter().any(|way| way.stalled_since(u64::MAX));
        let ids: Vec<PipeId> = state.pipes.iter().filter(|(_, pipe)| busy(pipe)).map(|(id, _)| *id).collect();
        for id in ids {
            for side in [0, 1] {
                state.advance(self, id, side, now_ns, &mut wakers);
            }
            if state.pipes[&id].is_over() {
                state.pipes.remove(&id);
            }
        }
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// The software closes its end, unless its incarnation is gone.
    fn close(&self, id: PipeId, side: Side) {
        let mut state = self.lock();
        if state.pipe_of(self, id, side).is_none() {
            return;
        }
        state.say_goodbye(self, id, side);
        let stale = state.let_go(id, side);
        drop(state);
        drop(stale);
    }
}

impl State {
    /// The connections over any of these gates that are whole.
    fn open_over(&self, gates: &[usize]) -> Vec<PipeId> {
        let over = |pipe: &Pipe| pipe.ways.iter().any(|way| gates.contains(&way.gate));
        let whole = |pipe: &Pipe| pipe.ends.iter().all(|end| end.held && end.broken.is_none());
        self.pipes.iter().filter(|(_, pipe)| over(pipe) && whole(pipe)).map(|(id, _)| *id).collect()
    }

    /// The connection, while that end of it is held by a living incarnation.
    fn pipe_of(&mut self, network: &Network, id: PipeId, side: Side) -> Option<&mut Pipe> {
        let pipe = self.pipes.get_mut(&id)?;
        let end = &pipe.ends[side];
        (end.held && network.recorder.hosts().is_live(end.host, end.incarnation)).then_some(pipe)
    }

    fn pipe(&mut self, id: PipeId) -> &mut Pipe {
        self.pipes.get_mut(&id).expect("ids come from the table and stay for the call")
    }

    fn latency_ns(&mut self, network: &Network, gate: usize, now_ns: u64, bytes: usize) -> u64 {
        let delay = self.gates[gate].delay_ns(network.recorder.seed, network.link_key(gate), now_ns, bytes);
        network.base_ns.saturating_add(delay)
    }

    /// How many of `wanted` bytes a read or write on the way that leads away from `side` moves.
    fn moves(&mut self, network: &Network, id: PipeId, side: Side, wanted: usize) -> usize {
        let gate = self.pipe(id).ways[side].gate;
        let place = network.link_key(gate) ^ id.rotate_left(17);
        self.gates[gate].moves(network.recorder.seed, place, network.recorder.now_ns(), wanted)
    }

    fn send(&mut self, network: &Network, id: PipeId, side: Side, what: What) {
        let now_ns = network.recorder.now_ns();
        let gate = self.pipe(id).ways[side].gate;
        let bytes = if let What::Data(bytes) = what { bytes } else { 0 };
        let latency_ns = self.latency_ns(network, gate, now_ns, bytes);
        let pipe = self.pipe(id);
        pipe.ways[side].send(what, now_ns, latency_ns);
        let host = pipe.ends[side].host;
        let (kind, bytes) = match what {
            What::Data(bytes) => (Kind::Sent, bytes as u64),
            What::Fin | What::Reset => (Kind::Closed, u64::from(what == What::Reset)),
        };
        network.recorder.trace(host, kind, id << 1 | side as u64, bytes);
    }

    fn send_data(&mut self, network: &Network, id: PipeId, side: Side, bytes: usize) {
        self.send(network, id, side, What::Data(bytes));
    }

    fn send_fin(&mut self, network: &Network, id: PipeId, side: Side) {
        if !std::mem::replace(&mut self.pipe(id).ways[side].shut, true) {
            self.send(network, id, side, What::Fin);
        }
    }

    /// What a kernel sends when it closes an end: FIN, or RST where bytes stay unread.
    fn say_goodbye(&mut self, network: &Network, id: PipeId, side: Side) {
        let pipe = self.pipe(id);
        if pipe.ends[side].broken.is_some() {
            return;
        }
        if pipe.leaves_unread(side) {
            self.send(network, id, side, What::Reset);
        } else {
            self.send_fin(network, id, side);
        }
    }

    /// What waits before a closed gate is still in its sender's memory, and goes with the power.
    fn lose_unsent(&mut self, id: PipeId, side: Side) {
        let gate = self.pipe(id).ways[side].gate;
        if !self.gates[gate].is_open() {
            self.pipe(id).ways[side].segments.clear();
        }
    }

    fn let_go(&mut self, id: PipeId, side: Side) -> [Option<Waker>; 2] {
        let pipe = self.pipe(id);
        let stale = pipe.let_go(side);
        if pipe.is_over() {
            self.pipes.remove(&id);
        }
        stale
    }

    fn break_end(&mut self, network: &Network, id: PipeId, side: Side, errno: Errno, wakers: &mut Vec<Waker>) {
        let pipe = self.pipe(id);
        wakers.extend(pipe.break_end(side, errno).into_iter().flatten());
        network.recorder.trace(pipe.ends[side].host, Kind::Broken, id << 1 | side as u64, errno as u64);
    }

    /// Lets the segments of one direction arrive that are due, and breaks its sender where they have stalled too long.
    fn advance(&mut self, network: &Network, id: PipeId, side: Side, now_ns: u64, wakers: &mut Vec<Waker>) {
        loop {
            let State { gates, pipes, powered, .. } = self;
            let pipe = pipes.get_mut(&id).expect("ids come from the table and stay for the call");
            let far = pipe.ends[other(side)].host;
            let (gate, back) = (pipe.ways[side].gate, pipe.ways[other(side)].gate);
            let [there_open, back_open] =
                [(side, gate), (other(side), back)].map(|(way, gate)| gates[gate].is_open() && !pipe.ways[way].dead);
            let (fate, waker) = pipe.advance(side, now_ns, there_open, back_open, powered[far]);
            wakers.extend(waker);
            match fate {
                Fate::Wait => {}
                Fate::Blocked => {
                    let first = pipe.ways[side].segments.front_mut().expect("it is what blocks");
                    if !gates[gate].is_open() && !std::mem::replace(&mut first.held, true) {
                        gates[gate].held();
                    }
                }
                Fate::Arrived(what) => {
                    self.arrived(network, id, side, what, wakers);
                    continue;
                }
            }
            let patience = now_ns.checked_sub(USER_TIMEOUT_NS);
            let blocked = !there_open || !back_open || !powered[far];
            let pipe = &self.pipes[&id];
            let near = &pipe.ends[side];
            if blocked
                && near.held
                && near.broken.is_none()
                && patience.is_some_and(|t| pipe.ways[side].stalled_since(t))
            {
                self.break_end(network, id, side, ETIMEDOUT, wakers);
                // The peer learns of it as soon as anything gets through.
                self.send(network, id, side, What::Reset);
            }
            return;
        }
    }

    fn arrived(&mut self, network: &Network, id: PipeId, side: Side, what: What, wakers: &mut Vec<Waker>) {
        let far = &self.pipe(id).ends[other(side)];
        let (host, held, broken) = (far.host, far.held, far.broken.is_some());
        match what {
            What::Reset if held && !broken => self.break_end(network, id, other(side), ECONNRESET, wakers),
            What::Data(bytes) if held => {
                network.recorder.trace(host, Kind::Arrived, id << 1 | side as u64, bytes as u64)
            }
            // Nobody there knows this connection any more: its kernel says so.
            What::Data(_) => self.send(network, id, other(side), What::Reset),
            What::Fin | What::Reset => {}
        }
    }
}
