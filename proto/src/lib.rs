//! The gRPC services a snapshotter speaks: containerd's snapshots and the Kubernetes image service.

mod redact;

mod generated {
    #![allow(clippy::all, unreachable_pub)]
    tonic::include_proto!("services");
}

/// Messages that containerd's services share.
pub use generated::containerd::types;

/// How containerd drives a proxy snapshotter.
pub mod snapshots {
    pub use crate::generated::containerd::services::snapshots::v1;
}

/// The image service that a kubelet talks to.
pub mod cri {
    pub use crate::generated::runtime::v1;
}
