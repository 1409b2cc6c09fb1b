//! How much work a test does: enough to detect a regression, or the full amount.

use std::env;

/// Environment variable that makes tests do the full amount of work, whatever its value.
pub const THOROUGH: &str = "LB_LAB_THOROUGH";

/// Returns `usual`, or `thorough` if `LB_LAB_THOROUGH` is set, in which case tests do the full
/// amount of work.
pub fn effort<T>(usual: T, thorough: T) -> T {
    if env::var_os(THOROUGH).is_some() {
        thorough
    } else {
        usual
    }
}
