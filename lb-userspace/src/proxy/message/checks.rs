//! Checks of a request that are the same for all protocols.

use super::{Framing, Refusal, host::is_host};

/// Rejects methods that the front does not serve, and TRACE with a body, which is not allowed (RFC
/// 9110 §9.3.6, §9.3.8).
///
/// # Errors
/// [`Refusal::Method`].
pub(crate) fn check_method(method: &str, framing: Framing) -> Result<(), Refusal> {
    match method {
        "CONNECT" => Err(Refusal::Method),
        "TRACE" if framing != Framing::Empty => Err(Refusal::Method),
        _ => Ok(()),
    }
}

/// Rejects a request target with a space, a control character or a fragment.
///
/// # Errors
/// [`Refusal::Target`].
pub(crate) fn check_target_text(target: &[u8]) -> Result<(), Refusal> {
    let plain = |byte: &u8| (0x21..=0x7e).contains(byte) && *byte != b'#';
    if target.iter().all(plain) {
        Ok(())
    } else {
        Err(Refusal::Target)
    }
}

/// Returns whether a request target is a path, or `*` with the method OPTIONS, which allows it (RFC
/// 9112 §3.2.1, §3.2.4).
pub(crate) fn is_origin_form(method: &str, target: &str) -> bool {
    target.starts_with('/') || (target == "*" && method == "OPTIONS")
}

/// Rejects every value of an `Expect` field but `100-continue`, the only one that is defined (RFC
/// 9110 §10.1.1).
///
/// # Errors
/// [`Refusal::Expectation`].
pub(crate) fn check_expectation(value: &[u8]) -> Result<(), Refusal> {
    if value.eq_ignore_ascii_case(b"100-continue") {
        Ok(())
    } else {
        Err(Refusal::Expectation)
    }
}

/// Checks a hypothetical request (the operator asks which route it would match) as strictly as a
/// request that is received.
///
/// # Errors
/// Why the request would be refused, as a sentence.
pub(crate) fn check_question(method: &str, target: &str, host: &str) -> Result<(), String> {
    let refused = |refusal: Refusal| {
        let (status, sentence) = (refusal.status(), refusal.sentence());
        format!("it is refused with {status} before any route: {sentence}")
    };
    check_method(method, Framing::Empty).map_err(refused)?;
    check_target_text(target.as_bytes()).map_err(refused)?;
    if is_host(host.as_bytes()) {
        Ok(())
    } else {
        Err(refused(Refusal::Host))
    }
}
