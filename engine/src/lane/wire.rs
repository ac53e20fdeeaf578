//! gRPC over our own streams: `dial` and `serve` give a connection its limits, its switch and no clock but ours.
//!
//! Public so that others (the harness's proxy) can speak the protocol without the engine's client and server.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;
use tonic::transport::{Channel, Endpoint, Server};

use super::protocol::v1::lane_client::LaneClient;
use super::protocol::v1::lane_server::{Lane, LaneServer};
use super::protocol::{BACKOFF_MIN_NS, BATCH_BYTES_MAX, CONNECT_NS, IDLE_NS, MESSAGE_BYTES_MAX, SILENCE_NS};
use super::{LaneError, within};
use crate::env::{Clock, Listener, Net, Stream};
use crate::process::CONNECTIONS_MAX;

/// HTTP/2 flow control window, in bytes: a batch may fly without waiting for the peer.
const WINDOW_BYTES: u32 = BATCH_BYTES_MAX as u32;

/// Cuts a line when the connection's future ends or is dropped; a flag, no I/O.
pub struct CutAtEnd(pub Arc<Line>);

impl Drop for CutAtEnd {
    fn drop(&mut self) {
        self.0.cut();
    }
}

/// The switch of one connection: knows when it last heard the peer, and can cut it.
pub struct Line {
    clock: Arc<dyn Clock>,
    heard_ns: AtomicU64,
    greeted: AtomicBool,
    cut: AtomicBool,
    gone: AtomicBool,
    peer: OnceLock<String>,
    denied: OnceLock<String>,
    reader: AtomicWaker,
    writer: AtomicWaker,
}

impl Line {
    fn new(clock: Arc<dyn Clock>) -> Arc<Line> {
        let heard_ns = AtomicU64::new(clock.mono());
        let (greeted, cut, gone) = (AtomicBool::new(false), AtomicBool::new(false), AtomicBool::new(false));
        let (peer, denied) = (OnceLock::new(), OnceLock::new());
        let (reader, writer) = (AtomicWaker::new(), AtomicWaker::new());
        Arc::new(Line { clock, heard_ns, greeted, cut, gone, peer, denied, reader, writer })
    }

    /// The process that the peer has proved to be. `None` where the network proves nothing; known with the first message.
    #[must_use]
    pub fn peer(&self) -> Option<&str> {
        self.peer.get().map(String::as_str)
    }

    /// Why the connection ended: `error`, unless one side didn't believe the other, of which gRPC only saw a break.
    #[must_use]
    pub fn why(&self, error: LaneError) -> LaneError {
        match self.denied.get() {
            Some(why) => LaneError::Unauthenticated { why: why.clone() },
            None => error,
        }
    }

    /// Breaks the connection: reads and writes fail from now on, and whoever drives it drops the stream.
    pub fn cut(&self) {
        self.cut.store(true, Relaxed);
        self.reader.wake();
        self.writer.wake();
    }

    /// True once this side cut the connection.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.cut.load(Relaxed)
    }

    /// True when the peer sent no byte for [`SILENCE_NS`].
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.clock.mono() >= self.silent_at_ns()
    }

    /// When the peer counts as silent, unless it is heard before; on the clock's `mono`.
    pub(super) fn silent_at_ns(&self) -> u64 {
        self.heard_ns.load(Relaxed).saturating_add(SILENCE_NS)
    }

    /// The peer proved that it speaks the protocol; [`serve`] cuts those that don't within [`SILENCE_NS`].
    pub fn greet(&self) {
        self.greeted.store(true, Relaxed);
    }
}

/// A byte stream with its [`Line`].
pub struct Wire {
    stream: Box<dyn Stream>,
    line: Arc<Line>,
}

impl Wire {
    fn check(&self) -> io::Result<()> {
        if self.line.is_cut() { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.line.gone.store(true, Relaxed);
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.line.reader.register(cx.waker());
        self.check()?;
        let before = buf.filled().len();
        let polled = Pin::new(&mut *self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.line.heard_ns.store(self.line.clock.mono(), Relaxed);
            if let Some(peer) = self.stream.peer() {
                self.line.peer.get_or_init(|| peer.to_owned());
            }
        }
        if let Poll::Ready(Err(error)) = &polled
            && error.kind() == io::ErrorKind::PermissionDenied
        {
            self.line.denied.get_or_init(|| error.to_string());
        }
        polled
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.line.writer.register(cx.waker());
        self.check()?;
        Pin::new(&mut *self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.line.writer.register(cx.waker());
        self.check()?;
        Pin::new(&mut *self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.line.writer.register(cx.waker());
        self.check()?;
        Pin::new(&mut *self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.line.writer.register(cx.waker());
        self.check()?;
        Pin::new(&mut *self.stream).poll_shutdown(cx)
    }
}

impl Connected for Wire {
    type ConnectInfo = Arc<Line>;
    fn connect_info(&self) -> Arc<Line> {
        self.line.clone()
    }
}

/// Connects to a channel's host. The client is good for one stream; the connection ends when the line is cut.
///
/// # Errors
/// [`LaneError::Connect`] when the network refuses, or takes longer than [`CONNECT_NS`]; [`LaneError::Unauthenticated`]
/// when one side doesn't believe the other.
pub async fn dial(
    net: &dyn Net,
    clock: &Arc<dyn Clock>,
    process: &str,
) -> Result<(LaneClient<Channel>, Arc<Line>), LaneError> {
    let connect = |source: io::Error| match source.kind() {
        io::ErrorKind::PermissionDenied => LaneError::Unauthenticated { why: source.to_string() },
        _ => LaneError::Connect { process: process.to_owned(), source },
    };
    let stream = within(clock, CONNECT_NS, net.connect(process)).await.flatten().map_err(connect)?;
    let line = Line::new(clock.clone());
    let mut wire = Some(Wire { stream, line: line.clone() });
    // tonic would connect again by itself; here a broken connection is the client's to judge.
    let once = tower::service_fn(move |_: http::Uri| {
        let wire = wire.take().map(TokioIo::new).ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected));
        std::future::ready(wire)
    });
    let endpoint = Endpoint::from_static("http://lane")
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES);
    let connected = within(clock, CONNECT_NS, endpoint.connect_with_connector(once)).await.map_err(connect)?;
    let channel = connected.map_err(|error| line.why(error.into()))?;
    let client = LaneClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    Ok((client, line))
}

/// Serves `service` to everyone who connects to `process`, until dropped; then all its connections are cut. A handler
/// finds its connection's `Arc<Line>` among the request's extensions and must [`Line::greet`] it.
///
/// # Errors
/// [`LaneError::Listen`] when the network refuses; never ends otherwise.
pub async fn serve(
    net: &dyn Net,
    clock: &Arc<dyn Clock>,
    process: &str,
    service: impl Lane,
) -> Result<Infallible, LaneError> {
    let listen = |source| LaneError::Listen { process: process.to_owned(), source };
    let listener = net.listen(process).await.map_err(listen)?;
    let lines = Lines::default();
    let (accepted, incoming) = mpsc::channel(1);
    let dated = clock.clone();
    let date = tower::util::MapResponseLayer::new(move |mut response: http::Response<tonic::body::Body>| {
        response.headers_mut().insert(http::header::DATE, http_date(dated.unix_ns()));
        response
    });
    let server = Server::builder()
        .layer(date)
        .max_concurrent_streams(1)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .serve_with_incoming(
            LaneServer::new(service)
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX),
            ReceiverStream::new(incoming),
        );
    tokio::select! {
        biased;
        never = accept(listener, clock, &lines, accepted) => match never {},
        never = watch(clock, &lines) => match never {},
        ended = server => {
            ended?;
            Err(LaneError::Closed)
        }
    }
}

async fn accept(
    mut listener: Box<dyn Listener>,
    clock: &Arc<dyn Clock>,
    lines: &Lines,
    accepted: mpsc::Sender<io::Result<Wire>>,
) -> Infallible {
    loop {
        match listener.accept().await {
            Ok(stream) => {
                let line = Line::new(clock.clone());
                if lines.add(&line) {
                    // Fails only when the server ended, which ends us, too.
                    let _ = accepted.send(Ok(Wire { stream, line })).await;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "could not accept a connection");
                clock.sleep(BACKOFF_MIN_NS).await;
            }
        }
    }
}

/// Cuts connections that fell silent, or that never spoke the protocol.
async fn watch(clock: &Arc<dyn Clock>, lines: &Lines) -> Infallible {
    loop {
        clock.sleep(IDLE_NS).await;
        let now = clock.mono();
        for (opened_ns, line) in &*lines.lock() {
            let mute = !line.greeted.load(Relaxed) && now.saturating_sub(*opened_ns) >= SILENCE_NS;
            if mute || line.is_silent() {
                line.cut();
            }
        }
    }
}

/// The connections of a server; cut when it drops. Setting flags is all that happens then: no I/O, no spawn.
#[derive(Default)]
struct Lines(Mutex<Vec<(u64, Arc<Line>)>>);

impl Lines {
    fn lock(&self) -> MutexGuard<'_, Vec<(u64, Arc<Line>)>> {
        self.0.lock().expect("nothing panics while it holds the lines")
    }

    fn add(&self, line: &Arc<Line>) -> bool {
        let mut lines = self.lock();
        lines.retain(|(_, line)| !line.gone.load(Relaxed));
        if lines.len() >= CONNECTIONS_MAX {
            return false;
        }
        lines.push((line.clock.mono(), line.clone()));
        true
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        for (_, line) in &*self.lock() {
            line.cut();
        }
    }
}

/// The value of an HTTP `date` header (RFC 9110, IMF-fixdate). Days to civil date after Howard Hinnant's
/// `civil_from_days`.
fn http_date(unix_ns: i64) -> http::HeaderValue {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let seconds = unix_ns.div_euclid(1_000_000_000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12;
    let year = year_of_era + era * 400 + i64::from(month < 2);
    let text = format!(
        "{}, {day:02} {} {year:04} {:02}:{:02}:{:02} GMT",
        DAYS[days.rem_euclid(7) as usize],
        MONTHS[month as usize],
        second / 3_600,
        second / 60 % 60,
        second % 60
    );
    http::HeaderValue::try_from(text).expect("a date is visible ASCII")
}

#[cfg(test)]
mod tests {
    use super::http_date;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let check = |seconds: i64, expected: &str| assert_eq!(http_date(seconds * 1_000_000_000), expected);
        check(0, "Thu, 01 Jan 1970 00:00:00 GMT");
        check(784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT");
        check(951_827_696, "Tue, 29 Feb 2000 12:34:56 GMT");
        check(-1, "Wed, 31 Dec 1969 23:59:59 GMT");
    }
}
