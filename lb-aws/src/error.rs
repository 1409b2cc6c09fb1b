//! Errors of talking to AWS, each with a kind for the caller and a sentence for the operator.

use std::{error::Error, fmt, time::Duration};

use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use super::Operation;

/// The error of a call to AWS that failed, or whose result is unknown.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ApiError {
    /// The kind of failure, by which the caller decides what to do.
    pub kind: ErrorKind,
    /// How long AWS asks to wait before the next call; `None` if AWS does not say.
    pub retry_after: Option<Duration>,
    /// A sentence for the operator: what was attempted, on what, what was found, and what to do.
    pub sentence: String,
}

/// The kind of a failure to talk to AWS.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum ErrorKind {
    /// There were too many calls in this AWS account and region: retry later and less often.
    Throttled,
    /// The call is not permitted or not authenticated, which lasts until an operator fixes it.
    Denied,
    /// The EC2 API or the metadata service is unreachable, so the call was not carried out.
    Unreachable,
    /// There was no answer in time, so the call may have been carried out.
    TimedOut,
    /// A resource that the call names does not exist, or the call does not fit it (an address limit
    /// is reached, an association exists), which mostly lasts until an operator fixes it.
    Invalid,
    /// Any other failure, such as an error within AWS.
    Other,
}

impl ErrorKind {
    /// Returns the name of the kind in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Throttled => "throttled",
            Self::Denied => "denied",
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timed_out",
            Self::Invalid => "invalid",
            Self::Other => "error",
        }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl Error for ApiError {}

impl ApiError {
    pub(super) fn new(kind: ErrorKind, sentence: String) -> Self {
        Self {
            kind,
            retry_after: None,
            sentence,
        }
    }

    /// Converts an error of the SDK in a call of the action `operation` on the resource `subject`,
    /// which the section `[ha.elastic_ip]` of the configuration has asked for.
    pub(super) fn of_call<E>(
        operation: Operation,
        subject: &str,
        error: &SdkError<E, HttpResponse>,
    ) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        Self::of(Purpose::ElasticIp, operation, subject, error)
    }

    /// Converts an error of the SDK in a call of the action `operation` on the resource `subject`,
    /// which the section `[pool.discover]` of the configuration has asked for.
    pub(super) fn of_discovery<E>(
        operation: Operation,
        subject: &str,
        error: &SdkError<E, HttpResponse>,
    ) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        Self::of(Purpose::Discovery, operation, subject, error)
    }

    fn of<E>(
        purpose: Purpose,
        operation: Operation,
        subject: &str,
        error: &SdkError<E, HttpResponse>,
    ) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let (action, service) = (operation.name(), operation.service());
        let (kind, came_back) = match error {
            SdkError::TimeoutError(_) => (
                ErrorKind::TimedOut,
                "there was no answer in time".to_owned(),
            ),
            SdkError::DispatchFailure(failure) if failure.is_timeout() => (
                ErrorKind::Unreachable,
                "no connection was established in time".to_owned(),
            ),
            SdkError::DispatchFailure(failure) if failure.is_io() => {
                (ErrorKind::Unreachable, root_cause(error))
            }
            SdkError::ServiceError(answer) => of_code(service, answer.err(), answer.raw()),
            SdkError::ResponseError(_) => (
                ErrorKind::Other,
                format!("the response is not from {service} ({})", root_cause(error)),
            ),
            _ => (of_cause(error), root_cause(error)),
        };
        let advice = advice(purpose, kind, operation, error.code());
        Self {
            kind,
            retry_after: error.raw_response().and_then(retry_after),
            sentence: format!("{action} on {subject} failed: {came_back}; {advice}"),
        }
    }

    /// Returns the error of the call `what`, which exceeded its time limit.
    pub(super) fn overdue(what: &str) -> Self {
        let sentence = format!("{what} timed out; it will be retried");
        Self::new(ErrorKind::TimedOut, sentence)
    }
}

/// What a call to AWS is for, which decides what its errors advise.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Purpose {
    /// The Elastic IP, of the section `[ha.elastic_ip]`.
    ElasticIp,
    /// The discovery of backends, of the section `[pool.discover]`.
    Discovery,
}

/// Classifies a response with the code of an error from the service of AWS called `service`.
/// Returns the kind of the error, and what was found, for the message.
fn of_code<E: ProvideErrorMetadata>(
    service: &str,
    error: &E,
    response: &HttpResponse,
) -> (ErrorKind, String) {
    let status = response.status().as_u16();
    let Some(code) = error.code() else {
        return without_code(service, status);
    };
    let said = match error.message() {
        Some(message) => format!("{service} answered {code} ({message})"),
        None => format!("{service} answered {code}"),
    };
    (kind_of(code, status), said)
}

/// Classifies a response without an error code of AWS: it came from a proxy in between, or has no
/// XML. Returns the kind of the error, and what was found, for the message.
fn without_code(service: &str, status: u16) -> (ErrorKind, String) {
    let kind = if status == 429 {
        ErrorKind::Throttled
    } else {
        ErrorKind::Other
    };
    let said = format!("the response (status {status}) did not come from {service}");
    (kind, said)
}

fn kind_of(code: &str, status: u16) -> ErrorKind {
    match code {
        "RequestLimitExceeded"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "SlowDown"
        | "Throttling"
        | "ThrottlingException"
        | "ThrottledException"
        | "TooManyRequestsException"
        | "EC2ThrottledException"
        | "BandwidthLimitExceeded" => ErrorKind::Throttled,
        "UnauthorizedOperation"
        | "AuthFailure"
        | "AccessDenied"
        | "AccessDeniedException"
        | "Blocked"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "IncompleteSignature"
        | "InvalidClientTokenId"
        | "InvalidSecurity.RequestHasExpired"
        | "InvalidSecurityToken"
        | "MissingAuthenticationToken"
        | "OptInRequired"
        | "PendingVerification"
        | "RequestExpired"
        | "SignatureDoesNotMatch"
        | "UnrecognizedClientException" => ErrorKind::Denied,
        "MissingParameter"
        | "PrivateIpAddressLimitExceeded"
        | "Resource.AlreadyAssociated"
        | "ValidationError" => ErrorKind::Invalid,
        _ if code.starts_with("Invalid") => ErrorKind::Invalid,
        _ if status == 429 => ErrorKind::Throttled,
        _ => ErrorKind::Other,
    }
}

/// Classifies an error that kept the SDK from sending the call at all.
fn of_cause(error: &(dyn Error + 'static)) -> ErrorKind {
    let says = causes(error).map(ToString::to_string).collect::<String>();
    if says.contains("credentials") || says.contains("identity") {
        return ErrorKind::Denied;
    }
    ErrorKind::Other
}

fn advice(purpose: Purpose, kind: ErrorKind, operation: Operation, code: Option<&str>) -> String {
    match (kind, code) {
        (ErrorKind::Denied, Some("UnauthorizedOperation" | "AccessDenied")) => {
            let permission = operation.permission();
            format!("allow {permission} in the instance's role (docs/aws.md has the policy)")
        }
        (ErrorKind::Denied, Some("RequestExpired" | "SignatureDoesNotMatch" | "AuthFailure")) => {
            "check the credentials, and this host's clock: it must be right to 5 minutes".to_owned()
        }
        (ErrorKind::Denied, _) => {
            "check the instance's role and its credentials (docs/aws.md)".to_owned()
        }
        (ErrorKind::Throttled, _) if purpose == Purpose::Discovery => {
            let service = operation.service();
            format!(
                "it is retried; other programs in this account call {service} too: a longer \
                 interval in [pool.discover] reduces the calls of lb"
            )
        }
        (ErrorKind::Throttled, _) => {
            "it is retried with increasing delays; other programs in this account call EC2 too"
                .to_owned()
        }
        (ErrorKind::Unreachable, _) => {
            "it is retried; check this host's route to the API (docs/aws.md)".to_owned()
        }
        (ErrorKind::Invalid, _) if purpose == Purpose::Discovery => {
            "check the region, and the tags or the name of the group, in [pool.discover]".to_owned()
        }
        (ErrorKind::Invalid, _) => "check the IDs and addresses in [ha.elastic_ip]".to_owned(),
        (ErrorKind::TimedOut | ErrorKind::Other, _) => "it is retried".to_owned(),
    }
}

/// Returns how long the response asks to wait; `None` if the response does not say. AWS's own
/// header is in milliseconds, that of HTTP (`Retry-After`) in seconds.
fn retry_after(response: &HttpResponse) -> Option<Duration> {
    let number = |name: &str| response.headers().get(name)?.trim().parse().ok();
    number("x-amz-retry-after")
        .map(Duration::from_millis)
        .or_else(|| number("retry-after").map(Duration::from_secs))
}

/// Returns the message of the innermost error in one line; the outer errors are layers of the SDK.
pub(super) fn root_cause(error: &(dyn Error + 'static)) -> String {
    let said = causes(error).last().unwrap_or(error).to_string();
    let lines: Vec<_> = said.lines().map(str::trim).collect();
    lines.join(" ")
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_ec2_are_told_apart_by_what_is_to_be_done() {
        for (code, status, kind) in [
            ("RequestLimitExceeded", 503, ErrorKind::Throttled),
            ("UnauthorizedOperation", 403, ErrorKind::Denied),
            ("InvalidClientTokenId", 403, ErrorKind::Denied),
            ("InvalidAllocationID.NotFound", 400, ErrorKind::Invalid),
            ("InternalError", 500, ErrorKind::Other),
            ("Unavailable", 503, ErrorKind::Other),
            ("SomethingNew", 429, ErrorKind::Throttled),
        ] {
            assert_eq!(kind_of(code, status), kind, "{code}");
        }
    }
}
