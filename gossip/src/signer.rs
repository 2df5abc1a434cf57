//! What a signer decides: who gets a token, who is admitted, who gets which certificate. Pure functions over the signer's book and the
//! time; the Signer actor keeps the book and does what is decided.

mod founding;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use weft_env::{Random, Timestamp};

use crate::codes::{Code, Failure};
use crate::enrol::{CertifyRequest, JoinRequest};
use crate::identity::{
    CertificateError, ENROLMENT_CONTEXT, Enrolment, Fingerprint, Grants, Issuer, JoinToken, PublicKey, Roles,
    SignedEnrolment, SpiffeId, Subject, TokenId, TokenSecret, TrustBundle,
};
use crate::ids::{CellName, NodeId};
use crate::wire::Signed;

pub use founding::{Founding, NewMesh, make_mesh};

/// Tokens in the book at once, used and expired ones of the last day included: two for each node of a full cell.
pub const TOKENS_MAX: usize = 2_000;
/// Services that one token grants; above it, grant all. Keeps a token's line and the book short.
pub const GRANTS_MAX: usize = 100;
/// A used or expired token is remembered this long, so that a second use gets the true reason.
pub const TOKEN_MEMORY: Duration = Duration::from_secs(86_400);
/// A reply may be lost: the same node with the same key may redeem a token again for this long.
pub const RETRY_WINDOW: Duration = Duration::from_secs(60);
/// Nodes in the book; more than a mesh of ten full cells.
pub const ENROLLED_MAX: usize = 10_000;

/// A signer's book; kept on disk by the Store actor.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignerState {
    /// The serial of the last enrolment.
    pub serial: u64,
    /// Tokens by their id.
    pub tokens: BTreeMap<TokenId, TokenEntry>,
    /// Enrolled nodes.
    pub enrolled: BTreeMap<NodeId, EnrolledNode>,
}

/// What a signer keeps of a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenEntry {
    /// SHA-256 of the secret.
    pub secret_hash: [u8; 32],
    /// Until when it admits.
    #[serde(with = "crate::wire::timestamp")]
    pub expires_at: Timestamp,
    /// What it grants.
    pub grants: Grants,
    /// The roles that it gives.
    pub roles: Roles,
    /// The cell that it is for.
    pub cell: CellName,
    /// Who used it.
    pub redeemed: Option<Redemption>,
}

/// Who used a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redemption {
    /// The node.
    pub node: NodeId,
    /// Its key.
    pub key: PublicKey,
    /// When.
    #[serde(with = "crate::wire::timestamp")]
    pub at: Timestamp,
}

/// What a signer keeps of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolledNode {
    /// Its key.
    pub key: PublicKey,
    /// What it may offer.
    pub grants: Grants,
    /// What else it may be.
    pub roles: Roles,
    /// The serial of its last enrolment.
    pub serial: u64,
    /// Whether it was thrown out.
    pub revoked: bool,
}

/// What a token is to say.
#[derive(Debug, Clone)]
pub struct TokenWish {
    /// What the node may offer.
    pub grants: Grants,
    /// What else it may be.
    pub roles: Roles,
    /// The cell that it joins.
    pub cell: CellName,
    /// How long it admits.
    pub time_to_live: Duration,
    /// Nodes to dial, this signer first.
    pub seeds: Vec<SocketAddr>,
}

/// What a signer decides with, besides its book.
#[derive(Debug, Clone, Copy)]
pub struct Deciding<'a> {
    /// What it signs with.
    pub issuer: &'a Issuer,
    /// Whom the mesh believes.
    pub bundle: &'a TrustBundle,
    /// How long a certificate is valid.
    pub lifetime: Duration,
    /// Now.
    pub now: Timestamp,
    /// For tokens and serial numbers.
    pub random: &'a Random,
}

/// A node that is admitted.
#[derive(Debug, Clone)]
pub struct Admission {
    /// The signer's word on it.
    pub enrolment: SignedEnrolment,
    /// Its first certificate chain, DER.
    pub chain: Vec<Vec<u8>>,
}

impl SignerState {
    /// Makes a token and enters it. The book must be on disk before the token is shown.
    pub fn create_token(&mut self, deciding: &Deciding<'_>, wish: TokenWish) -> Result<JoinToken, Failure> {
        self.forget_tokens(deciding.now);
        if self.tokens.len() >= TOKENS_MAX {
            let detail =
                format!("{TOKENS_MAX} tokens of the last day are in the signer's book; wait until some expire");
            return Err(Failure::new(Code::Overloaded, detail));
        }
        if matches!(&wish.grants, Grants::Only(services) if services.len() > GRANTS_MAX) {
            let detail = format!("a token grants at most {GRANTS_MAX} services, or all");
            return Err(Failure::new(Code::UsageInvalid, detail));
        }
        self.check_scope(deciding, &wish.grants)?;
        let root =
            deciding.bundle.roots.first().ok_or_else(|| Failure::new(Code::StateBroken, "the bundle has no root"))?;
        let (id, secret) = (TokenId::generate(deciding.random), TokenSecret::generate(deciding.random));
        let expires_at = deciding.now.after(wish.time_to_live);
        let entry = TokenEntry {
            secret_hash: secret.hashed(),
            expires_at,
            grants: wish.grants.clone(),
            roles: wish.roles,
            cell: wish.cell.clone(),
            redeemed: None,
        };
        self.tokens.insert(id, entry);
        Ok(JoinToken {
            mesh: deciding.issuer.mesh.clone(),
            root_fingerprint: Fingerprint::of(root),
            seeds: wish.seeds,
            signer: deciding.issuer.node.clone(),
            id,
            secret,
            expires_at,
            grants: wish.grants,
            roles: wish.roles,
            cell: wish.cell,
        })
    }

    /// Admits a node or says why not; a refusal leaves the book as it was. The book must be on disk before the reply goes out.
    pub fn decide_join(&mut self, deciding: &Deciding<'_>, request: &JoinRequest) -> Result<Admission, Failure> {
        let token = self.redeemable(deciding.now, request)?.clone();
        let known = self.enrolled.get(&request.node);
        if known.is_some_and(|node| node.key != request.key) {
            let detail = format!("the mesh has a node {} with another key", request.node);
            return Err(Failure::new(Code::NodeNameTaken, detail));
        }
        if known.is_some_and(|node| node.revoked) {
            return Err(Failure::new(Code::EnrolmentRefused, format!("node {} was revoked", request.node)));
        }
        if known.is_none() && self.enrolled.len() >= ENROLLED_MAX {
            return Err(Failure::new(Code::CellFull, format!("the signer has enrolled {ENROLLED_MAX} nodes")));
        }
        let grants = known.map_or_else(|| token.grants.clone(), |node| node.grants.union(&token.grants));
        let roles = Roles { signer: token.roles.signer || known.is_some_and(|node| node.roles.signer) };
        self.check_scope(deciding, &grants)?;

        let serial = self.serial.saturating_add(1);
        let enrolment = Enrolment {
            mesh: deciding.issuer.mesh.clone(),
            node: request.node.clone(),
            key: request.key,
            cell: token.cell,
            grants: grants.clone(),
            roles,
            serial,
            issued_at: deciding.now,
            signer: deciding.issuer.node.clone(),
        };
        let enrolment = Signed::sign(&enrolment, ENROLMENT_CONTEXT, &deciding.issuer.key)
            .map_err(|error| Failure::new(Code::Internal, error.to_string()))?;
        let id = SpiffeId::node(&deciding.issuer.mesh, &request.node);
        let chain = deciding.issue(&id, &request.certificate_key)?;

        self.serial = serial;
        let entry = EnrolledNode { key: request.key, grants, roles, serial, revoked: false };
        self.enrolled.insert(request.node.clone(), entry);
        if let Some(token) = self.tokens.get_mut(&request.token).filter(|token| token.redeemed.is_none()) {
            let redemption = Redemption { node: request.node.clone(), key: request.key, at: deciding.now };
            token.redeemed = Some(redemption);
        }
        Ok(Admission { enrolment, chain })
    }

    /// Issues certificates to an enrolled node or says why not: one chain a wish, in order. Any signer of the mesh may be asked, so the
    /// enrolment counts, and the book only where it knows better.
    pub fn decide_certify(
        &self,
        deciding: &Deciding<'_>,
        request: &CertifyRequest,
    ) -> Result<Vec<Vec<Vec<u8>>>, Failure> {
        let enrolment = Enrolment::verify(&request.enrolment, deciding.bundle)
            .map_err(|error| Failure::new(Code::EnrolmentRefused, error.to_string()))?;
        if let Some(known) = self.enrolled.get(&enrolment.node) {
            if known.revoked {
                return Err(Failure::new(Code::EnrolmentRefused, format!("node {} was revoked", enrolment.node)));
            }
            if known.key != enrolment.key {
                let detail = format!("node {} is enrolled with another key", enrolment.node);
                return Err(Failure::new(Code::EnrolmentRefused, detail));
            }
        }
        // All or nothing: what is refused is found before anything is signed.
        for wish in &request.wishes {
            check_granted(&enrolment, &wish.id)?;
        }
        request.wishes.iter().map(|wish| deciding.issue(&wish.id, &wish.key)).collect()
    }

    fn redeemable(&self, now: Timestamp, request: &JoinRequest) -> Result<&TokenEntry, Failure> {
        let unknown = || Failure::new(Code::TokenUnknown, "this signer did not issue the token");
        let token = self.tokens.get(&request.token).ok_or_else(unknown)?;
        // Hashes are compared, so that the time it takes says nothing about the secret.
        if token.secret_hash != request.secret.hashed() {
            return Err(unknown());
        }
        if let Some(used) = &token.redeemed {
            let again = used.node == request.node && used.key == request.key;
            return if again && now.since(used.at) <= RETRY_WINDOW {
                Ok(token)
            } else {
                Err(Failure::new(Code::TokenUsed, format!("the token was used by node {}", used.node)))
            };
        }
        if now > token.expires_at {
            let detail = format!("the token expired {} s ago", now.since(token.expires_at).as_secs());
            return Err(Failure::new(Code::TokenExpired, detail));
        }
        Ok(token)
    }

    fn check_scope(&self, deciding: &Deciding<'_>, grants: &Grants) -> Result<(), Failure> {
        let node = &deciding.issuer.node;
        let signer = deciding
            .bundle
            .signer(node)
            .ok_or_else(|| Failure::new(Code::NotSigner, format!("{node} is no active signer of the mesh")))?;
        if grants.within(&signer.scope) {
            return Ok(());
        }
        Err(Failure::new(Code::GrantMissing, format!("signer {node} may not grant all of these services")))
    }

    /// Forgets tokens that are long used or expired.
    fn forget_tokens(&mut self, now: Timestamp) {
        self.tokens.retain(|_, token| {
            let over = token.redeemed.as_ref().map_or(token.expires_at, |used| used.at);
            now.since(over) < TOKEN_MEMORY
        });
    }
}

impl Deciding<'_> {
    fn issue(&self, id: &SpiffeId, key: &PublicKey) -> Result<Vec<Vec<u8>>, Failure> {
        let chain = self
            .issuer
            .issue((id, key), self.lifetime, self.now, self.random)
            .map_err(|error: CertificateError| Failure::new(Code::Internal, error.to_string()))?;
        Ok(chain.into_iter().map(|certificate| certificate.to_vec()).collect())
    }
}

/// Whether the enrolment lets its node have a certificate of this name.
fn check_granted(enrolment: &Enrolment, id: &SpiffeId) -> Result<(), Failure> {
    let allowed = id.mesh == enrolment.mesh
        && match &id.subject {
            Subject::Node(node) => *node == enrolment.node,
            Subject::Service(service) => enrolment.grants.allows(service),
            // No enrolment grants a gateway's name yet.
            Subject::Gateway(_) => false,
        };
    if allowed {
        return Ok(());
    }
    Err(Failure::new(Code::GrantMissing, format!("the enrolment of node {} does not grant {id}", enrolment.node)))
}

#[cfg(test)]
mod tests;
