//! Directory listings: the offset of an entry is its place, so a listing needs no open handle.

use layer::{Child, Inode, Kind, Tree};
use zerocopy::IntoBytes;

use crate::abi::{Dirent, EntryOut};
use crate::attr;
use crate::request::Window;

/// `.` and `..` come before the children.
const DOTS: u64 = 2;

/// Larger listings come in several messages.
const MOST: u32 = 128 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Names,
    /// READDIRPLUS: each name with what LOOKUP would say.
    WithAttributes,
}

/// As many entries from `window.offset` on as fit. `None` if `directory` is none.
pub(crate) fn list(tree: &Tree, directory: Inode, window: Window, form: Form) -> Option<Vec<u8>> {
    let children = tree.children(directory)?;
    let room = usize::try_from(window.size.min(MOST)).unwrap_or(0);
    let mut listing = Vec::with_capacity(room);
    let mut place = window.offset;
    loop {
        let child = match place {
            0 => Some(Child {
                name: b".",
                inode: directory,
                kind: Kind::Dir,
            }),
            1 => {
                let parent = tree.parent(directory).unwrap_or(directory);
                Some(Child {
                    name: b"..",
                    inode: parent,
                    kind: Kind::Dir,
                })
            }
            _ => usize::try_from(place.wrapping_sub(DOTS))
                .ok()
                .and_then(|at| children.get(at)),
        };
        let Some(child) = child else { break };
        let entry = match form {
            Form::Names => None,
            // The kernel knows both directories already: a node id of zero says there is nothing new.
            Form::WithAttributes if place < DOTS => Some(EntryOut::default()),
            Form::WithAttributes => Some(
                tree.attr(child.inode)
                    .map_or_else(EntryOut::default, |attr| attr::entry(child.inode, &attr)),
            ),
        };
        // An overflow ends the listing: no directory has that many entries.
        let Some(next) = place.checked_add(1) else {
            break;
        };
        if !append(&mut listing, room, entry, &child, next) {
            break;
        }
        place = next;
    }
    Some(listing)
}

/// False if there is no room for the whole entry.
fn append(
    listing: &mut Vec<u8>,
    room: usize,
    entry: Option<EntryOut>,
    child: &Child<'_>,
    next: u64,
) -> bool {
    let Ok(namelen) = u32::try_from(child.name.len()) else {
        return false;
    };
    let dirent = Dirent {
        ino: child.inode.0,
        off: next,
        namelen,
        kind: attr::dirent_kind(child.kind),
    };
    let entry = entry.as_ref().map_or(&[][..], |entry| entry.as_bytes());
    let length = entry
        .len()
        .saturating_add(size_of::<Dirent>())
        .saturating_add(child.name.len());
    let padded = length.next_multiple_of(size_of::<u64>());
    let end = listing.len().saturating_add(padded);
    if end > room {
        return false;
    }
    listing.extend_from_slice(entry);
    listing.extend_from_slice(dirent.as_bytes());
    listing.extend_from_slice(child.name);
    listing.resize(end, 0);
    true
}
