//! Configuration in layers: flags, then environment, then a TOML file, then defaults.
//!
//! Whatever the command line has a `--long-name` for can also be given as the environment variable
//! `PREFIX_LONG_NAME` and as the key `long_name` of the file named by `--config`. A positional
//! argument has a key by its own name. A value is checked by the argument's own parser wherever it
//! comes from, and a wrong one is told with its source.

mod environment;
mod file;
mod prefixed;
mod print;
mod value;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use clap::{Arg, ArgAction, Args, Command, Parser};

use crate::logging::LogFormat;
pub use prefixed::{augment_prefixed, read_prefixed};

/// Arguments that are about configuration itself, and `clap`'s own: no keys of a file.
const NO_SETTINGS: [&str; 4] = ["config", "print_config", "help", "version"];

/// What every program of the workspace takes besides its own settings.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// What to log to stderr: error, warn, info, debug, trace, or filters such as
    /// `info,banyan_node=debug`
    #[arg(long, global = true, default_value = "info", value_name = "FILTER")]
    pub log: String,
    /// How a log line looks
    #[arg(
        long,
        global = true,
        default_value = "text",
        value_name = "FORMAT",
        value_enum
    )]
    pub log_format: LogFormat,
    /// TOML file with settings: the flags' names, with _ for -
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print the settings in force as TOML and exit
    #[arg(long, global = true)]
    pub print_config: bool,
}

/// What a program says of its settings.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// What the names of its environment variables begin with, such as `BANYAN_`.
    pub prefix: &'static str,
    /// Variables that carry the prefix and belong to somebody else; a name that ends in `_` stands
    /// for all that begin with it.
    pub foreign: &'static [&'static str],
    /// How much of a secret setting (one with `hide_env_values`) may be shown; none where nothing
    /// of it may be.
    pub shown: fn(key: &str, value: &str) -> Option<String>,
}

/// What was asked for.
#[derive(Debug)]
pub enum Asked<P> {
    /// To run with these settings.
    Run(P),
    /// To print this text, and nothing else.
    Print(String),
}

/// Why a program does not run. [`tell`](Self::tell) gives its exit code.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The command line is wrong, or asked for help.
    #[error(transparent)]
    CommandLine(#[from] clap::Error),
    /// A file could not be read.
    #[error("the configuration file {path} cannot be read: {source}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not TOML.
    #[error("the configuration file {path} is not valid TOML: {message}")]
    Syntax {
        /// Which.
        path: PathBuf,
        /// What and where.
        message: String,
    },
    /// A file has a key that is no setting of this command.
    #[error(
        "the configuration file {path} has the key {key}, which is no setting of {command}; \
         `{command} --help` lists them"
    )]
    UnknownKey {
        /// Which file.
        path: PathBuf,
        /// Which key.
        key: String,
        /// Of which command.
        command: String,
    },
    /// A value in a file cannot be used.
    #[error("the configuration file {path}, key {key}: {message}")]
    FileValue {
        /// Which file.
        path: PathBuf,
        /// Which key.
        key: String,
        /// Why.
        message: String,
    },
    /// A variable looks like a setting and is none.
    #[error("the environment variable {name} is no setting")]
    UnknownVariable {
        /// Which.
        name: String,
    },
    /// The value of a variable cannot be used.
    #[error("the environment variable {name}: {message}")]
    Variable {
        /// Which.
        name: String,
        /// Why.
        message: String,
    },
}

impl Refusal {
    /// Tells it on stderr (help on stdout), and the exit code: 2, or 0 for help.
    pub fn tell(&self) -> u8 {
        match self {
            Self::CommandLine(error) => {
                // Whoever reads may have closed its end.
                let _ = error.print();
                u8::try_from(error.exit_code()).unwrap_or(2)
            }
            other => {
                eprintln!("error: {other}");
                2
            }
        }
    }
}

/// The command of `P`, with an environment variable for each setting: what help, completions and
/// manual pages show.
pub fn command<P: Parser>(settings: &Settings) -> Command {
    environment::bind(P::command(), settings.prefix)
}

/// Reads all layers.
///
/// # Errors
/// [`Refusal`], which names the flag, the variable, or the file and the key.
pub fn read<P: Parser>(
    settings: &Settings,
    line: impl IntoIterator<Item = OsString>,
) -> Result<Asked<P>, Refusal> {
    let line: Vec<OsString> = line.into_iter().collect();
    let command = command::<P>(settings);
    let mut built = command.clone();
    built.build();
    environment::check_names(&built, settings, std::env::vars_os().map(|(name, _)| name))?;

    // A first look, which overlooks mistakes: which subcommand, and which file.
    let glance = command
        .clone()
        .ignore_errors(true)
        .try_get_matches_from(&line)?;
    let (active, matches) = chosen(&built, &glance);
    environment::check_values(active)?;
    let command = match matches.try_get_one::<PathBuf>("config").ok().flatten() {
        Some(path) => {
            let subcommand = glance.subcommand_name();
            file::put_under(command, subcommand, active, path)?
        }
        None => command,
    };

    let mut final_command = command.clone();
    let mut matches = final_command.try_get_matches_from_mut(&line)?;
    let (active, chosen_matches) = chosen(&built, &matches);
    let print = chosen_matches
        .try_get_one::<bool>("print_config")
        .ok()
        .flatten();
    if print == Some(&true) {
        return Ok(Asked::Print(print::toml(
            active,
            chosen_matches,
            settings.shown,
        )));
    }
    let parsed =
        P::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut final_command))?;
    Ok(Asked::Run(parsed))
}

/// The subcommand in use, or the program itself where none is, and what was matched for it.
fn chosen<'a>(
    command: &'a Command,
    matches: &'a clap::ArgMatches,
) -> (&'a Command, &'a clap::ArgMatches) {
    matches
        .subcommand()
        .and_then(|(name, matches)| Some((command.find_subcommand(name)?, matches)))
        .unwrap_or((command, matches))
}

/// The key of an argument, and the name of its variable without prefix in lower case; none for
/// what is no setting.
fn key(arg: &Arg) -> Option<String> {
    let id = arg.get_id().as_str();
    if NO_SETTINGS.contains(&id) {
        return None;
    }
    match arg.get_long() {
        Some(long) => Some(long.replace('-', "_")),
        None if arg.is_positional() => Some(id.to_owned()),
        None => None,
    }
}

/// Whether an argument is a switch without a value.
fn is_switch(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::SetTrue)
}

/// A switch in a file or variable may say yes, no, on, off, 1, 0, true or false.
fn with_words_for_switches(arg: Arg) -> Arg {
    if is_switch(&arg) {
        arg.value_parser(BoolishValueParser::new())
    } else {
        arg
    }
}
