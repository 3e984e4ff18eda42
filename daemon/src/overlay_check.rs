//! Whether overlayfs works on the disk the root directory lies on, tried out at start.

use std::fs;
use std::io;
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};

#[derive(Debug, thiserror::Error)]
#[error(
    "overlayfs does not work below {path}: {source}; put the root directory on ext4 or xfs (with ftype=1), \
     or set skip_check_snapshotter_supported if you know better"
)]
pub struct Unsupported {
    path: String,
    source: io::Error,
}

/// Mounts an overlay of two empty directories and takes it away again. Blocks.
pub fn check(dir: &Path) -> Result<(), Unsupported> {
    let scratch = dir.join("overlay-check");
    let tried = try_out(&scratch);
    let removed = match fs::remove_dir_all(&scratch) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    tried.and(removed).map_err(|source| Unsupported {
        path: dir.display().to_string(),
        source,
    })
}

fn try_out(scratch: &Path) -> io::Result<()> {
    let path = |name: &str| scratch.join(name);
    for name in ["lower1", "lower2", "merged"] {
        fs::create_dir_all(path(name))?;
    }
    let merged = path("merged");
    let options = format!(
        "lowerdir={}:{}",
        path("lower1").display(),
        path("lower2").display()
    );
    mount(
        Some("overlay"),
        &merged,
        Some("overlay"),
        MsFlags::MS_RDONLY,
        Some(options.as_str()),
    )?;
    umount2(&merged, MntFlags::MNT_DETACH)?;
    Ok(())
}
