//! Extended attributes: the kernel asks for a length first, then for as many bytes.

use nix::errno::Errno;
use zerocopy::IntoBytes;

use crate::abi::GetxattrOut;
use crate::reply::Reply;

/// Answers with `value`, or with its length if `size` is zero.
pub(crate) fn answer(reply: Reply, value: &[u8], size: u32) {
    let Ok(length) = u32::try_from(value.len()) else {
        return reply.fail(Errno::E2BIG);
    };
    if size == 0 {
        reply.data(
            GetxattrOut {
                size: length,
                padding: 0,
            }
            .as_bytes(),
        );
    } else if size < length {
        reply.fail(Errno::ERANGE);
    } else {
        reply.data(value);
    }
}

/// Each name ends with a NUL.
pub(crate) fn names<'a>(xattrs: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Vec<u8> {
    let mut names = Vec::new();
    for (name, _) in xattrs {
        names.extend_from_slice(name);
        names.push(0);
    }
    names
}
