//! Where a command writes: data to standard output, talk to standard error, each with or without colour.

use std::io::{self, IsTerminal, Write};

use anstyle::{AnsiColor, Style};
use jiff::tz::TimeZone;
use longhaul_contract::Timestamp;
use serde::Serialize;

use crate::text::{escape, escape_json};
use crate::trouble::Trouble;

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum ColorChoice {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    Always,
    Never,
}

pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
pub(crate) const WARNING: Style = AnsiColor::Yellow.on_default();
pub(crate) const FAINT: Style = Style::new().dimmed();
pub(crate) const STRONG: Style = Style::new().bold();

/// How one stream shows things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Paint {
    pub(crate) has_color: bool,
    /// Whether the locale can show more than ASCII.
    pub(crate) has_unicode: bool,
}

impl Paint {
    pub(crate) fn paint(self, style: Style, text: &str) -> String {
        if self.has_color && !text.is_empty() { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    pub(crate) fn good_mark(self) -> String {
        self.paint(GOOD, if self.has_unicode { "✓" } else { "ok" })
    }

    pub(crate) fn bad_mark(self) -> String {
        self.paint(BAD, if self.has_unicode { "✗" } else { "failed" })
    }

    pub(crate) fn warning_mark(self) -> String {
        self.paint(WARNING, "!")
    }
}

/// All that a human rendering depends on besides its data.
#[derive(Debug, Clone)]
pub(crate) struct View {
    pub(crate) paint: Paint,
    /// Columns to fill.
    pub(crate) width: usize,
    pub(crate) now: Timestamp,
    pub(crate) zone: TimeZone,
}

impl View {
    /// `2026-01-31 12:00:05` in the person's time zone.
    pub(crate) fn instant(&self, time: Timestamp) -> String {
        match jiff::Timestamp::from_microsecond(time.micros()) {
            Ok(instant) => instant.to_zoned(self.zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
            Err(_) => time.to_string(),
        }
    }
}

/// The streams of one command.
#[derive(Debug)]
pub(crate) struct Console {
    pub(crate) is_json: bool,
    out: Paint,
    err: Paint,
    pub(crate) is_err_terminal: bool,
    pub(crate) is_out_terminal: bool,
}

impl Console {
    pub(crate) fn new(is_json: bool, color: ColorChoice) -> Self {
        let is_out_terminal = io::stdout().is_terminal();
        let is_err_terminal = io::stderr().is_terminal();
        let is_plain = variable("NO_COLOR").is_some() || variable("TERM").is_some_and(|term| term == "dumb");
        let has_color = |is_terminal: bool| match color {
            ColorChoice::Auto => is_terminal && !is_plain,
            ColorChoice::Always => true,
            ColorChoice::Never => false,
        };
        let has_unicode = has_unicode_locale();
        Self {
            is_json,
            out: Paint { has_color: has_color(is_out_terminal), has_unicode },
            err: Paint { has_color: has_color(is_err_terminal), has_unicode },
            is_err_terminal: is_err_terminal && variable("TERM").is_none_or(|term| term != "dumb"),
            is_out_terminal,
        }
    }

    /// The view for standard output.
    pub(crate) fn view(&self) -> View {
        let width = if self.is_out_terminal { terminal_size(io::stdout()).0 } else { usize::MAX };
        View { paint: self.out, width, now: Timestamp::now(), zone: TimeZone::system() }
    }

    /// The view for standard error.
    pub(crate) fn err_view(&self) -> View {
        let width = if self.is_err_terminal { terminal_size(io::stderr()).0 } else { usize::MAX };
        View { paint: self.err, width, now: Timestamp::now(), zone: TimeZone::system() }
    }

    /// Rows of the terminal behind standard error.
    pub(crate) fn err_height(&self) -> usize {
        terminal_size(io::stderr()).1
    }

    /// Writes data: one JSON document with `--json`, else what `human` makes.
    pub(crate) fn data<T: Serialize>(
        &self,
        value: &T,
        human: impl FnOnce(&View) -> String,
    ) -> Result<(), Trouble> {
        if self.is_json { self.json(value) } else { self.text(&human(&self.view())) }
    }

    /// One pretty JSON document on standard output.
    pub(crate) fn json<T: Serialize>(&self, value: &T) -> Result<(), Trouble> {
        let document =
            serde_json::to_string_pretty(value).map_err(|error| Trouble::output(&io::Error::other(error)))?;
        self.text(&(escape_json(&document) + "\n"))
    }

    /// One JSON document on one line of standard output, at once.
    pub(crate) fn json_line<T: Serialize>(&self, value: &T) -> Result<(), Trouble> {
        let document =
            serde_json::to_string(value).map_err(|error| Trouble::output(&io::Error::other(error)))?;
        self.text(&(escape_json(&document) + "\n"))
    }

    /// Text on standard output, as it is.
    pub(crate) fn text(&self, text: &str) -> Result<(), Trouble> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| Trouble::output(&error))
    }

    /// One line of talk on standard error. `line` may be styled and has to be escaped.
    pub(crate) fn say(&self, line: &str) {
        // With standard error gone there is nobody left to tell.
        let _ = io::stderr().lock().write_all(format!("{line}\n").as_bytes());
    }

    /// Tells why the command ends.
    pub(crate) fn complain(&self, trouble: &Trouble) {
        if self.is_json {
            self.say(&escape_json(&trouble.to_json().to_string()));
            return;
        }
        self.say(&format!("{} {trouble}", self.err.paint(BAD, "error:")));
        if let Some(advice) = &trouble.advice {
            self.say(&format!("{} {}", self.err.paint(STRONG, "  try:"), escape(advice)));
        }
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// By the precedence of setlocale(3).
fn has_unicode_locale() -> bool {
    ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|name| variable(name)).is_some_and(|locale| {
        let locale = locale.to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    })
}

/// Columns and rows; 80 by 24 where the terminal does not say.
fn terminal_size(stream: impl std::os::fd::AsFd) -> (usize, usize) {
    match rustix::termios::tcgetwinsize(stream) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
        _ => (80, 24),
    }
}
