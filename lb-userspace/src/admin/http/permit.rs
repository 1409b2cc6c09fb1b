//! Who may change something over the admin server: a client that sends the operator token, or one
//! that has shown an operator's certificate in the handshake.

use super::{Server, request, response::Response};
use crate::admin::{page::Actions, tls::Operator};

const OFF: &str = "Changes are off: neither `admin.token_file` nor `admin.client_authorities` is \
                   configured. Use `lb` on the host.\n";
const NO_CERTIFICATE: &str =
    "Changes need the certificate of an operator: connect with one (curl: `--cert`).\n";
const ELSEWHERE: &str = "An operator's certificate allows changes from this server's own page, or \
                         from a program: `Origin` or `Sec-Fetch-Site` names another site, or `Host` \
                         no name of `admin.certificate`.\n";

impl Server {
    /// Permits a change to a client that sent the right operator token, or that has shown the
    /// certificate of `operator`. A token that is sent decides, where a token is configured. The
    /// error is the response to any other client.
    pub(super) fn permit(
        &self,
        operator: Option<&Operator>,
        command: &request::Command,
    ) -> Result<(), Response> {
        let given = command.token.as_deref();
        let token = match (&self.token, operator) {
            (None, None) => return Err(Response::text(403, self.what_is_missing())),
            (None, Some(_)) => return self.permit_certificate(command),
            (Some(_), Some(_)) if given.is_none() => return self.permit_certificate(command),
            (Some(token), _) => token,
        };
        match token.matches(given.unwrap_or_default()) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Response::unauthorized()),
            Err(error) => Err(Response::text(500, &format!("{error}\n"))),
        }
    }

    /// Permits a change to a client with an operator's certificate, which browsers send by
    /// themselves, unless the request may come from a page of another site.
    fn permit_certificate(&self, command: &request::Command) -> Result<(), Response> {
        let is_host = |host: &str| self.tls.as_ref().is_some_and(|tls| tls.is_host(host));
        if command.origin.is_own(is_host) {
            return Ok(());
        }
        Err(Response::text(403, ELSEWHERE))
    }

    fn what_is_missing(&self) -> &'static str {
        match &self.tls {
            Some(tls) if tls.verifies_operators() => NO_CERTIFICATE,
            _ => OFF,
        }
    }

    /// Returns what the status page lets a client change, and by what.
    pub(super) fn actions(&self, operator: Option<&Operator>) -> Actions {
        match (operator, &self.token) {
            (Some(_), _) => Actions::ByCertificate,
            (None, Some(_)) => Actions::ByToken,
            (None, None) => Actions::Off,
        }
    }
}

#[cfg(test)]
mod tests;
