//! From the text of a file to a `Config`: every key known, every value of its type.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::{self, Deserialize, Deserializer};
use serde::ser::{Serialize, Serializer};
use toml::{Table, Value};

use super::keys::{Effect, KEYS};
use super::{ByteSize, Config};

/// A configuration larger than this is not one.
const MAX_FILE: u64 = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read the configuration {}: {source}", path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("the configuration {} is {size} bytes long, more than {MAX_FILE}", path.display())]
    TooLarge { path: PathBuf, size: u64 },
    #[error("the configuration is not valid TOML: {0}")]
    Syntax(Box<toml::de::Error>),
    #[error("unknown key `{key}` in the configuration; the nearest known key is `{nearest}`")]
    UnknownKey { key: String, nearest: &'static str },
    #[error("{0}")]
    Value(String),
}

/// A key that was set although nothing follows from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    pub key: String,
    pub reason: &'static str,
}

/// A configuration and what to tell the user about it once.
#[derive(Debug)]
pub struct Loaded {
    pub config: Config,
    pub warnings: Vec<Warning>,
}

pub(super) fn file(path: &Path, named: bool) -> Result<Loaded, ConfigError> {
    let read = |source| ConfigError::Read {
        path: path.to_owned(),
        source,
    };
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !named => {
            return Ok(Loaded {
                config: Config::default(),
                warnings: Vec::new(),
            });
        }
        Err(error) => return Err(read(error)),
        Ok(meta) if meta.len() > MAX_FILE => {
            return Err(ConfigError::TooLarge {
                path: path.to_owned(),
                size: meta.len(),
            });
        }
        Ok(_) => {}
    }
    text(&std::fs::read_to_string(path).map_err(read)?)
}

pub(super) fn text(text: &str) -> Result<Loaded, ConfigError> {
    let table: Table = text
        .parse()
        .map_err(|error| ConfigError::Syntax(Box::new(error)))?;
    let mut warnings = Vec::new();
    let known = known_table(table, &mut Vec::new(), &mut warnings)?;
    let config: Config = known
        .try_into()
        .map_err(|error: toml::de::Error| ConfigError::Value(value_error(&error)))?;
    check(&config)?;
    Ok(Loaded { config, warnings })
}

fn value_error(error: &toml::de::Error) -> String {
    format!(
        "the configuration has a value of the wrong kind: {}",
        error.message()
    )
}

fn check(config: &Config) -> Result<(), ConfigError> {
    let chunk = &config
        .pull_modes
        .parallel_pull_unpack
        .concurrent_download_chunk_size;
    if !chunk.is_empty() {
        parse_size(chunk).map_err(|error| {
            ConfigError::Value(format!(
                "pull_modes.parallel_pull_unpack.concurrent_download_chunk_size: {error}"
            ))
        })?;
    }
    for (name, host) in &config.resolver.host {
        if host.mirrors.iter().any(|mirror| mirror.host.is_empty()) {
            return Err(ConfigError::Value(format!(
                "resolver.host.{name:?} has a mirror without a host"
            )));
        }
    }
    Ok(())
}

/// Walks the file's tables beside the known keys. Keys match whatever their case, as they do in the
/// reference, and come out as we write them.
fn known_table(
    table: Table,
    path: &mut Vec<String>,
    warnings: &mut Vec<Warning>,
) -> Result<Table, ConfigError> {
    let mut known = Table::new();
    for (key, value) in table {
        path.push(key);
        let name = canonical(path).ok_or_else(|| unknown(path))?;
        let value = known_value(value, path, warnings)?;
        path.pop();
        known.insert(name, value);
    }
    Ok(known)
}

fn known_value(
    value: Value,
    path: &mut Vec<String>,
    warnings: &mut Vec<Warning>,
) -> Result<Value, ConfigError> {
    match value {
        Value::Table(table) => known_table(table, path, warnings).map(Value::Table),
        Value::Array(items) if items.iter().any(Value::is_table) => {
            path.push("[]".into());
            let items = items
                .into_iter()
                .map(|item| known_value(item, path, warnings))
                .collect::<Result<_, _>>()?;
            path.pop();
            Ok(Value::Array(items))
        }
        leaf => {
            match KEYS.iter().find(|(key, _)| covers(key, path, true)) {
                None => return Err(unknown(path)),
                Some((_, Effect::Works)) => {}
                Some((_, Effect::Nothing(reason))) => {
                    warnings.push(Warning {
                        key: path.join("."),
                        reason,
                    });
                }
            }
            Ok(leaf)
        }
    }
}

/// Whether `path` is `key` (`whole`) or leads to it.
fn covers(key: &str, path: &[String], whole: bool) -> bool {
    let mut parts = key.split('.');
    let matched = path.iter().all(|name| {
        parts
            .next()
            .is_some_and(|part| part == "*" || part.eq_ignore_ascii_case(name))
    });
    matched && (!whole || parts.next().is_none())
}

/// How we write the last name of `path`; `None` if no key lies there.
fn canonical(path: &[String]) -> Option<String> {
    let depth = path.len().checked_sub(1)?;
    let (key, _) = KEYS.iter().find(|(key, _)| covers(key, path, false))?;
    match key.split('.').nth(depth)? {
        "*" => path.last().cloned(),
        part => Some(part.to_owned()),
    }
}

fn unknown(path: &[String]) -> ConfigError {
    let key = path.join(".");
    let nearest = KEYS
        .iter()
        .map(|(known, _)| *known)
        .min_by_key(|known| strsim::damerau_levenshtein(&known.to_lowercase(), &key.to_lowercase()))
        .unwrap_or_default();
    ConfigError::UnknownKey { key, nearest }
}

/// A number with an optional binary unit; the reference's `b kb mb gb` count in powers of 1024 too.
fn parse_size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => {
            return Err(format!(
                "invalid size format {text:?}: the unit is b, kb, mb, gb or tb"
            ));
        }
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(1 << shift))
        .ok_or_else(|| format!("invalid size format {text:?}: a whole number of bytes is needed"))
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shift, unit) in [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")] {
            if self.0 != 0 && self.0.trailing_zeros() >= shift {
                return write!(f, "{}{unit}", self.0 >> shift);
            }
        }
        write!(f, "{}", self.0)
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(u64),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Number(bytes) => Ok(ByteSize(bytes)),
            Written::Text(text) => parse_size(&text).map(ByteSize).map_err(de::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys_of(value: &Value, path: &str, out: &mut Vec<String>) {
        match value {
            Value::Table(table) => {
                for (key, value) in table {
                    let path = if path.is_empty() {
                        key.clone()
                    } else {
                        format!("{path}.{key}")
                    };
                    keys_of(value, &path, out);
                }
            }
            _ => out.push(path.to_owned()),
        }
    }

    fn error(file: &str) -> String {
        text(file).unwrap_err().to_string()
    }

    #[test]
    fn the_table_of_keys_names_every_field_and_nothing_else() {
        let mut fields = Vec::new();
        keys_of(
            &Value::try_from(Config::default()).unwrap(),
            "",
            &mut fields,
        );
        fields.sort();
        let mut keys: Vec<_> = KEYS
            .iter()
            .map(|(key, _)| key.to_string())
            .filter(|key| !key.contains('*'))
            .collect();
        keys.sort();
        assert_eq!(fields, keys);
    }

    #[test]
    fn the_shipped_file_is_the_defaults() {
        let shipped = include_str!("../../../config/config.toml");
        assert_eq!(text(shipped).unwrap().config, Config::default());
    }

    #[test]
    fn what_config_default_prints_loads_again() {
        let printed = Config::default().to_toml().unwrap();
        assert_eq!(text(&printed).unwrap().config, Config::default());
    }

    #[test]
    fn a_misspelt_key_is_refused_with_the_nearest_known_one() {
        let message = error("[pull_modes.soci_v2]\nenabel = true\n");
        assert!(message.contains("pull_modes.soci_v2.enabel"), "{message}");
        assert!(message.contains("`pull_modes.soci_v2.enable`"), "{message}");
        assert!(error("mount_timeout = 3").contains("`mount_timeout_sec`"));
        assert!(error("[htpp]\nMaxRetries = 3").contains("unknown key `htpp`"));
    }

    #[test]
    fn keys_match_whatever_their_case() {
        let loaded = text("[http]\nmaxretries = 2\n[Blob]\nFETCHING_TIMEOUT_SEC = 7\n").unwrap();
        assert_eq!(loaded.config.http.max_retries, 2);
        assert_eq!(loaded.config.blob.fetching_timeout_sec, 7);
    }

    #[test]
    fn a_key_without_effect_is_reported_once_with_the_reason() {
        let loaded = text("[fuse]\nattr_timeout = 5\nread_deadline_sec = 9\n").unwrap();
        assert_eq!(loaded.warnings.len(), 1);
        assert_eq!(loaded.warnings[0].key, "fuse.attr_timeout");
    }

    #[test]
    fn mirrors_and_decompressors_keep_the_names_the_user_chose() {
        let loaded = text(
            "[[resolver.host.\"Registry.Example\".mirrors]]\nhost = \"a.example\"\ninsecure = true\n\
             [pull_modes.parallel_pull_unpack.decompress_streams.\"gzip\"]\npath = \"/usr/bin/unpigz\"\nargs = [\"-d\"]\n",
        )
        .unwrap();
        let mirrors = &loaded.config.resolver.host["Registry.Example"].mirrors;
        assert_eq!(
            (mirrors[0].host.as_str(), mirrors[0].insecure),
            ("a.example", true)
        );
    }

    #[test]
    fn a_bad_value_is_named() {
        assert!(error("mount_timeout_sec = \"soon\"").contains("wrong kind"));
        assert!(error("[layer]\ncache_quota = \"20 parsecs\"").contains("invalid size format"));
        assert!(
            error("[pull_modes.parallel_pull_unpack]\nconcurrent_download_chunk_size = \"8zb\"")
                .contains("invalid size format")
        );
        assert!(
            error("[[resolver.host.\"a\".mirrors]]\ninsecure = true").contains("without a host")
        );
        assert!(error("a = [").contains("not valid TOML"));
    }

    #[test]
    fn sizes_read_back_as_they_are_written() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("64MiB", 64 << 20),
            ("20gb", 20 << 30),
            ("3 KB", 3 << 10),
        ] {
            assert_eq!(parse_size(text), Ok(bytes));
        }
        assert_eq!(ByteSize(20 << 30).to_string(), "20GiB");
        assert!(parse_size("99999999999999TiB").is_err());
        assert!(parse_size("-1").is_err());
    }

    #[test]
    fn a_file_the_user_named_must_exist() {
        let missing = Path::new("/nonexistent/config.toml");
        assert!(file(missing, true).is_err());
        assert_eq!(file(missing, false).unwrap().config, Config::default());
    }
}
