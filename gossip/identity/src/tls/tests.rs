use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};
use weft_env::Clock;

use super::*;
use crate::testing::{self, NOW, TestMesh};
use crate::{IdentityRefusal, LEAF_LIFETIME, dial_name, peer_identity};

type Ends = (std::io::Result<client::TlsStream<DuplexStream>>, std::io::Result<server::TlsStream<DuplexStream>>);

const ORDERS: &str = "spiffe://bank/svc/orders";
const NODE: &str = "spiffe://bank/node/vm-a";

async fn meet(dialling: Arc<ClientConfig>, answering: Arc<ServerConfig>, dialled: &str) -> Ends {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let name = dial_name(&dialled.parse().unwrap());
    let dial = async {
        let mut stream = TlsConnector::from(dialling).connect(name, near).await?;
        // A TLS 1.3 client is done before the server has judged its certificate.
        stream.read_u8().await?;
        Ok(stream)
    };
    let answer = async {
        let mut stream = TlsAcceptor::from(answering).accept(far).await?;
        stream.write_u8(1).await?;
        stream.flush().await?;
        Ok(stream)
    };
    tokio::join!(dial, answer)
}

fn held(mesh: &TestMesh) -> BTreeMap<SpiffeId, IssuedCertificate> {
    [ORDERS, NODE].into_iter().map(|id| mesh.issue_for(id, LEAF_LIFETIME)).map(|one| (one.id.clone(), one)).collect()
}

fn clock() -> Clock {
    Clock::simulated(NOW)
}

#[tokio::test(start_paused = true)]
async fn both_sides_learn_who_the_other_is() {
    let mesh = testing::mesh();
    let trust = mesh.trust(&clock());
    let web = mesh.issue_for("spiffe://bank/svc/web", LEAF_LIFETIME);
    let dialling = dial_config(&trust, &web, ALPN_TCP).unwrap();
    for dialled in [ORDERS, NODE] {
        let answering = inbound_config(&trust, &held(&mesh)).unwrap();
        let (dialler, answerer) = meet(Arc::clone(&dialling), answering, dialled).await;
        let (dialler, answerer) = (dialler.unwrap(), answerer.unwrap());
        let seen = peer_identity(answerer.get_ref().1.peer_certificates().unwrap()).unwrap();
        assert_eq!(seen.to_string(), "spiffe://bank/svc/web");
        let answered = peer_identity(dialler.get_ref().1.peer_certificates().unwrap()).unwrap();
        assert_eq!(answered.to_string(), dialled);
        assert_eq!(dialler.get_ref().1.alpn_protocol(), Some(ALPN_TCP));
        let group = dialler.get_ref().1.negotiated_key_exchange_group().unwrap().name();
        assert_eq!(group, rustls::NamedGroup::X25519MLKEM768);
        assert_eq!(dialler.get_ref().1.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_not_here_does_not_answer_by_another_name() {
    let mesh = testing::mesh();
    let trust = mesh.trust(&clock());
    let web = mesh.issue_for("spiffe://bank/svc/web", LEAF_LIFETIME);
    let dialling = dial_config(&trust, &web, ALPN_HTTP1).unwrap();
    let answering = inbound_config(&trust, &held(&mesh)).unwrap();
    let (dialler, answerer) = meet(dialling, answering, "spiffe://bank/svc/ledger").await;
    assert!(dialler.is_err() && answerer.is_err());
}

#[tokio::test(start_paused = true)]
async fn an_impostor_is_told_from_a_broken_connection() {
    let (mesh, other) = (testing::mesh(), testing::mesh_of("bank", 2));
    let clock = clock();
    let web = mesh.issue_for("spiffe://bank/svc/web", LEAF_LIFETIME);
    let dialling = dial_config(&mesh.trust(&clock), &web, ALPN_HTTP1).unwrap();
    let answering = inbound_config(&other.trust(&clock), &held(&other)).unwrap();
    let (dialler, _) = meet(Arc::clone(&dialling), answering, ORDERS).await;
    let error = dialler.unwrap_err();
    assert!(matches!(IdentityRefusal::find(&error), Some(IdentityRefusal::Chain(_))), "{error:?}");

    // One of the mesh that holds a certificate of another name, whatever is dialled.
    let payments = mesh.issue_for("spiffe://bank/svc/payments", LEAF_LIFETIME);
    let lying = quic_server_config(&mesh.trust(&clock), &payments, &[ALPN_HTTP1]).unwrap();
    let (dialler, _) = meet(dialling, Arc::new(lying), ORDERS).await;
    let error = dialler.unwrap_err();
    assert!(matches!(IdentityRefusal::find(&error), Some(IdentityRefusal::NotDialled { .. })), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_caller_without_a_certificate_of_the_mesh_is_refused() {
    let (mesh, other) = (testing::mesh(), testing::mesh_of("bank", 2));
    let clock = clock();
    let trust = mesh.trust(&clock);
    let answering = inbound_config(&trust, &held(&mesh)).unwrap();
    let foreign = other.issue_for("spiffe://bank/svc/web", LEAF_LIFETIME);
    let dialling = dial_config(&trust, &foreign, ALPN_HTTP1).unwrap();
    let (dialler, answerer) = meet(dialling, Arc::clone(&answering), ORDERS).await;
    assert!(dialler.is_err());
    assert!(IdentityRefusal::find(&answerer.unwrap_err()).is_some());

    let mut bare = ClientConfig::clone(&sign_client_config(&trust).unwrap());
    bare.alpn_protocols = vec![ALPN_HTTP1.to_vec()];
    let (_, answerer) = meet(Arc::new(bare), answering, NODE).await;
    assert!(answerer.is_err());
}

#[tokio::test(start_paused = true)]
async fn an_expired_caller_is_refused_by_the_seams_clock() {
    let mesh = testing::mesh();
    let clock = clock();
    let trust = mesh.trust(&clock);
    let short = mesh.issue_for("spiffe://bank/svc/web", std::time::Duration::from_secs(20));
    let dialling = dial_config(&trust, &short, ALPN_HTTP1).unwrap();
    let answering = inbound_config(&trust, &held(&mesh)).unwrap();
    let (dialler, _) = meet(Arc::clone(&dialling), Arc::clone(&answering), ORDERS).await;
    assert!(dialler.is_ok());
    clock.skew(30_000);
    let (_, answerer) = meet(dialling, answering, ORDERS).await;
    assert_eq!(IdentityRefusal::find(&answerer.unwrap_err()), Some(&IdentityRefusal::Expired));
}
