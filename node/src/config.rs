//! What the command line, the environment and defaults say.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use banyan::id::StreamId;
use banyan::limits::MAX_TITLE;
use banyan_operator::config::{self, Options};
use banyan_operator::manual::Manual;
use clap::{Args, Parser, Subcommand};
use url::Url;

use crate::demo;
use crate::embedded_tracker::{self, Settings as TrackerSettings};
use crate::load::options::Load;
use crate::whip_token;

/// Peer-to-peer live video: broadcast, watch or help to carry a stream.
///
/// Every flag can also be given as an environment variable BANYAN_..., or in the file named by
/// --config; a flag wins over the environment, the environment over the file.
#[derive(Debug, Parser)]
#[command(name = "banyan", version, propagate_version = true)]
pub struct Cli {
    /// What every program takes.
    #[command(flatten)]
    pub options: Options,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// How the settings of `banyan` are layered.
pub const LAYERS: config::Settings = config::Settings {
    prefix: "BANYAN_",
    // What a tracker inside a broadcast shares with it; the tests'; the converter; the publisher's
    // token, which is no setting, so that nothing prints it; the demo's word to its relays.
    foreign: &[
        "BANYAN_TRACKER_CONFIG",
        "BANYAN_TRACKER_LOG",
        "BANYAN_TEST_",
        "BANYAN_SEED",
        "BANYAN_FFMPEG",
        whip_token::VARIABLE,
        demo::FOLLOW_STDIN,
        demo::NODE,
    ],
    shown: embedded_tracker::shown,
};

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a broadcast and print its watch link.
    Broadcast(Box<Broadcast>),
    /// Watch a stream: record it, and pass it on to others.
    Watch(Viewer),
    /// Pass a stream on to others without watching it.
    Relay(Viewer),
    /// Join a stream with many standard players (WHEP), and report how they fare.
    Load(Load),
    /// Check whether this machine can take part, and tell what would help.
    Check(Check),
    /// Draw the living tree of a stream in the terminal: who feeds whom, and how well.
    Top(Top),
    /// Make the key file of a new stream and print the stream's id.
    Keygen(Keygen),
    /// Manual pages and completions.
    #[command(flatten)]
    Manual(Manual),
}

/// Options of `broadcast`.
#[derive(Debug, Args)]
pub struct Broadcast {
    /// The file to play: MP4, MKV or WebM, or anything the `ffmpeg` on PATH reads. Without one,
    /// OBS, ffmpeg or a browser publishes to the WHIP address that is printed.
    #[arg(conflicts_with = "demo")]
    pub file: Option<PathBuf>,
    /// Play the bundled clip in a loop and start six relays beside it, so that there is a mesh to
    /// look at. A click on a relay on the watch page kills it.
    #[arg(long)]
    pub demo: bool,
    /// Begin the file again when it ends.
    #[arg(long = "loop")]
    pub looped: bool,
    /// Use this tracker instead of starting one in this process.
    #[arg(long, value_name = "URL", value_parser = parse_tracker)]
    pub tracker: Option<Url>,
    /// The stream's secret key; made when it does not exist. The same key is the same watch link.
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// The bearer token for publishers, made when the file does not exist [default: beside the
    /// stream's key]. The variable BANYAN_WHIP_TOKEN sets the token itself.
    #[arg(long, value_name = "FILE")]
    pub whip_token_file: Option<PathBuf>,
    /// What the watch page calls the stream.
    #[arg(long, value_name = "TEXT", default_value = "",
          value_parser = parse_title)]
    pub title: String,
    /// Show the stream on the tracker's front page.
    #[arg(long)]
    pub listed: bool,
    /// Options of every node.
    #[command(flatten)]
    pub node: NodeOptions,
    /// Options of the tracker in this process.
    #[command(flatten)]
    pub embedded: TrackerSettings,
}

/// Options of `watch` and `relay`.
#[derive(Debug, Args)]
pub struct Viewer {
    /// The watch link: https://TRACKER/watch/STREAM
    #[arg(value_parser = WatchLink::from_str)]
    pub link: WatchLink,
    /// Options of every node.
    #[command(flatten)]
    pub node: NodeOptions,
}

/// Options of `check`.
#[derive(Debug, Args)]
pub struct Check {
    /// The tracker to call, or a watch link.
    #[arg(value_parser = parse_tracker_or_link)]
    pub tracker: Option<Url>,
    /// UDP address whose way to the world is checked [default: port 7144, or the next free one].
    #[arg(long, value_name = "ADDR")]
    pub udp: Option<SocketAddr>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Options of `top`.
#[derive(Debug, Args)]
pub struct Top {
    /// The watch link: https://TRACKER/watch/STREAM
    #[arg(value_parser = WatchLink::from_str)]
    pub link: WatchLink,
    /// Print the tree once, as plain text, and end. So it is wherever standard output is no terminal.
    #[arg(long)]
    pub once: bool,
}

/// Options of `keygen`.
#[derive(Debug, Args)]
pub struct Keygen {
    /// Where to write the key; the file must not exist.
    pub file: PathBuf,
}

/// Options of every node.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Node")]
pub struct NodeOptions {
    /// UDP address for media; `[::]:PORT` is every address of both families [default: port 7144
    /// for broadcast, any free one else].
    #[arg(long, value_name = "ADDR")]
    pub udp: Option<SocketAddr>,
    /// HTTP address for /whep (standard players), /healthz, /readyz, /metrics and, in a broadcast
    /// without a file, /whip. Publishers show a token, all else is open to whoever reaches the
    /// address [default: off; 0.0.0.0:7145 or the next free port in a broadcast without a file].
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// An address others reach this node at, when the machine does not have it itself.
    #[arg(long, value_name = "IP")]
    pub public_addr: Option<IpAddr>,
    /// Most bits per second to send, like 800k, 5M or 1.5G.
    #[arg(long, value_name = "RATE", value_parser = parse_rate)]
    pub max_upload: Option<u64>,
    /// Most children to serve [default: 8].
    #[arg(long, value_name = "N",
          value_parser = clap::value_parser!(u16).range(0..=1000))]
    pub max_children: Option<u16>,
    /// Record what is received (or broadcast): .webm for VP8, VP9 and AV1, .mp4 for H.264, .mkv
    /// for any.
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// Write a line of statistics as JSON each second.
    #[arg(long, value_name = "FILE")]
    pub stats: Option<PathBuf>,
    /// Write a line for each packet in its final order: epoch, track, extended sequence number,
    /// RTP timestamp, marker, payload length, hash. For finding faults.
    #[arg(long, value_name = "FILE")]
    pub packet_log: Option<PathBuf>,
}

/// A watch link, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchLink {
    /// The tracker's address, with the path of a proxy before `/watch`.
    pub tracker: Url,
    /// The stream.
    pub stream: StreamId,
}

impl FromStr for WatchLink {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut tracker = parse_tracker(text)?;
        let path = tracker.path().trim_end_matches('/').to_owned();
        let (front, id) = path
            .rsplit_once('/')
            .ok_or("a watch link looks like https://TRACKER/watch/STREAM")?;
        let prefix = front
            .strip_suffix("/watch")
            .or_else(|| front.strip_suffix("/embed"))
            .ok_or("a watch link looks like https://TRACKER/watch/STREAM")?;
        let stream = id
            .parse()
            .map_err(|e| format!("the end of the link is no stream: {e}"))?;
        let prefix = format!("{prefix}/");
        tracker.set_path(&prefix);
        Ok(Self { tracker, stream })
    }
}

/// A tracker's address: `http` or `https`, with a host.
fn parse_tracker(text: &str) -> Result<Url, String> {
    let mut url = Url::parse(text).map_err(|e| format!("not a URL: {e}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!(
            "a link begins with http:// or https://, this one with {}:",
            url.scheme()
        ));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err("the link names no host".into());
    }
    url.set_query(None);
    url.set_fragment(None);
    if !url.path().ends_with('/') {
        // What is relative to it lies below it.
        let folder = format!("{}/", url.path());
        url.set_path(&folder);
    }
    Ok(url)
}

/// A tracker's address, or that of a watch link's tracker.
fn parse_tracker_or_link(text: &str) -> Result<Url, String> {
    match text.parse::<WatchLink>() {
        Ok(link) => Ok(link.tracker),
        Err(_) => parse_tracker(text),
    }
}

/// A title that every tracker takes.
fn parse_title(text: &str) -> Result<String, String> {
    if text.len() > MAX_TITLE {
        return Err(format!(
            "{} bytes long, at most {MAX_TITLE} fit",
            text.len()
        ));
    }
    Ok(text.to_owned())
}

/// Bits per second with a decimal suffix.
fn parse_rate(text: &str) -> Result<u64, String> {
    let (number, factor) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (&text[..at], 1e3),
        Some((at, 'm' | 'M')) => (&text[..at], 1e6),
        Some((at, 'g' | 'G')) => (&text[..at], 1e9),
        _ => (text, 1.0),
    };
    let value: f64 = number
        .parse()
        .map_err(|_| format!("'{text}' is no rate like 800k, 5M or 1.5G"))?;
    if !value.is_finite() || value < 0.0 {
        return Err(format!("'{text}' is no rate like 800k, 5M or 1.5G"));
    }
    Ok((value * factor) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn a_watch_link_is_taken_apart() {
        let id = StreamId::from_bytes([3; 32]);
        let link: WatchLink = format!("https://x.example:8443/watch/{id}?a=1#b")
            .parse()
            .unwrap();
        assert_eq!(link.tracker.as_str(), "https://x.example:8443/");
        assert_eq!(link.stream, id);
        let link: WatchLink = format!("http://[::1]:80/tv/embed/{id}/").parse().unwrap();
        assert_eq!(link.tracker.as_str(), "http://[::1]/tv/");
        assert_eq!(
            parse_tracker("https://x.example/tv?a#b").unwrap().as_str(),
            "https://x.example/tv/"
        );
    }

    #[test]
    fn what_is_no_watch_link_is_told_apart() {
        let error = |text: &str| text.parse::<WatchLink>().unwrap_err();
        assert!(error("nonsense").contains("not a URL"));
        assert!(error("ftp://host/watch/x").contains("http://"));
        assert!(error("http://host/").contains("watch link looks like"));
        assert!(error("http://host/watch/abc").contains("52 characters"));
    }

    #[test]
    fn rates_have_suffixes() {
        assert_eq!(parse_rate("800k"), Ok(800_000));
        assert_eq!(parse_rate("2.5M"), Ok(2_500_000));
        assert_eq!(parse_rate("1G"), Ok(1_000_000_000));
        assert!(parse_rate("fast").is_err());
        assert!(parse_rate("-1M").is_err());
    }
}
