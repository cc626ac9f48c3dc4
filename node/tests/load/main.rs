//! The load tool's players against this crate's own media engine behind a small WHEP endpoint.

#![allow(clippy::unwrap_used, reason = "a test panics where something is wrong")]

mod endpoint;

use std::time::Duration;

use banyan_node::load::endpoint::Endpoint;
use banyan_node::load::player::{JoinError, Kind, Player};
use endpoint::{Conduct, serve};

fn run(conduct: Conduct, test: impl AsyncFnOnce(Endpoint)) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let url = serve(conduct).await;
        test(Endpoint::at(url).await.unwrap()).await;
    });
}

#[test]
fn a_player_counts_what_it_gets() {
    run(Conduct::default(), async |endpoint| {
        let player = Player::join(&endpoint, None).await.unwrap();
        assert!(player.joined_after() > Duration::ZERO);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(player.is_connected());
        let tracks = player.tracks();
        for (kind, least) in [(Kind::Video, 150), (Kind::Audio, 80)] {
            let (_, track) = tracks.iter().find(|(of, _)| *of == kind).unwrap();
            assert!(track.packets > least, "{tracks:?}");
            assert_eq!(track.lost, 0, "{tracks:?}");
            assert!(track.largest_gap_ms < 500.0, "{tracks:?}");
        }
        player.leave(&endpoint).await;
    });
}

#[test]
fn packets_that_never_come_are_counted() {
    let conduct = Conduct {
        drop_every: Some(50),
        ..Conduct::default()
    };
    run(conduct, async |endpoint| {
        let player = Player::join(&endpoint, None).await.unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
        let tracks = player.tracks();
        for (kind, track) in &tracks {
            let expected = track.packets / 49;
            let error = track.lost.abs_diff(expected);
            assert!(error <= 1 && track.lost > 0, "{kind:?}: {track:?}");
        }
        assert_eq!(tracks.len(), 2);
        player.leave(&endpoint).await;
    });
}

#[test]
fn a_refusal_is_told_with_its_reason() {
    let conduct = Conduct {
        refuse: true,
        ..Conduct::default()
    };
    run(conduct, async |endpoint| {
        let Err(error) = Player::join(&endpoint, None).await else {
            panic!("the endpoint refuses everybody");
        };
        assert!(matches!(error, JoinError::Request(_)), "{error}");
        assert_eq!(
            error.to_string(),
            "the tracker answered 503 Service Unavailable: the tree is full (again in 5 s)"
        );
    });
}
