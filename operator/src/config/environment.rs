//! The environment variables behind the flags.

use std::collections::BTreeSet;
use std::ffi::OsString;

use clap::{Arg, Command};

use super::{Refusal, Settings, value, with_words_for_switches};

/// Gives every setting with a long name its variable, in all subcommands.
pub(super) fn bind(command: Command, prefix: &'static str) -> Command {
    let bind_one = move |arg: Arg| {
        let arg = with_words_for_switches(arg);
        match variable(&arg, prefix) {
            Some(name) => arg.env(name),
            None => arg,
        }
    };
    command
        .mut_args(bind_one)
        .mut_subcommands(move |subcommand| bind(subcommand, prefix))
}

fn variable(arg: &Arg, prefix: &str) -> Option<String> {
    // `--print-config` for every start would be of no use to anybody.
    if matches!(arg.get_id().as_str(), "help" | "version" | "print_config") {
        return None;
    }
    let long = arg.get_long()?;
    Some(format!(
        "{prefix}{}",
        long.replace('-', "_").to_ascii_uppercase()
    ))
}

/// Refuses a variable that carries the program's prefix and is none of its settings: a misspelt
/// one would otherwise go unnoticed.
pub(super) fn check_names(
    command: &Command,
    settings: &Settings,
    names: impl Iterator<Item = OsString>,
) -> Result<(), Refusal> {
    let mut known = BTreeSet::new();
    collect(command, &mut known);
    for name in names {
        let text = name.to_string_lossy();
        if text.starts_with(settings.prefix)
            && !known.contains(&name)
            && !settings.foreign.iter().any(|other| is_named(&text, other))
        {
            let name = text.into_owned();
            return Err(Refusal::UnknownVariable { name });
        }
    }
    Ok(())
}

fn is_named(variable: &str, name: &str) -> bool {
    variable == name || (name.ends_with('_') && variable.starts_with(name))
}

fn collect(command: &Command, known: &mut BTreeSet<OsString>) {
    known.extend(
        command
            .get_arguments()
            .filter_map(|arg| arg.get_env())
            .map(OsString::from),
    );
    for subcommand in command.get_subcommands() {
        collect(subcommand, known);
    }
}

/// Refuses a value that its argument does not take, naming the variable.
pub(super) fn check_values(command: &Command) -> Result<(), Refusal> {
    for arg in command.get_arguments() {
        let Some(name) = arg.get_env() else { continue };
        let Some(given) = std::env::var_os(name) else {
            continue;
        };
        value::check(arg, &[given]).map_err(|message| Refusal::Variable {
            name: name.to_string_lossy().into_owned(),
            message,
        })?;
    }
    Ok(())
}
