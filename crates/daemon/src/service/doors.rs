//! The sockets to listen on: handed over by systemd, or made here once the state folder is ours.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use listenfd::ListenFd;
use tokio::net::{TcpListener, UnixListener};

use super::StartError;
use crate::config::ServiceSettings;
use crate::http::Door;

/// Sockets that systemd holds for us (sd_listen_fds(3)).
#[derive(Default)]
pub struct GivenSockets {
    unix: Vec<std::os::unix::net::UnixListener>,
    tcp: Vec<std::net::TcpListener>,
}

impl GivenSockets {
    /// Takes over what the environment names. To be called once, before there are other threads.
    #[must_use]
    pub fn take() -> Self {
        let mut given = Self::default();
        let mut sockets = ListenFd::from_env();
        for index in 0..sockets.len() {
            if let Ok(Some(listener)) = sockets.take_unix_listener(index) {
                given.unix.push(listener);
            } else if let Ok(Some(listener)) = sockets.take_tcp_listener(index) {
                given.tcp.push(listener);
            } else {
                tracing::warn!(
                    index,
                    "a socket that was handed over is neither Unix nor TCP; it is not used"
                );
            }
        }
        given
    }
}

/// The Unix socket that was made here.
pub(super) struct SocketFile {
    path: PathBuf,
    inode: u64,
}

impl SocketFile {
    /// Removes it, unless somebody else's has its name by now.
    pub(super) fn remove(self) {
        let is_ours =
            std::fs::symlink_metadata(&self.path).is_ok_and(|metadata| metadata.ino() == self.inode);
        if is_ours && let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "the socket cannot be removed");
        }
    }
}

pub(super) async fn open_doors(
    settings: &ServiceSettings,
    given: GivenSockets,
) -> Result<(Vec<Door>, Option<SocketFile>), StartError> {
    let mut doors = Vec::new();
    let mut socket = None;
    if given.unix.is_empty() {
        let path = PathBuf::from(&settings.socket);
        let (listener, file) = bind_unix(&path).await?;
        doors.push(Door::Unix(listener));
        socket = Some(file);
    }
    for listener in given.unix {
        listener.set_nonblocking(true)?;
        doors.push(Door::Unix(UnixListener::from_std(listener)?));
    }
    for listener in given.tcp {
        let address = listener.local_addr()?;
        check_loopback(address)?;
        listener.set_nonblocking(true)?;
        doors.push(Door::Tcp(TcpListener::from_std(listener)?));
    }
    for address in &settings.listen {
        check_loopback(*address)?;
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|source| StartError::Listen { address: *address, source })?;
        doors.push(Door::Tcp(listener));
    }
    Ok((doors, socket))
}

fn check_loopback(address: SocketAddr) -> Result<(), StartError> {
    if address.ip().is_loopback() { Ok(()) } else { Err(StartError::NotLoopback(address)) }
}

/// Binds beside the final name and renames, so that the socket never has wider permissions than it should, and one
/// that a crash left is replaced in one step.
async fn bind_unix(path: &Path) -> Result<(UnixListener, SocketFile), StartError> {
    let refuse = |source| StartError::Socket { path: path.to_owned(), source };
    make_folder(path).map_err(refuse)?;
    if tokio::net::UnixStream::connect(path).await.is_ok() {
        return Err(StartError::SocketInUse(path.to_owned()));
    }
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if !std::os::unix::fs::FileTypeExt::is_socket(&metadata.file_type()) => {
            return Err(refuse(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "a file that is no socket has the name",
            )));
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(refuse(error)),
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(refuse(error)),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(&beside).map_err(refuse)?;
    std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(0o600)).map_err(refuse)?;
    let inode = std::fs::symlink_metadata(&beside).map_err(refuse)?.ino();
    std::fs::rename(&beside, path).map_err(refuse)?;
    Ok((listener, SocketFile { path: path.to_owned(), inode }))
}

fn make_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
        }
        _ => Ok(()),
    }
}
