use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

type Change = fn(&std::path::Path);

#[derive(Default)]
struct Count(AtomicU64);

impl Witness for Count {
    fn left(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    fn last(&self) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

fn read(content: &Arc<Content>, range: Range<u64>) -> Result<Vec<u8>, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let count = Arc::new(Count::default());
    let reading = Reading {
        content: Arc::clone(content),
        rate: RateLimit::new(None),
        buffers: Buffers::default(),
        witness: Arc::clone(&count) as Arc<dyn Witness>,
        notes_last: true,
    };
    let course = Course::new(range.end - range.start, false);
    let pieces: Vec<_> = runtime.block_on(reading.stream(range, Arc::clone(&course)).collect());
    let mut bytes = Vec::new();
    for piece in pieces {
        match piece {
            Ok(piece) => bytes.extend_from_slice(&piece),
            Err(_) => return Err(course.failure().expect("an error has a reason")),
        }
    }
    assert_eq!(count.0.load(Ordering::Relaxed), bytes.len() as u64);
    Ok(bytes)
}

#[test]
fn a_multipart_body_has_the_length_it_was_said_to_have_and_any_range_of_it_can_be_had() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.bin");
    let bytes: Vec<u8> = (0..700_000_u32).map(|number| (number % 251) as u8).collect();
    std::fs::write(&path, &bytes).unwrap();
    let source = UploadSource::Multipart {
        sub_type: "form-data".to_owned(),
        boundary: "xyz".to_owned(),
        parts: vec![
            UploadPart {
                headers: vec![("Content-Disposition".to_owned(), "form-data; name=\"t\"".to_owned())],
                content: UploadContent::Text("hello".to_owned()),
            },
            UploadPart { headers: Vec::new(), content: UploadContent::File(path) },
            UploadPart { headers: Vec::new(), content: UploadContent::Text(String::new()) },
        ],
    };
    let content = Arc::new(Content::open(&source).unwrap());
    let mut expected =
        b"--xyz\r\nContent-Disposition: form-data; name=\"t\"\r\n\r\nhello\r\n--xyz\r\n\r\n".to_vec();
    expected.extend_from_slice(&bytes);
    expected.extend_from_slice(b"\r\n--xyz\r\n\r\n\r\n--xyz--\r\n");
    assert_eq!(content.total, expected.len() as u64);
    assert_eq!(content.media_type.as_deref(), Some("multipart/form-data; boundary=\"xyz\""));
    let end = expected.len();
    for (start, end) in
        [(0, end), (0, 1), (60, 70), (65, 400_000), (end - 30, end), (500_000, end), (end, end)]
    {
        assert_eq!(read(&content, start as u64..end as u64).unwrap(), expected[start..end], "{start}..{end}");
    }
}

#[test]
fn fault_078_what_would_break_the_framing_of_a_part_is_refused() {
    let part = |name: &str, value: &str, text: &str| UploadSource::Multipart {
        sub_type: "mixed".to_owned(),
        boundary: "xyz".to_owned(),
        parts: vec![UploadPart {
            headers: vec![(name.to_owned(), value.to_owned())],
            content: UploadContent::Text(text.to_owned()),
        }],
    };
    assert!(Content::open(&part("a", "b", "c")).is_ok());
    for (name, value, text) in
        [("a", "b\r\nc: d", ""), ("a b", "c", ""), ("a", "b\0", ""), ("a", "b", "x\r\n--xyz--")]
    {
        assert!(Content::open(&part(name, value, text)).is_err(), "{name}: {value}, {text}");
    }
    for (sub_type, boundary) in
        [("form data", "x"), ("mixed", ""), ("mixed", "a\"b"), ("mixed", "ends "), ("", "x")]
    {
        let source = UploadSource::Multipart {
            sub_type: sub_type.to_owned(),
            boundary: boundary.to_owned(),
            parts: Vec::new(),
        };
        assert!(Content::open(&source).is_err(), "{sub_type} {boundary}");
    }
}

#[test]
fn fault_101_a_source_that_is_no_longer_the_same_never_comes_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.bin");
    let changes: [(&str, Change); 5] = [
        ("grown", |path| std::fs::write(path, vec![1; 1_000_001]).unwrap()),
        ("shrunk", |path| std::fs::write(path, vec![1; 10]).unwrap()),
        ("replaced", |path| {
            let other = path.with_extension("new");
            std::fs::write(&other, vec![1; 1_000_000]).unwrap();
            std::fs::rename(other, path).unwrap();
        }),
        ("deleted", |path| std::fs::remove_file(path).unwrap()),
        ("a folder", |path| {
            std::fs::remove_file(path).unwrap();
            std::fs::create_dir(path).unwrap();
        }),
    ];
    for (what, change) in changes {
        std::fs::write(&path, vec![1; 1_000_000]).unwrap();
        let content = Arc::new(Content::open(&UploadSource::File(path.clone())).unwrap());
        change(&path);
        let failure = read(&content, 0..1_000_000).expect_err(what);
        let why = (failure.remedy, failure.cause);
        assert_eq!(
            why,
            (longhaul_contract::Remedy::Stale, Cause::SourceChanged),
            "{what}: {}",
            failure.detail
        );
        if path.is_dir() {
            std::fs::remove_dir(&path).unwrap();
        }
    }
}

#[test]
fn fault_101_a_folder_a_pipe_and_what_is_not_there_are_no_sources() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    for path in [folder.path().to_owned(), pipe, folder.path().join("absent")] {
        let failure = Content::open(&UploadSource::File(path)).unwrap_err();
        assert_eq!(failure.cause, Cause::SourceUnreadable, "{}", failure.detail);
    }
}
