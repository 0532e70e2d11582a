//! Tables without lines: columns are told apart by their alignment.

use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement, Table, presets};

use super::{Style, Tone};

/// Blanks in front of every line.
const INDENT: u16 = 2;

/// A column's title and whether it holds numbers, which stand to the right.
#[derive(Clone, Copy)]
pub enum Column {
    /// Words.
    Text(&'static str),
    /// Numbers.
    Number(&'static str),
}

/// One cell.
pub struct Field {
    text: String,
    tone: Tone,
}

impl Field {
    /// A cell in a tone.
    pub fn toned(tone: Tone, text: impl Into<String>) -> Self {
        Self { text: text.into(), tone }
    }
}

impl<T: Into<String>> From<T> for Field {
    fn from(text: T) -> Self {
        Self::toned(Tone::Plain, text)
    }
}

/// Lays the rows out, indented, a newline behind each.
pub fn layout<const N: usize>(
    columns: [Column; N],
    rows: impl IntoIterator<Item = [Field; N]>,
    style: Style,
) -> String {
    let mut table = empty(style);
    table.set_header(columns.map(title));
    table.add_rows(rows.into_iter().map(|row| row.map(cell)));
    for (column, kind) in table.column_iter_mut().zip(columns) {
        column.set_padding((0, 2));
        if matches!(kind, Column::Number(_)) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let indent = " ".repeat(INDENT.into());
    table.lines().map(|line| format!("{indent}{}\n", line.trim_end())).collect()
}

fn empty(style: Style) -> Table {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(style.width.saturating_sub(INDENT))
        .force_no_tty()
        .style_text_only();
    if style.colour {
        table.enforce_styling();
    }
    table
}

fn title(column: Column) -> Cell {
    let (Column::Text(title) | Column::Number(title)) = column;
    Cell::new(title).add_attribute(Attribute::Dim)
}

fn cell(field: Field) -> Cell {
    let cell = Cell::new(field.text);
    match field.tone {
        Tone::Plain => cell,
        Tone::Strong => cell.add_attribute(Attribute::Bold),
        Tone::Caution => cell.fg(Color::DarkYellow),
        Tone::Alarm => cell.fg(Color::DarkRed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 2] = [Column::Text("NAME"), Column::Number("COUNT")];

    fn rows() -> [[Field; 2]; 2] {
        [["a".into(), "1".into()], [Field::toned(Tone::Alarm, "bcdef"), "1000".into()]]
    }

    #[test]
    fn numbers_stand_to_the_right() {
        let text = layout(COLUMNS, rows(), Style { colour: false, width: 80 });
        assert_eq!(text, "  NAME   COUNT\n  a          1\n  bcdef   1000\n");
    }

    #[test]
    fn colours_are_used_when_allowed_whatever_the_output_is() {
        let text = layout(COLUMNS, rows(), Style { colour: true, width: 80 });
        assert!(text.contains("\x1b[38;5;1mbcdef"), "{text:?}");
    }
}
