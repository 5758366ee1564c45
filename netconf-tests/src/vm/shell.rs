//! Programs of the system: `ip`, `iw`, `modprobe`. Run to their end.

use tokio::process::Command;

use crate::error::Error;

/// Runs a line of shell and gives what it prints.
///
/// # Errors
/// When it fails; the text has what it said.
pub async fn sh(line: &str) -> Result<String, Error> {
    let output = Command::new("/bin/sh")
        .args(["-ec", line])
        .kill_on_drop(true)
        .output()
        .await
        .map_err(Error::system("/bin/sh"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    Err(Error::Process {
        program: line.to_owned(),
        what: format!("ended ({})", output.status),
        last_words: format!("{text}{}", String::from_utf8_lossy(&output.stderr)),
    })
}

/// The same where nobody can wait or be told: on the way out.
pub fn sh_at_the_end(line: &str) {
    drop(
        std::process::Command::new("/bin/sh")
            .args(["-c", line])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .status(),
    );
}
