//! Sound in AAC, MP3, FLAC, Vorbis or PCM, encoded anew as Opus: 48 kHz, 20 ms.

use bytes::Bytes;
use ropus::{Application, Bitrate, Channels, Encoder};
use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{
    Async, FixedAsync, Resampler, SincInterpolationParameters, SincInterpolationType,
    WindowFunction,
};
use symphonia::core::audio::GenericAudioBufferRef;
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia::core::packet::PacketBuilder;
use symphonia::core::units::{Duration, Timestamp};

use super::container::Sample;

const RATE: u32 = 48_000;

/// Samples in an Opus packet: 20 ms.
pub(super) const FRAME: usize = 960;

/// Bits per second for each channel: transparent for most music in stereo.
const BITRATE: u32 = 56_000;

/// A break in the times of the file is believed, rather than taken for rounding, from here on.
const BREAK: i64 = 5_000_000;

/// Longest silence that fills a break, in nanoseconds.
const MAX_SILENCE: i64 = 60_000_000_000;

/// Input frames per call of the resampler.
const CHUNK: usize = 512;

type Decoder = Box<dyn AudioDecoder>;

fn decoder(parameters: &AudioCodecParameters) -> Result<Decoder, String> {
    symphonia::default::get_codecs()
        .make_audio_decoder(parameters, &AudioDecoderOptions::default())
        .map_err(|error| format!("cannot be decoded here ({error})"))
}

/// How many channels the Opus track will have, or why the sound cannot be decoded.
pub(super) fn channels(
    parameters: &AudioCodecParameters,
    first: Option<&Sample>,
) -> Result<usize, String> {
    let mut decoder = decoder(parameters)?;
    let Some(first) = first else {
        return Ok(2);
    };
    let decoded = decode(&mut decoder, first)
        .ok_or("cannot be decoded here (its first packet is malformed)")?;
    match decoded.spec().channels().count() {
        count @ (1 | 2) => Ok(count),
        count => Err(format!("has {count} channels")),
    }
}

fn decode<'a>(decoder: &'a mut Decoder, sample: &Sample) -> Option<GenericAudioBufferRef<'a>> {
    let packet = PacketBuilder::new()
        .track_id(0)
        .pts(Timestamp::new(0))
        .dur(Duration::new(0))
        .trim_start(Duration::new(sample.trim.0))
        .trim_end(Duration::new(sample.trim.1))
        .data(&sample.data[..])
        .build();
    decoder.decode(&packet).ok()
}

/// One packet of the new track.
pub(super) struct Encoded {
    /// When it is presented, in nanoseconds on the time line of the samples that went in.
    pub(super) pts: i64,
    pub(super) data: Bytes,
}

/// Decodes, resamples and encodes one track without a break, however often its file starts again.
pub(super) struct Transcoder {
    parameters: AudioCodecParameters,
    decoder: Decoder,
    /// Made for the rate and channels of the first decoded sound.
    encoding: Option<Encoding>,
}

struct Encoding {
    rate: u32,
    channels: usize,
    resampler: Option<Resample>,
    encoder: Encoder,
    /// Time of the first sample that went in.
    start: i64,
    /// Frames that went in, silence included.
    taken: u64,
    /// Sound at 48 kHz that is not encoded yet, interleaved.
    waiting: Vec<f32>,
    /// Packets that came out.
    packets: u64,
}

impl Transcoder {
    pub(super) fn new(parameters: &AudioCodecParameters) -> Result<Self, String> {
        Ok(Self {
            parameters: parameters.clone(),
            decoder: decoder(parameters)?,
            encoding: None,
        })
    }

    /// Takes a sample whose sound begins at `pts` of the unbroken time line, of which the first
    /// `skip` nanoseconds are not heard.
    pub(super) fn push(&mut self, sample: &Sample, pts: i64, skip: i64) -> Vec<Encoded> {
        let Some(decoded) = decode(&mut self.decoder, sample) else {
            // A damaged packet becomes silence, by the break it leaves.
            return Vec::new();
        };
        let (rate, channels) = (decoded.spec().rate(), decoded.spec().channels().count());
        let mut sound: Vec<f32> = Vec::new();
        decoded.copy_to_vec_interleaved(&mut sound);
        if sound.is_empty() || rate == 0 {
            return Vec::new();
        }
        if self.encoding.is_none() {
            self.encoding = Encoding::new(rate, channels, pts + skip);
        }
        let Some(encoding) = &mut self.encoding else {
            return Vec::new();
        };
        if (rate, channels) != (encoding.rate, encoding.channels) {
            return Vec::new();
        }
        let skipped = frames(skip, rate) * channels;
        sound.drain(..skipped.min(sound.len()));
        encoding.take(sound, pts + skip);
        encoding.encode()
    }

    /// The file starts again.
    pub(super) fn restart(&mut self) {
        match decoder(&self.parameters) {
            Ok(fresh) => self.decoder = fresh,
            Err(_) => self.decoder.reset(),
        }
    }

    /// After the last sample: what is left, filled up with silence.
    pub(super) fn finish(&mut self) -> Vec<Encoded> {
        let Some(encoding) = &mut self.encoding else {
            return Vec::new();
        };
        // The tail in the resampler and the encoder is shorter than two frames.
        let silence = frames(40_000_000, encoding.rate) * encoding.channels;
        encoding.feed(&vec![0.0; silence]);
        encoding.encode()
    }

    /// How much earlier than its sound a packet is presented, in nanoseconds.
    pub(super) fn lookahead() -> i64 {
        // RFC 7845 section 4.2 calls it pre-skip; 6.5 ms in this mode of the encoder.
        6_500_000
    }
}

fn frames(nanos: i64, rate: u32) -> usize {
    let frames = i128::from(nanos) * i128::from(rate) / 1_000_000_000;
    usize::try_from(frames).unwrap_or(0)
}

impl Encoding {
    fn new(rate: u32, channels: usize, start: i64) -> Option<Self> {
        let layout = match channels {
            1 => Channels::Mono,
            2 => Channels::Stereo,
            _ => return None,
        };
        let encoder = Encoder::builder(RATE, layout, Application::Audio)
            .bitrate(Bitrate::Bits(BITRATE * channels as u32))
            .build()
            .ok()?;
        let resampler = if rate == RATE {
            None
        } else {
            Some(Resample::new(rate, channels)?)
        };
        Some(Self {
            rate,
            channels,
            resampler,
            encoder,
            start,
            taken: 0,
            waiting: Vec::new(),
            packets: 0,
        })
    }

    /// Where the sound that went in so far ends.
    fn end(&self) -> i64 {
        let nanos = i128::from(self.taken) * 1_000_000_000 / i128::from(self.rate);
        self.start + i64::try_from(nanos).unwrap_or(i64::MAX / 2)
    }

    /// Adds sound that begins at `pts`, with silence in front of it or without its beginning where
    /// the times of the file say so.
    fn take(&mut self, mut sound: Vec<f32>, pts: i64) {
        let gap = pts - self.end();
        if gap > BREAK {
            let silence = frames(gap.min(MAX_SILENCE), self.rate) * self.channels;
            self.feed(&vec![0.0; silence]);
        } else if gap < -BREAK {
            let heard = frames(-gap, self.rate) * self.channels;
            sound.drain(..heard.min(sound.len()));
        }
        self.feed(&sound);
    }

    fn feed(&mut self, sound: &[f32]) {
        self.taken += (sound.len() / self.channels) as u64;
        match &mut self.resampler {
            Some(resampler) => resampler.push(sound, &mut self.waiting),
            None => self.waiting.extend_from_slice(sound),
        }
    }

    fn encode(&mut self) -> Vec<Encoded> {
        let size = FRAME * self.channels;
        let mut packets = Vec::new();
        let mut buffer = [0; 1275];
        let whole = self.waiting.len() / size;
        for frame in self.waiting.chunks_exact(size).take(whole) {
            let at = self.packets as i64 * 20_000_000;
            self.packets += 1;
            let Ok(length) = self.encoder.encode_float(frame, &mut buffer) else {
                continue;
            };
            packets.push(Encoded {
                pts: self.start + at - Transcoder::lookahead(),
                data: Bytes::copy_from_slice(&buffer[..length]),
            });
        }
        self.waiting.drain(..whole * size);
        packets
    }
}

/// Converts the sampling rate, without adding a delay.
struct Resample {
    inner: Async<f32>,
    channels: usize,
    input: Vec<f32>,
    /// Frames of the filter's own delay that are still to be dropped.
    delay: usize,
}

impl Resample {
    fn new(rate: u32, channels: usize) -> Option<Self> {
        let parameters = SincInterpolationParameters::new(128, WindowFunction::BlackmanHarris2)
            .oversampling_factor(160)
            .interpolation(SincInterpolationType::Linear);
        let ratio = f64::from(RATE) / f64::from(rate);
        let inner =
            Async::new_sinc(ratio, 1.0, &parameters, CHUNK, channels, FixedAsync::Input).ok()?;
        let delay = inner.output_delay();
        Some(Self {
            inner,
            channels,
            input: Vec::new(),
            delay,
        })
    }

    fn push(&mut self, sound: &[f32], out: &mut Vec<f32>) {
        self.input.extend_from_slice(sound);
        let size = CHUNK * self.channels;
        let whole = self.input.len() / size;
        for chunk in self.input.chunks_exact(size).take(whole) {
            let Ok(adapter) = InterleavedSlice::new(chunk, self.channels, CHUNK) else {
                continue;
            };
            let Ok(converted) = self.inner.process(&adapter, None) else {
                continue;
            };
            let converted = converted.take_data();
            let dropped = self.delay.min(converted.len() / self.channels);
            self.delay -= dropped;
            out.extend_from_slice(&converted[dropped * self.channels..]);
        }
        self.input.drain(..whole * size);
    }
}
