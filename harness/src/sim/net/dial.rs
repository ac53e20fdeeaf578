//! Connecting and listening: the handshake through the gates, and the `Net` that software on a host gets.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Poll, Waker};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use seaworthy_engine::env::{Fut, Io, Listener, Net, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use turmoil::net::{TcpListener, TcpStream};

use super::pipe::{ECONNREFUSED, EHOSTUNREACH, ETIMEDOUT, End, Errno, Pipe};
use super::stream::SimStream;
use super::{Network, PipeId, State, USER_TIMEOUT_NS};
use crate::sim::hosts::HostIndex;
use crate::sim::trace::Kind;

/// A host's first port; each service has one of its own.
const PORT: u16 = 7_000;

/// A connect's number.
pub(crate) type DialId = u64;

/// A connect that waits for its answer.
pub(crate) struct Dial {
    pub from: HostIndex,
    to: HostIndex,
    port: u16,
    gates: [usize; 2],
    due_ns: u64,
    deadline_ns: u64,
    /// Refused by the far kernel; the answer is under way.
    refused: bool,
    counted: bool,
    answer: Option<Result<(), Errno>>,
    pub waker: Option<Waker>,
}

impl Network {
    /// Host and service of a name: `host`, or `host:service`, with the host's own routes applied.
    fn resolve(&self, from: HostIndex, process: &str) -> Option<(HostIndex, HostIndex, String)> {
        let (name, service) = process.split_once(':').unwrap_or((process, ""));
        let hosts = self.recorder.hosts();
        let named = hosts.index(name)?;
        let route = self.routes.iter().find(|route| route.from == **hosts.name(from) && route.to == name);
        let reached = route.map_or(Some(named), |route| hosts.index(&route.via))?;
        Some((named, reached, service.to_owned()))
    }
}

impl State {
    fn port(&mut self, service: &str) -> u16 {
        let place = self.services.iter().position(|known| known == service).unwrap_or_else(|| {
            self.services.push(service.to_owned());
            self.services.len() - 1
        });
        PORT + u16::try_from(place).expect("a world has few services")
    }

    fn dial(&mut self, network: &Network, from: HostIndex, named: HostIndex, to: HostIndex, port: u16) -> DialId {
        let now_ns = network.recorder.now_ns();
        let gates = [network.gate_index(from, named), network.gate_index(named, from)];
        // Turmoil's own handshake takes the tick that is left off here.
        let due_ns = now_ns + self.latency_ns(network, gates[0], now_ns, 0) - network.tick_ns;
        let deadline_ns = now_ns + USER_TIMEOUT_NS;
        self.last_dial += 1;
        let dial = Dial {
            from,
            to,
            port,
            gates,
            due_ns,
            deadline_ns,
            refused: false,
            counted: false,
            answer: None,
            waker: None,
        };
        self.dials.insert(self.last_dial, dial);
        self.last_dial
    }

    pub(crate) fn advance_dials(&mut self, network: &Network, now_ns: u64, wakers: &mut Vec<Waker>) {
        let ids: Vec<DialId> = self.dials.keys().copied().collect();
        for id in ids {
            let State { dials, gates, powered, listening, .. } = self;
            let dial = dials.get_mut(&id).expect("ids come from the table");
            if now_ns >= dial.deadline_ns {
                dial.answer = Some(Err(ETIMEDOUT));
                wakers.extend(dial.waker.take());
                continue;
            }
            if dial.answer.is_some() || now_ns < dial.due_ns {
                continue;
            }
            let closed = dial.gates.into_iter().find(|gate| !gates[*gate].is_open());
            if let Some(gate) = closed {
                if !std::mem::replace(&mut dial.counted, true) {
                    gates[gate].held();
                }
                continue;
            }
            if !powered[dial.to] {
                continue;
            }
            if dial.refused {
                dial.answer = Some(Err(ECONNREFUSED));
                wakers.extend(dial.waker.take());
            } else if listening.contains(&(dial.to, dial.port)) {
                dial.answer = Some(Ok(()));
                wakers.extend(dial.waker.take());
            } else {
                let back = dial.gates[1];
                let latency_ns = self.latency_ns(network, back, now_ns, 0);
                let dial = self.dials.get_mut(&id).expect("ids come from the table");
                (dial.refused, dial.due_ns) = (true, now_ns + latency_ns);
            }
        }
    }
}

/// The network as one incarnation of a host sees it.
#[derive(Clone)]
pub(crate) struct SimNet {
    network: Arc<Network>,
    host: HostIndex,
    incarnation: u64,
}

impl SimNet {
    pub fn new(network: Arc<Network>, host: HostIndex, incarnation: u64) -> SimNet {
        SimNet { network, host, incarnation }
    }

    fn is_live(&self) -> bool {
        self.network.recorder.hosts().is_live(self.host, self.incarnation)
    }

    async fn connected(self, process: String) -> io::Result<Box<dyn Stream>> {
        if !self.is_live() {
            return std::future::pending().await;
        }
        let network = &self.network;
        let Some((named, to, service)) = network.resolve(self.host, &process) else {
            return Err(io::Error::from_raw_os_error(EHOSTUNREACH));
        };
        let (dialing, port) = {
            let mut state = network.lock();
            let port = state.port(&service);
            (Dialing { net: self.clone(), id: state.dial(network, self.host, named, to, port), pipe: None }, port)
        };
        network.recorder.trace(self.host, Kind::Connect, dialing.id, to as u64);
        let connected = dialing.handshake(named, to, port).await;
        let errno = connected.as_ref().err().and_then(io::Error::raw_os_error).unwrap_or(0);
        network.recorder.trace(
            self.host,
            Kind::Connected,
            connected.as_ref().map_or(0, |(_, pipe)| *pipe),
            errno as u64,
        );
        let (inner, pipe) = connected?;
        Ok(Box::new(SimStream::new(self.network, inner, pipe, 0)))
    }
}

/// A connect under way; dropping it gives it up.
struct Dialing {
    net: SimNet,
    id: DialId,
    /// Set while the connection exists that nobody holds yet.
    pipe: Option<PipeId>,
}

impl Dialing {
    async fn handshake(mut self, named: HostIndex, to: HostIndex, port: u16) -> io::Result<(TcpStream, PipeId)> {
        self.answer(true).await?;
        let pipe = self.open(named, to);
        let name = self.net.network.recorder.hosts().name(to).clone();
        let carried = async {
            let mut inner = TcpStream::connect((&*name, port)).await?;
            // Tells the listener which of our connections this one of turmoil's carries.
            inner.write_all(&pipe.to_le_bytes()).await?;
            Ok(inner)
        };
        let inner = tokio::select! {
            biased;
            inner = carried => inner.map_err(|_: io::Error| io::Error::from_raw_os_error(ECONNREFUSED))?,
            Err(late) = self.answer(false) => return Err(late),
        };
        self.pipe = None;
        Ok((inner, pipe))
    }

    /// The answer; with `yes` also the good one, else only a bad one.
    fn answer(&self, yes: bool) -> impl Future<Output = io::Result<()>> {
        let (net, id) = (self.net.clone(), self.id);
        poll_fn(move |cx| {
            let mut state = net.network.lock();
            // Gone from the table: its host went down, and this future is inert.
            let Some(dial) = state.dials.get_mut(&id) else { return Poll::Pending };
            let paused = net.network.is_paused(net.host);
            match dial.answer.filter(|_| !paused) {
                Some(Ok(())) if yes => Poll::Ready(Ok(())),
                Some(Err(errno)) => Poll::Ready(Err(io::Error::from_raw_os_error(errno))),
                _ => {
                    dial.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
    }

    fn open(&mut self, named: HostIndex, to: HostIndex) -> PipeId {
        let SimNet { network, host, incarnation } = &self.net;
        let mut state = network.lock();
        let gates = [network.gate_index(*host, named), network.gate_index(named, *host)];
        state.last_pipe += 1;
        let id = state.last_pipe;
        state.pipes.insert(id, Pipe::new(End::new(*host, *incarnation), End::new(to, 0), gates));
        self.pipe = Some(id);
        id
    }
}

impl Drop for Dialing {
    fn drop(&mut self) {
        self.net.network.lock().dials.remove(&self.id);
        if let Some(pipe) = self.pipe {
            self.net.network.close(pipe, 0);
        }
    }
}

impl Net for SimNet {
    fn connect(&self, process: &str) -> Io<Box<dyn Stream>> {
        Box::pin(self.clone().connected(process.to_owned()))
    }

    fn listen(&self, process: &str) -> Io<Box<dyn Listener>> {
        let (net, process) = (self.clone(), process.to_owned());
        Box::pin(async move {
            if !net.is_live() {
                return std::future::pending().await;
            }
            let service = process.split_once(':').map_or("", |(_, service)| service);
            let port = net.network.lock().port(service);
            let inner = TcpListener::bind((std::net::Ipv4Addr::UNSPECIFIED, port)).await?;
            net.network.lock().listening.insert((net.host, port));
            let greetings = FuturesUnordered::new();
            Ok(Box::new(SimListener { net, inner, port, greetings }) as Box<dyn Listener>)
        })
    }
}

struct SimListener {
    net: SimNet,
    inner: TcpListener,
    port: u16,
    /// Accepted by turmoil, but they haven't said yet which connection they carry. One whose host just went down never will,
    /// and keeps nobody waiting.
    greetings: FuturesUnordered<Fut<'static, Option<(TcpStream, PipeId)>>>,
}

async fn greeting(mut inner: TcpStream) -> Option<(TcpStream, PipeId)> {
    let mut id = [0; 8];
    inner.read_exact(&mut id).await.ok()?;
    Some((inner, PipeId::from_le_bytes(id)))
}

impl SimListener {
    async fn next(&mut self) -> io::Result<Box<dyn Stream>> {
        loop {
            if !self.net.is_live() {
                return std::future::pending().await;
            }
            tokio::select! {
                biased;
                Some(greeted) = self.greetings.next(), if !self.greetings.is_empty() => {
                    if let Some(stream) = greeted.and_then(|(inner, id)| self.accepted(inner, id)) {
                        self.net.network.recorder.resumed(self.net.host, self.net.host).await;
                        return Ok(stream);
                    }
                }
                accepted = self.inner.accept() => self.greetings.push(Box::pin(greeting(accepted?.0))),
            }
        }
    }

    fn accepted(&self, inner: TcpStream, id: PipeId) -> Option<Box<dyn Stream>> {
        let SimNet { network, host, incarnation } = &self.net;
        let mut state = network.lock();
        let end = &mut state.pipes.get_mut(&id)?.ends[1];
        if !end.held {
            return None;
        }
        end.incarnation = *incarnation;
        drop(state);
        network.recorder.trace(*host, Kind::Accepted, id, 0);
        Some(Box::new(SimStream::new(network.clone(), inner, id, 1)))
    }
}

impl Listener for SimListener {
    fn accept(&mut self) -> Fut<'_, io::Result<Box<dyn Stream>>> {
        Box::pin(self.next())
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        if self.net.is_live() {
            self.net.network.lock().listening.remove(&(self.net.host, self.port));
        }
    }
}
