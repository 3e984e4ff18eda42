//! A certificate authority made on the spot, and a registry on this machine that it vouches for.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::command::run;

#[derive(Clone, Debug)]
pub struct Certificate {
    /// What clients must trust.
    pub authority: PathBuf,
    pub file: PathBuf,
    pub key: PathBuf,
}

impl Certificate {
    /// For every address that leads to this machine.
    pub fn make(dir: &Path) -> Result<Self> {
        std::fs::create_dir_all(dir)?;
        let this = Self {
            authority: dir.join("authority.crt"),
            file: dir.join("registry.crt"),
            key: dir.join("registry.key"),
        };
        let authority_key = dir.join("authority.key");
        run(request("authority", &authority_key, &this.authority)
            .args(["-addext", "keyUsage=critical,keyCertSign"]))?;
        run(request("registry", &this.key, &this.file)
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
            .args(["-addext", "subjectAltName=IP:127.0.0.1,IP:0.0.0.0"])
            .arg("-CA")
            .arg(&this.authority)
            .arg("-CAkey")
            .arg(&authority_key))?;
        Ok(this)
    }
}

fn request(name: &str, key: &Path, file: &Path) -> Command {
    let mut command = Command::new("openssl");
    command
        .args(["req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"])
        .args(["-pkeyopt", "ec_paramgen_curve:prime256v1"])
        .args(["-subj", &format!("/CN=soci-rs test {name}")])
        .arg("-keyout")
        .arg(key)
        .arg("-out")
        .arg(file);
    command
}
