//! Platforms as containerd writes and compares them.

use serde::Deserialize;

use crate::canonical::{self, Platform};
use crate::error::Error;

#[derive(Deserialize)]
struct Config {
    #[serde(flatten)]
    platform: Platform,
}

impl Platform {
    /// The platform an image config names.
    pub fn from_config(json: &[u8]) -> Result<Self, Error> {
        let config: Config = canonical::parse("image config", json)?;
        if config.platform.os.is_empty() || config.platform.architecture.is_empty() {
            return Err(Error::Json {
                what: "image config",
                reason: "it names no os or no architecture".to_owned(),
            });
        }
        Ok(config.platform.normalized())
    }

    /// With the names that other names stand for, and without a variant that is the usual one.
    pub fn normalized(&self) -> Self {
        let os = match self.os.to_ascii_lowercase().as_str() {
            "macos" => "darwin".to_owned(),
            other => other.to_owned(),
        };
        let architecture = self.architecture.to_ascii_lowercase();
        let variant = self.variant.to_ascii_lowercase();
        let (architecture, variant) = match (architecture.as_str(), variant.as_str()) {
            ("i386", _) => ("386", ""),
            ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
            ("x86_64" | "x86-64" | "amd64", variant) => ("amd64", variant),
            ("aarch64" | "arm64", "8" | "v8" | "v8.0") => ("arm64", ""),
            ("aarch64" | "arm64", "9" | "9.0" | "v9.0") => ("arm64", "v9"),
            ("aarch64" | "arm64", variant) => ("arm64", variant),
            ("armhf", _) | ("arm", "" | "7") => ("arm", "v7"),
            ("armel", _) | ("arm", "6") => ("arm", "v6"),
            ("arm", "5") => ("arm", "v5"),
            ("arm", "8") => ("arm", "v8"),
            (architecture, variant) => (architecture, variant),
        };
        Self {
            architecture: architecture.to_owned(),
            os,
            variant: variant.to_owned(),
            ..self.clone()
        }
    }

    /// Whether both name the same kind of machine.
    pub fn is_same(&self, other: &Self) -> bool {
        let (this, other) = (self.normalized(), other.normalized());
        (this.os, this.architecture, this.variant) == (other.os, other.architecture, other.variant)
            && this.os_version == other.os_version
    }
}
