//! STUN and TURN servers as an operator names them.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use banyan::wire::tracker::IceServer;
use percent_encoding::percent_decode_str;

/// `stun:HOST:PORT` (RFC 7064) or `turn:HOST:PORT?transport=udp` (RFC 7065), for TURN with
/// `USER:PASSWORD@` before the host. What would be misread in user or password, such as `:`, `@`
/// or `,`, is percent-encoded.
#[derive(Clone, PartialEq, Eq)]
pub struct IceServerUrl {
    url: String,
    login: Option<(String, String)>,
}

impl IceServerUrl {
    /// The text with the password left out.
    pub fn discreet(&self) -> String {
        match (&self.login, self.url.split_once(':')) {
            (Some((user, _)), Some((scheme, host))) => format!("{scheme}:{user}:***@{host}"),
            _ => self.url.clone(),
        }
    }
}

// Not derived: a log line must never hold the password.
impl fmt::Debug for IceServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.discreet())
    }
}

const EXPECTED: &str = "expected stun:HOST:PORT or turn:USER:PASSWORD@HOST:PORT";

impl FromStr for IceServerUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text.split_once(':').ok_or(EXPECTED)?;
        if !matches!(scheme, "stun" | "stuns" | "turn" | "turns") {
            return Err(EXPECTED.to_owned());
        }
        let (login, host) = match rest.rsplit_once('@') {
            Some((login, host)) => (Some(login), host),
            None => (None, rest),
        };
        if host.is_empty() || host.starts_with(['/', ':', '?']) {
            return Err(EXPECTED.to_owned());
        }
        let login = match login.map(|login| login.split_once(':')) {
            None => None,
            Some(Some((user, password))) if scheme.starts_with("turn") => {
                Some((decoded(user)?, decoded(password)?))
            }
            Some(_) => return Err(EXPECTED.to_owned()),
        };
        Ok(Self {
            url: format!("{scheme}:{host}"),
            login,
        })
    }
}

fn decoded(text: &str) -> Result<String, String> {
    percent_decode_str(text)
        .decode_utf8()
        .map(Cow::into_owned)
        .map_err(|_| "user or password is not UTF-8".to_owned())
}

impl From<IceServerUrl> for IceServer {
    fn from(server: IceServerUrl) -> Self {
        let (username, credential) = server.login.unzip();
        Self {
            urls: vec![server.url],
            username,
            credential,
        }
    }
}

/// The URL of a TURN server whose passwords this tracker makes.
pub(super) fn turn_url(text: &str) -> Result<String, String> {
    let server: IceServerUrl = text.parse()?;
    if server.login.is_some() || !server.url.starts_with("turn") {
        return Err(
            "expected turn:HOST:PORT without a password; one with a password is an ice-server"
                .to_owned(),
        );
    }
    Ok(server.url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_told_apart_and_never_printed() {
        let url: IceServerUrl = "turn:me:a%2Cb%40c@t.example:3478?transport=udp"
            .parse()
            .unwrap();
        assert_eq!(
            format!("{url:?}"),
            "turn:me:***@t.example:3478?transport=udp"
        );
        let server = IceServer::from(url);
        assert_eq!(server.urls, ["turn:t.example:3478?transport=udp"]);
        assert_eq!(server.username.as_deref(), Some("me"));
        assert_eq!(server.credential.as_deref(), Some("a,b@c"));
        let plain: IceServerUrl = "stun:s.example".parse().unwrap();
        assert_eq!(IceServer::from(plain).credential, None);
    }

    #[test]
    fn a_turn_server_with_made_passwords_has_none_in_its_url() {
        let url = "turn:t.example:3478?transport=tcp";
        assert_eq!(turn_url(url).as_deref(), Ok(url));
        for bad in ["turn:me:secret@t.example", "stun:t.example", "t.example"] {
            assert!(turn_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_no_server_is_told() {
        for bad in [
            "",
            "http://x",
            "stun:",
            "stun://host",
            "turn:user@host",
            "stun:a:b@host",
            "turn:u:p@",
        ] {
            assert!(bad.parse::<IceServerUrl>().is_err(), "{bad}");
        }
    }
}
