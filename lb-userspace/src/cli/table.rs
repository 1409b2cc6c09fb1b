//! Formats tables with aligned columns for a terminal.

/// The style of a text on a terminal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Style {
    Plain,
    Bold,
    Faint,
    Green,
    Yellow,
    Red,
}

impl Style {
    /// Returns `text` with the terminal's escape sequences of this style; unchanged if `colour` is
    /// false.
    pub(super) fn paint(self, text: &str, colour: bool) -> String {
        let code = match self {
            Self::Plain => return text.to_owned(),
            Self::Bold => "1",
            Self::Faint => "2",
            Self::Green => "32",
            Self::Yellow => "33",
            Self::Red => "1;31",
        };
        if colour {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// A cell of a table: its text and how it is styled.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self::styled(text, Style::Plain)
    }

    pub(super) fn styled(text: impl Into<String>, style: Style) -> Self {
        Self {
            text: text.into(),
            style,
        }
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

/// How the cells of a column are aligned.
#[derive(Clone, Copy, Debug)]
pub(super) enum Align {
    Left,
    Right,
}

/// A table: a row of column headings, and rows of cells.
#[derive(Debug)]
pub(super) struct Table {
    align: Vec<Align>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// Creates a table with these column headings and alignments.
    pub(super) fn new(columns: &[(&str, Align)]) -> Self {
        let heading = columns
            .iter()
            .map(|(name, _)| Cell::styled(*name, Style::Faint));
        Self {
            align: columns.iter().map(|(_, align)| *align).collect(),
            rows: vec![heading.collect()],
        }
    }

    /// Adds a row, which must have a cell for every column of the table.
    pub(super) fn push(&mut self, row: Vec<Cell>) {
        debug_assert_eq!(row.len(), self.align.len());
        self.rows.push(row);
    }

    /// Formats the table as text, one line for each row, without blanks at the end of lines.
    pub(super) fn render(&self, colour: bool) -> String {
        let widths: Vec<usize> = (0..self.align.len())
            .map(|column| {
                self.rows
                    .iter()
                    .map(|row| row[column].width())
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for ((cell, align), width) in row.iter().zip(&self.align).zip(&widths) {
                let gap = " ".repeat(width - cell.width());
                let painted = cell.style.paint(&cell.text, colour);
                let padded = match align {
                    Align::Left => painted + &gap,
                    Align::Right => gap + &painted,
                };
                line.push_str(&padded);
                line.push_str("  ");
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&[("NAME", Align::Left), ("COUNT", Align::Right)]);
        table.push(vec![Cell::styled("a", Style::Green), Cell::new("1")]);
        table.push(vec![Cell::new("größer"), Cell::new("1,234,567")]);
        table
    }

    #[test]
    fn columns_are_aligned() {
        let wanted = "NAME        COUNT\na               1\ngrößer  1,234,567\n";
        assert_eq!(table().render(false), wanted);
    }

    #[test]
    fn colour_changes_no_width() {
        let coloured = table().render(true);
        assert!(coloured.contains("\x1b[32ma\x1b[0m"), "{coloured:?}");
        let mut plain = coloured;
        for code in ["\x1b[2m", "\x1b[32m", "\x1b[0m"] {
            plain = plain.replace(code, "");
        }
        assert_eq!(plain, table().render(false));
    }
}
