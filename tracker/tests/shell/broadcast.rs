//! A root and its viewers, as far as a tracker needs them.

use banyan::id::{Epoch, LinkId, StreamId};
use banyan::wire::announcement::{
    CHALLENGE_DOMAIN, Codec, SignedStreamInfo, StreamInfo, TrackInfo, sign, stream_id,
};
use banyan::wire::codec::Encoding;
use banyan::wire::tracker::{ClientMessage, Hello, Join, Publish, ServerMessage, challenge_text};
use banyan_tracker::Server;
use ed25519_dalek::SigningKey;

use crate::client::{Peer, hello};

/// A stream whose root is connected and has announced its tracks.
pub(crate) struct Broadcast {
    pub(crate) stream: StreamId,
    pub(crate) root: Peer,
}

impl Broadcast {
    /// With a key made of `seed` and a root that has `slots`.
    pub(crate) async fn start(server: &Server, root: Peer, seed: u8, slots: u16) -> Self {
        let mut root = root;
        let key = SigningKey::from_bytes(&[seed; 32]);
        let stream = stream_id(&key);
        let ClientMessage::Hello(me) = hello(seed) else {
            unreachable!()
        };
        let node = me.node;
        root.send(&ClientMessage::Hello(Hello { slots, ..me }))
            .await;
        assert!(matches!(root.next().await, ServerMessage::Welcome(_)));
        root.send(&ClientMessage::Publish(Publish {
            stream,
            epoch: Epoch(1),
            title: "A test".to_owned(),
            listed: seed.is_multiple_of(2),
        }))
        .await;
        let ServerMessage::Challenge { nonce } = root.next().await else {
            panic!("no challenge");
        };
        let text = challenge_text(&nonce, &server.http_addr().to_string(), &node);
        root.send(&ClientMessage::Prove {
            signature: sign(&key, CHALLENGE_DOMAIN, text.as_bytes()),
        })
        .await;
        root.until(|message| matches!(message, ServerMessage::Published))
            .await;
        let info = StreamInfo {
            epoch: Epoch(1),
            tracks: vec![TrackInfo {
                codec: Codec::Vp8,
                fmtp: String::new(),
                ssrc: 1,
                first_seq: 0,
            }],
            cname: "test".to_owned(),
        };
        let signed = SignedStreamInfo::sign(&info, &key).unwrap();
        root.send(&ClientMessage::Info(signed)).await;
        Self { stream, root }
    }

    /// A viewer that has asked for a parent.
    pub(crate) async fn viewer(&self, server: &Server, encoding: Encoding, node: u8) -> Peer {
        let mut viewer = Peer::welcome(server, encoding, node).await;
        viewer.send(&self.join(1, "offer".to_owned())).await;
        viewer
    }

    pub(crate) fn join(&self, link: u32, offer: String) -> ClientMessage {
        ClientMessage::Join(Join {
            stream: self.stream,
            link: LinkId(link),
            offer,
            lost: None,
        })
    }
}
