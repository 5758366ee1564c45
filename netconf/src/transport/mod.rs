//! What carries bytes between two peers.

pub mod ssh;
