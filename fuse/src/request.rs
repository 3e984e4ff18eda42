//! A message from the kernel, taken apart.

use zerocopy::FromBytes;

use crate::abi::{GetxattrIn, InHeader, InterruptIn, Opcode, ReadIn};

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    pub(crate) unique: u64,
    pub(crate) inode: layer::Inode,
    /// Thread that asks, as seen from the mount's pid namespace; 0 if it cannot be seen from there.
    pub(crate) thread: u32,
    pub(crate) number: u32,
    pub(crate) request: Request<'a>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Request<'a> {
    Lookup {
        name: &'a [u8],
    },
    Getattr,
    Readlink,
    Read(Window),
    Readdir(Window),
    Readdirplus(Window),
    Statfs,
    Getxattr {
        name: &'a [u8],
        size: u32,
    },
    Listxattr {
        size: u32,
    },
    Interrupt {
        unique: u64,
    },
    /// FORGET: nothing is remembered, so there is nothing to forget.
    Forget,
    /// The answer is empty.
    Nothing,
    /// Would change something.
    Change,
    /// Left to the kernel, which remembers the refusal and does not ask again.
    Unsupported,
    Malformed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) offset: u64,
    pub(crate) size: u32,
}

/// `None` if not even the header is there: such a message cannot be answered.
pub(crate) fn decode(bytes: &[u8]) -> Option<Message<'_>> {
    let (header, rest) = InHeader::read_from_prefix(bytes).ok()?;
    // Extensions (supplementary groups, security contexts) would follow the body; none is negotiated.
    let request = match Opcode::from_number(header.opcode) {
        Some(opcode) => body(opcode, rest).unwrap_or(Request::Malformed),
        None => Request::Unsupported,
    };
    Some(Message {
        unique: header.unique,
        inode: layer::Inode(header.nodeid),
        thread: header.pid,
        number: header.opcode,
        request,
    })
}

fn body(opcode: Opcode, body: &[u8]) -> Option<Request<'_>> {
    Some(match opcode {
        Opcode::Lookup => Request::Lookup { name: name(body)? },
        Opcode::Getattr => Request::Getattr,
        Opcode::Readlink => Request::Readlink,
        Opcode::Read => Request::Read(window(body)?),
        Opcode::Readdir => Request::Readdir(window(body)?),
        Opcode::Readdirplus => Request::Readdirplus(window(body)?),
        Opcode::Statfs => Request::Statfs,
        Opcode::Getxattr => {
            let (head, rest) = GetxattrIn::read_from_prefix(body).ok()?;
            Request::Getxattr {
                name: name(rest)?,
                size: head.size,
            }
        }
        Opcode::Listxattr => Request::Listxattr {
            size: GetxattrIn::read_from_prefix(body).ok()?.0.size,
        },
        Opcode::Interrupt => Request::Interrupt {
            unique: InterruptIn::read_from_prefix(body).ok()?.0.unique,
        },
        Opcode::Forget | Opcode::BatchForget => Request::Forget,
        Opcode::Release | Opcode::Releasedir | Opcode::Destroy => Request::Nothing,
        Opcode::Setattr
        | Opcode::Symlink
        | Opcode::Mknod
        | Opcode::Mkdir
        | Opcode::Unlink
        | Opcode::Rmdir
        | Opcode::Rename
        | Opcode::Rename2
        | Opcode::Link
        | Opcode::Write
        | Opcode::Setxattr
        | Opcode::Removexattr
        | Opcode::Create
        | Opcode::Tmpfile
        | Opcode::Fallocate
        | Opcode::CopyFileRange => Request::Change,
        // OPEN and OPENDIR: there are no file handles. FLUSH, FSYNC: nothing is dirty. ACCESS: the kernel
        // decides (default_permissions). LSEEK: its own answer never hides data. A second INIT never comes.
        Opcode::Open
        | Opcode::Opendir
        | Opcode::Flush
        | Opcode::Fsync
        | Opcode::Fsyncdir
        | Opcode::Syncfs
        | Opcode::Access
        | Opcode::Lseek
        | Opcode::Ioctl
        | Opcode::Poll
        | Opcode::Statx
        | Opcode::Init => Request::Unsupported,
    })
}

fn window(body: &[u8]) -> Option<Window> {
    let (read, _) = ReadIn::read_from_prefix(body).ok()?;
    Some(Window {
        offset: read.offset,
        size: read.size,
    })
}

/// Up to the NUL that ends it.
fn name(body: &[u8]) -> Option<&[u8]> {
    let end = body.iter().position(|&byte| byte == 0)?;
    body.get(..end)
}

#[cfg(test)]
mod tests {
    use zerocopy::IntoBytes;

    use super::*;

    #[track_caller]
    fn check(opcode: u32, body: &[u8], expect: Request<'_>) {
        let header = InHeader {
            len: 0,
            opcode,
            unique: 7,
            nodeid: 1,
            uid: 0,
            gid: 0,
            pid: 9,
            total_extlen: 0,
            padding: 0,
        };
        let bytes = [header.as_bytes(), body].concat();
        assert_eq!(decode(&bytes).unwrap().request, expect);
    }

    #[test]
    fn a_message_is_what_the_kernel_meant() {
        check(1, b"etc\0", Request::Lookup { name: b"etc" });
        check(
            22,
            b"\x10\0\0\0\0\0\0\0user.a\0",
            Request::Getxattr {
                name: b"user.a",
                size: 16,
            },
        );
        check(36, &9u64.to_ne_bytes(), Request::Interrupt { unique: 9 });
        check(16, &[], Request::Change);
        check(14, &[], Request::Unsupported);
        check(4096, &[], Request::Unsupported);
        let read = ReadIn {
            fh: 0,
            offset: 5,
            size: 6,
            read_flags: 0,
            lock_owner: 0,
            flags: 0,
            padding: 0,
        };
        check(
            15,
            read.as_bytes(),
            Request::Read(Window { offset: 5, size: 6 }),
        );
    }

    #[test]
    fn a_message_cut_short_is_refused() {
        check(1, b"etc", Request::Malformed);
        check(15, &[0; 39], Request::Malformed);
        check(22, &[0; 8], Request::Malformed);
        check(36, &[0; 7], Request::Malformed);
        assert_eq!(decode(&[0; 39]), None);
    }
}
