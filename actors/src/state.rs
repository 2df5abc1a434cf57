//! The state directory: what is in which file. Written by `weft init` and `weft join`, read when a node starts.
//!
//! | File | What |
//! |---|---|
//! | `node.json` | names and addresses of the node |
//! | `trust/root.der`, `trust/bundle` | the root certificate; the trust bundle that it signed |
//! | `enrolment` | the signer's word on this node |
//! | `keys/node.key` | the node's private key |
//! | `keys/signer.key`, `trust/signer.der` | a signer's key and certificate |
//! | `keys/root.key`, `keys/operator.key` | encrypted; the operator takes them away |
//! | `certificates` | the last certificates with their keys |
//! | `store.redb` | the Store actor's database |
//! | `lock` | held by the node that runs |

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use weft_env::{Disk, DiskLock, Env};
use weft_gossip::identity::{
    Enrolment, IssuedCertificate, Issuer, SignedBundle, SignedEnrolment, SigningKey, TrustBundle,
};
use weft_gossip::wire::{self, Kind};
use weft_gossip::{CellName, Code, Failure, MeshName, NodeId, ZoneName};

/// Longest file that is read as a message.
const FILE_LEN_MAX: usize = wire::STATE_LEN_MAX;

/// Names and addresses of a node: `node.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeFile {
    /// The mesh.
    pub mesh: MeshName,
    /// The node.
    pub node: NodeId,
    /// Its cell.
    pub cell: CellName,
    /// Its zone.
    #[serde(default)]
    pub zone: Option<ZoneName>,
    /// Where other nodes reach it.
    pub advertise: SocketAddr,
    /// Where it listens for other nodes; the local ports follow this address when it is a loopback one.
    pub bind: SocketAddr,
    /// Nodes to gossip with first.
    #[serde(default)]
    pub seeds: Vec<SocketAddr>,
}

/// A state directory.
#[derive(Debug, Clone)]
pub struct StateDir {
    disk: Disk,
    path: PathBuf,
}

/// Everything that a node has when it starts; all of it verified.
#[derive(Debug, Clone)]
pub struct NodeState {
    /// Names and addresses.
    pub file: NodeFile,
    /// The mesh's root certificate.
    pub root: CertificateDer<'static>,
    /// Whom the mesh believes, as signed.
    pub signed_bundle: SignedBundle,
    /// The same, verified.
    pub bundle: TrustBundle,
    /// The signer's word on this node, as signed.
    pub signed_enrolment: SignedEnrolment,
    /// The same, verified.
    pub enrolment: Enrolment,
    /// The node's key.
    pub node_key: SigningKey,
    /// What it issues with, on a signer.
    pub issuer: Option<Issuer>,
    /// The last certificates; may have expired.
    pub certificates: Vec<IssuedCertificate>,
}

impl StateDir {
    /// A state directory, whether it exists or not.
    pub fn new(env: &Env, path: &Path) -> Self {
        Self { disk: env.disk.clone(), path: path.to_owned() }
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the Store's database lies.
    pub fn store_path(&self) -> PathBuf {
        self.path.join("store.redb")
    }

    /// Whether a node's state is in it.
    pub fn is_present(&self) -> bool {
        self.disk.exists(&self.path.join("node.json"))
    }

    /// The names and addresses alone; [`Code::StateMissing`] when there is no state.
    pub fn node_file(&self) -> Result<NodeFile, Failure> {
        if !self.is_present() {
            let detail = format!("{} holds no node; run `weft init` or `weft join` first", self.path.display());
            return Err(Failure::new(Code::StateMissing, detail));
        }
        serde_json::from_slice(&self.read("node.json")?).map_err(|error| self.broken("node.json", &error))
    }

    /// Reads and verifies everything.
    pub fn load(&self) -> Result<NodeState, Failure> {
        let file = self.node_file()?;
        let root = CertificateDer::from(self.read("trust/root.der")?);
        let signed_bundle: SignedBundle = self.message("trust/bundle")?;
        let bundle = TrustBundle::verify(&signed_bundle, &root).map_err(|error| self.broken("trust/bundle", &error))?;
        let signed_enrolment: SignedEnrolment = self.message("enrolment")?;
        let enrolment =
            Enrolment::verify(&signed_enrolment, &bundle).map_err(|error| self.broken("enrolment", &error))?;
        let node_key = self.key("keys/node.key")?;
        if enrolment.key != node_key.public() || enrolment.node != file.node || bundle.mesh != file.mesh {
            return Err(self.broken("enrolment", &"it is of another node or key"));
        }
        let issuer = match enrolment.roles.signer && self.disk.exists(&self.path.join("keys/signer.key")) {
            true => Some(Issuer {
                mesh: file.mesh.clone(),
                node: file.node.clone(),
                certificate: CertificateDer::from(self.read("trust/signer.der")?),
                key: self.key("keys/signer.key")?,
            }),
            false => None,
        };
        // Certificates can be had again, so a broken file of them is none.
        let certificates = self.certificates().unwrap_or_default();
        Ok(NodeState { file, root, signed_bundle, bundle, signed_enrolment, enrolment, node_key, issuer, certificates })
    }

    /// Writes everything; `node.json` comes last, so that a state is whole or not there.
    pub fn save(&self, state: &NodeState) -> Result<(), Failure> {
        for folder in ["", "keys", "trust"] {
            let path = self.path.join(folder);
            self.disk.create_dir(&path).map_err(|error| self.unwritten(folder, &error))?;
        }
        self.write("keys/node.key", state.node_key.to_pkcs8())?;
        if let Some(issuer) = &state.issuer {
            self.write("keys/signer.key", issuer.key.to_pkcs8())?;
            self.write("trust/signer.der", &issuer.certificate)?;
        }
        self.write("trust/root.der", &state.root)?;
        self.write("trust/bundle", &encoded(&state.signed_bundle)?)?;
        self.write("enrolment", &encoded(&state.signed_enrolment)?)?;
        self.save_certificates(&state.certificates)?;
        self.save_node_file(&state.file)
    }

    /// Replaces the names and addresses.
    pub fn save_node_file(&self, file: &NodeFile) -> Result<(), Failure> {
        let text = serde_json::to_vec_pretty(file).map_err(|error| self.broken("node.json", &error))?;
        self.write("node.json", &text)
    }

    /// Replaces the kept certificates.
    pub fn save_certificates(&self, certificates: &[IssuedCertificate]) -> Result<(), Failure> {
        let stored: Result<Vec<_>, _> = certificates.iter().map(IssuedCertificate::to_state).collect();
        let stored = stored.map_err(|error| Failure::new(Code::Internal, error.to_string()))?;
        self.write("certificates", &encoded(&stored)?)
    }

    /// Writes one file of the operator's, such as an encrypted key; returns where.
    pub fn save_text(&self, name: &str, text: &str) -> Result<PathBuf, Failure> {
        self.write(name, text.as_bytes())?;
        Ok(self.path.join(name))
    }

    /// Takes the directory for this process; [`Code::StateInUse`] when another has it.
    pub fn lock(&self) -> Result<DiskLock, Failure> {
        self.disk.lock(&self.path.join("lock")).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => {
                let detail = format!("another process uses the state directory {}", self.path.display());
                Failure::new(Code::StateInUse, detail)
            }
            _ => self.unwritten("lock", &error),
        })
    }

    fn certificates(&self) -> Result<Vec<IssuedCertificate>, Failure> {
        let stored: Vec<Vec<u8>> = self.message("certificates")?;
        let read: Result<_, _> = stored.iter().map(|bytes| IssuedCertificate::from_state(bytes)).collect();
        read.map_err(|error| self.broken("certificates", &error))
    }

    fn key(&self, name: &str) -> Result<SigningKey, Failure> {
        SigningKey::from_pkcs8(&self.read(name)?).map_err(|error| self.broken(name, &error))
    }

    fn message<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<T, Failure> {
        wire::decode(Kind::State, &self.read(name)?, FILE_LEN_MAX).map_err(|error| self.broken(name, &error))
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, Failure> {
        self.disk.read(&self.path.join(name)).map_err(|error| self.broken(name, &error))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Failure> {
        self.disk.write(&self.path.join(name), bytes).map_err(|error| self.unwritten(name, &error))
    }

    fn broken(&self, name: &str, error: &dyn std::fmt::Display) -> Failure {
        Failure::new(Code::StateBroken, format!("read {}: {error}", self.path.join(name).display()))
    }

    fn unwritten(&self, name: &str, error: &io::Error) -> Failure {
        Failure::new(Code::StateBroken, format!("write {}: {error}", self.path.join(name).display()))
    }
}

fn encoded<T: Serialize>(value: &T) -> Result<Vec<u8>, Failure> {
    wire::encode(Kind::State, value).map_err(|error| Failure::new(Code::Internal, error.to_string()))
}
