//! The supervision tree of a node and the state that it owns.
