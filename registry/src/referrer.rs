//! Reads out of a manifest what a list of referrers says of it.

use std::collections::HashMap;

use oci_spec::image::{Descriptor, Digest, MediaType};
use serde::Deserialize;

use crate::Error;
use crate::push::Referrer;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    #[serde(default)]
    artifact_type: Option<String>,
    #[serde(default)]
    config: Option<Typed>,
    #[serde(default)]
    subject: Option<Subject>,
    #[serde(default)]
    annotations: Option<HashMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Typed {
    #[serde(default)]
    media_type: String,
}

#[derive(Deserialize)]
struct Subject {
    digest: Digest,
}

/// `None` for a manifest without a subject.
pub(crate) fn of(
    manifest: &[u8],
    digest: &Digest,
    media_type: &str,
) -> Result<Option<Referrer>, Error> {
    let parsed: Manifest = serde_json::from_slice(manifest).map_err(|error| Error::Malformed {
        target: digest.to_string(),
        reason: format!("not a manifest: {error}"),
    })?;
    let Some(Subject { digest: subject }) = parsed.subject else {
        return Ok(None);
    };
    let size = u64::try_from(manifest.len()).unwrap_or(u64::MAX);
    let mut descriptor = Descriptor::new(MediaType::from(media_type), size, digest.clone());
    let artifact_type = parsed
        .artifact_type
        .filter(|artifact_type| !artifact_type.is_empty())
        .or(parsed.config.map(|config| config.media_type))
        .filter(|artifact_type| !artifact_type.is_empty());
    descriptor.set_artifact_type(artifact_type.as_deref().map(MediaType::from));
    descriptor.set_annotations(parsed.annotations);
    Ok(Some(Referrer {
        subject,
        descriptor,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(manifest: &str, expected: Option<Option<&str>>) {
        let digest = crate::digest::of(manifest.as_bytes()).unwrap();
        let referrer = of(manifest.as_bytes(), &digest, "application/x").unwrap();
        let artifact_type = referrer.map(|referrer| {
            let descriptor = serde_json::to_value(&referrer.descriptor).unwrap();
            assert_eq!(descriptor["digest"], digest.as_ref());
            assert_eq!(descriptor["size"], manifest.len());
            assert_eq!(descriptor["mediaType"], "application/x");
            let artifact_type = descriptor.get("artifactType");
            artifact_type.map(|artifact_type| artifact_type.as_str().unwrap().to_owned())
        });
        let expected = expected.map(|expected| expected.map(str::to_owned));
        assert_eq!(artifact_type, expected, "{manifest}");
    }

    #[test]
    fn a_manifest_is_listed_under_its_own_type_or_that_of_its_config() {
        let subject = format!(r#""subject":{{"digest":"sha256:{}"}}"#, "0".repeat(64));
        check(
            &format!(r#"{{"artifactType":"a","config":{{"mediaType":"c"}},{subject}}}"#),
            Some(Some("a")),
        );
        check(
            &format!(r#"{{"artifactType":"","config":{{"mediaType":"c"}},{subject}}}"#),
            Some(Some("c")),
        );
        check(&format!("{{{subject}}}"), Some(None));
        check(r#"{"config":{"mediaType":"c"}}"#, None);
        assert!(of(b"[", &crate::digest::of(b"[").unwrap(), "x").is_err());
    }

    #[test]
    fn annotations_are_copied() {
        let manifest = format!(
            r#"{{"annotations":{{"k":"v"}},"subject":{{"digest":"sha256:{}"}}}}"#,
            "0".repeat(64)
        );
        let digest = crate::digest::of(manifest.as_bytes()).unwrap();
        let referrer = of(manifest.as_bytes(), &digest, "x").unwrap().unwrap();
        assert_eq!(
            referrer.descriptor.annotations().as_ref().unwrap()["k"],
            "v"
        );
    }
}
