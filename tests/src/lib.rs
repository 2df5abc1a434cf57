//! Real processes and sockets, and the checks of the house rules.
