//! What will happen, in order of time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

/// Things that happen later; those of one moment in the order they were said in. The heap holds
/// only their places, because what a datagram carries is dear to move about.
#[derive(Debug)]
pub(super) struct Queue<T> {
    order: BinaryHeap<Reverse<(Instant, u64, usize)>>,
    things: Vec<Option<T>>,
    free: Vec<usize>,
    pushed: u64,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self {
            order: BinaryHeap::new(),
            things: Vec::new(),
            free: Vec::new(),
            pushed: 0,
        }
    }
}

impl<T> Queue<T> {
    pub(super) fn push(&mut self, at: Instant, thing: T) {
        let place = match self.free.pop() {
            Some(place) => {
                self.things[place] = Some(thing);
                place
            }
            None => {
                self.things.push(Some(thing));
                self.things.len() - 1
            }
        };
        self.pushed += 1;
        self.order.push(Reverse((at, self.pushed, place)));
    }

    /// When the next one happens.
    pub(super) fn next(&self) -> Option<Instant> {
        self.order.peek().map(|&Reverse((at, ..))| at)
    }

    pub(super) fn pop(&mut self) -> Option<T> {
        let Reverse((_, _, place)) = self.order.pop()?;
        self.free.push(place);
        self.things[place].take()
    }
}
