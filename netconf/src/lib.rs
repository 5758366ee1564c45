//! NETCONF (RFC 6241) over SSH (RFC 6242): framing, messages, an async client and server.
//!
//! Owns bytes and messages on the wire. Knows no schema: payloads are [`xml::Fragment`]s that somebody else reads.
//!
//! The layers, from the wire up: [`transport`] carries bytes, [`framing`] cuts them into messages, [`xml`] reads those
//! under limits, [`message`] gives them types. [`server`] and [`client`] put the layers together.
//!
//! ```no_run
//! # async fn example() -> Result<(), tranche_netconf::Error> {
//! use tranche_netconf::client::{Auth, Client, ClientConfig, HostKeyCheck};
//! use tranche_netconf::message::Datastore;
//!
//! let config = ClientConfig::new(
//!     "192.0.2.1:830",
//!     "admin",
//!     Auth::KeyFile("/etc/tranche/id_ed25519".into()),
//!     HostKeyCheck::Pinned("SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU".into()),
//! );
//! let (client, _notifications) = Client::connect(config).await?;
//! let running = client.get_config(Datastore::Running, None, None).await?;
//! println!("{running}");
//! client.close_session().await?;
//! # Ok(())
//! # }
//! ```
//!
//! A server is a [`server::Handler`]; `examples/memo.rs` is a whole one.

pub mod capability;
pub mod client;
pub mod error;
pub mod framing;
pub mod message;
pub mod open_files;
pub mod server;
pub mod transport;
pub mod xml;

pub use error::{Error, RpcError};
