//! A binary for the tests that can become the launcher of tasks, as the real one can.

fn main() {
    longhaul_daemon::launcher::main_if_asked();
}
