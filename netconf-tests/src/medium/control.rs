//! Questions to a running medium and changes of it, one line each, over a Unix socket; the answer is one line of JSON.
//!
//! ```text
//! ledger                          {"time-ns": ..., "slipped-ns": ..., "late-ns": ..., "channels": [...], "accounts": [...]}
//! link A B KEY VALUE ...          {"in-range": true, "loss": 0.3, "max-rate": null, "signal": -50}
//! radios                          ["42:00:00:00:00:00", ...]
//! anything else                   {"error": "..."}
//! ```

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::config;
use super::contention::Contention;
use super::error::Error;

/// Longest question.
const LINE_BYTES: usize = 4096;
/// Most clients at a time; further ones wait.
const CLIENTS: usize = 16;

/// The socket and who is connected to it.
#[derive(Debug)]
pub struct Control {
    path: PathBuf,
    listener: UnixListener,
    clients: Vec<Client>,
}

#[derive(Debug)]
struct Client {
    stream: UnixStream,
    asked: Vec<u8>,
}

impl Control {
    /// Listens. What is left of an earlier run at this path is removed.
    ///
    /// # Errors
    /// When the system refuses, or somebody listens there.
    pub fn listen(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::File {
            path: path.display().to_string(),
            source,
        };
        if UnixStream::connect(path).is_ok() {
            return Err(failed(ErrorKind::AddrInUse.into()));
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            listener,
            clients: Vec::new(),
        })
    }

    /// What to wait on.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let listener = (self.clients.len() < CLIENTS).then(|| self.listener.as_fd());
        let clients = self.clients.iter().map(|client| client.stream.as_fd());
        listener.into_iter().chain(clients)
    }

    /// Answers all that was asked. Never waits; a client that does not read its answer is dropped.
    pub fn serve(&mut self, medium: &mut Contention, lag: Lag) {
        while self.clients.len() < CLIENTS {
            let Ok((stream, _)) = self.listener.accept() else {
                break;
            };
            if stream.set_nonblocking(true).is_ok() {
                let asked = Vec::new();
                self.clients.push(Client { stream, asked });
            }
        }
        self.clients.retain_mut(|client| client.serve(medium, lag));
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // Only tidiness: the next one removes it too.
        drop(std::fs::remove_file(&self.path));
    }
}

impl Client {
    /// False when it is to be dropped.
    fn serve(&mut self, medium: &mut Contention, lag: Lag) -> bool {
        let mut buffer = [0; 512];
        let open = loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => break false,
                Ok(count) => self.asked.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => break error.kind() == ErrorKind::WouldBlock,
            }
            if self.asked.len() > LINE_BYTES {
                return false;
            }
        };
        while let Some(end) = self.asked.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.asked.drain(..=end).collect();
            let mut text = answer(&String::from_utf8_lossy(&line), medium, lag).to_string();
            text.push('\n');
            if self.stream.write_all(text.as_bytes()).is_err() {
                return false;
            }
        }
        open
    }
}

/// What the machine was too slow for, since the start, in nanoseconds of real time.
#[derive(Debug, Clone, Copy, Default)]
pub struct Lag {
    /// The medium's clock stood still.
    pub slipped_ns: u64,
    /// Something was more than a little late, the time in which the clock stood still included.
    pub late_ns: u64,
}

/// Does what a line says.
pub fn answer(line: &str, medium: &mut Contention, lag: Lag) -> Value {
    let mut words = line.split_whitespace();
    let answer = match words.next() {
        Some("ledger") => Ok(books(medium, lag)),
        Some("radios") => Ok(json!(medium.radios().collect::<Vec<_>>())),
        Some("link") => link(words, medium),
        Some(other) => Err(format!("{other:?} is not understood: ledger, link, radios")),
        None => Err("an empty line: ledger, link, radios".to_owned()),
    };
    answer.unwrap_or_else(|error| json!({"error": error}))
}

fn link<'a>(
    mut words: impl Iterator<Item = &'a str>,
    medium: &mut Contention,
) -> Result<Value, String> {
    let mut radio = || config::radio(words.next().ok_or("link wants two radios")?);
    let (a, b) = (radio()?, radio()?);
    if a == b {
        return Err(format!("a radio has no link to itself ({a})"));
    }
    Ok(medium.change_link(a, b, config::change(words)?).into())
}

fn books(medium: &Contention, lag: Lag) -> Value {
    let ledger = medium.ledger();
    let channels: Vec<Value> = ledger
        .channels()
        .map(|(frequency_mhz, busy_ns)| json!({"frequency-mhz": frequency_mhz, "busy-ns": busy_ns}))
        .collect();
    let accounts: Vec<Value> = ledger
        .accounts()
        .map(|(key, account)| {
            json!({
                "radio": key.radio,
                "transmitter": key.transmitter,
                "receiver": key.receiver,
                "airtime-ns": account.airtime_ns,
                "failed-ns": account.failed_ns,
                "tries": account.tries,
                "frames": account.frames,
                "bytes": account.bytes,
                "given-up": account.given_up,
                "overflowed": account.overflowed,
                "collisions": account.collisions,
            })
        })
        .collect();
    json!({
        "time-ns": medium.now_ns(),
        "slipped-ns": lag.slipped_ns,
        "late-ns": lag.late_ns,
        "channels": channels,
        "accounts": accounts,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::medium::config::hardware_of;
    use crate::medium::links::Links;

    #[test]
    fn lines_are_answered() {
        let mut medium = Contention::new(Links::default(), 40, 1);
        assert!(medium.add_radio(hardware_of(1)));
        assert_eq!(
            answer("radios", &mut medium, Lag::default()),
            json!(["42:00:00:00:01:00"])
        );
        let now = answer("link 0 1 loss 0.3 max-rate 6", &mut medium, Lag::default());
        assert_eq!(
            now,
            json!({"in-range": true, "loss": 0.3, "max-rate": 6.0, "signal": -50})
        );
        assert_eq!(
            medium.links().between(hardware_of(1), hardware_of(0)).loss,
            0.3
        );
        let lag = Lag {
            slipped_ns: 5,
            late_ns: 6,
        };
        let books = answer("ledger", &mut medium, lag);
        assert_eq!(
            books,
            json!({"time-ns": 0, "slipped-ns": 5, "late-ns": 6, "channels": [], "accounts": []})
        );
        for (line, wants) in [
            ("", "an empty line"),
            ("sing", "\"sing\" is not understood"),
            ("link 0", "two radios"),
            ("link 0 0 loss 0", "no link to itself"),
            ("link 0 1", "what is to change"),
        ] {
            let error = answer(line, &mut medium, Lag::default())["error"].to_string();
            assert!(
                error.contains(wants.trim_matches('"'))
                    || error.contains(&wants.replace('"', "\\\"")),
                "{line}: {error}"
            );
        }
    }

    #[test]
    fn clients_come_and_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control");
        std::fs::write(&path, "left over").unwrap();
        let mut control = Control::listen(&path).unwrap();
        assert!(Control::listen(&path).is_err(), "somebody listens there");
        let mut medium = Contention::new(Links::default(), 40, 1);
        control.serve(&mut medium, Lag::default());
        let mut client = UnixStream::connect(&path).unwrap();
        client.write_all(b"radios\nled").unwrap();
        control.serve(&mut medium, Lag::default());
        client.write_all(b"ger\n").unwrap();
        control.serve(&mut medium, Lag::default());
        client.shutdown(std::net::Shutdown::Write).unwrap();
        control.serve(&mut medium, Lag::default());
        let mut text = String::new();
        client.read_to_string(&mut text).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "[]");
        assert!(lines[1].contains("\"accounts\":[]"), "{text}");
        assert!(control.clients.is_empty() || control.fds().count() == 1);
    }
}
