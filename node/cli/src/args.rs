//! The command line: every command and option, as clap reads them, help, completions and man pages show them.

mod ca;
mod ledger;
mod why;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use weft_identity::ids::NameError;
use weft_identity::{CellName, MeshName, NodeId, Protocol, ReplicaName, ServiceName, granted_label};
use weft_policy::Kind;
use weft_world::config::{parse_span, protocol_of};

use super::output::Output;
pub(super) use ca::{CaCommand, KeyOptions, OperatorCommand, RootCommand, SignerCommand};
pub(super) use ledger::{
    ApplyOptions, HistoryOptions, PlanOptions, RevisionOptions, RevokeCommand, RevokeOptions, RollbackOptions,
    SigningOptions,
};
pub(super) use why::{RouteOptions, WhyOptions};

/// The state directory of a packaged installation.
pub(super) const DEFAULT_DIR: &str = "/var/lib/weft";

/// Weft: a service mesh and API gateway in one program.
#[derive(Debug, Parser)]
#[command(name = "weft", version, max_term_width = 100)]
pub struct Cli {
    /// The state directory of the node.
    #[arg(long, global = true, env = "WEFT_DIR", default_value = DEFAULT_DIR, value_name = "DIR")]
    pub dir: PathBuf,
    /// In which form results and errors are printed.
    #[arg(long, global = true, value_enum, default_value = "text")]
    pub output: Output,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Makes a new mesh: root key, operator key, and this machine as its first node and signer.
    Init(InitOptions),
    /// Runs the node until SIGTERM or Ctrl-C.
    Run,
    /// Joins a mesh with a token of one of its signers.
    Join(JoinOptions),
    /// Makes join tokens.
    Token {
        /// What to do with tokens.
        #[command(subcommand)]
        command: TokenCommand,
    },
    /// Offers an application on this machine as a service of the mesh.
    Expose(ExposeOptions),
    /// Opens a local port that leads to a service.
    Bind(BindOptions),
    /// Says goodbye to the mesh and stops the node.
    Leave,
    /// Shows who this node is and how it fares.
    Status,
    /// Lists what the node knows.
    Ls {
        /// What to list.
        what: Listing,
        /// Only what has this name; of documents, kind/name.
        name: Option<String>,
    },
    /// Shows certificates.
    Cert {
        /// What to do with certificates.
        #[command(subcommand)]
        command: CertCommand,
    },
    /// Shows and changes whom the mesh believes: roots, signers, operators.
    Ca {
        /// What to do.
        #[command(subcommand)]
        command: CaCommand,
    },
    /// Shows what policy files would change, and every mistake in them. Changes nothing.
    Plan(PlanOptions),
    /// Signs policy files and brings them to every node.
    Apply(ApplyOptions),
    /// Keeps a change that `weft apply --confirm` made.
    Confirm(RevisionOptions),
    /// Shows who changed what, and how it stands.
    History(HistoryOptions),
    /// Brings the documents back as a revision left them.
    Rollback(RollbackOptions),
    /// Lets nobody trust a node, a key or a token any more.
    Revoke {
        /// What.
        #[command(subcommand)]
        command: RevokeCommand,
    },
    /// Makes one HTTP request through the mesh, as curl would, and shows the answer.
    Curl(CurlOptions),
    /// Looks at the state directory, the configuration and the ports, without changing anything.
    Check,
    /// Tells why this node refused a request, or how it would decide a call.
    Why(WhyOptions),
    /// Tells where this node would send a request.
    Route(RouteOptions),
    /// Tells what a node's configuration file may hold.
    Config {
        /// What to tell.
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Tells what policy files may hold.
    Policy {
        /// What to tell.
        #[command(subcommand)]
        command: PolicyCommand,
    },
    /// Tells more about an error code; without one, lists all.
    Explain {
        /// The code, for example service-unknown.
        code: Option<String>,
    },
    /// Starts a whole mesh on this machine.
    Demo {
        /// Makes the calls, kills a replica, and exits 0 only if everything held.
        #[arg(long)]
        check: bool,
    },
    /// Prints the completions of a shell.
    Completion {
        /// The shell.
        shell: Shell,
    },
    /// Writes the man pages.
    Man {
        /// The directory to write into; without it, the main page goes to standard output.
        #[arg(value_name = "INTO")]
        into: Option<PathBuf>,
    },
    /// Prints the version.
    Version,
}

/// `weft init`.
#[derive(Debug, Args)]
pub struct InitOptions {
    /// The mesh's name, which is its trust domain.
    pub mesh: MeshName,
    /// Where the other nodes reach this one: IP or IP:PORT.
    #[arg(long, value_parser = address, value_name = "IP[:PORT]")]
    pub advertise: SocketAddr,
    /// The address to listen on, if not the advertised one.
    #[arg(long, value_name = "IP")]
    pub bind: Option<IpAddr>,
    /// The node's name; the machine's host name if none.
    #[arg(long)]
    pub node: Option<NodeId>,
    /// The cell (one gossip pool, by convention a datacenter).
    #[arg(long)]
    pub cell: Option<CellName>,
    /// A label that the node's certificates carry, for rules to ask for; may be repeated.
    #[arg(long = "label", value_parser = granted_label, value_name = "NAME=VALUE")]
    pub labels: Vec<(String, String)>,
    /// A file with the passphrase of the root and operator keys. WEFT_PASSPHRASE serves, too; with neither, and without a
    /// terminal, one is made and printed once.
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
}

/// `weft join`.
#[derive(Debug, Args)]
pub struct JoinOptions {
    /// A node of the mesh: IP or IP:PORT.
    #[arg(value_parser = address, value_name = "IP[:PORT]")]
    pub at: SocketAddr,
    /// The token that `weft token create` printed.
    #[arg(long, env = "WEFT_TOKEN", hide_env_values = true)]
    pub token: String,
    /// Where the other nodes reach this one; the address that the route to the mesh uses if none.
    #[arg(long, value_parser = address, value_name = "IP[:PORT]")]
    pub advertise: Option<SocketAddr>,
    /// The address to listen on, if not the advertised one.
    #[arg(long, value_name = "IP")]
    pub bind: Option<IpAddr>,
    /// The node's name; the machine's host name if none.
    #[arg(long)]
    pub node: Option<NodeId>,
}

/// `weft token`.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Makes a token and prints the one line to run on the other machine.
    Create(TokenOptions),
}

/// `weft token create`.
#[derive(Debug, Args)]
pub struct TokenOptions {
    /// A service that the new node may offer; may be repeated.
    #[arg(long = "grant", value_name = "SERVICE", value_delimiter = ',')]
    pub grants: Vec<ServiceName>,
    /// The new node may offer every service.
    #[arg(long, conflicts_with = "grants")]
    pub grant_all: bool,
    /// The new node becomes a signer, too.
    #[arg(long)]
    pub signer: bool,
    /// A label that the node's certificates carry from then on, for rules to ask for; replaces the one of the same name. May be repeated.
    #[arg(long = "label", value_parser = granted_label, value_name = "NAME=VALUE")]
    pub labels: Vec<(String, String)>,
    /// Takes the label of this name away from a node that has it; may be repeated.
    #[arg(long = "remove-label", value_name = "NAME")]
    pub removed_labels: Vec<String>,
    /// The cell that the new node joins.
    #[arg(long)]
    pub cell: Option<CellName>,
    /// How long the token is good for.
    #[arg(long, default_value = "10m", value_parser = span, value_name = "SPAN")]
    pub ttl: Duration,
}

/// `weft expose`.
#[derive(Debug, Args)]
pub struct ExposeOptions {
    /// The service.
    pub service: ServiceName,
    /// The port, or IP:PORT, on which the application listens.
    #[arg(value_parser = app, value_name = "[IP:]PORT", required_unless_present = "remove")]
    pub app: Option<SocketAddr>,
    /// What the application speaks: http, http2 (gRPC) or tcp.
    #[arg(long, value_parser = protocol_of, default_value = "http")]
    pub protocol: Protocol,
    /// The replica's name, for a service of which this node offers several; else it is called like the service.
    #[arg(long, value_name = "NAME")]
    pub replica: Option<ReplicaName>,
    /// The version of the application, told to the other nodes.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub version: String,
    /// Its share of the load against the other replicas.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub weight: u32,
    /// A label by which routes choose replicas, beside the version; may be repeated.
    #[arg(long = "label", value_parser = label, value_name = "NAME=VALUE")]
    pub labels: Vec<(String, String)>,
    /// How it is probed: none, tcp, or the path of a GET, in the service's protocol, that must answer below 400.
    #[arg(long, default_value = "tcp", value_name = "none|tcp|/PATH")]
    pub health: String,
    /// Begins each stream to the application with a PROXY header (version 2) that tells who calls; with --protocol tcp.
    #[arg(long)]
    pub proxy_protocol: bool,
    /// Also if the other nodes speak the service in another protocol: what most nodes state then holds.
    #[arg(long)]
    pub anyway: bool,
    /// Offers the service no more; with --replica only that replica.
    #[arg(long, conflicts_with = "app")]
    pub remove: bool,
}

/// `weft bind`.
#[derive(Debug, Args)]
pub struct BindOptions {
    /// The service, and then the local port; with --tls or --remove the port alone.
    #[arg(value_name = "SERVICE", required_unless_present_any = ["remove", "tls"])]
    pub service: Option<ServiceName>,
    /// The local port.
    #[arg(required_unless_present_any = ["remove", "tls"], value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
    /// Opens a port for clients of TLS, which passes as it is to the service of the server name that the client states (SNI).
    #[arg(long, value_name = "PORT", requires = "names", conflicts_with_all = ["service", "port"])]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    pub tls: Option<u16>,
    /// A server name of --tls and its service, once each: orders.example=orders, *.example=web for all names below, *=web for all others.
    #[arg(long = "name", value_name = "NAME=SERVICE", value_parser = server_name)]
    #[arg(requires = "tls", conflicts_with_all = ["service", "port"])]
    pub names: Vec<(String, ServiceName)>,
    /// Which of the node's services the calls come from.
    #[arg(long = "as", value_name = "SERVICE")]
    pub identity: Option<ServiceName>,
    /// Takes in streams that begin with a PROXY header (version 2), and no other: for a balancer in front of the port.
    #[arg(long)]
    pub proxy_protocol: bool,
    /// Closes the local port.
    #[arg(long, value_name = "PORT", conflicts_with_all = ["service", "port", "tls", "identity"])]
    pub remove: Option<u16>,
}

/// What `weft ls` lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Listing {
    /// The members of the mesh.
    Nodes,
    /// The services and their replicas.
    Services,
    /// The certificates of this node.
    Certs,
    /// The documents in force.
    Documents,
}

/// `weft cert`.
#[derive(Debug, Subcommand)]
pub enum CertCommand {
    /// Lists what ends when: this node's certificates, the signers and the roots.
    Ls,
}

/// `weft config`.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Prints the JSON Schema of node.toml, for editors.
    Schema,
}

/// `weft policy`.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Prints the JSON Schema of one kind of document, for editors.
    Schema {
        /// The kind: mesh, authorisation, route, traffic, rate-limit or revocation.
        #[arg(value_parser = kind)]
        kind: Kind,
    },
}

/// `weft curl`.
#[derive(Debug, Args)]
pub struct CurlOptions {
    /// The service's URL: http://orders.weft.internal/path, orders.weft.internal/path or orders/path.
    pub url: String,
    /// The method; POST if there is data, else GET.
    #[arg(short = 'X', long)]
    pub request: Option<String>,
    /// A header, `Name: value`; may be repeated.
    #[arg(short = 'H', long = "header")]
    pub headers: Vec<String>,
    /// The body.
    #[arg(short, long)]
    pub data: Option<String>,
    /// Shows the head of the answer, too.
    #[arg(short, long)]
    pub include: bool,
}

fn address(text: &str) -> Result<SocketAddr, String> {
    weft_world::config::socket_address(text)
}

fn app(text: &str) -> Result<SocketAddr, String> {
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
    match port(text) {
        Some(port) => Ok(SocketAddr::from(([127, 0, 0, 1], port))),
        None => text.parse().map_err(|_| format!("{text:?} is not a port, nor IP:PORT")),
    }
}

fn kind(text: &str) -> Result<Kind, String> {
    let known: Vec<&str> = Kind::ALL.into_iter().map(Kind::word).collect();
    Kind::named(text).ok_or_else(|| format!("the kinds are {}", known.join(", ")))
}

/// `NAME=SERVICE`.
fn server_name(text: &str) -> Result<(String, ServiceName), String> {
    let (name, service) = text.split_once('=').ok_or("write it as orders.example=orders")?;
    Ok((name.to_owned(), service.parse().map_err(|error: NameError| error.to_string())?))
}

fn label(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(name, _)| !name.is_empty());
    pair.map(|(name, value)| (name.to_owned(), value.to_owned())).ok_or_else(|| "must be NAME=VALUE".to_owned())
}

fn span(text: &str) -> Result<Duration, String> {
    let span = parse_span(text).ok_or_else(|| "a span is written 90s, 10m, 24h".to_owned())?;
    if span.is_zero() { Err("a span must be longer than nothing".to_owned()) } else { Ok(span) }
}
