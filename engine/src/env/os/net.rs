//! TCP between processes: a name leads to an address through a table given at the start.
#![expect(clippy::disallowed_methods, reason = "the real side of the seam: here sockets are opened")]

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};

use crate::env::{Fut, Io, Listener, Net, Stream};

/// The machine's network.
pub struct OsNet {
    /// Bound at the start, so that a taken port is an error at once and the address is known.
    bound: Option<(std::net::TcpListener, SocketAddr)>,
    peers: BTreeMap<String, SocketAddr>,
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
        Ok(OsNet { bound, peers })
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
        Box::pin(async move {
            let Some(address) = peer else {
                let message = format!("no address is known for the process `{process}`");
                return Err(io::Error::new(io::ErrorKind::NotFound, message));
            };
            let stream = TcpStream::connect(address).await.map_err(|error| at(error, "connect to", address))?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Box<dyn Stream>)
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
        // Tokio registers the socket with the runtime that polls this.
        Box::pin(async move { Ok(Box::new(OsListener(TcpListener::from_std(listener?)?)) as Box<dyn Listener>) })
    }
}

struct OsListener(TcpListener);

impl Listener for OsListener {
    fn accept(&mut self) -> Fut<'_, io::Result<Box<dyn Stream>>> {
        Box::pin(async {
            let (stream, _) = self.0.accept().await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Box<dyn Stream>)
        })
    }
}

fn at(error: io::Error, what: &str, address: SocketAddr) -> io::Error {
    io::Error::new(error.kind(), format!("could not {what} {address}: {error}"))
}
