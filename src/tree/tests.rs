//! The tree: single cases here, and against a naive one, operation by operation, in `property`.

mod naive;
mod property;

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;
use crate::virtual_clock::start;

fn node(n: usize) -> NodeId {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&(n as u64).to_be_bytes());
    NodeId::from_bytes(bytes)
}

fn grown(slots: &[u16]) -> (Tree, Vec<Handle>) {
    let mut tree = Tree::new();
    let insert = |(n, &slots): (usize, &u16)| {
        tree.insert(Newcomer::new(node(n), Class::Native, slots, start()))
    };
    let handles: Vec<Handle> = slots.iter().enumerate().map(insert).collect();
    tree.set_root(handles[0]).unwrap();
    (tree, handles)
}

#[test]
fn a_chain_ends_where_a_path_no_longer_fits_in_a_heartbeat() {
    let (mut tree, peers) = grown(&[1; 40]);
    let mut rng = StdRng::seed_from_u64(1);
    let mut placed = 0;
    for &joiner in &peers[1..] {
        let wish = Wish {
            joiner,
            keep_last: false,
            spare: Spare::Last,
            excluded: &|_, _| false,
        };
        if let Some(parent) = tree.find_parent(&wish, &mut rng) {
            tree.attach(joiner, parent).unwrap();
            placed += 1;
        }
    }
    assert_eq!(placed, MAX_DEPTH);
}

#[test]
fn among_equals_the_parent_with_the_least_delay_is_chosen() {
    let (mut tree, peers) = grown(&[4, 1, 1, 1, 1, 0]);
    for (n, &peer) in peers[1..5].iter().enumerate() {
        tree.attach(peer, peers[0]).unwrap();
        tree.set_delay(peer, 100 - n as u32);
    }
    for seed in 0..20 {
        let wish = Wish {
            joiner: peers[5],
            keep_last: false,
            spare: Spare::Last,
            excluded: &|_, _| false,
        };
        let found = tree.find_parent(&wish, &mut StdRng::seed_from_u64(seed));
        assert_eq!(found, Some(peers[4]));
    }
}

#[test]
fn two_peers_on_the_move_cannot_end_up_under_each_other() {
    let (mut tree, peers) = grown(&[2, 2, 2]);
    tree.attach(peers[1], peers[0]).unwrap();
    tree.attach(peers[2], peers[0]).unwrap();
    tree.reserve(peers[1], peers[2]).unwrap();
    assert_eq!(tree.reserve(peers[2], peers[1]), Err(AttachError::Cycle));
}

#[test]
fn a_handle_of_a_departed_peer_names_nobody_even_when_its_place_is_taken() {
    let (mut tree, peers) = grown(&[2, 2]);
    tree.remove(peers[1]);
    let new = tree.insert(Newcomer::new(node(9), Class::Native, 1, start()));
    assert!(tree.get(peers[1]).is_none());
    assert_eq!(tree.attach(peers[1], peers[0]), Err(AttachError::Gone));
    assert_eq!(tree.get(new).unwrap().node(), node(9));
}
