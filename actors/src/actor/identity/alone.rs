//! A node that hears nobody. It may be its own certificate: if its key was revoked, the others refuse what it shows before it can hear of
//! that. So it gets itself a certificate for a new key, for which a signer asks to see the enrolled key alone.

use std::time::Duration;

use tokio::time::Instant;
use weft_gossip::membership::MemberState;

use crate::core::Core;

/// So long nobody is heard before the first such renewal; a start takes less.
const WAIT_MIN: Duration = Duration::from_secs(10);
/// Each further one comes after twice the time, up to this: it makes the node's connections anew, which may be good ones where only
/// gossip is cut.
const WAIT_MAX: Duration = Duration::from_secs(600);

/// When a node that hears nobody renews; nothing while it hears somebody.
#[derive(Debug, Default)]
pub(super) struct Alone(Option<(Instant, Duration)>);

impl Alone {
    /// Whether it is time to renew; then the next wait begins.
    pub(super) fn is_over(&mut self, core: &Core) -> bool {
        if !is_alone(core) {
            self.0 = None;
            return false;
        }
        let now = core.env.clock.now();
        let (until, wait) = *self.0.get_or_insert((now + WAIT_MIN, WAIT_MIN));
        if now < until {
            return false;
        }
        let longer = (wait * 2).min(WAIT_MAX);
        self.0 = Some((now + core.env.random.jitter(longer, 0.25), longer));
        true
    }
}

/// Whether this node knows others and hears none of them.
pub(super) fn is_alone(core: &Core) -> bool {
    let view = core.members.borrow();
    let mut others = view.members.values().filter(|member| member.record.node != core.file.node).peekable();
    (others.peek().is_some() || !core.file.seeds.is_empty()) && others.all(|one| one.state != MemberState::Alive)
}
