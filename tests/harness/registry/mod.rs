//! An OCI registry that serves layouts, counts what it is asked and misbehaves on demand.

mod answer;
mod body;
mod faults;
mod log;

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result};
use axum::Router;
use axum::extract::{Request as HttpRequest, State};
use parking_lot::Mutex;
use tokio::runtime::{Builder, Runtime};

use crate::layout::Layout;

pub use faults::{Auth, Credentials, Discovery, Faults};
pub use log::{Kind, Log, Request};

/// Runs until dropped or stopped; two ports, the second one for redirected blobs.
pub struct Registry {
    address: SocketAddr,
    shared: Arc<Shared>,
    /// Of its own, so that stopping it closes every connection at once.
    runtime: Mutex<Option<Runtime>>,
}

pub(crate) struct Shared {
    repositories: Mutex<HashMap<String, Layout>>,
    faults: Mutex<Faults>,
    log: Log,
    tokens: Mutex<Vec<(String, Instant)>>,
    address: SocketAddr,
    /// Where redirected blobs are served.
    store: SocketAddr,
}

/// Which of the two ports a request came in at.
#[derive(Clone)]
pub(crate) struct Port {
    shared: Arc<Shared>,
    is_store: bool,
}

impl Registry {
    pub fn start() -> Result<Self> {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listeners = [
            std::net::TcpListener::bind(any)?,
            std::net::TcpListener::bind(any)?,
        ];
        let [address, store] = [listeners[0].local_addr()?, listeners[1].local_addr()?];
        let shared = Arc::new(Shared {
            repositories: Mutex::default(),
            faults: Mutex::default(),
            log: Log::default(),
            tokens: Mutex::default(),
            address,
            store,
        });
        let runtime = serve(&shared, listeners)?;
        Ok(Self {
            address,
            shared,
            runtime: Mutex::new(Some(runtime)),
        })
    }

    /// Serves a layout under a repository name.
    pub fn add(&self, repository: &str, layout: &Layout) {
        self.shared
            .repositories
            .lock()
            .insert(repository.to_owned(), layout.clone());
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `127.0.0.1:PORT/REPOSITORY:latest`.
    pub fn reference(&self, repository: &str) -> String {
        format!("{}/{repository}:latest", self.address)
    }

    pub fn set(&self, faults: Faults) {
        *self.shared.faults.lock() = faults;
    }

    pub fn log(&self) -> &Log {
        &self.shared.log
    }

    /// Closes both ports and every connection.
    pub fn stop(&self) {
        if let Some(runtime) = self.runtime.lock().take() {
            runtime.shutdown_background();
        }
    }

    /// Comes back on the same ports.
    pub fn restart(&self) -> Result<()> {
        self.stop();
        let bind = |address: SocketAddr| {
            for _ in 0..200 {
                if let Ok(listener) = std::net::TcpListener::bind(address) {
                    return Ok(listener);
                }
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            std::net::TcpListener::bind(address).with_context(|| format!("port {address} again"))
        };
        let listeners = [bind(self.address)?, bind(self.shared.store)?];
        *self.runtime.lock() = Some(serve(&self.shared, listeners)?);
        Ok(())
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.stop();
    }
}

fn serve(shared: &Arc<Shared>, listeners: [std::net::TcpListener; 2]) -> Result<Runtime> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    for (listener, is_store) in listeners.into_iter().zip([false, true]) {
        listener.set_nonblocking(true)?;
        let _context = runtime.enter();
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let port = Port {
            shared: Arc::clone(shared),
            is_store,
        };
        let router = Router::new().fallback(handle).with_state(port);
        runtime.spawn(async move { axum::serve(listener, router).await });
    }
    Ok(runtime)
}

async fn handle(State(port): State<Port>, request: HttpRequest) -> axum::response::Response {
    let (parts, _) = request.into_parts();
    answer::answer(&port, &parts).await
}
