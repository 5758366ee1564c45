//! What all netlink users share: why the kernel said no, in its own words.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

use rtnetlink::packet_core::{ErrorMessage, NlasIterator};

/// Length of a netlink message's header, which comes before the attributes of an error with a capped request.
const NLMSG_HDRLEN: usize = 16;
/// The kernel's sentence (linux/netlink.h).
const NLMSGERR_ATTR_MSG: u16 = 1;

/// The order of lists on one socket: the kernel gives one at a time, and answers `EBUSY` to who asks for another meanwhile.
#[derive(Debug, Clone, Default)]
pub(in crate::backend) struct Dumps(Arc<Mutex<()>>);

impl Dumps {
    /// Asks for a list when it is its turn. Who is not waited for any more may leave a list behind that is still on its
    /// way: then `ask` is called again a little later.
    pub(in crate::backend) async fn in_turn<T, F>(
        &self,
        ask: impl Fn() -> F,
    ) -> Result<T, NetlinkError>
    where
        F: Future<Output = Result<T, NetlinkError>>,
    {
        const EBUSY: i32 = 16;
        const ATTEMPTS: u32 = 50;
        let _turn = self.0.lock().await;
        let mut answer = ask().await;
        for _ in 1..ATTEMPTS {
            match &answer {
                Err(error) if error.errno() == Some(EBUSY) => {}
                _ => return answer,
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
            answer = ask().await;
        }
        answer
    }
}

/// Why the kernel did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// This kernel has no such interface.
    #[error("this kernel has no {0}")]
    Absent(&'static str),
    /// There is no socket.
    #[error("no netlink socket: {0}")]
    Socket(#[source] io::Error),
    /// The kernel refuses.
    #[error("the kernel refuses to {action}: {}", words(.message, .source))]
    Refused {
        /// What it was asked to do, as in `create interface wlan0-1`.
        action: String,
        /// Its own sentence, where it has one.
        message: Option<String>,
        /// Its error number.
        #[source]
        source: io::Error,
    },
    /// The kernel answers something that cannot be read.
    #[error("the kernel's answer to '{action}' cannot be read: {reason}")]
    Unreadable {
        /// What it was asked to do.
        action: String,
        /// What is wrong with the answer.
        reason: String,
    },
    /// The kernel took the order, but what was read back is something else.
    #[error("{0}")]
    NotInForce(String),
    /// The connection to the kernel is gone: the agent is stopping.
    #[error("the connection to the kernel is closed")]
    Closed,
}

impl NetlinkError {
    /// From an error message of the kernel.
    pub(in crate::backend) fn refused(action: impl Into<String>, error: &ErrorMessage) -> Self {
        Self::Refused {
            action: action.into(),
            message: extended_message(error),
            source: error.to_io(),
        }
    }

    /// The kernel's error number, where it refused.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Refused { source, .. } | Self::Socket(source) => source.raw_os_error(),
            _ => None,
        }
    }

    /// Whether the kernel refused because there is no such thing (any more).
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        const ENOENT: i32 = 2;
        const ENODEV: i32 = 19;
        matches!(self.errno(), Some(ENOENT | ENODEV))
    }
}

/// The kernel's sentence, or what its error number means.
fn words(message: &Option<String>, source: &io::Error) -> String {
    let text = source.to_string();
    let meaning = text
        .split(" (os error")
        .next()
        .unwrap_or(&text)
        .to_lowercase();
    match message {
        Some(message) => format!("{message} ({meaning})"),
        None => meaning,
    }
}

/// The sentence in an error message of a socket with `NETLINK_EXT_ACK` and `NETLINK_CAP_ACK`.
fn extended_message(error: &ErrorMessage) -> Option<String> {
    let attributes = error.header.get(NLMSG_HDRLEN..)?;
    NlasIterator::new(attributes)
        .map_while(Result::ok)
        .find(|attribute| attribute.kind() == NLMSGERR_ATTR_MSG)
        .and_then(|attribute| {
            let text = attribute.value().split(|byte| *byte == 0).next()?;
            std::str::from_utf8(text).ok().map(str::to_owned)
        })
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroI32;

    use super::*;

    #[test]
    fn a_refusal_has_the_kernels_words() {
        let mut error = ErrorMessage::default();
        error.code = NonZeroI32::new(-22);
        error.header = vec![0; NLMSG_HDRLEN];
        let plain = NetlinkError::refused("join the mesh m1", &error);
        assert_eq!(
            plain.to_string(),
            "the kernel refuses to join the mesh m1: invalid argument"
        );
        error
            .header
            .extend(*b"\x0d\x00\x01\x00bad chan\x00\x00\x00\x00");
        let extended = NetlinkError::refused("join the mesh m1", &error);
        assert_eq!(
            extended.to_string(),
            "the kernel refuses to join the mesh m1: bad chan (invalid argument)"
        );
        assert_eq!(extended.errno(), Some(22));
    }
}
