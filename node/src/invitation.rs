//! What a broadcaster shows to viewers: the watch link, on this machine, in the LAN, as QR code.

use std::io::{IsTerminal, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use banyan::id::StreamId;
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;
use url::{Host, Url};

/// The watch link of a stream at a tracker.
pub fn watch_link(tracker: &Url, stream: &StreamId) -> String {
    format!("{}/watch/{stream}", tracker.as_str().trim_end_matches('/'))
}

/// Where a publisher goes, and what it shows there.
#[derive(Clone, Copy)]
pub struct Publish<'a> {
    /// Where the HTTP server listens.
    pub listen: SocketAddr,
    /// The bearer token.
    pub token: &'a str,
}

/// The WHIP address that other machines of the local network reach, where they can.
fn whip_url(listen: SocketAddr) -> String {
    let loopback = match listen.ip() {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    };
    let host = if listen.ip().is_unspecified() {
        lan_address().unwrap_or(loopback)
    } else {
        listen.ip()
    };
    format!("http://{}/whip", SocketAddr::new(host, listen.port()))
}

/// Prints the first lines of a broadcast: links for programs and people, then for phones.
///
/// # Errors
/// When stdout cannot be written.
pub fn print(
    tracker: &Url,
    stream: &StreamId,
    lan: Option<&Url>,
    publish: Option<&Publish<'_>>,
) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let watch = watch_link(tracker, stream);
    writeln!(out, "watch: {watch}")?;
    writeln!(out, "tracker: {}", tracker.as_str().trim_end_matches('/'))?;
    if let Some(publish) = publish {
        writeln!(out, "whip: {}", whip_url(publish.listen))?;
        writeln!(out, "token: {}", publish.token)?;
    }
    let mut shown = watch;
    if let Some(lan) = lan {
        shown = watch_link(lan, stream);
        writeln!(out, "lan: {shown}")?;
    }
    if out.is_terminal()
        && let Ok(code) = QrCode::new(shown.as_bytes())
    {
        let picture = code.render::<Dense1x2>().quiet_zone(true).build();
        writeln!(
            out,
            "\n{picture}\n\nScan the code to watch on a phone in the same network."
        )?;
    }
    out.flush()
}

/// The same tracker as other machines of the local network reach it, when its URL is of this
/// machine alone and it listens on every address.
pub fn lan_url(tracker: &Url, listen: SocketAddr) -> Option<Url> {
    let local = match tracker.host()? {
        Host::Domain(name) => name == "localhost",
        Host::Ipv4(ip) => ip.is_loopback(),
        Host::Ipv6(ip) => ip.is_loopback(),
    };
    if !local || !listen.ip().is_unspecified() {
        return None;
    }
    let mut url = tracker.clone();
    url.set_ip_host(lan_address()?).ok()?;
    Some(url)
}

/// The address this machine would send from towards the internet. Connecting a UDP socket picks a
/// route and sends nothing.
fn lan_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // 192.0.2.1 is of TEST-NET-1 (RFC 5737): nobody's address.
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_unspecified() && !ip.is_loopback()).then_some(ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_keep_a_proxys_path() {
        let stream = StreamId::from_bytes([0; 32]);
        let tracker = Url::parse("https://tv.example/live/").unwrap();
        assert_eq!(
            watch_link(&tracker, &stream),
            format!("https://tv.example/live/watch/{stream}")
        );
    }

    #[test]
    fn a_public_tracker_needs_no_lan_link() {
        let any = SocketAddr::from(([0, 0, 0, 0], 8080));
        assert_eq!(
            lan_url(&Url::parse("https://tv.example/").unwrap(), any),
            None
        );
        let loopback = SocketAddr::from(([127, 0, 0, 1], 8080));
        assert_eq!(
            lan_url(&Url::parse("http://127.0.0.1:8080/").unwrap(), loopback),
            None
        );
    }
}
