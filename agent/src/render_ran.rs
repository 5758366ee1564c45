//! `tranche-agent render-ran`: files for trying a node's RAN slices without a radio, written from its configuration.
//!
//! Owns the words of the command and the writing; what is in the files is [`crate::backend::ran::trial`]'s. Nothing is written
//! unless all can be.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use tranche_yang::Datastores;

use crate::backend::ran::trial::{self, Skipped};
use crate::content::node_config;
use crate::error::Error;
use crate::schema;
use crate::startup::{parse_factory_default, texts};

/// What the command does, for its help.
pub(crate) const ABOUT: &str = "\
Writes configuration files from the RAN of a node's configuration, for trying its slices without a radio, and ends:
  amf-CORE.yaml        an AMF of Open5GS, 2.7 or later
  mme-CORE.yaml        an MME of Open5GS, 2.7 or later
  gnb-CELL-PLMN.yaml   a simulated gNB of UERANSIM, for each NR cell and PLMN
  gnb-CELL-PLMN-2.yaml and so on, where slices of one PLMN have other lists of cores

Only what is in service is in them. UERANSIM has no eNB, so nothing stands in for an LTE cell. UEs are not written: \
their keys are in the database of the core. On standard output there is a line for each file, 'wrote PATH', and one \
for all that is left out, 'skipped WHAT: REASON', or that will not work, 'warning: WHAT: REASON'. A file that is there already is an error, and nothing is written then.";

/// The words of `render-ran`.
#[derive(Debug, Clone, clap::Args)]
pub struct RenderRan {
    /// Configuration of the node (XML or RFC 7951 JSON instance data), as for an agent
    #[arg(long, value_name = "FILE")]
    pub factory_default: PathBuf,
    /// Directory for the files; made if it is not there
    #[arg(long, value_name = "DIR")]
    pub into: PathBuf,
    /// Address of the first simulated gNB; each further one has the next. One of the machine's own where cores are elsewhere.
    #[arg(long, value_name = "ADDR", default_value = "127.0.1.1")]
    pub gnb_addr: Ipv4Addr,
    /// A YANG module to load besides the built-in ones. Repeatable.
    #[arg(long, value_name = "FILE")]
    pub yang_module: Vec<PathBuf>,
    /// Overwrite files that are there; those of an earlier run that are not written any more stay
    #[arg(long)]
    pub force: bool,
}

/// What was done.
#[derive(Debug)]
pub struct Rendered {
    /// The files that were written.
    pub written: Vec<PathBuf>,
    /// What is in none of them.
    pub skipped: Vec<Skipped>,
    /// What will not work as it was written.
    pub warnings: Vec<String>,
}

impl RenderRan {
    /// Writes the files.
    ///
    /// # Errors
    /// The configuration is not valid or cannot be tried this way, a file is there already, or the file system refuses.
    pub fn run(&self) -> Result<Rendered, Error> {
        let file = &self.factory_default;
        let refuse = |reasons| Error::FactoryDefault {
            path: file.clone(),
            reasons,
        };
        // Also a simulated node's configuration has cells that can be tried.
        let schema = schema::build(&self.yang_module, false, true)?;
        let tree = parse_factory_default(schema, file)?;
        let datastores =
            Datastores::new(schema, tree, None).map_err(|errors| refuse(texts(&errors)))?;
        let config = node_config(&datastores.running()).map_err(|errors| refuse(texts(&errors)))?;
        let trial = trial::render(&config.ran, self.gnb_addr)
            .map_err(|refusal| refuse(vec![refusal.to_string()]))?;
        let files = trial.files.into_iter();
        let files: Vec<_> = files
            .map(|file| (self.into.join(file.name), file.text))
            .collect();
        let there = files
            .iter()
            .find(|(path, _)| path.symlink_metadata().is_ok());
        if let (Some((path, _)), false) = (there, self.force) {
            return Err(Error::Exists { path: path.clone() });
        }
        fs::create_dir_all(&self.into).map_err(|source| Error::File {
            what: "making the directory",
            path: self.into.clone(),
            source,
        })?;
        for (path, text) in &files {
            self.write(path, text).map_err(|source| Error::File {
                what: "writing",
                path: path.clone(),
                source,
            })?;
        }
        Ok(Rendered {
            written: files.into_iter().map(|(path, _)| path).collect(),
            skipped: trial.skipped,
            warnings: trial.warnings,
        })
    }

    fn write(&self, path: &Path, text: &str) -> std::io::Result<()> {
        let mut options = OpenOptions::new();
        options.write(true);
        // Without force it was not there a moment ago, and is nobody else's now.
        match self.force {
            true => options.create(true).truncate(true),
            false => options.create_new(true),
        };
        options.open(path)?.write_all(text.as_bytes())
    }
}
