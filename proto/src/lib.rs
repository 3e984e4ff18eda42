//! The gRPC services we speak: containerd's snapshots, content, images and leases, and the Kubernetes
//! image service.

mod redact;

mod generated {
    #![allow(clippy::all, unreachable_pub)]
    tonic::include_proto!("services");
}

mod clients {
    #![allow(clippy::all, unreachable_pub)]
    tonic::include_proto!("clients");
}

/// The well-known types among the fields of those messages.
pub use prost_types::{FieldMask, Timestamp};

/// Messages that containerd's services share.
pub use generated::containerd::types;

/// How containerd drives a proxy snapshotter.
pub mod snapshots {
    pub use crate::generated::containerd::services::snapshots::v1;
}

/// What containerd holds.
pub mod content {
    pub use crate::clients::containerd::services::content::v1;
}

/// What containerd's contents are called.
pub mod images {
    pub use crate::clients::containerd::services::images::v1;
}

/// What containerd's garbage collector spares.
pub mod leases {
    pub use crate::clients::containerd::services::leases::v1;
}

/// The image service that a kubelet talks to.
pub mod cri {
    pub use crate::generated::runtime::v1;
}
