//! Every error as the gRPC status by which containerd decides what to do next.

use std::io;

use tonic::{Code, Status};

use crate::error::Error;

/// A message travels in a header; keys in it may be far longer than what a client accepts there.
const MESSAGE_BYTES: usize = 2048;

impl From<Error> for Status {
    fn from(error: Error) -> Status {
        let mut message = error.to_string();
        if message.len() > MESSAGE_BYTES {
            message.truncate(message.floor_char_boundary(MESSAGE_BYTES));
            message.push('…');
        }
        Status::new(code(&error), message)
    }
}

pub fn code(error: &Error) -> Code {
    match error {
        Error::NotFound(_) | Error::ParentNotFound(_) => Code::NotFound,
        Error::Exists(_) | Error::TargetExists(_) => Code::AlreadyExists,
        Error::NotActive(_)
        | Error::NotMountable(_)
        | Error::HasChildren(_)
        | Error::BaseNotCommitted(_)
        | Error::NoNamespace => Code::FailedPrecondition,
        Error::ParentNotCommitted(_)
        | Error::ParentFixed { .. }
        | Error::Immutable { .. }
        | Error::Invalid(_)
        | Error::Filter(_) => Code::InvalidArgument,
        Error::IdMapping(_) => Code::Unimplemented,
        Error::Unavailable { .. } | Error::Interrupted(_) => Code::Unavailable,
        Error::Io { source, .. } => io_code(source),
        Error::Database { source, .. } => match source.as_ref() {
            redb::Error::Io(source) => io_code(source),
            // The database reopens itself; the next try may succeed.
            redb::Error::PreviousIo | redb::Error::DatabaseAlreadyOpen => Code::Unavailable,
            _ => Code::Internal,
        },
        Error::Schema { .. } => Code::FailedPrecondition,
        Error::Damaged { .. } => Code::DataLoss,
    }
}

fn io_code(error: &io::Error) -> Code {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Code::ResourceExhausted,
        _ => Code::Internal,
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::layers::Unavailable;

    fn check(error: Error, code: Code, text: &str) {
        let status = Status::from(error);
        assert_eq!(status.code(), code, "{status:?}");
        assert!(status.message().contains(text), "{status:?}");
        assert!(!status.message().contains('\n'), "{status:?}");
    }

    fn io(kind: io::ErrorKind) -> Error {
        Error::Io {
            action: "create",
            path: PathBuf::from("/root/17"),
            source: kind.into(),
        }
    }

    #[test]
    fn containerd_learns_what_it_acts_upon() {
        let key = || "a\nb".to_owned();
        check(Error::NotFound(key()), Code::NotFound, r#""a\nb""#);
        check(Error::ParentNotFound(key()), Code::NotFound, "parent");
        check(Error::Exists(key()), Code::AlreadyExists, "a");
        check(
            Error::TargetExists(key()),
            Code::AlreadyExists,
            "target snapshot",
        );
        check(
            Error::HasChildren(key()),
            Code::FailedPrecondition,
            "children",
        );
        check(Error::NotActive(key()), Code::FailedPrecondition, "active");
        check(
            Error::NotMountable(key()),
            Code::FailedPrecondition,
            "mounts",
        );
        check(
            Error::ParentNotCommitted(key()),
            Code::InvalidArgument,
            "committed",
        );
        check(Error::IdMapping(key()), Code::Unimplemented, "user");
        check(Error::NoNamespace, Code::FailedPrecondition, "namespace");
        let source = Unavailable("no zTOC".into());
        check(
            Error::Unavailable { key: key(), source },
            Code::Unavailable,
            "no zTOC",
        );
    }

    #[test]
    fn a_long_key_does_not_break_the_reply() {
        let status = Status::from(Error::NotFound("é".repeat(1 << 20)));
        assert!(status.message().len() <= MESSAGE_BYTES + '…'.len_utf8());
        assert!(status.message().ends_with('…'));
    }

    #[test]
    fn a_full_disk_is_named() {
        check(
            io(io::ErrorKind::StorageFull),
            Code::ResourceExhausted,
            "/root/17",
        );
        check(
            io(io::ErrorKind::QuotaExceeded),
            Code::ResourceExhausted,
            "create",
        );
        check(
            io(io::ErrorKind::PermissionDenied),
            Code::Internal,
            "/root/17",
        );
        let full = redb::Error::Io(io::ErrorKind::StorageFull.into());
        let error = Error::Database {
            path: PathBuf::from("/root/db"),
            source: Box::new(full),
        };
        check(error, Code::ResourceExhausted, "/root/db");
    }
}
