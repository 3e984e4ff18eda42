//! Flags that say how a registry is reached.

use std::path::PathBuf;

use clap::Args;

#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Registry options")]
pub(crate) struct RegistryFlags {
    /// Accept any certificate
    #[arg(long, short = 'k')]
    pub skip_verify: bool,
    /// Speak HTTP without TLS
    #[arg(long)]
    pub plain_http: bool,
    /// Who you are; otherwise docker's configuration and credential helpers are asked
    #[arg(long, short = 'u', value_name = "USER[:PASSWORD]")]
    pub user: Option<String>,
    /// Refresh token for the authorization server
    #[arg(long, value_name = "TOKEN", conflicts_with = "user")]
    pub refresh: Option<String>,
    /// Directories with containerd's hosts.toml files, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "DIR")]
    pub hosts_dir: Vec<PathBuf>,
    /// PEM file with a certificate authority to trust besides those of the system
    #[arg(long, value_name = "FILE")]
    pub tlscacert: Option<PathBuf>,
    /// PEM file with the client certificate
    #[arg(long, value_name = "FILE", requires = "tlskey")]
    pub tlscert: Option<PathBuf>,
    /// PEM file with the key of the client certificate
    #[arg(long, value_name = "FILE", requires = "tlscert")]
    pub tlskey: Option<PathBuf>,
    /// Log every request and answer to stderr, without bodies and secrets
    #[arg(long)]
    pub http_dump: bool,
    /// The same
    #[arg(long)]
    pub http_trace: bool,
}
