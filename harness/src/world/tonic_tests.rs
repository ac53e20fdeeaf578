//! A tonic stream through the gates: 600 messages there and back over one HTTP/2 connection, cut and delayed on the way.

use std::convert::Infallible;
use std::io;
use std::task::{Context, Poll};

use bytes::{Buf, BufMut, Bytes};
use futures_util::StreamExt;
use hyper_util::rt::TokioIo;
use seaworthy_engine::env::{Env, Fut, Stream};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::{Body, Service, http};
use tonic::server::StreamingService;
use tonic::transport::{Endpoint, Server, Uri};
use tonic::{Request, Response, Status, Streaming};

use super::net_tests::{Log, MS, SECOND, link, run, sleep};
use crate::plan::{Action, Dist};

#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Raw;
    type Decoder = Raw;
    fn encoder(&mut self) -> Raw {
        Raw
    }
    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;
    fn encode(&mut self, item: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;
    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

#[derive(Clone)]
struct Echo;

impl StreamingService<Bytes> for Echo {
    type Response = Bytes;
    type ResponseStream = Streaming<Bytes>;
    type Future = Fut<'static, Result<Response<Streaming<Bytes>>, Status>>;
    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        Box::pin(async move { Ok(Response::new(request.into_inner())) })
    }
}

impl<B> Service<http::Request<B>> for Echo
where
    B: Body + Send + 'static,
    B::Error: Into<tonic::codegen::StdError> + Send + 'static,
{
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = Fut<'static, Result<Self::Response, Infallible>>;
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }
    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        Box::pin(async move { Ok(tonic::server::Grpc::new(Raw).streaming(Echo, request).await) })
    }
}

/// A stream as tonic's server wants it.
struct Accepted(Box<dyn Stream>);

impl tonic::transport::server::Connected for Accepted {
    type ConnectInfo = ();
    fn connect_info(&self) {}
}

impl tokio::io::AsyncRead for Accepted {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        std::pin::Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl tokio::io::AsyncWrite for Accepted {
    fn poll_write(mut self: std::pin::Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        std::pin::Pin::new(&mut self.0).poll_write(cx, buf)
    }
    fn poll_flush(mut self: std::pin::Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        std::pin::Pin::new(&mut self.0).poll_flush(cx)
    }
    fn poll_shutdown(mut self: std::pin::Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        std::pin::Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

async fn server(env: Env, _: u64, _: Log) {
    let mut listener = env.net.listen("b").await.unwrap();
    let stream = listener.accept().await.unwrap();
    let incoming =
        futures_util::stream::iter([Ok::<_, io::Error>(Accepted(stream))]).chain(futures_util::stream::pending());
    Server::builder().serve_with_incoming(Echo, incoming).await.unwrap();
}

async fn client(env: Env, _: u64, log: Log) {
    sleep(&env, 10).await;
    let stream = env.net.connect("b").await.unwrap();
    let mut once = Some(stream);
    let connector = tower::service_fn(move |_: Uri| {
        let stream = once.take().map(TokioIo::new);
        async move { stream.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected)) }
    });
    let channel = Endpoint::from_static("http://b").connect_with_connector(connector).await.unwrap();
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.unwrap();
    let message = |i: usize| Bytes::from(vec![i as u8; 3_000 + i]);
    let clock = env.clock.clone();
    let sent = futures_util::stream::iter(0..600).then(move |i| {
        let pause = clock.sleep((i % 3 == 0) as u64 * 5 * MS);
        async move {
            pause.await;
            message(i)
        }
    });
    let path = "/toy.Echo/Echo".parse().unwrap();
    let mut echoes = grpc.streaming(Request::new(sent), path, Raw).await.unwrap().into_inner();
    let mut got = 0;
    while let Some(echo) = echoes.message().await.unwrap() {
        assert_eq!(echo, message(got));
        got += 1;
    }
    log.say(got.to_string());
}

#[test]
fn tonic_runs_through_the_gates() {
    let add = Dist::Uniform { from_ns: 0, to_ns: 20 * MS };
    let steps = [
        (200 * MS, Some(SECOND), Action::NetLatency { link: link(), add }),
        (500 * MS, Some(700 * MS), Action::NetCut { link: link() }),
    ];
    let seen = run(1, 10, &steps, client, server);
    assert_eq!(seen.iter().map(|(_, what)| &**what).collect::<Vec<_>>(), ["600"]);
    assert_eq!(seen, run(1, 10, &steps, client, server));
}
