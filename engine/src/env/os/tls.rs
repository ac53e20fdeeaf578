//! TLS over TCP, for both ends of a lane: who is there is proved before a byte is handed on.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::rustls::{self, AlertDescription};
use tokio_rustls::server::{FallibleAccept, TlsAcceptor};
use tokio_rustls::{TlsConnector, TlsStream};

use super::keys::{self, Keys};
use crate::env::{Probe, Stream};
use crate::observe::{Event, What};
use crate::packet::Seq;

/// Peers that were turned away are named in the log once in so long; all are counted.
const SAY_EVERY: Duration = Duration::from_secs(1);
/// Bytes that are thrown away at a time, of a peer that was turned away.
const SCRAP_BYTES: usize = 4 << 10;

/// Proves to `process` who this is, and has it prove to be `process`.
///
/// # Errors
/// `PermissionDenied` when one side doesn't believe the other, `InvalidData` for who doesn't speak TLS.
pub(super) async fn connect(keys: &Keys, process: &str, stream: TcpStream) -> io::Result<Box<dyn Stream>> {
    let name = keys::server_name(process).ok_or_else(|| {
        denied(format!("a process named `{process}` can't have a certificate: at most {} bytes", keys::NAME_BYTES_MAX))
    })?;
    let stream = TlsConnector::from(keys.client.clone()).connect(name, stream).await.map_err(judged)?;
    let stream = TlsStream::from(stream);
    let peer = peer(&stream);
    // Names in certificates know no case, processes do.
    if peer.as_deref() != Some(process) {
        return Err(denied(format!("the peer's certificate is that of {}", peer.as_deref().unwrap_or("no process"))));
    }
    Ok(Box::new(Secured { state: State::Open(Box::new(stream)), peer, door: None }))
}

/// Where a process lets others in.
pub(super) struct Door {
    process: Box<str>,
    keys: Keys,
    probe: Arc<dyn Probe>,
    said: Mutex<Option<Instant>>,
}

impl Door {
    pub(super) fn new(process: &str, keys: Keys, probe: Arc<dyn Probe>) -> Arc<Door> {
        Arc::new(Door { process: process.into(), keys, probe, said: Mutex::new(None) })
    }

    /// Takes a connection. The handshake happens as it is read: nobody else waits for it.
    pub(super) fn take(self: &Arc<Self>, stream: TcpStream, from: SocketAddr) -> Box<dyn Stream> {
        let shaking = TlsAcceptor::from(self.keys.server.clone()).accept(stream).into_fallible();
        Box::new(Secured { state: State::Shaking(Box::new(shaking)), peer: None, door: Some((self.clone(), from)) })
    }

    #[expect(clippy::disallowed_methods, reason = "how often the log is told is for people, on the machine's clock")]
    fn turned_away(&self, from: SocketAddr, error: &io::Error) {
        let reason = if is_denial(error) { "lane.unauthenticated" } else { "lane.broken" };
        let what = What::Refused { reason: reason.into() };
        self.probe.on(&[Event { what, place: (&*self.process).into(), identity: None, seq: Seq(0), attempt: 0 }]);
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if said.is_none_or(|said| now.duration_since(said) >= SAY_EVERY) {
            *said = Some(now);
            tracing::warn!(%from, %error, "a peer was turned away");
        }
    }
}

enum State {
    Shaking(Box<FallibleAccept<TcpStream>>),
    Open(Box<TlsStream<TcpStream>>),
    /// It was turned away. What it still sends is read to the end, or its kernel might throw away why.
    Away(TcpStream, io::ErrorKind, String),
}

/// A stream that is open only for who proved who it is.
struct Secured {
    state: State,
    peer: Option<String>,
    door: Option<(Arc<Door>, SocketAddr)>,
}

impl Secured {
    fn open(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Pin<&mut TlsStream<TcpStream>>>> {
        if let State::Shaking(shaking) = &mut self.state {
            let turned = match ready!(Pin::new(&mut **shaking).poll(cx)) {
                Ok(stream) => {
                    let stream = TlsStream::from(stream);
                    self.peer = peer(&stream);
                    if self.peer.is_some() {
                        self.state = State::Open(Box::new(stream));
                        None
                    } else {
                        // Nothing that such a peer says of itself could be held against its certificate.
                        Some((denied("its certificate is that of no process".to_owned()), into_tcp(stream)))
                    }
                }
                Err((error, stream)) => Some((judged(error), stream)),
            };
            if let Some((error, mut stream)) = turned {
                if let Some((door, from)) = &self.door {
                    door.turned_away(*from, &error);
                }
                // Sends only the word that nothing more will come.
                let _ = Pin::new(&mut stream).poll_shutdown(cx);
                self.state = State::Away(stream, error.kind(), error.to_string());
            }
        }
        match &mut self.state {
            State::Open(stream) => Poll::Ready(Ok(Pin::new(stream))),
            State::Away(stream, kind, why) => {
                let mut scrap = [0; SCRAP_BYTES];
                loop {
                    let mut buffer = ReadBuf::new(&mut scrap);
                    let read = ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer));
                    if read.is_err() || buffer.filled().is_empty() {
                        return Poll::Ready(Err(io::Error::new(*kind, why.clone())));
                    }
                }
            }
            State::Shaking(_) => unreachable!("a handshake that is done leaves another state"),
        }
    }
}

impl Stream for Secured {
    fn peer(&self) -> Option<&str> {
        self.peer.as_deref()
    }
}

impl AsyncRead for Secured {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(self.open(cx))?.poll_read(cx, buf).map_err(judged)
    }
}

impl AsyncWrite for Secured {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.open(cx))?.poll_write(cx, buf).map_err(judged)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.open(cx))?.poll_write_vectored(cx, bufs).map_err(judged)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.open(cx))?.poll_flush(cx).map_err(judged)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.open(cx))?.poll_shutdown(cx).map_err(judged)
    }
}

fn into_tcp(stream: TlsStream<TcpStream>) -> TcpStream {
    match stream {
        TlsStream::Client(stream) => stream.into_inner().0,
        TlsStream::Server(stream) => stream.into_inner().0,
    }
}

fn peer(stream: &TlsStream<TcpStream>) -> Option<String> {
    let (_, session) = stream.get_ref();
    keys::process_of(session.peer_certificates()?.first()?)
}

fn denied(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, why)
}

fn is_denial(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

/// What TLS says, as a network error: `PermissionDenied` for whom it doesn't believe.
fn judged(error: io::Error) -> io::Error {
    let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else { return error };
    match tls {
        rustls::Error::InvalidCertificate(why) => denied(format!("the peer's certificate is not valid: {why}")),
        rustls::Error::NoCertificatesPresented => denied("the peer showed no certificate".to_owned()),
        rustls::Error::AlertReceived(alert) if is_about_certificates(*alert) => {
            denied(format!("the peer turned this process's certificate away: {alert:?}"))
        }
        rustls::Error::InvalidMessage(_) | rustls::Error::InappropriateMessage { .. } => {
            let why = format!("the peer doesn't speak TLS: {tls}");
            io::Error::new(io::ErrorKind::InvalidData, why)
        }
        _ => error,
    }
}

fn is_about_certificates(alert: AlertDescription) -> bool {
    use AlertDescription as Alert;
    matches!(
        alert,
        Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
            | Alert::CertificateRequired
            | Alert::DecryptError
    )
}
