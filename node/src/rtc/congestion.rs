//! What a publisher's bandwidth estimate lives on: when each of its packets arrived, by their
//! transport-wide sequence numbers (draft-holmer-rmcat-transport-wide-cc-extensions-01).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rtc::rtcp::Packet as Rtcp;
use rtc::rtcp::transport_feedbacks::transport_layer_cc::{
    PacketStatusChunk, RecvDelta, StatusChunkTypeTcc, StatusVectorChunk, SymbolSizeTypeTcc,
    SymbolTypeTcc, TransportLayerCc,
};

/// Time between two feedback packets. libwebrtc's own receivers send one each 50 to 250 ms.
const INTERVAL: Duration = Duration::from_millis(50);

/// Most packets one feedback tells of; with two bytes for each it still fits every path.
const MAX_TOLD: u64 = 400;

/// Units of arrival times.
const TICK_US: i64 = 250;

/// Units of the reference time, in ticks of [`TICK_US`].
const REFERENCE_TICKS: i64 = 64_000 / TICK_US;

/// Symbols in one two-bit status vector.
const SYMBOLS: usize = 7;

/// Arrivals that were not told yet.
pub(super) struct Arrivals {
    /// Header extension id.
    id: u8,
    origin: Instant,
    /// By number with rollovers counted.
    untold: BTreeMap<u64, Instant>,
    /// Highest number seen.
    highest: Option<u64>,
    /// The number after the last one that was told.
    next: Option<u64>,
    due: Option<Instant>,
    count: u8,
}

impl Arrivals {
    pub(super) fn new(now: Instant, id: u8) -> Self {
        Self {
            id,
            origin: now,
            untold: BTreeMap::new(),
            highest: None,
            next: None,
            due: None,
            count: 0,
        }
    }

    /// A packet arrived with this value of extension `id`.
    pub(super) fn received(&mut self, now: Instant, id: u8, value: &[u8]) {
        let (true, [high, low]) = (id == self.id, value) else {
            return;
        };
        let number = u16::from_be_bytes([*high, *low]);
        let number = match self.highest {
            Some(highest) => banyan::relay::sequence::unwrap_near(number, highest),
            None => 0x1_0000 + u64::from(number),
        };
        self.highest = self.highest.max(Some(number));
        if self.next.is_none_or(|next| number >= next) && self.untold.len() < MAX_TOLD as usize {
            self.untold.insert(number, now);
        }
        self.due.get_or_insert(now + INTERVAL);
    }

    pub(super) const fn deadline(&self) -> Option<Instant> {
        self.due
    }

    /// The feedback that is due, about `media_ssrc`.
    pub(super) fn feedback(
        &mut self,
        now: Instant,
        sender_ssrc: u32,
        media_ssrc: u32,
    ) -> Option<Box<dyn Rtcp>> {
        if self.due.is_none_or(|due| due > now) {
            return None;
        }
        self.due = None;
        let untold = std::mem::take(&mut self.untold);
        let (&first, &first_at) = untold.first_key_value()?;
        let last = *untold.last_key_value()?.0;
        // Numbers between two feedbacks that never came are lost: they are told as such, unless
        // there are so many that the numbering itself must have jumped.
        let base = match self.next {
            Some(next) if first - next < MAX_TOLD / 2 => next,
            _ => first,
        };
        let last = last.min(base + MAX_TOLD - 1);
        self.next = Some(last + 1);
        let reference = self.ticks(first_at).div_euclid(REFERENCE_TICKS);
        let mut before = reference * REFERENCE_TICKS;
        let mut symbols = Vec::new();
        let mut deltas = Vec::new();
        for number in base..=last {
            let Some(at) = untold.get(&number) else {
                symbols.push(SymbolTypeTcc::PacketNotReceived);
                continue;
            };
            let ticks = self.ticks(*at);
            let delta = (ticks - before).clamp(i16::MIN.into(), i16::MAX.into());
            before += delta;
            let symbol = if (0..=i64::from(u8::MAX)).contains(&delta) {
                SymbolTypeTcc::PacketReceivedSmallDelta
            } else {
                SymbolTypeTcc::PacketReceivedLargeDelta
            };
            symbols.push(symbol);
            deltas.push(RecvDelta {
                type_tcc_packet: symbol,
                delta: delta * TICK_US,
            });
        }
        let count = self.count;
        self.count = count.wrapping_add(1);
        Some(Box::new(TransportLayerCc {
            sender_ssrc,
            media_ssrc,
            base_sequence_number: (base & 0xFFFF) as u16,
            packet_status_count: symbols.len() as u16,
            reference_time: (reference & 0xFF_FFFF) as u32,
            fb_pkt_count: count,
            packet_chunks: symbols.chunks(SYMBOLS).map(vector).collect(),
            recv_deltas: deltas,
        }))
    }

    fn ticks(&self, at: Instant) -> i64 {
        let since = at.saturating_duration_since(self.origin).as_micros();
        i64::try_from(since).unwrap_or(i64::MAX) / TICK_US
    }
}

fn vector(symbols: &[SymbolTypeTcc]) -> PacketStatusChunk {
    PacketStatusChunk::StatusVectorChunk(StatusVectorChunk {
        type_tcc: StatusChunkTypeTcc::StatusVectorChunk,
        symbol_size: SymbolSizeTypeTcc::TwoBit,
        symbol_list: symbols.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::{Bytes, BytesMut};
    use rtc::shared::marshal::{Marshal, MarshalSize, Unmarshal};

    fn told(packet: &dyn Rtcp) -> (u16, Vec<(u16, bool)>, Vec<i64>) {
        let packet = packet.as_any().downcast_ref::<TransportLayerCc>().unwrap();
        // Through the wire, so that lengths are checked as well.
        let mut bytes = BytesMut::zeroed(packet.marshal_size());
        packet.marshal_to(&mut bytes).unwrap();
        let read = TransportLayerCc::unmarshal(&mut Bytes::from(bytes)).unwrap();
        let mut number = read.base_sequence_number;
        let mut seen = Vec::new();
        for chunk in &read.packet_chunks {
            let PacketStatusChunk::StatusVectorChunk(chunk) = chunk else {
                panic!("a run length");
            };
            for symbol in &chunk.symbol_list {
                seen.push((number, *symbol != SymbolTypeTcc::PacketNotReceived));
                number = number.wrapping_add(1);
            }
        }
        seen.truncate(read.packet_status_count.into());
        let deltas = read.recv_deltas.iter().map(|d| d.delta).collect();
        (read.base_sequence_number, seen, deltas)
    }

    #[test]
    fn arrivals_and_losses_are_told_across_the_wrap() {
        let t0 = Instant::now();
        let ms = Duration::from_millis;
        let mut arrivals = Arrivals::new(t0, 3);
        for (at, number) in [(0, 65_534u16), (2, 65_535), (5, 1), (4, 0), (45, 3)] {
            arrivals.received(t0 + ms(at), 3, &number.to_be_bytes());
        }
        arrivals.received(t0, 4, &[0, 9]);
        arrivals.received(t0, 3, &[1]);
        assert!(
            arrivals.feedback(t0 + ms(20), 1, 2).is_none(),
            "not due yet"
        );
        let packet = arrivals.feedback(t0 + ms(60), 1, 2).unwrap();
        let (base, seen, deltas) = told(packet.as_ref());
        assert_eq!(base, 65_534);
        assert_eq!(
            seen,
            [
                (65_534, true),
                (65_535, true),
                (0, true),
                (1, true),
                (2, false),
                (3, true)
            ]
        );
        assert_eq!(deltas, [0, 2_000, 2_000, 1_000, 40_000]);
        assert_eq!(arrivals.deadline(), None);
        // What is missing between two feedbacks is told by the second.
        arrivals.received(t0 + ms(200), 3, &[0, 6]);
        let packet = arrivals.feedback(t0 + ms(260), 1, 2).unwrap();
        let (base, seen, _) = told(packet.as_ref());
        assert_eq!((base, seen.len()), (4, 3));
    }

    #[test]
    fn any_numbers_make_a_packet_that_fits() {
        let t0 = Instant::now();
        let mut arrivals = Arrivals::new(t0, 1);
        for i in 0..5_000u32 {
            let at = t0 + Duration::from_millis(u64::from(i));
            arrivals.received(at, 1, &(i.wrapping_mul(7919) as u16).to_be_bytes());
            if let Some(packet) = arrivals.feedback(at, 1, 2) {
                assert!(packet.marshal_size() <= 1100, "{}", packet.marshal_size());
                told(packet.as_ref());
            }
        }
    }
}
