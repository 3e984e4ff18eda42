//! The socket from a client's side: who may talk, and how it ends.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::fake::Fake;
use daemon::labels;
use daemon::layers::Outcome;
use daemon::server::{self, Address, ServerError};
use daemon::service::Service;
use daemon::snapshotter::Snapshotter;
use proto::snapshots::v1::PrepareSnapshotRequest;
use proto::snapshots::v1::snapshots_client::SnapshotsClient;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::service::Routes;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

struct Running {
    client: SnapshotsClient<Channel>,
    layers: Arc<Fake>,
    stop: oneshot::Sender<()>,
    served: JoinHandle<Result<(), ServerError>>,
    socket: PathBuf,
    _root: TempDir,
}

async fn start(drain: Duration) -> Running {
    let root = tempfile::tempdir().unwrap();
    let socket = root.path().join("s.sock");
    let layers = Arc::new(Fake::new(Outcome::Remote));
    let snapshotter = Snapshotter::open(&root.path().join("r"), Arc::clone(&layers) as _).unwrap();
    let listener = Address::Path(socket.clone()).listen().unwrap();
    let (stop, stopped) = oneshot::channel();
    let stopped = async move {
        let _ = stopped.await;
    };
    let routes = Routes::new(Service::server(snapshotter));
    let served = tokio::spawn(server::serve(listener, routes, stopped, drain));
    let client = SnapshotsClient::connect(format!("unix:{}", socket.display()))
        .await
        .unwrap();
    Running {
        client,
        layers,
        stop,
        served,
        socket,
        _root: root,
    }
}

fn layer() -> Request<PrepareSnapshotRequest> {
    let label = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let mut request = Request::new(PrepareSnapshotRequest {
        key: "k".into(),
        labels: [label(labels::REF, "sha256:a")].into(),
        ..Default::default()
    });
    request
        .metadata_mut()
        .insert("containerd-namespace", "ns".parse().unwrap());
    request
}

/// A daemon told to stop while a request that takes `takes` is under way: how long until it has
/// ended, and the request.
async fn stop(takes: Duration, drain: Duration) -> (Duration, JoinHandle<Result<(), Status>>) {
    let running = start(drain).await;
    running.layers.take(takes);
    let mut client = running.client.clone();
    let request = tokio::spawn(async move { client.prepare(layer()).await.map(drop) });
    while running.layers.prepared() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let told = Instant::now();
    running.stop.send(()).unwrap();
    running.served.await.unwrap().unwrap();
    (told.elapsed(), request)
}

#[tokio::test]
async fn a_request_under_way_is_finished_before_the_end() {
    let (ended, request) = stop(Duration::from_millis(300), Duration::from_secs(20)).await;
    let expected = Duration::from_millis(200)..Duration::from_secs(10);
    assert!(
        expected.contains(&ended),
        "the end waits for the request and for nothing else: {ended:?}"
    );
    // Which is how a mounted layer is reported.
    assert_eq!(
        request.await.unwrap().unwrap_err().code(),
        Code::AlreadyExists
    );
}

#[tokio::test]
async fn a_request_that_hangs_does_not_hold_up_the_end() {
    let (ended, request) = stop(Duration::from_secs(60), Duration::from_millis(200)).await;
    assert!(!request.is_finished());
    assert!(ended < Duration::from_secs(10), "{ended:?}");
}

#[tokio::test]
async fn the_socket_is_for_its_owner_alone() {
    let running = start(Duration::ZERO).await;
    let mode = std::fs::metadata(&running.socket)
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let second = Address::Path(running.socket.clone()).listen();
    assert!(
        matches!(second, Err(ServerError::Answered(_))),
        "{second:?}"
    );
}
