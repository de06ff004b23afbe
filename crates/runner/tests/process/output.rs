//! What programs write and read.

use longhaul_runner::{OutputSize, Stream};

use crate::world::{World, exited, lab_launch, shell, stderr, stdout, until_said, within};

#[tokio::test]
async fn the_input_is_whole_and_ends() {
    let world = World::new();
    let input: Vec<u8> = (0..300_000_u32).map(|number| b'a' + (number % 23) as u8).collect();
    for program in ["echo", "late-echo"] {
        let mut launch = lab_launch(&[program]);
        launch.input = input.clone();
        launch.output = OutputSize { head: 1 << 20, tail: 1 << 20 };
        let (ended, running) = world.run(launch).await;
        assert_eq!(ended.outcome, exited(0));
        let written = running.output().read_all().of(Stream::Stdout);
        assert!(written.ends_with(&input), "{program}: {} bytes", written.len());
    }
}

#[tokio::test]
async fn no_input_is_an_empty_one() {
    let world = World::new();
    let (ended, running) =
        world.run(shell("wc -c; cat /dev/stdin; echo x > /dev/stdout; echo y > /dev/stderr")).await;
    assert_eq!(ended.outcome, exited(0));
    assert_eq!((stdout(&running).as_str(), stderr(&running).as_str()), ("0\nx\n", "y\n"));
}

#[tokio::test]
async fn both_streams_are_told_apart_and_escapes_are_kept() {
    let world = World::new();
    let (_, running) = world.run(shell("printf '\\033[31mred\\007'; printf '\\377' >&2")).await;
    let all = running.output().read_all();
    assert_eq!(all.of(Stream::Stdout), b"\x1b[31mred\x07");
    assert_eq!(all.of(Stream::Stderr), b"\xff");
    assert!(all.is_complete && all.dropped == 0 && all.total == 10, "{all:?}");
}

#[tokio::test]
async fn a_flood_is_kept_at_both_ends_only() {
    let world = World::new();
    let bytes: u64 = 100 << 20;
    let (ended, running) = world.run(lab_launch(&["flood", &bytes.to_string()])).await;
    assert_eq!(ended.outcome, exited(0));
    let all = running.output().read_all();
    assert_eq!(all.total, bytes + 4);
    let kept: usize = all.pieces.iter().map(|piece| piece.bytes.len()).sum();
    assert_eq!(all.dropped + kept as u64, all.total);
    assert!((200 << 10..=256 << 10).contains(&kept), "{kept} bytes kept");
    assert_eq!(all.pieces.first().map(|piece| piece.offset), Some(0));
    assert!(all.of(Stream::Stdout).ends_with(b"end\n"));
}

#[tokio::test]
async fn it_can_be_read_while_it_grows() {
    let world = World::new();
    let running = world.start(lab_launch(&["drizzle", "20"])).await;
    until_said(&running, "line 3\n").await;
    assert!(running.ended().is_none(), "it runs on");
    let mut total = running.output().subscribe();
    let (mut seen, mut next) = (Vec::new(), 0);
    let read_along = async {
        loop {
            let excerpt = running.output().read(next, 10);
            next = excerpt.next;
            seen.extend(excerpt.of(Stream::Stdout));
            if excerpt.pieces.is_empty() {
                if excerpt.is_complete {
                    return;
                }
                total.changed().await.expect("output goes on");
            }
        }
    };
    within(read_along).await;
    let expected: String = (0..20).map(|line| format!("line {line}\n")).collect();
    assert_eq!(String::from_utf8_lossy(&seen), expected);
}

#[tokio::test]
async fn closing_its_descriptors_ends_nothing() {
    let world = World::new();
    let script = "echo before; exec 0<&- 1>&- 2>&-; sleep 0.2; exit 6";
    let (ended, running) = world.run(shell(script)).await;
    assert_eq!((&ended.outcome, stdout(&running).as_str()), (&exited(6), "before\n"));
}
