//! The table of every key of `node.toml`: name, unit, default, meaning and where its value goes. The reader and the reference
//! page are both made from it, so that neither can forget one.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use weft_gossip::membership::NODES_MAX;
use weft_identity::ZoneName;

use crate::settings::{AccessLog, MESH_PORT};

use super::NodeConfig;

/// How a value is read, and where it goes.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// A span such as `"20s"`, within bounds.
    Span(fn(&mut NodeConfig, Duration), Duration, Duration),
    /// A whole number within bounds.
    Count(fn(&mut NodeConfig, u64), u64, u64),
    /// `true` or `false`.
    Switch(fn(&mut NodeConfig, bool)),
    /// A text with a form of its own; the setter says what is wrong with it.
    Text(fn(&mut NodeConfig, &str) -> Result<(), String>),
}

/// One key of the file.
pub struct Key {
    /// Its full name, with the table's: `timeouts.connect`.
    pub name: &'static str,
    /// Its default, as the page shows it.
    pub default: &'static str,
    /// What it means and when to change it.
    pub doc: &'static str,
    pub(super) kind: Kind,
}

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);
/// Longest total timeout: an exchange that may last longer needs none.
const TOTAL_TIMEOUT_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// Shortest life of a certificate: below this, renewal at half of it races with the handshakes.
const CERTIFICATE_LIFETIME_MIN: Duration = Duration::from_secs(10);
/// Longest life of a certificate: one is not revoked before its end.
const CERTIFICATE_LIFETIME_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// Most connections or requests that can be asked for: the order of what file descriptors allow.
const LIMIT_MAX: u64 = 1_000_000;
/// Least memory that a node can be told to stay below: below it none starts.
const MEMORY_BYTES_MIN: u64 = 16 * 1024 * 1024;
/// Most workers: more than any machine has cores.
const WORKERS_MAX: u64 = 1024;
/// Ports below 1 do not exist; 0 would mean a port by chance.
const PORT_MIN: u64 = 1;
const PORT_MAX: u64 = 65_535;

const fn key(name: &'static str, default: &'static str, doc: &'static str, kind: Kind) -> Key {
    Key { name, default, doc, kind }
}

/// Every key outside `[[service]]` and `[[binding]]`.
#[rustfmt::skip]
pub const KEYS: &[Key] = &[
    key("bind", "as given to `weft init` or `weft join`", "The IP address that the node listens on. Outbound and bound ports listen on 127.0.0.1, or here when this is a loopback address.",
        Kind::Text(|c, text| { c.bind = Some(text.parse::<IpAddr>().map_err(|_| format!("{text:?} is not an IP address"))?); Ok(()) })),
    key("advertise", "as given to `weft init` or `weft join`", "`IP` or `IP:PORT` at which the other nodes reach this one. Change it when the machine gets another address.",
        Kind::Text(|c, text| { c.advertise = Some(advertised(text)?); Ok(()) })),
    key("zone", "none", "Where the node stands (a rack, an availability zone): calls prefer replicas of their own zone.",
        Kind::Text(|c, text| { c.zone = Some(text.parse::<ZoneName>().map_err(|error| error.to_string())?); Ok(()) })),
    key("workers", "0", "Threads of the data path; 0 is one a core. Fewer leave cores to the applications.",
        Kind::Count(|c, n| c.settings.workers = whole(n), 0, WORKERS_MAX)),
    key("ports.mesh", "4510", "The port between nodes, TCP and UDP: the only one that a firewall must open.",
        Kind::Count(|c, n| c.settings.ports.mesh = port(n), PORT_MIN, PORT_MAX)),
    key("ports.admin", "4511", "Metrics and health of the node, on the loopback address.",
        Kind::Count(|c, n| c.settings.ports.admin = port(n), PORT_MIN, PORT_MAX)),
    key("ports.outbound", "4512", "Outbound HTTP of the applications on this machine.",
        Kind::Count(|c, n| c.settings.ports.outbound = port(n), PORT_MIN, PORT_MAX)),
    key("identity.certificate_lifetime", "\"24h\"", "Life of the certificates that this node issues if it is a signer; they are renewed at half of it. Shorter limits what a stolen key is worth.",
        Kind::Span(|c, d| c.settings.certificate_lifetime = d, CERTIFICATE_LIFETIME_MIN, CERTIFICATE_LIFETIME_MAX)),
    key("timeouts.connect", "\"1s\"", "How long a TCP connect and TLS handshake to another node may take, together. Raise it for machines far apart.",
        Kind::Span(|c, d| c.settings.connect_timeout = d, MILLISECOND, HOUR)),
    key("timeouts.request", "\"60s\"", "How long the head of an answer may take to begin after the request was sent, over all tries. Raise it for services that think long.",
        Kind::Span(|c, d| c.settings.request_timeout = d, MILLISECOND, HOUR)),
    key("timeouts.upload", "\"60s\"", "How long nothing of a request's body may move on; then the code is `caller-too-slow`, or `request-timeout` where all of it is here and the service does not take it. An upload that flows may last as long as it likes.",
        Kind::Span(|c, d| c.settings.upload_timeout = d, MILLISECOND, HOUR)),
    key("timeouts.answer", "\"300s\"", "How long nothing of an answer's body may move on, from the service or to the caller; then it is cut. `0s` is no limit. Raise it for streams of events that rest longer.",
        Kind::Span(|c, d| c.settings.answer_timeout = (!d.is_zero()).then_some(d), Duration::ZERO, TOTAL_TIMEOUT_MAX)),
    key("timeouts.stream", "\"0s\"", "How long nothing may move in a tunnel, a WebSocket or a stream of TCP; then it is cut. `0s` is no limit: pools of database connections rest for hours, and the kernel's keep-alive finds out who is gone.",
        Kind::Span(|c, d| c.settings.stream_timeout = (!d.is_zero()).then_some(d), Duration::ZERO, TOTAL_TIMEOUT_MAX)),
    key("timeouts.connection_age", "\"0s\"", "How old a caller's connection may become; then it is asked to end, after its requests. `0s` is no limit. Set it where callers should spread over new nodes.",
        Kind::Span(|c, d| c.settings.connection_age = (!d.is_zero()).then_some(d), Duration::ZERO, TOTAL_TIMEOUT_MAX)),
    key("timeouts.total", "\"0s\"", "How long a request may take from its head to the end of its answer; then it is cut, with the code `request-timeout`. `0s` is no limit, because streams of hours are usual. Upgrades, CONNECT and TCP streams have none. Set it where every answer is short.",
        Kind::Span(|c, d| c.settings.total_timeout = (!d.is_zero()).then_some(d), Duration::ZERO, TOTAL_TIMEOUT_MAX)),
    key("timeouts.idle", "\"60s\"", "How long a connection without a request is kept: of a caller, and to a service in the pool.",
        Kind::Span(|c, d| c.settings.idle_timeout = d, SECOND, HOUR)),
    key("timeouts.head", "\"10s\"", "How long the head of a request may take to arrive: from the start of a new connection, later from its first byte on. A handshake of TLS may take as long.",
        Kind::Span(|c, d| c.settings.head_timeout = d, MILLISECOND, HOUR)),
    key("timeouts.drain", "\"30s\"", "How long requests in flight may take to finish after SIGTERM. The service manager's stop timeout must be longer.",
        Kind::Span(|c, d| c.settings.drain_timeout = d, MILLISECOND, HOUR)),
    key("health.interval", "\"2s\"", "Space between two probes of a replica that states none of its own.",
        Kind::Span(|c, d| c.settings.health_interval = d, Duration::from_millis(100), HOUR)),
    key("health.timeout", "\"1s\"", "How long a probe may take.",
        Kind::Span(|c, d| c.settings.health_timeout = d, MILLISECOND, HOUR)),
    key("health.unhealthy_after", "2", "Probes in a row that must fail before a replica counts as unhealthy.",
        Kind::Count(|c, n| c.settings.unhealthy_after = u32::try_from(n).unwrap_or(u32::MAX), 1, 1000)),
    key("limits.in_flight", "10000", "Most requests and streams in flight in all; one more waits 100 ms at most, in a standing overload 5 ms, and gets the code `overloaded`.",
        Kind::Count(|c, n| c.settings.in_flight_max = whole(n), 1, LIMIT_MAX)),
    key("limits.connections", "10000", "Most open connections a listener.",
        Kind::Count(|c, n| c.settings.connections_max = whole(n), 1, LIMIT_MAX)),
    key("limits.memory", "80 % of the cgroup's limit, if it has one", "Resident memory that the node is to stay below, such as `\"512MiB\"` or `\"2GiB\"`. At 80 % of it connections of applications end with their answers, at 90 % new requests of applications are refused, at 95 % new connections; see [overload](overload.md).",
        Kind::Text(|c, text| { c.settings.memory_bytes_max = Some(bytes(text)?); Ok(()) })),
    key("limits.nodes", "600", "Nodes that the cell admits, the same on every node of it: a signer admits no more. Gossip grows with each.",
        Kind::Count(|c, n| c.settings.nodes_max = whole(n), 1, NODES_MAX as u64)),
    key("access_log.enabled", "true", "Whether each request is written to the access log, a JSON line each, in the state directory.",
        Kind::Switch(|c, on| c.settings.access_log = if on { AccessLog::Written } else { AccessLog::Off })),
];

fn whole(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Reads a number of bytes: a whole number and `KiB`, `MiB` or `GiB`.
fn bytes(text: &str) -> Result<u64, String> {
    let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
    let read = units.iter().find_map(|(unit, size): &(&str, u64)| {
        let count = text.strip_suffix(unit)?.trim_end().parse::<u64>().ok()?;
        count.checked_mul(*size)
    });
    let read = read.ok_or_else(|| format!("{text:?} is not a size such as \"512MiB\" or \"2GiB\""))?;
    if read < MEMORY_BYTES_MIN { Err("a node needs 16 MiB at least".to_owned()) } else { Ok(read) }
}

fn port(number: u64) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}

/// An address at which the other nodes reach this one.
fn advertised(text: &str) -> Result<SocketAddr, String> {
    let address = socket_address(text)?;
    check_reachable(address).map(|()| address)
}

/// Refuses what no other node could dial: every address at once, many machines, no port.
pub fn check_reachable(address: SocketAddr) -> Result<(), String> {
    let ip = address.ip();
    if ip.is_unspecified() {
        return Err(format!(
            "{ip} stands for every address of a machine: name the one at which the other nodes reach it"
        ));
    }
    if ip.is_multicast() || ip == IpAddr::V4(std::net::Ipv4Addr::BROADCAST) {
        return Err(format!("{ip} is not the address of one machine"));
    }
    if address.port() == 0 { Err("port 0 is no port to be reached at".to_owned()) } else { Ok(()) }
}

/// Reads `IP` (the mesh port follows) or `IP:PORT`.
pub fn socket_address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(address);
    }
    let ip = text.parse::<IpAddr>().map_err(|_| format!("{text:?} is not an IP address, nor one with a port"))?;
    Ok(SocketAddr::new(ip, MESH_PORT))
}
