//! The picture: the model as lines of the terminal's width. Pure.

use std::time::Instant;

use banyan::wire::tracker::StreamState;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::columns::{Column, rate, span_of};
use super::ink::Ink;
use super::model::{Model, state_word};
use super::outline::{Outline, Row};

/// Columns of a peer's name and branches at most, where others want to stand beside it.
const MAX_LABEL: usize = 34;

/// Rows from which on there is room for what happened.
const ROOMY: usize = 18;

/// Events shown there.
const EVENTS: usize = 3;

/// Cells of the plain text: nothing is left out.
const PLAIN_WIDTH: usize = 120;

/// Which part of the tree is looked at.
#[derive(Debug, Clone, Copy, Default)]
pub struct Place {
    /// The deepest level shown; none shows as many as fit.
    pub level: Option<usize>,
    /// Rows above the first one shown.
    pub offset: usize,
}

/// Where the user wants to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Rows up or down.
    Rows(isize),
    /// Screens up or down.
    Screens(isize),
    /// To the first row.
    First,
    /// To the last one.
    Last,
    /// One level less.
    Fold,
    /// One level more.
    Unfold,
    /// As many levels as fit.
    Fit,
}

/// What was drawn, for the next step.
#[derive(Debug, Clone, Copy, Default)]
pub struct Drawn {
    /// The deepest level shown.
    level: usize,
    /// Rows of the tree on the screen.
    room: usize,
}

impl Place {
    /// Goes a step from what was drawn.
    pub fn go(&mut self, step: Step, drawn: Drawn) {
        match step {
            Step::Rows(by) => self.offset = self.offset.saturating_add_signed(by),
            Step::Screens(by) => {
                let screen = drawn.room.saturating_sub(1).max(1) as isize;
                self.offset = self.offset.saturating_add_signed(by * screen);
            }
            Step::First => self.offset = 0,
            // Drawing brings it back to where there is something.
            Step::Last => self.offset = usize::MAX,
            Step::Fold => self.level = Some(drawn.level.saturating_sub(1)),
            Step::Unfold => self.level = Some(drawn.level + 1),
            Step::Fit => *self = Self::default(),
        }
    }
}

/// Draws all of it.
pub fn draw(
    frame: &mut Frame<'_>,
    now: Instant,
    model: &Model,
    place: &mut Place,
    ink: Ink,
) -> Drawn {
    let area = frame.area();
    let (width, height) = (usize::from(area.width), usize::from(area.height));
    let outline = Outline::new(model);
    let mut lines = summary(model, width, ink);
    let mut foot = Vec::new();
    if height >= ROOMY {
        let newest = model.events.iter().rev().take(EVENTS).rev();
        foot.extend(newest.map(|(at, words)| {
            let ago = now.saturating_duration_since(*at).as_secs();
            Line::styled(format!("{:>6} ago  {words}", span_of(ago)), ink.faint())
        }));
    }
    // The line of the columns, and that of the keys.
    let room = height.saturating_sub(lines.len() + foot.len() + 2);
    let deepest = outline.deepest();
    let level = match place.level {
        Some(level) => level.min(deepest),
        None => outline.fitting(room),
    };
    let rows = outline.rows(level);
    place.level = place.level.map(|_| level);
    place.offset = place.offset.min(rows.len().saturating_sub(room));
    let table = Table::new(&rows, width, ink);
    lines.push(table.head());
    let shown = rows.iter().skip(place.offset).take(room);
    lines.extend(shown.map(|row| table.line(row)));
    let bottom = height.saturating_sub(foot.len() + 1);
    lines.resize(bottom.max(lines.len()), Line::default());
    lines.append(&mut foot);
    let last = rows.len().min(place.offset + room);
    let part = match rows.len() > room {
        true => format!("rows {}-{last} of {}  ", place.offset + 1, rows.len()),
        false => String::new(),
    };
    lines.push(match &model.trouble {
        Some(why) => Line::styled(format!("trying again: {why}"), ink.bad()),
        None => Line::styled(
            format!("{part}q quit  ↑↓ scroll  ←→ levels (0-{level} of {deepest})"),
            ink.faint(),
        ),
    });
    let lines = lines.into_iter().take(height);
    for (y, line) in (area.y..).zip(lines) {
        frame.render_widget(
            line,
            Rect {
                y,
                height: 1,
                ..area
            },
        );
    }
    Drawn { level, room }
}

/// All of it as plain text.
pub fn plain(model: &Model) -> String {
    let ink = Ink::new(false);
    let outline = Outline::new(model);
    let rows = outline.rows(outline.deepest());
    let table = Table::new(&rows, PLAIN_WIDTH, ink);
    let mut lines = summary(model, PLAIN_WIDTH, ink);
    lines.push(table.head());
    lines.extend(rows.iter().map(|row| table.line(row)));
    let mut text = String::new();
    for line in lines {
        text += line.to_string().trim_end();
        text.push('\n');
    }
    text
}

/// The stream in a few words.
fn summary(model: &Model, width: usize, ink: Ink) -> Vec<Line<'static>> {
    let Some(stream) = &model.stream else {
        return vec![Line::styled("banyan top", ink.strong())];
    };
    let state = match stream.state {
        StreamState::Live => ink.good(),
        StreamState::Waiting | StreamState::Away => ink.doubtful(),
        StreamState::Offline => ink.bad(),
    };
    let title = match stream.title.as_str() {
        "" => "a stream without a title",
        title => title,
    };
    let mut parts = vec![
        Span::styled(title.to_owned(), ink.strong()),
        Span::styled(state_word(stream.state), state),
        Span::raw(match stream.viewers {
            1 => "1 viewer".to_owned(),
            viewers => format!("{viewers} viewers"),
        }),
    ];
    if stream.waiting > 0 {
        let text = format!("{} waiting", stream.waiting);
        parts.push(Span::styled(text, ink.doubtful()));
    }
    if let Some(bits) = stream.bits_per_second.filter(|bits| *bits > 0) {
        parts.push(Span::raw(rate(bits)));
    }
    if let Some(age) = stream.age {
        parts.push(Span::raw(format!("since {}", span_of(age))));
    }
    let mut second = Vec::new();
    let heals = stream.heals;
    second.push(Span::raw(match heals.by_standby + heals.by_tracker {
        0 => "no heals".to_owned(),
        all => format!(
            "heals {all}: {} by standby, {} by tracker",
            heals.by_standby, heals.by_tracker
        ),
    }));
    let depths = model.per_depth.iter().map(u32::to_string);
    let depths = depths.collect::<Vec<_>>().join(" ");
    second.push(Span::raw(format!("peers per level {depths}")));
    match model.hidden() {
        0 => {}
        hidden => second.push(Span::styled(
            format!("{hidden} further down not shown"),
            ink.faint(),
        )),
    }
    let mut lines = flow(parts, width);
    lines.extend(flow(second, width));
    lines
}

/// Puts parts beside each other as long as they fit.
fn flow(parts: Vec<Span<'static>>, width: usize) -> Vec<Line<'static>> {
    let mut lines: Vec<Line<'static>> = Vec::new();
    for part in parts {
        match lines.last_mut() {
            Some(line) if line.width() + 2 + part.width() <= width => {
                line.push_span("  ");
                line.push_span(part);
            }
            _ => lines.push(part.into()),
        }
    }
    lines
}

/// The rows of peers, in columns.
struct Table {
    label: usize,
    columns: Vec<Column>,
    ink: Ink,
}

impl Table {
    fn new(rows: &[Row<'_>], width: usize, ink: Ink) -> Self {
        let widest = rows.iter().map(|row| name(row, ink).width()).max();
        let label = widest.unwrap_or(0).clamp(8, MAX_LABEL);
        Self {
            label,
            columns: Column::fitting(width.saturating_sub(label)),
            ink,
        }
    }

    fn head(&self) -> Line<'static> {
        let mut text = format!("{:<1$}", "PEER", self.label);
        for column in &self.columns {
            text += &match column.aligns_left() {
                true => format!("  {:<1$}", column.head(), column.width() - 1),
                false => format!(" {:>1$}", column.head(), column.width()),
            };
        }
        Line::styled(text, self.ink.faint())
    }

    fn line(&self, row: &Row<'_>) -> Line<'static> {
        let mut line = name(row, self.ink);
        line.push_span(" ".repeat(self.label.saturating_sub(line.width())));
        for column in &self.columns {
            let cell = column.cell(row.seen, self.ink);
            let pad = (column.width() + 1).saturating_sub(cell.width());
            let before = match column.aligns_left() {
                true => 2,
                false => pad,
            };
            line.push_span(" ".repeat(before));
            line.push_span(cell);
            line.push_span(" ".repeat(pad.saturating_sub(before)));
        }
        line
    }
}

/// Branches, name, and what is folded below.
fn name(row: &Row<'_>, ink: Ink) -> Line<'static> {
    let mut line = Line::from(row.label.clone());
    if row.adrift {
        line.push_span(Span::styled(" adrift", ink.bad()));
    }
    if row.folded > 0 {
        line.push_span(Span::styled(format!(" +{}", row.folded), ink.strong()));
    } else if row.cut {
        line.push_span(Span::styled(" +…", ink.strong()));
    }
    line
}
