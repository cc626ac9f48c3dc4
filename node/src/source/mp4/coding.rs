//! What a sample description of an MP4 file says about the coding.

use bytes::Bytes;
use shiguredo_mp4::boxes::{EsdsBox, SampleEntry};
use shiguredo_mp4::{BaseBox, BoxType};
use symphonia::core::codecs::audio::AudioCodecParameters;
use symphonia::core::codecs::audio::well_known::{CODEC_ID_AAC, CODEC_ID_FLAC, CODEC_ID_MP3};

use crate::source::container::Coding;

/// The coding that a sample description names.
pub(super) fn coding_of(entry: &SampleEntry) -> Coding {
    let foreign = |name: &str| Coding::Foreign(name.to_owned());
    match entry {
        SampleEntry::Avc1(avc) => {
            let config = &avc.avcc_box;
            let sets = config.sps_list.iter().chain(&config.pps_list);
            Coding::H264 {
                length_size: Some(usize::from(config.length_size_minus_one.get()) + 1),
                parameter_sets: sets.map(|set| Bytes::copy_from_slice(set)).collect(),
            }
        }
        SampleEntry::Hev1(_) | SampleEntry::Hvc1(_) => foreign("HEVC (H.265)"),
        SampleEntry::Vp08(_) => Coding::Vp8,
        SampleEntry::Vp09(_) => Coding::Vp9,
        SampleEntry::Av01(av1) => Coding::Av1 {
            configuration: Bytes::copy_from_slice(&av1.av1c_box.config_obus),
        },
        SampleEntry::Opus(opus) => Coding::Opus {
            channels: opus.dops_box.output_channel_count,
        },
        SampleEntry::Mp4a(audio) => {
            mpeg4_audio(&audio.esds_box, audio.audio.samplerate.integer.into())
        }
        SampleEntry::Flac(flac) => match flac.dfla_box.metadata_blocks.first() {
            Some(stream_info) => {
                let mut parameters = AudioCodecParameters::new();
                parameters
                    .for_codec(CODEC_ID_FLAC)
                    .with_extra_data(stream_info.block_data.clone().into());
                Coding::Decodable(Box::new(parameters))
            }
            None => foreign("FLAC without its header"),
        },
        other => Coding::Foreign(foreign_name(other.box_type())),
    }
}

/// The coding of an MPEG-4 sound description; a `rate` of 0 is unknown.
pub(super) fn mpeg4_audio(description: &EsdsBox, rate: u32) -> Coding {
    let config = &description.es.dec_config_descr;
    let mut parameters = AudioCodecParameters::new();
    match (config.object_type_indication, &config.dec_specific_info) {
        // ISO/IEC 14496-1 table 5: MPEG-4 audio and the MPEG-2 AAC profiles.
        (0x40 | 0x66..=0x68, Some(info)) => {
            parameters
                .for_codec(CODEC_ID_AAC)
                .with_extra_data(info.payload.clone().into());
        }
        (0x69 | 0x6b, _) => {
            parameters.for_codec(CODEC_ID_MP3);
        }
        _ => return Coding::Foreign("MPEG-4 audio of an unusual kind".into()),
    }
    if rate > 0 {
        parameters.with_sample_rate(rate);
    }
    Coding::Decodable(Box::new(parameters))
}

fn foreign_name(kind: BoxType) -> String {
    let BoxType::Normal(code) = kind else {
        return "an unknown format".into();
    };
    match &code {
        b"apch" | b"apcn" | b"apcs" | b"apco" | b"ap4h" | b"ap4x" => "ProRes".into(),
        b"ac-3" | b"ec-3" => "Dolby Digital".into(),
        b"mp4v" => "MPEG-4 part 2 video".into(),
        b"dvh1" | b"dvhe" => "Dolby Vision".into(),
        b"jpeg" | b"mjpa" | b"mjpb" => "Motion JPEG".into(),
        b"sowt" | b"twos" | b"lpcm" | b"in24" | b"fl32" | b"ipcm" => "PCM in MP4".into(),
        b"alac" => "Apple Lossless".into(),
        _ => format!("the format {}", code.escape_ascii()),
    }
}
