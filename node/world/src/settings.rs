//! Every interval, timeout and limit of a node, already valid: the configuration file is parsed into this.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use weft_gossip::membership::NODES_DEFAULT;

/// The port between nodes, TCP and UDP.
pub const MESH_PORT: u16 = 4510;
/// The port for metrics and health of the node itself, on the loopback address.
pub const ADMIN_PORT: u16 = 4511;
/// The port for outbound HTTP of local applications.
pub const OUTBOUND_PORT: u16 = 4512;

/// Where the local ports of a node listen that binds to this address: there when it is a loopback address, so that many nodes fit on one
/// machine, else on 127.0.0.1.
pub fn local_ip(bind: IpAddr) -> IpAddr {
    if bind.is_loopback() { bind } else { IpAddr::V4(Ipv4Addr::LOCALHOST) }
}

/// What a node is set to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The ports.
    pub ports: Ports,
    /// Life of the certificates that this node issues, if it is a signer; they are renewed at half of it.
    pub certificate_lifetime: Duration,
    /// How long a TCP connect and TLS handshake to another node may take, together.
    pub connect_timeout: Duration,
    /// How long the head of an answer may take to begin after the request was sent, over all tries.
    pub request_timeout: Duration,
    /// How long nothing of a request's body may come, or be taken by the service.
    pub upload_timeout: Duration,
    /// How long nothing of an answer's body may come, or be taken by the caller; none for as long as it lasts.
    pub answer_timeout: Option<Duration>,
    /// How long nothing may move in a tunnel or a stream of TCP; none for as long as it lasts.
    pub stream_timeout: Option<Duration>,
    /// How old a caller's connection may become before it is asked to end; none for as old as it likes.
    pub connection_age: Option<Duration>,
    /// How long a request may take from its head to the end of its answer; none for as long as it lasts.
    pub total_timeout: Option<Duration>,
    /// How long an idle pooled connection is kept.
    pub idle_timeout: Duration,
    /// How long the head of a request may take to arrive.
    pub head_timeout: Duration,
    /// How long requests in flight may take to finish after SIGTERM.
    pub drain_timeout: Duration,
    /// Space between two probes of a replica that states none.
    pub health_interval: Duration,
    /// How long a probe may take.
    pub health_timeout: Duration,
    /// Probes in a row that must fail before a replica counts as unhealthy.
    pub unhealthy_after: u32,
    /// Workers of the data path; 0 is one a core.
    pub workers: usize,
    /// Most requests and streams in flight in all.
    pub in_flight_max: usize,
    /// Most open connections a listener.
    pub connections_max: usize,
    /// Resident memory that the node is to stay below; none for a share of its cgroup's limit, if that has one.
    pub memory_bytes_max: Option<u64>,
    /// Nodes that the cell admits.
    pub nodes_max: usize,
    /// The access log: on unless the operator says otherwise.
    pub access_log: AccessLog,
    /// What a supervisor allows before it gives up.
    pub restarts: RestartBudget,
}

/// The ports of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// Between nodes, TCP and UDP.
    pub mesh: u16,
    /// Metrics and health of the node, on the loopback address.
    pub admin: u16,
    /// Outbound HTTP of local applications.
    pub outbound: u16,
}

/// Whether requests are written to the access log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessLog {
    /// One JSON line a request, in the state directory.
    Written,
    /// None.
    Off,
}

/// How many restarts in which span a supervisor allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestartBudget {
    /// Most restarts within `span`.
    pub restarts_max: u32,
    /// The span.
    pub span: Duration,
    /// Wait before the first restart; it doubles with each further one within `span`.
    pub delay: Duration,
}

impl Default for Ports {
    fn default() -> Self {
        Self { mesh: MESH_PORT, admin: ADMIN_PORT, outbound: OUTBOUND_PORT }
    }
}

impl Default for RestartBudget {
    fn default() -> Self {
        // A fault of the moment is gone after five tries; one that is not is for the service manager.
        Self { restarts_max: 5, span: Duration::from_secs(30), delay: Duration::from_millis(50) }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            ports: Ports::default(),
            certificate_lifetime: Duration::from_secs(24 * 3600),
            connect_timeout: Duration::from_secs(1),
            request_timeout: Duration::from_secs(60),
            upload_timeout: Duration::from_secs(60),
            answer_timeout: Some(Duration::from_secs(300)),
            stream_timeout: None,
            connection_age: None,
            total_timeout: None,
            idle_timeout: Duration::from_secs(60),
            head_timeout: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(30),
            health_interval: Duration::from_secs(2),
            health_timeout: Duration::from_secs(1),
            unhealthy_after: 2,
            workers: 0,
            in_flight_max: 10_000,
            connections_max: 10_000,
            memory_bytes_max: None,
            nodes_max: NODES_DEFAULT,
            access_log: AccessLog::Written,
            restarts: RestartBudget::default(),
        }
    }
}
