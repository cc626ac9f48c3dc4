//! The stream's secret key on disk: who has the file owns the stream.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use data_encoding::BASE32_NOPAD;
use ed25519_dalek::SigningKey;
use rand::Rng;

/// First line of a key file, so that no other file is taken for one.
const HEADER: &str = "banyan stream key 1";

/// Where the key is when the command line does not say.
///
/// # Errors
/// When neither `XDG_CONFIG_HOME` nor `HOME` is set.
pub fn default_path() -> anyhow::Result<PathBuf> {
    let base = std::env::var_os("XDG_CONFIG_HOME")
        .filter(|dir| !dir.is_empty())
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config")))
        .context("no home directory to keep the stream's key in: name a file with --key")?;
    Ok(base.join("banyan").join("stream.key"))
}

/// Reads the key, or makes one where there is none.
///
/// # Errors
/// When the file cannot be read or written, or is no key file.
pub fn load_or_create(path: &Path, rng: &mut impl Rng) -> anyhow::Result<SigningKey> {
    match fs::read_to_string(path) {
        Ok(text) => {
            warn_if_readable_by_others(path);
            parse(&text).with_context(|| format!("the key file {}", path.display()))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => create(path, rng),
        Err(error) => {
            Err(error).with_context(|| format!("the key file {} cannot be read", path.display()))
        }
    }
}

/// Makes a key and writes it to a file that must not exist yet, readable by its owner alone.
///
/// # Errors
/// When the file exists or cannot be written.
pub fn create(path: &Path, rng: &mut impl Rng) -> anyhow::Result<SigningKey> {
    let mut secret = [0; 32];
    rng.fill_bytes(&mut secret);
    let key = SigningKey::from_bytes(&secret);
    if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        fs::create_dir_all(dir)
            .with_context(|| format!("the folder {} cannot be made", dir.display()))?;
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let text = format!(
        "{HEADER}\n{}\n",
        BASE32_NOPAD.encode(&secret).to_ascii_lowercase()
    );
    options
        .open(path)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())
                .and_then(|()| file.sync_all())
        })
        .with_context(|| format!("the key file {} cannot be written", path.display()))?;
    Ok(key)
}

fn parse(text: &str) -> anyhow::Result<SigningKey> {
    let mut lines = text.lines();
    if lines.next() != Some(HEADER) {
        bail!("is no stream key: its first line is not '{HEADER}'");
    }
    let line = lines.next().unwrap_or_default().trim();
    let secret = BASE32_NOPAD
        .decode(line.to_ascii_uppercase().as_bytes())
        .ok()
        .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok())
        .context("is damaged: its second line is not 52 characters of base32")?;
    Ok(SigningKey::from_bytes(&secret))
}

#[cfg(unix)]
fn warn_if_readable_by_others(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    if fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o077 != 0) {
        tracing::warn!(
            "the key file {} can be read by other users of this machine; chmod 600 mends that",
            path.display()
        );
    }
}

#[cfg(not(unix))]
fn warn_if_readable_by_others(_path: &Path) {}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{SeedableRng, rngs::StdRng};

    #[test]
    fn made_once_then_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/stream.key");
        let mut rng = StdRng::seed_from_u64(1);
        let first = load_or_create(&path, &mut rng).unwrap();
        let second = load_or_create(&path, &mut rng).unwrap();
        assert_eq!(first.to_bytes(), second.to_bytes());
        assert!(
            create(&path, &mut rng).is_err(),
            "an existing key is never written over"
        );
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn what_is_no_key_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let mut rng = StdRng::seed_from_u64(1);
        fs::write(&path, "hello\n").unwrap();
        let error = format!("{:#}", load_or_create(&path, &mut rng).unwrap_err());
        assert!(error.contains("no stream key"), "{error}");
        fs::write(&path, format!("{HEADER}\nabc\n")).unwrap();
        let error = format!("{:#}", load_or_create(&path, &mut rng).unwrap_err());
        assert!(error.contains("damaged"), "{error}");
    }
}
