//! The configuration file of a medium.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::error::Error;
use super::frame::Mac;
use super::links::{Link, LinkChange, Links};

/// What a user wants of a medium.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Decides on backoff and losses.
    pub seed: u64,
    /// Frames that a radio holds in each access category.
    pub queue: usize,
    /// Where tries are written down.
    pub ledger: Option<PathBuf>,
    /// Where questions are answered.
    pub control: Option<PathBuf>,
    /// Who hears whom.
    pub links: Links,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            seed: 1,
            // Four times this stays below the 200 from which on the driver forgets frames.
            queue: 40,
            ledger: None,
            control: None,
            links: Links::default(),
        }
    }
}

/// Most frames in a queue, because the driver forgets frames when a radio has 200 of them under way.
const MAX_QUEUE: usize = 48;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    seed: Option<u64>,
    queue: Option<toml::Spanned<usize>>,
    ledger: Option<PathBuf>,
    control: Option<PathBuf>,
    default: Option<Properties>,
    #[serde(default)]
    link: Vec<Named>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Properties {
    in_range: Option<bool>,
    loss: Option<toml::Spanned<f64>>,
    max_rate: Option<toml::Spanned<f64>>,
    signal: Option<i8>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Named {
    between: toml::Spanned<[Name; 2]>,
    in_range: Option<bool>,
    loss: Option<toml::Spanned<f64>>,
    max_rate: Option<toml::Spanned<f64>>,
    signal: Option<i8>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Name {
    Index(u16),
    Text(String),
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// When it can't be read or makes no sense; the text says where.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let name = || path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|source| Error::File {
            path: name(),
            source,
        })?;
        Self::parse(&text).map_err(|message| Error::Config {
            path: name(),
            message,
        })
    }

    /// Reads a text.
    ///
    /// # Errors
    /// Where and why it makes no sense.
    pub fn parse(text: &str) -> Result<Self, String> {
        let file: File = toml::from_str(text).map_err(|e| e.to_string().trim_end().to_owned())?;
        let at = |span: std::ops::Range<usize>, why: String| {
            let before = text.get(..span.start).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            let column = before.len() - before.rfind('\n').map_or(0, |n| n + 1) + 1;
            format!("line {line}, column {column}: {why}")
        };
        let mut config = Self::default();
        config.seed = file.seed.unwrap_or(config.seed);
        if let Some(queue) = file.queue {
            if !(1..=MAX_QUEUE).contains(queue.get_ref()) {
                let why = format!("queue is not within 1 and {MAX_QUEUE} frames");
                return Err(at(queue.span(), why));
            }
            config.queue = queue.into_inner();
        }
        config.ledger = file.ledger;
        config.control = file.control;
        if let Some(default) = file.default {
            let change = default.change(&at)?;
            // A pair of one and the same is a pair that nobody has.
            let mut links = Links::default();
            config.links.default = links.change(Mac::default(), Mac::default(), change);
        }
        for named in file.link {
            let span = named.between.span();
            let [a, b] = named.between.into_inner();
            let (a, b) = a
                .hardware()
                .and_then(|a| Ok((a, b.hardware()?)))
                .map_err(|why| at(span.clone(), why))?;
            if a == b {
                return Err(at(span, format!("a radio has no link to itself ({a})")));
            }
            let properties = Properties {
                in_range: named.in_range,
                loss: named.loss,
                max_rate: named.max_rate,
                signal: named.signal,
            };
            config.links.change(a, b, properties.change(&at)?);
        }
        Ok(config)
    }
}

impl Properties {
    fn change(
        self,
        at: &impl Fn(std::ops::Range<usize>, String) -> String,
    ) -> Result<LinkChange, String> {
        let mut change = LinkChange {
            in_range: self.in_range,
            signal_dbm: self.signal,
            ..LinkChange::default()
        };
        if let Some(value) = self.loss {
            let span = value.span();
            change.loss = Some(loss(value.into_inner()).map_err(|why| at(span, why))?);
        }
        if let Some(value) = self.max_rate {
            let span = value.span();
            let kbps = max_rate_kbps(value.into_inner()).map_err(|why| at(span, why))?;
            change.max_rate_kbps = Some(Some(kbps));
        }
        Ok(change)
    }
}

impl Name {
    fn hardware(&self) -> Result<Mac, String> {
        match self {
            Self::Index(index) => Ok(hardware_of(u32::from(*index))),
            Self::Text(text) => radio(text),
        }
    }
}

fn loss(loss: f64) -> Result<f64, String> {
    if (0.0..=1.0).contains(&loss) {
        Ok(loss)
    } else {
        Err(format!("a loss of {loss} is not within 0 and 1"))
    }
}

fn max_rate_kbps(mbps: f64) -> Result<u32, String> {
    if (1.0..=10_000.0).contains(&mbps) {
        Ok((mbps * 1000.0).round() as u32)
    } else {
        Err(format!("a rate of {mbps} Mbit/s is not within 1 and 10000"))
    }
}

/// The hardware address of the radio that the driver numbered so.
#[must_use]
pub fn hardware_of(index: u32) -> Mac {
    let [.., high, low] = index.to_be_bytes();
    Mac([0x42, 0, 0, high, low, 0])
}

/// A radio by its number or by a MAC address that it has.
///
/// # Errors
/// Where it is neither.
pub fn radio(text: &str) -> Result<Mac, String> {
    if let Ok(index) = text.parse::<u16>() {
        return Ok(hardware_of(u32::from(index)));
    }
    let mut mac: Mac = text
        .parse()
        .map_err(|_| format!("{text:?} is neither the number nor the MAC address of a radio"))?;
    // The driver gives each radio two addresses that differ in this bit, and uses the second.
    if let [0x02, 0, 0, .., 0] = mac.0 {
        mac.0[0] |= 0x40;
    }
    Ok(mac)
}

/// Reads `loss 0.3 max-rate 6 ...`, as the configuration names things; `max-rate none` lifts the limit.
///
/// # Errors
/// What is wrong with it.
pub fn change<'a>(mut words: impl Iterator<Item = &'a str>) -> Result<LinkChange, String> {
    let mut change = LinkChange::default();
    while let Some(key) = words.next() {
        let value = words.next().ok_or_else(|| format!("{key} has no value"))?;
        let wrong = || format!("{key} {value}: that is no value for {key}");
        match key {
            "in-range" => change.in_range = Some(value.parse().map_err(|_| wrong())?),
            "loss" => change.loss = Some(loss(value.parse().map_err(|_| wrong())?)?),
            "signal" => change.signal_dbm = Some(value.parse().map_err(|_| wrong())?),
            "max-rate" if value == "none" => change.max_rate_kbps = Some(None),
            "max-rate" => {
                let mbps = value.parse().map_err(|_| wrong())?;
                change.max_rate_kbps = Some(Some(max_rate_kbps(mbps)?));
            }
            _ => {
                return Err(format!(
                    "a link has no {key}: in-range, loss, max-rate, signal"
                ));
            }
        }
    }
    if change == LinkChange::default() {
        return Err("what is to change? in-range, loss, max-rate, signal".to_owned());
    }
    Ok(change)
}

impl From<Link> for serde_json::Value {
    fn from(link: Link) -> Self {
        serde_json::json!({
            "in-range": link.in_range,
            "loss": link.loss,
            "max-rate": link.max_rate_kbps.map(|kbps| f64::from(kbps) / 1000.0),
            "signal": link.signal_dbm,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_is_read() {
        let config = Config::parse(include_str!("../../../examples/medium/links.toml")).unwrap();
        assert_eq!(config.seed, 7);
        let (ap, near, far) = (hardware_of(0), hardware_of(2), hardware_of(3));
        assert_eq!(config.links.between(near, ap).loss, 0.0);
        let link = config.links.between(ap, far);
        assert_eq!(
            (link.loss, link.max_rate_kbps, link.signal_dbm),
            (0.1, Some(12_000), -78)
        );
        assert!(!config.links.between(near, far).in_range);
    }

    #[test]
    fn an_empty_file_is_a_medium_on_which_all_hear_each_other() {
        assert_eq!(Config::parse("").unwrap(), Config::default());
    }

    #[test]
    fn faults_are_named_with_their_place() {
        for (text, wants) in [
            ("sede = 1", "line 1, column 1"),
            ("sede = 1", "unknown field `sede`"),
            ("[[link]]\nbetween = [0, 1]\nlos = 0.1", "line 3"),
            (
                "queue = 0",
                "line 1, column 9: queue is not within 1 and 48",
            ),
            ("\n[default]\nloss = 1.5", "line 3, column 8: a loss of 1.5"),
            (
                "[[link]]\nbetween = [0, 0]",
                "line 2, column 11: a radio has no link to itself",
            ),
            (
                "[[link]]\nbetween = [0, \"x\"]",
                "\"x\" is neither the number nor the MAC",
            ),
            (
                "[[link]]\nbetween = [0, 1]\nmax-rate = 0",
                "line 3, column 12: a rate of 0",
            ),
        ] {
            let message = Config::parse(text).unwrap_err();
            assert!(message.contains(wants), "{text}: {message}");
        }
    }

    #[test]
    fn a_radio_has_many_names() {
        for name in ["258", "02:00:00:01:02:00", "42:00:00:01:02:00"] {
            assert_eq!(radio(name), Ok(Mac([0x42, 0, 0, 1, 2, 0])), "{name}");
        }
        assert_eq!(
            radio("aa:bb:cc:00:00:01"),
            Ok(Mac([0xaa, 0xbb, 0xcc, 0, 0, 1]))
        );
        assert!(radio("wlan0").unwrap_err().contains("wlan0"));
    }

    #[test]
    fn changes_are_read() {
        let read = |text: &str| change(text.split_whitespace());
        let expected = LinkChange {
            loss: Some(0.3),
            max_rate_kbps: Some(Some(5500)),
            ..LinkChange::default()
        };
        assert_eq!(read("loss 0.3 max-rate 5.5"), Ok(expected));
        assert_eq!(read("max-rate none").unwrap().max_rate_kbps, Some(None));
        for (text, wants) in [
            ("", "what is to change"),
            ("loss", "loss has no value"),
            ("loss x", "no value for loss"),
            ("loss 2", "not within 0 and 1"),
            ("delay 1", "a link has no delay"),
        ] {
            assert!(read(text).unwrap_err().contains(wants), "{text}");
        }
    }
}
