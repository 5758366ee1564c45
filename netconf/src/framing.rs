//! RFC 6242 framing, both mechanisms and both ways: bytes in, messages out. No I/O, no XML.
//!
//! ```text
//! end-of-message (4.3)   <message> "]]>]]>"
//! chunked (4.2)          1*( LF "#" <size> LF <size bytes> ) LF "##" LF
//! ```

use bytes::{Buf, BytesMut};

/// What ends a message in end-of-message framing.
const END_OF_MESSAGE: &[u8] = b"]]>]]>";
/// What ends a message in chunked framing.
const END_OF_CHUNKS: &[u8] = b"\n##\n";
/// The largest chunk RFC 6242 4.2 allows.
const MAX_CHUNK: usize = u32::MAX as usize;

/// How messages are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Framing {
    /// Ended by `]]>]]>`: for hellos, and throughout with `:base:1.0` peers.
    EndOfMessage,
    /// Cut into chunks: after the hellos where both peers have `:base:1.1`.
    Chunked,
}

/// Bytes that are no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FramingError {
    /// A message is longer than allowed.
    #[error("message longer than {limit} bytes")]
    TooLong {
        /// The limit in bytes.
        limit: usize,
    },
    /// A chunk or the end of chunks does not begin as it must.
    #[error("expected {expected} where a chunk begins, got byte 0x{got:02x}")]
    BadChunkStart {
        /// What should have been there.
        expected: &'static str,
        /// What was.
        got: u8,
    },
    /// A chunk size that is not 1 to 4294967295 in decimal without leading zero.
    #[error("chunk size {text:?} is not a number from 1 to 4294967295 without leading zero")]
    BadChunkSize {
        /// The size as far as it was read.
        text: String,
    },
    /// A message of no chunk at all.
    #[error("end of chunks before any chunk")]
    NoChunk,
    /// A message to be sent holds what would end it.
    #[error("the message holds \"]]>]]>\", which ends a message in end-of-message framing")]
    TerminatorInside,
}

/// Where in chunked framing the next byte is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ChunkState {
    /// At the line feed before a chunk or the end.
    LineFeed,
    /// At the `#` after it.
    Hash,
    /// At the first digit of a size, or the second `#` of the end.
    SizeOrEnd,
    /// Among the digits of a size, this far.
    Size(u64),
    /// Among the bytes of a chunk, so many to go.
    Data(usize),
    /// At the line feed that ends a message.
    End,
}

/// Cuts a stream of bytes into messages. Work is linear in the bytes, however they are split.
#[derive(Debug)]
pub struct Decoder {
    framing: Framing,
    max_message_bytes: usize,
    input: BytesMut,
    /// End-of-message: how much of `input` cannot begin a terminator.
    searched: usize,
    state: ChunkState,
    message: Vec<u8>,
}

impl Decoder {
    /// A decoder that refuses messages of more than `max_message_bytes`.
    #[must_use]
    pub fn new(framing: Framing, max_message_bytes: usize) -> Self {
        Self {
            framing,
            max_message_bytes,
            input: BytesMut::new(),
            searched: 0,
            state: ChunkState::LineFeed,
            message: Vec::new(),
        }
    }

    /// Continues with another framing and limit, from the byte after the last message that [`Decoder::next_message`] gave.
    pub fn switch(&mut self, framing: Framing, max_message_bytes: usize) {
        self.framing = framing;
        self.max_message_bytes = max_message_bytes;
        self.searched = 0;
    }

    /// Takes bytes from the peer.
    pub fn push(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    /// Bytes taken that belong to no message given yet.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.input.len() + self.message.len()
    }

    /// The next complete message; none where more bytes are needed.
    ///
    /// # Errors
    /// When the bytes are no message; nothing sensible can follow then.
    pub fn next_message(&mut self) -> Result<Option<Vec<u8>>, FramingError> {
        match self.framing {
            Framing::EndOfMessage => self.next_terminated(),
            Framing::Chunked => self.next_chunked(),
        }
    }

    fn next_terminated(&mut self) -> Result<Option<Vec<u8>>, FramingError> {
        let limit = self.max_message_bytes;
        if let Some(found) = find(&self.input[self.searched..], END_OF_MESSAGE) {
            let length = self.searched + found;
            if length > limit {
                return Err(FramingError::TooLong { limit });
            }
            let message = self.input.split_to(length).to_vec();
            self.input.advance(END_OF_MESSAGE.len());
            self.searched = 0;
            return Ok(Some(message));
        }
        self.searched = self.input.len().saturating_sub(END_OF_MESSAGE.len() - 1);
        if self.searched > limit {
            return Err(FramingError::TooLong { limit });
        }
        Ok(None)
    }

    fn next_chunked(&mut self) -> Result<Option<Vec<u8>>, FramingError> {
        while let Some(&byte) = self.input.first() {
            if let ChunkState::Data(left) = self.state {
                self.take_data(left);
                continue;
            }
            self.state = self.header_byte(byte)?;
            self.input.advance(1);
            if self.state == ChunkState::LineFeed {
                return Ok(Some(std::mem::take(&mut self.message)));
            }
        }
        Ok(None)
    }

    /// The state after one byte outside chunk data; `LineFeed` says that a message is complete.
    fn header_byte(&self, byte: u8) -> Result<ChunkState, FramingError> {
        let unexpected = |expected| FramingError::BadChunkStart {
            expected,
            got: byte,
        };
        match (self.state, byte) {
            (ChunkState::LineFeed, b'\n') => Ok(ChunkState::Hash),
            (ChunkState::LineFeed, _) => Err(unexpected("a line feed")),
            (ChunkState::Hash, b'#') => Ok(ChunkState::SizeOrEnd),
            (ChunkState::Hash, _) => Err(unexpected("'#'")),
            (ChunkState::SizeOrEnd, b'#') if self.message.is_empty() => Err(FramingError::NoChunk),
            (ChunkState::SizeOrEnd, b'#') => Ok(ChunkState::End),
            (ChunkState::SizeOrEnd, b'1'..=b'9') => Ok(ChunkState::Size(u64::from(byte - b'0'))),
            (ChunkState::SizeOrEnd, _) => Err(bad_size("", byte)),
            (ChunkState::Size(size), b'0'..=b'9') => {
                let longer = size * 10 + u64::from(byte - b'0');
                if longer > MAX_CHUNK as u64 {
                    return Err(bad_size(&size.to_string(), byte));
                }
                Ok(ChunkState::Size(longer))
            }
            (ChunkState::Size(size), b'\n') => {
                let limit = self.max_message_bytes;
                let size = usize::try_from(size).unwrap_or(usize::MAX);
                if size > limit.saturating_sub(self.message.len()) {
                    return Err(FramingError::TooLong { limit });
                }
                Ok(ChunkState::Data(size))
            }
            (ChunkState::Size(size), _) => Err(bad_size(&size.to_string(), byte)),
            (ChunkState::End, b'\n') => Ok(ChunkState::LineFeed),
            (ChunkState::End | ChunkState::Data(_), _) => Err(unexpected("a line feed")),
        }
    }

    fn take_data(&mut self, left: usize) {
        let taken = left.min(self.input.len());
        self.message.extend_from_slice(&self.input[..taken]);
        self.input.advance(taken);
        self.state = match left - taken {
            0 => ChunkState::LineFeed,
            left => ChunkState::Data(left),
        };
    }
}

fn bad_size(digits: &str, byte: u8) -> FramingError {
    FramingError::BadChunkSize {
        text: format!("{digits}{}", char::from(byte).escape_default()),
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = haystack[from..].iter().position(|&byte| byte == needle[0]) {
        if haystack[from + at..].starts_with(needle) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}

/// Frames one message for the wire.
///
/// # Errors
/// [`FramingError::TerminatorInside`] where end-of-message framing cannot carry the message, and
/// [`FramingError::NoChunk`] for an empty message in chunked framing.
pub fn encode(framing: Framing, message: &[u8]) -> Result<Vec<u8>, FramingError> {
    let mut framed = Vec::with_capacity(message.len() + 32);
    match framing {
        Framing::EndOfMessage => {
            if find(message, END_OF_MESSAGE).is_some() {
                return Err(FramingError::TerminatorInside);
            }
            framed.extend_from_slice(message);
            framed.extend_from_slice(END_OF_MESSAGE);
        }
        Framing::Chunked => {
            if message.is_empty() {
                return Err(FramingError::NoChunk);
            }
            for chunk in message.chunks(MAX_CHUNK) {
                framed.extend_from_slice(format!("\n#{}\n", chunk.len()).as_bytes());
                framed.extend_from_slice(chunk);
            }
            framed.extend_from_slice(END_OF_CHUNKS);
        }
    }
    Ok(framed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(framing: Framing, bytes: &[u8]) -> Result<Vec<String>, FramingError> {
        let mut decoder = Decoder::new(framing, 1000);
        decoder.push(bytes);
        let mut messages = Vec::new();
        while let Some(message) = decoder.next_message()? {
            messages.push(String::from_utf8(message).unwrap());
        }
        Ok(messages)
    }

    fn refused(bytes: &str) -> FramingError {
        decode(Framing::Chunked, bytes.as_bytes()).unwrap_err()
    }

    #[test]
    fn the_example_of_rfc_6242_4_2_is_one_message() {
        let wire = "\n#4\n<rpc\n#18\n message-id=\"102\"\n\n#79\n     \
                    xmlns=\"urn:ietf:params:xml:ns:netconf:base:1.0\">\n  <close-session/>\n</rpc>\n##\n";
        let messages = decode(Framing::Chunked, wire.as_bytes()).unwrap();
        assert_eq!(messages.len(), 1);
        assert!(
            messages[0].starts_with("<rpc message-id=\"102\"\n"),
            "{}",
            messages[0]
        );
        assert!(messages[0].ends_with("</rpc>"), "{}", messages[0]);
    }

    #[test]
    fn chunk_sizes_outside_the_grammar_are_refused() {
        assert_eq!(
            refused("\n#0\n"),
            FramingError::BadChunkSize { text: "0".into() }
        );
        assert_eq!(
            refused("\n#01\na"),
            FramingError::BadChunkSize { text: "0".into() }
        );
        assert_eq!(
            refused("\n#-1\na"),
            FramingError::BadChunkSize { text: "-".into() }
        );
        assert_eq!(
            refused("\n#4 \n"),
            FramingError::BadChunkSize { text: "4 ".into() }
        );
        assert_eq!(
            refused("\n#4294967296\n"),
            FramingError::BadChunkSize {
                text: "4294967296".into()
            }
        );
        assert_eq!(
            refused("\n#4294967295\n"),
            FramingError::TooLong { limit: 1000 }
        );
        assert_eq!(
            refused("\n#1\nab"),
            FramingError::BadChunkStart {
                expected: "a line feed",
                got: b'b'
            }
        );
        assert_eq!(
            refused("<rpc/>"),
            FramingError::BadChunkStart {
                expected: "a line feed",
                got: b'<'
            }
        );
        assert_eq!(refused("\n##\n"), FramingError::NoChunk);
        assert_eq!(
            refused("\n#1\na\n##x"),
            FramingError::BadChunkStart {
                expected: "a line feed",
                got: b'x'
            }
        );
    }

    #[test]
    fn a_message_over_the_limit_is_refused_before_it_is_complete() {
        let mut decoder = Decoder::new(Framing::EndOfMessage, 10);
        decoder.push(&[b'a'; 16]);
        assert_eq!(
            decoder.next_message(),
            Err(FramingError::TooLong { limit: 10 })
        );
        let mut decoder = Decoder::new(Framing::EndOfMessage, 10);
        decoder.push(b"0123456789]]>]]>");
        assert_eq!(decoder.next_message().unwrap().unwrap(), b"0123456789");
        let first = format!("\n#600\n{}", "a".repeat(600));
        assert_eq!(
            refused(&format!("{first}\n#401\n")),
            FramingError::TooLong { limit: 1000 }
        );
        assert_eq!(
            decode(Framing::Chunked, format!("{first}\n#400\n").as_bytes()),
            Ok(vec![])
        );
    }

    #[test]
    fn what_follows_the_hello_is_read_in_the_new_framing() {
        let mut decoder = Decoder::new(Framing::EndOfMessage, 100);
        decoder.push(b"<hello/>]]>]]>\n#6\n<rpc/>\n##\n");
        assert_eq!(decoder.next_message().unwrap().unwrap(), b"<hello/>");
        decoder.switch(Framing::Chunked, 100);
        assert_eq!(decoder.next_message().unwrap().unwrap(), b"<rpc/>");
        assert_eq!(decoder.buffered(), 0);
    }

    #[test]
    fn a_terminator_inside_a_message_cannot_be_sent_in_end_of_message_framing() {
        assert_eq!(
            encode(Framing::EndOfMessage, b"<a>]]>]]></a>"),
            Err(FramingError::TerminatorInside)
        );
        assert!(encode(Framing::Chunked, b"<a>]]>]]></a>").is_ok());
    }

    proptest! {
        #[test]
        fn any_split_of_the_wire_gives_the_messages_back(
            messages in prop::collection::vec("[a-z<>/\\]#\n]{1,40}", 1..6),
            cuts in prop::collection::vec(1usize..20, 1..200),
            chunked: bool,
        ) {
            let framing = if chunked { Framing::Chunked } else { Framing::EndOfMessage };
            let mut wire = Vec::new();
            for message in &messages {
                match encode(framing, message.as_bytes()) {
                    Ok(framed) => wire.extend(framed),
                    Err(_) => return Ok(()),
                }
                // Together with the terminator such an end, which no XML has, makes an earlier one.
                prop_assume!(chunked || !message.ends_with("]]>"));
            }
            let mut decoder = Decoder::new(framing, 1000);
            let mut got = Vec::new();
            let mut rest = wire.as_slice();
            for cut in cuts.iter().cycle() {
                let (piece, next) = rest.split_at((*cut).min(rest.len()));
                decoder.push(piece);
                while let Some(message) = decoder.next_message().unwrap() {
                    got.push(String::from_utf8(message).unwrap());
                }
                rest = next;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(got, messages);
            prop_assert_eq!(decoder.buffered(), 0);
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(bytes: Vec<u8>, chunked: bool) {
            let framing = if chunked { Framing::Chunked } else { Framing::EndOfMessage };
            let mut decoder = Decoder::new(framing, 64);
            decoder.push(&bytes);
            let mut given = 0;
            while let Ok(Some(message)) = decoder.next_message() {
                given += message.len();
            }
            prop_assert!(given + decoder.buffered() <= bytes.len());
        }

        #[test]
        fn a_message_in_several_chunks_is_joined(
            chunks in prop::collection::vec("[a-z\n#]{1,9}", 1..9)
        ) {
            let mut wire = String::new();
            for chunk in &chunks {
                wire.push_str(&format!("\n#{}\n{chunk}", chunk.len()));
            }
            wire.push_str("\n##\n");
            prop_assert_eq!(decode(Framing::Chunked, wire.as_bytes()).unwrap(), vec![chunks.concat()]);
        }
    }
}
