//! The tree as rows: each peer under the one that feeds it, lower levels folded. Pure.

use std::collections::BTreeMap;

use banyan::id::NodeId;

use super::model::{Model, Seen, short};

/// Widest picture of branches before a name, in columns: deeper ones lose their beginning.
const MAX_GUIDE: usize = 24;

/// A row of the outline.
#[derive(Debug, Clone)]
pub struct Row<'a> {
    /// Branches, then the peer's short name.
    pub label: String,
    /// The peer.
    pub seen: &'a Seen,
    /// Peers below it that have no row.
    pub folded: usize,
    /// Whether peers below it may be unknown.
    pub cut: bool,
    /// Whether its parent is not known.
    pub adrift: bool,
}

/// The tree, ready to be shown at any depth.
#[derive(Debug)]
pub struct Outline<'a> {
    model: &'a Model,
    below: BTreeMap<NodeId, Vec<NodeId>>,
    tops: Vec<NodeId>,
    /// Rows at each level, the tops at 0.
    levels: Vec<usize>,
    /// Peers below each peer.
    sizes: BTreeMap<NodeId, usize>,
}

impl<'a> Outline<'a> {
    /// Takes the tree apart.
    pub fn new(model: &'a Model) -> Self {
        let (below, tops) = model.branches();
        let mut levels = Vec::new();
        let mut order = Vec::with_capacity(model.peers.len());
        let mut level = tops.clone();
        while !level.is_empty() {
            levels.push(level.len());
            let next = level.iter().filter_map(|id| below.get(id)).flatten();
            let next = next.copied().collect();
            order.append(&mut level);
            level = next;
        }
        let mut sizes = BTreeMap::new();
        for id in order.into_iter().rev() {
            let children = below.get(&id).into_iter().flatten();
            let size = children.map(|child| sizes.get(child).map_or(1, |below| below + 1));
            sizes.insert(id, size.sum::<usize>());
        }
        Self {
            model,
            below,
            tops,
            levels,
            sizes,
        }
    }

    /// The deepest level there is.
    pub fn deepest(&self) -> usize {
        self.levels.len().saturating_sub(1)
    }

    /// The deepest level down to which all peers fit into so many rows; the first one below the
    /// root in any case.
    pub fn fitting(&self, rows: usize) -> usize {
        let mut sum = 0;
        let fit = self.levels.iter().take_while(|&&count| {
            sum += count;
            sum <= rows
        });
        fit.count().saturating_sub(1).max(1).min(self.deepest())
    }

    /// All rows down to this level.
    pub fn rows(&self, level: usize) -> Vec<Row<'a>> {
        let mut rows = Vec::new();
        let mut open: Vec<(NodeId, usize, String, String)> = Vec::new();
        for &top in self.tops.iter().rev() {
            open.push((top, 0, String::new(), String::new()));
        }
        while let Some((id, at, own, inherited)) = open.pop() {
            let Some(seen) = self.model.peers.get(&id) else {
                continue;
            };
            let children = self.below.get(&id).map_or(&[][..], Vec::as_slice);
            let folded = match at >= level {
                true => self.sizes.get(&id).copied().unwrap_or(0),
                false => 0,
            };
            rows.push(Row {
                label: format!("{}{}", clipped(&own), short(&id)),
                seen,
                folded,
                cut: self.model.hidden() > 0 && children.is_empty() && seen.peer.used > 0,
                adrift: at == 0 && seen.peer.parent.is_some(),
            });
            if at >= level {
                continue;
            }
            for (index, &child) in children.iter().enumerate().rev() {
                let (branch, trunk) = match index + 1 == children.len() {
                    true => ("└─", "  "),
                    false => ("├─", "│ "),
                };
                open.push((
                    child,
                    at + 1,
                    format!("{inherited}{branch}"),
                    format!("{inherited}{trunk}"),
                ));
            }
        }
        rows
    }
}

/// The end of a picture of branches, where it is too wide.
fn clipped(guide: &str) -> String {
    let wide = guide.chars().count();
    if wide <= MAX_GUIDE {
        return guide.to_owned();
    }
    let end: String = guide.chars().skip(wide - MAX_GUIDE + 1).collect();
    format!("…{end}")
}
