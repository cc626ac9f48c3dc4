//! Lists the files of `web/` for `src/http/pages/assets.rs`, so that the binary carries them.

#[path = "build/slim.rs"]
mod slim;

use std::error::Error;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// What a browser loads; anything else beside the pages is for those who write them.
const SERVED: [&str; 9] = [
    "css",
    "html",
    "ico",
    "js",
    "png",
    "svg",
    "webmanifest",
    "webp",
    "woff2",
];

/// Directories of `web/` that are not served.
const NOT_SERVED: [&str; 3] = ["node_modules", "tests", "types"];

fn main() -> Result<(), Box<dyn Error>> {
    let web = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../web");
    println!("cargo::rerun-if-changed={}", web.display());
    let mut files = Vec::new();
    if web.is_dir() {
        collect(&web.canonicalize()?, "", &mut files)?;
    }
    files.sort();
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let mut table = "&[\n".to_owned();
    for (name, mut path) in files {
        if name.ends_with(".js") || name.ends_with(".css") {
            let text = fs::read_to_string(&path)?;
            path = out.join(name.replace('/', "-"));
            fs::write(&path, slim::slim(&text, name.ends_with(".js")))?;
        }
        writeln!(table, "    ({name:?}, include_bytes!({path:?})),")?;
    }
    table.push_str("]\n");
    fs::write(out.join("assets.rs"), table)?;
    Ok(())
}

fn collect(directory: &Path, prefix: &str, files: &mut Vec<(String, PathBuf)>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        if name.starts_with('.') {
            continue;
        }
        let path = entry.path();
        let served = path
            .extension()
            .and_then(|extension| extension.to_str())
            .is_some_and(|extension| SERVED.contains(&extension));
        if path.is_dir() {
            if !NOT_SERVED.contains(&name.as_str()) {
                collect(&path, &format!("{prefix}{name}/"), files)?;
            }
        } else if served {
            files.push((format!("{prefix}{name}"), path));
        }
    }
    Ok(())
}
