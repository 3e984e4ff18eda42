//! Bytes as other implementations write them.

use prost::Message;
use proto::cri::v1::{AuthConfig, PullImageRequest};
use proto::snapshots::v1::{CommitSnapshotRequest, Info, Kind, UpdateSnapshotRequest};
use proto::types::Mount;

/// Encodes to exactly `bytes`, and `bytes` decodes to the message.
fn check<M: Message + Default + PartialEq + std::fmt::Debug>(message: &M, bytes: &[u8]) {
    assert_eq!(message.encode_to_vec(), bytes);
    assert_eq!(M::decode(bytes).as_ref(), Ok(message));
}

#[test]
fn a_mount_is_written_as_containerd_reads_it() {
    let mount = Mount {
        r#type: "bind".into(),
        source: "/s".into(),
        target: "/t".into(),
        options: vec!["ro".into(), "rbind".into()],
    };
    check(
        &mount,
        b"\x0a\x04bind\x12\x02/s\x1a\x02/t\x22\x02ro\x22\x05rbind",
    );
}

#[test]
fn a_commit_carries_its_parent_after_its_labels() {
    let commit = CommitSnapshotRequest {
        snapshotter: "s".into(),
        name: "n".into(),
        key: "k".into(),
        labels: [("a".to_owned(), "b".to_owned())].into(),
        parent: "p".into(),
    };
    check(
        &commit,
        b"\x0a\x01s\x12\x01n\x1a\x01k\x22\x06\x0a\x01a\x12\x01b\x2a\x01p",
    );
}

#[test]
fn an_update_carries_its_mask() {
    let update = UpdateSnapshotRequest {
        snapshotter: String::new(),
        info: Some(Info {
            name: "n".into(),
            kind: Kind::Committed.into(),
            ..Info::default()
        }),
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["labels".into()],
        }),
    };
    check(&update, b"\x12\x05\x0a\x01n\x18\x03\x1a\x08\x0a\x06labels");
}

#[test]
fn a_sandbox_configuration_passes_through_untouched() {
    // Field 3 as a message with the fields 1 (metadata) and 200 (unknown to us).
    let bytes = b"\x1a\x08\x0a\x02\x0a\x00\xc2\x0c\x01x";
    let request = PullImageRequest::decode(bytes.as_slice()).unwrap();
    assert_eq!(request.encode_to_vec(), bytes);
}

#[test]
fn secrets_are_not_printed() {
    let auth = AuthConfig {
        username: "canary-user".into(),
        password: "canary-password".into(),
        auth: "canary-auth".into(),
        server_address: "registry.example".into(),
        identity_token: "canary-identity".into(),
        registry_token: "canary-registry".into(),
    };
    let request = PullImageRequest {
        auth: Some(auth),
        ..PullImageRequest::default()
    };
    let printed = format!("{request:?}");
    assert!(
        printed.contains("registry.example") && printed.contains("redacted"),
        "{printed}"
    );
    assert!(!printed.contains("canary"), "{printed}");
}
