//! One snapshot as it is stored.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::filter::Fields;
use crate::layers::{SnapshotId, Usage};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    View,
    Active,
    Committed,
}

/// What is in the directory of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backing {
    /// The files themselves.
    Plain,
    /// The mount point of a layer whose bytes come as they are read.
    Remote,
    /// The mount point of a layer that was pulled whole.
    Local,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub id: SnapshotId,
    /// The key of an active snapshot or a view, the name of a committed one.
    #[serde(skip)]
    pub key: String,
    pub kind: Kind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    pub created: SystemTime,
    pub updated: SystemTime,
    /// Of a committed snapshot; that of the others changes as they are written to.
    pub usage: Usage,
    pub backing: Backing,
}

impl Record {
    pub(super) fn decode(key: &str, bytes: &[u8]) -> Result<Record, Error> {
        let damaged = |error: serde_json::Error| damaged(key, &error);
        let record: Record = serde_json::from_slice(bytes).map_err(damaged)?;
        Ok(Record {
            key: key.to_owned(),
            ..record
        })
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>, Error> {
        serde_json::to_vec(self).map_err(|error| damaged(&self.key, &error))
    }
}

fn damaged(key: &str, error: &serde_json::Error) -> Error {
    Error::Damaged {
        key: key.to_owned(),
        reason: error.to_string(),
    }
}

impl Fields for Record {
    fn field(&self, path: &[String]) -> Option<&str> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "kind" => Some(match self.kind {
                Kind::View => "view",
                Kind::Active => "active",
                Kind::Committed => "committed",
            }),
            "name" => Some(&self.key),
            "parent" => Some(self.parent.as_deref().unwrap_or_default()),
            "labels" => self.labels.get(&rest.join(".")).map(String::as_str),
            _ => None,
        }
    }
}
