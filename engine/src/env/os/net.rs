//! TCP between processes, under TLS where there are keys: a name leads to an address through a table given at the start.
#![expect(clippy::disallowed_methods, reason = "the real side of the seam: here sockets are opened")]

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use tokio::net::{TcpListener, TcpStream};

use super::keys::Keys;
use super::tls::{self, Door};
use crate::env::{Fut, Io, Listener, Net, Probe, Stream};

/// The machine's network.
pub struct OsNet {
    /// Bound at the start, so that a taken port is an error at once and the address is known.
    bound: Option<(std::net::TcpListener, SocketAddr)>,
    peers: BTreeMap<String, SocketAddr>,
    /// Without them everything is in the clear, and nobody proves anything.
    secured: Option<(Keys, Arc<dyn Probe>)>,
}

impl OsNet {
    /// Binds `listen`, where there is one, and learns where the peers are.
    pub fn bind(listen: Option<SocketAddr>, peers: BTreeMap<String, SocketAddr>) -> io::Result<OsNet> {
        let bound = match listen {
            Some(address) => {
                let listener = std::net::TcpListener::bind(address).map_err(|error| at(error, "listen on", address))?;
                listener.set_nonblocking(true)?;
                let address = listener.local_addr()?;
                Some((listener, address))
            }
            None => None,
        };
        Ok(OsNet { bound, peers, secured: None })
    }

    /// From now on all connections are under mutual TLS. `probe` hears of those that were turned away.
    #[must_use]
    pub fn secured(self, keys: Keys, probe: Arc<dyn Probe>) -> OsNet {
        OsNet { secured: Some((keys, probe)), ..self }
    }

    /// The address that was bound, with its real port.
    #[must_use]
    pub fn bound(&self) -> Option<SocketAddr> {
        self.bound.as_ref().map(|(_, address)| *address)
    }
}

impl Net for OsNet {
    fn connect(&self, process: &str) -> Io<Box<dyn Stream>> {
        let peer = self.peers.get(process).copied();
        let process = process.to_owned();
        let keys = self.secured.as_ref().map(|(keys, _)| keys.clone());
        Box::pin(async move {
            let Some(address) = peer else {
                let message = format!("no address is known for the process `{process}`");
                return Err(io::Error::new(io::ErrorKind::NotFound, message));
            };
            let stream = TcpStream::connect(address).await.map_err(|error| at(error, "connect to", address))?;
            stream.set_nodelay(true)?;
            match keys {
                Some(keys) => tls::connect(&keys, &process, stream).await,
                None => Ok(Box::new(stream) as Box<dyn Stream>),
            }
        })
    }

    fn listen(&self, process: &str) -> Io<Box<dyn Listener>> {
        let listener = match &self.bound {
            Some((listener, _)) => listener.try_clone(),
            None => {
                let message = format!("the process `{process}` was given no address to listen on");
                Err(io::Error::new(io::ErrorKind::NotFound, message))
            }
        };
        let door = self.secured.as_ref().map(|(keys, probe)| Door::new(process, keys.clone(), probe.clone()));
        Box::pin(async move {
            // Tokio registers the socket with the runtime that polls this.
            let listener = TcpListener::from_std(listener?)?;
            Ok(Box::new(OsListener { listener, door }) as Box<dyn Listener>)
        })
    }

    fn token(&self) -> Bytes {
        self.secured.as_ref().map(|(keys, _)| keys.token()).unwrap_or_default()
    }

    fn knows(&self, process: &str, token: &[u8]) -> bool {
        self.secured.as_ref().is_none_or(|(keys, _)| keys.knows(process, token))
    }
}

struct OsListener {
    listener: TcpListener,
    door: Option<Arc<Door>>,
}

impl Listener for OsListener {
    fn accept(&mut self) -> Fut<'_, io::Result<Box<dyn Stream>>> {
        Box::pin(async {
            let (stream, from) = self.listener.accept().await?;
            stream.set_nodelay(true)?;
            Ok(match &self.door {
                Some(door) => door.take(stream, from),
                None => Box::new(stream) as Box<dyn Stream>,
            })
        })
    }
}

fn at(error: io::Error, what: &str, address: SocketAddr) -> io::Error {
    io::Error::new(error.kind(), format!("could not {what} {address}: {error}"))
}
