//! Who is in the cell: chitchat behind a façade, fed only what was verified, over mutually authenticated QUIC.

mod view;

pub use view::{Member, MemberState, MembersView};
