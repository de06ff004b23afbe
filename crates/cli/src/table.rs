//! Columns of text that fit the terminal.

use crate::console::{STRONG, View};
use crate::text::{column, fit_end, width};

/// How one column lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// A table whose last column takes what room is left. Cells are escaped and not styled; `style` is applied to a cell
/// after it has been measured.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<Cell>>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Cell {
    text: String,
    style: anstyle::Style,
}

impl Cell {
    pub(crate) fn styled(text: impl Into<String>, style: anstyle::Style) -> Self {
        Self { text: text.into(), style }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: text.into(), style: anstyle::Style::new() }
    }
}

/// Cells that are not the last are cut to this many columns.
const CELL_COLUMNS_MAX: usize = 48;
/// What the widest column keeps when there is little room.
const CELL_COLUMNS_MIN: usize = 16;
/// What the last column may take from the widest one.
const LAST_COLUMNS_WISHED: usize = 40;
const GAP: &str = "  ";

impl Table {
    pub(crate) fn new(columns: &[(&'static str, Align)]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Columns without any text are left out.
    pub(crate) fn render(&self, view: &View) -> String {
        let widths = self.widths(view.width);
        let header = self.columns.iter().map(|(title, _)| Cell::styled(*title, STRONG)).collect();
        let mut text = String::new();
        for row in std::iter::once(&header).chain(&self.rows) {
            text.push_str(&self.line(row, &widths, view));
            text.push('\n');
        }
        text
    }

    /// Columns of text for each column; 0 for one without any. The widest one gives way to the last.
    fn widths(&self, room: usize) -> Vec<usize> {
        let mut last_wish = 0;
        let mut widths: Vec<usize> = (0..self.columns.len())
            .map(|index| {
                let cells = self.rows.iter().filter_map(|row| row.get(index));
                match cells.map(|cell| width(&cell.text)).max() {
                    None | Some(0) => 0,
                    Some(widest) => {
                        last_wish = widest.min(LAST_COLUMNS_WISHED);
                        widest.max(width(self.columns[index].0)).min(CELL_COLUMNS_MAX)
                    }
                }
            })
            .collect();
        let Some((_, others)) = widths.split_last_mut() else { return widths };
        let used: usize = others.iter().filter(|width| **width > 0).map(|width| width + GAP.len()).sum();
        let missing = (used + last_wish).saturating_sub(room);
        if let Some(widest) = others.iter_mut().max() {
            *widest = (*widest - missing.min(*widest)).max((*widest).min(CELL_COLUMNS_MIN));
        }
        widths
    }

    fn line(&self, row: &[Cell], widths: &[usize], view: &View) -> String {
        let shown: Vec<usize> = (0..widths.len()).filter(|index| widths[*index] > 0).collect();
        let mut line = String::new();
        let mut used = 0;
        for (place, index) in shown.iter().enumerate() {
            let cell = row.get(*index).cloned().unwrap_or_default();
            let is_last = place + 1 == shown.len();
            let text = if is_last {
                let room = view.width.saturating_sub(used).max(8);
                fit_end(&cell.text, room).into_owned()
            } else if self.columns[*index].1 == Align::Right {
                let missing = widths[*index].saturating_sub(width(&cell.text));
                " ".repeat(missing) + &column(&cell.text, widths[*index] - missing)
            } else {
                column(&cell.text, widths[*index])
            };
            used += widths[*index] + GAP.len();
            line.push_str(&view.paint.paint(cell.style, &text));
            if !is_last {
                line.push_str(GAP);
            }
        }
        line.trim_end().to_owned()
    }
}

/// `name   value` lines, the names in one column.
pub(crate) fn pairs<'a>(view: &View, lines: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let lines: Vec<_> = lines.into_iter().collect();
    let widest = lines.iter().map(|(name, _)| width(name)).max().unwrap_or(0);
    let mut text = String::new();
    for (name, value) in lines {
        let name = column(name, widest);
        text.push_str(format!("{}{GAP}{value}", view.paint.paint(STRONG, &name)).trim_end());
        text.push('\n');
    }
    text
}
