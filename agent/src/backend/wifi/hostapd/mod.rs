//! hostapd on one radio: started, adopted, told what to change, stopped.
//!
//! Owns the daemon's process and its files; what the radio and its access points should be is text that [`render`] makes.
//! Leaves network interfaces to `nl80211` (the anchor must exist before [`Hostapd::start`]) and decisions to
//! [`super::kernel`].
//!
//! The daemon puts itself into a session of its own and outlives the agent, so that a restart of the agent or an orderly stop
//! disturbs no station. Whoever comes next finds it by its files and adopts it:
//!
//! ```text
//! <directory>/pid          written by hostapd
//! <directory>/global       control socket of the process: PING, ADD, REMOVE, TERMINATE
//! <directory>/control/IF   control socket of each access point: STATUS, SET, UPDATE_BEACON
//! <directory>/log          what hostapd says
//! <directory>/radio.conf   what the radio runs
//! <directory>/bss/IF       what each access point runs
//! ```
//! All of it is for root only: it has passphrases.

mod error;
mod files;
pub mod render;
mod status;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::{Instant, sleep};

pub use error::HostapdError;
pub use files::Files;
pub use status::{BssStatus, Status};

use super::Channel;
use super::daemon::{self, Control, last_words};
use render::Change;

/// A radio needs time for a change of the regulatory domain (5 s at most) and a scan before a 40 MHz channel.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// A process has this long to get going, and this long to end.
const TURN_WITHIN: Duration = Duration::from_secs(5);

const POLL: Duration = Duration::from_millis(50);

/// What a running hostapd carries out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Running {
    /// The radio's configuration text.
    pub radio: String,
    /// The text of each access point that runs, by interface; empty if it is not known.
    pub bsses: BTreeMap<String, String>,
}

/// The daemon of one radio.
#[derive(Debug, Clone)]
pub struct Hostapd {
    radio: String,
    program: String,
    files: Files,
}

impl Hostapd {
    /// The daemon of `radio`, whether it runs or not, with its files in `directory` (made when it is started).
    pub fn new(radio: impl Into<String>, program: impl Into<String>, directory: &Path) -> Self {
        Self {
            radio: radio.into(),
            program: program.into(),
            files: Files::new(directory),
        }
    }

    /// Where its files are.
    #[must_use]
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// Starts it with the radio's configuration. One that ran before without answering is ended.
    ///
    /// # Errors
    /// Why it does not run; nothing of it is left then.
    pub async fn start(&self, radio: &str) -> Result<(), HostapdError> {
        self.end_process(Duration::ZERO).await?;
        self.files.make()?;
        let output = Command::new(&self.program)
            .arg("-B")
            .arg("-t")
            .arg("-g")
            .arg(self.files.global())
            .arg("-P")
            .arg(self.files.pid())
            .arg("-f")
            .arg(self.files.log())
            .stdin(Stdio::null())
            .output()
            .await
            .map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => HostapdError::NotInstalled {
                    program: self.program.clone(),
                },
                _ => HostapdError::Start(error.to_string()),
            })?;
        if !output.status.success() {
            let text = [output.stdout, output.stderr].concat();
            let words = last_words(&String::from_utf8_lossy(&text));
            return Err(HostapdError::Start(words));
        }
        let up = match self.written_down().await {
            true => self.bring_up(radio).await,
            false => Err(HostapdError::Start(last_words(&self.files.log_since(0)))),
        };
        if up.is_err() {
            self.stop().await?;
        }
        up
    }

    /// Waits until the process, which goes to the background first, has written its number down.
    async fn written_down(&self) -> bool {
        let deadline = Instant::now() + TURN_WITHIN;
        while self.files.process().is_none() {
            if Instant::now() > deadline {
                return false;
            }
            sleep(POLL).await;
        }
        true
    }

    async fn bring_up(&self, radio: &str) -> Result<(), HostapdError> {
        let path = self.files.radio();
        self.files.write(&path, radio)?;
        let start = self.files.log_length();
        self.add_file(&path, "put the radio into service").await?;
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            let state = self.status().await?.state;
            match state.as_str() {
                // The channel's availability check may take minutes; it goes on the air by itself after it.
                "ENABLED" | "DFS" => return Ok(()),
                "DISABLED" | "UNINITIALIZED" | "" => break,
                _ if Instant::now() > deadline => break,
                _ => sleep(POLL).await,
            }
        }
        Err(self.refused("put the radio into service", start))
    }

    /// What it carries out, if it runs and answers.
    ///
    /// # Errors
    /// A file that can't be read.
    pub async fn adopt(&self) -> Result<Option<Running>, HostapdError> {
        if !self.is_alive().await {
            return Ok(None);
        }
        let Ok(status) = self.status().await else {
            return Ok(None);
        };
        if !matches!(status.state.as_str(), "ENABLED" | "DFS") {
            return Ok(None);
        }
        let mut running = Running {
            radio: files::read(&self.files.radio())?,
            bsses: BTreeMap::new(),
        };
        for bss in status.bsses.into_iter().skip(1) {
            let text = files::read(&self.files.bss(&bss.name))?;
            running.bsses.insert(bss.name, text);
        }
        Ok(Some(running))
    }

    /// Whether the process answers.
    pub async fn is_alive(&self) -> bool {
        match self.global("PING").await {
            Ok(answer) => answer == "PONG",
            Err(_) => false,
        }
    }

    /// The state of the radio and its access points.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn status(&self) -> Result<Status, HostapdError> {
        let text = files::read(&self.files.radio())?;
        let anchor = render::value(&text, "interface").unwrap_or_default();
        let answer = self.ask(&self.files.socket(anchor), "STATUS").await?;
        Ok(Status::parse(&answer))
    }

    /// Adds an access point; the others' stations notice nothing.
    ///
    /// # Errors
    /// hostapd's words; the access point is not there then.
    pub async fn add(&self, name: &str, text: &str) -> Result<(), HostapdError> {
        let path = self.files.bss(name);
        self.files.write(&path, text)?;
        let added = self
            .add_file(&path, &format!("add access point {name}"))
            .await;
        if added.is_err() {
            files::remove(&path)?;
        }
        added
    }

    /// Removes an access point; the others' stations notice nothing.
    ///
    /// # Errors
    /// hostapd's words.
    pub async fn remove(&self, name: &str) -> Result<(), HostapdError> {
        let start = self.files.log_length();
        if self.global(&format!("REMOVE {name}")).await? != "OK" {
            return Err(self.refused(&format!("remove access point {name}"), start));
        }
        files::remove(&self.files.bss(name))
    }

    /// Changes settings of a running access point; its stations notice nothing. `text` is its configuration afterwards.
    ///
    /// # Errors
    /// hostapd's words; some settings may be in force then, and the caller takes the access point down and up.
    pub async fn set(
        &self,
        name: &str,
        settings: &[(String, String)],
        text: &str,
    ) -> Result<(), HostapdError> {
        let socket = self.files.socket(name);
        for (key, value) in settings {
            let start = self.files.log_length();
            if self.ask(&socket, &format!("SET {key} {value}")).await? != "OK" {
                return Err(self.refused(&format!("set {key} of {name} to {value}"), start));
            }
        }
        let start = self.files.log_length();
        if self.ask(&socket, "UPDATE_BEACON").await? != "OK" {
            return Err(self.refused(&format!("update the beacon of {name}"), start));
        }
        self.files.write(&self.files.bss(name), text)
    }

    /// Goes from one configuration of an access point to another, the gentlest way there is.
    ///
    /// # Errors
    /// hostapd's words. What ran before is not brought back: the caller knows what it was.
    pub async fn change(&self, name: &str, from: &str, to: &str) -> Result<(), HostapdError> {
        match render::change(from, to) {
            Change::None => Ok(()),
            Change::Hot(settings) => self.set(name, &settings, to).await,
            Change::Restart => {
                self.remove(name).await?;
                self.add(name, to).await
            }
        }
    }

    /// Lets the first, silent access point beacon, without which hostapd takes no radio to another channel.
    ///
    /// # Errors
    /// hostapd's words.
    pub async fn unsilence(&self, anchor: &str) -> Result<(), HostapdError> {
        let start = self.files.log_length();
        match self
            .ask(&self.files.socket(anchor), "UPDATE_BEACON")
            .await?
        {
            answer if answer == "OK" => Ok(()),
            _ => Err(self.refused("prepare a change of the channel", start)),
        }
    }

    /// Goes to another channel, announced to all stations so that they come along. `order` is what
    /// [`render::channel_switch`] makes, `radio` the radio's configuration afterwards.
    ///
    /// # Errors
    /// hostapd's words, or it is not there in time.
    pub async fn switch_channel(
        &self,
        anchor: &str,
        order: &str,
        channel: &Channel,
        radio: &str,
    ) -> Result<(), HostapdError> {
        let action = format!("go to {channel}");
        let start = self.files.log_length();
        if self.ask(&self.files.socket(anchor), order).await? != "OK" {
            return Err(self.refused(&action, start));
        }
        // Until it is there, what runs is nothing that anybody would adopt.
        let before = files::read(&self.files.radio())?;
        self.files
            .write(&self.files.radio(), &format!("{before}on_its_way=1\n"))?;
        let deadline = Instant::now() + TURN_WITHIN;
        while self.status().await?.freq_mhz != channel.primary_mhz()
            || !self.files.log_since(start).contains("AP-CSA-FINISHED")
        {
            if Instant::now() > deadline {
                return Err(self.refused(&action, start));
            }
            sleep(POLL).await;
        }
        self.files.write(&self.files.radio(), radio)
    }

    /// Ends it, and removes its files.
    ///
    /// # Errors
    /// It runs still, or its files can't be removed.
    pub async fn stop(&self) -> Result<(), HostapdError> {
        // The answer may get lost in the end of the process; what counts is that it is gone.
        let patience = match self.global("TERMINATE").await {
            Ok(_) => TURN_WITHIN,
            Err(_) => Duration::ZERO,
        };
        self.end_process(patience).await?;
        self.files.clear()
    }

    /// Keeps hostapd's log from growing for ever.
    ///
    /// # Errors
    /// It can't be shortened.
    pub fn trim_log(&self) -> Result<(), HostapdError> {
        self.files.trim_log()
    }

    /// Waits for its end, and ends it by force when its time is up.
    async fn end_process(&self, patience: Duration) -> Result<(), HostapdError> {
        let ended = daemon::end(&self.files.global(), patience).await;
        ended.map_err(HostapdError::Start)
    }

    async fn add_file(&self, path: &Path, action: &str) -> Result<(), HostapdError> {
        let start = self.files.log_length();
        let command = format!("ADD bss_config={}:{}", self.radio, path.display());
        match self.global(&command).await?.as_str() {
            "OK" => Ok(()),
            _ => Err(self.refused(action, start)),
        }
    }

    /// The refusal of an action, with what hostapd has logged since `start`.
    fn refused(&self, action: &str, start: u64) -> HostapdError {
        HostapdError::Refused {
            action: action.to_owned(),
            words: last_words(&self.files.log_since(start)),
        }
    }

    async fn global(&self, command: &str) -> Result<String, HostapdError> {
        self.ask(&self.files.global(), command).await
    }

    async fn ask(&self, socket: &Path, command: &str) -> Result<String, HostapdError> {
        let failed = |source| HostapdError::Control {
            radio: self.radio.clone(),
            source,
        };
        let control = Control::connect(socket).map_err(failed)?;
        // The death of the other side is no event for a datagram socket.
        let died = async {
            while self.files.process().is_some() {
                sleep(POLL).await;
            }
        };
        tokio::select! {
            answer = control.request(command) => answer.map_err(failed),
            () = died => Err(failed(io::Error::new(io::ErrorKind::ConnectionReset, "it has ended"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn without_hostapd_the_error_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let hostapd = Hostapd::new("phy0", "no-such-hostapd", &dir.path().join("phy0"));
        assert!(!hostapd.is_alive().await);
        assert_eq!(hostapd.adopt().await.unwrap(), None);
        let error = hostapd.start("interface=x\n").await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "hostapd is not installed (there is no no-such-hostapd in PATH)"
        );
    }
}
