//! What a viewer gets out: a recording, or a log of packets.

pub(crate) mod depacketize;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod matroska;
mod mp4;
pub mod packet_log;
pub mod recorder;
mod recording;
mod sync;
#[cfg(test)]
mod tests;

pub use self::recording::{Recording, RecordingError, Summary};

use std::io;
use std::time::Duration;

use banyan::wire::announcement::Codec;
use bytes::Bytes;

/// Longest wait of a local sink for a packet that may still be repaired: what a child that changes
/// its parent needs in the worst case.
pub const REPAIR_WAIT: Duration = Duration::from_secs(4);

/// What a container must know of a track before its first frame.
#[derive(Debug, Clone)]
struct TrackFormat {
    codec: Codec,
    /// Sound in two channels.
    stereo: bool,
    /// The first frame of the track; for video a key frame.
    first: Bytes,
}

/// One frame to be written.
#[derive(Debug, Clone)]
struct Entry {
    /// Position among the tracks of the file.
    track: usize,
    /// When it is presented, in nanoseconds since the first picture (or, without one, the first
    /// sound). Sound may begin a little earlier.
    time: i64,
    /// The same in units of the track's clock rate, counted from an origin of the track's own.
    ticks: i64,
    key: bool,
    data: Bytes,
}

/// A file being written.
trait Container: Send {
    /// Adds a frame. Frames of one track come in order, those of different tracks almost.
    fn write(&mut self, entry: Entry) -> io::Result<()>;

    /// Writes what is left and the index.
    fn finish(&mut self) -> io::Result<()>;
}
