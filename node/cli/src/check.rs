//! `weft check`: looks at the state directory, the configuration and the ports. Changes nothing.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;

use serde_json::json;
use weft_actors::state::{NodeFile, NodeState, StateDir};
use weft_env::{Env, Reuse};
use weft_identity::{Code, Failure, ServiceName};
use weft_world::admin::SOCKET_FILE;
use weft_world::config::{self, NodeConfig};
use weft_world::settings::local_ip;

use super::output::Output;

struct Line {
    name: String,
    outcome: Result<String, Failure>,
}

/// What a port is looked at for.
#[derive(Clone, Copy)]
enum Transport {
    Tcp,
    Udp,
}

impl Transport {
    fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        }
    }
}

/// Runs every check; one that does not hold fails the command with its own code when it is alone.
pub(super) async fn run(env: &Env, dir: &Path, output: Output) -> Result<(), Failure> {
    let mut lines = Vec::new();
    let config = config::load(&env.disk, dir);
    let read_from =
        config::find(&env.disk, dir).map_or("no file: the defaults".to_owned(), |p| p.display().to_string());
    lines.push(Line { name: "configuration".to_owned(), outcome: config.clone().map(|_| read_from) });
    let state = StateDir::new(env, dir).load();
    let said = state.as_ref().map(|state| format!("node {} of mesh {}", state.file.node, state.file.mesh));
    lines.push(Line { name: "state".to_owned(), outcome: said.map_err(Clone::clone) });
    if let (Ok(config), Ok(state)) = (&config, &state) {
        lines.extend(ports(env, dir, config, &state.file).await);
        lines.extend(grants(config, state));
    }
    report(output, lines)
}

async fn ports(env: &Env, dir: &Path, config: &NodeConfig, file: &NodeFile) -> Vec<Line> {
    if tokio::net::UnixStream::connect(dir.join(SOCKET_FILE)).await.is_ok() {
        return vec![Line { name: "ports".to_owned(), outcome: Ok("held by the node, which runs".to_owned()) }];
    }
    let bind = config.bind.unwrap_or(file.bind.ip());
    let local = local_ip(bind);
    let ports = config.settings.ports;
    let mut lines = Vec::new();
    let mesh = SocketAddr::new(bind, ports.mesh);
    let own = [
        ("mesh port".to_owned(), mesh, Transport::Tcp),
        ("mesh port, UDP".to_owned(), mesh, Transport::Udp),
        ("admin port".to_owned(), SocketAddr::new(local, ports.admin), Transport::Tcp),
        ("outbound port".to_owned(), SocketAddr::new(local, ports.outbound), Transport::Tcp),
    ];
    let bound = config.bindings.iter().map(|binding| {
        let name = format!("port {} of {}", binding.port, binding.leads_to);
        (name, SocketAddr::new(local, binding.port), Transport::Tcp)
    });
    for (name, at, transport) in own.into_iter().chain(bound) {
        let taken = match transport {
            Transport::Tcp => env.network.listen(at, Reuse::Exclusive).await.map(drop),
            Transport::Udp => env.network.datagrams(at).await.map(drop),
        };
        let outcome = match taken {
            Ok(()) => Ok(format!("{at} is free")),
            Err(error) => {
                let code = match error.kind() {
                    std::io::ErrorKind::AddrNotAvailable => Code::AddressInvalid,
                    _ => Code::PortInUse,
                };
                Err(Failure::new(code, format!("listen on {at} ({}): {error}", transport.as_str())))
            }
        };
        lines.push(Line { name, outcome });
    }
    lines
}

/// Services that the configuration offers, or calls as, and that the node was not granted.
fn grants(config: &NodeConfig, state: &NodeState) -> Option<Line> {
    let offered = config.services.iter().map(|service| &service.name);
    let called_as = config.bindings.iter().filter_map(|binding| binding.identity.as_ref());
    let named: BTreeSet<&ServiceName> = offered.chain(called_as).collect();
    let missing: Vec<String> = named
        .iter()
        .filter(|service| !state.standing.enrolment.grants.allows(service))
        .map(ToString::to_string)
        .collect();
    let outcome = if missing.is_empty() {
        Ok(format!("the configuration needs {}", named.len()))
    } else {
        let detail = format!("node {} is not granted {}", state.file.node, missing.join(", "));
        Err(Failure::new(Code::GrantMissing, detail))
    };
    (!named.is_empty()).then(|| Line { name: "grants".to_owned(), outcome })
}

fn report(output: Output, lines: Vec<Line>) -> Result<(), Failure> {
    let text: Vec<String> = lines
        .iter()
        .map(|line| match &line.outcome {
            Ok(said) => format!("ok      {}: {said}", line.name),
            Err(failure) => format!("failed  {}: {failure}", line.name),
        })
        .collect();
    let checks: Vec<_> = lines
        .iter()
        .map(|line| match &line.outcome {
            Ok(said) => json!({ "check": line.name, "ok": true, "detail": said }),
            Err(failure) => {
                json!({ "check": line.name, "ok": false, "code": failure.code.as_str(), "detail": failure.detail })
            }
        })
        .collect();
    output.result(&text.join("\n"), json!({ "checks": checks }));
    let mut failures: Vec<Failure> = lines.into_iter().filter_map(|line| line.outcome.err()).collect();
    match (failures.len(), failures.pop()) {
        (_, None) => Ok(()),
        (1, Some(only)) => Err(only),
        (count, Some(_)) => Err(Failure::new(Code::CheckFailed, format!("{count} checks did not hold"))),
    }
}
