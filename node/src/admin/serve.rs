//! Opens the two listeners of the admin API and serves them until they are dropped.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinHandle;
use weft_identity::{Code, Failure};
use weft_world::admin::SOCKET_FILE;

use super::desk::AdminDesk;
use super::routes::{local_routes, public_routes};

/// Largest body of a request: the largest that is sent is a few hundred bytes.
const BODY_LEN_MAX: usize = 64 * 1024;

/// The open listeners; dropping this closes them and removes the socket's file.
pub struct AdminListeners {
    socket: PathBuf,
    tasks: Vec<JoinHandle<()>>,
}

impl AdminListeners {
    /// Opens both. The caller holds the lock of the state directory, so a socket file that is there is a leftover.
    pub async fn open(dir: &Path, public_at: SocketAddr, desk: Arc<dyn AdminDesk>) -> Result<Self, Failure> {
        let socket = dir.join(SOCKET_FILE);
        let public = TcpListener::bind(public_at).await.map_err(|error| refused(&public_at.to_string(), &error))?;
        let local = local_listener(&socket).map_err(|error| refused(&socket.display().to_string(), &error))?;
        let limit = DefaultBodyLimit::max(BODY_LEN_MAX);
        let local_router: Router = local_routes(Arc::clone(&desk)).layer(limit);
        let public_router: Router = public_routes(desk).layer(limit);
        let tasks = vec![
            tokio::spawn(async move {
                if let Err(error) = axum::serve(local, local_router).await {
                    tracing::error!(%error, "the admin socket ended");
                }
            }),
            tokio::spawn(async move {
                if let Err(error) = axum::serve(public, public_router).await {
                    tracing::error!(%error, "the admin port ended");
                }
            }),
        ];
        Ok(Self { socket, tasks })
    }
}

impl Drop for AdminListeners {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        // The next start removes a leftover, too, so a failure here costs nothing.
        let _ = std::fs::remove_file(&self.socket);
    }
}

fn local_listener(socket: &Path) -> std::io::Result<UnixListener> {
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(socket)?;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

fn refused(at: &str, error: &std::io::Error) -> Failure {
    let code = match error.kind() {
        std::io::ErrorKind::AddrInUse => Code::PortInUse,
        std::io::ErrorKind::AddrNotAvailable => Code::AddressInvalid,
        _ => Code::Internal,
    };
    Failure::new(code, format!("listen on {at} for the admin API: {error}"))
}
