//! The files that the binary carries.

use std::collections::HashMap;
use std::sync::LazyLock;

use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest, Sha256};

/// Written by `build.rs`: name below `web/`, and content.
static FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/assets.rs"));

/// One file as it is served.
pub(super) struct Asset {
    pub(super) body: &'static [u8],
    pub(super) media_type: &'static str,
    /// In quotes.
    pub(super) etag: String,
}

/// The file of this name below `web/`.
pub(super) fn find(name: &str) -> Option<&'static Asset> {
    static ASSETS: LazyLock<HashMap<&'static str, Asset>> = LazyLock::new(|| {
        let asset = |&(name, body): &(&'static str, &'static [u8])| {
            let hash = Sha256::digest(body);
            let etag = format!("\"{}\"", BASE64URL_NOPAD.encode(&hash[..12]));
            let media_type = media_type(name);
            (
                name,
                Asset {
                    body,
                    media_type,
                    etag,
                },
            )
        };
        FILES.iter().map(asset).collect()
    });
    ASSETS.get(name)
}

fn media_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("css") => "text/css; charset=utf-8",
        Some("html") => "text/html; charset=utf-8",
        Some("ico") => "image/x-icon",
        Some("js") => "text/javascript; charset=utf-8",
        Some("png") => "image/png",
        Some("svg") => "image/svg+xml",
        Some("webmanifest") => "application/manifest+json",
        Some("webp") => "image/webp",
        Some("woff2") => "font/woff2",
        _ => "application/octet-stream",
    }
}
