//! Many nodes in one process on virtual time from one seed.
//!
//! - [`simulation`]: a thread in which time, randomness, network and disk come from a seed
//! - [`event_log`]: what happened, when, and to whom
//! - [`enrolment`]: the scenario of machines that join
//! - [`fleet`]: the scenario of whole nodes, with their actors
//! - [`membership`]: the scenario of a cell that forms
//! - [`policies`]: the scenario of signed policies
//! - [`mesh`]: a mesh and its enrolled nodes
//! - [`shim`]: the operating system's randomness, seeded inside a simulation

pub mod enrolment;
pub mod event_log;
pub mod fleet;
pub mod membership;
pub mod mesh;
pub mod policies;
pub mod shim;
pub mod simulation;

pub use event_log::{Event, EventLog};
pub use simulation::{Simulation, SimulationError};
