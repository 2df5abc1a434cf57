//! The state directory: what is in which file. Written by `weft init` and `weft join`, read when a node starts.
//!
//! | File | What |
//! |---|---|
//! | `node.json` | names and addresses of the node |
//! | `trust/bundles` | the trust bundles that the roots signed; the last is in force |
//! | `trust/revocations` | what was revoked |
//! | `enrolment` | the signer's word on this node |
//! | `keys/node.key` | the node's private key |
//! | `keys/signer.key` | a signer's key; its certificates stand in the bundle |
//! | `keys/root.key`, `keys/operator.key` | encrypted; the operator takes them away |
//! | `certificates` | the last certificates with their keys |
//! | `store.redb` | the Store actor's database |
//! | `lock` | held by the node that runs |

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use weft_env::{Disk, DiskLock, Env, Random};
use weft_identity::wire::{self, Kind};
use weft_identity::{CellName, Code, Failure, IssuedCertificate, MeshName, NodeId, Revocations, SigningKey, ZoneName};

use crate::standing::{Kept, Standing};

/// Longest file that is read as a message.
const FILE_LEN_MAX: usize = wire::STATE_LEN_MAX;
/// A signer's key.
const SIGNER_KEY: &str = "keys/signer.key";
/// What was revoked; absent in a new state.
const REVOCATIONS: &str = "trust/revocations";

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
    random: Random,
    path: PathBuf,
}

/// Everything that a node has when it starts; all of it verified.
#[derive(Debug, Clone)]
pub struct NodeState {
    /// Names and addresses.
    pub file: NodeFile,
    /// The node's key.
    pub node_key: SigningKey,
    /// Whom it believes and what it may.
    pub standing: Standing,
    /// The last certificates; may have expired.
    pub certificates: Vec<IssuedCertificate>,
}

impl StateDir {
    /// A state directory, whether it exists or not.
    pub fn new(env: &Env, path: &Path) -> Self {
        Self { disk: env.disk.clone(), random: env.random.clone(), path: path.to_owned() }
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
        let exists = |name: &str| self.disk.exists(&self.path.join(name));
        let kept = Kept {
            bundles: self.message("trust/bundles")?,
            enrolment: self.message("enrolment")?,
            revocations: if exists(REVOCATIONS) { self.message(REVOCATIONS)? } else { Revocations::default() },
            signer_key: if exists(SIGNER_KEY) { Some(self.key(SIGNER_KEY)?) } else { None },
        };
        let standing =
            Standing::new(kept, &self.random).map_err(|failure| self.broken("the trust in it", &failure.detail))?;
        let node_key = self.key("keys/node.key")?;
        let enrolment = &standing.enrolment;
        if enrolment.key != node_key.public() || enrolment.node != file.node || enrolment.mesh != file.mesh {
            return Err(self.broken("enrolment", &"it is of another node or key"));
        }
        // Certificates can be had again, so a broken file of them is none.
        let certificates = self.certificates().unwrap_or_default();
        Ok(NodeState { file, node_key, standing, certificates })
    }

    /// Writes everything; `node.json` comes last, so that a state is whole or not there.
    pub fn save(&self, state: &NodeState) -> Result<(), Failure> {
        for folder in ["", "keys", "trust"] {
            let path = self.path.join(folder);
            self.disk.create_dir(&path).map_err(|error| self.unwritten(folder, &error))?;
        }
        self.write("keys/node.key", state.node_key.to_pkcs8())?;
        self.save_standing(&state.standing)?;
        self.save_certificates(&state.certificates)?;
        self.save_node_file(&state.file)
    }

    /// Replaces what the node knows of trust. The key comes before the enrolment that gives it its meaning.
    pub fn save_standing(&self, standing: &Standing) -> Result<(), Failure> {
        if let Some(key) = &standing.signer_key {
            self.write(SIGNER_KEY, key.to_pkcs8())?;
        }
        self.write("trust/bundles", &encoded(&standing.bundles)?)?;
        self.write(REVOCATIONS, &encoded(&*standing.revocations)?)?;
        self.write("enrolment", &encoded(&standing.signed_enrolment)?)
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
