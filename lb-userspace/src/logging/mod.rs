//! The log: a line for each event on standard error, as text or JSON, at a level that can be
//! changed while the agent runs.

use std::{
    fmt::Display,
    io::{self, IsTerminal as _},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tracing_subscriber::{EnvFilter, Layer as _, Registry, fmt, prelude::*, reload};

use crate::{
    config::{self, LineFormat},
    events::{self, Journal},
};

mod format;
mod journald;
mod level;

use format::{Lines, SharedFormat};
use level::Level;

/// The log of this process, and the journal of events that is collected from it. Clones share both.
#[derive(Clone, Debug, Default)]
pub struct Logging {
    /// The journal of events.
    pub journal: Journal,
    /// What changes the format and the level of the log; `None` if this process has no log, as in
    /// tests.
    control: Option<Arc<Control>>,
}

#[derive(Debug)]
struct Control {
    format: SharedFormat,
    level: Mutex<Level>,
    filter: reload::Handle<EnvFilter, Registry>,
}

impl Logging {
    /// Starts the log. `levels` is a level such as `info`, or levels by module such as `lb=debug`;
    /// it overrides the level of the configuration. `colour` says whether lines are coloured by the
    /// escape sequences of a terminal.
    ///
    /// # Errors
    /// `levels` is invalid, or a log has already been started.
    pub fn start(levels: Option<&str>, colour: bool) -> Result<Self, String> {
        let level = Level::new(levels);
        let (filter, handle) = reload::Layer::new(parse(level.in_force())?);
        let format = SharedFormat::default();
        let is_journald = !io::stderr().is_terminal() && journald::is_at_standard_error();
        let lines = fmt::layer()
            .with_writer(io::stderr)
            .with_ansi(colour)
            .event_format(Lines::new(&format, is_journald))
            .with_filter(filter);
        let journal = Journal::default();
        let started = tracing_subscriber::registry()
            .with(lines)
            .with(events::Layer::of(&journal))
            .try_init();
        started.map_err(|error| format!("cannot start the log: {error}"))?;
        let control = Control {
            format,
            level: Mutex::new(level),
            filter: handle,
        };
        Ok(Self {
            journal,
            control: Some(Arc::new(control)),
        })
    }

    /// Puts the format and the level of the log in force that a configuration sets.
    pub fn configure(&self, log: &config::Log) {
        self.set_format(log.format);
        // The level was checked when the configuration was read, so a level that is refused here is
        // a fault of the program.
        let configured = self.change(|level| level.configure(&log.level));
        debug_assert!(configured.is_ok(), "{configured:?}");
    }

    /// Sets the level of the log for `time`, or with `None` until the agent ends. The word
    /// `configured` restores the level of the configuration. Returns the outcome as a sentence.
    ///
    /// # Errors
    /// The level is invalid.
    pub fn set_level(&self, levels: &str, time: Option<Duration>) -> Result<String, String> {
        if levels == "configured" {
            self.change(Level::reset)?;
            let reason = "the operator restored the configured level";
            return Ok(self.announce(reason));
        }
        let levels = &check_level(levels).map_err(|error| invalid(levels, error))?;
        let until = time.and_then(|time| Instant::now().checked_add(time));
        self.change(|level| level.set(levels, until))?;
        let time = time.map(|time| humantime::format_duration(time).to_string());
        Ok(self.announce(&match time {
            Some(time) => format!("the operator set it for {time}"),
            None => "the operator set it until the agent ends".to_owned(),
        }))
    }

    /// Restores the configured level of the log when the time of a temporary one has passed. Must
    /// be called once a second.
    pub fn tick(&self) {
        let now = Instant::now();
        let mut expired = false;
        let changed = self.change(|level| expired = level.expire(now));
        if expired && changed.is_ok() {
            self.announce("the time that the operator set has expired");
        }
    }

    fn set_format(&self, format: LineFormat) {
        if let Some(control) = &self.control {
            control.format.set(format);
        }
    }

    /// Logs which level of the log is in force, and returns that as a sentence. `reason` says why
    /// it changed.
    fn announce(&self, reason: &str) -> String {
        let control = self.control.as_ref();
        let level =
            control.map_or_else(String::new, |control| control.level().in_force().to_owned());
        tracing::info!(
            level,
            reason,
            event = "log_level_changed",
            "the log level changed"
        );
        format!("the log level is now {level}: {reason}")
    }

    /// Changes the levels of the log by `change`, and puts the resulting level in force if it
    /// differs from the one before.
    fn change(&self, change: impl FnOnce(&mut Level)) -> Result<(), String> {
        let Some(control) = &self.control else {
            return Ok(());
        };
        let levels = {
            let mut level = control.level();
            let before = level.in_force().to_owned();
            change(&mut level);
            if level.in_force() == before {
                return Ok(());
            }
            level.in_force().to_owned()
        };
        let filter = parse(&levels)?;
        let failed = |error| format!("cannot change the log level: {error}");
        control.filter.reload(filter).map_err(failed)
    }
}

impl Control {
    fn level(&self) -> std::sync::MutexGuard<'_, Level> {
        self.level.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the text if it is a level of the log, or levels by module, such as
/// `info,lb::proxy=debug`. [`EnvFilter`] is less strict: it takes any word that is not a level for
/// the name of a module.
///
/// # Errors
/// The text is neither; the error says what is allowed.
pub fn check_level(levels: &str) -> Result<String, String> {
    if config::is_log_level(levels) {
        return Ok(levels.to_owned());
    }
    Err(
        "use error, warn, info, debug or trace, or levels by module such as info,lb::proxy=debug"
            .to_owned(),
    )
}

fn parse(levels: &str) -> Result<EnvFilter, String> {
    EnvFilter::try_new(levels).map_err(|error| invalid(levels, error))
}

fn invalid(levels: &str, error: impl Display) -> String {
    format!("invalid log level {levels:?}: {error}")
}
