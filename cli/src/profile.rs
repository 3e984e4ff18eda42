//! Files with start-up profiles.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use soci::profile::{MAX_LEN, Profile};

use crate::error::Error;

pub(crate) fn read(path: &Path) -> Result<Profile, Error> {
    let mut json = Vec::new();
    // One byte more than a profile may have, so that what is too long is seen to be.
    File::open(path)
        .and_then(|file| file.take(MAX_LEN + 1).read_to_end(&mut json))
        .map_err(Error::file(path))?;
    Profile::parse(&json).map_err(Error::format(path.display().to_string()))
}
