//! The commands that make, join and run a node.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;

use serde_json::json;
use weft_actors::enlist::{self, DEFAULT_CELL, InitArgs, JoinArgs};
use weft_env::Env;
use weft_identity::{Code, Failure, JoinToken, NodeId};
use weft_world::admin::{JoinRequest, SOCKET_FILE};
use weft_world::config;

use super::args::{DEFAULT_DIR, InitOptions, JoinOptions};
use super::output::Output;
use super::passphrase::{self, Passphrase};
use super::remote;

/// The machine's host name, as Linux tells it.
const HOSTNAME_FILE: &str = "/proc/sys/kernel/hostname";

/// `weft init`.
pub(super) async fn init(env: &Env, dir: &Path, output: Output, options: InitOptions) -> Result<(), Failure> {
    check_advertised(options.advertise)?;
    let config = config::load(&env.disk, dir)?;
    let passphrase = passphrase::for_new_keys(env, options.passphrase_file.as_deref())?;
    let made = match &passphrase {
        Passphrase::Given(_) => None,
        Passphrase::Made(text) => Some(text.clone()),
    };
    let (Passphrase::Given(text) | Passphrase::Made(text)) = passphrase;
    let cell = match options.cell {
        Some(cell) => cell,
        None => DEFAULT_CELL.parse().map_err(invalid_name)?,
    };
    let args = InitArgs {
        dir: dir.to_owned(),
        mesh: options.mesh,
        node: node_name(env, options.node)?,
        cell,
        zone: config.zone,
        labels: remote::granted(options.labels)?,
        advertise: options.advertise,
        bind: listen_address(options.bind, options.advertise),
        passphrase: text,
        certificate_lifetime: config.settings.certificate_lifetime,
    };
    let done = enlist::init(env, args).await?;
    let mut said = vec![
        format!("mesh {} made; this machine is its node {} and a signer", done.file.mesh, done.file.node),
        format!("root key:     {}  (take it offline)", done.root_key.display()),
        format!("operator key: {}", done.operator_key.display()),
    ];
    if let Some(text) = &made {
        said.push(format!("passphrase of both keys, shown this once: {text}"));
    }
    said.push(format!("next: {}", run_line(dir)));
    let value = json!({
        "mesh": done.file.mesh,
        "node": done.file.node,
        "advertise": done.file.advertise,
        "root_key": done.root_key,
        "operator_key": done.operator_key,
        "passphrase": made,
    });
    output.result(&said.join("\n"), value);
    Ok(())
}

/// `weft join`: by the node itself, if it runs.
pub(super) async fn join(env: &Env, dir: &Path, output: Output, options: JoinOptions) -> Result<(), Failure> {
    if tokio::net::UnixStream::connect(dir.join(SOCKET_FILE)).await.is_ok() {
        return remote::join(dir, output, JoinRequest { token: options.token, at: options.at }).await;
    }
    let config = config::load(&env.disk, dir)?;
    let token: JoinToken = options.token.trim().parse()?;
    let port = config.settings.ports.mesh;
    let advertise = match (options.advertise, options.bind) {
        (Some(address), _) => address,
        (None, Some(ip)) => SocketAddr::new(ip, port),
        (None, None) => SocketAddr::new(own_address(options.at)?, port),
    };
    check_advertised(advertise)?;
    let args = JoinArgs {
        dir: dir.to_owned(),
        at: options.at,
        token,
        node: node_name(env, options.node)?,
        zone: config.zone,
        advertise,
        bind: listen_address(options.bind, advertise),
    };
    let done = enlist::join(env, args).await?;
    let done_at = format!("node {} joined mesh {} at {}", done.file.node, done.file.mesh, done.file.advertise);
    let said = format!("{done_at}\nnext: {}", run_line(dir));
    let value = json!({
        "mesh": done.file.mesh,
        "node": done.file.node,
        "advertise": done.file.advertise,
        "labels": done.enrolment.labels,
    });
    output.result(&said, value);
    Ok(())
}

/// What no other node could dial is refused before anything is written.
fn check_advertised(address: SocketAddr) -> Result<(), Failure> {
    let refused = |why: String| Failure::new(Code::AddressInvalid, format!("advertise {address}: {why}"));
    config::check_reachable(address).map_err(refused)
}

/// The command that starts the node of this directory, as it would be typed next.
fn run_line(dir: &Path) -> String {
    let is_found =
        dir == Path::new(DEFAULT_DIR) || std::env::var_os("WEFT_DIR").is_some_and(|set| dir == Path::new(&set));
    if is_found { "weft run".to_owned() } else { format!("weft --dir {} run", dir.display()) }
}

fn listen_address(bind: Option<IpAddr>, advertise: SocketAddr) -> SocketAddr {
    SocketAddr::new(bind.unwrap_or(advertise.ip()), advertise.port())
}

/// The address of this machine that the route to `at` uses. Connecting a datagram socket sends nothing.
fn own_address(at: SocketAddr) -> Result<IpAddr, Failure> {
    let any: SocketAddr = if at.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    UdpSocket::bind(any)
        .and_then(|socket| socket.connect(at).and_then(|()| socket.local_addr()))
        .map(|own| own.ip())
        .map_err(|error| {
            Failure::new(Code::AddressInvalid, format!("find the route to {at}: {error}; give --advertise"))
        })
}

/// The name given, or the machine's: its first label, in lower case.
fn node_name(env: &Env, given: Option<NodeId>) -> Result<NodeId, Failure> {
    if let Some(name) = given {
        return Ok(name);
    }
    let bytes = env.disk.read(Path::new(HOSTNAME_FILE)).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).trim().to_lowercase();
    let label = text.split('.').next().unwrap_or_default();
    label
        .parse()
        .map_err(|error| Failure::new(Code::NameInvalid, format!("the host name as node name: {error}; give --node")))
}

fn invalid_name(error: weft_identity::ids::NameError) -> Failure {
    Failure::new(Code::NameInvalid, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_could_dial_is_not_advertised() {
        assert!(check_advertised("10.0.0.11:4510".parse().unwrap()).is_ok());
        for wrong in ["0.0.0.0:4510", "[::]:4510", "10.0.0.11:0", "224.0.0.1:4510", "255.255.255.255:4510"] {
            assert_eq!(check_advertised(wrong.parse().unwrap()).unwrap_err().code, Code::AddressInvalid, "{wrong}");
        }
    }

    #[test]
    fn the_next_step_names_the_directory_that_was_given() {
        assert_eq!(run_line(Path::new(DEFAULT_DIR)), "weft run");
        assert_eq!(run_line(Path::new("/srv/weft-a")), "weft --dir /srv/weft-a run");
    }

    #[test]
    fn a_node_listens_where_it_says_unless_told_otherwise() {
        let advertise = "10.0.0.11:5000".parse().unwrap();
        assert_eq!(listen_address(None, advertise), advertise);
        assert_eq!(listen_address(Some("0.0.0.0".parse().unwrap()), advertise), "0.0.0.0:5000".parse().unwrap());
    }

    #[test]
    fn the_own_address_towards_loopback_is_loopback() {
        assert!(own_address("127.0.77.1:4510".parse().unwrap()).unwrap().is_loopback());
    }
}
