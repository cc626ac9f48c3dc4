//! Datagrams that look like something and are nothing.

/// The same noise in every run (xorshift64).
pub(crate) struct Noise(u64);

impl Noise {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// 40 to 1239 bytes.
    fn bytes(&mut self) -> Vec<u8> {
        let size = 40 + self.number() as usize % 1200;
        (0..size).map(|_| self.number() as u8).collect()
    }

    /// Nothing at all.
    pub(crate) fn plain(&mut self) -> Vec<u8> {
        self.bytes()
    }

    /// RTP from a source nobody has heard of (RFC 3550 section 5.1).
    pub(crate) fn rtp(&mut self) -> Vec<u8> {
        let mut bytes = self.bytes();
        bytes[..2].copy_from_slice(&[0x80, 96]);
        bytes
    }

    /// A receiver report of a source nobody has heard of (RFC 3550 section 6.4.2).
    pub(crate) fn rtcp(&mut self) -> Vec<u8> {
        let mut bytes = self.bytes();
        bytes[..2].copy_from_slice(&[0x80, 201]);
        bytes
    }

    /// A STUN request (RFC 8489 section 5).
    pub(crate) fn stun(&mut self) -> Vec<u8> {
        let mut bytes = self.bytes();
        bytes[..8].copy_from_slice(&[0, 1, 0, 20, 0x21, 0x12, 0xA4, 0x42]);
        bytes
    }

    /// A record of DTLS 1.2 that nobody can decrypt yet (RFC 6347 section 4.1).
    pub(crate) fn sealed_record(&mut self) -> Vec<u8> {
        let content: Vec<u8> = (0..1100).map(|_| self.number() as u8).collect();
        record(23, 1, self.number(), &content)
    }

    /// A record full of fragments of one handshake message that never ends (RFC 6347 section
    /// 4.2.3): each begins where the one before it ended.
    pub(crate) fn fragments(&mut self, nth: u32) -> Vec<u8> {
        const EACH: u32 = 90;
        let mut content = Vec::new();
        for offset in nth * EACH..(nth + 1) * EACH {
            // A certificate, by its number the very first message.
            content.extend([11, 0, 0, 0, 0, 0]);
            content.extend(&offset.to_be_bytes()[1..]);
            content.extend([0, 0, 1]);
        }
        record(22, 0, self.number(), &content)
    }
}

fn record(kind: u8, epoch: u8, sequence: u64, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind, 0xFE, 0xFD, 0, epoch];
    bytes.extend(&sequence.to_be_bytes()[2..]);
    bytes.extend((content.len() as u16).to_be_bytes());
    bytes.extend(content);
    bytes
}
