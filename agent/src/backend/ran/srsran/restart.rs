//! A gNB begins anew: its file is written, it is told to end, and it counts as begun when its metrics show the cell.

use std::time::{Duration, Instant};

use super::render::in_service;
use super::{ROOT, SrsRan, also, lock, shows};
use crate::backend::Refusal;
use crate::backend::ran::{RanConfig, cell_path};

/// How often it is looked whether a gNB has come back.
pub(super) const POLL: Duration = Duration::from_millis(50);

impl SrsRan {
    /// Has the gNB begin with a configuration, and waits until it shows its cell; one that serves nothing is only told to end.
    /// One that refuses to end runs on as it was told before, if it did: then its file is the former one as well.
    pub(super) async fn restart(&self, ran: &RanConfig) -> Result<(), Refusal> {
        let ran_as_told = self.runs_as_told();
        self.begin(ran)?;
        let Err(refusal) = self.finish(ran).await else {
            return Ok(());
        };
        if ran_as_told && self.0.control.observed().refusal.is_some() {
            let written = self.write(self.text(&self.told()).as_deref());
            if written.is_ok() && self.0.control.leave() {
                *lock(&self.0.awaited) = None;
            }
            return Err(also(refusal, written));
        }
        Err(refusal)
    }

    /// Whether the gNB is there and known to run with what it was told.
    pub(super) fn runs_as_told(&self) -> bool {
        self.0.control.observed().is_in_service() && lock(&self.0.awaited).is_none()
    }

    pub(super) async fn finish(&self, ran: &RanConfig) -> Result<(), Refusal> {
        self.until_begun(ran).await?;
        self.write(self.text(ran).as_deref())?;
        *lock(&self.0.awaited) = None;
        Ok(())
    }

    /// Writes the file and has the gNB end, unless it is about to begin with that: a slow one would be ended again and again.
    pub(super) fn begin(&self, ran: &RanConfig) -> Result<(), Refusal> {
        let is_there = self.0.control.observed().is_in_service();
        let mut awaited = lock(&self.0.awaited);
        if is_there || awaited.as_ref() != Some(ran) {
            self.write(self.open_text(ran).as_deref())?;
            self.0.control.end();
            *awaited = Some(ran.clone());
        }
        Ok(())
    }

    async fn until_begun(&self, ran: &RanConfig) -> Result<(), Refusal> {
        let wanted = in_service(ran).map(|(cell, _)| cell);
        let (address, wait) = (self.0.settings.control, self.0.settings.restart_wait);
        let deadline = Instant::now() + wait;
        loop {
            let now = self.0.control.observed();
            if let Some(refusal) = &now.refusal {
                let message = format!("told to end and start again, {refusal}");
                return Err(Refusal::new(ROOT, message).tagged("gnb-refuses"));
            }
            let has_begun = match wanted {
                Some(cell) => now.is_in_service() && shows(&now, cell.pci),
                None => !now.is_ending(),
            };
            if has_begun {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let (path, what) = match wanted {
                    Some(cell) => {
                        let what = format!("come back with cell {} (PCI {})", cell.name, cell.pci);
                        (cell_path(&cell.name), what)
                    }
                    None => (ROOT.to_owned(), "end".to_owned()),
                };
                let message = format!(
                    "the gNB did not {what} at {address} within {} s",
                    wait.as_secs()
                );
                return Err(Refusal::new(path, message).tagged("no-gnb"));
            }
            tokio::time::sleep(POLL).await;
        }
    }
}
