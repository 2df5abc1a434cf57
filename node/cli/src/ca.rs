//! `weft ca`: signers, roots and operators come and go. The root key is opened here, in the operator's process, and signs the next trust
//! bundle; the running node gets only the bundle, and the members fetch it from there.

use std::path::Path;
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use weft_actors::state::StateDir;
use weft_env::Env;
use weft_gossip::rotation::{self, Base, NewSigner, RootKeys};
use weft_identity::{
    Code, Failure, Fingerprint, Grants, KeyFile, KeyRole, MeshName, NodeId, OperatorEntry, PublicKey, ServiceName,
    SignedBundle, SignerStanding, SigningKey, bundle_from_text, bundle_text,
};
use weft_ledger::Hash;
use weft_world::admin::ca::{CaStatus, SeenRow};

use super::args::{CaCommand, KeyOptions, OperatorCommand, RootCommand, SignerCommand};
use super::client::ask;
use super::key::KeyPlace;
use super::output::{Output, table};
use super::passphrase::{self, Passphrase};
use super::remote::{with_times, without_milliseconds};

/// How long a change waits until every member has seen it; gossip needs a few seconds.
const SPREAD_WAIT: Duration = Duration::from_secs(20);
/// Space between two looks.
const SPREAD_POLL: Duration = Duration::from_millis(200);
/// Fewest characters of a fingerprint that name a root.
const PREFIX_LEN_MIN: usize = 8;

/// Where a command acts.
struct Place<'a> {
    env: &'a Env,
    dir: &'a Path,
    mesh: MeshName,
    status: CaStatus,
    held: SignedBundle,
    /// Where the node's ledger ends: up to there a retired key's word stands.
    tips: Vec<Hash>,
}

/// `weft ca`.
pub(super) async fn run(env: &Env, dir: &Path, output: Output, command: CaCommand) -> Result<(), Failure> {
    let place = async || Place::look(env, dir).await;
    let (place, next) = match command {
        CaCommand::Show => {
            let value = ask(dir, Method::GET, "/v1/ca", None).await?;
            output.result(&shown(&value), value);
            return Ok(());
        }
        CaCommand::Key { file, passphrase_file } => {
            return make_operator_key(env, dir, output, (&file, passphrase_file.as_deref()));
        }
        CaCommand::Signer { command } => signed(place().await?, |place| place.signer(command))?,
        CaCommand::Root { command } => signed(place().await?, |place| place.root(command))?,
        CaCommand::Operator { command } => signed(place().await?, |place| place.operator(command))?,
    };
    place.spread(output, &next).await
}

/// The next bundle, with the place that it is for.
fn signed<'a>(
    place: Place<'a>,
    sign: impl FnOnce(&Place<'a>) -> Result<SignedBundle, Failure>,
) -> Result<(Place<'a>, SignedBundle), Failure> {
    let next = sign(&place)?;
    Ok((place, next))
}

impl<'a> Place<'a> {
    async fn look(env: &'a Env, dir: &'a Path) -> Result<Self, Failure> {
        let status = status(dir).await?;
        let bundle = ask(dir, Method::GET, "/v1/bundle", None).await?;
        let held = bundle["bundle"].as_str().and_then(bundle_from_text);
        let held = held.ok_or_else(|| Failure::new(Code::Internal, "the node's answer holds no trust bundle"))?;
        let claim = held.claim().map_err(|error| Failure::new(Code::Internal, error.to_string()))?;
        let ledger = ask(dir, Method::GET, "/v1/ledger", None).await?;
        let tips = serde_json::from_value(ledger["tips"].clone());
        let tips = tips.map_err(|error| Failure::new(Code::Internal, format!("read the ledger's tips: {error}")))?;
        Ok(Self { env, dir, mesh: claim.mesh, status, held, tips })
    }

    fn base(&self) -> Base<'_> {
        Base { held: &self.held, now: self.env.clock.wall(), random: &self.env.random }
    }

    fn signer(&self, command: SignerCommand) -> Result<SignedBundle, Failure> {
        match command {
            SignerCommand::Add { node, scope, keys } => {
                let root = self.root_key(&keys)?;
                let key = self.signer_key(&node)?;
                rotation::add_signer(&self.base(), &NewSigner { node, key, scope: granted(scope) }, &root)
            }
            SignerCommand::Retire { node, keys } => {
                rotation::retire_signer(&self.base(), &node, &self.root_key(&keys)?)
            }
            SignerCommand::Revoke { node, anyway, keys } => {
                if !anyway {
                    self.check_retired(&node)?;
                    self.check_replaced()?;
                }
                rotation::revoke_signer(&self.base(), &node, &self.root_key(&keys)?)
            }
        }
    }

    fn root(&self, command: RootCommand) -> Result<SignedBundle, Failure> {
        match command {
            RootCommand::Prepare { new_root_key, keys } => {
                let (root, passphrase) = (self.root_key(&keys)?, self.passphrase(&keys)?);
                let prepared = self.new_key(&new_root_key, KeyRole::Root, &passphrase)?;
                rotation::prepare_root(&self.base(), &prepared, &root)
            }
            RootCommand::Activate { new_root_key, keys } => {
                let (root, passphrase) = (self.root_key(&keys)?, self.passphrase(&keys)?);
                let prepared = self.key_of("--new-root-key", &new_root_key, &passphrase)?;
                rotation::activate_root(&self.base(), RootKeys { active: &root, prepared: &prepared })
            }
            RootCommand::Taint { root, keys } => {
                rotation::taint_root(&self.base(), &self.fingerprint(&root)?, &self.root_key(&keys)?)
            }
            RootCommand::Revoke { root, anyway, keys } => {
                if !anyway {
                    self.check_replaced()?;
                }
                rotation::revoke_root(&self.base(), &self.fingerprint(&root)?, &self.root_key(&keys)?)
            }
        }
    }

    fn operator(&self, command: OperatorCommand) -> Result<SignedBundle, Failure> {
        match command {
            OperatorCommand::Add { new_operator_key, public_key: held, scope, ttl, keys } => {
                let (root, passphrase) = (self.root_key(&keys)?, self.passphrase(&keys)?);
                let key = match (new_operator_key, held) {
                    (Some(path), _) => self.new_key(&path, KeyRole::Operator, &passphrase)?.public(),
                    (None, Some(text)) => public_key(&text)?,
                    (None, None) => {
                        return Err(Failure::new(Code::UsageInvalid, "give a new key's file or a public key"));
                    }
                };
                let not_after = ttl.map(|ttl| self.env.clock.wall().after(ttl));
                let entry = OperatorEntry { not_after, ..OperatorEntry::active(key, granted(scope)) };
                rotation::add_operator(&self.base(), entry, &root)
            }
            OperatorCommand::Retire { key, keys } => {
                let root = self.root_key(&keys)?;
                rotation::retire_operator(&self.base(), &public_key(&key)?, &self.tips, &root)
            }
        }
    }

    /// Gives the node the bundle and waits until every member has seen it.
    async fn spread(&self, output: Output, next: &SignedBundle) -> Result<(), Failure> {
        let text = bundle_text(next).map_err(|error| Failure::new(Code::Internal, error.to_string()))?;
        let answer = ask(self.dir, Method::POST, "/v1/bundle", Some(json!({ "bundle": text }))).await?;
        let epoch = answer["epoch"].as_u64().unwrap_or_default();
        let deadline = self.env.clock.now() + SPREAD_WAIT;
        let lacking = loop {
            let members = status(self.dir).await?.members;
            let behind = members.into_iter().filter(|member| member.epoch < epoch);
            let lacking: Vec<_> = behind.map(|member| member.node.to_string()).collect();
            if lacking.is_empty() || self.env.clock.now() >= deadline {
                break lacking;
            }
            tokio::time::sleep(SPREAD_POLL).await;
        };
        let said = match lacking.as_slice() {
            [] => format!("trust bundle {epoch} is in force on every member"),
            names => format!("trust bundle {epoch} is in force here; not yet seen by {}", names.join(", ")),
        };
        output.result(&said, json!({ "epoch": epoch, "lacking": lacking }));
        Ok(())
    }

    /// What an active signer issued is in use: only once it is retired do the members replace it.
    fn check_retired(&self, node: &NodeId) -> Result<(), Failure> {
        let mut of_node = self.status.signers.iter().filter(|row| row.node == *node);
        if of_node.all(|row| row.state != SignerStanding::Active) {
            return Ok(());
        }
        let detail =
            format!("{node} is an active signer: retire it first, and wait until its certificates are replaced");
        Err(Failure::new(Code::RotationRefused, detail))
    }

    /// Revoking cuts off who still depends on what is revoked.
    fn check_replaced(&self) -> Result<(), Failure> {
        let depends = |member: &&SeenRow| member.epoch < self.status.epoch || member.outgoing > 0;
        let names: Vec<_> = self.status.members.iter().filter(depends).map(|one| one.node.to_string()).collect();
        if names.is_empty() {
            return Ok(());
        }
        let detail = format!("still to replace certificates, or to see the newest bundle: {}", names.join(", "));
        Err(Failure::new(Code::RotationRefused, detail))
    }

    /// The key that a member with the signer role made.
    fn signer_key(&self, node: &NodeId) -> Result<PublicKey, Failure> {
        let member = self.status.members.iter().find(|member| member.node == *node);
        let key = member.and_then(|member| member.signer_key.as_deref());
        let why =
            if member.is_some() { "has no signer role; join it with a token of --signer" } else { "is no member" };
        public_key(key.ok_or_else(|| Failure::new(Code::NotSigner, format!("node {node} {why}")))?)
    }

    /// The root that a fingerprint, or the start of one, names.
    fn fingerprint(&self, text: &str) -> Result<Fingerprint, Failure> {
        let matching: Vec<_> = self.status.roots.iter().filter(|row| row.root.starts_with(text)).collect();
        match matching.as_slice() {
            [row] if text.len() >= PREFIX_LEN_MIN => Ok(Fingerprint(raw_key(&row.root)?)),
            _ => {
                let detail = format!("{text:?} is not at least {PREFIX_LEN_MIN} characters of one root's fingerprint");
                Err(Failure::new(Code::UsageInvalid, detail))
            }
        }
    }

    fn passphrase(&self, keys: &KeyOptions) -> Result<String, Failure> {
        passphrase::for_old_key(self.env, KeyRole::Root, keys.passphrase_file.as_deref())
    }

    fn root_key(&self, keys: &KeyOptions) -> Result<SigningKey, Failure> {
        self.key_of("--root-key", &keys.root_key, &self.passphrase(keys)?)
    }

    fn key_of(&self, option: &'static str, path: &Path, passphrase: &str) -> Result<SigningKey, Failure> {
        let place = KeyPlace { option, path };
        let text = place.text(self.env, Code::KeyFileWrong)?;
        place.open(&text, (KeyRole::Root, &self.mesh), passphrase)
    }

    /// Makes a key and writes it, encrypted, to a file that must not exist.
    fn new_key(&self, path: &Path, role: KeyRole, passphrase: &str) -> Result<SigningKey, Failure> {
        new_key(self.env, path, (role, &self.mesh), passphrase)
    }
}

/// The key of an operator who has no root key at hand; its public half is for who has.
fn make_operator_key(env: &Env, dir: &Path, output: Output, files: (&Path, Option<&Path>)) -> Result<(), Failure> {
    let (path, passphrase_file) = files;
    let mesh = StateDir::new(env, dir).node_file()?.mesh;
    let (passphrase, made) = match passphrase::for_new_keys(env, passphrase_file)? {
        Passphrase::Given(text) => (text, None),
        Passphrase::Made(text) => (text.clone(), Some(text)),
    };
    let key = new_key(env, path, (KeyRole::Operator, &mesh), &passphrase)?.public().to_string();
    let mut said = format!("{key}\nlet the key change policies: weft ca operator add --public-key {key}");
    if let Some(passphrase) = &made {
        said.push_str(&format!("\nits passphrase, shown only now: {passphrase}"));
    }
    output.result(&said, json!({ "key": key, "passphrase": made }));
    Ok(())
}

/// Makes a key and writes it, encrypted, to a file that must not exist.
fn new_key(env: &Env, path: &Path, owner: (KeyRole, &MeshName), passphrase: &str) -> Result<SigningKey, Failure> {
    if env.disk.exists(path) {
        let detail = format!("{} exists; a new key is written to a new file", path.display());
        return Err(Failure::new(Code::UsageInvalid, detail));
    }
    let key = SigningKey::generate(&env.random);
    let text = KeyFile::seal(&key, owner, passphrase, &env.random)?;
    let unwritten = |error| Failure::new(Code::StateBroken, format!("write {}: {error}", path.display()));
    env.disk.write(path, text.as_bytes()).map_err(unwritten)?;
    Ok(key)
}

async fn status(dir: &Path) -> Result<CaStatus, Failure> {
    let value = ask(dir, Method::GET, "/v1/ca", None).await?;
    serde_json::from_value(value).map_err(|error| Failure::new(Code::Internal, format!("read the answer: {error}")))
}

fn granted(scope: Vec<ServiceName>) -> Grants {
    if scope.is_empty() { Grants::All } else { Grants::Only(scope.into_iter().collect()) }
}

fn public_key(text: &str) -> Result<PublicKey, Failure> {
    raw_key(text).map(PublicKey)
}

fn raw_key(text: &str) -> Result<[u8; 32], Failure> {
    let wrong = || Failure::new(Code::UsageInvalid, format!("{text:?} is not 64 hexadecimal digits"));
    let mut raw = [0; 32];
    if text.len() != 2 * raw.len() || !text.is_ascii() {
        return Err(wrong());
    }
    for (byte, at) in raw.iter_mut().zip((0..text.len()).step_by(2)) {
        *byte = u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| wrong())?;
    }
    Ok(raw)
}

/// `weft ca show` for people.
fn shown(value: &Value) -> String {
    let rows = |name: &str| value[name].as_array().cloned().unwrap_or_default();
    let timed = |name: &str| rows(name).into_iter().map(with_times).map(without_milliseconds).collect::<Vec<_>>();
    [
        format!("trust bundle {}", value["epoch"]),
        table(&timed("roots"), &["root", "state", "not_after"]),
        table(&timed("signers"), &["node", "state", "scope", "not_after", "root"]),
        table(&timed("operators"), &["key", "state", "scope", "not_after"]),
        table(&rows("members"), &["node", "epoch", "outgoing"]),
    ]
    .join("\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_64_hexadecimal_digits() {
        assert_eq!(raw_key(&"0a".repeat(32)).unwrap(), [10; 32]);
        for wrong in ["", "0a", &"0g".repeat(32), &"0a".repeat(33), &"é".repeat(32)] {
            assert_eq!(raw_key(wrong).unwrap_err().code, Code::UsageInvalid, "{wrong}");
        }
    }

    #[test]
    fn what_is_shown_names_standing_and_end() {
        let text = shown(&json!({
            "epoch": 3,
            "roots": [{ "root": "ab", "state": "active", "not_before_ms": 0, "not_after_ms": 1000 }],
            "signers": [], "operators": [],
            "members": [{ "node": "vm-a", "epoch": 2, "outgoing": 1, "signer_key": null }],
        }));
        assert!(text.contains("trust bundle 3") && text.contains("1970-01-01T00:00:01Z") && text.contains("active"));
        assert!(!text.contains("_MS") && text.contains("vm-a"), "{text}");
    }
}
