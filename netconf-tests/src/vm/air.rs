//! The medium as a process, and its books.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

use crate::error::Error;
use crate::process::{Process, binary};

/// A running `tranche-medium`. It ends when this is dropped.
#[derive(Debug)]
pub struct Air {
    control: PathBuf,
    process: Process,
}

/// What the medium's ledger says of one interface's transmissions to one address.
#[derive(Debug, Clone, PartialEq)]
pub struct Account {
    /// The interface that sent.
    pub transmitter: String,
    /// To whom.
    pub receiver: String,
    /// Time on the air.
    pub airtime: Duration,
    /// Frames that arrived.
    pub frames: u64,
    /// Frames that did not: given up, or refused because the queue was full.
    pub lost: u64,
}

/// The ledger until some time.
#[derive(Debug, Clone, PartialEq)]
pub struct Books {
    /// The medium's time.
    pub time: Duration,
    /// Time for which the medium stood still, because the machine was too slow.
    pub slipped: Duration,
    /// Real time in which it was more than 3 ms late, that included.
    pub late: Duration,
    /// Time in which somebody sent, summed over the channels.
    pub busy: Duration,
    /// All accounts.
    pub accounts: Vec<Account>,
}

impl Books {
    /// Since another look at the books: the medium's time, and the part of real time in which the machine was too slow.
    #[must_use]
    pub fn since(&self, before: &Self) -> (Duration, f64) {
        let spent = self.time - before.time;
        let real = spent + (self.slipped - before.slipped);
        let late = (self.late - before.late).as_secs_f64();
        (spent, late / real.as_secs_f64().max(f64::EPSILON))
    }

    /// Airtime from one interface to one address.
    #[must_use]
    pub fn airtime(&self, transmitter: &str, receiver: &str) -> Duration {
        let accounts = self.between(transmitter, receiver);
        accounts.map(|account| account.airtime).sum()
    }

    /// The accounts of one interface's transmissions to one address.
    pub fn between(&self, transmitter: &str, receiver: &str) -> impl Iterator<Item = &Account> {
        let of_pair =
            move |one: &&Account| one.transmitter == transmitter && one.receiver == receiver;
        self.accounts.iter().filter(of_pair)
    }
}

impl Air {
    /// Starts it with a configuration (TOML), its files in `directory`.
    ///
    /// # Errors
    /// When it does not become the medium.
    pub async fn start(config: &str, directory: &Path) -> Result<Self, Error> {
        let file = directory.join("medium.toml");
        std::fs::write(&file, config).map_err(Error::system(file.display().to_string()))?;
        let control = directory.join("medium");
        let arguments = [
            "--config".to_owned(),
            file.display().to_string(),
            "--control".to_owned(),
            control.display().to_string(),
        ];
        let log = directory.join("medium.log");
        let mut process = Process::start(&binary("tranche-medium")?, &arguments, &log)?;
        process
            .lines_with("ready ", 1, Duration::from_secs(30))
            .await?;
        Ok(Self { control, process })
    }

    /// The ledger until now.
    ///
    /// # Errors
    /// When the medium does not answer.
    pub async fn books(&self) -> Result<Books, Error> {
        let answer = self.ask("ledger").await?;
        books(&answer).ok_or_else(|| Error::Answer {
            from: "tranche-medium".to_owned(),
            what: answer.to_string(),
        })
    }

    /// Asks what `tranche-medium --help` tells under CONTROL, for example to change a link.
    ///
    /// # Errors
    /// When the medium does not answer, or answers with an error.
    pub async fn ask(&self, line: &str) -> Result<Value, Error> {
        let failed = || Error::system(self.control.display().to_string());
        let mut stream = UnixStream::connect(&self.control).await.map_err(failed())?;
        let question = format!("{line}\n");
        stream
            .write_all(question.as_bytes())
            .await
            .map_err(failed())?;
        let mut text = String::new();
        let read = BufReader::new(stream).read_line(&mut text).await;
        read.map_err(failed())?;
        let answer: Value = serde_json::from_str(&text).unwrap_or_default();
        if answer.is_null() || !answer["error"].is_null() {
            return Err(Error::Answer {
                from: format!("tranche-medium, asked {line:?},"),
                what: format!("{text}{}", self.process.last_words()),
            });
        }
        Ok(answer)
    }
}

fn books(answer: &Value) -> Option<Books> {
    let time = |value: &Value| value.as_u64().map(Duration::from_nanos);
    let account = |account: &Value| {
        Some(Account {
            transmitter: account["transmitter"].as_str()?.to_owned(),
            receiver: account["receiver"].as_str()?.to_owned(),
            airtime: time(&account["airtime-ns"])?,
            frames: account["frames"].as_u64()?,
            lost: account["given-up"].as_u64()? + account["overflowed"].as_u64()?,
        })
    };
    let channels = answer["channels"].as_array()?.iter();
    let busy: Option<Duration> = channels.map(|channel| time(&channel["busy-ns"])).sum();
    let accounts = answer["accounts"].as_array()?;
    Some(Books {
        time: time(&answer["time-ns"])?,
        slipped: time(&answer["slipped-ns"])?,
        late: time(&answer["late-ns"])?,
        busy: busy?,
        accounts: accounts.iter().map(account).collect::<Option<_>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::medium::contention::Contention;
    use crate::medium::control::{Lag, answer};
    use crate::medium::links::Links;

    #[test]
    fn the_answer_of_the_medium_is_understood() {
        let mut medium = Contention::new(Links::default(), 40, 1);
        let lag = Lag {
            slipped_ns: 7,
            late_ns: 8,
        };
        let read = books(&answer("ledger", &mut medium, lag)).unwrap();
        let times = [read.slipped, read.late];
        assert_eq!(times, [7, 8].map(Duration::from_nanos));
        assert_eq!(read.accounts, []);
        assert_eq!(read.airtime("a", "b"), Duration::ZERO);
    }
}
