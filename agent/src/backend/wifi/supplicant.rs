//! wpa_supplicant as the authentication daemon (SAE) of one mesh point, which it also joins to its mesh.
//!
//! Owns the daemon's process and its files; the network interface is somebody else's and must exist. As hostapd it outlives
//! the agent, and whoever comes next finds it by its files:
//!
//! ```text
//! <directory>/conf   what it runs
//! <directory>/log    what it says
//! <directory>/c/IF   control socket: STATUS, TERMINATE
//! ```
//! All of it is for root only: it has the passphrase.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::{Instant, sleep};

use super::daemon::{self, Control, last_words};
use super::nl80211::MeshJoin;
use super::{Width, passphrase};
use crate::backend::Secret;

/// It looks for its neighbours' channels before it joins.
const JOINED_WITHIN: Duration = Duration::from_secs(30);

/// It ends within this time when it is asked to.
const TURN_WITHIN: Duration = Duration::from_secs(5);

const POLL: Duration = Duration::from_millis(100);

/// What wpa_supplicant did not do, in its own words as far as it had some.
#[derive(Debug, thiserror::Error)]
pub enum SupplicantError {
    /// There is no such program.
    #[error("wpa_supplicant is not installed (there is no {program} in PATH)")]
    NotInstalled {
        /// What was looked for.
        program: String,
    },
    /// It does not run.
    #[error("wpa_supplicant could not be started: {0}")]
    Start(String),
    /// It runs, and is not in the mesh.
    #[error("wpa_supplicant did not join the mesh: {0}")]
    NotJoined(String),
    /// One of its files can't be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The daemon of one mesh point, whether it runs or not.
#[derive(Debug, Clone)]
pub struct Supplicant {
    interface: String,
    program: String,
    directory: PathBuf,
}

impl Supplicant {
    /// The daemon of `interface`, with its files in `directory` (made when it is started).
    pub fn new(
        interface: impl Into<String>,
        program: impl Into<String>,
        directory: PathBuf,
    ) -> Self {
        Self {
            interface: interface.into(),
            program: program.into(),
            directory,
        }
    }

    /// Starts it with a text that [`text`] made, and waits until it is in the mesh. One that ran before is ended.
    ///
    /// # Errors
    /// Its words; nothing of it is left then.
    pub async fn start(&self, text: &str) -> Result<(), SupplicantError> {
        self.stop().await?;
        let started = self.try_start(text).await;
        if started.is_err() {
            self.stop().await?;
        }
        started
    }

    async fn try_start(&self, text: &str) -> Result<(), SupplicantError> {
        let made = fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(self.control());
        made.map_err(failed(&self.control()))?;
        for (path, text) in [(self.conf(), text), (self.log(), "")] {
            let written = write_private(&path, text);
            written.map_err(failed(&path))?;
        }
        let output = Command::new(&self.program)
            .args(["-B", "-t", "-D", "nl80211", "-i", &self.interface, "-c"])
            .arg(self.conf())
            .arg("-C")
            .arg(self.control())
            .arg("-f")
            .arg(self.log())
            .stdin(Stdio::null())
            .output()
            .await
            .map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => SupplicantError::NotInstalled {
                    program: self.program.clone(),
                },
                _ => SupplicantError::Start(error.to_string()),
            })?;
        if !output.status.success() {
            let words = [output.stdout, output.stderr, self.logged().into_bytes()].concat();
            return Err(SupplicantError::Start(last_words(
                &String::from_utf8_lossy(&words),
            )));
        }
        let deadline = Instant::now() + JOINED_WITHIN;
        while !self.is_joined().await {
            if Instant::now() > deadline {
                return Err(SupplicantError::NotJoined(last_words(&self.logged())));
            }
            sleep(POLL).await;
        }
        Ok(())
    }

    /// Whether it runs and says that it is in the mesh.
    pub async fn is_joined(&self) -> bool {
        let Some(answer) = self.ask("STATUS").await else {
            return false;
        };
        let has = |line: &str| answer.lines().any(|one| one == line);
        has("mode=mesh") && has("wpa_state=COMPLETED")
    }

    /// The text that it was started with; empty where it was not.
    #[must_use]
    pub fn running(&self) -> String {
        fs::read_to_string(self.conf()).unwrap_or_default()
    }

    /// Whether there is anything of it.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.directory.exists()
    }

    /// Ends it, and removes its files.
    ///
    /// # Errors
    /// It runs still, or its files can't be removed.
    pub async fn stop(&self) -> Result<(), SupplicantError> {
        let patience = match self.ask("TERMINATE").await {
            Some(_) => TURN_WITHIN,
            None => Duration::ZERO,
        };
        let ended = daemon::end(&self.conf(), patience).await;
        ended.map_err(SupplicantError::Start)?;
        match fs::remove_dir_all(&self.directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed(&self.directory)(error))
            }
            _ => Ok(()),
        }
    }

    /// The answer to a command; none where nobody answers.
    async fn ask(&self, command: &str) -> Option<String> {
        let control = Control::connect(&self.control().join(&self.interface)).ok()?;
        // Looked for only where no answer comes at once: it takes a look at every process.
        let died = async {
            loop {
                sleep(POLL).await;
                if daemon::process_with(&self.conf()).is_none() {
                    return;
                }
            }
        };
        tokio::select! {
            answer = control.request(command) => answer.ok(),
            () = died => None,
        }
    }

    fn conf(&self) -> PathBuf {
        self.directory.join("conf")
    }

    fn log(&self) -> PathBuf {
        self.directory.join("log")
    }

    fn control(&self) -> PathBuf {
        self.directory.join("c")
    }

    fn logged(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }
}

/// The configuration (wpa_supplicant.conf of release 2.10) of a mesh with a passphrase.
///
/// # Errors
/// One sentence: the passphrase is none.
pub fn text(mesh: &MeshJoin, secret: &Secret) -> Result<String, String> {
    passphrase::check(secret)?;
    let hexadecimal =
        |text: &str| -> String { text.bytes().map(|octet| format!("{octet:02x}")).collect() };
    let narrow = match mesh.channel.width() {
        Width::Mhz20 => "disable_ht40=1\ndisable_vht=1\n",
        Width::Mhz40 => "disable_vht=1\n",
        Width::Mhz80 => "max_oper_chwidth=1\n",
        Width::Mhz160 => "max_oper_chwidth=2\n",
    };
    Ok(format!(
        "sae_pwe=2\nnetwork={{\nssid={}\nmode=5\nfrequency={}\nkey_mgmt=SAE\nieee80211w=2\nsae_password={}\n\
         beacon_int={}\n{narrow}}}\n",
        hexadecimal(&mesh.mesh_id),
        mesh.channel.primary_mhz(),
        hexadecimal(secret.expose()),
        mesh.beacon_interval,
    ))
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> SupplicantError {
    let path = path.to_owned();
    move |source| SupplicantError::File { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::wifi::{Band, Channel};

    #[test]
    fn nothing_of_a_value_becomes_a_line_of_its_own() {
        let mesh = MeshJoin {
            mesh_id: "a\"\nx".to_owned(),
            channel: Channel::new(Band::Ghz2, 6, Width::Mhz20).unwrap(),
            beacon_interval: 100,
        };
        let made = text(&mesh, &Secret::new("pass#phrase\"")).unwrap();
        assert!(made.contains("\nssid=61220a78\n"), "{made}");
        assert!(made.contains("\nfrequency=2437\n"), "{made}");
        assert!(
            made.contains("\nsae_password=706173732370687261736522\n"),
            "{made}"
        );
        let refusal = text(&mesh, &Secret::new("short")).unwrap_err();
        assert_eq!(
            refusal,
            "a passphrase is 8 to 63 printable ASCII characters"
        );
    }

    #[tokio::test]
    async fn without_wpa_supplicant_the_error_says_so_and_nothing_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let files = dir.path().join("m");
        let supplicant = Supplicant::new("m", "no-such-supplicant", files.clone());
        let error = supplicant.start("").await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "wpa_supplicant is not installed (there is no no-such-supplicant in PATH)"
        );
        assert!(!files.exists() && !supplicant.is_joined().await);
    }
}
