//! How a machine comes to have a state directory: by founding a mesh (`weft init`) or by joining one (`weft join`). Both write only
//! once everything is known to be right.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use weft_env::{DiskLock, Env};
use weft_gossip::enrol::{self, JoinWish};
use weft_gossip::signer::SignerState;
use weft_identity::ids::NameError;
use weft_identity::{
    CellName, Code, Enrolment, Failure, Founding, GrantedLabels, IssuedCertificate, JoinToken, KeyFile, KeyRole,
    MeshName, NewMesh, NodeId, Revocations, SigningKey, SpiffeId, ZoneName, make_mesh,
};
use weft_world::settings::{MESH_PORT, Settings};

use crate::actor::identity::issue;
use crate::actor::store::Store;
use crate::core::Core;
use crate::message::identity;
use crate::message::store::key;
use crate::standing::{Kept, News, Standing};
use crate::state::{NodeFile, NodeState, StateDir};

/// The cell of a mesh that has one only.
pub const DEFAULT_CELL: &str = "main";

/// What `weft init` is told.
pub struct InitArgs {
    /// The state directory.
    pub dir: PathBuf,
    /// The mesh.
    pub mesh: MeshName,
    /// Its first node.
    pub node: NodeId,
    /// That node's cell.
    pub cell: CellName,
    /// That node's zone.
    pub zone: Option<ZoneName>,
    /// That node's labels.
    pub labels: GrantedLabels,
    /// Where other nodes will reach it.
    pub advertise: SocketAddr,
    /// Where it will listen.
    pub bind: SocketAddr,
    /// Encrypts the root and the operator key.
    pub passphrase: String,
    /// Life of the node's first certificate.
    pub certificate_lifetime: Duration,
}

/// What `weft init` made.
#[derive(Debug)]
pub struct InitDone {
    /// Names and addresses.
    pub file: NodeFile,
    /// The encrypted root key: to be taken offline.
    pub root_key: PathBuf,
    /// The encrypted operator key.
    pub operator_key: PathBuf,
}

/// What `weft join` is told.
pub struct JoinArgs {
    /// The state directory.
    pub dir: PathBuf,
    /// A node of the mesh to dial.
    pub at: SocketAddr,
    /// The token.
    pub token: JoinToken,
    /// This node's name; kept when the state directory has one.
    pub node: NodeId,
    /// Its zone.
    pub zone: Option<ZoneName>,
    /// Where other nodes will reach it.
    pub advertise: SocketAddr,
    /// Where it will listen.
    pub bind: SocketAddr,
}

/// What `weft join` got.
#[derive(Debug)]
pub struct JoinDone {
    /// Names and addresses.
    pub file: NodeFile,
    /// What the node may offer and be.
    pub enrolment: Enrolment,
}

impl InitArgs {
    /// The first node of a mesh that lives on one machine, at a loopback address; its keys are for throwing away.
    pub fn demo(mesh: &str, node: &str, at: IpAddr, dir: PathBuf) -> Result<Self, Failure> {
        Ok(Self {
            dir,
            mesh: mesh.parse().map_err(invalid_name)?,
            node: node.parse().map_err(invalid_name)?,
            cell: DEFAULT_CELL.parse().map_err(invalid_name)?,
            zone: None,
            labels: GrantedLabels::default(),
            advertise: SocketAddr::new(at, MESH_PORT),
            bind: SocketAddr::new(at, MESH_PORT),
            passphrase: "demo".to_owned(),
            certificate_lifetime: Settings::default().certificate_lifetime,
        })
    }
}

impl JoinArgs {
    /// A further node of such a mesh.
    pub fn demo(token: String, node: &str, at: IpAddr, dir: PathBuf) -> Result<Self, Failure> {
        let token: JoinToken = token.parse()?;
        let seed = token.seeds.first().ok_or_else(|| Failure::new(Code::TokenMalformed, "the token names no node"))?;
        Ok(Self {
            dir,
            at: *seed,
            token,
            node: node.parse().map_err(invalid_name)?,
            zone: None,
            advertise: SocketAddr::new(at, MESH_PORT),
            bind: SocketAddr::new(at, MESH_PORT),
        })
    }
}

fn invalid_name(error: NameError) -> Failure {
    Failure::new(Code::NameInvalid, error.to_string())
}

/// Founds a mesh. An existing state is [`Code::StateExists`].
pub async fn init(env: &Env, args: InitArgs) -> Result<InitDone, Failure> {
    let dir = StateDir::new(env, &args.dir);
    if dir.is_present() {
        let detail = format!("{} already holds a node of mesh {}", args.dir.display(), dir.node_file()?.mesh);
        return Err(Failure::new(Code::StateExists, detail));
    }
    let (mesh, node, cell) = (args.mesh.clone(), args.node.clone(), args.cell.clone());
    let founding = Founding { mesh, node, cell, labels: args.labels };
    let now = env.clock.wall();
    let mesh = make_mesh(&founding, now, &env.random)?;
    let seal = |key: &SigningKey, role| KeyFile::seal(key, (role, &args.mesh), &args.passphrase, &env.random);
    let (root_text, operator_text) =
        (seal(&mesh.root_key, KeyRole::Root)?, seal(&mesh.operator_key, KeyRole::Operator)?);
    let file = NodeFile {
        mesh: args.mesh,
        node: args.node,
        cell: args.cell,
        zone: args.zone,
        advertise: args.advertise,
        bind: args.bind,
        seeds: Vec::new(),
    };
    let state = founded(env, &file, mesh, args.certificate_lifetime)?;
    dir.save(&state)?;
    let book = SignerState::founded(&state.standing.enrolment);
    Store::open(&env.disk, &dir.store_path())?.keep_row(key::SIGNER, &book)?;
    let root_key = dir.save_text("keys/root.key", &root_text)?;
    let operator_key = dir.save_text("keys/operator.key", &operator_text)?;
    Ok(InitDone { file, root_key, operator_key })
}

fn founded(env: &Env, file: &NodeFile, mesh: NewMesh, lifetime: Duration) -> Result<NodeState, Failure> {
    let kept = Kept {
        bundles: vec![mesh.bundle],
        enrolment: mesh.enrolment,
        revocations: Revocations::default(),
        signer_key: Some(mesh.issuer.key.clone()),
    };
    let standing = Standing::new(kept, &env.random)?;
    let key = SigningKey::generate(&env.random);
    let id = SpiffeId::node(&file.mesh, &file.node);
    let certificate = issue(&mesh.issuer, &standing.enrolment.labels, env, (&id, &key), lifetime)?;
    Ok(NodeState { file: file.clone(), node_key: mesh.node_key, standing, certificates: vec![certificate] })
}

/// Joins a mesh, or joins it again for more grants, while no node runs on the state. State of another mesh is
/// [`Code::StateOtherMesh`] and stays as it is.
pub async fn join(env: &Env, args: JoinArgs) -> Result<JoinDone, Failure> {
    let dir = StateDir::new(env, &args.dir);
    let (old, _lock) = existing(&dir, &args.dir, &args.token)?.unzip();
    let node = old.as_ref().map_or(args.node, |state| state.file.node.clone());
    let node_key = old.as_ref().map_or_else(|| SigningKey::generate(&env.random), |state| state.node_key.clone());
    let enrolment = old.as_ref().map(|state| &state.standing.signed_enrolment);
    let wish = JoinWish { node: node.clone(), key: &node_key, enrolment };
    let joined = enrol::join(env, &args.token, args.at, wish).await?;
    let mut seeds = joined.peers;
    seeds.push(args.at);
    seeds.extend(&args.token.seeds);
    seeds.sort_unstable();
    seeds.dedup();
    seeds.retain(|seed| *seed != args.advertise);
    let file = NodeFile {
        mesh: joined.bundle.mesh.clone(),
        node,
        cell: joined.enrolment.cell.clone(),
        zone: args.zone,
        advertise: args.advertise,
        bind: args.bind,
        seeds,
    };
    let mut certificates: Vec<IssuedCertificate> = old.iter().flat_map(|state| state.certificates.clone()).collect();
    certificates.retain(|certificate| certificate.id != joined.certificate.id);
    certificates.push(joined.certificate);
    let kept = Kept {
        bundles: joined.bundles,
        enrolment: joined.signed_enrolment,
        revocations: old.as_ref().map(|state| Revocations::clone(&state.standing.revocations)).unwrap_or_default(),
        signer_key: old.and_then(|state| state.standing.signer_key),
    };
    let standing = Standing::new(kept, &env.random)?;
    let state = NodeState { file: file.clone(), node_key, standing, certificates };
    dir.save(&state)?;
    Ok(JoinDone { file, enrolment: joined.enrolment })
}

/// Joins the mesh again for more grants or other labels, while the node runs: what the token says is in force when this returns, in the node's
/// certificates, too, if a signer answers. The node keeps its name, its key and its cell.
pub(crate) async fn join_again(core: &Core, token: &JoinToken, at: SocketAddr) -> Result<JoinDone, Failure> {
    let file = &core.file;
    if token.mesh != file.mesh {
        let detail = format!("this is a node of mesh {}; the token is for mesh {}", file.mesh, token.mesh);
        return Err(Failure::new(Code::StateOtherMesh, detail));
    }
    if token.cell != file.cell {
        let detail = format!("this node runs in cell {}; stop it before it joins cell {}", file.cell, token.cell);
        return Err(Failure::new(Code::UsageInvalid, detail));
    }
    let standing = core.standing.load_full();
    let enrolment = Some(&standing.signed_enrolment);
    let wish = JoinWish { node: file.node.clone(), key: &core.node_key, enrolment };
    let joined = enrol::join(&core.env, token, at, wish).await?;
    let news = News { bundles: joined.bundles, enrolment: Some(joined.signed_enrolment), revocations: None };
    core.identity.call(|reply| identity::Message::Adopt(news, reply)).await??;
    let own = SpiffeId::node(&file.mesh, &file.node);
    let renewed = core.identity.call(|reply| identity::Message::Want(own, reply)).await.and_then(|renewed| renewed);
    if let Err(failure) = renewed {
        // The token is used and its word holds; the certificates follow.
        tracing::warn!(code = %failure.code, detail = failure.detail, "the certificates do not carry the new labels yet");
    }
    Ok(JoinDone { file: file.clone(), enrolment: core.standing.load().enrolment.clone() })
}

/// The state in a directory, taken for this process; none if there is none. A node that runs joins again by itself.
fn existing(dir: &StateDir, path: &Path, token: &JoinToken) -> Result<Option<(NodeState, DiskLock)>, Failure> {
    if !dir.is_present() {
        return Ok(None);
    }
    let mesh = dir.node_file()?.mesh;
    if mesh != token.mesh {
        let detail = format!("{} holds a node of mesh {mesh}; the token is for mesh {}", path.display(), token.mesh);
        return Err(Failure::new(Code::StateOtherMesh, detail));
    }
    let lock = dir.lock()?;
    Ok(Some((dir.load()?, lock)))
}
