//! WebAssembly components for the tests, made from text. Each is what a compiler for WASI makes: a module of the first
//! preview, and the usual adapter around it.

use std::path::Path;

use wasi_preview1_component_adapter_provider as adapter;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// Standard input to standard output, as far as it comes.
pub(crate) const ECHO: &str = r#"
    (func (export "_start")
      (loop $more
        (i32.store (i32.const 1024) (i32.const 8192))
        (i32.store (i32.const 1028) (i32.const 32768))
        (drop (call $fd_read (i32.const 0) (i32.const 1024) (i32.const 1) (i32.const 1032)))
        (if (i32.load (i32.const 1032))
          (then
            (call $print (i32.const 8192) (i32.load (i32.const 1032)))
            (br $more)))))"#;

/// All its variables, each with its NUL.
pub(crate) const ENVIRONMENT: &str = r#"
    (func (export "_start")
      (drop (call $environ_sizes_get (i32.const 1040) (i32.const 1044)))
      (drop (call $environ_get (i32.const 2048) (i32.const 8192)))
      (call $print (i32.const 8192) (i32.load (i32.const 1044))))"#;

/// Goes on until it is asked to end, and tells the number of the reason.
pub(crate) const COOPERATIVE: &str = r#"
    (func (export "_start")
      (call $progress (i32.const 40))
      (loop $again
        (call $sleep)
        (call $cancel_requested (i32.const 1040))
        (br_if $again (i32.eqz (i32.load8_u (i32.const 1040)))))
      (call $number (i32.load8_u (i32.const 1041)))
      (call $number (call $suspended_count)))"#;

/// Could know of a cancellation, and does not look.
pub(crate) const ENDLESS: &str = r#"
    (func (export "_start") (call $progress (i32.const 1)) (loop $again (br $again)))"#;

/// The same, of which nothing is to be expected.
pub(crate) const UNAWARE: &str = r#"
    (func (export "_start") (call $number (i32.const 7)) (loop $again (br $again)))"#;

/// 64 KiB more, until there are no more. It prints before that too: the adapter gets its own memory with the first call.
pub(crate) const GREEDY: &str = r#"
    (func (export "_start")
      (call $number (memory.size))
      (loop $more
        (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
      (call $number (memory.size))
      (unreachable))"#;

pub(crate) const TRAP: &str = r#"
    (func $divide (param i32) (result i32) (i32.div_u (i32.const 1) (local.get 0)))
    (func (export "_start") (call $number (call $divide (i32.const 0))))"#;

pub(crate) const FAILURE: &str = r#"
    (func (export "_start") (call $number (i32.const 3)) (call $proc_exit (i32.const 3)))"#;

/// Reads the named file in its first folder, and tells the error number of the attempt first.
pub(crate) fn reads(name: &str) -> String {
    opens(name, 0, 2, ECHO_FILE)
}

/// Makes the named file in its first folder, and tells the error number of the attempt.
pub(crate) fn makes(name: &str) -> String {
    opens(name, 1, 64, "")
}

const ECHO_FILE: &str = r#"
      (i32.store (i32.const 1024) (i32.const 8192))
      (i32.store (i32.const 1028) (i32.const 32768))
      (drop (call $fd_read (i32.load (i32.const 1048)) (i32.const 1024) (i32.const 1) (i32.const 1032)))
      (call $print (i32.const 8192) (i32.load (i32.const 1032)))"#;

fn opens(name: &str, flags: u32, rights: u64, then: &str) -> String {
    format!(
        r#"
    (data (i32.const 256) "{name}")
    (func (export "_start") (local $error i32)
      (local.set $error (call $path_open (i32.const 3) (i32.const 0) (i32.const 256) (i32.const {length})
        (i32.const {flags}) (i64.const {rights}) (i64.const 0) (i32.const 0) (i32.const 1048)))
      (call $number (local.get $error))
      (if (i32.eqz (local.get $error)) (then {then})))"#,
        length = name.len()
    )
}

/// What the guests above call. The interface to the service is imported by those that name it.
fn module(body: &str) -> String {
    let is_aware = body.contains("$progress");
    let interface = if is_aware { INTERFACE } else { "" };
    format!("(module {WASI} {interface} (memory (export \"memory\") 2) {PRINTING} {body})")
}

const WASI: &str = r#"
    (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "path_open"
      (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ_sizes_get (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "environ_get" (func $environ_get (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))"#;

const INTERFACE: &str = r#"
    (import "longhaul:task/instance@1.0.0" "progress" (func $progress (param i32)))
    (import "longhaul:task/instance@1.0.0" "cancel-requested" (func $cancel_requested (param i32)))
    (import "longhaul:task/instance@1.0.0" "suspended-count" (func $suspended_count (result i32)))"#;

/// A number below 100 on a line of its own, and 10 ms of sleep (a subscription to the monotonic clock).
const PRINTING: &str = r#"
    (func $print (param $from i32) (param $length i32)
      (i32.store (i32.const 1024) (local.get $from))
      (i32.store (i32.const 1028) (local.get $length))
      (drop (call $fd_write (i32.const 1) (i32.const 1024) (i32.const 1) (i32.const 1036))))
    (func $number (param $value i32)
      (i32.store8 (i32.const 1100) (i32.add (i32.const 48) (i32.div_u (local.get $value) (i32.const 10))))
      (i32.store8 (i32.const 1101) (i32.add (i32.const 48) (i32.rem_u (local.get $value) (i32.const 10))))
      (i32.store8 (i32.const 1102) (i32.const 10))
      (call $print (i32.const 1100) (i32.const 3)))
    (func $sleep
      (i32.store (i32.const 1216) (i32.const 1))
      (i64.store (i32.const 1224) (i64.const 10000000))
      (drop (call $poll_oneoff (i32.const 1200) (i32.const 1300) (i32.const 1) (i32.const 1360))))"#;

/// Writes the component of one of the bodies above.
#[track_caller]
pub(crate) fn write(file: &Path, body: &str) {
    let mut module = wat::parse_str(module(body)).expect("the text of a module");
    if body.contains("$progress") {
        let mut resolve = Resolve::default();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/component/wit");
        let (package, _) = resolve.push_dir(folder).expect("the interface");
        let world = resolve.select_world(&[package], Some("imports")).expect("its world");
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("its types");
    }
    let command = adapter::WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER;
    let component = ComponentEncoder::default()
        .module(&module)
        .and_then(|encoder| encoder.adapter(adapter::WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, command))
        .and_then(|mut encoder| encoder.encode())
        .expect("a component");
    std::fs::write(file, component).expect("a file");
}
