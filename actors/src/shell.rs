//! The one ractor actor of this crate: a shell around a [`Role`], which is an actor's state and what it does with a message.
//! It frees the place in the mailbox, and turns a failure into a restart by the supervisor.

use std::future::Future;
use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use weft_identity::Failure;

use crate::address::{Address, Post};
use crate::supervisor::ChildSpec;

/// What an actor is: its state and what it does with each message.
pub(crate) trait Role: Send + Sync + Sized + 'static {
    /// What it is sent.
    type Message: Send + 'static;
    /// What it is made from at each start; what must survive a crash lives in here, behind an `Arc`.
    type Seed: Clone + Send + Sync + 'static;

    /// Makes the state. A failure counts as a crash.
    fn start(seed: Self::Seed) -> impl Future<Output = Result<Self, Failure>> + Send;

    /// Takes one message. A failure means: restart me.
    fn handle(&mut self, message: Self::Message) -> impl Future<Output = Result<(), Failure>> + Send;

    /// The last act of an ordered stop; a crash skips it.
    fn stop(&mut self) -> impl Future<Output = ()> + Send {
        async {}
    }
}

struct Shell<R>(std::marker::PhantomData<fn() -> R>);

impl<R: Role> Actor for Shell<R> {
    type Msg = Post<R::Message>;
    type State = R;
    type Arguments = (R::Seed, Address<R::Message>);

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        arguments: Self::Arguments,
    ) -> Result<R, ActorProcessingErr> {
        let (seed, address) = arguments;
        // Before the start, so that what the role sends to itself there arrives.
        address.lead_to(myself);
        Ok(R::start(seed).await?)
    }

    async fn handle(&self, _: ActorRef<Self::Msg>, post: Self::Msg, role: &mut R) -> Result<(), ActorProcessingErr> {
        match post {
            Post::Message(message, permit) => {
                drop(permit);
                Ok(role.handle(message).await?)
            }
            Post::Crash => panic!("a crash was asked for"),
        }
    }

    async fn post_stop(&self, _: ActorRef<Self::Msg>, role: &mut R) -> Result<(), ActorProcessingErr> {
        role.stop().await;
        Ok(())
    }
}

/// The specification of an actor as a supervisor's child.
pub(crate) fn child<R: Role>(address: &Address<R::Message>, seed: R::Seed) -> ChildSpec {
    let address = address.clone();
    ChildSpec {
        name: address.name(),
        start: Arc::new(move |supervisor| {
            let arguments = (seed.clone(), address.clone());
            Box::pin(async move {
                let shell = Shell::<R>(std::marker::PhantomData);
                let (actor, _) = Actor::spawn_linked(None, shell, arguments, supervisor).await?;
                Ok(actor.get_cell())
            })
        }),
    }
}
