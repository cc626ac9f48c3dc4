//! The bearer token of the WHIP endpoint: who shows it may publish. It is apart from the watch
//! link, and stays the same from day to day.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use data_encoding::BASE32_NOPAD;
use rand::Rng;

/// Sets the token itself, for containers.
pub const VARIABLE: &str = "BANYAN_WHIP_TOKEN";

/// Shortest token that is taken: below it guessing is worth a try.
const MIN_LENGTH: usize = 8;

/// Longest token, so that it fits every client's header field.
const MAX_LENGTH: usize = 256;

/// A bearer token (RFC 6750 section 2.1).
pub struct Token(String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}

impl Token {
    /// The token of this broadcast: what the environment sets, or what is in the file, or a new
    /// one that is written there, readable by its owner alone. Without a name the file lies
    /// beside the stream's key.
    ///
    /// # Errors
    /// When the file cannot be read or written, or what it holds is no token.
    pub fn load(file: Option<&Path>, key_file: &Path, rng: &mut impl Rng) -> anyhow::Result<Self> {
        let set = std::env::var_os(VARIABLE).filter(|text| !text.is_empty());
        if let Some(text) = set
            && file.is_none()
        {
            // What is not Unicode has other characters than a token's as well.
            return Self::parse(&text.to_string_lossy())
                .with_context(|| format!("the variable {VARIABLE}"));
        }
        let beside = PathBuf::from(key_file).with_extension("whip-token");
        let path = file.unwrap_or(&beside);
        match fs::read_to_string(path) {
            Ok(text) => Self::parse(&text),
            Err(error) if error.kind() == ErrorKind::NotFound => Self::create(path, rng),
            Err(error) => Err(error).context("it cannot be read"),
        }
        .with_context(|| format!("the token file {}", path.display()))
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let text = text.trim();
        let letter = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b);
        if !text.bytes().all(letter) {
            bail!("a token has letters, digits and - . _ ~ + / = alone");
        }
        if !(MIN_LENGTH..=MAX_LENGTH).contains(&text.len()) {
            bail!("a token has {MIN_LENGTH} to {MAX_LENGTH} characters");
        }
        Ok(Self(text.to_owned()))
    }

    fn create(path: &Path, rng: &mut impl Rng) -> anyhow::Result<Self> {
        let mut secret = [0; 20];
        rng.fill_bytes(&mut secret);
        let token = BASE32_NOPAD.encode(&secret).to_ascii_lowercase();
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options
            .open(path)
            .and_then(|mut file| writeln!(file, "{token}"))
            .context("it cannot be written")?;
        Ok(Self(token))
    }

    /// The token itself, for its owner's eyes.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether `shown` is this token, in a time that does not tell how much of it is right.
    pub fn is(&self, shown: &str) -> bool {
        let (own, shown) = (self.0.as_bytes(), shown.as_bytes());
        let differences = own.iter().zip(shown).fold(0, |all, (a, b)| all | (a ^ b));
        std::hint::black_box(differences) == 0 && own.len() == shown.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{SeedableRng, rngs::StdRng};

    #[test]
    fn made_once_then_the_same_and_shown_to_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let key = dir.path().join("stream.key");
        let mut rng = StdRng::seed_from_u64(1);
        let first = Token::load(None, &key, &mut rng).unwrap();
        let second = Token::load(None, &key, &mut rng).unwrap();
        assert_eq!(first.reveal(), second.reveal());
        assert_eq!(first.reveal().len(), 32);
        assert!(first.is(second.reveal()));
        assert!(!first.is(&first.reveal()[1..]) && !first.is("") && !first.is("wrong-token"));
        assert_eq!(format!("{first:?}"), "Token(..)");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let file = dir.path().join("stream.whip-token");
            let mode = fs::metadata(file).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn what_is_no_token_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        let mut rng = StdRng::seed_from_u64(1);
        for (text, word) in [("short", "characters"), ("two words here", "letters")] {
            fs::write(&file, text).unwrap();
            let error = Token::load(Some(&file), &file, &mut rng).unwrap_err();
            assert!(format!("{error:#}").contains(word), "{error:#}");
        }
    }
}
