//! A ratchet on what no compiler checks: length of files and functions, names, leftovers.
//!
//! What exceeds a rule today stands in xtask/tidy.toml with its number. A number there may fall and never rise.

use std::collections::BTreeMap;
use std::path::Path;

use crate::lexer::{self, Token};
use crate::workspace::{Failure, Workspace};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Check,
    /// Lower the exceptions to what is still needed, then check.
    Tighten,
}

const EXCEPTIONS: &str = "xtask/tidy.toml";
const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;

/// A rule by the name of its table in the exceptions, what it says, and the number up to which it is kept.
struct Rule {
    name: &'static str,
    says: &'static str,
    limit: usize,
}

const RULES: &[Rule] = &[
    Rule {
        name: "file-length",
        says: "lines in one file: split it by what it is about",
        limit: FILE_LINES_MAX,
    },
    Rule {
        name: "function-length",
        says: "lines in one function: give its parts names",
        limit: FUNCTION_LINES_MAX,
    },
    Rule { name: "module-name", says: "module names that say nothing about what is inside", limit: 0 },
    Rule { name: "unfinished", says: "unfinished places in code", limit: 0 },
    Rule {
        name: "untracked-note",
        says: "notes of work to do without the number of an issue, as (#12)",
        limit: 0,
    },
    Rule { name: "allowed-lint", says: "lints allowed; expect them instead, with a reason", limit: 0 },
    Rule { name: "machine-path", says: "paths of one person's machine", limit: 0 },
    Rule { name: "registry-address", says: "addresses of package registries", limit: 0 },
    Rule { name: "whitespace", says: "lines that end in blanks, or a last line without an end", limit: 0 },
];

const BANNED_MODULES: &[&str] =
    &["util", "utils", "helper", "helpers", "common", "misc", "manager", "managers", "imp"];
const NOTES: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
const MACHINE_PATHS: &[&str] = &[concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/tmp/", "wt/")];
const REGISTRIES: &[&str] = &[
    concat!("index.crates", ".io"),
    concat!("static.crates", ".io"),
    concat!("registry+", "http"),
    concat!("sparse+", "http"),
    concat!("registry.npmjs", ".org"),
    concat!("pypi", ".org"),
];

/// Rule > place > (number, line where it begins).
type Findings = BTreeMap<&'static str, BTreeMap<String, (usize, usize)>>;
/// Rule > place > number.
type Exceptions = BTreeMap<String, BTreeMap<String, usize>>;

pub(crate) fn run(workspace: &Workspace, mode: Mode) -> Result<(), Failure> {
    let mut findings = Findings::new();
    let files = workspace.files()?;
    for path in &files {
        let bytes = std::fs::read(workspace.root.join(path))
            .map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
        if let Ok(text) = std::str::from_utf8(&bytes) {
            look(path, text, &mut findings);
        }
    }
    let file = workspace.root.join(EXCEPTIONS);
    let text =
        std::fs::read_to_string(&file).map_err(|error| Failure::new(format!("{EXCEPTIONS}: {error}")))?;
    let mut exceptions: Exceptions =
        toml::from_str(&text).map_err(|error| Failure::new(format!("{EXCEPTIONS}: {error}")))?;
    if mode == Mode::Tighten {
        tighten(&mut exceptions, &findings);
        std::fs::write(&file, written(&text, &exceptions))
            .map_err(|error| Failure::new(format!("{EXCEPTIONS}: {error}")))?;
    }
    let complaints = compare(&exceptions, &findings);
    if complaints.is_empty() {
        println!("tidy: {} files keep to the rules", files.len());
        return Ok(());
    }
    for complaint in &complaints {
        println!("{complaint}");
    }
    Err(Failure::new(format!(
        "{} places to tidy up (rules: CONTRIBUTING.md, \"Tidiness\")",
        complaints.len()
    )))
}

fn look(path: &Path, text: &str, findings: &mut Findings) {
    let place = path.to_string_lossy().into_owned();
    let mut add = |rule: &'static str, place: &str, number: usize, line: usize| {
        if number > 0 {
            let entry = findings.entry(rule).or_default().entry(place.to_owned()).or_insert((0, line));
            entry.0 += number;
        }
    };
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    let is_lock = path.ends_with("Cargo.lock");
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        add("whitespace", &place, usize::from(line != line.trim_end()), number);
        add(
            "machine-path",
            &place,
            usize::from(MACHINE_PATHS.iter().any(|path| names_path(line, path))),
            number,
        );
        let names_registry = !is_lock && REGISTRIES.iter().any(|address| line.contains(address));
        add("registry-address", &place, usize::from(names_registry), number);
        let is_code = matches!(ending, "rs" | "toml" | "sh" | "ts" | "tsx" | "css" | "yml");
        add("untracked-note", &place, usize::from(is_code && has_untracked_note(line)), number);
    }
    if !text.is_empty() && !text.ends_with('\n') {
        add("whitespace", &place, 1, text.lines().count());
    }
    if ending != "rs" {
        return;
    }
    let tokens = lexer::lex(text);
    add("file-length", &place, text.lines().count(), 1);
    for (name, line, length) in functions(&tokens) {
        if length > FUNCTION_LINES_MAX {
            add("function-length", &format!("{place}::{name}"), length, line);
        }
    }
    for line in banned_modules(path, &tokens) {
        add("module-name", &place, 1, line);
    }
    for window in tokens.windows(4) {
        let line = window[0].line;
        let is_unfinished =
            matches!(window[0].word(), Some("todo" | "unimplemented")) && window[1].is_mark('!');
        add("unfinished", &place, usize::from(is_unfinished), line);
        let after = if window[1].is_mark('!') { 2 } else { 1 };
        let is_allowed = window[0].is_mark('#')
            && window[after].is_mark('[')
            && window.get(after + 1).and_then(Token::word) == Some("allow");
        add("allowed-lint", &place, usize::from(is_allowed), line);
    }
}

/// Whether the line names a path that begins so, and not one that merely goes through a folder of that name.
fn names_path(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|before| before.is_alphanumeric() || "._-~})]>*".contains(before))
    })
}

fn has_untracked_note(line: &str) -> bool {
    NOTES.iter().any(|note| {
        line.match_indices(note).any(|(at, _)| {
            let before = line[..at].chars().next_back();
            let after = &line[at + note.len()..];
            let is_word = !before.is_some_and(|before| before.is_alphanumeric() || before == '_')
                && !after.starts_with(|after: char| after.is_alphanumeric() || after == '_');
            let is_tracked = after
                .strip_prefix("(#")
                .is_some_and(|rest| rest.starts_with(|digit: char| digit.is_ascii_digit()));
            is_word && !is_tracked
        })
    })
}

fn is_banned(name: &str) -> bool {
    BANNED_MODULES.contains(&name) || name.starts_with("process_")
}

/// Lines at which a module with a banned name is; line 1 stands for the file itself.
fn banned_modules(path: &Path, tokens: &[Token]) -> Vec<usize> {
    let by_path = path.with_extension("");
    let names_file = by_path.components().any(|part| part.as_os_str().to_str().is_some_and(is_banned));
    let inline = tokens.windows(3).filter(|window| {
        window[0].word() == Some("mod") && window[1].word().is_some_and(is_banned) && window[2].is_mark('{')
    });
    names_file.then_some(1).into_iter().chain(inline.map(|window| window[0].line)).collect()
}

/// Name, first line and number of lines of every function with a body.
fn functions(tokens: &[Token]) -> Vec<(String, usize, usize)> {
    let mut found = Vec::new();
    for (at, window) in tokens.windows(2).enumerate() {
        let (Some("fn"), Some(name)) = (window[0].word(), window[1].word()) else { continue };
        let mut nesting = 0_usize;
        let body = tokens[at..].iter().position(|token| {
            if token.is_mark('(') || token.is_mark('[') {
                nesting += 1;
            } else if token.is_mark(')') || token.is_mark(']') {
                nesting = nesting.saturating_sub(1);
            }
            nesting == 0 && (token.is_mark('{') || token.is_mark(';'))
        });
        let Some(body) = body.map(|body| at + body).filter(|body| tokens[*body].is_mark('{')) else {
            continue;
        };
        let mut depth = 0_usize;
        let end = tokens[body..].iter().find(|token| {
            if token.is_mark('{') {
                depth += 1;
            } else if token.is_mark('}') {
                depth -= 1;
            }
            depth == 0
        });
        if let Some(end) = end {
            found.push((name.to_owned(), window[0].line, end.line - window[0].line + 1));
        }
    }
    found
}

fn compare(exceptions: &Exceptions, findings: &Findings) -> Vec<String> {
    let mut complaints = Vec::new();
    let nothing = BTreeMap::new();
    for Rule { name, says, limit } in RULES {
        let allowed = |place: &str| exceptions.get(*name).and_then(|places| places.get(place)).copied();
        for (place, (number, line)) in findings.get(name).unwrap_or(&nothing) {
            let limit = allowed(place).unwrap_or(*limit);
            if *number > limit {
                let file = place.split("::").next().unwrap_or(place);
                let what = place.strip_prefix(file).unwrap_or_default().trim_start_matches(':');
                complaints.push(format!("{file}:{line}: {name} {what}: {number}, at most {limit}: {says}"));
            }
        }
    }
    for (rule, places) in exceptions {
        let Some(Rule { name, limit, .. }) = RULES.iter().find(|known| known.name == rule) else {
            complaints.push(format!("{EXCEPTIONS}: there is no rule {rule}"));
            continue;
        };
        for (place, allowed) in places {
            let number = needed(findings, name, place, *limit);
            if number.is_none_or(|number| number < *allowed) {
                let now =
                    number.map_or_else(|| "no longer needed".to_owned(), |number| format!("now {number}"));
                complaints.push(format!(
                    "{EXCEPTIONS}: {rule} {place} = {allowed}: {now}; run `cargo xtask tidy --tighten`"
                ));
            }
        }
    }
    complaints
}

/// The exception a place needs today.
fn needed(findings: &Findings, rule: &str, place: &str, limit: usize) -> Option<usize> {
    findings.get(rule)?.get(place).map(|(number, _)| *number).filter(|number| *number > limit)
}

fn tighten(exceptions: &mut Exceptions, findings: &Findings) {
    for (rule, places) in &mut *exceptions {
        let limit = RULES.iter().find(|known| known.name == rule).map_or(0, |known| known.limit);
        places.retain(|place, allowed| match needed(findings, rule, place, limit) {
            Some(number) => {
                *allowed = number.min(*allowed);
                true
            }
            None => false,
        });
    }
    exceptions.retain(|_, places| !places.is_empty());
}

/// The file of exceptions, with the comment at its head kept.
fn written(old: &str, exceptions: &Exceptions) -> String {
    let mut text: String =
        old.lines().take_while(|line| line.starts_with('#')).flat_map(|line| [line, "\n"]).collect();
    for (rule, places) in exceptions {
        text.push_str(&format!("\n[{rule}]\n"));
        for (place, number) in places {
            text.push_str(&format!("\"{place}\" = {number}\n"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<(&'static str, String, usize)> {
        let mut findings = Findings::new();
        look(Path::new(path), text, &mut findings);
        findings.remove("file-length");
        findings
            .into_iter()
            .flat_map(|(rule, places)| {
                places.into_iter().map(move |(place, (number, _))| (rule, place, number))
            })
            .collect()
    }

    fn rules(path: &str, text: &str) -> Vec<&'static str> {
        found(path, text).into_iter().map(|(rule, _, _)| rule).collect()
    }

    #[test]
    fn clean_source_has_no_findings() {
        let source = "//! A head.\nfn f() -> u8 {\n    let path = \"a/work/b\";\n    1\n}\n";
        assert_eq!(rules("crates/engine/src/row.rs", source), [""; 0]);
    }

    #[test]
    fn every_rule_finds_its_case() {
        let note = NOTES[0];
        let path = MACHINE_PATHS[0];
        let registry = REGISTRIES[0];
        let cases = [
            ("a/util.rs", "fn f() {}\n".to_owned(), "module-name"),
            ("a/common/mod.rs", "fn f() {}\n".to_owned(), "module-name"),
            ("a/b.rs", "mod helpers { fn f() {} }\n".to_owned(), "module-name"),
            ("a/b.rs", "fn f() { todo!() }\n".to_owned(), "unfinished"),
            ("a/b.rs", format!("fn f() {{}} // {note}: more\n"), "untracked-note"),
            ("a/b.rs", "#[allow(dead_code)]\nfn f() {}\n".to_owned(), "allowed-lint"),
            ("a/b.rs", "#![allow(dead_code)]\nfn f() {}\n".to_owned(), "allowed-lint"),
            ("a/b.md", format!("see {path}x\n"), "machine-path"),
            ("a/b.toml", format!("url = \"https://{registry}/\"\n"), "registry-address"),
            ("a/b.md", "a \n".to_owned(), "whitespace"),
            ("a/b.md", "a".to_owned(), "whitespace"),
        ];
        for (path, text, rule) in cases {
            assert_eq!(rules(path, &text), [rule], "{path}: {text}");
        }
    }

    #[test]
    fn a_note_with_an_issue_is_tracked() {
        assert_eq!(rules("a/b.rs", &format!("fn f() {{}} // {}(#12): more\n", NOTES[0])), [""; 0]);
    }

    #[test]
    fn functions_are_measured_from_signature_to_brace() {
        let long = format!(
            "fn short() {{}}\nimpl A {{\n    fn long(a: [u8; 2])\n    where A: B\n    {{\n{}    }}\n}}\n",
            "a();\n".repeat(80)
        );
        assert_eq!(found("a.rs", &long), [("function-length", "a.rs::long".to_owned(), 84)]);
        assert_eq!(functions(&lexer::lex("trait A { fn b(&self); fn c() {} }")).len(), 1);
    }

    #[test]
    fn exceptions_only_fall() {
        let findings =
            |number| Findings::from([("file-length", BTreeMap::from([("a.rs".to_owned(), (number, 1))]))]);
        let exceptions = |number| {
            Exceptions::from([("file-length".to_owned(), BTreeMap::from([("a.rs".to_owned(), number)]))])
        };
        assert_eq!(compare(&Exceptions::new(), &findings(500)), [""; 0]);
        assert_eq!(compare(&Exceptions::new(), &findings(501)).len(), 1);
        assert_eq!(compare(&exceptions(600), &findings(600)), [""; 0]);
        assert_eq!(compare(&exceptions(600), &findings(601)).len(), 1, "grown");
        assert_eq!(compare(&exceptions(600), &findings(599)).len(), 1, "fallen, and the exception has not");
        assert_eq!(compare(&exceptions(600), &Findings::new()).len(), 1, "gone, and the exception is not");

        let mut tightened = exceptions(600);
        tighten(&mut tightened, &findings(550));
        assert_eq!(
            written("# head\n\n[file-length]\n\"a.rs\" = 600\n", &tightened),
            "# head\n\n[file-length]\n\"a.rs\" = 550\n"
        );
        tighten(&mut tightened, &findings(560));
        assert_eq!(tightened, exceptions(550), "never raised");
        tighten(&mut tightened, &findings(400));
        assert_eq!(tightened, Exceptions::new());
    }
}
