//! Tables of figures: as text for people, as JSON for whoever draws them.

use serde_json::{Map, Value, json};

/// Rows of figures under named columns.
pub(crate) struct Table {
    /// Its key in the JSON object.
    pub(crate) name: &'static str,
    /// What it says.
    pub(crate) title: String,
    pub(crate) columns: Vec<&'static str>,
    pub(crate) rows: Vec<Vec<f64>>,
}

impl Table {
    pub(crate) fn new(name: &'static str, title: &str, columns: &[&'static str]) -> Self {
        Self {
            name,
            title: title.to_owned(),
            columns: columns.to_vec(),
            rows: Vec::new(),
        }
    }

    pub(crate) fn print(&self) {
        println!("\n{}", self.title);
        let width = |column: &str| column.len().max(9);
        let head: Vec<String> = self
            .columns
            .iter()
            .map(|c| format!("{c:>w$}", w = width(c)))
            .collect();
        println!("{}", head.join("  "));
        for row in &self.rows {
            let cells: Vec<String> = row
                .iter()
                .zip(&self.columns)
                .map(|(value, column)| format!("{:>w$}", number(*value), w = width(column)))
                .collect();
            println!("{}", cells.join("  "));
        }
    }

    fn rows_as_json(&self) -> Value {
        let object = |row: &Vec<f64>| -> Map<String, Value> {
            let cell = |value: &f64| json!((value * 1000.0).round() / 1000.0);
            self.columns
                .iter()
                .zip(row)
                .map(|(column, value)| ((*column).to_owned(), cell(value)))
                .collect()
        };
        self.rows.iter().map(object).map(Value::Object).collect()
    }
}

/// One object with an array of rows per table.
pub(crate) fn as_json(tables: &[Table]) -> Value {
    tables
        .iter()
        .map(|table| (table.name.to_owned(), table.rows_as_json()))
        .collect::<Map<String, Value>>()
        .into()
}

fn number(value: f64) -> String {
    if value.fract() == 0.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}
