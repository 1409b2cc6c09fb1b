//! Converts the section `[ha]` of the configuration to the settings of VRRP adverts.

use std::{
    io,
    path::{Path, PathBuf},
};

use lb_ha::advert::{
    Authentication, BadKeys, Cast, Interval, Keys, Misfit, Password, Senders, Settings, Version,
    Wire,
};

use crate::{
    config::{self, Ha, Transport, VrrpVersion},
    private_file::{self, PrivateFileError},
};

/// Size limit of the key file in bytes: more than a file with all keys of a rotation needs.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// Why the sending and receiving of adverts could not be started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The settings of adverts contradict each other. The checks of the configuration find this
    /// before adverts are started.
    #[error("cannot build the adverts that [ha] describes: {0}")]
    Settings(#[source] Misfit),
    /// The password has a length that VRRP does not allow. The checks of the configuration find
    /// this before adverts are started.
    #[error("the password of [ha] must have 1 to 8 characters")]
    Password,
    /// The advert interval does not fit into an advert. The checks of the configuration find this
    /// before adverts are started.
    #[error("the advert_interval of [ha] does not fit into an advert")]
    Interval,
    /// The file with the keys that authenticate adverts is unusable.
    #[error("cannot use the key file of adverts (ha.hmac_key_file), {}: {problem}", path.display())]
    KeyFile {
        /// The path of the key file.
        path: PathBuf,
        /// What is wrong with the key file.
        #[source]
        problem: KeyFileProblem,
    },
    /// This process lacks the permission to open a raw socket.
    #[error(
        "cannot open a raw socket for VRRP: {0}; lb needs the capability CAP_NET_RAW: run it under its systemd unit, which grants it, or as root"
    )]
    Permission(#[source] io::Error),
    /// The kernel could not open a raw socket, for another reason than missing permission.
    #[error("cannot open a raw socket for VRRP over {family}: {error}")]
    Socket {
        /// The address family of the socket: `IPv4` or `IPv6`.
        family: &'static str,
        /// The kernel's error.
        #[source]
        error: io::Error,
    },
}

/// What is wrong with the key file of adverts.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileProblem {
    /// The key file does not exist.
    #[error(
        "there is no such file; both hosts need the same: (printf hex:; openssl rand -hex 32) makes a key"
    )]
    Missing,
    /// Other users could have read or changed the key file, or the agent cannot read it.
    #[error("{0}")]
    File(#[source] PrivateFileError),
    /// The key file has an invalid key, or has no key.
    #[error("{0}")]
    Content(#[source] BadKeys),
}

/// Returns the settings of adverts that the section `[ha]` describes.
pub(super) fn wire(ha: &Ha) -> Result<Wire, Error> {
    Wire::new(Settings {
        version: match ha.version {
            VrrpVersion::V2 => Version::V2,
            VrrpVersion::V3 => Version::V3,
        },
        router_id: ha.virtual_router_id,
        source: ha.source,
        peer: ha.peer,
        cast: match ha.transport {
            Transport::Unicast => Cast::Unicast,
            Transport::Multicast => Cast::Multicast,
        },
        senders: if ha.check_source {
            Senders::Peer
        } else {
            Senders::Anybody
        },
        check_ttl: ha.check_ttl,
        interval: Interval::from_duration(ha.advert_interval).ok_or(Error::Interval)?,
        addresses: ha.advertised_addresses.clone(),
        authentication: authentication(&ha.authentication)?,
        checksum_without_pseudo_header: ha.checksum_without_pseudo_header,
    })
    .map_err(Error::Settings)
}

fn authentication(configured: &config::Authentication) -> Result<Authentication, Error> {
    Ok(match configured {
        config::Authentication::None => Authentication::None,
        config::Authentication::Password(text) => {
            Authentication::Password(Password::new(text).ok_or(Error::Password)?)
        }
        config::Authentication::Hmac(path) => {
            let keys = keys(path).map_err(|problem| Error::KeyFile {
                path: path.clone(),
                problem,
            })?;
            Authentication::Hmac(keys)
        }
    })
}

fn keys(path: &Path) -> Result<Keys, KeyFileProblem> {
    let text = read(path)?;
    // A key consists of characters or hexadecimal digits; a line with other bytes is rejected by
    // the parser.
    Keys::parse(&String::from_utf8_lossy(&text)).map_err(KeyFileProblem::Content)
}

fn read(path: &Path) -> Result<Vec<u8>, KeyFileProblem> {
    private_file::read(path, MAX_FILE_BYTES).map_err(|error| match error {
        PrivateFileError::Missing => KeyFileProblem::Missing,
        error => KeyFileProblem::File(error),
    })
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    const KEY: &str = "hex:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n";

    fn file(text: &str, mode: u32) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("vrrp.key");
        fs::write(&path, text).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("its mode");
        (folder, path)
    }

    #[test]
    fn a_key_file_is_for_its_owner_only() {
        for (mode, good) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false)] {
            let (_folder, path) = file(KEY, mode);
            assert_eq!(keys(&path).is_ok(), good, "mode {mode:o}");
        }
    }

    #[test]
    fn a_key_file_of_another_user_is_refused() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let (_folder, path) = file(KEY, 0o600);
        std::os::unix::fs::chown(&path, Some(4242), None).expect("chown");
        let problem = keys(&path).expect_err("somebody else's").to_string();
        assert!(problem.contains("user 4242"), "{problem}");
    }

    #[test]
    fn what_is_wrong_with_a_key_file_is_said_with_its_mend() {
        let sentence = |path: &Path| {
            let problem = keys(path).expect_err("refused");
            problem.to_string()
        };
        let (folder, path) = file("short\n", 0o600);
        assert!(sentence(&path).contains("line 1"), "{}", sentence(&path));
        assert!(sentence(folder.path()).contains("not a regular file"));
        let missing = folder.path().join("missing");
        assert!(sentence(&missing).contains("openssl rand"));
        let (_folder, path) = file(KEY, 0o644);
        assert!(sentence(&path).contains("chmod 600"));
    }
}
