//! DNS-01 (RFC 8555 §8.4): sets and removes TXT records by a command that the operator supplies.
//!
//! The command gets the arguments of lego's `exec` provider and the environment of certbot's hooks,
//! so that scripts written for lego or for certbot work.

use tokio::time::timeout;

use crate::{command::Running, config::DnsHook};

/// A TXT record that answers a DNS-01 challenge.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct TxtRecord {
    /// The name that is validated, without a leading `*.`.
    domain: String,
    value: String,
}

/// The operator's command failed to set or remove a TXT record.
#[derive(Debug, thiserror::Error)]
#[error("dns_command could not {what} the record {name}: {why}")]
pub(super) struct DnsError {
    what: &'static str,
    name: String,
    why: String,
}

impl TxtRecord {
    /// Creates the TXT record for a name. `value` is the digest of the key authorization, in
    /// base64url.
    pub(super) fn new(domain: String, value: String) -> Self {
        Self { domain, value }
    }

    /// Sets the TXT record by the operator's command. Returns the last line that the command
    /// printed.
    ///
    /// # Errors
    /// The command failed or timed out.
    pub(super) async fn set(
        &self,
        hook: &DnsHook,
        domains: &[String],
        remaining: usize,
    ) -> Result<String, DnsError> {
        let environment = [
            ("CERTBOT_ALL_DOMAINS", domains.join(",")),
            ("CERTBOT_REMAINING_CHALLENGES", remaining.to_string()),
        ];
        self.run(hook, ("set", "present"), &environment).await
    }

    /// Removes the TXT record by the operator's command. `said` is what the command printed when it
    /// set the record.
    ///
    /// # Errors
    /// The command failed or timed out.
    pub(super) async fn remove(&self, hook: &DnsHook, said: &str) -> Result<(), DnsError> {
        let environment = [("CERTBOT_AUTH_OUTPUT", said.to_owned())];
        self.run(hook, ("remove", "cleanup"), &environment).await?;
        Ok(())
    }

    async fn run(
        &self,
        hook: &DnsHook,
        (what, action): (&'static str, &str),
        environment: &[(&str, String)],
    ) -> Result<String, DnsError> {
        let name = format!("_acme-challenge.{}.", self.domain);
        let fail = |why: String| DnsError {
            what,
            name: name.clone(),
            why,
        };
        let mut words = hook.command.clone();
        words.extend([action.to_owned(), name.clone(), self.value.clone()]);
        let mut variables = vec![
            ("CERTBOT_DOMAIN", self.domain.clone()),
            ("CERTBOT_VALIDATION", self.value.clone()),
        ];
        variables.extend_from_slice(environment);
        let mut running = Running::start_with(&words, &variables).map_err(fail)?;
        let Ok(ended) = timeout(hook.timeout, running.end()).await else {
            running.kill();
            let said = running.last_line().map(|line| format!(": {line}"));
            let limit = hook.timeout;
            return Err(fail(format!(
                "it was still running after {limit:?} and was killed{}",
                said.unwrap_or_default()
            )));
        };
        if ended.success {
            Ok(running.last_line().unwrap_or_default())
        } else {
            Err(fail(ended.message))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn hook(script: &str, timeout: Duration) -> DnsHook {
        let words = ["/bin/sh", "-c", script, "dns-record", "zone"];
        DnsHook {
            command: words.map(str::to_owned).to_vec(),
            timeout,
            propagation: Duration::ZERO,
        }
    }

    fn record() -> TxtRecord {
        TxtRecord::new("example.org".to_owned(), "digest".to_owned())
    }

    const LONG: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn the_command_gets_the_arguments_of_lego_and_the_variables_of_certbot() {
        let said = "echo $* / $CERTBOT_DOMAIN $CERTBOT_VALIDATION $CERTBOT_ALL_DOMAINS \
                    $CERTBOT_REMAINING_CHALLENGES $CERTBOT_AUTH_OUTPUT";
        let domains = ["example.org".to_owned(), "*.example.org".to_owned()];
        let set = record().set(&hook(said, LONG), &domains, 1).await;
        assert_eq!(
            set.expect("set"),
            "zone present _acme-challenge.example.org. digest / example.org digest \
             example.org,*.example.org 1"
        );
        let fails = format!("{said}; exit 3");
        let removed = record().remove(&hook(&fails, LONG), "id 7").await;
        assert_eq!(
            removed.expect_err("it fails").to_string(),
            "dns_command could not remove the record _acme-challenge.example.org.: exit status: 3: \
             zone cleanup _acme-challenge.example.org. digest / example.org digest id 7"
        );
    }

    #[tokio::test]
    async fn a_command_that_hangs_is_killed_with_what_it_started() {
        let started = std::time::Instant::now();
        let hangs = hook(
            "echo one moment; sleep 100 & sleep 100",
            Duration::from_millis(300),
        );
        let error = record().set(&hangs, &[], 0).await.expect_err("it hangs");
        assert!(
            error
                .to_string()
                .ends_with("it was still running after 300ms and was killed: one moment"),
            "{error}"
        );
        assert!(started.elapsed() < LONG);
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_said() {
        let nowhere = DnsHook {
            command: vec!["/nowhere".to_owned()],
            ..hook("", LONG)
        };
        let error = record().set(&nowhere, &[], 0).await.expect_err("nowhere");
        assert!(
            error.to_string().contains("cannot start /nowhere"),
            "{error}"
        );
    }
}
