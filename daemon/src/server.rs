//! The socket containerd talks to: listening, readiness, and the end.

use std::fs::{self, DirBuilder, Permissions};
use std::future::Future;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt;
use listenfd::ListenFd;
use sd_notify::NotifyState;
use tokio::sync::oneshot;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::service::Routes;
use tonic::transport::Server;

pub const DEFAULT_PATH: &str = "/run/soci-snapshotter-grpc/soci-snapshotter-grpc.sock";

#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error("cannot {action} {}: {source}", path.display())]
    Socket {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("{} is not a socket; remove it, or listen elsewhere", .0.display())]
    NotASocket(PathBuf),
    #[error("another process answers on {}; stop it first", .0.display())]
    Answered(PathBuf),
    #[error("systemd handed over {0} sockets; the socket unit must have exactly one")]
    TooManySockets(usize),
    #[error("serving failed: {0}")]
    Serve(#[from] tonic::transport::Error),
}

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Path(PathBuf),
    /// The socket systemd hands over; the default path if it hands over none.
    Inherited,
}

impl From<&str> for Address {
    fn from(text: &str) -> Address {
        match text.strip_prefix("unix://") {
            Some(path) => Address::Path(path.into()),
            None if text.starts_with("fd://") => Address::Inherited,
            None => Address::Path(text.into()),
        }
    }
}

impl Address {
    /// Blocks.
    pub fn listen(&self) -> Result<UnixListener, ServerError> {
        match self {
            Address::Path(path) => bind(path),
            Address::Inherited => match inherited()? {
                Some(listener) => Ok(listener),
                None => bind(Path::new(DEFAULT_PATH)),
            },
        }
    }
}

/// Descriptors that are not listening sockets are somebody else's.
fn inherited() -> Result<Option<UnixListener>, ServerError> {
    let mut given = ListenFd::from_env();
    let mut listeners: Vec<UnixListener> = (0..given.len())
        .filter_map(|place| given.take_unix_listener(place).ok().flatten())
        .collect();
    match listeners.len() {
        0 | 1 => Ok(listeners.pop()),
        more => Err(ServerError::TooManySockets(more)),
    }
}

fn bind(path: &Path) -> Result<UnixListener, ServerError> {
    let failed = |action, path: &Path| {
        let path = path.to_owned();
        move |source| ServerError::Socket {
            action,
            path,
            source,
        }
    };
    if let Some(parent) = path.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(parent)
            .map_err(failed("create", parent))?;
    }
    refuse_if_taken(path)?;
    // Made aside and moved into place, so that nobody can connect before the mode is right.
    let aside = PathBuf::from(format!("{}.new", path.display()));
    refuse_if_taken(&aside)?;
    match fs::remove_file(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed("remove", &aside)(error));
        }
        _ => {}
    }
    let listener = UnixListener::bind(&aside).map_err(failed("listen on", path))?;
    fs::set_permissions(&aside, Permissions::from_mode(0o600))
        .and_then(|()| fs::rename(&aside, path))
        .map_err(failed("listen on", path))?;
    Ok(listener)
}

/// Only a socket on which nobody answers may be replaced.
fn refuse_if_taken(path: &Path) -> Result<(), ServerError> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => {
            return Err(ServerError::Socket {
                action: "look at",
                path: path.to_owned(),
                source,
            });
        }
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(ServerError::NotASocket(path.to_owned()));
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Ok(_) => Err(ServerError::Answered(path.to_owned())),
        Err(source) => Err(ServerError::Socket {
            action: "connect to",
            path: path.to_owned(),
            source,
        }),
    }
}

/// Serves until `stop`, then lets requests that are under way finish, for `drain` at most.
pub async fn serve(
    listener: UnixListener,
    routes: Routes,
    stop: impl Future<Output = ()> + Send,
    drain: Duration,
) -> Result<(), ServerError> {
    let path = || match listener.local_addr() {
        Ok(address) => address
            .as_pathname()
            .map(Path::to_owned)
            .unwrap_or_default(),
        Err(_) => PathBuf::new(),
    };
    let socket = |source| ServerError::Socket {
        action: "listen on",
        path: path(),
        source,
    };
    listener.set_nonblocking(true).map_err(socket)?;
    let listener = listener
        .try_clone()
        .and_then(tokio::net::UnixListener::from_std)
        .map_err(socket)?;
    let own = nix::unistd::geteuid().as_raw();
    let trusted = UnixListenerStream::new(listener).filter(move |connection| {
        let trusted = match connection.as_ref().map(|connection| connection.peer_cred()) {
            Ok(Ok(peer)) if peer.uid() != 0 && peer.uid() != own => {
                let uid = peer.uid();
                tracing::warn!(target: "daemon", uid, "turned away a user who may not ask for mounts");
                false
            }
            Ok(Err(_)) => false,
            // The server deals with errors of the listener.
            Ok(Ok(_)) | Err(_) => true,
        };
        std::future::ready(trusted)
    });
    let (begin, begun) = oneshot::channel();
    let stopping = async move {
        stop.await;
        notify(NotifyState::Stopping);
        let _ = begin.send(());
    };
    notify(NotifyState::Ready);
    let serving = Server::builder()
        .add_routes(routes)
        .serve_with_incoming_shutdown(trusted, stopping);
    let bound = async move {
        match begun.await {
            Ok(()) => tokio::time::sleep(drain).await,
            // Serving has ended for another reason, and says which.
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        served = serving => Ok(served?),
        () = bound => {
            tracing::warn!(target: "daemon", "cut off requests that did not finish in time");
            Ok(())
        }
    }
}

fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(target: "daemon", %error, "cannot tell systemd how we are");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, address: Address) {
        assert_eq!(Address::from(text), address);
    }

    #[test]
    fn addresses_are_written_as_for_the_reference() {
        check("/run/s.sock", Address::Path("/run/s.sock".into()));
        check("unix:///run/s.sock", Address::Path("/run/s.sock".into()));
        check("s.sock", Address::Path("s.sock".into()));
        check("fd://", Address::Inherited);
    }

    #[test]
    fn a_socket_left_behind_is_replaced_and_closed_to_others() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("made/on/the/way/s.sock");
        drop(bind(&path).unwrap());
        let _listener = bind(&path).unwrap();
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn a_socket_that_answers_and_a_file_are_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("s.sock");
        let _listener = bind(&path).unwrap();
        assert!(matches!(bind(&path), Err(ServerError::Answered(_))));
        let file = root.path().join("file");
        fs::write(&file, "precious").unwrap();
        assert!(matches!(bind(&file), Err(ServerError::NotASocket(_))));
        assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    }
}
