//! What a signer decides: who gets a token, who is admitted, who gets which certificate. Pure functions over the signer's book and the
//! time; the Signer actor keeps the book and does what is decided.

mod book;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use weft_env::{Random, Timestamp};
use weft_identity::wire::Signed;
use weft_identity::{
    CellName, CertificateError, Code, ENROLMENT_CONTEXT, Enrolment, Failure, GrantedLabels, Grants, Issuer, JoinToken,
    LabelChanges, LabelError, LeafSubject, NodeId, PublicKey, Revocations, Roles, SignedEnrolment, SpiffeId, Subject,
    TokenId, TokenSecret, TrustBundle,
};

use crate::enrol::{CertificateWish, CertifyRequest, JoinRequest};
use crate::membership::{MembersView, NODES_MAX};

pub use book::{EnrolledNode, Redemption, SignerState, TOKEN_MEMORY, TokenEntry};

/// Tokens in the book at once, used and expired ones of the last day included: two for each node of a full cell.
pub const TOKENS_MAX: usize = 2_000;
/// Services that one token grants; above it, grant all. Keeps a token's line and the book short.
pub const GRANTS_MAX: usize = 100;
/// A reply may be lost: the same node with the same key may redeem a token again for this long.
pub const RETRY_WINDOW: Duration = Duration::from_secs(60);
/// Who was admitted counts as a node of its cell for this long, also while no member has heard of it yet.
pub const ADMISSION_MEMORY: Duration = Duration::from_secs(600);
/// Nodes in the book; more than a mesh of ten full cells.
pub const ENROLLED_MAX: usize = 10_000;

/// What a token is to say.
#[derive(Debug, Clone)]
pub struct TokenWish {
    /// What the node may offer.
    pub grants: Grants,
    /// What else it may be.
    pub roles: Roles,
    /// What becomes of its labels.
    pub labels: LabelChanges,
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
    /// What was taken back.
    pub revocations: &'a Revocations,
    /// Who is in the signer's cell.
    pub members: &'a MembersView,
    /// Nodes that a cell admits, at most [`NODES_MAX`].
    pub nodes_max: usize,
    /// How long a certificate is valid.
    pub lifetime: Duration,
    /// Now.
    pub now: Timestamp,
    /// For tokens and serial numbers.
    pub random: &'a Random,
}

/// What an enrolled node gets.
#[derive(Debug, Clone)]
pub struct Certification {
    /// One chain for each wish, in order, DER.
    pub chains: Vec<Vec<Vec<u8>>>,
    /// A newer enrolment than the one that the node showed.
    pub enrolment: Option<SignedEnrolment>,
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
        let granted = GrantedLabels::default().after(&wish.labels).map_err(unlabelled)?;
        self.check_scope(deciding, &wish.grants, &granted)?;
        let no_root = || Failure::new(Code::StateBroken, "the trust bundle has no active root");
        let root = deciding.bundle.active_root().ok_or_else(no_root)?;
        let (id, secret) = (TokenId::generate(deciding.random), TokenSecret::generate(deciding.random));
        let expires_at = deciding.now.after(wish.time_to_live);
        let entry = TokenEntry {
            secret_hash: secret.hashed(),
            expires_at,
            grants: wish.grants.clone(),
            roles: wish.roles,
            labels: wish.labels.clone(),
            cell: wish.cell.clone(),
            redeemed: None,
        };
        self.tokens.insert(id, entry);
        Ok(JoinToken {
            mesh: deciding.issuer.mesh.clone(),
            root_fingerprint: root.fingerprint(),
            seeds: wish.seeds,
            signer: deciding.issuer.node.clone(),
            id,
            secret,
            expires_at,
            grants: wish.grants,
            roles: wish.roles,
            labels: wish.labels,
            cell: wish.cell,
        })
    }

    /// Admits a node or says why not; a refusal leaves the book as it was. The book must be on disk before the reply goes out.
    pub fn decide_join(&mut self, deciding: &Deciding<'_>, request: &JoinRequest) -> Result<Admission, Failure> {
        let token = self.redeemable(deciding, request)?.clone();
        self.check_name(deciding, request)?;
        self.check_room(deciding, &request.node, &token.cell)?;
        let held = held_enrolment(deciding, request);
        let known = self.enrolled.get(&request.node);
        let mut grants = known.map_or_else(|| token.grants.clone(), |node| node.grants.union(&token.grants));
        let mut roles = Roles { signer: token.roles.signer || known.is_some_and(|node| node.roles.signer) };
        if let Some(held) = &held {
            grants = grants.union(&held.grants);
            roles.signer |= held.roles.signer;
        }
        let labels = labels_after(&token, known, held.as_ref())?;
        self.check_scope(deciding, &grants, &labels)?;
        let serial = self.serial.max(held.map_or(0, |held| held.serial)).saturating_add(1);
        let entry = EnrolledNode {
            key: request.key,
            cell: token.cell,
            grants,
            roles,
            labels,
            serial,
            enrolled_at: deciding.now,
            revoked: false,
        };
        let enrolment = deciding.enrol(&request.node, &entry)?;
        let id = SpiffeId::node(&deciding.issuer.mesh, &request.node);
        let (key, node, labels) = (&request.certificate_key, &request.node, &entry.labels);
        let chain = deciding.issue(LeafSubject { id: &id, key, node, labels })?;

        self.serial = serial;
        self.enrolled.insert(request.node.clone(), entry);
        if let Some(token) = self.tokens.get_mut(&request.token).filter(|token| token.redeemed.is_none()) {
            let redemption = Redemption { node: request.node.clone(), key: request.key, at: deciding.now };
            token.redeemed = Some(redemption);
        }
        Ok(Admission { enrolment, chain })
    }

    /// Issues certificates to an enrolled node or says why not: one chain a wish, in order. Any signer of the mesh may be asked, so the
    /// enrolment counts, and the book only where it knows better. An enrolment of a signer that issues no more is made anew by this one;
    /// the book must then be on disk before the reply goes out.
    pub fn decide_certify(
        &mut self,
        deciding: &Deciding<'_>,
        request: &CertifyRequest,
    ) -> Result<Certification, Failure> {
        let shown = Enrolment::verify(&request.enrolment, deciding.bundle)
            .map_err(|error| Failure::new(Code::EnrolmentRefused, error.to_string()))?;
        self.check_enrolled(deciding, &shown.node, &shown.key)?;
        if self.enrolled.get(&shown.node).is_some_and(|known| known.key != shown.key) {
            let detail = format!("node {} is enrolled with another key", shown.node);
            return Err(Failure::new(Code::EnrolmentRefused, detail));
        }
        let entry = self.newer_entry(deciding, &request.enrolment, &shown);
        let (grants, labels) =
            entry.as_ref().map_or((&shown.grants, &shown.labels), |entry| (&entry.grants, &entry.labels));
        // All or nothing: what is refused is found before anything is signed.
        for wish in &request.wishes {
            check_granted(&shown, grants, wish)?;
        }
        if !labels.is_empty() {
            self.check_scope(deciding, &Grants::none(), labels)?;
        }
        let wishes = request.wishes.iter();
        let subjects = wishes.map(|wish| LeafSubject { id: &wish.id, key: &wish.key, node: &shown.node, labels });
        let chains: Result<_, _> = subjects.map(|subject| deciding.issue(subject)).collect();
        let enrolment = entry.as_ref().map(|entry| deciding.enrol(&shown.node, entry)).transpose()?;
        let certification = Certification { chains: chains?, enrolment };
        if let Some(entry) = entry {
            self.serial = self.serial.max(entry.serial);
            self.enrolled.insert(shown.node, entry);
        }
        Ok(certification)
    }

    /// What the book should say of a node that showed this enrolment, where that is newer: a later enrolment of the book, or one in place of
    /// that of a signer that issues no more.
    fn newer_entry(
        &self,
        deciding: &Deciding<'_>,
        signed: &SignedEnrolment,
        shown: &Enrolment,
    ) -> Option<EnrolledNode> {
        let known = self.enrolled.get(&shown.node).filter(|known| known.serial > shown.serial);
        if let Some(known) = known {
            return Some(known.clone());
        }
        let maker = deciding.bundle.signer(&shown.signer);
        let is_current = maker.is_some_and(|maker| signed.verify(ENROLMENT_CONTEXT, &maker.key).is_ok());
        if is_current || self.check_scope(deciding, &shown.grants, &shown.labels).is_err() {
            return None;
        }
        let serial = self.serial.max(shown.serial).saturating_add(1);
        Some(EnrolledNode { serial, enrolled_at: deciding.now, ..EnrolledNode::of(shown) })
    }

    fn check_enrolled(&self, deciding: &Deciding<'_>, node: &NodeId, key: &PublicKey) -> Result<(), Failure> {
        let by_book = self.enrolled.get(node).is_some_and(|known| known.revoked);
        if by_book || deciding.revocations.covers(node, key) {
            return Err(Failure::new(Code::EnrolmentRefused, format!("node {node} was revoked")));
        }
        Ok(())
    }

    /// Whether the node may have its name: nobody has it with another key, as far as the book and the cell know.
    fn check_name(&self, deciding: &Deciding<'_>, request: &JoinRequest) -> Result<(), Failure> {
        let in_book = self.enrolled.get(&request.node).map(|node| node.key);
        let member = deciding.members.members.get(&request.node);
        let in_cell = member.and_then(|member| member.record.enrolment.claim().ok()).map(|enrolment| enrolment.key);
        if in_book.is_some_and(|key| key != request.key) || in_cell.is_some_and(|key| key != request.key) {
            let detail = format!("the mesh has a node {} with another key", request.node);
            return Err(Failure::new(Code::NodeNameTaken, detail));
        }
        self.check_enrolled(deciding, &request.node, &request.key)
    }

    /// Whether the cell has room for the node: members, and those who were admitted so lately that they may still come, are counted; of
    /// a cell that this signer does not see, everybody in the book.
    fn check_room(&self, deciding: &Deciding<'_>, node: &NodeId, cell: &CellName) -> Result<(), Failure> {
        let members = &deciding.members.members;
        if self.enrolled.get(node).is_some_and(|known| known.cell == *cell) || members.contains_key(node) {
            return Ok(());
        }
        if self.enrolled.len() >= ENROLLED_MAX {
            return Err(Failure::new(Code::CellFull, format!("the signer has enrolled {ENROLLED_MAX} nodes")));
        }
        let is_seen = members.values().any(|member| member.record.cell == *cell);
        let may_come = |known: &EnrolledNode| !is_seen || deciding.now.since(known.enrolled_at) < ADMISSION_MEMORY;
        let present = members.iter().filter(|(_, member)| member.record.cell == *cell).map(|(name, _)| name);
        let expected =
            self.enrolled.iter().filter(|(_, known)| known.cell == *cell && !known.revoked && may_come(known));
        let nodes: BTreeSet<&NodeId> = present.chain(expected.map(|(name, _)| name)).collect();
        let nodes_max = deciding.nodes_max.min(NODES_MAX);
        if nodes.len() < nodes_max {
            return Ok(());
        }
        let detail = format!("cell {cell} has {} nodes and admits {nodes_max}", nodes.len());
        Err(Failure::new(Code::CellFull, detail))
    }

    fn redeemable(&self, deciding: &Deciding<'_>, request: &JoinRequest) -> Result<&TokenEntry, Failure> {
        let now = deciding.now;
        let unknown = || Failure::new(Code::TokenUnknown, "this signer did not issue the token");
        let token = self.tokens.get(&request.token).ok_or_else(unknown)?;
        // Hashes are compared, so that the time it takes says nothing about the secret.
        if token.secret_hash != request.secret.hashed() {
            return Err(unknown());
        }
        if deciding.revocations.tokens.contains(&request.token) {
            return Err(Failure::new(Code::TokenUnknown, "the token was revoked"));
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

    fn check_scope(&self, deciding: &Deciding<'_>, grants: &Grants, labels: &GrantedLabels) -> Result<(), Failure> {
        let node = &deciding.issuer.node;
        let signer = deciding
            .bundle
            .signer(node)
            .ok_or_else(|| Failure::new(Code::NotSigner, format!("{node} is no active signer of the mesh")))?;
        if signer.may_grant(grants, labels) {
            return Ok(());
        }
        let detail = if grants.within(&signer.scope) {
            format!("signer {node} has a limited scope and may not grant labels")
        } else {
            format!("signer {node} may not grant all of these services")
        };
        Err(Failure::new(Code::GrantMissing, detail))
    }
}

impl Deciding<'_> {
    fn enrol(&self, node: &NodeId, entry: &EnrolledNode) -> Result<SignedEnrolment, Failure> {
        let enrolment = Enrolment {
            mesh: self.issuer.mesh.clone(),
            node: node.clone(),
            key: entry.key,
            cell: entry.cell.clone(),
            grants: entry.grants.clone(),
            roles: entry.roles,
            labels: entry.labels.clone(),
            serial: entry.serial,
            issued_at: entry.enrolled_at,
            signer: self.issuer.node.clone(),
        };
        Signed::sign(&enrolment, ENROLMENT_CONTEXT, &self.issuer.key)
            .map_err(|error| Failure::new(Code::Internal, error.to_string()))
    }

    fn issue(&self, subject: LeafSubject<'_>) -> Result<Vec<Vec<u8>>, Failure> {
        let chain = self
            .issuer
            .issue(subject, self.lifetime, self.now, self.random)
            .map_err(|error: CertificateError| Failure::new(Code::Internal, error.to_string()))?;
        Ok(chain.into_iter().map(|certificate| certificate.to_vec()).collect())
    }
}

/// The enrolment that a node shows when it joins again, if it is its own and holds.
fn held_enrolment(deciding: &Deciding<'_>, request: &JoinRequest) -> Option<Enrolment> {
    let held = Enrolment::verify(request.enrolment.as_ref()?, deciding.bundle).ok()?;
    (held.node == request.node && held.key == request.key).then_some(held)
}

/// The labels of a node after it redeemed a token: those of its newest enrolment, changed as the token says. A token that is redeemed again
/// changes nothing more, so that its labels cannot come back after another token's.
fn labels_after(
    token: &TokenEntry,
    known: Option<&EnrolledNode>,
    held: Option<&Enrolment>,
) -> Result<GrantedLabels, Failure> {
    let known = known.map(|node| (node.serial, &node.labels));
    let held = held.map(|enrolment| (enrolment.serial, &enrolment.labels));
    let newest = known.into_iter().chain(held).max_by_key(|(serial, _)| *serial);
    let labels = newest.map(|(_, labels)| labels.clone()).unwrap_or_default();
    if token.redeemed.is_some() {
        return Ok(labels);
    }
    labels.after(&token.labels).map_err(unlabelled)
}

fn unlabelled(error: LabelError) -> Failure {
    Failure::new(Code::UsageInvalid, error.to_string())
}

/// Whether a node with these grants may have a certificate of this name.
fn check_granted(enrolment: &Enrolment, grants: &Grants, wish: &CertificateWish) -> Result<(), Failure> {
    let id = &wish.id;
    let allowed = id.mesh == enrolment.mesh
        && match &id.subject {
            Subject::Node(node) => *node == enrolment.node,
            Subject::Service(service) => grants.allows(service),
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
