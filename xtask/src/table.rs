//! Plain-text tables for the terminal.

use std::fmt;

/// A table with a heading; each column is as wide as its widest cell.
pub(crate) struct Table<const COLUMNS: usize> {
    columns: [Column; COLUMNS],
    rows: Vec<[String; COLUMNS]>,
}

/// The heading and the alignment of a column.
pub(crate) enum Column {
    /// A column of text with this heading, aligned to the left.
    Left(&'static str),
    /// A column of numbers with this heading, aligned to the right.
    Right(&'static str),
}

impl<const COLUMNS: usize> Table<COLUMNS> {
    /// Returns a table with these columns and without rows.
    pub(crate) fn new(columns: [Column; COLUMNS]) -> Self {
        Self {
            columns,
            rows: Vec::new(),
        }
    }

    /// Adds a row with these cells.
    pub(crate) fn row(&mut self, cells: [String; COLUMNS]) {
        self.rows.push(cells);
    }
}

impl<const COLUMNS: usize> fmt::Display for Table<COLUMNS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heading = self.columns.each_ref().map(|column| match column {
            Column::Left(text) | Column::Right(text) => (*text).to_owned(),
        });
        let all = || std::iter::once(&heading).chain(&self.rows);
        for row in all() {
            let mut line = String::from(" ");
            for (index, (column, cell)) in self.columns.iter().zip(row).enumerate() {
                let width = all().map(|row| row[index].chars().count()).max();
                let width = width.unwrap_or_default();
                line.push_str(&match column {
                    Column::Left(_) => format!(" {cell:<width$} "),
                    Column::Right(_) => format!(" {cell:>width$} "),
                });
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// Formats a number with its thousands grouped by commas, such as `1,048,576`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_000), "1,000");
        assert_eq!(grouped(1_048_576), "1,048,576");
    }

    #[test]
    fn a_column_is_as_wide_as_its_widest_cell() {
        let mut table = Table::new([Column::Left("map"), Column::Right("entries")]);
        table.row(["flows_v4".to_owned(), "12".to_owned()]);
        assert_eq!(
            table.to_string(),
            "  map       entries\n  flows_v4       12\n"
        );
    }
}
