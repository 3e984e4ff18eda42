//! The snapshotter without lazy loading: `plain --root DIR --address SOCKET`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use daemon::layers::NoLayers;
use daemon::server::{self, Address};
use daemon::service::Service;
use daemon::snapshotter::Snapshotter;
use tokio::signal::unix::{SignalKind, signal};
use tonic::service::Routes;

#[derive(Parser)]
struct Arguments {
    #[arg(long)]
    root: PathBuf,
    #[arg(long, default_value = server::DEFAULT_PATH)]
    address: String,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .json()
        .with_writer(std::io::stderr)
        .init();
    let arguments = Arguments::parse();
    let snapshotter = Snapshotter::open(&arguments.root.join("snapshotter"), Arc::new(NoLayers))?;
    snapshotter.recover().await?;
    let listener = Address::from(arguments.address.as_str()).listen()?;
    let mut stop = signal(SignalKind::terminate())?;
    let stopped = async move {
        stop.recv().await;
    };
    let routes = Routes::new(Service::server(snapshotter));
    server::serve(listener, routes, stopped, Duration::from_secs(5)).await?;
    Ok(())
}
