//! What stands in a row beside a peer's name. Pure.

use banyan::reachability::Reach;
use banyan::wire::tracker::{PeerClass, TreePeer};
use ratatui::text::Span;

use super::ink::Ink;
use super::model::{Seen, short};

/// Lost packets per thousand from which on a viewer notices.
const LOSSY: u16 = 20;

/// A column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    /// What it is.
    Class,
    /// Children it feeds, of those it can.
    Feeds,
    /// Delay from the root.
    Delay,
    /// Lost packets in its last report.
    Loss,
    /// Who takes over when its parent fails.
    Standby,
    /// How often it got another parent while we looked.
    Moves,
    /// Since when it is here.
    Here,
    /// What its router does.
    Network,
}

/// In the order they are shown.
const ALL: [Column; 8] = [
    Column::Class,
    Column::Feeds,
    Column::Delay,
    Column::Loss,
    Column::Standby,
    Column::Moves,
    Column::Here,
    Column::Network,
];

/// What is left out first where there is no room comes last.
const IMPORTANT: [Column; 8] = [
    Column::Feeds,
    Column::Loss,
    Column::Standby,
    Column::Class,
    Column::Delay,
    Column::Moves,
    Column::Here,
    Column::Network,
];

impl Column {
    /// Those that fit into so many cells, each with a space before it.
    pub fn fitting(mut cells: usize) -> Vec<Self> {
        let mut fit = Vec::new();
        for column in IMPORTANT {
            let Some(left) = cells.checked_sub(column.width() + 1) else {
                break;
            };
            cells = left;
            fit.push(column);
        }
        ALL.into_iter()
            .filter(|column| fit.contains(column))
            .collect()
    }

    /// Cells it takes.
    pub fn width(self) -> usize {
        match self {
            Self::Class => 8,
            Self::Delay | Self::Standby => 7,
            Self::Feeds | Self::Loss => 6,
            Self::Moves => 5,
            Self::Here => 6,
            Self::Network => 9,
        }
    }

    /// Whether it is a word, not a figure.
    pub fn aligns_left(self) -> bool {
        self == Self::Class
    }

    /// Its name.
    pub fn head(self) -> &'static str {
        match self {
            Self::Class => "CLASS",
            Self::Feeds => "FEEDS",
            Self::Delay => "DELAY",
            Self::Loss => "LOSS",
            Self::Standby => "STANDBY",
            Self::Moves => "MOVES",
            Self::Here => "HERE",
            Self::Network => "NETWORK",
        }
    }

    /// What it says of a peer.
    pub fn cell(self, seen: &Seen, ink: Ink) -> Span<'static> {
        let peer = &seen.peer;
        let root = peer.parent.is_none();
        let nothing = || Span::styled("–", ink.faint());
        // A player says nothing of itself, and nobody feeds the root.
        let tells = !root && peer.class != PeerClass::Player;
        match self {
            Self::Class => Span::raw(class(peer)),
            Self::Feeds if peer.slots == 0 && peer.used == 0 => nothing(),
            Self::Feeds => Span::raw(format!("{}/{}", peer.used, peer.slots)),
            Self::Delay if tells => Span::raw(format!("{} ms", peer.delay_ms)),
            Self::Loss if tells => {
                let text = format!("{}.{} %", peer.loss_permille / 10, peer.loss_permille % 10);
                match peer.loss_permille {
                    0 => Span::raw(text),
                    1..LOSSY => Span::styled(text, ink.doubtful()),
                    _ => Span::styled(text, ink.bad()),
                }
            }
            Self::Delay | Self::Loss => nothing(),
            Self::Standby => match &peer.standby {
                Some(standby) => Span::styled(short(standby), ink.good()),
                None => nothing(),
            },
            Self::Moves if seen.moves == 0 => nothing(),
            Self::Moves => Span::styled(seen.moves.to_string(), ink.doubtful()),
            Self::Here => Span::raw(span_of(u64::from(peer.age))),
            Self::Network => match peer.reach {
                Reach::Unknown => nothing(),
                reach => Span::raw(reach.name()),
            },
        }
    }
}

fn class(peer: &TreePeer) -> &'static str {
    match peer.class {
        _ if peer.parent.is_none() => "root",
        PeerClass::Native => "native",
        PeerClass::Browser => "browser",
        PeerClass::Player => "player",
    }
}

/// A span of time in its largest whole unit.
pub fn span_of(seconds: u64) -> String {
    match seconds {
        0..100 => format!("{seconds} s"),
        100..6_000 => format!("{} min", seconds / 60),
        6_000..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// A rate with the suffix `--max-upload` takes.
pub fn rate(bits: u64) -> String {
    match bits {
        0..1_000_000 => format!("{} kbit/s", bits / 1_000),
        _ => format!("{}.{} Mbit/s", bits / 1_000_000, bits / 100_000 % 10),
    }
}
