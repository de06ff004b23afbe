//! What a start refuses, and what it leaves.

use std::os::unix::fs::PermissionsExt;

use longhaul_daemon::StartError;

use crate::rig::Rig;

#[test]
fn the_second_service_on_a_state_folder_is_refused() {
    let mut rig = Rig::start();
    let mut second = Rig::prepare(|configuration| {
        configuration.service.state = rig.configuration.service.state.clone();
    });
    let error = second.launch().unwrap_err();
    assert!(matches!(error, StartError::AlreadyRunning(_)), "{error}");
    assert!(error.to_string().contains("another service"), "{error}");
    let _ = rig.api().get("/healthz").unwrap().expect_status(200);
    rig.stop();
    second.launch().unwrap();
}

#[test]
fn a_socket_that_answers_is_not_taken_over() {
    let rig = Rig::start();
    let mut second = Rig::prepare(|configuration| {
        configuration.service.socket = rig.configuration.service.socket.clone();
    });
    let error = second.launch().unwrap_err();
    assert!(matches!(error, StartError::SocketInUse(_)), "{error}");
    let _ = rig.api().get("/healthz").unwrap().expect_status(200);
}

#[test]
fn a_socket_that_a_crash_left_is_replaced() {
    let mut rig = Rig::prepare(|_| {});
    let socket = rig.folder.path().join("run/longhaul.sock");
    std::fs::create_dir(rig.folder.path().join("run")).unwrap();
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    rig.launch().unwrap();
    let _ = rig.api().get("/healthz").unwrap().expect_status(200);
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_file_that_is_no_socket_is_not_removed() {
    let mut rig = Rig::prepare(|_| {});
    let socket = rig.folder.path().join("run/longhaul.sock");
    std::fs::create_dir(rig.folder.path().join("run")).unwrap();
    std::fs::write(&socket, "precious").unwrap();
    assert!(matches!(rig.launch().unwrap_err(), StartError::Socket { .. }));
    assert_eq!(std::fs::read_to_string(&socket).unwrap(), "precious");
}

#[test]
fn only_loopback_is_listened_on() {
    let mut rig = Rig::prepare(|configuration| {
        configuration.service.listen = vec!["0.0.0.0:0".parse().unwrap()];
    });
    assert!(matches!(rig.launch().unwrap_err(), StartError::NotLoopback(_)));
}
