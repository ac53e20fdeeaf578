//! In place of nodes whose plugins this binary doesn't hold: what a scenario says comes out of them.

use seaworthy_engine::node::{Draft, Node, NodeError, Output, Registry};
use seaworthy_engine::packet::{Packet, ToSmolStr};
use xxhash_rust::xxh3::xxh3_64;

use crate::load::made;
use crate::scenario::StandIn;
use crate::scenario::draw::draw;

const MILLION: u64 = 1_000_000;

/// Makes it the node of its address.
pub(crate) fn register(registry: &mut Registry, stand_in: &StandIn) {
    let node = stand_in.clone();
    registry.stand_in(&stand_in.node, move || Box::new(Standing(node.clone())));
}

/// Keeps no state, and draws by the names of packets: the same packet gives the same output in each seed, run and release.
struct Standing(StandIn);

impl Node for Standing {
    fn process(&mut self, packet: &Packet, out: &mut Output) -> Result<(), NodeError> {
        let StandIn { node, output_ppm, content, .. } = &self.0;
        let name = xxh3_64(packet.packet_id.as_bytes());
        let drawn = |copy: u64, field: &str| draw(copy, "stand_in", node, name, field);
        let copies = (output_ppm + drawn(0, "output") % MILLION) / MILLION;
        for copy in 1..=copies {
            let mut draft = Draft::of(packet);
            match content {
                Some(content) => (draft.content_type, draft.payload) = made(content, |field| drawn(copy, field)),
                None if copy == 1 => {
                    out.pass(packet);
                    continue;
                }
                None => {}
            }
            if copy > 1 {
                // With the node's name: another one behind it makes copies of the copies.
                draft.packet_id = format_args!("{}/{node}/{copy}", packet.packet_id).to_smolstr();
            }
            out.emit(draft);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;
    use seaworthy_engine::node::Emitted;
    use seaworthy_engine::packet::{ContentType, Identity, Kind};

    use super::*;
    use crate::scenario::{Made, Template};

    fn given(stand_in: &StandIn, packets: u64) -> Vec<Packet> {
        let mut out = Output::default();
        let mut node = Standing(stand_in.clone());
        for n in 0..packets {
            let draft = Draft {
                packet_id: format_args!("p{n}").to_smolstr(),
                ts: 0,
                kind: Kind::Event,
                source_id: "s".into(),
                key: Some("k".into()),
                content_type: ContentType::Bytes,
                payload: Bytes::from_static(b"in"),
                meta: BTreeMap::new(),
            };
            let packet = draft.into_packet(Identity::Derived(n.into()));
            node.process(&packet, &mut out).expect("a stand-in takes all");
        }
        let packet = |(_, emitted)| match emitted {
            Emitted::Pass(packet) => packet,
            Emitted::New(draft) => draft.into_packet(Identity::Derived(0)),
        };
        out.packets.into_iter().map(packet).collect()
    }

    fn stand_in(output_ppm: u64, content: Option<Made>) -> StandIn {
        StandIn { node: "edge.model".into(), service: None, output_ppm, content }
    }

    #[test]
    fn it_gives_so_many_packets_on_average_and_the_same_each_time() {
        for (ppm, least, most) in [(0, 0, 0), (300_000, 250, 350), (1_000_000, 1_000, 1_000), (2_500_000, 2_450, 2_550)]
        {
            let stand_in = stand_in(ppm, None);
            let given_ids =
                || given(&stand_in, 1_000).iter().map(|packet| packet.packet_id.clone()).collect::<Vec<_>>();
            let ids = given_ids();
            assert!((least..=most).contains(&ids.len()), "{} of {ppm} ppm", ids.len());
            assert_eq!(ids, given_ids());
        }
        assert_eq!(given(&stand_in(1_000_000, None), 1)[0].payload, "in");
        let ids: Vec<_> = given(&stand_in(2_000_000, None), 1).iter().map(|packet| packet.packet_id.clone()).collect();
        assert_eq!(ids, ["p0", "p0/edge.model/2"]);
    }

    #[test]
    fn what_comes_out_is_made_by_the_template_under_the_packets_key() {
        let fields = BTreeMap::from([("score".to_owned(), Template::Uniform(0.0, 1.0))]);
        let out = given(&stand_in(1_000_000, Some(Made::Json(fields))), 100);
        let payloads: std::collections::BTreeSet<_> = out.iter().map(|packet| packet.payload.clone()).collect();
        assert_eq!(payloads.len(), 100, "each packet has a draw of its own");
        assert!(
            out.iter().all(|packet| packet.content_type == ContentType::Json && packet.key.as_deref() == Some("k"))
        );
    }
}
