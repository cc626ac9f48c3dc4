//! The settings of one program as arguments of another: `--listen` as `--tracker-listen`.

use std::ffi::OsString;

use clap::{Arg, ArgMatches, Args, Command};

use super::is_switch;

/// `command` with every argument of `A` under `prefix`, changed by `each`.
pub fn augment_prefixed<A: Args>(
    mut command: Command,
    prefix: &str,
    each: impl Fn(Arg) -> Arg,
) -> Command {
    for arg in bare::<A>().get_arguments() {
        if let Some(long) = arg.get_long() {
            let renamed = arg
                .clone()
                .id(id(prefix, arg))
                .long(format!("{prefix}-{long}"));
            command = command.arg(each(renamed));
        }
    }
    command
}

/// Reads `A` from the arguments that [`augment_prefixed`] added.
///
/// # Errors
/// If values that are right each by itself do not go together.
pub fn read_prefixed<A: Args>(matches: &ArgMatches, prefix: &str) -> Result<A, clap::Error> {
    let command = bare::<A>();
    let mut line: Vec<OsString> = Vec::new();
    for arg in command.get_arguments() {
        let Some(long) = arg.get_long() else { continue };
        let id = id(prefix, arg);
        if is_switch(arg) {
            if matches.get_flag(&id) {
                line.push(format!("--{long}").into());
            }
            continue;
        }
        for value in matches.get_raw(&id).into_iter().flatten() {
            let mut argument = OsString::from(format!("--{long}="));
            argument.push(value);
            line.push(argument);
        }
    }
    A::from_arg_matches(&command.try_get_matches_from(line)?)
}

fn bare<A: Args>() -> Command {
    A::augment_args(Command::new("settings").no_binary_name(true))
}

fn id(prefix: &str, arg: &Arg) -> String {
    format!("{prefix}_{}", arg.get_id())
}
