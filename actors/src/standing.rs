//! Where a node stands in the trust of its mesh at one moment: whom it believes, what its signer says of it, what was revoked, and
//! what it issues with. One snapshot, replaced whole by Identity when a newer bundle, enrolment or set of revocations comes.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use weft_env::{Clock, Random};
use weft_identity::{
    BUNDLES_MAX, Code, ENROLMENT_CONTEXT, Enrolment, Failure, Issuer, PublicKey, Revocations, SignedBundle,
    SignedEnrolment, SigningKey, Trust, TrustBundle,
};

/// A node's standing; all of it verified.
#[derive(Debug, Clone)]
pub struct Standing {
    /// The trust bundles that this node knows, as signed, oldest first; the last is in force.
    pub bundles: Vec<SignedBundle>,
    /// The one in force.
    pub bundle: Arc<TrustBundle>,
    /// The signer's word on this node, as signed.
    pub signed_enrolment: SignedEnrolment,
    /// The same, verified when it came.
    pub enrolment: Enrolment,
    /// What was taken back.
    pub revocations: Arc<Revocations>,
    /// The key that this node issues with, or would if the root signed it; on a node with the signer role.
    pub signer_key: Option<SigningKey>,
    /// What it issues with, on a signer that the bundle names.
    pub issuer: Option<Issuer>,
}

/// What may change a standing.
#[derive(Debug, Clone, Default)]
pub struct News {
    /// Trust bundles, oldest first.
    pub bundles: Vec<SignedBundle>,
    /// Another enrolment of this node.
    pub enrolment: Option<SignedEnrolment>,
    /// Another set of revocations.
    pub revocations: Option<Arc<Revocations>>,
}

/// What a standing is made from.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pub(crate) bundles: Vec<SignedBundle>,
    pub(crate) enrolment: SignedEnrolment,
    pub(crate) revocations: Revocations,
    pub(crate) signer_key: Option<SigningKey>,
}

impl Standing {
    /// Verifies what was kept, and makes a signer's key where the role is new.
    pub(crate) fn new(kept: Kept, random: &Random) -> Result<Self, Failure> {
        let broken = |detail: String| Failure::new(Code::StateBroken, detail);
        let last = kept.bundles.last().ok_or_else(|| broken("there is no trust bundle".to_owned()))?;
        let bundle = TrustBundle::verify_kept(last).map_err(|error| broken(error.to_string()))?;
        let enrolment = Enrolment::verify(&kept.enrolment, &bundle).map_err(|error| broken(error.to_string()))?;
        Ok(Self {
            bundles: kept.bundles,
            bundle: Arc::new(bundle),
            signed_enrolment: kept.enrolment,
            enrolment,
            revocations: Arc::new(kept.revocations),
            signer_key: kept.signer_key,
            issuer: None,
        }
        .settled(random))
    }

    /// Whom this node believes, by this clock.
    pub fn trust(&self, clock: &Clock) -> Trust {
        Trust { bundle: Arc::clone(&self.bundle), revocations: Arc::clone(&self.revocations), clock: clock.clone() }
    }

    /// The bundle in force, as signed.
    pub fn signed_bundle(&self) -> &SignedBundle {
        self.bundles.last().expect("a standing is made from at least one bundle")
    }

    /// The public half of the signer's key.
    pub fn signer_public(&self) -> Option<PublicKey> {
        self.signer_key.as_ref().map(SigningKey::public)
    }

    /// Whether this node's enrolment is to be replaced: its signer issues no more.
    pub fn is_outgoing(&self) -> bool {
        let maker = self.bundle.signer(&self.enrolment.signer);
        maker.is_none_or(|maker| self.signed_enrolment.verify(ENROLMENT_CONTEXT, &maker.key).is_err())
    }

    /// The standing after news; none if they change nothing. A refused enrolment is [`Code::EnrolmentRefused`].
    pub(crate) fn after(&self, news: News, random: &Random) -> Result<Option<Self>, Failure> {
        let mut next = self.clone();
        let mut is_new = false;
        if let Some((taken, newest)) = self.bundle.successors(self.signed_bundle(), &news.bundles) {
            next.bundles.extend(taken);
            next.bundles.drain(..next.bundles.len().saturating_sub(BUNDLES_MAX));
            next.bundle = Arc::new(newest);
            is_new = true;
        }
        if let Some(signed) = news.enrolment.filter(|signed| *signed != self.signed_enrolment) {
            let enrolment = next.own_enrolment(&signed)?;
            if enrolment.serial > next.enrolment.serial {
                next.signed_enrolment = signed;
                next.enrolment = enrolment;
                is_new = true;
            }
        }
        if let Some(revocations) = news.revocations.filter(|revocations| *revocations != self.revocations) {
            next.revocations = revocations;
            is_new = true;
        }
        Ok(is_new.then(|| next.settled(random)))
    }

    fn own_enrolment(&self, signed: &SignedEnrolment) -> Result<Enrolment, Failure> {
        let refuse = |detail: String| Failure::new(Code::EnrolmentRefused, detail);
        let enrolment = Enrolment::verify(signed, &self.bundle).map_err(|error| refuse(error.to_string()))?;
        if enrolment.node != self.enrolment.node || enrolment.key != self.enrolment.key {
            return Err(refuse("it is the enrolment of another node or key".to_owned()));
        }
        if enrolment.cell != self.enrolment.cell {
            return Err(refuse(format!("it is for cell {}; a node that runs stays in its cell", enrolment.cell)));
        }
        Ok(enrolment)
    }

    /// With the signer's key and the issuer that follow from bundle and enrolment.
    fn settled(mut self, random: &Random) -> Self {
        if self.enrolment.roles.signer && self.signer_key.is_none() {
            self.signer_key = Some(SigningKey::generate(random));
        }
        self.issuer = self.signer_key.as_ref().filter(|_| self.enrolment.roles.signer).and_then(|key| {
            let entry = self.bundle.signer(&self.enrolment.node).filter(|entry| entry.key == key.public())?;
            Some(Issuer {
                mesh: self.bundle.mesh.clone(),
                node: entry.node.clone(),
                certificate: CertificateDer::from(entry.certificate.clone()),
                key: key.clone(),
            })
        });
        self
    }
}
