//! Text that is safe and fits: escaping what came from outside, measuring and cutting to columns.

use std::borrow::Cow;

use unicode_width::UnicodeWidthChar;

/// Whether a terminal might act on the character, or show text in another order than it is.
fn is_dangerous(letter: char) -> bool {
    letter.is_control()
        || matches!(letter,
            '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Makes text from outside harmless: control characters (C0 and C1), bidirectional controls and invisible characters
/// are written as `\u{…}`.
pub(crate) fn escape(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_dangerous) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        if is_dangerous(letter) {
            safe.extend(letter.escape_unicode());
        } else {
            safe.push(letter);
        }
    }
    Cow::Owned(safe)
}

/// The same for a JSON document: what stays dangerous inside its strings becomes `\uXXXX`, which reads back equal.
pub(crate) fn escape_json(document: &str) -> String {
    let mut safe = String::with_capacity(document.len());
    for letter in document.chars() {
        // Line feeds are the layout of a pretty document; inside strings the serialiser has escaped them.
        if letter != '\n' && is_dangerous(letter) {
            for unit in letter.encode_utf16(&mut [0; 2]) {
                safe.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            safe.push(letter);
        }
    }
    safe
}

/// Columns that the text takes.
pub(crate) fn width(text: &str) -> usize {
    text.chars().map(|letter| letter.width().unwrap_or(0)).sum()
}

/// Cuts to `columns`, in the middle so that beginning and ending stay readable.
pub(crate) fn fit(text: &str, columns: usize) -> Cow<'_, str> {
    if width(text) <= columns {
        return Cow::Borrowed(text);
    }
    let Some(room) = columns.checked_sub(1) else { return Cow::Borrowed("") };
    let front = take(text.chars(), room.div_ceil(2));
    let back: String = take(text.chars().rev(), room / 2).chars().rev().collect();
    Cow::Owned(format!("{front}…{back}"))
}

/// Cuts to `columns` at the end.
pub(crate) fn fit_end(text: &str, columns: usize) -> Cow<'_, str> {
    if width(text) <= columns {
        return Cow::Borrowed(text);
    }
    match columns.checked_sub(1) {
        Some(room) => Cow::Owned(take(text.chars(), room) + "…"),
        None => Cow::Borrowed(""),
    }
}

/// Cut in the middle or filled with blanks to exactly `columns`.
pub(crate) fn column(text: &str, columns: usize) -> String {
    let mut cell = fit(text, columns).into_owned();
    let missing = columns - width(&cell);
    cell.extend(std::iter::repeat_n(' ', missing));
    cell
}

fn take(letters: impl Iterator<Item = char>, columns: usize) -> String {
    let mut used = 0;
    letters
        .take_while(|letter| {
            used += letter.width().unwrap_or(0);
            used <= columns
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fault_089_terminal_injection_is_made_visible() {
        for (hostile, harmless) in [
            ("a\x1b[31mred", "a\\u{1b}[31mred"),
            ("\u{9b}2J", "\\u{9b}2J"),
            ("photo\u{202e}gpj.exe", "photo\\u{202e}gpj.exe"),
            ("a\r\nb\x07\x7f", "a\\u{d}\\u{a}b\\u{7}\\u{7f}"),
            ("in\u{200b}visible", "in\\u{200b}visible"),
            ("tag\u{e0041}", "tag\\u{e0041}"),
            ("Grüße, 世界 🦀", "Grüße, 世界 🦀"),
        ] {
            assert_eq!(escape(hostile), harmless);
        }
    }

    #[test]
    fn fault_089_json_documents_are_harmless_and_read_back_equal() {
        let hostile = "\x1b]0;title\x07 \u{9b}2J \u{202e} \u{e0041} \n ü";
        let document = escape_json(&serde_json::to_string_pretty(&vec![hostile]).unwrap());
        assert!(document.chars().all(|letter| letter == '\n' || !is_dangerous(letter)), "{document}");
        assert_eq!(serde_json::from_str::<Vec<String>>(&document).unwrap(), [hostile]);
    }

    #[test]
    fn text_is_cut_by_columns_and_not_by_bytes() {
        assert_eq!(fit("short", 5), "short");
        assert_eq!(fit("a-long-name.tar.gz", 9), "a-lo…r.gz");
        assert_eq!(fit("世界世界世界", 6), "世…界");
        assert_eq!(fit_end("waiting for it", 8), "waiting…");
        assert_eq!((fit("ab", 1).as_ref(), fit("ab", 0).as_ref()), ("…", ""));
        assert_eq!(column("世界", 6), "世界  ");
        for columns in 0..12 {
            assert_eq!(width(&column("世界, a wider world", columns)), columns);
        }
    }
}
