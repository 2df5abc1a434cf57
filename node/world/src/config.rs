//! The node's own configuration file, `node.toml`: read strictly, every mistake reported at once with file, line and column.
//! Called by `weft run` and `weft check`; the reference page is made from the same table of keys.

mod keys;
mod read;
mod reference;
mod schema;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use weft_env::Disk;
use weft_identity::{Code, Failure, Protocol, ReplicaName, ServiceName, ZoneName};

use crate::service_spec::LeadsTo;
use crate::settings::Settings;

pub use keys::{KEYS, Key, check_reachable, socket_address};
pub use read::{parse, protocol_of};
pub use reference::reference_page;
pub use schema::config_schema;
pub use weft_policy::strict::{Mistake, parse_span, span_text};

/// The file's name in the state directory.
pub const CONFIG_FILE: &str = "node.toml";
/// Where a packaged installation keeps it; read when the state directory holds none.
pub const SYSTEM_CONFIG_FILE: &str = "/etc/weft/node.toml";

/// A configuration file, parsed: every value in it is valid.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NodeConfig {
    /// Ports, timeouts and limits.
    pub settings: Settings,
    /// The address to listen on, in place of the one of `weft init` or `weft join`.
    pub bind: Option<IpAddr>,
    /// Where the other nodes reach this one, in place of the address of `weft init` or `weft join`.
    pub advertise: Option<SocketAddr>,
    /// Where the node stands, for locality.
    pub zone: Option<ZoneName>,
    /// Services that the node offers from its start on.
    pub services: Vec<ServiceConfig>,
    /// Local ports that lead to services from the node's start on.
    pub bindings: Vec<BindingConfig>,
}

/// One `[[service]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceConfig {
    /// The service.
    pub name: ServiceName,
    /// The replica's name among those of the service on this node.
    pub replica: ReplicaName,
    /// Where the application listens.
    pub app: SocketAddr,
    /// What it speaks.
    pub protocol: Protocol,
    /// Its version.
    pub version: String,
    /// Its share of the load, relative to the other replicas.
    pub weight: u32,
    /// What routes choose its replicas by, beside the version.
    pub labels: BTreeMap<String, String>,
    /// How it is probed.
    pub health: HealthConfig,
    /// Each stream to it begins with a PROXY header of version 2.
    pub proxy_protocol: bool,
}

/// How a replica is probed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthConfig {
    /// What is asked.
    pub kind: HealthKind,
    /// Space between two probes; the node's `health.interval` if none.
    pub interval: Option<Duration>,
}

/// What a probe asks of a replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HealthKind {
    /// Nothing; the replica counts as healthy.
    None,
    /// A connection is accepted.
    Tcp,
    /// `GET path` answers with a status below 400.
    Http {
        /// The path.
        path: String,
    },
}

/// One `[[binding]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindingConfig {
    /// What the port leads to.
    pub leads_to: LeadsTo,
    /// The local port.
    pub port: u16,
    /// Which of the node's services the calls come from.
    pub identity: Option<ServiceName>,
    /// Each stream from its callers begins with a PROXY header of version 2.
    pub proxy_protocol: bool,
}

/// The configuration file that a node of this state directory reads, if there is one.
pub fn find(disk: &Disk, dir: &Path) -> Option<PathBuf> {
    [dir.join(CONFIG_FILE), PathBuf::from(SYSTEM_CONFIG_FILE)].into_iter().find(|path| disk.exists(path))
}

/// Reads the configuration of a node; without a file, the defaults.
pub fn load(disk: &Disk, dir: &Path) -> Result<NodeConfig, Failure> {
    match find(disk, dir) {
        Some(path) => load_file(disk, &path),
        None => Ok(NodeConfig::default()),
    }
}

/// Reads one configuration file.
pub fn load_file(disk: &Disk, path: &Path) -> Result<NodeConfig, Failure> {
    let invalid = |detail: String| Failure::new(Code::ConfigInvalid, detail);
    let bytes = disk.read(path).map_err(|error| invalid(format!("read {}: {error}", path.display())))?;
    let text = String::from_utf8(bytes).map_err(|error| invalid(format!("{}: not UTF-8: {error}", path.display())))?;
    parse(&text, &path.display().to_string()).map_err(|mistakes| {
        let lines: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        invalid(lines.join("\n"))
    })
}

#[cfg(test)]
mod tests;
