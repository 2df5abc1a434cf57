//! The bank of the demo: which nodes there are, which applications run on them, and how they are brought up.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use http::{Method, StatusCode};
use tokio::time::Instant;
use weft_actors::control::TokenRequest;
use weft_actors::enlist::{InitArgs, JoinArgs};
use weft_env::Env;
use weft_identity::{Code, Failure, Protocol, ServiceName};
use weft_world::service_spec::{HealthSpec, ProbeKind, ServiceSpec};

use super::STAND_TIMEOUT;
use super::app::{self, App, Kind};
use crate::node::{NodeOptions, RunningNode};

/// The nodes, their addresses and the applications on each. vm-a holds the signer role and the demo's callers.
const NODES: &[(&str, u8, &[Kind])] = &[
    ("vm-a", 1, &[Kind::Accounts]),
    ("vm-b", 2, &[Kind::Accounts, Kind::Payments]),
    ("vm-c", 3, &[Kind::Ledger]),
    ("vm-d", 4, &[Kind::Quotes, Kind::Orders]),
    ("vm-e", 5, &[Kind::Orders, Kind::Payments]),
];

/// Where the applications of a node listen: 8080, 8081, ...
const APP_PORT_FIRST: u16 = 8080;
/// Space between two looks whether something has happened.
const POLL: Duration = Duration::from_millis(20);

/// The running bank. Its state lies in a temporary directory that goes with it.
pub(super) struct Bank {
    dir: PathBuf,
    nodes: Vec<(&'static str, RunningNode)>,
    apps: Vec<(&'static str, Kind, App)>,
}

fn address(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 1, last))
}

fn outbound(last: u8) -> SocketAddr {
    SocketAddr::new(address(last), weft_world::settings::OUTBOUND_PORT)
}

fn service_name(kind: Kind) -> Result<ServiceName, Failure> {
    kind.service().parse().map_err(|e| Failure::new(Code::Internal, format!("name a demo service: {e}")))
}

fn service_spec(kind: Kind, app: SocketAddr) -> Result<ServiceSpec, Failure> {
    let probe = HealthSpec { kind: ProbeKind::Http("/healthz".to_owned()), interval_ms: None };
    Ok(ServiceSpec { health: probe, ..ServiceSpec::new(service_name(kind)?, app, Protocol::Http) })
}

impl Bank {
    /// Brings up every node and application.
    pub(super) async fn start() -> Result<Self, Failure> {
        let dir = std::env::temp_dir().join(format!("weft-demo-{}", std::process::id()));
        let mut bank = Bank { dir, nodes: Vec::new(), apps: Vec::new() };
        match bank.bring_up().await {
            Ok(()) => Ok(bank),
            Err(failure) => {
                bank.stop().await;
                Err(failure)
            }
        }
    }

    async fn bring_up(&mut self) -> Result<(), Failure> {
        let env = Env::machine();
        for (index, &(name, last, kinds)) in NODES.iter().enumerate() {
            let dir = self.dir.join(name);
            if index == 0 {
                weft_actors::enlist::init(&env, InitArgs::demo("bank", name, address(last), dir.clone())?).await?;
            } else {
                let token = self.token_for(kinds).await?;
                weft_actors::enlist::join(&env, JoinArgs::demo(token, name, address(last), dir.clone())?).await?;
            }
            let node = RunningNode::start(NodeOptions { workers: Some(1), ..NodeOptions::new(dir) }).await?;
            self.nodes.push((name, node));
            self.offer(name, last, kinds).await?;
        }
        Ok(())
    }

    async fn token_for(&self, kinds: &[Kind]) -> Result<String, Failure> {
        let (_, signer) = self.nodes.first().ok_or_else(|| Failure::new(Code::Internal, "the demo has no signer"))?;
        let grants = kinds.iter().map(|kind| service_name(*kind)).collect::<Result<_, _>>()?;
        let request = TokenRequest { grants, ..TokenRequest::default() };
        Ok(signer.control().create_token(request).await?.token)
    }

    async fn offer(&mut self, name: &'static str, last: u8, kinds: &[Kind]) -> Result<(), Failure> {
        for (&kind, port) in kinds.iter().zip(APP_PORT_FIRST..) {
            let at = SocketAddr::new(address(last), port);
            self.apps.push((name, kind, App::start(kind, name, at, outbound(last)).await?));
            if let Some((_, node)) = self.nodes.last() {
                node.control().expose(service_spec(kind, at)?).await?;
            }
        }
        Ok(())
    }

    /// Where the demo's own calls go in: the outbound port of vm-a.
    pub(super) fn caller(&self) -> SocketAddr {
        outbound(1)
    }

    /// Waits until the first call crosses from vm-a to another node.
    pub(super) async fn first_call(&self) -> Result<(), Failure> {
        self.answers(Method::GET, "quotes", "/quotes/WEFT").await
    }

    /// Waits until a call through every service succeeds.
    pub(super) async fn every_service_reachable(&self) -> Result<(), Failure> {
        self.answers(Method::GET, "accounts", "/accounts/7").await?;
        self.answers(Method::POST, "orders", "/orders").await?;
        let deadline = Instant::now() + STAND_TIMEOUT;
        while self.nodes.iter().any(|(_, node)| node.control().nodes().len() < NODES.len()) {
            if Instant::now() > deadline {
                return Err(Failure::new(Code::CheckFailed, "the nodes do not all know each other after 30 s"));
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    async fn answers(&self, method: Method, service: &str, path: &str) -> Result<(), Failure> {
        let deadline = Instant::now() + STAND_TIMEOUT;
        loop {
            let last = app::call(self.caller(), method.clone(), service, path).await;
            if matches!(last, Ok((StatusCode::OK, _))) {
                return Ok(());
            }
            if Instant::now() > deadline {
                let detail = format!("{service} does not answer after 30 s; the last try: {last:?}");
                return Err(Failure::new(Code::CheckFailed, detail));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Kills one application, as a crash would.
    pub(super) fn kill_replica(&mut self, service: &str, node: &str) {
        self.apps.retain(|(on, kind, _)| !(*on == node && kind.service() == service));
    }

    /// Stops one node with its applications.
    pub(super) async fn kill_node(&mut self, name: &str) {
        self.apps.retain(|(on, _, _)| *on != name);
        if let Some(position) = self.nodes.iter().position(|(node, _)| *node == name) {
            let (_, node) = self.nodes.remove(position);
            node.stop().await;
        }
    }

    /// Stops everything and removes the demo's state.
    pub(super) async fn stop(&mut self) {
        self.apps.clear();
        while let Some((_, node)) = self.nodes.pop() {
            node.stop().await;
        }
        if let Err(error) = std::fs::remove_dir_all(&self.dir) {
            tracing::debug!(%error, dir = %self.dir.display(), "the demo's state directory stays");
        }
    }

    /// The page that tells what to try.
    pub(super) fn page(&self) -> String {
        let caller = self.caller();
        let dir = self.dir.join("vm-a");
        let dir = dir.display();
        format!(
            "\
A bank runs on this machine: banking (accounts, payments, ledger) and trading (quotes, orders),
five nodes vm-a to vm-e on 127.0.1.1 to 127.0.1.5. Every call below crosses the mesh by mutual TLS.

  curl -H 'Host: accounts.weft.internal' http://{caller}/accounts/7
  curl --proxy http://{caller} http://quotes.weft.internal/quotes/WEFT
  curl --proxy http://{caller} -X POST http://orders.weft.internal/orders     # orders -> quotes, payments -> accounts, ledger
  curl -i --proxy http://{caller} http://nowhere.weft.internal/               # an error that explains itself

  weft --dir {dir} status
  weft --dir {dir} ls nodes            # or: services, certs
  weft explain service-unknown
  curl http://127.0.1.1:4511/metrics

Accounts, payments and orders have two replicas each; `weft demo --check` kills one and looks whether calls go on.
Ctrl-C ends the demo and removes its state."
        )
    }
}
