use super::*;
use crate::enrol::CertificateWish;
use crate::identity::testing::{self, NOW, TestMesh};
use crate::identity::{LEAF_LIFETIME, SignerStanding, SigningKey};

const TEN_MINUTES: Duration = Duration::from_secs(600);

struct Desk {
    mesh: TestMesh,
    bundle: TrustBundle,
    state: SignerState,
}

impl Desk {
    fn new() -> Self {
        let mesh = testing::mesh();
        Self { bundle: mesh.bundle(), state: mesh.seed.state.clone(), mesh }
    }

    fn with<T>(&mut self, now: Timestamp, act: impl FnOnce(&mut SignerState, &Deciding<'_>) -> T) -> T {
        let deciding = Deciding {
            issuer: &self.mesh.seed.issuer,
            bundle: &self.bundle,
            lifetime: LEAF_LIFETIME,
            now,
            random: &self.mesh.random,
        };
        act(&mut self.state, &deciding)
    }

    fn token(&mut self, grants: Grants) -> JoinToken {
        let wish = TokenWish {
            grants,
            roles: Roles::default(),
            cell: "default".parse().unwrap(),
            time_to_live: TEN_MINUTES,
            seeds: vec!["127.0.0.1:4510".parse().unwrap()],
        };
        self.with(NOW, |state, deciding| state.create_token(deciding, wish)).unwrap()
    }

    fn join(&mut self, token: &JoinToken, node: &str, key: &SigningKey, now: Timestamp) -> Result<Admission, Failure> {
        let request = JoinRequest {
            token: token.id,
            secret: token.secret.clone(),
            node: node.parse().unwrap(),
            key: key.public(),
            certificate_key: key.public(),
        };
        let before = self.state.clone();
        let decided = self.with(now, |state, deciding| state.decide_join(deciding, &request));
        if decided.is_err() {
            assert_eq!(self.state, before, "a refusal changes nothing");
        }
        decided
    }

    fn certify(&mut self, enrolment: &SignedEnrolment, ids: &[&str]) -> Result<Vec<Vec<Vec<u8>>>, Failure> {
        let key = SigningKey::generate(&self.mesh.random).public();
        let wishes = ids.iter().map(|id| CertificateWish { id: id.parse().unwrap(), key }).collect();
        let request = CertifyRequest { enrolment: enrolment.clone(), wishes };
        self.with(NOW, |state, deciding| state.decide_certify(deciding, &request))
    }

    fn key(&self) -> SigningKey {
        SigningKey::generate(&self.mesh.random)
    }
}

fn web() -> Grants {
    Grants::Only(["web".parse().unwrap()].into())
}

fn code<T>(result: Result<T, Failure>) -> Code {
    result.err().expect("refused").code
}

#[test]
fn a_token_admits_one_node_once() {
    let mut desk = Desk::new();
    let (token, key) = (desk.token(web()), desk.key());
    let admission = desk.join(&token, "vm-b", &key, NOW).unwrap();
    let enrolment = Enrolment::verify(&admission.enrolment, &desk.bundle).unwrap();
    assert_eq!((enrolment.node.as_str(), enrolment.grants, enrolment.serial), ("vm-b", web(), 2));
    // A lost reply may be asked for again, by the same node and soon.
    assert!(desk.join(&token, "vm-b", &key, NOW.after(Duration::from_secs(30))).is_ok());
    assert_eq!(code(desk.join(&token, "vm-b", &key, NOW.after(Duration::from_secs(90)))), Code::TokenUsed);
    let other = desk.key();
    assert_eq!(code(desk.join(&token, "vm-c", &other, NOW)), Code::TokenUsed);
    assert_eq!(code(desk.join(&token, "vm-c", &key, NOW)), Code::TokenUsed);
}

#[test]
fn a_wrong_an_expired_and_a_forgotten_token_are_refused() {
    let mut desk = Desk::new();
    let (token, key) = (desk.token(web()), desk.key());
    let mut wrong = token.clone();
    wrong.secret.0[0] ^= 1;
    assert_eq!(code(desk.join(&wrong, "vm-b", &key, NOW)), Code::TokenUnknown);
    let mut unknown = token.clone();
    unknown.id.0[0] ^= 1;
    assert_eq!(code(desk.join(&unknown, "vm-b", &key, NOW)), Code::TokenUnknown);
    let late = NOW.after(TEN_MINUTES + Duration::from_secs(1));
    assert_eq!(code(desk.join(&token, "vm-b", &key, late)), Code::TokenExpired);
    assert!(desk.join(&token, "vm-b", &key, NOW.after(TEN_MINUTES)).is_ok());
}

#[test]
fn a_name_belongs_to_its_key_and_grants_unite() {
    let mut desk = Desk::new();
    let (first, second) = (desk.token(web()), desk.token(Grants::Only(["api".parse().unwrap()].into())));
    let (key, thief) = (desk.key(), desk.key());
    desk.join(&first, "vm-b", &key, NOW).unwrap();
    assert_eq!(code(desk.join(&second, "vm-b", &thief, NOW)), Code::NodeNameTaken);
    assert_eq!(code(desk.join(&second, "vm-a", &thief, NOW)), Code::NodeNameTaken);
    let admission = desk.join(&second, "vm-b", &key, NOW).unwrap();
    let grants = Enrolment::verify(&admission.enrolment, &desk.bundle).unwrap().grants;
    assert_eq!(grants, Grants::Only(["api".parse().unwrap(), "web".parse().unwrap()].into()));
}

#[test]
fn certificates_go_to_enrolled_nodes_for_what_they_are_granted() {
    let mut desk = Desk::new();
    let (token, key) = (desk.token(web()), desk.key());
    let enrolment = desk.join(&token, "vm-b", &key, NOW).unwrap().enrolment;
    let chains = desk.certify(&enrolment, &["spiffe://bank/node/vm-b", "spiffe://bank/svc/web"]).unwrap();
    assert_eq!(chains.len(), 2);
    for refused in
        ["spiffe://bank/svc/api", "spiffe://bank/node/vm-a", "spiffe://shop/svc/web", "spiffe://bank/gw/edge"]
    {
        assert_eq!(
            code(desk.certify(&enrolment, &["spiffe://bank/svc/web", refused])),
            Code::GrantMissing,
            "{refused}"
        );
    }
}

#[test]
fn a_revoked_a_forged_and_a_superseded_enrolment_get_nothing() {
    let mut desk = Desk::new();
    let (token, key) = (desk.token(web()), desk.key());
    let enrolment = desk.join(&token, "vm-b", &key, NOW).unwrap().enrolment;
    let mut claim = enrolment.claim().unwrap();
    claim.grants = Grants::All;
    let forged = Signed::sign(&claim, ENROLMENT_CONTEXT, &key).unwrap();
    assert_eq!(code(desk.certify(&forged, &["spiffe://bank/svc/api"])), Code::EnrolmentRefused);

    let node: NodeId = "vm-b".parse().unwrap();
    let rekeyed = desk.key().public();
    let was = std::mem::replace(&mut desk.state.enrolled.get_mut(&node).unwrap().key, rekeyed);
    assert_eq!(code(desk.certify(&enrolment, &["spiffe://bank/svc/web"])), Code::EnrolmentRefused);
    desk.state.enrolled.get_mut(&node).unwrap().key = was;
    desk.state.enrolled.get_mut(&node).unwrap().revoked = true;
    assert_eq!(code(desk.certify(&enrolment, &["spiffe://bank/svc/web"])), Code::EnrolmentRefused);
    let again = desk.token(web());
    assert_eq!(code(desk.join(&again, "vm-b", &key, NOW)), Code::EnrolmentRefused);
}

#[test]
fn a_signer_out_of_office_or_scope_or_bounds_creates_no_token() {
    let mut desk = Desk::new();
    let wish = |grants| TokenWish {
        grants,
        roles: Roles::default(),
        cell: "default".parse().unwrap(),
        time_to_live: TEN_MINUTES,
        seeds: Vec::new(),
    };
    let many = (0..=GRANTS_MAX).map(|number| format!("s{number}").parse().unwrap()).collect();
    let long = desk.with(NOW, |state, deciding| state.create_token(deciding, wish(Grants::Only(many))));
    assert_eq!(code(long), Code::UsageInvalid);
    desk.bundle.signers[0].scope = web();
    let out = desk.with(NOW, |state, deciding| state.create_token(deciding, wish(Grants::All)));
    assert_eq!(code(out), Code::GrantMissing);
    desk.bundle.signers[0].state = SignerStanding::Revoked;
    let revoked = desk.with(NOW, |state, deciding| state.create_token(deciding, wish(web())));
    assert_eq!(code(revoked), Code::NotSigner);
}

#[test]
fn old_tokens_leave_the_book() {
    let mut desk = Desk::new();
    desk.token(web());
    let later = NOW.after(TEN_MINUTES + TOKEN_MEMORY);
    desk.with(later, |state, _| state.forget_tokens(later));
    assert!(desk.state.tokens.is_empty());
}

#[test]
fn the_book_survives_the_disk() {
    let mut desk = Desk::new();
    let (token, key) = (desk.token(web()), desk.key());
    desk.join(&token, "vm-b", &key, NOW).unwrap();
    let bytes = crate::wire::encode(crate::wire::Kind::State, &desk.state).unwrap();
    let back: SignerState = crate::wire::decode(crate::wire::Kind::State, &bytes, crate::wire::STATE_LEN_MAX).unwrap();
    assert_eq!(back, desk.state);
}
