//! Platforms as users write them.

use soci::canonical::Platform;

use crate::error::Error;

/// `os/arch[/variant]`, or one of the two alone; the other is then the host's.
pub(crate) fn parse(text: &str) -> Result<Platform, Error> {
    let parts: Vec<_> = text.split('/').collect();
    let host = host();
    let (os, architecture, variant) = match parts.as_slice() {
        [one] if is_os(one) => (*one, host.architecture.as_str(), ""),
        [one] => (host.os.as_str(), *one, ""),
        [os, architecture] => (*os, *architecture, ""),
        [os, architecture, variant] => (*os, *architecture, *variant),
        _ => ("", "", ""),
    };
    let plain = |part: &str| {
        part.chars()
            .all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c))
    };
    let parts = [os, architecture, variant];
    if os.is_empty() || architecture.is_empty() || !parts.into_iter().all(plain) {
        return Err(Error::usage(format!(
            "{text:?} is no platform; write it as linux/arm64 or linux/arm/v7"
        )));
    }
    let platform = Platform {
        os: os.to_owned(),
        architecture: architecture.to_owned(),
        variant: variant.to_owned(),
        ..Platform::default()
    };
    Ok(platform.normalized())
}

/// What images for this machine are built for: Linux, also where containers run in a virtual machine.
pub(crate) fn host() -> Platform {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        other => other,
    };
    let platform = Platform {
        os: "linux".to_owned(),
        architecture: architecture.to_owned(),
        ..Platform::default()
    };
    platform.normalized()
}

/// As containerd writes it.
pub(crate) fn text(platform: &Platform) -> String {
    let mut text = format!("{}/{}", platform.os, platform.architecture);
    if !platform.variant.is_empty() {
        text.push('/');
        text.push_str(&platform.variant);
    }
    text
}

fn is_os(text: &str) -> bool {
    const KNOWN: [&str; 8] = [
        "darwin", "freebsd", "linux", "macos", "netbsd", "openbsd", "solaris", "windows",
    ];
    KNOWN.contains(&text.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(written: &str, expected: Option<&str>) {
        let parsed = parse(written).ok();
        assert_eq!(parsed.as_ref().map(text).as_deref(), expected, "{written}");
    }

    #[test]
    fn platforms_are_read_as_containerd_reads_them() {
        check("linux/amd64", Some("linux/amd64"));
        check("linux/x86_64", Some("linux/amd64"));
        check("linux/arm64/v8", Some("linux/arm64"));
        check("linux/arm", Some("linux/arm/v7"));
        check("arm64", Some("linux/arm64"));
        check("windows/amd64", Some("windows/amd64"));
        for wrong in ["", "/", "linux/", "/amd64", "a/b/c/d", "linux/amd 64"] {
            check(wrong, None);
        }
    }
}
