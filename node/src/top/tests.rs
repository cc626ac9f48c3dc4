//! Pictures of trees, as text.

use std::time::{Duration, Instant};

use banyan::id::NodeId;
use banyan::reachability::Reach;
use banyan::wire::tracker::{PeerClass, StreamState, TreePeer};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::Color;

use super::ink::Ink;
use super::model::{HealCounts, MAX_PEERS, Model, Snapshot, StreamFacts};
use super::view::{Drawn, Place, Step, draw, plain};

fn id(number: u16) -> NodeId {
    let mut bytes = [0; 16];
    // Names that are told apart by their first letters.
    bytes[..2].copy_from_slice(&number.wrapping_mul(40_503).to_be_bytes());
    NodeId::from_bytes(bytes)
}

fn peer(number: u16, parent: Option<u16>, depth: u16) -> TreePeer {
    TreePeer {
        id: id(number),
        parent: parent.map(id),
        standby: None,
        depth,
        class: PeerClass::Native,
        slots: 2,
        used: 0,
        age: 75,
        delay_ms: u32::from(depth) * 20,
        loss_permille: 0,
        reach: Reach::Open,
    }
}

fn stream(title: &str) -> StreamFacts {
    StreamFacts {
        title: title.into(),
        state: StreamState::Live,
        viewers: 0,
        waiting: 0,
        age: Some(75),
        bits_per_second: Some(1_234_000),
        heals: HealCounts::default(),
    }
}

/// A snapshot of these peers, with counts that agree.
fn snapshot(title: &str, mut peers: Vec<TreePeer>) -> Snapshot {
    let mut per_depth = Vec::new();
    for at in 0..peers.len() {
        let id = peers[at].id;
        let used = peers.iter().filter(|peer| peer.parent == Some(id)).count() as u16;
        peers[at].used = used;
        peers[at].slots = peers[at].slots.max(used);
        let depth = usize::from(peers[at].depth);
        per_depth.resize(per_depth.len().max(depth + 1), 0);
        per_depth[depth] += 1;
    }
    let mut stream = stream(title);
    stream.viewers = peers.len() as u32 - 1;
    Snapshot {
        total: peers.len() as u32,
        stream,
        peers,
        per_depth,
    }
}

/// A root, two relays, three below, of which one is a page and one loses packets.
fn small() -> Snapshot {
    let mut peers = vec![
        peer(0, None, 0),
        peer(1, Some(0), 1),
        peer(2, Some(0), 1),
        peer(3, Some(1), 2),
        peer(4, Some(1), 2),
        peer(5, Some(2), 2),
    ];
    peers[3].standby = Some(id(2));
    peers[4].class = PeerClass::Browser;
    peers[4].slots = 0;
    peers[4].reach = Reach::Unknown;
    peers[5].loss_permille = 31;
    peers[5].reach = Reach::Symmetric;
    snapshot("Friday", peers)
}

/// A complete tree of `count` peers with `slots` each.
fn full(count: u16, slots: u16) -> Snapshot {
    let mut peers: Vec<TreePeer> = vec![peer(0, None, 0)];
    for number in 1..count {
        let parent = (number - 1) / slots;
        let depth = peers[usize::from(parent)].depth + 1;
        peers.push(peer(number, Some(parent), depth));
    }
    snapshot("Many", peers)
}

struct Screen {
    terminal: Terminal<TestBackend>,
    place: Place,
    drawn: Drawn,
}

impl Screen {
    fn new(width: u16, height: u16) -> Self {
        Self {
            terminal: Terminal::new(TestBackend::new(width, height)).unwrap(),
            place: Place::default(),
            drawn: Drawn::default(),
        }
    }

    fn show(&mut self, now: Instant, model: &Model) -> String {
        let (place, drawn) = (&mut self.place, &mut self.drawn);
        self.terminal
            .draw(|frame| *drawn = draw(frame, now, model, place, Ink::new(true)))
            .unwrap();
        let buffer = self.terminal.backend().buffer();
        let width = usize::from(buffer.area.width);
        let rows = buffer.content.chunks(width);
        let rows = rows.map(|row| {
            let mut text = String::new();
            let mut covered = 0_usize;
            for cell in row {
                if covered > 0 {
                    covered -= 1;
                    continue;
                }
                text += cell.symbol();
                covered = ratatui::text::Span::raw(cell.symbol())
                    .width()
                    .saturating_sub(1);
            }
            text.trim_end().to_owned()
        });
        rows.collect::<Vec<_>>().join("\n")
    }

    fn go(&mut self, step: Step) {
        self.place.go(step, self.drawn);
    }
}

fn model(now: Instant, snapshot: Snapshot) -> Model {
    let mut model = Model::default();
    model.apply(now, snapshot);
    model
}

#[track_caller]
fn assert_picture(shown: &str, expected: &str) {
    let expected = expected.trim_matches('\n');
    assert!(
        shown.trim_end() == expected,
        "shown:\n{shown}\n\nexpected:\n{expected}"
    );
}

#[test]
fn three_levels() {
    let now = Instant::now();
    let model = model(now, small());
    let shown = Screen::new(80, 12).show(now, &model);
    assert_picture(
        &shown,
        "
Friday  live  5 viewers  1.2 Mbit/s  since 75 s
no heals  peers per level 1 2 3
PEER        CLASS    FEEDS   DELAY   LOSS STANDBY MOVES   HERE   NETWORK
aaaaaa      root       2/2       –      –       –     –   75 s      open
├─hrxaaa    native     1/2   20 ms  0.0 %       –     –   75 s      open
│ └─c4jqaa  native     0/2   40 ms  3.1 %       –     –   75 s symmetric
└─ty3qaa    native     2/2   20 ms  0.0 %       –     –   75 s      open
  ├─pdoaaa  browser      –   40 ms  0.0 %       –     –   75 s         –
  └─3ksqaa  native     0/2   40 ms  0.0 %  hrxaaa     –   75 s      open


q quit  ↑↓ scroll  ←→ levels (0-2 of 2)
",
    );
    let text = plain(&model);
    let rows: Vec<&str> = shown.lines().collect();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with(rows[0]));
    assert_eq!(lines[1..], rows[1..9], "the same tree: {text}");
}

#[test]
fn forty_columns_show_what_matters() {
    let now = Instant::now();
    let mut snapshot = small();
    snapshot.stream.waiting = 2;
    snapshot.stream.heals = HealCounts {
        by_standby: 3,
        by_tracker: 1,
    };
    let shown = Screen::new(40, 16).show(now, &model(now, snapshot));
    assert_picture(
        &shown,
        "
Friday  live  5 viewers  2 waiting
1.2 Mbit/s  since 75 s
heals 4: 3 by standby, 1 by tracker
peers per level 1 2 3
PEER        FEEDS   LOSS STANDBY
aaaaaa        2/2      –       –
├─hrxaaa      1/2  0.0 %       –
│ └─c4jqaa    0/2  3.1 %       –
└─ty3qaa      2/2  0.0 %       –
  ├─pdoaaa      –  0.0 %       –
  └─3ksqaa    0/2  0.0 %  hrxaaa




q quit  ↑↓ scroll  ←→ levels (0-2 of 2)
",
    );
}

#[test]
fn a_large_tree_is_folded_and_unfolded() {
    let now = Instant::now();
    let model = model(now, full(500, 4));
    let mut screen = Screen::new(80, 24);
    let shown = screen.show(now, &model);
    assert_picture(
        &shown,
        "
Many  live  499 viewers  1.2 Mbit/s  since 75 s
no heals  peers per level 1 4 16 64 256 159
PEER           CLASS    FEEDS   DELAY   LOSS STANDBY MOVES   HERE   NETWORK
aaaaaa         root       4/4       –      –       –     –   75 s      open
├─hrxaaa +84   native     4/4   20 ms  0.0 %       –     –   75 s      open
├─pdoaaa +84   native     4/4   20 ms  0.0 %       –     –   75 s      open
├─ty3qaa +243  native     4/4   20 ms  0.0 %       –     –   75 s      open
└─3ksqaa +84   native     4/4   20 ms  0.0 %       –     –   75 s      open















q quit  ↑↓ scroll  ←→ levels (0-1 of 5)
",
    );
    screen.go(Step::Unfold);
    let shown = screen.show(now, &model);
    assert!(shown.contains("rows 1-"), "{shown}");
    screen.go(Step::Last);
    let end = screen.show(now, &model);
    assert!(end.contains("of 21"), "{end}");
    screen.go(Step::Rows(-1));
    assert_ne!(screen.show(now, &model), end);
    screen.go(Step::Screens(1));
    assert_eq!(screen.show(now, &model), end);
    for _ in 0..20 {
        screen.go(Step::Unfold);
        screen.show(now, &model);
    }
    let all = screen.show(now, &model);
    assert!(all.contains("of 500"), "{all}");
    screen.go(Step::Fit);
    assert_eq!(screen.show(now, &model), shown_at_first(now, &model));
}

fn shown_at_first(now: Instant, model: &Model) -> String {
    Screen::new(80, 24).show(now, model)
}

#[test]
fn more_peers_than_are_kept_are_counted() {
    let now = Instant::now();
    let mut snapshot = full(1500, 2);
    snapshot.peers.truncate(MAX_PEERS + 50);
    let model = model(now, snapshot);
    assert_eq!(model.peers.len(), MAX_PEERS);
    let shown = Screen::new(120, 40).show(now, &model);
    assert!(shown.contains("476 further down not shown"), "{shown}");
    assert!(
        plain(&model).contains("+…"),
        "peers at the edge feed others"
    );
}

#[test]
fn names_from_elsewhere_neither_steer_nor_shift() {
    let now = Instant::now();
    let mut snapshot = small();
    snapshot.stream.title = "\u{1b}[31m金曜日の番組 🎥\u{202e}e\u{301}\n".into();
    let model = model(now, snapshot);
    let shown = Screen::new(80, 12).show(now, &model);
    let first = shown.lines().next().unwrap();
    assert_eq!(
        first,
        "[31m金曜日の番組 🎥e\u{301}  live  5 viewers  1.2 Mbit/s  since 75 s"
    );
    assert!(!plain(&model).contains(['\u{1b}', '\u{202e}']));
    // Too narrow for a word: nothing breaks.
    for (width, height) in [(1, 1), (7, 3), (20, 5), (300, 100)] {
        Screen::new(width, height).show(now, &model);
    }
}

#[test]
fn who_vanishes_is_told_and_whose_parent_is_gone_is_adrift() {
    let now = Instant::now();
    let mut model = model(now, small());
    let mut less = small();
    let victim = less.peers.remove(1);
    less.total = 5;
    let later = now + Duration::from_secs(1);
    model.apply(later, less);
    let mut screen = Screen::new(80, 20);
    let shown = screen.show(later + Duration::from_secs(2), &model);
    assert!(shown.contains(" adrift"), "{shown}");
    let gone: String = victim.id.to_string().chars().take(6).collect();
    assert!(shown.contains(&format!("2 s ago  {gone} left")), "{shown}");
    // They find the other relay.
    let mut mended = small();
    mended.peers.remove(1);
    for peer in &mut mended.peers {
        if peer.parent == Some(victim.id) {
            peer.parent = Some(id(2));
        }
    }
    let mended = snapshot("Friday", mended.peers);
    model.apply(later, mended);
    let shown = screen.show(later, &model);
    assert!(!shown.contains("adrift"), "{shown}");
    assert!(shown.contains(&format!("went from {gone} to")), "{shown}");
    assert_eq!(model.peers[&id(3)].moves, 1);
}

#[test]
fn circles_and_long_chains_end() {
    let now = Instant::now();
    let circle = snapshot(
        "Odd",
        vec![
            peer(1, Some(3), 1),
            peer(2, Some(1), 2),
            peer(3, Some(2), 3),
            peer(4, Some(4), 1),
        ],
    );
    let shown = plain(&model(now, circle));
    // Each of the four has one row.
    assert_eq!(shown.lines().count(), 3 + 4, "{shown}");
    let chain = (0..1000).map(|n| peer(n, n.checked_sub(1), n)).collect();
    let shown = plain(&model(now, snapshot("Long", chain)));
    assert!(
        shown.lines().all(|line| line.chars().count() < 6000),
        "{shown}"
    );
    assert!(shown.contains("…"), "{shown}");
}

#[test]
fn a_tracker_that_is_away_leaves_what_was_known() {
    let now = Instant::now();
    let mut model = model(now, small());
    model.fail("the tracker http://x/ does not answer".into());
    let shown = Screen::new(80, 12).show(now, &model);
    assert!(shown.contains("Friday"), "{shown}");
    assert!(
        shown.contains("trying again: the tracker http://x/ does not answer"),
        "{shown}"
    );
    model.apply(now, small());
    let shown = Screen::new(80, 12).show(now, &model);
    assert!(!shown.contains("trying"), "{shown}");
    // Nothing was ever known.
    let mut empty = Model::default();
    empty.fail("no\u{7}thing".into());
    assert!(
        Screen::new(80, 12)
            .show(now, &empty)
            .contains("trying again: nothing")
    );
}

#[test]
fn the_background_is_the_terminals_own() {
    let now = Instant::now();
    let model = model(now, small());
    for (colours, coloured) in [(true, true), (false, false)] {
        let mut terminal = Terminal::new(TestBackend::new(80, 12)).unwrap();
        let mut place = Place::default();
        terminal
            .draw(|frame| {
                draw(frame, now, &model, &mut place, Ink::new(colours));
            })
            .unwrap();
        let cells = &terminal.backend().buffer().content;
        assert!(cells.iter().all(|cell| cell.bg == Color::Reset));
        assert_eq!(cells.iter().any(|cell| cell.fg != Color::Reset), coloured);
    }
}
