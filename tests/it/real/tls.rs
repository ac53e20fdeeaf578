//! Who may speak to whom: real processes with the right keys, with wrong ones, and with none.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests of real processes read and write real files and wait for real; a failure is the test\'s"
)]

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use seaworthy_engine::env::{Net, Stream};
use seaworthy_engine::lane::LaneError;
use seaworthy_engine::lane::protocol::v1::RefuseCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::bad_input::{processes, report};
use super::keys::Keyring;
use super::peer::{self, Peer, block_on};
use super::run::{Running, signal, until};
use super::story::Story;

/// Far more than any of these takes; a lane's own limits are 2 and 5 s.
const SOON: Duration = Duration::from_secs(30);

/// A hub that runs alone, and where.
pub(crate) fn hub(story: &Story, keys: Option<&Path>) -> (Running, SocketAddr) {
    let mut command = story.command();
    command.args(["--only", "hub", "--listen", "127.0.0.1:0", "--report"]).arg(story.path("hub.json"));
    if let Some(keys) = keys {
        command.arg("--keys").arg(keys);
    }
    let mut hub = Running::start(command);
    until(&mut hub, "it is up", |hub| hub.has_said("in good order process=hub"));
    let said = hub.said();
    let address = said.lines().find_map(|line| line.split_once("hub listens on ")).unwrap().1.parse().unwrap();
    (hub, address)
}

/// An edge that runs alone.
pub(crate) fn edge(story: &Story, keys: Option<&Path>, hub: SocketAddr) -> Running {
    let mut command = story.command();
    command.args(["--only", "edge", "--peer", &format!("hub={hub}")]);
    if let Some(keys) = keys {
        command.arg("--keys").arg(keys);
    }
    Running::start(command)
}

/// Ends a hub in good order and gives how often it refused something for `reason`.
fn refusals(mut hub: Running, story: &Story, reason: &str) -> u64 {
    signal(hub.pid(), Signal::TERM);
    assert_eq!(hub.code(), Some(0), "{}", hub.said());
    processes(&report(&story.path("hub.json")))[0]["counts"]["refused"][reason].as_u64().unwrap_or(0)
}

/// An edge with `keys` is told why it may not speak to that hub, soon.
#[track_caller]
fn check_turned_away(story: &Story, keys: Option<&Path>, hub: SocketAddr, said: &str) {
    let began = Instant::now();
    let mut edge = edge(story, keys, hub);
    until(&mut edge, said, |edge| edge.has_said(said) || edge.has_ended() || began.elapsed() > SOON);
    assert!(edge.has_said(said) && !edge.has_ended(), "no `{said}` in\n{}", edge.said());
    signal(edge.pid(), Signal::TERM);
    until(&mut edge, "its end", Running::has_ended);
}

#[test]
fn processes_with_keys_of_one_authority_carry_everything() {
    let story = Story::new(1, 500);
    let keyring = Keyring::of(&["edge", "hub"]);
    let mut whole = story.command();
    whole.arg("--keys").arg(keyring.dir());
    let mut whole = Running::start(whole);
    assert_eq!(whole.code(), Some(0), "{}", whole.said());
    story.check_sinks(&story.path("out"));
    let token = fs::read_to_string(keyring.path("edge/token")).unwrap();
    assert!(!whole.said().contains(token.trim()), "{}", whole.said());
}

#[test]
fn an_edge_that_cannot_prove_who_it_is_is_told_and_counted() {
    let story = Story::new(1, 500);
    let (keyring, strangers) = (Keyring::of(&["edge", "hub", "lab"]), Keyring::of(&["edge", "hub"]));
    let (hub, address) = hub(&story, Some(&keyring.dir()));
    check_turned_away(
        &story,
        Some(&strangers.dir()),
        address,
        "could not authenticate: the peer's certificate is not valid",
    );
    let spoilt = keyring.copy();
    spoilt.take("edge", &strangers, &["cert.pem", "key.pem"]);
    let away = "could not authenticate: the peer turned this process's certificate away";
    check_turned_away(&story, Some(&spoilt.dir()), address, &format!("{away}: UnknownCA"));
    let spoilt = keyring.copy();
    spoilt.expire("edge");
    check_turned_away(&story, Some(&spoilt.dir()), address, &format!("{away}: CertificateExpired"));
    let spoilt = keyring.copy();
    spoilt.take("edge", &strangers, &["token"]);
    let wrong = "could not authenticate: that is not the access token of edge";
    check_turned_away(&story, Some(&spoilt.dir()), address, wrong);
    check_turned_away(&story, None, address, "could not go on with the connection");
    let mut good = edge(&story, Some(&keyring.dir()), address);
    assert_eq!(good.code(), Some(0), "{}", good.said());
    assert!(refusals(hub, &story, "lane.unauthenticated") >= 4);
    story.check_sinks(&story.path("out"));
}

#[test]
fn an_edge_believes_no_hub_that_cannot_prove_to_be_it() {
    let story = Story::new(1, 500);
    let (keyring, strangers) = (Keyring::of(&["edge", "hub"]), Keyring::of(&["edge", "hub"]));
    let spoilt = keyring.copy();
    spoilt.expire("hub");
    let (expired, address) = hub(&story, Some(&spoilt.dir()));
    check_turned_away(&story, Some(&keyring.dir()), address, "is not valid: certificate expired");
    refusals(expired, &story, "lane.unauthenticated");
    let (plaintext, address) = hub(&story, None);
    check_turned_away(&story, Some(&keyring.dir()), address, "the peer doesn't speak TLS");
    refusals(plaintext, &story, "lane.broken");
    // Who has the keys of another process of the same authority is still not the hub.
    let other = Keyring::of(&["edge", "lab"]);
    block_on(async {
        let lab = peer::net("lab", Some(&other.dir()), Some("127.0.0.1:0".parse().unwrap()), None);
        let address = lab.bound().unwrap();
        let listening = async {
            let mut listener = lab.listen("lab").await.unwrap();
            let mut stream = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 1]).await;
        };
        let dialling = async { peer::net("edge", Some(&other.dir()), None, Some(address)).connect("hub").await.err() };
        let (_, error) = tokio::join!(listening, dialling);
        let error = error.unwrap();
        assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
        assert!(error.to_string().contains("not valid for name \"hub.seaworthy.internal\""), "{error}");
    });
    let (hub, address) = hub(&story, Some(&strangers.dir()));
    check_turned_away(
        &story,
        Some(&keyring.dir()),
        address,
        "could not authenticate: the peer's certificate is not valid",
    );
    assert!(refusals(hub, &story, "lane.unauthenticated") >= 1);
}

#[test]
fn a_name_and_a_token_must_be_those_of_the_certificate() {
    let story = Story::new(1, 500);
    let keyring = Keyring::of(&["edge", "hub", "lab"]);
    let (hub, address) = hub(&story, Some(&keyring.dir()));
    block_on(async {
        let lab = peer::net("lab", Some(&keyring.dir()), None, Some(address));
        let edge = peer::net("edge", Some(&keyring.dir()), None, Some(address));
        let nameless = peer::hello(&lab, "lab", 1);
        for (net, hello, said) in [
            (&lab, peer::hello(&edge, "edge", 1), "edge has the certificate of lab"),
            (&lab, peer::hello(&edge, "lab", 1), "that is not the access token of lab"),
            (
                &edge,
                seaworthy_engine::lane::protocol::v1::Hello {
                    token: Default::default(),
                    ..peer::hello(&edge, "edge", 1)
                },
                "edge shows no access token",
            ),
        ] {
            let mut peer = Peer::greet(net, hello).await.unwrap();
            let refuse = peer.refused().await;
            assert_eq!((refuse.code(), refuse.message.as_str()), (RefuseCode::Unauthenticated, said));
            assert_eq!(peer.ended().await.name(), "lane.broken", "the connection ends");
        }
        // It is the lab, but the uplink is not its.
        let mut peer = Peer::greet(&lab, nameless).await.unwrap();
        assert_eq!(peer.refused().await.code(), RefuseCode::UnknownChannel);
        // A certificate is asked for, whoever knows the token.
        let none = peer::net("edge", None, None, Some(address));
        let error = Peer::greet(&none, peer::hello(&edge, "edge", 1)).await.err().unwrap();
        assert!(matches!(error, LaneError::Broken(_) | LaneError::Transport(_)), "{error}");
        assert_eq!(without_certificate(&keyring, address).await, "received fatal alert: CertificateRequired");
    });
    assert!(refusals(hub, &story, "lane.unauthenticated") >= 4);
}

/// What becomes of a TLS client that trusts the hub and shows nothing.
async fn without_certificate(keyring: &Keyring, address: SocketAddr) -> String {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(keyring.path("authority.pem")).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config =
        builder.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots).with_no_client_auth();
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("hub.seaworthy.internal").unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    let _ = stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    stream.read_to_end(&mut Vec::new()).await.unwrap_err().to_string()
}

#[test]
fn keys_that_cannot_be_used_end_the_run_before_it_starts() {
    let story = Story::new(1, 500);
    let keyring = Keyring::of(&["edge", "hub"]);
    let check = |spoil: &dyn Fn(&Keyring), code, said: &str| {
        let spoilt = keyring.copy();
        spoil(&spoilt);
        let mut command = story.command();
        command.arg("--keys").arg(spoilt.dir());
        let mut running = Running::start(command);
        assert_eq!(running.code(), Some(code), "{}", running.said());
        let words = running.said().replace('│', " ").split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains(said), "no `{said}` in\n{words}");
        assert!(!story.path("data").exists(), "something was started");
    };
    let readable = |keyring: &Keyring, name: &str| {
        let mut permissions = fs::metadata(keyring.path(name)).unwrap().permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o640);
        fs::set_permissions(keyring.path(name), permissions).unwrap();
    };
    check(&|keys| fs::remove_dir_all(keys.path("hub")).unwrap(), 2, "`seaworthy keys issue`");
    check(&|keys| readable(keys, "edge/key.pem"), 2, "its mode is 640, so others can read it");
    check(&|keys| readable(keys, "edge/token"), 2, "so others can read it");
    check(&|keys| fs::write(keys.path("edge/cert.pem"), "sea").unwrap(), 2, "it holds no certificate");
    check(&|keys| fs::write(keys.path("tokens.txt"), "edge 12\n").unwrap(), 2, "line 1 is not a process and 64");
    check(&|keys| keys.take("edge", &Keyring::of(&["edge"]), &["key.pem"]), 2, "keys may not be consistent");
    let rename = |keys: &Keyring| {
        fs::remove_dir_all(keys.path("edge")).unwrap();
        fs::rename(keys.path("hub"), keys.path("edge")).unwrap();
    };
    check(&rename, 2, "it is the certificate of hub");
}

#[test]
fn one_side_is_known_to_the_other_by_name() {
    let keyring = Keyring::of(&["edge", "hub"]);
    block_on(async {
        let hub = peer::net("hub", Some(&keyring.dir()), Some("127.0.0.1:0".parse().unwrap()), None);
        let edge = peer::net("edge", Some(&keyring.dir()), None, hub.bound());
        let mut listener = hub.listen("hub").await.unwrap();
        let (there, here) = tokio::join!(
            async {
                let mut there = edge.connect("hub").await.unwrap();
                there.write_all(b"hello").await.unwrap();
                there.flush().await.unwrap();
                there
            },
            async {
                let mut here = listener.accept().await.unwrap();
                assert_eq!(here.peer(), None, "it has proved nothing yet");
                here.read_exact(&mut [0; 5]).await.unwrap();
                here
            }
        );
        let peer = |stream: &dyn Stream| stream.peer().map(str::to_owned);
        assert_eq!((peer(&*there).as_deref(), peer(&*here).as_deref()), (Some("hub"), Some("edge")));
        assert!(hub.knows("edge", &edge.token()) && !hub.knows("hub", &edge.token()) && !hub.knows("lab", b""));
    });
}
