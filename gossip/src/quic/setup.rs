//! The endpoint's configurations: limits, keys that outlive a restart, and the TLS sides that a renewal replaces.

use std::fmt;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use aws_lc_rs::{digest, hkdf, hmac};
use quinn::crypto::HandshakeTokenKey;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    ClientConfig, ConnectionId, ConnectionIdGenerator, EndpointConfig, IdleTimeout, ServerConfig, TransportConfig,
    VarInt,
};
use weft_env::Random;
use weft_identity::tls::{quic_client_config, quic_server_config};
use weft_identity::{Code, Failure, IssuedCertificate, SigningKey, Trust};

use super::{MESSAGE_LEN_MAX, QuicProtocol};

/// Streams that a peer may have open: one message is in flight, others wait their turn.
const STREAMS_MAX: u32 = 4;
/// A connection without traffic ends: in a cell of 600 a pair meets every 50 s, and a handshake costs a millisecond.
const IDLE_TIMEOUT: VarInt = VarInt::from_u32(60_000);
/// The guess of a round trip before the first answer: a lost first packet is sent again after three of them. RFC 9002 guesses 333 ms for
/// the internet; a cell is one datacenter, and a guess that is too low costs a packet sent twice.
const INITIAL_ROUND_TRIP: Duration = Duration::from_millis(50);
/// Connections whose handshake has not begun: above it quinn refuses without work.
const INCOMING_MAX: usize = 128;
/// Bytes kept of a connection that is not accepted yet: a client's first flight with room.
const INCOMING_BYTES: u64 = 16 * 1024;
/// Least time between stateless resets, so that forged packets cannot make this node a source of traffic.
const RESET_INTERVAL: Duration = Duration::from_millis(20);

/// Bytes of a connection id: enough that two never meet, as quinn's own choice.
const CONNECTION_ID_LEN: usize = 8;

/// The configurations in use.
pub(super) struct Setup {
    reset_key: Arc<hmac::Key>,
    token_key: Arc<dyn HandshakeTokenKey>,
    transport: Arc<TransportConfig>,
    sides: RwLock<Option<Sides>>,
}

#[derive(Clone)]
struct Sides {
    gossip: ClientConfig,
    ledger: ClientConfig,
    server: ServerConfig,
}

impl Setup {
    pub(super) fn new(key: &SigningKey, random: &Random) -> Self {
        let secret = |use_of: &[u8]| digest::digest(&digest::SHA256, &[use_of, key.to_pkcs8()].concat());
        // Retry tokens live for seconds: a key of this run alone is enough.
        let mut token_secret = [0; 32];
        random.fill(&mut token_secret);
        let token_key = hkdf::Salt::new(hkdf::HKDF_SHA256, b"weft quic token").extract(&token_secret);
        Self {
            reset_key: Arc::new(hmac::Key::new(hmac::HMAC_SHA256, secret(b"weft quic reset").as_ref())),
            token_key: Arc::new(token_key),
            transport: Arc::new(transport_config()),
            sides: RwLock::new(None),
        }
    }

    /// Makes the TLS sides of a certificate and bundle.
    pub(super) fn renew(&self, trust: &Trust, certificate: &IssuedCertificate) -> Result<(), Failure> {
        let suite = |_| Failure::new(Code::Internal, "TLS has no cipher suite that QUIC starts with".to_owned());
        let client = |protocol: QuicProtocol| {
            let tls = quic_client_config(trust, certificate, protocol.alpn())?;
            let mut client = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).map_err(suite)?));
            client.transport_config(Arc::clone(&self.transport));
            Ok(client)
        };
        let server_tls = quic_server_config(trust, certificate, &QuicProtocol::ALL.map(QuicProtocol::alpn))?;
        let crypto = Arc::new(QuicServerConfig::try_from(server_tls).map_err(suite)?);
        let mut server = ServerConfig::new(crypto, Arc::clone(&self.token_key));
        server.transport_config(Arc::clone(&self.transport));
        server.migration(false);
        server.max_incoming(INCOMING_MAX);
        server.incoming_buffer_size(INCOMING_BYTES);
        server.incoming_buffer_size_total(INCOMING_BYTES * INCOMING_MAX as u64);
        let sides = Sides { gossip: client(QuicProtocol::Gossip)?, ledger: client(QuicProtocol::Ledger)?, server };
        *self.sides.write().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(sides);
        Ok(())
    }

    pub(super) fn client_config(&self, protocol: QuicProtocol) -> ClientConfig {
        let Sides { gossip, ledger, .. } = self.sides();
        match protocol {
            QuicProtocol::Gossip => gossip,
            QuicProtocol::Ledger => ledger,
        }
    }

    pub(super) fn server_config(&self) -> ServerConfig {
        self.sides().server
    }

    fn sides(&self) -> Sides {
        let sides = self.sides.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        sides.clone().expect("open renews before anything else asks")
    }

    pub(super) fn endpoint_config(&self, random: &Random) -> EndpointConfig {
        let mut config = EndpointConfig::new(Arc::clone(&self.reset_key) as _);
        let ids = random.split();
        config.cid_generator(move || Box::new(SeamIds(ids.clone())));
        // The socket drops what lacks the fixed bit; so no peer may be told to vary it (RFC 9287).
        config.grease_quic_bit(false);
        config.min_reset_interval(RESET_INTERVAL);
        let mut seed = [0; 32];
        random.fill(&mut seed);
        config.rng_seed(Some(seed));
        config
    }
}

fn transport_config() -> TransportConfig {
    let mut config = TransportConfig::default();
    let message = VarInt::try_from(MESSAGE_LEN_MAX as u64).expect("128 KiB is below 2^62");
    config.max_concurrent_uni_streams(VarInt::from_u32(STREAMS_MAX));
    config.max_concurrent_bidi_streams(VarInt::from_u32(STREAMS_MAX));
    config.stream_receive_window(message);
    config.receive_window(message);
    config.send_window(2 * MESSAGE_LEN_MAX as u64);
    config.initial_rtt(INITIAL_ROUND_TRIP);
    config.datagram_receive_buffer_size(None);
    config.max_idle_timeout(Some(IdleTimeout::from(IDLE_TIMEOUT)));
    config
}

/// Connection ids from the seam's randomness.
struct SeamIds(Random);

impl ConnectionIdGenerator for SeamIds {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut id = [0; CONNECTION_ID_LEN];
        self.0.fill(&mut id);
        ConnectionId::new(&id)
    }

    fn cid_len(&self) -> usize {
        CONNECTION_ID_LEN
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Setup")
    }
}
