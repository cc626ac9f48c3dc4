//! The TOML file.

use std::ffi::OsString;
use std::path::Path;

use clap::builder::OsStr;
use clap::{Arg, ArgAction, Command};
use toml::{Table, Value};

use super::{Refusal, key, value};

/// `command` with the values of the file at `path` in place of its defaults.
///
/// `active` is the subcommand in use, complete with global arguments, or the program itself;
/// `subcommand` its name.
pub(super) fn put_under(
    mut command: Command,
    subcommand: Option<&str>,
    active: &Command,
    path: &Path,
) -> Result<Command, Refusal> {
    let text = std::fs::read_to_string(path).map_err(|source| Refusal::Read {
        path: path.to_owned(),
        source,
    })?;
    let table: Table = text
        .parse()
        .map_err(|error: toml::de::Error| Refusal::Syntax {
            path: path.to_owned(),
            message: place(&text, &error),
        })?;
    for (name, given) in table {
        let arg = active
            .get_arguments()
            .find(|arg| key(arg).as_ref() == Some(&name))
            .ok_or_else(|| Refusal::UnknownKey {
                path: path.to_owned(),
                key: name.clone(),
                command: active
                    .get_bin_name()
                    .unwrap_or(active.get_name())
                    .to_owned(),
            })?;
        let refused = |message| Refusal::FileValue {
            path: path.to_owned(),
            key: name.clone(),
            message,
        };
        let values = texts(arg, given).map_err(refused)?;
        value::check(arg, &values).map_err(refused)?;
        let id = arg.get_id().clone();
        let replace = |own: Arg| {
            own.required(false)
                .default_values(values.into_iter().map(OsStr::from))
        };
        let of_program = command.get_arguments().any(|own| own.get_id() == &id);
        command = match subcommand {
            Some(subcommand) if !of_program => {
                command.mut_subcommand(subcommand, |sub| sub.mut_arg(id, replace))
            }
            _ => command.mut_arg(id, replace),
        };
    }
    Ok(command)
}

/// A value of the file as what would stand on the command line.
fn texts(arg: &Arg, given: Value) -> Result<Vec<OsString>, String> {
    let many = matches!(arg.get_action(), ArgAction::Append);
    match given {
        Value::Array(values) if many => values.into_iter().map(text).collect(),
        Value::Array(_) => Err("a single value is expected, not a list".to_owned()),
        value => Ok(vec![text(value)?]),
    }
}

fn text(value: Value) -> Result<OsString, String> {
    match value {
        Value::String(text) => Ok(text.into()),
        Value::Integer(number) => Ok(number.to_string().into()),
        Value::Float(number) => Ok(number.to_string().into()),
        Value::Boolean(yes) => Ok(yes.to_string().into()),
        Value::Datetime(_) => Err("text is expected, not a date".to_owned()),
        Value::Array(_) => Err("a list inside a list is not expected".to_owned()),
        Value::Table(_) => Err("a value is expected, not a table".to_owned()),
    }
}

/// What is wrong and where, without the line itself: it may hold a password.
fn place(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start));
    match before {
        Some(before) => {
            let line = before.matches('\n').count() + 1;
            format!("line {line}: {}", error.message())
        }
        None => error.message().to_owned(),
    }
}
