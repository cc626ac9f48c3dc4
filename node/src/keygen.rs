//! `banyan keygen`: a new stream's key file.

use banyan::wire::announcement::stream_id;

use crate::config::Keygen;
use crate::stream_key;

/// Writes the key and prints the stream's id.
///
/// # Errors
/// When the file exists or cannot be written.
pub fn run(options: &Keygen) -> anyhow::Result<()> {
    let key = stream_key::create(&options.file, &mut rand::rng())?;
    println!("{}", stream_id(&key));
    Ok(())
}
