//! Files that are not what they seem.

use super::*;

#[test]
fn bad_files() {
    let open = |path: &Path| Source::open_with(path, Playback::Once, None).unwrap_err();
    let missing = open(&media("no-such-file.mp4"));
    assert!(
        missing.to_string().contains("opened: No such file"),
        "{missing}"
    );
    assert!(matches!(
        open(&media("formats")),
        SourceError::Unreadable { .. }
    ));
    assert!(matches!(
        open(&media("README.md")),
        SourceError::NotMedia { .. }
    ));
    assert!(matches!(
        open(&scratch("empty.mp4", b"")),
        SourceError::NotMedia { .. }
    ));

    let clip = std::fs::read(media("clip.mp4")).unwrap();
    let cut = scratch("cut.mp4", &clip[..clip.len() / 2]);
    assert!(matches!(open(&cut), SourceError::Truncated { .. }));
    // Here the index is at the end.
    let whole = std::fs::read(media("formats/h264-main-opus.mp4")).unwrap();
    let cut = scratch("cut-index.mp4", &whole[..whole.len() - 100]);
    assert!(matches!(open(&cut), SourceError::Truncated { .. }));
    let cut = scratch("no-index.mp4", &whole[..32]);
    assert!(matches!(open(&cut), SourceError::NoIndex), "{}", open(&cut));
    let webm = std::fs::read(media("clip.webm")).unwrap();
    let cut = scratch("cut.webm", &webm[..webm.len() / 2]);
    assert!(matches!(open(&cut), SourceError::Truncated { .. }));

    let noise: Vec<u8> = (0..5000u32).map(|n| (n * n / 7) as u8).collect();
    let mut odd = b"\0\0\0\x18ftypisom\0\0\0\0isomavc1".to_vec();
    odd.extend(&noise);
    let error = open(&scratch("noise.mp4", &odd));
    assert!(!error.to_string().is_empty());
    let mut odd = webm[..200].to_vec();
    odd.extend(&noise);
    let _ = Source::open_with(&scratch("noise.webm", &odd), Playback::Once, None);
}

#[test]
fn damaged_files_never_panic() {
    for name in [
        "formats/h264-main-opus.mp4",
        "formats/av1-opus.webm",
        "formats/vp9-opus.webm",
    ] {
        let whole = std::fs::read(media(name)).unwrap();
        for seed in 0..40usize {
            let mut damaged = whole.clone();
            for step in 0..12 {
                let at = (seed * 7919 + step * 104_729) % damaged.len();
                damaged[at] ^= (seed * 31 + step * 17) as u8 | 1;
            }
            let path = scratch("damaged", &damaged);
            let Ok(mut source) = Source::open_with(&path, Playback::Once, None) else {
                continue;
            };
            let mut cut = Packetizer::new(source.tracks()[0].codec);
            for _ in 0..400 {
                match source.next_frame() {
                    Ok(Some(frame)) => {
                        let _ = cut.packetize(&frame.data, frame.key);
                    }
                    _ => break,
                }
            }
        }
    }
}
