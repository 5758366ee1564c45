//! A medium in real time: events of the driver in, frames out when their airtime is over.
//!
//! One thread and one wait. A machine that is too slow for what is on the air falls behind; once it is more than a little
//! late, the medium's clock stands still for what is missing. So the medium carries less then, but shares stay what they are,
//! and how much time was lost is part of the books.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::num::NonZeroU64;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::config::Config;
use super::contention::{Air, Contention, Status};
use super::control::{Control, Lag};
use super::error::Error;
use super::frame::{Frame, Mac, Step};
use super::hwsim::Hwsim;
use super::ledger::Entry;
use super::message::Event;

/// How late the medium may be before its clock waits.
const PATIENCE: Duration = Duration::from_millis(100);
/// How late it may be without that being told: what is sent meanwhile sees a radio that takes its time.
const LATE: Duration = Duration::from_millis(3);
/// Waits shorter than this are not worth a system call.
const SPIN: Duration = Duration::from_micros(20);

/// Is the medium until `stop` can be read or is closed at its other end. `ready` is called once with the number of radios
/// when all is set up.
///
/// # Errors
/// When it can't be set up, or the connection to the driver or the ledger's file fails.
pub fn run(
    config: &Config,
    stop: BorrowedFd<'_>,
    ready: impl FnOnce(usize) -> Result<(), Error>,
) -> Result<(), Error> {
    let journal = config.ledger.as_deref().map(Journal::create).transpose()?;
    let mut control = config.control.as_deref().map(Control::listen).transpose()?;
    let mut medium = Contention::new(config.links.clone(), config.queue, config.seed);
    let mut radios = Radios {
        hwsim: Hwsim::register()?,
        journal,
        failed: None,
    };
    hurry()?;
    let mut clock = Clock::start();
    take_in(&mut medium, &mut radios, &clock)?;
    ready(medium.radios().count())?;
    loop {
        radios.hwsim.receive()?;
        take_in(&mut medium, &mut radios, &clock)?;
        clock.wait_for(medium.next_ns());
        let did_something = medium.step(clock.now_ns(), &mut radios);
        radios.check()?;
        clock.wait_for(medium.next_ns());
        if did_something {
            continue;
        }
        let left = medium.next_ns().map(|next| clock.until(next));
        if left.is_some_and(|left| left < SPIN) {
            continue;
        }
        if left.is_none_or(|left| left > PATIENCE)
            && let Some(journal) = &mut radios.journal
        {
            journal.flush()?;
        }
        let woken = wait(&radios.hwsim, control.as_ref(), stop, left)?;
        if woken.stop {
            return radios.journal.as_mut().map_or(Ok(()), Journal::flush);
        }
        if woken.control
            && let Some(control) = &mut control
        {
            control.serve(&mut medium, clock.lag);
        }
    }
}

/// Hardware does not wait for programs: we go before all of them, and are woken on time rather than, for the sake of the
/// battery, 50 us later.
fn hurry() -> Result<(), Error> {
    rustix::process::setpriority_process(None, -20)
        .and_then(|()| rustix::thread::set_current_timer_slack(NonZeroU64::new(1)))
        .map_err(|error| Error::Wait(error.into()))
}

fn take_in(medium: &mut Contention, radios: &mut Radios, clock: &Clock) -> Result<(), Error> {
    while let Some(event) = radios.hwsim.next_event() {
        match event {
            Event::Frame(radio, frame) => medium.offer(clock.now_ns(), radio, frame, radios),
            Event::RadioAdded(radio) => {
                medium.add_radio(radio);
            }
            Event::RadioRemoved(radio) => medium.remove_radio(radio),
            Event::AddressAdded(radio, address) => medium.add_address(radio, address),
            Event::AddressRemoved(radio, address) => medium.remove_address(radio, address),
        }
    }
    radios.check()
}

/// Who asked for attention.
#[derive(Debug, Default)]
struct Woken {
    stop: bool,
    control: bool,
}

fn wait(
    hwsim: &Hwsim,
    control: Option<&Control>,
    stop: BorrowedFd<'_>,
    left: Option<Duration>,
) -> Result<Woken, Error> {
    let own = [hwsim.as_fd(), stop];
    let clients = control.into_iter().flat_map(Control::fds);
    let mut fds: Vec<PollFd<'_>> = own
        .into_iter()
        .chain(clients)
        .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
        .collect();
    let left = left.map(|left| Timespec {
        tv_sec: left.as_secs().cast_signed(),
        tv_nsec: left.subsec_nanos().into(),
    });
    match poll(&mut fds, left.as_ref()) {
        Ok(_) => {}
        Err(Errno::INTR) => return Ok(Woken::default()),
        Err(error) => return Err(Error::Wait(error.into())),
    }
    Ok(Woken {
        stop: !fds[1].revents().is_empty(),
        control: fds[2..].iter().any(|fd| !fd.revents().is_empty()),
    })
}

/// The medium's time: real time less what the machine was too slow for.
#[derive(Debug)]
struct Clock {
    start: Instant,
    lag: Lag,
    /// Until when it is known whether the medium was late, in nanoseconds of real time.
    seen_ns: u64,
}

impl Clock {
    fn start() -> Self {
        Self {
            start: Instant::now(),
            lag: Lag::default(),
            seen_ns: 0,
        }
    }

    fn now_ns(&self) -> u64 {
        nanoseconds(self.start.elapsed()).saturating_sub(self.lag.slipped_ns)
    }

    fn until(&self, at_ns: u64) -> Duration {
        Duration::from_nanos(at_ns.saturating_sub(self.now_ns()))
    }

    /// Stands still for what is more than a little late.
    fn wait_for(&mut self, next_ns: Option<u64>) {
        let real_ns = nanoseconds(self.start.elapsed());
        let now_ns = real_ns.saturating_sub(self.lag.slipped_ns);
        let late_ns = next_ns.map_or(0, |next| now_ns.saturating_sub(next));
        if late_ns > nanoseconds(LATE) {
            self.lag.late_ns += late_ns.min(real_ns - self.seen_ns);
        }
        self.seen_ns = real_ns;
        if late_ns > nanoseconds(PATIENCE) {
            self.lag.slipped_ns += late_ns;
        }
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The other side of the medium: the driver, and the file of the ledger.
#[derive(Debug)]
struct Radios {
    hwsim: Hwsim,
    journal: Option<Journal>,
    /// What failed while the medium could not be told.
    failed: Option<Error>,
}

impl Radios {
    fn check(&mut self) -> Result<(), Error> {
        self.failed.take().map_or(Ok(()), Err)
    }

    fn note<T: Default>(&mut self, result: Result<T, Error>) -> T {
        result.unwrap_or_else(|error| {
            self.failed.get_or_insert(error);
            T::default()
        })
    }
}

impl Air for Radios {
    fn deliver(&mut self, frame: &Frame, step: &Step, at: Mac, signal_dbm: i8) -> bool {
        let heard = self.hwsim.deliver(frame, step, at, signal_dbm);
        self.note(heard)
    }

    fn done(&mut self, radio: Mac, frame: Frame, status: Status) {
        let told = self.hwsim.report(radio, &frame, status);
        self.note(told);
    }

    fn tried(&mut self, entry: &Entry) {
        if let Some(journal) = &mut self.journal {
            let written = journal.write(entry);
            self.note(written);
        }
    }
}

/// The file with one line of JSON for each try.
#[derive(Debug)]
struct Journal {
    path: String,
    file: BufWriter<File>,
}

impl Journal {
    fn create(path: &std::path::Path) -> Result<Self, Error> {
        let name = path.display().to_string();
        match File::create(path) {
            Ok(file) => Ok(Self {
                path: name,
                file: BufWriter::new(file),
            }),
            Err(source) => Err(Error::File { path: name, source }),
        }
    }

    fn write(&mut self, entry: &Entry) -> Result<(), Error> {
        serde_json::to_writer(&mut self.file, entry)
            .map_err(std::io::Error::from)
            .and_then(|()| self.file.write_all(b"\n"))
            .map_err(|source| self.failed(source))
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.file.flush().map_err(|source| self.failed(source))
    }

    fn failed(&self, source: std::io::Error) -> Error {
        Error::File {
            path: self.path.clone(),
            source,
        }
    }
}
