//! One end of a connection as the software on a host holds it: an `AsyncRead + AsyncWrite` over turmoil's stream.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::TcpStream;

use super::pipe::{Side, other};
use super::{Network, PipeId};

/// The largest segment; bounds what one write copies.
const SEGMENT_BYTES_MAX: usize = 64 * 1024;

/// A connection's end. Dropping it closes the connection, unless its incarnation is gone: then the world did.
pub(crate) struct SimStream {
    network: Arc<Network>,
    inner: TcpStream,
    pipe: PipeId,
    side: Side,
}

impl SimStream {
    pub fn new(network: Arc<Network>, inner: TcpStream, pipe: PipeId, side: Side) -> SimStream {
        SimStream { network, inner, pipe, side }
    }
}

impl seaworthy_engine::env::Stream for SimStream {}

impl AsyncRead for SimStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let mut state = this.network.lock();
        let (end, way) = (this.side, other(this.side));
        // An end that the world has taken away is inert: its reader waits for ever.
        let Some(pipe) = state.pipe_of(&this.network, this.pipe, end) else { return Poll::Pending };
        let paused = this.network.is_paused(pipe.ends[end].host);
        if paused || (pipe.ways[way].arrived == 0 && !pipe.ways[way].ended && pipe.ends[end].broken.is_none()) {
            let old = pipe.ends[end].reader.replace(cx.waker().clone());
            drop(state);
            drop(old);
            return Poll::Pending;
        }
        if buf.remaining() == 0 || (pipe.ways[way].arrived == 0 && pipe.ways[way].ended) {
            return Poll::Ready(Ok(()));
        }
        if let Some(errno) = pipe.ends[end].broken.filter(|_| pipe.ways[way].arrived == 0) {
            return Poll::Ready(Err(io::Error::from_raw_os_error(errno)));
        }
        let wanted = buf.remaining().min(pipe.ways[way].arrived);
        let most = state.moves(&this.network, this.pipe, way, wanted);
        let mut part = ReadBuf::new(buf.initialize_unfilled_to(most));
        let read = Pin::new(&mut this.inner).poll_read(cx, &mut part);
        let n = part.filled().len();
        buf.advance(n);
        let pipe = state.pipe(this.pipe);
        let way = &mut pipe.ways[way];
        assert!(n <= way.arrived, "read {n} bytes, but only {} had arrived", way.arrived);
        way.arrived -= n;
        way.unread -= n;
        let writer = pipe.ends[other(end)].writer.take();
        drop(state);
        if let Some(writer) = writer {
            writer.wake();
        }
        read
    }
}

impl AsyncWrite for SimStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let mut state = this.network.lock();
        let Some(pipe) = state.pipe_of(&this.network, this.pipe, this.side) else { return Poll::Pending };
        let way = &pipe.ways[this.side];
        if let Some(errno) = pipe.ends[this.side].broken {
            return Poll::Ready(Err(io::Error::from_raw_os_error(errno)));
        }
        if way.shut {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let n = buf.len().min(way.room()).min(SEGMENT_BYTES_MAX);
        if n == 0 || this.network.is_paused(pipe.ends[this.side].host) {
            let old = pipe.ends[this.side].writer.replace(cx.waker().clone());
            drop(state);
            drop(old);
            return Poll::Pending;
        }
        let n = state.moves(&this.network, this.pipe, this.side, n);
        // Where nobody holds the far end, turmoil's stream may be gone too: the bytes only have to find that out.
        let n = if state.pipe(this.pipe).ends[other(this.side)].held {
            match Pin::new(&mut this.inner).poll_write(cx, &buf[..n]) {
                Poll::Ready(Ok(n)) => n,
                rest => return rest,
            }
        } else {
            n
        };
        state.send_data(&this.network, this.pipe, this.side, n);
        Poll::Ready(Ok(n))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.network.lock();
        if state.pipe_of(&self.network, self.pipe, self.side).is_none() {
            return Poll::Pending;
        }
        state.send_fin(&self.network, self.pipe, self.side);
        Poll::Ready(Ok(()))
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        self.network.close(self.pipe, self.side);
    }
}
