//! The bottom lines of a terminal, drawn anew as they change, with finished lines scrolling away above them.

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Frames a second.
const FREQUENCY: u8 = 15;

pub(crate) struct Screen {
    area: MultiProgress,
    rows: Vec<ProgressBar>,
}

impl Screen {
    /// On standard error.
    pub(crate) fn new() -> Self {
        let area = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(FREQUENCY));
        Self { area, rows: Vec::new() }
    }

    /// Shows exactly these lines.
    pub(crate) fn show(&mut self, lines: &[String]) {
        while self.rows.len() > lines.len() {
            if let Some(row) = self.rows.pop() {
                row.finish_and_clear();
                self.area.remove(&row);
            }
        }
        while self.rows.len() < lines.len() {
            let row = self.area.add(ProgressBar::new_spinner());
            row.set_style(ProgressStyle::with_template("{msg}").expect("a template without mistakes"));
            self.rows.push(row);
        }
        for (row, line) in self.rows.iter().zip(lines) {
            if row.message() != *line {
                row.set_message(line.clone());
            }
        }
    }

    /// Writes a line that stays, above the others.
    pub(crate) fn print(&self, line: &str) {
        // Without a terminal there is nobody left to see it.
        let _ = self.area.println(line);
    }

    /// Takes the lines away, for good.
    pub(crate) fn clear(&mut self) {
        // Without a terminal there is nothing to take away.
        let _ = self.area.clear();
        self.area.set_draw_target(ProgressDrawTarget::hidden());
        self.rows.clear();
    }
}
