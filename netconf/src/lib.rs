//! NETCONF (RFC 6241) over SSH (RFC 6242): framing, messages, an async client and server.
//!
//! Owns bytes and messages on the wire. Knows no schema: payloads are [`xml::Fragment`]s that somebody else reads.
//!
//! The layers, from the wire up: [`transport`] carries bytes, [`framing`] cuts them into messages, [`xml`] reads those
//! under limits, [`message`] gives them types. [`server`] and [`client`] put the layers together.

pub mod capability;
pub mod client;
pub mod error;
pub mod framing;
pub mod message;
pub mod server;
pub mod transport;
pub mod xml;

pub use error::{Error, RpcError};
