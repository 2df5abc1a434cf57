//! What attacks a node's port: a member with a valid certificate that lies in gossip, and datagrams as an outsider can make them.
//! The encoder of gossip messages is written anew from the format, because an attacker would not use ours.

mod ledger;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use weft_env::{Env, Random};
use weft_gossip::catalog::{NodeRecord, ReplicaRecord, encode_value, sign_record};
use weft_gossip::enrol::{JoinWish, Joined, join};
use weft_gossip::metrics::GossipMetrics;
use weft_gossip::quic::{PeerConnection, QuicCredentials, QuicEndpoint, QuicProtocol};
use weft_identity::tls::{ALPN_HTTP1, dial_config};
use weft_identity::wire::{self, Kind};
use weft_identity::{IssuedCertificate, JoinToken, Protocol, SigningKey, SpiffeId, Trust, dial_name};
use weft_ledger::{Hash, LedgerMark, SignedDraft};

use ledger::LyingLedger;

/// The port between nodes.
const MESH_PORT: u16 = 4510;
/// How long a lie may take to be sent.
const SEND_LIMIT: Duration = Duration::from_secs(5);

/// A member of the mesh that runs no node but speaks gossip by hand.
#[derive(Debug)]
pub struct Rogue {
    key: SigningKey,
    joined: Joined,
    address: SocketAddr,
    generation: u64,
    victim: SocketAddr,
    endpoint: QuicEndpoint,
    peer: Option<PeerConnection>,
    accepted: Option<mpsc::Receiver<PeerConnection>>,
    mark: LedgerMark,
    lived_at: Option<Instant>,
}

/// Between two rounds of a member's gossip: more is too much, and refused.
const ROUND: Duration = Duration::from_millis(250);

/// What a record of the rogue says.
#[derive(Debug, Clone, Copy)]
pub struct Lie<'a> {
    /// The node it claims to be.
    pub node: &'a str,
    /// The service it claims to offer.
    pub service: &'a str,
    /// The sequence number.
    pub version: u64,
    /// The key under which it is gossiped.
    pub key: &'a str,
}

impl Rogue {
    /// Joins with a token from `own` and opens a QUIC endpoint there.
    pub async fn join(token: &str, name: &str, own: Ipv4Addr, victim: Ipv4Addr) -> Self {
        let env = Env::machine();
        let key = SigningKey::generate(&env.random);
        let joined = admitted(&env, (token, victim), name, &key).await;
        let trust = Trust::new(joined.bundle.clone(), env.clock.clone());
        let address = SocketAddr::from((own, MESH_PORT));
        let credentials = QuicCredentials { trust: &trust, certificate: &joined.certificate, key: &key };
        let metrics = Arc::new(GossipMetrics::new(&metrics::NoopRecorder));
        let (endpoint, accepted) =
            QuicEndpoint::open(&env, address, credentials, metrics).await.expect("the port is free");
        let (generation, victim) = (now_ms(&env), SocketAddr::from((victim, MESH_PORT)));
        let (accepted, mark) = (Some(accepted), LedgerMark::default());
        Self { key, joined, address, generation, victim, endpoint, peer: None, accepted, mark, lived_at: None }
    }

    /// Sends a record of its own making, signed by its own enrolled key.
    pub async fn tell(&mut self, lie: Lie<'_>) {
        let record = NodeRecord {
            mesh: self.joined.enrolment.mesh.clone(),
            cell: self.joined.enrolment.cell.clone(),
            zone: None,
            node: lie.node.parse().expect("a node's name"),
            generation: self.generation,
            version: lie.version,
            addr: self.address,
            roles: self.joined.enrolment.roles,
            replicas: vec![ReplicaRecord {
                service: lie.service.parse().expect("a service's name"),
                name: lie.service.parse().expect("a replica's name"),
                version: String::new(),
                protocol: Protocol::Http,
                port: 1,
                weight: 100,
                labels: std::collections::BTreeMap::new(),
                healthy: true,
            }],
            ledger: self.mark.clone(),
            leaving: false,
            bundle_epoch: self.joined.bundle.epoch,
            outgoing: 0,
            signer_key: None,
            enrolment: self.joined.signed_enrolment.clone(),
        };
        let signed = sign_record(&record, &self.key).expect("a small record");
        let value = encode_value(&signed).expect("a small record");
        self.send(&self.news_of(lie, &value)).await;
    }

    /// Lives as an honest member would, if it is time: heartbeats, and each time a newer record. Only so does the victim pass its records
    /// on.
    pub async fn live(&mut self, version: u64) {
        if self.lived_at.is_some_and(|last| last.elapsed() < ROUND) {
            return;
        }
        self.lived_at = Some(Instant::now());
        let (node, cell) = (self.joined.enrolment.node.clone(), self.joined.enrolment.cell.clone());
        let cluster = format!("{}/{cell}", self.joined.bundle.mesh);
        let id = (node.as_str(), self.generation, self.address);
        self.send(&syn(&cluster, id, [version, 0, version])).await;
        self.tell(Lie { node: node.as_str(), service: "web", version, key: "r" }).await;
    }

    /// Has a ledger of lies from now on, `count` of each kind, and says in its records that it is ahead of everybody. Returns for what
    /// reasons how many of them must be refused.
    pub fn keep_a_ledger_of_lies(&mut self, count: usize) -> BTreeMap<&'static str, usize> {
        let bundle = &self.joined.bundle;
        let lies = LyingLedger::new(&bundle.mesh, bundle.operators[0].key, &self.key, count);
        self.mark = lies.mark();
        let reasons = lies.reasons.clone();
        let accepted = self.accepted.take().expect("one ledger a rogue");
        tokio::spawn(lies.answer_all(accepted));
        reasons
    }

    /// Has a ledger with these from now on, and says in its records that it is ahead of everybody.
    pub fn keep_a_ledger_of(&mut self, drafts: &[SignedDraft]) {
        let held = LyingLedger::of(drafts);
        self.mark = held.mark();
        let accepted = self.accepted.take().expect("one ledger a rogue");
        tokio::spawn(held.answer_all(accepted));
    }

    /// Says in its records from now on that it holds this change set and why its documents are not in force with it.
    pub fn refuse(&mut self, tip: Hash, why: &str) {
        let (tips, head, refused) = (vec![tip], Some(tip), Some(why.to_owned()));
        self.mark = LedgerMark { revision: 1, tips, head, journals: None, refused };
    }

    /// The key of its certificate, as `weft ls certs` would show it.
    pub fn key(&self) -> String {
        self.joined.certificate.key.public().to_string()
    }

    /// Sends a value that is no record at all.
    pub async fn tell_raw(&mut self, lie: Lie<'_>, value: &str) {
        self.send(&self.news_of(lie, value)).await;
    }

    /// Sends any bytes as one gossip message; dials again where the victim has hung up.
    pub async fn send(&mut self, message: &[u8]) {
        let sent = tokio::time::timeout(SEND_LIMIT, self.try_send(message)).await;
        if !sent.unwrap_or(false) {
            self.peer = None;
        }
    }

    /// Whether the victim takes its certificate still: dials anew and waits for the answer to a probe.
    pub async fn is_answered(&self) -> bool {
        let probe = wire::encode(Kind::Probe, &()).expect("nothing encodes");
        let exchange = async {
            let peer = self.endpoint.dial(self.victim, QuicProtocol::Gossip).await.ok()?;
            let (mut send, mut receive) = peer.connection.open_bi().await.ok()?;
            send.write_all(&probe).await.ok()?;
            send.finish().ok()?;
            receive.read_to_end(2 * probe.len()).await.ok()
        };
        tokio::time::timeout(SEND_LIMIT, exchange).await.ok().flatten().is_some_and(|answer| answer == probe)
    }

    async fn try_send(&mut self, message: &[u8]) -> bool {
        if self.peer.as_ref().is_none_or(|peer| peer.connection.close_reason().is_some()) {
            let Ok(peer) = self.endpoint.dial(self.victim, QuicProtocol::Gossip).await else { return false };
            self.peer = Some(peer);
        }
        let Some(peer) = &self.peer else { return false };
        let Ok(mut stream) = peer.connection.open_uni().await else { return false };
        stream.write_all(message).await.is_ok() && stream.finish().is_ok() && stream.stopped().await.is_ok()
    }

    /// An ACK with one delta, complete as for somebody who knows nothing yet: after a gap it would not be passed on.
    fn news_of(&self, lie: Lie<'_>, value: &str) -> Vec<u8> {
        let mut operations = vec![0];
        put_id(&mut operations, lie.node, self.generation, self.address);
        operations.extend([0; 16]);
        operations.push(1);
        put_text(&mut operations, lie.key);
        put_text(&mut operations, value);
        operations.extend(lie.version.to_le_bytes());
        operations.push(0);
        chitchat_ack(&operations)
    }
}

/// Knows all that is public of a mesh, and proves itself with a certificate of another mesh.
pub struct Outsider {
    endpoint: QuicEndpoint,
    trust: Trust,
    certificate: IssuedCertificate,
    victim: SocketAddr,
}

impl Outsider {
    /// Learns the trust bundle of the mesh of the first token, and gets a certificate as node `name` by the second; each token stands with a
    /// signer's address. Its QUIC endpoint opens at `own`.
    pub async fn new(known: (&str, Ipv4Addr), theirs: (&str, Ipv4Addr), name: &str, own: Ipv4Addr) -> Self {
        let env = Env::machine();
        let key = SigningKey::generate(&env.random);
        let bundle = admitted(&env, known, "spy", &key).await.bundle;
        let certificate = admitted(&env, theirs, name, &key).await.certificate;
        let trust = Trust::new(bundle, env.clock.clone());
        let credentials = QuicCredentials { trust: &trust, certificate: &certificate, key: &key };
        let metrics = Arc::new(GossipMetrics::new(&metrics::NoopRecorder));
        let at = SocketAddr::from((own, MESH_PORT));
        let (endpoint, _) = QuicEndpoint::open(&env, at, credentials, metrics).await.expect("the port is free");
        Self { endpoint, trust, certificate, victim: SocketAddr::from((known.1, MESH_PORT)) }
    }

    /// Sends a gossip message; the error says how it ended, which it does before the message is taken.
    pub async fn gossip(&self, message: &[u8]) -> Result<(), String> {
        let sent = async {
            let peer =
                self.endpoint.dial(self.victim, QuicProtocol::Gossip).await.map_err(|error| error.to_string())?;
            let mut stream = peer.connection.open_uni().await.map_err(|error| error.to_string())?;
            stream.write_all(message).await.map_err(|error| error.to_string())?;
            stream.finish().map_err(|error| error.to_string())?;
            stream.stopped().await.map(drop).map_err(|error| error.to_string())
        };
        tokio::time::timeout(SEND_LIMIT, sent).await.expect("the victim refuses, and does not keep silent")
    }

    /// Sends a request to a service of the victim; the bytes of the answer.
    pub async fn call(&self, service: &str, request: &[u8]) -> std::io::Result<Vec<u8>> {
        let config = dial_config(&self.trust, &self.certificate, ALPN_HTTP1).expect("a valid certificate");
        let service = service.parse().expect("a service's name");
        let name = dial_name(&SpiffeId::service(&self.trust.bundle.mesh, &service));
        let called = async {
            let stream = TcpStream::connect(self.victim).await?;
            let mut stream = TlsConnector::from(config).connect(name, stream).await?;
            stream.write_all(request).await?;
            let mut answer = vec![0; 1024];
            let len = stream.read(&mut answer).await?;
            answer.truncate(len);
            Ok(answer)
        };
        tokio::time::timeout(SEND_LIMIT, called).await.expect("the victim refuses, and does not keep silent")
    }
}

/// Joins with a token at a signer's address.
async fn admitted(env: &Env, token: (&str, Ipv4Addr), name: &str, key: &SigningKey) -> Joined {
    let (token, at) = token;
    let token: JoinToken = token.parse().expect("a token of the mesh");
    let wish = JoinWish { node: name.parse().expect("a node's name"), key, enrolment: None };
    join(env, &token, SocketAddr::from((at, MESH_PORT)), wish).await.expect("the token admits")
}

fn now_ms(env: &Env) -> u64 {
    let since = env.clock.wall().since(weft_env::Timestamp(0));
    u64::try_from(since.as_millis()).expect("the clock is after 1970")
}

/// A chitchat ACK that carries these operations uncompressed.
pub fn chitchat_ack(operations: &[u8]) -> Vec<u8> {
    let mut message = 45_139_u16.to_le_bytes().to_vec();
    message.extend([0, 2]);
    for block in operations.chunks(usize::from(u16::MAX)) {
        message.push(2);
        message.extend(u16::try_from(block.len()).expect("a chunk").to_le_bytes());
        message.extend(block);
    }
    message.push(0);
    message
}

/// A chitchat SYN as an outsider would send it: `node` claims to be there with a heartbeat.
pub fn chitchat_syn(cluster: &str, node: &str, at: SocketAddr) -> Vec<u8> {
    syn(cluster, (node, 1, at), [7, 0, 9])
}

/// A chitchat SYN that names one node with its heartbeat, what it collected, and its version.
fn syn(cluster: &str, id: (&str, u64, SocketAddr), numbers: [u64; 3]) -> Vec<u8> {
    let mut message = 45_139_u16.to_le_bytes().to_vec();
    message.extend([0, 0]);
    message.extend(1_u16.to_le_bytes());
    put_id(&mut message, id.0, id.1, id.2);
    message.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
    put_text(&mut message, cluster);
    message
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend(u16::try_from(text.len()).expect("a short text").to_le_bytes());
    out.extend(text.as_bytes());
}

fn put_id(out: &mut Vec<u8>, node: &str, generation: u64, at: SocketAddr) {
    put_text(out, node);
    out.extend(generation.to_le_bytes());
    let IpAddr::V4(ip) = at.ip() else { panic!("the tests run on IPv4 loopback") };
    out.push(4);
    out.extend(ip.octets());
    out.extend(at.port().to_le_bytes());
}

/// The first datagrams of `count` genuine QUIC connections, taken by a socket that never answers.
pub async fn genuine_initials(rogue: &Rogue, count: usize) -> Vec<Vec<u8>> {
    let sink = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    sink.set_read_timeout(Some(SEND_LIMIT)).expect("a timeout above zero");
    let at = sink.local_addr().expect("a bound socket");
    let mut taken = Vec::new();
    for _ in 0..count {
        // Nobody answers: the future is dropped as soon as the first datagram has left.
        let _ = tokio::time::timeout(Duration::from_millis(20), rogue.endpoint.dial(at, QuicProtocol::Gossip)).await;
        let mut buffer = vec![0; 2048];
        let len = sink.recv(&mut buffer).expect("a first datagram");
        buffer.truncate(len);
        taken.push(buffer);
    }
    taken
}

/// What an outsider's flood is made of.
#[derive(Debug)]
pub struct Flood {
    random: Random,
    initials: Vec<Vec<u8>>,
    gossip: Vec<Vec<u8>>,
}

impl Flood {
    /// From one seed, so that a failure can be had again.
    pub fn new(seed: u64, initials: Vec<Vec<u8>>, victim: SocketAddr) -> Self {
        let mut operations = vec![0];
        put_id(&mut operations, "one", 1, victim);
        operations.extend([0_u8; 16]);
        operations.push(1);
        put_text(&mut operations, "r");
        put_text(&mut operations, "forged");
        operations.extend(9_u64.to_le_bytes());
        operations.push(0);
        let gossip =
            vec![chitchat_syn("c", "one", victim), chitchat_ack(&operations), chitchat_syn("", "\u{e9}", victim)];
        Self { random: Random::seeded(seed), initials, gossip }
    }

    /// The next datagram: random, random with a QUIC header, gossip in the clear, or an Initial, genuine or with a bit changed.
    pub fn next_datagram(&mut self) -> Vec<u8> {
        match self.random.below(6) {
            0 => self.random_bytes(1, 1400),
            1 => self.with_header(&[0xc0, 0, 0, 0, 1, 8]),
            2 => self.with_header(&[0x40]),
            3 => self.gossip[self.pick(self.gossip.len())].clone(),
            4 => self.initials[self.pick(self.initials.len())].clone(),
            _ => {
                let mut changed = self.initials[self.pick(self.initials.len())].clone();
                let at = self.pick(changed.len());
                changed[at] ^= 1 << self.random.below(8);
                changed
            }
        }
    }

    fn random_bytes(&self, min: u64, max: u64) -> Vec<u8> {
        let len = usize::try_from(min + self.random.below(max - min)).expect("a small length");
        let mut bytes = vec![0; len];
        self.random.fill(&mut bytes);
        bytes
    }

    fn with_header(&self, header: &[u8]) -> Vec<u8> {
        let mut bytes = self.random_bytes(1200, 1400);
        bytes[..header.len()].copy_from_slice(header);
        bytes
    }

    fn pick(&self, len: usize) -> usize {
        usize::try_from(self.random.below(len as u64)).expect("below a length")
    }
}
