//! Streams of packets over tunnels while something happens to them.
