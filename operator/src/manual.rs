//! Shell completions and manual pages, made from the argument parser.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Command, Subcommand};
use clap_complete::Shell;

/// The subcommands that print them.
#[derive(Debug, Clone, Subcommand)]
pub enum Manual {
    /// Print completions for a shell: bash, zsh, fish, elvish or powershell
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Print the manual page, or write those of all subcommands into a directory
    Man {
        /// Where to write; it must exist
        dir: Option<PathBuf>,
    },
}

impl Manual {
    /// Prints or writes what `command`, with all its settings, says of itself.
    ///
    /// # Errors
    /// If the directory or stdout cannot be written to.
    pub fn write(&self, mut command: Command) -> io::Result<()> {
        let mut text = Vec::new();
        match self {
            Self::Completions { shell } => {
                let name = command.get_name().to_owned();
                clap_complete::generate(*shell, &mut command, name, &mut text);
            }
            Self::Man { dir: Some(dir) } => return clap_mangen::generate_to(command, dir),
            Self::Man { dir: None } => clap_mangen::Man::new(command).render(&mut text)?,
        }
        io::stdout().write_all(&text)
    }
}
