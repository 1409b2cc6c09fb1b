//! How much a test does: enough to notice a mistake, or all that was promised.

use std::env;

/// The variable that asks for all of it, whatever its value.
pub const THOROUGH: &str = "LB_LAB_THOROUGH";

/// The first of two amounts; the second where `LB_LAB_THOROUGH` is set.
pub fn effort<T>(usual: T, thorough: T) -> T {
    if env::var_os(THOROUGH).is_some() {
        thorough
    } else {
        usual
    }
}
