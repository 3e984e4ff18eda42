//! Every key the file may hold, and whether it does anything.

/// What setting a key changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    Works,
    /// Accepted so that the reference's file loads; the text says why nothing follows.
    Nothing(&'static str),
}

use Effect::{Nothing, Works};

const ENDLESS: &str = "a layer never changes, so the kernel may remember its entries for ever";
const NO_DATABASE: &str =
    "there is no database of files: names and attributes are read from the zTOC";
const ONE_FILE: &str = "a layer is one sparse file; its limits are in [layer]";
const ONE_RETRY_LOOP: &str = "retries are set once, in [http]";
const NO_METRICS: &str = "metrics are not served yet";
const NO_PARALLEL: &str =
    "images without an index are left to containerd; parallel pulling is not there yet";
const NO_KEYCHAIN: &str =
    "only the docker configuration and its credential helpers are asked so far";

/// Dotted paths; `*` stands for a name the user chooses, `[]` for the entries of a list of tables.
pub(super) const KEYS: &[(&str, Effect)] = &[
    (
        "http_cache_type",
        Nothing("nothing reads it in the reference either"),
    ),
    ("filesystem_cache_type", Works),
    (
        "resolve_result_entry",
        Nothing("resolved layers are kept as long as they are mounted"),
    ),
    ("debug", Nothing("use --log-level trace")),
    ("disable_verification", Works),
    ("max_concurrency", Works),
    ("mount_timeout_sec", Works),
    ("fuse_metrics_emit_wait_duration_sec", Nothing(NO_METRICS)),
    ("no_prometheus", Nothing(NO_METRICS)),
    ("metrics_address", Nothing(NO_METRICS)),
    ("metrics_network", Nothing(NO_METRICS)),
    ("debug_address", Nothing("there is no profiling endpoint")),
    ("metadata_store", Nothing(NO_DATABASE)),
    ("metadata_db_no_sync", Nothing(NO_DATABASE)),
    ("metadata_insertion_chunk_size", Nothing(NO_DATABASE)),
    ("skip_check_snapshotter_supported", Works),
    ("http.DialTimeoutMsec", Works),
    ("http.ResponseHeaderTimeoutMsec", Works),
    ("http.RequestTimeoutMsec", Works),
    ("http.MaxRetries", Works),
    ("http.MinWaitMsec", Works),
    ("http.MaxWaitMsec", Works),
    (
        "blob.valid_interval",
        Nothing("a running container's layers are not checked against the registry"),
    ),
    (
        "blob.check_always",
        Nothing("a running container's layers are not checked against the registry"),
    ),
    ("blob.fetching_timeout_sec", Works),
    (
        "blob.force_single_range_mode",
        Nothing("every request asks for one range"),
    ),
    ("blob.max_retries", Nothing(ONE_RETRY_LOOP)),
    ("blob.min_wait_msec", Nothing(ONE_RETRY_LOOP)),
    ("blob.max_wait_msec", Nothing(ONE_RETRY_LOOP)),
    ("blob.max_span_verification_retries", Works),
    ("directory_cache.max_lru_cache_entry", Nothing(ONE_FILE)),
    ("directory_cache.max_cache_fds", Nothing(ONE_FILE)),
    ("directory_cache.sync_add", Nothing(ONE_FILE)),
    ("directory_cache.direct", Nothing(ONE_FILE)),
    ("fuse.attr_timeout", Nothing(ENDLESS)),
    ("fuse.entry_timeout", Nothing(ENDLESS)),
    ("fuse.negative_timeout", Nothing(ENDLESS)),
    ("fuse.log_fuse_operations", Works),
    ("fuse.read_deadline_sec", Works),
    ("fuse.read_ahead_kib", Works),
    ("background_fetch.disable", Works),
    ("background_fetch.silence_period_msec", Works),
    ("background_fetch.fetch_period_msec", Works),
    ("background_fetch.max_bandwidth", Works),
    ("background_fetch.pause", Works),
    ("background_fetch.max_queue_size", Works),
    ("background_fetch.drop_policy", Works),
    (
        "background_fetch.emit_metric_period_sec",
        Nothing(NO_METRICS),
    ),
    (
        "content_store.type",
        Nothing("zTOCs are kept below the root directory, whichever store is named"),
    ),
    ("content_store.containerd_address", Works),
    ("prefetch.enable", Works),
    (
        "prefetch.max_concurrency",
        Nothing("prefetched spans take their turn before the background's"),
    ),
    ("profile.record", Works),
    ("profile.use", Works),
    ("profile.max_images", Works),
    ("pull_modes.soci_v1.enable", Works),
    ("pull_modes.soci_v2.enable", Works),
    (
        "pull_modes.parallel_pull_unpack.enable",
        Nothing(NO_PARALLEL),
    ),
    (
        "pull_modes.parallel_pull_unpack.max_concurrent_downloads",
        Nothing(NO_PARALLEL),
    ),
    (
        "pull_modes.parallel_pull_unpack.max_concurrent_downloads_per_image",
        Nothing(NO_PARALLEL),
    ),
    (
        "pull_modes.parallel_pull_unpack.concurrent_download_chunk_size",
        Nothing(NO_PARALLEL),
    ),
    (
        "pull_modes.parallel_pull_unpack.max_concurrent_unpacks",
        Nothing(NO_PARALLEL),
    ),
    (
        "pull_modes.parallel_pull_unpack.max_concurrent_unpacks_per_image",
        Nothing(NO_PARALLEL),
    ),
    (
        "pull_modes.parallel_pull_unpack.discard_unpacked_layers",
        Nothing(NO_PARALLEL),
    ),
    (
        "pull_modes.parallel_pull_unpack.experimental_parallel_pull_as_fallback",
        Nothing(NO_PARALLEL),
    ),
    (
        "pull_modes.parallel_pull_unpack.decompress_streams.*.path",
        Nothing(NO_PARALLEL),
    ),
    (
        "pull_modes.parallel_pull_unpack.decompress_streams.*.args",
        Nothing(NO_PARALLEL),
    ),
    ("kubeconfig_keychain.enable_keychain", Nothing(NO_KEYCHAIN)),
    ("kubeconfig_keychain.kubeconfig_path", Nothing(NO_KEYCHAIN)),
    ("cri_keychain.enable_keychain", Nothing(NO_KEYCHAIN)),
    ("cri_keychain.image_service_path", Nothing(NO_KEYCHAIN)),
    ("resolver.auth_client_ttl_sec", Works),
    (
        "resolver.enable_auth_client_sharing",
        Nothing("tokens are always shared per registry and credential"),
    ),
    ("resolver.host.*.mirrors.[].host", Works),
    ("resolver.host.*.mirrors.[].insecure", Works),
    ("resolver.host.*.mirrors.[].request_timeout_sec", Works),
    ("snapshotter.min_layer_size", Works),
    ("snapshotter.min_image_size", Works),
    (
        "snapshotter.allow_invalid_mounts_on_restart",
        Nothing("a layer that cannot be mounted again never keeps the daemon from starting"),
    ),
    ("layer.cache_quota", Works),
    ("layer.memory", Works),
    ("layer.max_request", Works),
    ("registry.plain_http", Works),
];
