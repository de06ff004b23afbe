//! Lists, searches and what is due.

use longhaul_contract::{OperationId, OperationKind};
use longhaul_engine::Row;
use longhaul_store::ListQuery;

use crate::samples::{app, consumed, create, created, ended, everything, group, id, row, spec, time};
use crate::trial::{Boxed, list, numbers};

contract! {
    pages_go_through_everything_once,
    lists_are_filtered,
    text_is_searched,
    ids_are_found_by_their_beginning,
    what_is_due_is_forgotten_longest_past_first,
}

/// 1 to 30: every third final, every sixth consumed; every fifth of another application; every fourth in a group.
fn fill(trial: &mut Boxed) {
    for number in 1..=30 {
        let row = Row {
            app: app(if number % 5 == 0 { "B" } else { "A" }),
            group: (number % 4 == 0).then(|| group("four")),
            kind: if number % 7 == 0 { OperationKind::Upload } else { OperationKind::Download },
            ..row(number)
        };
        let mut spec = spec(number);
        spec.label = (number % 2 == 0).then(|| "Even".to_owned());
        trial.store().commit(&[created(row.clone(), spec)]).unwrap();
        if number % 3 == 0 {
            trial.store().commit(&[ended(row, 50)]).unwrap();
        }
        if number % 6 == 0 {
            trial.store().commit(&[consumed(number, 60)]).unwrap();
        }
    }
}

fn pages_go_through_everything_once(mut trial: Boxed) {
    fill(&mut trial);
    for (app, text) in [(None, None), (Some(app("A")), None), (None, Some("file-".to_owned()))] {
        for descending in [false, true] {
            for limit in [1, 4, 100] {
                let whole = ListQuery { app: app.clone(), text: text.clone(), descending, ..everything() };
                let mut query = ListQuery { limit, ..whole.clone() };
                let mut seen = Vec::new();
                loop {
                    let page = trial.reader().list(&query).unwrap();
                    assert!(page.len() <= limit);
                    let Some(last) = page.last() else { break };
                    query.after = Some(last.row.id);
                    seen.extend(numbers(&page));
                }
                assert_eq!(seen, list(&trial, &whole));
                assert!(seen.is_sorted_by(|a, b| if descending { a > b } else { a < b }));
            }
        }
    }
    assert_eq!(list(&trial, &everything()), (1..=30).collect::<Vec<_>>());
    assert_eq!(list(&trial, &ListQuery { limit: 0, ..everything() }), [] as [i64; 0]);
}

fn lists_are_filtered(mut trial: Boxed) {
    fill(&mut trial);
    let want = |wanted: fn(i64) -> bool| (1..=30).filter(|number| wanted(*number)).collect::<Vec<_>>();
    // Each once by index and once through the specs.
    for text in [None, Some("example.com".to_owned())] {
        let all = ListQuery { text, ..everything() };
        for (query, wanted) in [
            (ListQuery { app: Some(app("B")), ..all.clone() }, (|n| n % 5 == 0) as fn(i64) -> bool),
            (ListQuery { app: Some(app("nobody")), ..all.clone() }, |_| false),
            (ListQuery { kind: Some(OperationKind::Upload), ..all.clone() }, |n| n % 7 == 0),
            (ListQuery { group: Some(group("four")), ..all.clone() }, |n| n % 4 == 0),
            (ListQuery { group: Some(group("nobody's")), ..all.clone() }, |_| false),
            (ListQuery { only_ungrouped: true, ..all.clone() }, |n| n % 4 != 0),
            (ListQuery { only_ungrouped: true, group: Some(group("four")), ..all.clone() }, |_| false),
            (ListQuery { label: Some("Even".to_owned()), ..all.clone() }, |n| n % 2 == 0),
            (ListQuery { label: Some("even".to_owned()), ..all.clone() }, |_| false),
            (ListQuery { is_final: Some(false), ..all.clone() }, |n| n % 3 != 0),
            (ListQuery { is_final: Some(true), ..all.clone() }, |n| n % 3 == 0),
            (ListQuery { include_consumed: false, ..all.clone() }, |n| n % 6 != 0),
            (
                ListQuery {
                    app: Some(app("A")),
                    group: Some(group("four")),
                    kind: Some(OperationKind::Download),
                    is_final: Some(true),
                    include_consumed: true,
                    ..all.clone()
                },
                |n| n % 5 != 0 && n % 4 == 0 && n % 7 != 0 && n % 3 == 0,
            ),
        ] {
            assert_eq!(list(&trial, &query), want(wanted), "{query:?}");
            let reversed = ListQuery { descending: true, ..query.clone() };
            assert!(list(&trial, &reversed).into_iter().rev().eq(want(wanted)), "{reversed:?}");
        }
    }
}

fn text_is_searched(mut trial: Boxed) {
    let with = |uri: &str, file: &str, label: Option<&str>| {
        let mut spec = spec(0);
        spec.requested_uri = uri.to_owned();
        spec.result_file = file.to_owned();
        spec.label = label.map(str::to_owned);
        spec
    };
    trial
        .store()
        .commit(&[
            created(row(1), with("https://a.example/Film.mkv", "/d/x", None)),
            created(row(2), with("https://b.example/", "/films/notes.txt", Some("say \"film\"\\"))),
            created(row(3), with("https://c.example/", "/films/notes.txt", None)),
            created(row(4), with("https://d.example/", "/d/Gr\u{fc}n FILM.mkv", None)),
        ])
        .unwrap();
    for (text, expected) in [
        ("film", vec![1, 2, 4]),
        ("NOTES", vec![2, 3]),
        ("\"film\"\\", vec![2]),
        ("gr\u{fc}n", vec![4]),
        ("x-key", vec![]),
        ("cret", vec![]),
        ("", vec![1, 2, 3, 4]),
    ] {
        let query = ListQuery { text: Some(text.to_owned()), ..everything() };
        assert_eq!(list(&trial, &query), expected, "{text}");
    }
}

fn ids_are_found_by_their_beginning(mut trial: Boxed) {
    fill(&mut trial);
    let find = |name, prefix: &str, limit| trial.reader().ids_with_prefix(&app(name), prefix, limit).unwrap();
    let whole = id(3).to_string();
    assert_eq!(find("A", &whole, 2), [id(3)]);
    assert_eq!(find("A", &whole.replace('-', "").to_uppercase(), 2), [id(3)]);
    assert_eq!(find("B", &whole, 2), [] as [OperationId; 0]);
    assert_eq!(find("A", &whole[..10], 3), [id(1), id(2), id(3)]);
    assert_eq!(find("B", "", 100).len(), 6);
    assert_eq!(find("A", "xyz", 9), [] as [OperationId; 0]);
    assert_eq!(find("nobody", "", 9), [] as [OperationId; 0]);
}

fn what_is_due_is_forgotten_longest_past_first(mut trial: Boxed) {
    for (number, at) in [(1, 30), (2, 10), (3, 20), (4, 500)] {
        trial.store().commit(&[create(number), ended(row(number), at)]).unwrap();
    }
    let due = |limit| {
        let due = trial.reader().prunable(time(200), limit).unwrap();
        due.into_iter().map(|(_, id)| id).collect::<Vec<_>>()
    };
    assert_eq!(due(9), [id(2), id(3), id(1)]);
    assert_eq!(due(2), [id(2), id(3)]);
}
