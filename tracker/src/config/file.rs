//! The TOML file.

use std::path::Path;

use super::{ConfigError, Settings};

/// Reads a TOML file of settings.
///
/// # Errors
/// [`ConfigError::Read`] or [`ConfigError::File`]; the latter names file, line and key.
pub fn read_file(path: &Path) -> Result<Settings, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })?;
    toml::from_str(&text).map_err(|error| ConfigError::File {
        path: path.to_owned(),
        message: error.to_string().trim_end().to_owned(),
    })
}

impl Settings {
    /// These settings as the text of a TOML file.
    ///
    /// # Errors
    /// A sentence, if a value has no form in TOML; a path that is not UTF-8 has none.
    pub fn to_toml(&self) -> Result<String, String> {
        toml::to_string(self).map_err(|error| error.to_string())
    }
}
