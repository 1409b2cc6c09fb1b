//! The clean Debian system in which the tests of the packages install them.

/// The directory of the system, within the target directory.
pub(crate) const DEBIAN_ROOT: &str = "debian-root";

/// The Debian release of the clean Debian system in [`DEBIAN_ROOT`].
pub(crate) const DEBIAN_SUITE: &str = "bookworm";
