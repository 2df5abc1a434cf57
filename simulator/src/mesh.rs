//! A mesh for a simulation: one root, one signer, and as many enrolled nodes as a scenario asks for. Called by the scenarios.

use std::net::SocketAddr;
use std::time::Duration;

use weft_env::Env;
use weft_identity::wire::Signed;
use weft_identity::{
    CellName, Code, ENROLMENT_CONTEXT, Enrolment, Failure, Founding, GrantedLabels, Grants, IssuedCertificate,
    LeafSubject, MeshName, NewMesh, NodeId, Roles, SignedEnrolment, SigningKey, SpiffeId, Trust, TrustBundle,
    make_mesh,
};

use crate::simulation::Simulation;

/// Longer than any scenario.
pub(crate) const CERTIFICATE_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// The port between nodes.
const MESH_PORT: u16 = 4510;

/// A mesh and its first node, which signs.
#[derive(Debug)]
pub struct SimMesh {
    simulation: Simulation,
    pub(crate) founder: NewMesh,
    pub(crate) bundle: TrustBundle,
    cell: CellName,
}

/// What one node of the mesh starts with.
#[derive(Debug, Clone)]
pub struct SimNode {
    /// Its name.
    pub node: NodeId,
    /// Its machine.
    pub env: Env,
    /// Where other nodes reach it.
    pub addr: SocketAddr,
    /// The mesh.
    pub mesh: MeshName,
    /// Its cell.
    pub cell: CellName,
    /// Whom it believes.
    pub trust: Trust,
    /// Its key.
    pub key: SigningKey,
    /// The signer's word on it.
    pub enrolment: SignedEnrolment,
    /// What it proves its identity with.
    pub certificate: IssuedCertificate,
}

impl SimMesh {
    /// Founds a mesh whose first node is `node-0`.
    pub fn found(simulation: &Simulation) -> Result<Self, Failure> {
        let founding = Founding {
            mesh: name("sim")?,
            node: name("node-0")?,
            cell: name("main")?,
            labels: GrantedLabels::default(),
        };
        let env = simulation.env(Simulation::ip(0));
        let founder = make_mesh(&founding, env.clock.wall(), &env.random)?;
        let root = founder.root_certificate.clone().into();
        let bundle = TrustBundle::verify(&founder.bundle, &root).map_err(internal)?;
        Ok(Self { simulation: simulation.clone(), founder, bundle, cell: founding.cell })
    }

    /// The address of the node with this number.
    pub fn addr(number: u16) -> SocketAddr {
        SocketAddr::new(Simulation::ip(number), MESH_PORT)
    }

    /// The node with this number, on a new machine: the founder for 0, else one that was just enrolled.
    pub fn admit(&self, number: u16) -> Result<SimNode, Failure> {
        let env = self.simulation.env(Simulation::ip(number));
        let node: NodeId = name(&format!("node-{number}"))?;
        let (key, enrolment) = match number {
            0 => (self.founder.node_key.clone(), self.founder.enrolment.clone()),
            _ => self.enrol(&node, number, &env)?,
        };
        let certificate = self.certify(&node, &env)?;
        Ok(SimNode {
            addr: Self::addr(number),
            mesh: self.bundle.mesh.clone(),
            cell: self.cell.clone(),
            trust: Trust::new(self.bundle.clone(), env.clock.clone()),
            node,
            env,
            key,
            enrolment,
            certificate,
        })
    }

    fn enrol(&self, node: &NodeId, number: u16, env: &Env) -> Result<(SigningKey, SignedEnrolment), Failure> {
        let key = SigningKey::generate(&env.random);
        let enrolment = Enrolment {
            mesh: self.bundle.mesh.clone(),
            node: node.clone(),
            key: key.public(),
            cell: self.cell.clone(),
            grants: Grants::All,
            roles: Roles::default(),
            labels: GrantedLabels::default(),
            serial: u64::from(number) + 1,
            issued_at: env.clock.wall(),
            signer: self.founder.issuer.node.clone(),
        };
        let signed = Signed::sign(&enrolment, ENROLMENT_CONTEXT, &self.founder.issuer.key).map_err(internal)?;
        Ok((key, signed))
    }

    fn certify(&self, node: &NodeId, env: &Env) -> Result<IssuedCertificate, Failure> {
        let id = SpiffeId::node(&self.bundle.mesh, node);
        let key = SigningKey::generate(&env.random);
        let subject = LeafSubject { id: &id, key: &key.public(), node, labels: &GrantedLabels::default() };
        let chain = self
            .founder
            .issuer
            .issue(subject, CERTIFICATE_LIFETIME, env.clock.wall(), &env.random)
            .map_err(internal)?;
        IssuedCertificate::new(chain, key).map_err(internal)
    }
}

pub(crate) fn name<T: std::str::FromStr>(text: &str) -> Result<T, Failure>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(internal)
}

pub(crate) fn internal(error: impl std::fmt::Display) -> Failure {
    Failure::new(Code::Internal, error.to_string())
}
