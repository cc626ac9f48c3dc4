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

#[cfg(test)]
#[path = "../../../build/slim.rs"]
mod slim;

#[cfg(test)]
mod tests {
    use super::*;

    /// Most bytes that a browser may load of all pages together, before compression.
    const HEAVIEST: usize = 150 * 1024;

    #[test]
    fn all_pages_together_are_light() {
        let bytes: usize = FILES.iter().map(|(_, body)| body.len()).sum();
        assert!(bytes < HEAVIEST, "{bytes} bytes");
    }

    #[test]
    fn what_only_authors_read_is_left_out() {
        let script = "/**\n * Adds.\n * @param {number} a\n */\nfunction f(a) {\n  // why\n  \
            /** @type {A} */ (a).b = \"// no\"; // after\n  return `${a}`;\n}\n";
        let left = "\n\n\n\nfunction f(a) {\n\n/** @type {A} */ (a).b = \"// no\"; // after\n\
            return `${a}`;\n}\n";
        assert_eq!(slim::slim(script, true), left);
        let style = "/* one */\na {\n  background: url(\n    //b/c);\n}\n";
        let left = "\na {\nbackground: url(\n//b/c);\n}\n";
        assert_eq!(slim::slim(style, false), left);
    }

    #[test]
    fn text_over_several_lines_stays_as_it_is() {
        let script = "  // one\n  const text = `\n    // two\n`;\n";
        assert_eq!(slim::slim(script, true), script);
    }
}
