//! Where processes are: `--listen` and `--peer`, checked against what the process needs.

use std::collections::BTreeMap;
use std::net::{SocketAddr, ToSocketAddrs};

use seaworthy_engine::process::ChannelPlan;

use super::Args;
use super::refusal::Refusal;

/// The addresses of one process.
#[derive(Debug)]
pub(super) struct Addresses {
    pub(super) listen: Option<SocketAddr>,
    pub(super) peers: BTreeMap<String, SocketAddr>,
}

impl Addresses {
    /// Reads what `args` say; all that `process` needs must be there, and nothing that it has no use for.
    pub(super) fn of(args: &Args, process: &str, channels: &[ChannelPlan], known: &[String]) -> Result<Self, Refusal> {
        let anywhere = args.allow_plaintext || args.keys.is_some();
        let listen = args.listen.as_deref().map(|text| listen(text, anywhere)).transpose()?;
        let mut peers = BTreeMap::new();
        for text in &args.peer {
            let (name, address) = peer(text, anywhere)?;
            if !known.contains(&name) {
                return Err(Refusal::UnknownProcess { process: name, known: known.to_vec() });
            }
            peers.insert(name, address);
        }
        let hosted = channels.iter().find(|channel| channel.host == process);
        match (hosted, listen) {
            (Some(channel), None) => {
                return Err(Refusal::NoListen { process: process.to_owned(), channel: channel.id.clone() });
            }
            (None, Some(_)) => return Err(Refusal::NeedlessListen { process: process.to_owned() }),
            _ => {}
        }
        let mut reached = channels.iter().filter(|channel| channel.is_remote(process));
        if let Some(channel) = reached.find(|channel| !peers.contains_key(&channel.host)) {
            let (channel, peer) = (channel.id.clone(), channel.host.clone());
            return Err(Refusal::NoPeer { process: process.to_owned(), channel, peer });
        }
        Ok(Addresses { listen, peers })
    }
}

fn listen(text: &str, anywhere: bool) -> Result<SocketAddr, Refusal> {
    let wrong = || Refusal::Address { option: "--listen", text: text.to_owned(), want: "--listen 127.0.0.1:7070" };
    let address: SocketAddr = text.parse().map_err(|_| wrong())?;
    private("--listen", address, anywhere)
}

fn peer(text: &str, anywhere: bool) -> Result<(String, SocketAddr), Refusal> {
    let wrong = || Refusal::Address { option: "--peer", text: text.to_owned(), want: "--peer hub=127.0.0.1:7070" };
    let (name, place) = text.split_once('=').ok_or_else(wrong)?;
    let (host, port) = place.rsplit_once(':').ok_or_else(wrong)?;
    if name.is_empty() || host.is_empty() || port.parse::<u16>().is_err() {
        return Err(wrong());
    }
    let unresolved = |source| Refusal::Unresolved { text: place.to_owned(), source };
    let mut found = place.to_socket_addrs().map_err(unresolved)?;
    let address = found.next().ok_or_else(|| unresolved(std::io::ErrorKind::NotFound.into()))?;
    Ok((name.to_owned(), private("--peer", address, anywhere)?))
}

/// Whoever can reach an unencrypted port can read and forge packets.
fn private(option: &'static str, address: SocketAddr, anywhere: bool) -> Result<SocketAddr, Refusal> {
    if address.ip().is_loopback() || anywhere {
        return Ok(address);
    }
    Err(Refusal::Plaintext { option, address: address.to_string() })
}

#[cfg(test)]
mod tests {
    use seaworthy_engine::process::{ChannelOptions, GroupPlan};

    use super::*;

    #[track_caller]
    fn check(process: &str, arguments: &[&str], expected: Result<(), &str>) {
        use clap::Parser;
        #[derive(Parser)]
        struct Only {
            #[command(flatten)]
            args: Args,
        }
        let args = Only::parse_from(["run", "p.yaml", "--only", process].iter().chain(arguments)).args;
        let hub = || "hub".to_owned();
        let groups = vec![GroupPlan { id: hub(), members: vec![hub()] }];
        let (producers, options) = (vec!["edge".into()], ChannelOptions::default());
        let channel = ChannelPlan { id: "uplink".into(), host: hub(), producers, groups, options };
        let found = Addresses::of(&args, process, &[channel], &["edge".into(), "hub".into()]);
        let said = found.as_ref().map(drop).map_err(ToString::to_string);
        match expected {
            Ok(()) => assert_eq!(said, Ok(())),
            Err(part) => assert!(said.as_ref().is_err_and(|said| said.contains(part)), "{said:?}"),
        }
    }

    #[test]
    fn a_process_gets_the_addresses_that_it_needs() {
        check("hub", &["--listen", "127.0.0.1:0"], Ok(()));
        check("hub", &["--listen", "[::1]:7070"], Ok(()));
        check("hub", &[], Err("nobody could reach it"));
        check("hub", &["--listen", "7070"], Err("could not read `7070` in --listen"));
        check("edge", &["--peer", "hub=127.0.0.1:1"], Ok(()));
        check("edge", &[], Err("was not told where that is"));
        check("edge", &["--peer", "hub"], Err("could not read `hub`"));
        check("edge", &["--peer", "hub=127.0.0.1"], Err("could not read"));
        check("edge", &["--peer", "hug=127.0.0.1:1"], Err("could not find a process `hug`"));
        check("edge", &["--peer", "hub=127.0.0.1:1", "--listen", "127.0.0.1:1"], Err("no channel lives with edge"));
    }

    #[test]
    fn only_loopback_goes_unencrypted_unless_told() {
        for address in ["0.0.0.0:7070", "192.0.2.1:7070", "[::]:7070"] {
            check("hub", &["--listen", address], Err("in the clear"));
            check("hub", &["--listen", address, "--allow-plaintext"], Ok(()));
            check("hub", &["--listen", address, "--keys", "keys"], Ok(()));
        }
        check("edge", &["--peer", "hub=192.0.2.1:7070"], Err("in the clear"));
        check("edge", &["--peer", "hub=192.0.2.1:7070", "--allow-plaintext"], Ok(()));
    }
}
