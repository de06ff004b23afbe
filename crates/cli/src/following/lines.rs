//! The lines a person sees while following: bars for what moves, one line for what ended.

use std::path::Path;

use longhaul_contract::{Operation, OperationId, TransferStatus};

use super::picture::{Item, News, Picture, State, Totals};
use crate::console::{FAINT, GOOD, STRONG, View, WARNING};
use crate::describe;
use crate::measure;
use crate::text::{column, fit_end, width};

const NAME_COLUMNS_MIN: usize = 10;
const BAR_COLUMNS_MAX: usize = 40;
const PERCENT: usize = 4;
const BYTES: usize = 19;
const RATE: usize = 11;
const LEFT: usize = 8;
const GAP: usize = 2;
const WAITING: &str = "waiting: ";

/// How the columns share one width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Layout {
    /// All columns together.
    width: usize,
    name: usize,
    /// 0 where there is no room for it.
    bar: usize,
    has_bytes: bool,
    has_rate: bool,
}

impl Layout {
    fn new(view_width: usize, longest_name: usize) -> Self {
        // The last column of a terminal stays free: some wrap when it is written.
        let width = view_width.clamp(1, 160) - 1;
        let mut layout = Self { width, name: 0, bar: 0, has_bytes: true, has_rate: true };
        let mut room = width.saturating_sub(PERCENT + BYTES + RATE + LEFT + 4 * GAP);
        if room < NAME_COLUMNS_MIN {
            layout.has_bytes = false;
            room = width.saturating_sub(PERCENT + RATE + LEFT + 3 * GAP);
        }
        if room < NAME_COLUMNS_MIN {
            layout.has_rate = false;
            room = width.saturating_sub(PERCENT + GAP);
        }
        layout.name = longest_name.clamp(NAME_COLUMNS_MIN, (room / 2).max(NAME_COLUMNS_MIN)).min(room);
        let bar = room.saturating_sub(layout.name + GAP).min(BAR_COLUMNS_MAX);
        if bar >= 8 {
            layout.bar = bar;
        } else {
            layout.name = longest_name.clamp(NAME_COLUMNS_MIN.min(room), room);
        }
        layout
    }
}

/// What one line with a bar says.
struct Measured {
    received: u64,
    total: Option<u64>,
    /// Of 1000; `None` where nothing is known.
    permille: Option<u64>,
    bytes_per_second: u64,
    seconds_left: Option<u64>,
}

impl Measured {
    fn of(operation: &Operation) -> Self {
        let progress = &operation.progress;
        let (moved, total) = describe::moved(operation);
        let total = Some(total).filter(|total| *total > 0);
        Self {
            received: moved,
            total,
            permille: total.map(|total| permille(moved, total)),
            bytes_per_second: progress.bytes_per_second,
            seconds_left: progress.seconds_left,
        }
    }

    fn of_all(totals: &Totals) -> Self {
        let ended = (totals.completed + totals.failed) as u64;
        let by_bytes = totals.bytes_total.filter(|total| *total > 0);
        let permille = by_bytes.map_or_else(
            || permille(ended, totals.operations as u64),
            |total| permille(totals.bytes_moved, total),
        );
        let left = by_bytes.map(|total| total.saturating_sub(totals.bytes_moved));
        Self {
            received: totals.bytes_moved,
            total: by_bytes,
            permille: Some(permille),
            bytes_per_second: totals.bytes_per_second,
            seconds_left: left.and_then(|left| left.checked_div(totals.bytes_per_second)),
        }
    }

    fn bytes(&self) -> String {
        match self.total {
            Some(total) => format!("{} / {}", measure::bytes(self.received), measure::bytes(total)),
            None => measure::bytes(self.received),
        }
    }
}

fn permille(part: u64, whole: u64) -> u64 {
    let share = (u128::from(part) * 1_000).checked_div(u128::from(whole)).unwrap_or(0);
    u64::try_from(share.min(1_000)).unwrap_or(1_000)
}

/// Which operations have a line of their own. One that has a line keeps its place until it ends.
#[derive(Debug, Default)]
pub(crate) struct Places {
    shown: Vec<OperationId>,
}

impl Places {
    fn update(&mut self, picture: &Picture, count: usize) {
        self.shown.retain(|id| picture.get(*id).is_some_and(deserves_line));
        self.shown.truncate(count);
        if self.shown.len() < count {
            let candidates = picture.items().filter(|(_, item)| deserves_line(item)).map(|(id, _)| id);
            let new: Vec<_> =
                candidates.filter(|id| !self.shown.contains(id)).take(count - self.shown.len()).collect();
            self.shown.extend(new);
        }
        if self.shown.is_empty() {
            // Nothing moves: at least say what the first one waits for.
            let live =
                picture.items().find(|(_, item)| matches!(item.state, State::Live(_) | State::Expected));
            self.shown.extend(live.map(|(id, _)| id));
        }
    }
}

/// Not those that merely wait for their turn.
fn deserves_line(item: &Item) -> bool {
    let State::Live(operation) = &item.state else { return false };
    operation.status != TransferStatus::Idle && !describe::is_queued(operation)
}

/// The lines of this moment, at most `rows`.
pub(crate) fn bars(picture: &Picture, places: &mut Places, rows: usize, view: &View) -> Vec<String> {
    let totals = picture.totals();
    let has_total = totals.operations > 1;
    places.update(picture, rows.saturating_sub(usize::from(has_total)).max(1));
    let shown: Vec<&Item> = places.shown.iter().filter_map(|id| picture.get(*id)).collect();
    let longest = shown.iter().map(|item| width(&item.name)).max().unwrap_or(0);
    let layout = Layout::new(view.width, longest);
    let mut lines: Vec<_> = shown.iter().map(|item| line(item, layout, view)).collect();
    if has_total {
        lines.push(total_line(&totals, layout, view));
    }
    lines
}

fn line(item: &Item, layout: Layout, view: &View) -> String {
    let Some(operation) = item.operation() else {
        return fit_end(&format!("{}  waiting for the service", item.name), layout.width).into_owned();
    };
    let measured = Measured::of(operation);
    if describe::waiting(operation, view.now).is_none() {
        return moving(&item.name, &measured, layout, view);
    }
    let mut text = column(&item.name, layout.name);
    if measured.received > 0 && layout.has_bytes {
        text.push_str(&format!("  {}", measured.bytes()));
    }
    let room = layout.width.saturating_sub(width(&text) + GAP);
    let reason = describe::waiting_within(operation, view.now, room.saturating_sub(width(WAITING)));
    let reason = fit_end(&format!("{WAITING}{}", reason.unwrap_or_default()), room).into_owned();
    format!("{text}  {}", view.paint.paint(WARNING, &reason))
}

fn moving(name: &str, measured: &Measured, layout: Layout, view: &View) -> String {
    let percent = measured.permille.map_or(String::new(), |permille| format!("{}%", permille / 10));
    let mut text = format!("{}  {percent:>PERCENT$}", column(name, layout.name));
    if layout.bar > 0 {
        text.push_str(&format!("  {}", bar(measured.permille, layout.bar, view)));
    }
    if layout.has_bytes {
        text.push_str(&format!("  {:>BYTES$}", measured.bytes()));
    }
    if layout.has_rate {
        let rate = if measured.bytes_per_second > 0 {
            measure::rate(measured.bytes_per_second)
        } else {
            String::new()
        };
        let left = measured.seconds_left.map(measure::clock).unwrap_or_default();
        text.push_str(&format!("  {rate:>RATE$}  {left:>LEFT$}"));
    }
    text.truncate(text.trim_end().len());
    text
}

fn bar(permille: Option<u64>, columns: usize, view: &View) -> String {
    let paint = view.paint;
    let (full, half, empty) = if paint.has_unicode { ("━", "╸", "─") } else { ("=", ">", "-") };
    let Some(permille) = permille else { return paint.paint(FAINT, &empty.repeat(columns)) };
    let halves = usize::try_from(permille).unwrap_or(0) * columns * 2 / 1_000;
    let mut done = full.repeat(halves / 2);
    if halves % 2 == 1 {
        done.push_str(half);
    }
    let rest = columns - halves.div_ceil(2);
    paint.paint(GOOD, &done) + &paint.paint(FAINT, &empty.repeat(rest))
}

fn total_line(totals: &Totals, layout: Layout, view: &View) -> String {
    let mut name = format!("{} of {} files", totals.completed, totals.operations);
    if totals.failed > 0 {
        name.push_str(&format!(", {} failed", totals.failed));
    }
    // The words may take the room of the bar, so that the numbers stay in their columns.
    let wanted = width(&name);
    let mut layout = layout;
    if wanted > layout.name {
        let taken = (wanted - layout.name).min(layout.bar.saturating_sub(8));
        layout.name += taken;
        layout.bar -= taken;
    }
    view.paint.paint(STRONG, &column(&name, layout.name))
        + &moving("", &Measured::of_all(totals), Layout { name: 0, ..layout }, view)
}

/// The line for something that happened, or `None` where bars tell it already.
pub(crate) fn news(news: &News, folder: Option<&Path>, has_bars: bool, view: &View) -> Option<String> {
    let cut = |text: String| fit_end(&text, view.width.saturating_sub(1).max(20)).into_owned();
    match news {
        News::Ended(operation) => Some(ended(operation, folder, view)),
        News::NeedsInput(operation) => {
            let name = describe::name(operation, folder);
            Some(format!("{} {name}: {}", view.paint.warning_mark(), describe::failure(operation)))
        }
        News::Gone(name) => Some(format!("{} {name}: removed by somebody else", view.paint.bad_mark())),
        News::Waits(operation) if has_bars || describe::is_queued(operation) => None,
        News::Waits(operation) => {
            let name = describe::name(operation, folder);
            Some(cut(format!("{name}: waiting: {}", describe::waiting(operation, view.now)?)))
        }
    }
}

fn ended(operation: &Operation, folder: Option<&Path>, view: &View) -> String {
    let name = describe::name(operation, folder);
    if operation.status != TransferStatus::Completed {
        return format!("{} {name}: {}", view.paint.bad_mark(), describe::failure(operation));
    }
    let (size, _) = describe::moved(operation);
    let taken = taken(operation);
    let rate = taken.and_then(|taken| measure::average(size, taken)).map(measure::rate).unwrap_or_default();
    let time = taken.map(|taken| measure::clock(taken.as_secs())).unwrap_or_default();
    let size = measure::bytes(size);
    let numbers = format!("{size:>8}  {rate:>RATE$}  {time:>LEFT$}");
    let mark = view.paint.good_mark();
    let room = view.width.clamp(40, 120) - 1 - 2 - GAP - width(&numbers);
    if view.width != usize::MAX && width(&name) <= room {
        return format!("{mark} {}  {}", column(&name, room), view.paint.paint(FAINT, &numbers));
    }
    // The name of the file is what was asked for: it is never cut.
    let parts: Vec<_> = [size, rate, time].into_iter().filter(|part| !part.is_empty()).collect();
    format!("{mark} {name}  {}", view.paint.paint(FAINT, &parts.join("  ")))
}

fn taken(operation: &Operation) -> Option<std::time::Duration> {
    let begin = operation.started_time?.micros();
    let end = operation.completed_time?.micros();
    u64::try_from(end.checked_sub(begin)?).ok().map(std::time::Duration::from_micros)
}

/// The closing line over several files.
pub(crate) fn summary(picture: &Picture, seconds: u64, view: &View) -> Option<String> {
    let totals = picture.totals();
    if totals.operations < 2 {
        return None;
    }
    let mut text = format!(
        "{} of {} files, {} in {}",
        totals.completed,
        totals.operations,
        measure::bytes(totals.bytes_moved),
        measure::words(seconds)
    );
    for (count, what) in [(totals.failed, "failed"), (totals.needing_input, "waiting for input")] {
        if count > 0 {
            text.push_str(&format!(", {count} {what}"));
        }
    }
    Some(view.paint.paint(STRONG, &text))
}

#[cfg(test)]
mod tests {
    use longhaul_contract::{Cause, ReasonCode};

    use super::*;
    use crate::console::Paint;
    use crate::sample::{self, failed, numbered, waiting, with_progress, with_status};

    fn picture_of(operations: impl IntoIterator<Item = Operation>) -> Picture {
        let mut picture = Picture::of_expected();
        for operation in operations {
            picture.expect(operation.id, String::new());
            picture.take(operation);
        }
        picture
    }

    fn bars_of(operations: impl IntoIterator<Item = Operation>, rows: usize, columns: usize) -> String {
        bars(&picture_of(operations), &mut Places::default(), rows, &sample::view(columns)).join("\n")
    }

    fn film() -> Operation {
        with_progress(numbered(1, "film.mkv"), 792_723_456, 50_541_363)
    }

    #[test]
    fn one_file_on_terminals_of_many_widths() {
        let lines: Vec<_> = [160, 100, 80, 60, 40, 20].map(|columns| bars_of([film()], 10, columns)).into();
        insta::assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let operations = [
            film(),
            with_progress(numbered(2, "ein sehr langer Name für einen Film aus 世界世界世界.mkv"), 5, 1),
            waiting(film(), ReasonCode::Backoff, "server said 503 Service Unavailable", Some(3_599)),
        ];
        for columns in 8..200 {
            let text = bars_of(operations.clone(), 10, columns);
            for line in text.lines() {
                assert!(width(line) < columns, "{columns}: {line}");
            }
        }
    }

    #[test]
    fn a_file_of_unknown_size_and_one_that_waits() {
        let mut unknown = film();
        unknown.progress.total_bytes_to_receive = 0;
        unknown.progress.seconds_left = None;
        let waits =
            waiting(with_progress(film(), 5 << 20, 0), ReasonCode::Backoff, "server said 503", Some(12));
        let paused = with_status(film(), TransferStatus::PausedByApplication);
        let stuck = failed(
            film(),
            TransferStatus::PausedRecoverableWebErrorStatus,
            Cause::HttpStatus,
            "server said 403",
        );
        let lines: Vec<_> =
            [unknown, waits, paused, stuck].map(|operation| bars_of([operation], 10, 100)).into();
        insta::assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn a_thousand_files_stay_readable() {
        let operations = (1..=1_000).map(|number| {
            let operation =
                with_progress(numbered(number, &format!("part-{number:04}.bin")), 1 << 30, 10 << 20);
            match number {
                1..=300 => with_status(operation, TransferStatus::Completed),
                301..=302 => failed(operation, TransferStatus::Error, Cause::HttpStatus, "404"),
                303..=318 => operation,
                _ => waiting(
                    with_status(numbered(number, "later.bin"), TransferStatus::Idle),
                    ReasonCode::RunningAtOnce,
                    "16 others are running",
                    None,
                ),
            }
        });
        insta::assert_snapshot!(bars_of(operations, 6, 100));
    }

    #[test]
    fn a_line_keeps_its_place_until_its_file_ends() {
        let mut picture = picture_of((1..=4).map(|number| numbered(number, &format!("{number}"))));
        let mut places = Places::default();
        places.update(&picture, 2);
        let shown = |places: &Places| {
            places.shown.iter().map(|id| id.to_string()[17..18].to_owned()).collect::<String>()
        };
        assert_eq!(shown(&places), "12");
        picture.take(with_status(numbered(1, "1"), TransferStatus::Completed));
        places.update(&picture, 2);
        assert_eq!(shown(&places), "23");
        picture.take(with_status(numbered(3, "3"), TransferStatus::PausedByApplication));
        places.update(&picture, 2);
        assert_eq!(shown(&places), "23", "a pause is no reason to move");
        places.update(&picture, 1);
        assert_eq!(shown(&places), "2", "a smaller terminal");
    }

    #[test]
    fn when_nothing_moves_the_first_one_says_why() {
        let queued = waiting(
            with_status(numbered(1, "film.mkv"), TransferStatus::Idle),
            ReasonCode::GroupSerialized,
            "another member of the group photos is running",
            None,
        );
        insta::assert_snapshot!(bars_of([queued], 10, 100));
    }

    #[test]
    fn what_happened_is_told_in_one_line() {
        let view = sample::view(100);
        let folder = Some(Path::new("/home/ann"));
        let long = format!("{}.bin", "long".repeat(30));
        let all = [
            News::Ended(Box::new(with_status(
                with_progress(numbered(1, "film.mkv"), 2 << 30, 0),
                TransferStatus::Completed,
            ))),
            News::Ended(Box::new(with_status(
                with_progress(numbered(1, &long), 4_096, 0),
                TransferStatus::Completed,
            ))),
            News::Ended(Box::new(failed(
                numbered(2, "\u{1b}]0;x\u{7}.iso"),
                TransferStatus::Error,
                Cause::HttpStatus,
                "server said 404\u{9b}31m",
            ))),
            News::Ended(Box::new(with_status(numbered(3, "c.iso"), TransferStatus::Canceled))),
            News::NeedsInput(Box::new(failed(
                numbered(4, "d.iso"),
                TransferStatus::PausedRecoverableWebErrorStatus,
                Cause::HttpStatus,
                "server said 403",
            ))),
            News::Waits(Box::new(waiting(
                numbered(5, "e.iso"),
                ReasonCode::DiskSpace,
                "the disk is full",
                None,
            ))),
            News::Gone("f.iso".to_owned()),
        ];
        let lines: Vec<_> = all.iter().filter_map(|one| news(one, folder, false, &view)).collect();
        insta::assert_snapshot!(lines.join("\n"));
        assert_eq!(news(&all[5], folder, true, &view), None, "a bar says it already");
    }

    #[test]
    fn several_files_are_summed_up_at_the_end() {
        let operations = [
            with_status(with_progress(numbered(1, "a"), 2 << 30, 0), TransferStatus::Completed),
            with_status(with_progress(numbered(2, "b"), 2 << 30, 0), TransferStatus::Completed),
            with_status(numbered(3, "c"), TransferStatus::Error),
        ];
        let text = summary(&picture_of(operations), 754, &sample::view(100));
        assert_eq!(text.as_deref(), Some("2 of 3 files, 4.0 GiB in 12 min, 1 failed"));
        assert_eq!(summary(&picture_of([film()]), 1, &sample::view(100)), None);
    }

    #[test]
    fn plain_terminals_get_plain_characters_and_colours_only_where_wanted() {
        let mut view = sample::view(100);
        view.paint = Paint { has_color: false, has_unicode: false };
        let line = bars(&picture_of([film()]), &mut Places::default(), 5, &view).remove(0);
        assert!(line.is_ascii(), "{line}");
        view.paint = Paint { has_color: true, has_unicode: true };
        let coloured = bars(&picture_of([film()]), &mut Places::default(), 5, &view).remove(0);
        assert!(coloured.contains("\u{1b}["), "{coloured}");
    }
}
