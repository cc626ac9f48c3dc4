//! `--print-config`.

use std::any::TypeId;
use std::fmt::Write;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use toml::Value;

use super::{is_switch, key};

/// The settings in force as TOML that can be read again, in the order of the help. What is not
/// set, and what may not be shown, is a comment.
pub(super) fn toml(
    command: &Command,
    matches: &ArgMatches,
    shown: fn(&str, &str) -> Option<String>,
) -> String {
    let mut text = String::new();
    for arg in command.get_arguments() {
        let Some(key) = key(arg) else { continue };
        let id = arg.get_id().as_str();
        let values: Vec<String> = matches
            .try_get_raw(id)
            .ok()
            .flatten()
            .into_iter()
            .flatten()
            .map(|value| value.to_string_lossy().into_owned())
            .collect();
        let visible: Option<Vec<Value>> = values
            .iter()
            .map(|value| {
                let value = match arg.is_hide_env_values_set() {
                    true => shown(&key, value)?,
                    false => value.clone(),
                };
                Some(typed(arg, value))
            })
            .collect();
        let source = match matches.value_source(id) {
            Some(ValueSource::EnvVariable) => " # from the environment",
            Some(ValueSource::CommandLine) => " # from the command line",
            _ => "",
        };
        // Writing to a string cannot fail.
        let _ = match visible {
            None => writeln!(text, "# {key} is set and not shown"),
            Some(values) if matches!(arg.get_action(), ArgAction::Append) => {
                writeln!(text, "{key} = {}{source}", Value::Array(values))
            }
            Some(values) => match values.into_iter().next() {
                Some(value) => writeln!(text, "{key} = {value}{source}"),
                None => writeln!(text, "# {key} is not set"),
            },
        };
    }
    text
}

/// A value in the form a person would write it in TOML.
fn typed(arg: &Arg, value: String) -> Value {
    let of = arg.get_value_parser().type_id();
    if is_switch(arg) {
        return Value::Boolean(matches!(
            value.to_ascii_lowercase().as_str(),
            "true" | "yes" | "on" | "1" | "y" | "t"
        ));
    }
    let whole = of == TypeId::of::<u16>() || of == TypeId::of::<u32>() || of == TypeId::of::<u64>();
    match value.parse() {
        Ok(number) if whole => Value::Integer(number),
        _ => Value::String(value),
    }
}
