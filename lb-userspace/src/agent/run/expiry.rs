//! Notices certificates that expire soon.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use super::Agent;
use crate::{agent::kernel::Kernel, proxy::Proxy};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Numbers of days before the end of a certificate at which it is logged, the fewest first; 0 is
/// when it has expired.
const DAYS: [u64; 5] = [0, 1, 3, 7, 14];
/// Interval at which the certificates are examined.
const INTERVAL: Duration = Duration::from_secs(60);

/// Which certificates were logged because they expire soon, and when to examine all of them next.
#[derive(Debug, Default)]
pub(in crate::agent) struct Expiry {
    /// The fewest days of [`DAYS`] at which a certificate was logged, by the certificate's file and
    /// the end of its validity.
    noticed: BTreeMap<(PathBuf, SystemTime), u64>,
    examined: Option<SystemTime>,
}

/// A certificate that expires soon, or has expired.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Notice {
    file: PathBuf,
    expires: SystemTime,
    /// Number of whole days until the certificate expires; `None` if it has expired.
    days: Option<u64>,
}

impl Expiry {
    fn is_due(&mut self, now: SystemTime) -> bool {
        let recent = |last: SystemTime| {
            let elapsed = now.duration_since(last);
            elapsed.is_ok_and(|elapsed| elapsed < INTERVAL)
        };
        if self.examined.is_some_and(recent) {
            return false;
        }
        self.examined = Some(now);
        true
    }

    /// Returns the certificates that have reached another number of remaining days in [`DAYS`]
    /// since the last call.
    fn examine(
        &mut self,
        certificates: impl IntoIterator<Item = (PathBuf, SystemTime)>,
        now: SystemTime,
    ) -> Vec<Notice> {
        let mut notices = Vec::new();
        let mut noticed = BTreeMap::new();
        for (file, expires) in certificates {
            let left = expires.duration_since(now).ok();
            let reached = DAYS.into_iter().find(|days| {
                left.is_none_or(|left| *days > 0 && left <= DAY * u32::try_from(*days).unwrap_or(0))
            });
            let Some(reached) = reached else {
                continue;
            };
            let key = (file, expires);
            let before = noticed.get(&key).or_else(|| self.noticed.get(&key));
            if before.is_none_or(|before| reached < *before) {
                notices.push(Notice {
                    file: key.0.clone(),
                    expires,
                    days: left.map(|left| left.as_secs() / DAY.as_secs()),
                });
            }
            noticed.insert(key, reached);
        }
        self.noticed = noticed;
        notices
    }
}

impl<K: Kernel> Agent<K> {
    /// Logs certificates that expire soon, each once for every number of days in [`DAYS`]. Examines
    /// the certificates once a minute.
    pub(super) fn look_at_expiry(&mut self) {
        let now = SystemTime::now();
        if !self.expiry.is_due(now) {
            return;
        }
        let infos = self.shared.proxy().as_ref().map(Proxy::certificates);
        let infos = infos.unwrap_or_default().into_iter();
        let certificates = infos.map(|info| (info.path, info.not_after));
        for notice in self.expiry.examine(certificates, now) {
            let file = notice.file.display();
            let expires = humantime::format_rfc3339_seconds(notice.expires);
            match notice.days {
                Some(days) => tracing::warn!(
                    %file, %expires, days, event = "certificate_expiring", "a certificate expires soon"
                ),
                None => tracing::error!(
                    %file, %expires, event = "certificate_expired", "a certificate has expired"
                ),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_noticed_once_at_each_threshold_and_again_after_its_renewal() {
        let begin = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let mut expiry = Expiry::default();
        let mut seen = Vec::new();
        for hour in 0..24 * 40 {
            let now = begin + hour * Duration::from_secs(3600);
            // The certificate is renewed five days after it has expired; the new one is valid for
            // 17 days more.
            let end = if hour < 24 * 25 {
                begin + 20 * DAY
            } else {
                begin + 42 * DAY
            };
            // Two services use the certificate of the same file.
            let certificates = || [("a.pem".into(), end), ("a.pem".into(), end)];
            seen.extend(
                expiry
                    .examine(certificates(), now)
                    .into_iter()
                    .map(|notice| notice.days),
            );
        }
        let first = [Some(14), Some(7), Some(3), Some(1), None];
        assert_eq!(seen, [&first[..], &[Some(14), Some(7), Some(3)]].concat());
    }

    #[test]
    fn certificates_are_examined_once_a_minute() {
        let begin = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let mut expiry = Expiry::default();
        let due = (0..120).filter(|second| expiry.is_due(begin + Duration::from_secs(*second)));
        assert_eq!(due.collect::<Vec<_>>(), [0, 60]);
        assert!(expiry.is_due(begin), "the clock was set back");
    }
}
