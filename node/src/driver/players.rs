//! Players at this node's own door, and who is told what becomes of them.

use std::collections::HashMap;

use banyan::id::LinkKey;
use banyan::node::{PlayerNews, PlayerRequest};
use tokio::sync::mpsc;

/// What a player at this node's own door wants.
#[derive(Debug)]
pub struct PlayerCommand {
    /// Its link, named by whoever took its request.
    pub link: LinkKey,
    /// What it wants.
    pub request: PlayerRequest,
    /// Who hears of it; with [`PlayerRequest::Play`]. A closed channel ends the player.
    pub news: Option<mpsc::Sender<PlayerNews>>,
}

#[derive(Debug, Default)]
pub(super) struct Players {
    listeners: HashMap<LinkKey, mpsc::Sender<PlayerNews>>,
}

impl Players {
    pub(super) fn listen(&mut self, link: LinkKey, news: mpsc::Sender<PlayerNews>) {
        self.listeners.insert(link, news);
    }

    pub(super) fn tell(&mut self, link: LinkKey, news: PlayerNews) {
        let last = matches!(news, PlayerNews::Refused(_) | PlayerNews::Ended);
        if let Some(listener) = self.listeners.get(&link) {
            // There is room for all that is said before somebody listens.
            let _ = listener.try_send(news);
        }
        if last {
            self.listeners.remove(&link);
        }
    }

    /// A player whose listener is gone: nobody will ever end it.
    pub(super) fn forgotten(&self) -> Option<LinkKey> {
        let gone =
            |(link, listener): (&LinkKey, &mpsc::Sender<_>)| listener.is_closed().then_some(*link);
        self.listeners.iter().find_map(gone)
    }
}
