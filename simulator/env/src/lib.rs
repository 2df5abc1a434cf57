//! The seam between Weft and the machine: clock, randomness, network, disk.
