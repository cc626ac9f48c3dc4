//! What a node writes to `--packet-log FILE`: one line per packet, in final order.

use std::collections::BTreeMap;
use std::path::Path;

/// The identity a packet has in the whole tree: epoch, track, extended sequence number.
pub type Identity = (u64, u8, u64);

/// What must be the same at every node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// RTP timestamp.
    pub timestamp: u32,
    /// RTP marker bit.
    pub marker: bool,
    /// Payload length in bytes.
    pub length: usize,
    /// Hash of what travels end to end, in hexadecimal.
    pub hash: String,
}

/// The packets of one node, by identity.
pub type PacketLog = BTreeMap<Identity, Logged>;

/// Reads a log; a last line that is still being written is left out.
///
/// # Panics
/// On a line that is no packet, and on a packet that was logged twice.
pub fn read(path: &Path) -> PacketLog {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let mut log = PacketLog::new();
    for line in text.split_inclusive('\n').filter(|l| l.ends_with('\n')) {
        let (identity, logged) =
            parse(line).unwrap_or_else(|| panic!("no packet in {}: {line}", path.display()));
        let twice = log.insert(identity, logged).is_some();
        assert!(!twice, "{identity:?} is in {} twice", path.display());
    }
    log
}

fn parse(line: &str) -> Option<(Identity, Logged)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [epoch, track, seq, timestamp, marker, length, hash] = fields[..] else {
        return None;
    };
    let marker = match marker {
        "0" | "false" => false,
        "1" | "true" => true,
        _ => return None,
    };
    let logged = Logged {
        timestamp: timestamp.parse().ok()?,
        marker,
        length: length.parse().ok()?,
        hash: hash.to_owned(),
    };
    let identity = (epoch.parse().ok()?, track.parse().ok()?, seq.parse().ok()?);
    Some((identity, logged))
}

/// Sequence numbers missing between a track's first and last packet of an epoch.
pub fn missing(log: &PacketLog) -> Vec<Identity> {
    let mut missing = Vec::new();
    for &(epoch, track, seq) in log.keys() {
        let next = log
            .range((epoch, track, seq + 1)..=(epoch, track, u64::MAX))
            .next();
        if let Some((&(_, _, following), _)) = next {
            missing.extend((seq + 1..following).map(|s| (epoch, track, s)));
        }
    }
    missing
}

/// How many packets of `child` the root sent bit for bit the same.
///
/// # Panics
/// On a packet the root never sent or that differs.
pub fn assert_identical(root: &PacketLog, child: &PacketLog, name: &str) -> usize {
    for (identity, packet) in child {
        let sent = root
            .get(identity)
            .unwrap_or_else(|| panic!("{name} has {identity:?}, which the root never sent"));
        assert_eq!(sent, packet, "{identity:?} differs at {name}");
    }
    child.len()
}

/// The packets of one track.
pub fn of_track(log: &PacketLog, track: u8) -> PacketLog {
    log.iter()
        .filter(|((_, t, _), _)| *t == track)
        .map(|(identity, packet)| (*identity, packet.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_is_missing() {
        let log: PacketLog = [(1, 0, 5), (1, 0, 6), (1, 0, 9), (1, 1, 2), (2, 0, 70)]
            .into_iter()
            .map(|identity| {
                let line = format!("{} {} {} 1 0 3 ab\n", identity.0, identity.1, identity.2);
                parse(&line).unwrap()
            })
            .collect();
        assert_eq!(missing(&log), [(1, 0, 7), (1, 0, 8)]);
        assert_eq!(of_track(&log, 1).len(), 1);
    }
}
