//! RFC 6242 framing.
