use weft_identity::testing::{self, NOW, TestMesh};
use weft_identity::{LEAF_LIFETIME, SignerEntry, SignerStanding, SigningKey, peer_labels};

use super::*;
use crate::enrol::CertificateWish;
use crate::membership::NODES_DEFAULT;

const TEN_MINUTES: Duration = Duration::from_secs(600);

struct Desk {
    mesh: TestMesh,
    bundle: TrustBundle,
    revocations: Revocations,
    members: MembersView,
    nodes_max: usize,
    state: SignerState,
}

impl Desk {
    fn new() -> Self {
        let mesh = testing::mesh();
        Self {
            bundle: mesh.bundle(),
            revocations: Revocations::default(),
            members: MembersView::default(),
            nodes_max: NODES_DEFAULT,
            state: SignerState::founded(&mesh.seed.enrolment.claim().unwrap()),
            mesh,
        }
    }

    fn with<T>(&mut self, now: Timestamp, act: impl FnOnce(&mut SignerState, &Deciding<'_>) -> T) -> T {
        let deciding = Deciding {
            issuer: &self.mesh.seed.issuer,
            bundle: &self.bundle,
            revocations: &self.revocations,
            members: &self.members,
            nodes_max: self.nodes_max,
            lifetime: LEAF_LIFETIME,
            now,
            random: &self.mesh.random,
        };
        act(&mut self.state, &deciding)
    }

    fn token(&mut self, grants: Grants) -> JoinToken {
        self.token_with(grants, LabelChanges::default())
    }

    fn token_with(&mut self, grants: Grants, labels: LabelChanges) -> JoinToken {
        let wish = TokenWish {
            grants,
            roles: Roles::default(),
            labels,
            cell: "default".parse().unwrap(),
            time_to_live: TEN_MINUTES,
            seeds: vec!["127.0.0.1:4510".parse().unwrap()],
        };
        self.with(NOW, |state, deciding| state.create_token(deciding, wish)).unwrap()
    }

    fn join(&mut self, token: &JoinToken, node: &str, key: &SigningKey, now: Timestamp) -> Result<Admission, Failure> {
        self.join_with(token, (node, key), now, None)
    }

    fn join_with(
        &mut self,
        token: &JoinToken,
        (node, key): (&str, &SigningKey),
        now: Timestamp,
        enrolment: Option<SignedEnrolment>,
    ) -> Result<Admission, Failure> {
        let request = JoinRequest {
            token: token.id,
            secret: token.secret.clone(),
            node: node.parse().unwrap(),
            key: key.public(),
            certificate_key: key.public(),
            enrolment,
        };
        let before = self.state.clone();
        let decided = self.with(now, |state, deciding| state.decide_join(deciding, &request));
        if decided.is_err() {
            assert_eq!(self.state, before, "a refusal changes nothing");
        }
        decided
    }

    fn certify(&mut self, enrolment: &SignedEnrolment, ids: &[&str]) -> Result<Certification, Failure> {
        let key = SigningKey::generate(&self.mesh.random).public();
        let wishes = ids.iter().map(|id| CertificateWish { id: id.parse().unwrap(), key }).collect();
        let request = CertifyRequest { enrolment: enrolment.clone(), epoch: 1, wishes };
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
    let certified = desk.certify(&enrolment, &["spiffe://bank/node/vm-b", "spiffe://bank/svc/web"]).unwrap();
    assert_eq!((certified.chains.len(), certified.enrolment), (2, None));
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
fn revoked_nodes_keys_and_tokens_get_nothing() {
    let mut desk = Desk::new();
    let (token, key) = (desk.token(web()), desk.key());
    let enrolment = desk.join(&token, "vm-b", &key, NOW).unwrap().enrolment;
    for revocations in [
        Revocations { nodes: ["vm-b".parse().unwrap()].into(), ..Revocations::default() },
        Revocations { keys: [key.public()].into(), ..Revocations::default() },
    ] {
        desk.revocations = revocations;
        assert_eq!(code(desk.certify(&enrolment, &["spiffe://bank/svc/web"])), Code::EnrolmentRefused);
        let again = desk.token(web());
        assert_eq!(code(desk.join(&again, "vm-b", &key, NOW)), Code::EnrolmentRefused);
    }
    desk.revocations = Revocations::default();
    let lost = desk.token(web());
    desk.revocations.tokens.insert(lost.id);
    let other = desk.key();
    assert_eq!(code(desk.join(&lost, "vm-c", &other, NOW)), Code::TokenUnknown);
}

#[test]
fn a_full_cell_admits_no_further_node_but_its_own_again() {
    let mut desk = Desk::new();
    desk.nodes_max = 3;
    let keys: Vec<_> = (0..4).map(|_| desk.key()).collect();
    let mut join = |number: usize, now| {
        let token = desk.token(web());
        desk.join(&token, &format!("vm-{number}"), &keys[number], now)
    };
    // The founder is one; the cell is not seen, so everybody in the book counts.
    join(0, NOW).unwrap();
    join(1, NOW).unwrap();
    assert_eq!(code(join(2, NOW)), Code::CellFull);
    assert!(join(1, NOW.after(Duration::from_secs(120))).is_ok(), "it is in already");
    desk.nodes_max = usize::MAX;
    for number in desk.state.enrolled.len()..NODES_MAX {
        let entry = desk.state.enrolled.values().next().unwrap().clone();
        desk.state.enrolled.insert(format!("x-{number}").parse().unwrap(), entry);
    }
    let token = desk.token(web());
    assert_eq!(code(desk.join(&token, "vm-3", &keys[3], NOW)), Code::CellFull, "no setting admits more");
}

/// A second signer of the mesh, as its bundle names it, with an empty book.
fn second_signer(desk: &Desk) -> (Desk, SignerEntry) {
    let mut second = Desk::new();
    let (key, node) = (SigningKey::generate(&desk.mesh.random), NodeId::try_from("vm-s".to_owned()).unwrap());
    let certificate = weft_identity::signer_certificate(
        &desk.bundle.mesh,
        (&node, &key.public()),
        &desk.mesh.seed.root_key,
        NOW,
        &desk.mesh.random,
    )
    .unwrap();
    let entry = SignerEntry {
        node: node.clone(),
        certificate: certificate.to_vec(),
        key: key.public(),
        ..desk.bundle.signers[0].clone()
    };
    second.mesh.seed.issuer = Issuer { mesh: desk.bundle.mesh.clone(), node, certificate, key };
    second.bundle.signers.push(entry.clone());
    second.state = SignerState::default();
    (second, entry)
}

#[test]
fn a_second_signer_keeps_grants_and_takes_over_from_one_that_issues_no_more() {
    let mut first = Desk::new();
    let (token, key) = (first.token(web()), first.key());
    let enrolment = first.join(&token, "vm-b", &key, NOW).unwrap().enrolment;
    let (mut second, _) = second_signer(&first);
    let more = second.token(Grants::Only(["api".parse().unwrap()].into()));
    let joined = second.join_with(&more, ("vm-b", &key), NOW, Some(enrolment.clone())).unwrap();
    let says = Enrolment::verify(&joined.enrolment, &second.bundle).unwrap();
    assert_eq!(says.grants, Grants::Only(["api".parse().unwrap(), "web".parse().unwrap()].into()));
    assert!(says.serial > enrolment.claim().unwrap().serial);
    // Somebody else's enrolment gives nothing.
    let (more, other) = (second.token(Grants::none()), second.key());
    let thief = second.join_with(&more, ("vm-c", &other), NOW, Some(enrolment.clone())).unwrap();
    assert_eq!(Enrolment::verify(&thief.enrolment, &second.bundle).unwrap().grants, Grants::none());

    let (mut second, _) = second_signer(&first);
    assert_eq!(second.certify(&enrolment, &["spiffe://bank/svc/web"]).unwrap().enrolment, None);
    second.bundle.signers[0].state = SignerStanding::Tainted;
    let certified = second.certify(&enrolment, &["spiffe://bank/svc/web"]).unwrap();
    let taken = Enrolment::verify(&certified.enrolment.unwrap(), &second.bundle).unwrap();
    assert_eq!((taken.signer.as_str(), taken.grants, taken.serial), ("vm-s", web(), 3));
    second.bundle.signers[0].state = SignerStanding::Revoked;
    assert_eq!(code(second.certify(&enrolment, &["spiffe://bank/svc/web"])), Code::EnrolmentRefused);
}

#[test]
fn a_newer_enrolment_of_the_book_comes_with_the_certificates() {
    let mut desk = Desk::new();
    let (first, second) = (desk.token(web()), desk.token(Grants::Only(["api".parse().unwrap()].into())));
    let key = desk.key();
    let old = desk.join(&first, "vm-b", &key, NOW).unwrap().enrolment;
    let newer = desk.join(&second, "vm-b", &key, NOW).unwrap().enrolment;
    let certified = desk.certify(&old, &["spiffe://bank/svc/api"]).unwrap();
    assert_eq!(certified.enrolment, Some(newer.clone()), "made again, byte for byte");
    assert_eq!(desk.certify(&newer, &["spiffe://bank/svc/api"]).unwrap().enrolment, None);
}

fn changes(granted: &[(&str, &str)], removed: &[&str]) -> LabelChanges {
    let granted = granted.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    LabelChanges::new(granted, removed.iter().map(|name| (*name).to_owned())).unwrap()
}

/// What an admission's enrolment and its certificate say, which must be the same.
fn labels_of(desk: &Desk, admission: &Admission) -> String {
    let says = Enrolment::verify(&admission.enrolment, &desk.bundle).unwrap().labels;
    assert_eq!(labels_in(&admission.chain), says.to_string());
    says.to_string()
}

fn labels_in(chain: &[Vec<u8>]) -> String {
    let chain: Vec<_> = chain.iter().cloned().map(rustls_pki_types::CertificateDer::from).collect();
    peer_labels(&chain).unwrap().to_string()
}

#[test]
fn labels_come_from_tokens_and_stand_in_every_certificate() {
    let mut desk = Desk::new();
    let key = desk.key();
    let token = desk.token_with(web(), changes(&[("team", "payments"), ("env", "live")], &[]));
    let first = desk.join(&token, "vm-b", &key, NOW).unwrap();
    assert_eq!(labels_of(&desk, &first), "env=live,team=payments");
    let certified = desk.certify(&first.enrolment, &["spiffe://bank/node/vm-b", "spiffe://bank/svc/web"]).unwrap();
    for chain in &certified.chains {
        assert_eq!(labels_in(chain), "env=live,team=payments");
    }

    // What a later token does not name stays; what it names is changed or goes.
    let token = desk.token(web());
    let again = desk.join(&token, "vm-b", &key, NOW).unwrap();
    assert_eq!(labels_of(&desk, &again), "env=live,team=payments");
    let other = desk.token_with(Grants::none(), changes(&[("team", "web")], &["env"]));
    let changed = desk.join(&other, "vm-b", &key, NOW).unwrap();
    assert_eq!(labels_of(&desk, &changed), "team=web");

    // The enrolment of before brings nothing back at the signer that knows better; nor does a token that was used.
    let certified = desk.certify(&first.enrolment, &["spiffe://bank/svc/web"]).unwrap();
    assert_eq!(labels_in(&certified.chains[0]), "team=web");
    assert_eq!(certified.enrolment, Some(changed.enrolment.clone()));
    let gone = desk.token_with(Grants::none(), changes(&[], &["team"]));
    let removed = desk.join(&gone, "vm-b", &key, NOW).unwrap();
    assert_eq!(labels_of(&desk, &removed), "");
    let soon = NOW.after(Duration::from_secs(30));
    let replayed = desk.join_with(&other, ("vm-b", &key), soon, Some(changed.enrolment)).unwrap();
    assert_eq!(labels_of(&desk, &replayed), "", "the same token again is no news");
}

#[test]
fn a_node_gets_no_labels_by_asking() {
    let mut desk = Desk::new();
    let key = desk.key();
    let token = desk.token(web());
    let joined = desk.join(&token, "vm-b", &key, NOW).unwrap();
    let mut claim = joined.enrolment.claim().unwrap();
    claim.labels = "team=payments".parse().unwrap();
    let forged = Signed::sign(&claim, ENROLMENT_CONTEXT, &key).unwrap();
    assert_eq!(code(desk.certify(&forged, &["spiffe://bank/svc/web"])), Code::EnrolmentRefused);
    let token = desk.token(web());
    let again = desk.join_with(&token, ("vm-b", &key), NOW, Some(forged)).unwrap();
    assert_eq!(labels_of(&desk, &again), "");
}

#[test]
fn labels_have_bounds_and_need_a_signer_without_a_scope() {
    let mut desk = Desk::new();
    let key = desk.key();
    let names: Vec<String> = (0..8).map(|number| format!("n{number}")).collect();
    let eight: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "v")).collect();
    let token = desk.token_with(web(), changes(&eight, &[]));
    let full = desk.join(&token, "vm-b", &key, NOW).unwrap();
    let token = desk.token_with(web(), changes(&[("ninth", "v")], &[]));
    assert_eq!(code(desk.join(&token, "vm-b", &key, NOW)), Code::UsageInvalid);

    desk.bundle.signers[0].scope = web();
    let wish = |labels| TokenWish {
        grants: web(),
        roles: Roles::default(),
        labels,
        cell: "default".parse().unwrap(),
        time_to_live: TEN_MINUTES,
        seeds: Vec::new(),
    };
    let granted = changes(&[("team", "payments")], &[]);
    let refused = desk.with(NOW, |state, deciding| state.create_token(deciding, wish(granted.clone())));
    assert_eq!(code(refused), Code::GrantMissing);
    assert!(desk.with(NOW, |state, deciding| state.create_token(deciding, wish(changes(&[], &["team"])))).is_ok());
    // Nobody believes an enrolment with labels of a signer that may not grant them.
    assert_eq!(code(desk.certify(&full.enrolment, &["spiffe://bank/svc/web"])), Code::EnrolmentRefused);

    // Nor does such a signer write the labels that another granted.
    let first = Desk::new();
    let (mut second, _) = second_signer(&first);
    second.bundle.signers[1].scope = web();
    let mut labelled = full.enrolment.claim().unwrap();
    labelled.labels = "team=payments".parse().unwrap();
    let labelled = Signed::sign(&labelled, ENROLMENT_CONTEXT, &first.mesh.seed.issuer.key).unwrap();
    assert_eq!(code(second.certify(&labelled, &["spiffe://bank/svc/web"])), Code::GrantMissing);
}

#[test]
fn a_second_signer_keeps_labels_of_the_newest_enrolment() {
    let mut first = Desk::new();
    let key = first.key();
    let token = first.token_with(web(), changes(&[("team", "payments")], &[]));
    let enrolment = first.join(&token, "vm-b", &key, NOW).unwrap().enrolment;
    let (mut second, _) = second_signer(&first);
    let token = second.token_with(web(), changes(&[("env", "live")], &[]));
    let joined = second.join_with(&token, ("vm-b", &key), NOW, Some(enrolment.clone())).unwrap();
    assert_eq!(labels_of(&second, &joined), "env=live,team=payments");
    let certified = second.certify(&enrolment, &["spiffe://bank/svc/web"]).unwrap();
    assert_eq!(labels_in(&certified.chains[0]), "env=live,team=payments", "its book is newer");
    let (mut third, _) = second_signer(&first);
    third.bundle.signers[0].state = SignerStanding::Tainted;
    let certified = third.certify(&enrolment, &["spiffe://bank/svc/web"]).unwrap();
    let taken = Enrolment::verify(&certified.enrolment.unwrap(), &third.bundle).unwrap();
    assert_eq!(taken.labels.to_string(), "team=payments");
}

#[test]
fn a_signer_out_of_office_or_scope_or_bounds_creates_no_token() {
    let mut desk = Desk::new();
    let wish = |grants| TokenWish {
        grants,
        roles: Roles::default(),
        labels: LabelChanges::default(),
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
    let bytes = weft_identity::wire::encode(weft_identity::wire::Kind::State, &desk.state).unwrap();
    let back: SignerState =
        weft_identity::wire::decode(weft_identity::wire::Kind::State, &bytes, weft_identity::wire::STATE_LEN_MAX)
            .unwrap();
    assert_eq!(back, desk.state);
}
