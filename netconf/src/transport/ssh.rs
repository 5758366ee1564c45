//! SSH (RFC 6242) as a transport: the only file that names `russh`, with the modules below it.

mod host_key;

pub use host_key::HostKey;
