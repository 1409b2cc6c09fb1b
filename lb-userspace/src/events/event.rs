//! An event of the journal: something that happened on this host, with its cause.

use std::time::SystemTime;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use serde_json::{Map, Value};

use super::Kind;

/// Something that happened on this host, with its cause.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Event {
    /// Identifies the event, also across restarts: the time in microseconds since 1970 at which it
    /// was recorded, increased where two events have the same time.
    pub id: u64,
    /// A number that increases with each record of an event and each repetition of one, over all
    /// events. An event that was not repeated has its `id` as its revision.
    pub revision: u64,
    /// When the event happened; if it was repeated, when it happened for the first time.
    #[serde(with = "moment")]
    pub time: SystemTime,
    /// When the event happened for the last time. The same as `time` unless it was repeated.
    #[serde(with = "moment")]
    pub last: SystemTime,
    /// How many times the event happened; see [`crate::events`] on repetitions.
    pub count: u64,
    /// What kind of event it is.
    pub kind: Kind,
    /// How serious the event is: the level of the event's line in the log.
    pub severity: Severity,
    /// What the event is about, such as a backend or a file.
    pub subject: String,
    /// What happened and why, as a sentence.
    pub cause: String,
    /// The message of the event's line in the log.
    pub message: String,
    /// The fields of the event's line in the log.
    pub fields: Map<String, Value>,
}

/// How serious an event is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// A loss of service, or the failure of something that prevents such a loss.
    Error,
    /// A fault that the host copes with.
    Warn,
    /// A change as it is expected to happen.
    Info,
}

impl Severity {
    /// Returns the severity as in JSON and in the log, in lower case.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
        }
    }
}

impl From<&tracing::Level> for Severity {
    fn from(level: &tracing::Level) -> Self {
        match *level {
            tracing::Level::ERROR => Self::Error,
            tracing::Level::WARN => Self::Warn,
            _ => Self::Info,
        }
    }
}

/// Encodes times in JSON: RFC 3339 in UTC, with milliseconds.
mod moment {
    use super::{Deserialize, Deserializer, Error, Serializer, SystemTime};

    pub(super) fn serialize<S: Serializer>(
        time: &SystemTime,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_rfc3339_millis(*time))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<SystemTime, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_rfc3339(&text).map_err(D::Error::custom)
    }
}
