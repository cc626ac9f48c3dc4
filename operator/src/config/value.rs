//! Checking one value by the parser of its argument.

use std::ffi::OsString;

use clap::{Arg, ArgAction, Command};

/// Checks `values` as if they stood on the command line; the reason if they cannot be used.
pub(super) fn check(arg: &Arg, values: &[OsString]) -> Result<(), String> {
    const LONG: &str = "value";
    let action = match arg.get_action() {
        ArgAction::Append => ArgAction::Append,
        _ => ArgAction::Set,
    };
    let mut alone = Arg::new(LONG)
        .long(LONG)
        .action(action)
        .allow_hyphen_values(true)
        .num_args(1)
        .value_parser(arg.get_value_parser().clone());
    if let Some(delimiter) = arg.get_value_delimiter() {
        alone = alone.value_delimiter(delimiter);
    }
    let line = values.iter().map(|value| {
        let mut argument = OsString::from(format!("--{LONG}="));
        argument.push(value);
        argument
    });
    Command::new("check")
        .no_binary_name(true)
        .disable_help_flag(true)
        .arg(alone)
        .try_get_matches_from(line)
        .map(drop)
        .map_err(|error| {
            let secret = arg.is_hide_env_values_set();
            reason(&error.to_string(), secret)
        })
}

/// What `clap` says, without its frame and without the name of the stand-in flag; of a secret
/// setting also without the value.
fn reason(message: &str, secret: bool) -> String {
    const FLAG: &str = " for '--value <value>'";
    let message = message.strip_prefix("error: ").unwrap_or(message);
    let head = message.split("\n\n").next().unwrap_or(message);
    let words: Vec<&str> = head.split_whitespace().collect();
    let words = words.join(" ");
    match words.split_once(FLAG) {
        Some((_, why)) if secret => format!("its value cannot be used{why}"),
        _ if secret => "its value cannot be used".to_owned(),
        _ => words.replace(FLAG, ""),
    }
}
