use std::future::poll_fn;
use std::time::Duration;

use futures_util::future::join;
use http::Method;
use tokio::time::timeout;
use weft_identity::SpiffeId;
use weft_world::opener::OpenHandle;

use super::*;
use crate::testing::{Mesh, policy, revoke};
use crate::worker::{DataPath, Placement};

/// What is watched, and what happens to it.
struct Post {
    path: DataPath,
    world: Arc<WorldCell>,
    gate: Arc<Gate>,
    handle: Box<dyn OpenHandle>,
}

impl Post {
    fn new(mesh: &Mesh) -> Self {
        let (path, world) = (mesh.path(Placement::Here), mesh.world(1, &[], &[]));
        let (gate, handle) = Gate::by_hand(path.first_worker());
        Self { path, world, gate, handle }
    }

    fn watch(&self, caller: Option<Chain>) -> Watch {
        Watch::new(self.path.first_worker(), &self.world, &self.gate, caller)
    }

    /// Changes the world as its actors do, and lets it be known.
    fn change(&self, change: impl Fn(&mut World)) {
        self.world.change(change);
        self.path.first_worker().bell().ring();
    }

    fn apply(&self, revision: u64, text: &str) {
        let policy = policy(revision, text);
        self.change(|world| world.policy = Arc::clone(&policy));
    }

    fn revoke(&self, node: &str) {
        revoke(&self.world, node);
        self.path.first_worker().bell().ring();
    }
}

/// Waits for what ends something open that does nothing.
async fn cut(watch: &mut Watch, footing: &Footing<'_>) -> Cut {
    watch.until(None, footing, |_| Poll::<()>::Pending).await.unwrap_err()
}

/// Whether it goes on for an hour.
async fn lasts(watch: &mut Watch, footing: &Footing<'_>) -> bool {
    timeout(Duration::from_secs(3_600), cut(watch, footing)).await.is_err()
}

fn code_of(cut: &Cut) -> Option<Code> {
    if let Cut::Refused(refusal) = cut { Some(refusal.code) } else { None }
}

fn authorisation(text: &str) -> String {
    format!("[[authorisation]]\nname = \"a\"\nservice = \"orders\"\n{text}\n")
}

#[tokio::test(start_paused = true)]
async fn a_wait_is_over_with_what_it_waits_for_or_when_it_is_due() {
    let mesh = Mesh::new(60);
    let post = Post::new(&mesh);
    let mut watch = post.watch(None);
    let (start, second) = (Instant::now(), Duration::from_secs(1));
    let footing = Footing::default();
    let never = watch.until(Some(start + second), &footing, |_| Poll::<()>::Pending).await;
    assert!(matches!(never, Err(Cut::Due)));
    assert_eq!(start.elapsed(), second);
    let mut sleep = std::pin::pin!(tokio::time::sleep(second));
    let done = watch.until(Some(start + second * 10), &footing, |cx| sleep.as_mut().poll(cx)).await;
    assert!(done.is_ok());
    assert_eq!(start.elapsed(), second * 2);
    // What is there is taken, however late it is.
    assert!(matches!(watch.until(Some(start), &footing, |_| Poll::Ready(7)).await, Ok(7)));
    assert!(lasts(&mut watch, &footing).await, "a time that was set before counts no more");
}

#[tokio::test(start_paused = true)]
async fn a_ring_cuts_a_stream_that_is_no_longer_allowed() {
    let mesh = Mesh::new(61);
    let post = Post::new(&mesh);
    let (identity, labels) = ("spiffe://bank/svc/web".parse::<SpiffeId>().unwrap(), Arc::default());
    let called = "orders".parse().unwrap();
    let caller = Caller { identity: &identity, labels: &labels };
    let permit = Permit { caller, called: &called, subject: Subject::Stream(Protocol::Tcp) };
    let footing = Footing { permit: Some(permit), ..Footing::default() };
    let mut watch = post.watch(None);
    post.apply(1, &authorisation("default = \"allow\""));
    assert!(lasts(&mut watch, &footing).await);
    let happens = async { post.apply(2, &authorisation("default = \"deny\"")) };
    let (cut_as, ()) = join(cut(&mut watch, &footing), happens).await;
    assert_eq!(code_of(&cut_as), Some(Code::NotAllowed));
    // Nobody who looks away for a moment gets around it.
    assert_eq!(code_of(&cut(&mut watch, &footing).await), Some(Code::NotAllowed));
    post.apply(3, &authorisation("[[authorisation.rule]]\naction = \"allow\"\nfrom = { services = [\"web\"] }"));
    assert!(lasts(&mut watch, &footing).await);
    let deny =
        "default = \"allow\"\n[[authorisation.rule]]\naction = \"deny\"\npaths = [\"/a\"]\nfrom = { any = true }";
    post.apply(4, &authorisation(deny));
    assert!(lasts(&mut watch, &footing).await, "of TCP, there are no requests");
}

#[tokio::test(start_paused = true)]
async fn a_ring_cuts_the_answer_to_a_request_by_what_its_head_says() {
    let mesh = Mesh::new(62);
    let post = Post::new(&mesh);
    let (identity, labels) = ("spiffe://bank/svc/web".parse::<SpiffeId>().unwrap(), Arc::default());
    let called = "orders".parse().unwrap();
    let head = RequestHead {
        method: Method::GET,
        authority: "Orders:80".into(),
        path: "/a/../Chat?x=1".into(),
        ..RequestHead::default()
    };
    let caller = Caller { identity: &identity, labels: &labels };
    let permit = Permit { caller, called: &called, subject: Subject::Request(&head) };
    let footing = Footing { permit: Some(permit), ..Footing::default() };
    let deny = |condition: &str| {
        let rule = "default = \"allow\"\n[[authorisation.rule]]\naction = \"deny\"\nfrom = { any = true }";
        authorisation(&format!("{rule}\n{condition}"))
    };
    let mut watch = post.watch(None);
    for (revision, condition, is_denied) in [
        (1, "paths = [\"/chat\"]", false),
        (2, "paths = [\"/Chat\"]", true),
        (3, "methods = [\"POST\"]", false),
        (4, "methods = [\"GET\"]", true),
        (5, "headers = [{ name = \"host\", value = \"web.weft.internal\" }]", false),
        (6, "headers = [{ name = \"host\", value = \"orders.weft.internal\" }]", true),
    ] {
        post.apply(revision, &deny(condition));
        if is_denied {
            assert_eq!(code_of(&cut(&mut watch, &footing).await), Some(Code::NotAllowed), "{condition}");
        } else {
            assert!(lasts(&mut watch, &footing).await, "{condition}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_ends_when_either_peer_is_no_longer_believed() {
    let mesh = Mesh::new(63);
    let post = Post::new(&mesh);
    let chain = |node: &str| -> Chain {
        mesh.issue(&format!("spiffe://bank/node/{node}"), &GrantedLabels::default()).chain.into()
    };
    let mut called = post.watch(Some(chain("vm-7")));
    let footing = Footing { peer: Some(chain("vm-8")), ..Footing::default() };
    let mut caller = post.watch(None);
    assert!(lasts(&mut called, &Footing::default()).await && lasts(&mut caller, &footing).await);
    post.revoke("vm-9");
    assert!(lasts(&mut called, &Footing::default()).await && lasts(&mut caller, &footing).await);
    post.revoke("vm-7");
    assert_eq!(code_of(&cut(&mut called, &Footing::default()).await), Some(Code::IdentityRefused));
    assert!(lasts(&mut caller, &footing).await);
    post.revoke("vm-8");
    assert_eq!(code_of(&cut(&mut caller, &footing).await), Some(Code::IdentityRefused));
}

#[tokio::test(start_paused = true)]
async fn what_happened_before_it_was_watched_is_looked_at() {
    let mesh = Mesh::new(64);
    let post = Post::new(&mesh);
    let chain: Chain = mesh.issue("spiffe://bank/node/vm-7", &GrantedLabels::default()).chain.into();
    post.revoke("vm-7");
    let mut late = post.watch(Some(chain));
    assert_eq!(code_of(&cut(&mut late, &Footing::default()).await), Some(Code::IdentityRefused));
    let mut another = late.another(post.path.first_worker());
    assert_eq!(code_of(&cut(&mut another, &Footing::default()).await), Some(Code::IdentityRefused));
}

#[tokio::test(start_paused = true)]
async fn what_changed_since_it_was_decided_is_looked_at_again_with_its_footing() {
    let mesh = Mesh::new(65);
    let post = Post::new(&mesh);
    let (identity, labels) = ("spiffe://bank/svc/web".parse::<SpiffeId>().unwrap(), Arc::default());
    let called = "orders".parse().unwrap();
    let caller = Caller { identity: &identity, labels: &labels };
    let permit = Permit { caller, called: &called, subject: Subject::Stream(Protocol::Tcp) };
    let footing = Footing { permit: Some(permit), ..Footing::default() };
    let mut watch = post.watch(None);
    let heard = watch.heard();
    // While it waits for a connection, nothing rests on the permit yet.
    post.apply(1, &authorisation("default = \"deny\""));
    assert!(lasts(&mut watch, &Footing::default()).await);
    assert!(lasts(&mut watch, &footing).await, "it was heard, and is over");
    watch.rests_since(heard);
    assert_eq!(code_of(&cut(&mut watch, &footing).await), Some(Code::NotAllowed));
}

#[tokio::test(start_paused = true)]
async fn what_was_opened_with_a_label_ends_when_the_node_loses_it() {
    let mut mesh = Mesh::new(66);
    mesh.labels.insert(1, "team=payments".parse().unwrap());
    let post = Post::new(&mesh);
    let labels: Arc<GrantedLabels> = Arc::new("team=payments".parse().unwrap());
    let footing = Footing { labels: Some(&labels), ..Footing::default() };
    let mut watch = post.watch(None);
    assert!(lasts(&mut watch, &footing).await);
    mesh.labels.insert(1, "team=reports".parse().unwrap());
    let other = mesh.credentials(1, &[]);
    post.change(|world| world.credentials = Arc::clone(&other));
    assert_eq!(code_of(&cut(&mut watch, &footing).await), Some(Code::NotAllowed));
    assert!(lasts(&mut watch, &Footing::default()).await, "what needs no label stays");
}

#[tokio::test(start_paused = true)]
async fn a_listener_that_drains_ends_nothing_and_one_that_closes_everything() {
    let mesh = Mesh::new(67);
    let post = Post::new(&mesh);
    let mut watch = post.watch(None);
    assert!(!watch.is_draining());
    post.handle.stop_accepting();
    assert!(watch.is_draining());
    assert!(lasts(&mut watch, &Footing::default()).await);
    let Post { path, handle, .. } = post;
    let happens = async { drop(handle) };
    let (cut_as, ()) = join(cut(&mut watch, &Footing::default()), happens).await;
    assert!(matches!(cut_as, Cut::Closed));
    drop(path);
}

#[tokio::test(start_paused = true)]
async fn an_old_connection_comes_to_its_end_without_being_cut() {
    let mesh = Mesh::new(68);
    let post = Post::new(&mesh);
    let mut watch = post.watch(None);
    watch.ages_at(Some(Instant::now() + Duration::from_secs(60)));
    assert!(!watch.is_draining());
    tokio::time::advance(Duration::from_secs(60)).await;
    assert!(watch.is_draining());
    assert!(lasts(&mut watch, &Footing::default()).await);
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_is_woken_by_the_ring_alone() {
    let mesh = Mesh::new(69);
    let post = Post::new(&mesh);
    let chain: Chain = mesh.issue("spiffe://bank/node/vm-7", &GrantedLabels::default()).chain.into();
    let mut watch = post.watch(Some(chain));
    let waiting = tokio::spawn(async move {
        let footing = Footing::default();
        let mut polls = 0;
        let cut = poll_fn(|cx| {
            polls += 1;
            watch.poll_cut(cx, &footing)
        });
        (cut.await, polls)
    });
    tokio::task::yield_now().await;
    post.revoke("vm-7");
    let (cut, polls) = waiting.await.unwrap();
    assert_eq!((code_of(&cut), polls), (Some(Code::IdentityRefused), 2));
}
