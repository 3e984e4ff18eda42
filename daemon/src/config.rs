//! config.toml as a type: the reference's file is accepted key by key, and ours beside it.

mod keys;
mod load;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use load::{ConfigError, Loaded, Warning};

/// Where the file is looked for when nobody says otherwise; absent there means defaults.
pub const DEFAULT_PATH: &str = "/etc/soci-snapshotter-grpc/config.toml";

/// The whole configuration. Field names are the keys of the file; see `keys` for which have an effect.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    pub http_cache_type: String,
    pub filesystem_cache_type: String,
    pub resolve_result_entry: i64,
    pub debug: bool,
    pub disable_verification: bool,
    pub max_concurrency: i64,
    pub mount_timeout_sec: u64,
    pub fuse_metrics_emit_wait_duration_sec: i64,
    pub no_prometheus: bool,
    pub metrics_address: String,
    pub metrics_network: String,
    pub debug_address: String,
    pub metadata_store: String,
    pub metadata_db_no_sync: bool,
    pub metadata_insertion_chunk_size: i64,
    pub skip_check_snapshotter_supported: bool,
    pub http: Http,
    pub blob: Blob,
    pub directory_cache: DirectoryCache,
    pub fuse: Fuse,
    pub background_fetch: BackgroundFetch,
    pub content_store: ContentStore,
    pub prefetch: Prefetch,
    pub profile: Profile,
    pub pull_modes: PullModes,
    pub kubeconfig_keychain: KubeconfigKeychain,
    pub cri_keychain: CriKeychain,
    pub resolver: Resolver,
    pub snapshotter: Snapshotter,
    pub layer: LayerSection,
    pub registry: RegistrySection,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            http_cache_type: String::new(),
            filesystem_cache_type: String::new(),
            resolve_result_entry: 30,
            debug: false,
            disable_verification: false,
            max_concurrency: 100,
            mount_timeout_sec: 30,
            fuse_metrics_emit_wait_duration_sec: 60,
            no_prometheus: false,
            metrics_address: String::new(),
            metrics_network: "tcp".into(),
            debug_address: String::new(),
            metadata_store: "db".into(),
            metadata_db_no_sync: false,
            metadata_insertion_chunk_size: 0,
            skip_check_snapshotter_supported: false,
            http: Http::default(),
            blob: Blob::default(),
            directory_cache: DirectoryCache::default(),
            fuse: Fuse::default(),
            background_fetch: BackgroundFetch::default(),
            content_store: ContentStore::default(),
            prefetch: Prefetch::default(),
            profile: Profile::default(),
            pull_modes: PullModes::default(),
            kubeconfig_keychain: KubeconfigKeychain::default(),
            cri_keychain: CriKeychain::default(),
            resolver: Resolver::default(),
            snapshotter: Snapshotter::default(),
            layer: LayerSection::default(),
            registry: RegistrySection::default(),
        }
    }
}

/// `[http]`: one set of time-outs and one retry loop for all traffic. The key names are the reference's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Http {
    pub dial_timeout_msec: u64,
    pub response_header_timeout_msec: u64,
    pub request_timeout_msec: u64,
    /// Extra tries after the first; negative means none.
    pub max_retries: i64,
    pub min_wait_msec: u64,
    pub max_wait_msec: u64,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            dial_timeout_msec: 3000,
            response_header_timeout_msec: 3000,
            request_timeout_msec: 300_000,
            max_retries: 8,
            min_wait_msec: 30,
            max_wait_msec: 300_000,
        }
    }
}

/// `[blob]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Blob {
    pub valid_interval: i64,
    pub check_always: bool,
    pub fetching_timeout_sec: u64,
    pub force_single_range_mode: bool,
    pub max_retries: i64,
    pub min_wait_msec: i64,
    pub max_wait_msec: i64,
    /// Refetches of a span whose digest is wrong; negative means 3, as in the reference.
    pub max_span_verification_retries: i64,
}

impl Default for Blob {
    fn default() -> Self {
        Self {
            valid_interval: 60,
            check_always: false,
            fetching_timeout_sec: 300,
            force_single_range_mode: false,
            max_retries: 0,
            min_wait_msec: 0,
            max_wait_msec: 0,
            max_span_verification_retries: 0,
        }
    }
}

/// `[directory_cache]`: the reference's span files; ours is one sparse file per layer, see `[layer]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DirectoryCache {
    pub max_lru_cache_entry: i64,
    pub max_cache_fds: i64,
    pub sync_add: bool,
    pub direct: bool,
}

impl Default for DirectoryCache {
    fn default() -> Self {
        Self {
            max_lru_cache_entry: 0,
            max_cache_fds: 0,
            sync_add: false,
            direct: true,
        }
    }
}

/// `[fuse]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Fuse {
    pub attr_timeout: i64,
    pub entry_timeout: i64,
    pub negative_timeout: i64,
    pub log_fuse_operations: bool,
    /// Ours: seconds after which a read that waits for the registry ends in an error.
    pub read_deadline_sec: u64,
    /// Ours: kernel readahead of each mount.
    pub read_ahead_kib: u32,
}

impl Default for Fuse {
    fn default() -> Self {
        Self {
            attr_timeout: 1,
            entry_timeout: 1,
            negative_timeout: 1,
            log_fuse_operations: false,
            read_deadline_sec: 120,
            read_ahead_kib: 512,
        }
    }
}

/// `[background_fetch]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BackgroundFetch {
    pub disable: bool,
    pub silence_period_msec: u64,
    pub fetch_period_msec: u64,
    /// Ours: bytes per second that filling may take, as `10MiB`; `0` for no limit.
    pub max_bandwidth: ByteSize,
    /// Ours: fill nothing; prefetch lists and start-up profiles are followed all the same.
    pub pause: bool,
    /// Layers waiting to be filled; -1 for no limit.
    pub max_queue_size: i64,
    pub drop_policy: DropPolicy,
    pub emit_metric_period_sec: i64,
}

impl Default for BackgroundFetch {
    fn default() -> Self {
        Self {
            disable: false,
            silence_period_msec: 5_000,
            fetch_period_msec: 0,
            max_bandwidth: ByteSize(0),
            pause: false,
            max_queue_size: 300,
            drop_policy: DropPolicy::Newest,
            emit_metric_period_sec: 10,
        }
    }
}

/// Which layer gives way when the queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DropPolicy {
    Newest,
    Oldest,
}

/// `[content_store]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContentStore {
    #[serde(rename = "type")]
    pub kind: ContentStoreType,
    pub containerd_address: String,
}

impl Default for ContentStore {
    fn default() -> Self {
        Self {
            kind: ContentStoreType::Soci,
            containerd_address: "/run/containerd/containerd.sock".into(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ContentStoreType {
    Soci,
    Containerd,
}

/// `[prefetch]`: spans named by the image's prefetch artifacts are fetched first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Prefetch {
    pub enable: bool,
    pub max_concurrency: i64,
}

/// `[profile]`, ours: which parts of its layers an image reads when it starts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Profile {
    /// Note what a container reads when it starts.
    pub record: bool,
    /// Fetch that first when its image is pulled again.
    #[serde(rename = "use")]
    pub apply: bool,
    /// Images whose profiles are kept; the least recently used go first.
    pub max_images: u64,
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            record: true,
            apply: true,
            max_images: 1000,
        }
    }
}

/// `[pull_modes]`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PullModes {
    pub soci_v1: SociV1,
    pub soci_v2: SociV2,
    pub parallel_pull_unpack: ParallelPullUnpack,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SociV1 {
    pub enable: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SociV2 {
    pub enable: bool,
}

impl Default for SociV2 {
    fn default() -> Self {
        Self { enable: true }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ParallelPullUnpack {
    pub enable: bool,
    pub max_concurrent_downloads: i64,
    pub max_concurrent_downloads_per_image: i64,
    pub concurrent_download_chunk_size: String,
    pub max_concurrent_unpacks: i64,
    pub max_concurrent_unpacks_per_image: i64,
    pub discard_unpacked_layers: bool,
    pub experimental_parallel_pull_as_fallback: bool,
    pub decompress_streams: BTreeMap<String, DecompressStream>,
}

impl Default for ParallelPullUnpack {
    fn default() -> Self {
        Self {
            enable: false,
            max_concurrent_downloads: -1,
            max_concurrent_downloads_per_image: 3,
            concurrent_download_chunk_size: String::new(),
            max_concurrent_unpacks: -1,
            max_concurrent_unpacks_per_image: 1,
            discard_unpacked_layers: false,
            experimental_parallel_pull_as_fallback: false,
            decompress_streams: BTreeMap::new(),
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DecompressStream {
    pub path: String,
    pub args: Vec<String>,
}

/// `[kubeconfig_keychain]`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct KubeconfigKeychain {
    pub enable_keychain: bool,
    pub kubeconfig_path: String,
}

/// `[cri_keychain]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CriKeychain {
    pub enable_keychain: bool,
    pub image_service_path: String,
}

impl Default for CriKeychain {
    fn default() -> Self {
        Self {
            enable_keychain: false,
            image_service_path: "/run/containerd/containerd.sock".into(),
        }
    }
}

/// `[resolver]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resolver {
    pub auth_client_ttl_sec: i64,
    pub enable_auth_client_sharing: bool,
    pub host: BTreeMap<String, Host>,
}

impl Default for Resolver {
    fn default() -> Self {
        Self {
            auth_client_ttl_sec: 3600,
            enable_auth_client_sharing: false,
            host: BTreeMap::new(),
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Host {
    pub mirrors: Vec<Mirror>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Mirror {
    /// `host[:port][/path]`
    pub host: String,
    /// Plain HTTP.
    pub insecure: bool,
    /// Seconds; 0 for the time-out of `[http]`, negative for none.
    pub request_timeout_sec: i64,
}

/// `[snapshotter]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Snapshotter {
    pub min_layer_size: i64,
    /// Images whose layers are smaller than this together are left to containerd, which is faster then.
    pub min_image_size: ByteSize,
    pub allow_invalid_mounts_on_restart: bool,
}

impl Default for Snapshotter {
    fn default() -> Self {
        Self {
            min_layer_size: 0,
            min_image_size: ByteSize(4 << 20),
            allow_invalid_mounts_on_restart: false,
        }
    }
}

/// `[layer]`, ours: what loaded layers may take.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LayerSection {
    /// Disk for inflated spans, as `20GiB`; the least recently used go first. `0` for no limit.
    pub cache_quota: ByteSize,
    /// Memory for spans on their way to the disk, or for all of them without a disk cache.
    pub memory: ByteSize,
    /// A read is joined with its missing neighbours up to this many compressed bytes a request.
    pub max_request: ByteSize,
}

impl Default for LayerSection {
    fn default() -> Self {
        Self {
            cache_quota: ByteSize(20 << 30),
            memory: ByteSize(64 << 20),
            max_request: ByteSize(16 << 20),
        }
    }
}

/// `[registry]`, ours.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RegistrySection {
    /// Registries spoken to without TLS, `host[:port]`; loopback addresses always are.
    pub plain_http: Vec<String>,
}

/// A number of bytes, written with or without a binary unit: `512`, `"64MiB"`, `"20gb"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteSize(pub u64);

impl Config {
    /// Reads `path`; a missing file is an error only when the user named it.
    pub fn load(path: &Path, named: bool) -> Result<Loaded, ConfigError> {
        load::file(path, named)
    }

    /// The file's own form, as `config default` and `config dump` print it.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(self)
    }

    /// Options of the registry crate.
    pub fn registry_options(&self) -> registry::Options {
        let mirrors = |host: &Host| {
            host.mirrors
                .iter()
                .map(|mirror| registry::Mirror {
                    host: mirror.host.clone(),
                    insecure: mirror.insecure,
                    request_timeout: u64::try_from(mirror.request_timeout_sec)
                        .ok()
                        .filter(|&seconds| seconds > 0)
                        .map(Duration::from_secs),
                })
                .collect::<Vec<_>>()
        };
        registry::Options {
            connect_timeout: Duration::from_millis(self.http.dial_timeout_msec),
            header_timeout: Duration::from_millis(self.http.response_header_timeout_msec),
            request_timeout: Duration::from_millis(
                self.http
                    .request_timeout_msec
                    .min(self.blob.fetching_timeout_sec.saturating_mul(1000).max(1)),
            ),
            max_retries: u32::try_from(self.http.max_retries).unwrap_or(0),
            min_wait: Duration::from_millis(self.http.min_wait_msec),
            max_wait: Duration::from_millis(self.http.max_wait_msec),
            hosts: self
                .resolver
                .host
                .iter()
                .map(|(name, host)| (name.clone(), mirrors(host)))
                .collect(),
            auth_ttl: u64::try_from(self.resolver.auth_client_ttl_sec)
                .map_or(Duration::MAX, Duration::from_secs),
            plain_http: self.registry.plain_http.iter().cloned().collect(),
            ..registry::Options::default()
        }
    }
}
