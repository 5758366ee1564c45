//! NETCONF (RFC 6241) over SSH (RFC 6242): framing, messages, an async client and server.
//!
//! Owns bytes and messages on the wire. Knows no schema: payloads are [`xml::Fragment`]s that somebody else reads.

pub mod error;
pub mod message;
pub mod xml;
