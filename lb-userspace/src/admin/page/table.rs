//! Tables that become one card for each row on a narrow screen.
//!
//! Each cell carries the label of its column for the card. The ARIA roles keep a table a table for
//! screen readers there, where its rows and cells are displayed as blocks.

use std::fmt::{self, Display, Write};

use super::Escaped;

/// Titles of the columns of numbers, which are aligned to the right.
const NUMBERS: [&str; 10] = [
    "Connections",
    "Requests",
    "In",
    "Out",
    "Weight",
    "Packets",
    "In use",
    "Priority",
    "Share",
    "Days left",
];

/// An HTML table that is being written.
pub(super) struct Table<'a> {
    page: &'a mut String,
    columns: &'a [&'a str],
    /// The index of the column that the next cell belongs to.
    column: usize,
    in_row: bool,
}

impl<'a> Table<'a> {
    /// Writes the head of the table. `label` names the table for screen readers. In a column
    /// without a title the cells have no label.
    pub(super) fn begin(
        page: &'a mut String,
        label: &str,
        columns: &'a [&'a str],
    ) -> Result<Self, fmt::Error> {
        write!(
            page,
            "<div class=\"wide\"><table role=\"table\" aria-label=\"{}\"><thead role=\"rowgroup\">\
             <tr role=\"row\">",
            Escaped(label)
        )?;
        for column in columns {
            let class = if NUMBERS.contains(column) { "n" } else { "" };
            write!(
                page,
                "<th role=\"columnheader\" scope=\"col\" class=\"{class}\">{column}</th>"
            )?;
        }
        page.write_str("</tr></thead><tbody role=\"rowgroup\">")?;
        Ok(Self {
            page,
            columns,
            column: 0,
            in_row: false,
        })
    }

    /// Begins a row of the table.
    pub(super) fn row(&mut self) -> fmt::Result {
        self.end_row()?;
        (self.column, self.in_row) = (0, true);
        self.page.write_str("<tr role=\"row\">")
    }

    /// Writes the next cell of the row, with these CSS classes.
    pub(super) fn cell(&mut self, classes: &str, html: impl Display) -> fmt::Result {
        self.open_cell(classes)?;
        write!(self.page, "{html}</td>")
    }

    /// Writes the next cell of the row with content that `write` writes.
    pub(super) fn cell_with(
        &mut self,
        classes: &str,
        write: impl FnOnce(&mut String) -> fmt::Result,
    ) -> fmt::Result {
        self.open_cell(classes)?;
        write(self.page)?;
        self.page.write_str("</td>")
    }

    /// Writes the end of the table.
    pub(super) fn end(mut self) -> fmt::Result {
        self.end_row()?;
        self.page.write_str("</tbody></table></div>")
    }

    fn open_cell(&mut self, classes: &str) -> fmt::Result {
        let label = self.columns.get(self.column).unwrap_or(&"");
        self.column += 1;
        write!(
            self.page,
            "<td role=\"cell\" data-label=\"{label}\" class=\"{classes}\">"
        )
    }

    fn end_row(&mut self) -> fmt::Result {
        if self.in_row {
            self.page.write_str("</tr>")?;
        }
        self.in_row = false;
        Ok(())
    }
}
