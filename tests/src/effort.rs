//! How much a test does: enough to detect a regression, or the full amount.

use std::env;

/// Environment variable that selects the full amount, whatever its value.
pub const THOROUGH: &str = "LB_LAB_THOROUGH";

/// Returns `usual`, or `thorough` if `LB_LAB_THOROUGH` is set.
pub fn effort<T>(usual: T, thorough: T) -> T {
    if env::var_os(THOROUGH).is_some() {
        thorough
    } else {
        usual
    }
}
