//! `--packet-log FILE`: a line for each packet in its final order, to compare nodes bit for bit.

use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use anyhow::Context;
use banyan::id::Epoch;
use banyan::relay::packet::{Packet, TrackIndex};
use banyan::wire::announcement::StreamInfo;

use crate::driver::Sink;

/// Packets that may wait for the disk: ten seconds of a 2.5 Mbit/s stream.
const QUEUE: usize = 4096;

/// Writes the log on a thread of its own.
#[derive(Debug)]
pub struct PacketLog {
    lines: Option<SyncSender<(Epoch, u32, Arc<Packet>)>>,
    thread: Option<JoinHandle<()>>,
    epoch: Epoch,
    ssrcs: Vec<u32>,
}

impl PacketLog {
    /// Creates the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn create(path: &Path) -> anyhow::Result<Self> {
        let file = File::create(path)
            .with_context(|| format!("the packet log {} cannot be written", path.display()))?;
        let (lines, inbox) = sync_channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("packet-log".into())
            .spawn(move || {
                if let Err(error) = write(BufWriter::new(file), &inbox) {
                    tracing::error!("the packet log ends: {error}");
                }
            })
            .context("starting the packet log's thread")?;
        let epoch = Epoch::default();
        Ok(Self {
            lines: Some(lines),
            thread: Some(thread),
            epoch,
            ssrcs: Vec::new(),
        })
    }
}

impl Sink for PacketLog {
    fn tracks(&mut self, info: &StreamInfo) {
        self.epoch = info.epoch;
        self.ssrcs = info.tracks.iter().map(|track| track.ssrc).collect();
    }

    fn packet(&mut self, packet: &Arc<Packet>) {
        let ssrc = self
            .ssrcs
            .get(usize::from(packet.track))
            .copied()
            .unwrap_or_default();
        if let Some(lines) = &self.lines
            && lines
                .try_send((self.epoch, ssrc, Arc::clone(packet)))
                .is_err()
        {
            tracing::warn!("the packet log is behind; a line is lost");
        }
    }

    fn clock(&mut self, _track: TrackIndex, _ntp: u64, _rtp: u32) {}
}

impl Drop for PacketLog {
    fn drop(&mut self) {
        self.lines = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn write(
    mut file: BufWriter<File>,
    inbox: &Receiver<(Epoch, u32, Arc<Packet>)>,
) -> std::io::Result<()> {
    while let Ok(first) = inbox.recv() {
        for (epoch, ssrc, packet) in std::iter::once(first).chain(inbox.try_iter()) {
            writeln!(
                file,
                "{epoch} {} {} {} {} {} {:016x}",
                packet.track,
                packet.seq,
                packet.timestamp,
                u8::from(packet.marker),
                packet.payload.len(),
                digest(ssrc, &packet),
            )?;
        }
        // Nothing waits: whoever reads along, or finds the file after a crash, sees it all.
        file.flush()?;
    }
    Ok(())
}

/// A hash over everything that travels bit for bit. The same in one build of this program; logs
/// of different builds are not comparable.
fn digest(ssrc: u32, packet: &Packet) -> u64 {
    let mut hasher = DefaultHasher::new();
    (ssrc, packet.seq as u16, packet.timestamp, packet.marker).hash(&mut hasher);
    packet.payload.hash(&mut hasher);
    for (extension, value) in &packet.extensions {
        extension.hash(&mut hasher);
        value.hash(&mut hasher);
    }
    hasher.finish()
}
