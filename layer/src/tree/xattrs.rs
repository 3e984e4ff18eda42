//! Which extended attributes of an image are shown. Those that overlayfs obeys never come from an image.

use soci::toc::Kind;

const CAPABILITY: &[u8] = b"security.capability";
const MAX_NAME: usize = 255;

/// The namespaces that unpacking can set and a container can use.
pub(super) fn is_shown(name: &[u8], value: &[u8], kind: Kind, userxattr: bool) -> bool {
    if name.len() > MAX_NAME || name.contains(&0) {
        return false;
    }
    if name == CAPABILITY {
        return is_capability(value);
    }
    if let Some(rest) = name.strip_prefix(b"user.") {
        let carrier = matches!(kind, Kind::Reg | Kind::Dir);
        return carrier && !rest.is_empty() && !(userxattr && rest.starts_with(b"overlay."));
    }
    name.strip_prefix(b"security.")
        .is_some_and(|rest| !rest.is_empty())
}

/// Whether an attribute of an earlier entry outlives a later one: the change of owner drops a file's capabilities.
pub(super) fn survives(name: &[u8], kind: Kind) -> bool {
    kind == Kind::Dir || name != CAPABILITY
}

/// A revision of `vfs_cap_data` with the length that belongs to it.
fn is_capability(value: &[u8]) -> bool {
    let Some(magic) = value.first_chunk::<4>() else {
        return false;
    };
    let revision = u32::from_le_bytes(*magic) >> 24;
    matches!((revision, value.len()), (1, 12) | (2, 20) | (3, 24))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, value: &[u8], userxattr: bool, expected: bool) {
        let found = is_shown(name.as_bytes(), value, Kind::Reg, userxattr);
        assert_eq!(found, expected, "{name} {value:?} {userxattr}");
    }

    fn capability(revision: u8, len: usize) -> Vec<u8> {
        let mut value = vec![0; len];
        value[3] = revision;
        value
    }

    #[test]
    fn an_image_cannot_speak_to_overlayfs() {
        for userxattr in [false, true] {
            check("trusted.overlay.redirect", b"/etc", userxattr, false);
            check("trusted.overlay.metacopy", b"", userxattr, false);
            check("trusted.anything", b"", userxattr, false);
            check("user.overlay.opaque", b"y", userxattr, !userxattr);
            check("user.overlayed", b"y", userxattr, true);
            check("system.posix_acl_access", b"", userxattr, false);
        }
    }

    #[test]
    fn ordinary_attributes_are_shown() {
        check("user.name", b"value", false, true);
        check("user.", b"value", false, false);
        check("security.selinux", b"label", false, true);
        check("nonsense", b"", false, false);
        assert!(!is_shown(b"user.name", b"", Kind::Symlink, false));
    }

    #[test]
    fn capabilities_must_be_whole() {
        check("security.capability", &capability(2, 20), false, true);
        check("security.capability", &capability(3, 24), false, true);
        check("security.capability", &capability(1, 12), false, true);
        check("security.capability", &capability(2, 24), false, false);
        check("security.capability", &capability(2, 19), false, false);
        check("security.capability", &capability(4, 24), false, false);
        check("security.capability", b"", false, false);
    }
}
