//! The TLS configuration of one service, and the files that it is read from.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

use rustls::{
    ServerConfig, crypto::CryptoProvider, server::danger::ClientCertVerifier, sign::CertifiedKey,
};

use super::{
    CertificateInfo, CertificateProblem, Error,
    certificates::{self, Certificate},
    client_certificates, tls,
};
use crate::{
    acme::{self, Challenges},
    config::{ClientCertificates, Mode, Name, Obtained, Service, Tls},
    tickets::TicketKeys,
};

/// The TLS configuration that one service has in force.
#[derive(Clone, Debug)]
pub(super) struct ServedTls {
    /// The configuration for TLS handshakes, shared by all workers.
    pub(super) config: Arc<ServerConfig>,
    certificates: Vec<(PathBuf, Certificate)>,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
}

/// Keys and challenges that outlive a change of certificates.
#[derive(Clone, Copy)]
pub(super) struct Keys<'a> {
    /// The keys by which session tickets are encrypted.
    pub(super) tickets: &'a TicketKeys,
    /// The responses to ACME challenges.
    pub(super) challenges: &'a Challenges,
}

/// The TLS settings of a service of mode `https`.
struct Settings<'s> {
    service: &'s Name,
    files: &'s [PathBuf],
    obtained: Option<&'s Obtained>,
    tls: &'s Tls,
}

/// The contents of the files of a service's TLS settings.
struct Loaded {
    certificates: Vec<(PathBuf, Certificate)>,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    /// The errors of the files that could not be used.
    errors: Vec<Error>,
}

impl ServedTls {
    /// Reads the TLS files of a service. Returns `None` if the service is served without TLS.
    ///
    /// # Errors
    /// Every file that cannot be used.
    pub(super) fn load(service: &Service, keys: Keys<'_>) -> Result<Option<Self>, Vec<Error>> {
        let settings = match Settings::of(service) {
            Some(settings) => settings,
            None if matches!(service.mode, Mode::Http) => return Ok(None),
            None => return Err(vec![Error::WrongMode(service.name.clone())]),
        };
        let provider = Arc::new(tls::provider(settings.tls));
        let loaded = settings.load(&provider);
        if !loaded.errors.is_empty() {
            return Err(loaded.errors);
        }
        Self::new(&settings, provider, loaded, keys)
            .map(Some)
            .map_err(|error| vec![error])
    }

    /// Reads the service's TLS files again. If a file cannot be used, its previous content stays in
    /// use and the errors say why.
    pub(super) fn reload(&self, service: &Service, keys: Keys<'_>) -> (Self, Vec<Error>) {
        let Some(settings) = Settings::of(service) else {
            return (self.clone(), Vec::new());
        };
        let provider = Arc::new(tls::provider(settings.tls));
        let mut loaded = settings.load(&provider);
        let mut errors = std::mem::take(&mut loaded.errors);
        self.keep_what_is_missing(&settings, &mut loaded);
        match Self::new(&settings, provider, loaded, keys) {
            Ok(served) => (served, errors),
            Err(error) => {
                errors.push(error);
                (self.clone(), errors)
            }
        }
    }

    /// Returns the certificates that the service has in use.
    pub(super) fn infos(&self, service: &Name) -> impl Iterator<Item = CertificateInfo> {
        let certificates = self.certificates.iter();
        certificates.map(|(path, certificate)| CertificateInfo {
            service: service.clone(),
            path: path.clone(),
            names: certificate.names.clone(),
            not_before: certificate.not_before,
            not_after: certificate.not_after,
            fingerprint: certificate.fingerprint,
        })
    }

    fn new(
        settings: &Settings<'_>,
        provider: Arc<CryptoProvider>,
        loaded: Loaded,
        keys: Keys<'_>,
    ) -> Result<Self, Error> {
        let fallback = settings.placeholder(&loaded)?;
        let certificates = loaded.certificates.iter();
        let certificates: Vec<_> = certificates.map(|(_, one)| one.clone()).collect();
        let config = tls::server_config(
            (settings.tls, provider),
            loaded.verifier.clone(),
            (&certificates, fallback),
            keys.challenges,
            keys.tickets.ticketer(settings.service),
        );
        let config = config.map_err(|source| Error::Tls {
            service: settings.service.clone(),
            source,
        })?;
        Ok(Self {
            config: Arc::new(config),
            certificates: loaded.certificates,
            verifier: loaded.verifier,
        })
    }
}

impl ServedTls {
    /// For each file that could not be read again, puts the content that is in use already into
    /// `loaded`.
    fn keep_what_is_missing(&self, settings: &Settings<'_>, loaded: &mut Loaded) {
        let mut read = std::mem::take(&mut loaded.certificates);
        for path in settings.paths() {
            let found = read.iter().position(|(file, _)| file == path);
            let before = || self.certificates.iter().find(|(file, _)| file == path);
            let one = found.map(|place| read.swap_remove(place));
            loaded
                .certificates
                .extend(one.or_else(|| before().cloned()));
        }
        if loaded.verifier.is_none() {
            loaded.verifier.clone_from(&self.verifier);
        }
    }
}

impl<'s> Settings<'s> {
    /// Returns the TLS settings of a service; `None` if the service is not of mode `https`.
    fn of(service: &'s Service) -> Option<Self> {
        let Mode::Https {
            certificates,
            obtained,
            tls,
        } = &service.mode
        else {
            return None;
        };
        Some(Self {
            service: &service.name,
            files: certificates,
            obtained: obtained.as_deref(),
            tls,
        })
    }

    /// Returns the certificate files of the service; the file of the certificate that the agent
    /// obtains comes last.
    fn paths(&self) -> impl Iterator<Item = &'s PathBuf> + use<'s> {
        let obtained = self.obtained.map(|obtained| &obtained.file);
        self.files.iter().chain(obtained)
    }

    fn load(&self, provider: &Arc<CryptoProvider>) -> Loaded {
        let mut loaded = Loaded {
            certificates: Vec::new(),
            verifier: None,
            errors: Vec::new(),
        };
        for path in self.paths() {
            if self.is_still_to_come(path) {
                continue;
            }
            match certificates::load(path) {
                Ok(certificate) => loaded.certificates.push((path.clone(), certificate)),
                Err(error) => loaded.errors.push(error),
            }
        }
        match client_certificates::verifier(self.service, &self.tls.clients, Arc::clone(provider)) {
            Ok(verifier) => loaded.verifier = verifier,
            Err(errors) => loaded.errors.extend(errors),
        }
        loaded
    }

    /// Returns whether the agent has not obtained the certificate of this file yet.
    fn is_still_to_come(&self, path: &PathBuf) -> bool {
        self.obtained.is_some_and(|one| one.file == *path) && !path.exists()
    }

    /// Returns the self-signed certificate that is served until the agent has obtained the first
    /// one; `None` if none is needed.
    fn placeholder(&self, loaded: &Loaded) -> Result<Option<Arc<CertifiedKey>>, Error> {
        let obtained = self.obtained.filter(|obtained| {
            let mut read = loaded.certificates.iter();
            read.all(|(path, _)| *path != obtained.file)
        });
        let made = obtained.map(|obtained| {
            acme::placeholder(&obtained.domains).map_err(|source| Error::Certificate {
                path: obtained.file.clone(),
                problem: CertificateProblem::Placeholder(source),
            })
        });
        Ok(made.transpose()?.map(Arc::new))
    }
}

/// Returns the files from which the certificates, certificate authorities and revocation lists of
/// these services are read.
#[must_use]
pub fn tls_files(services: &[Service]) -> BTreeSet<PathBuf> {
    let settings = services.iter().filter_map(Settings::of);
    let files = settings.flat_map(|settings| {
        let (authorities, revocations) = match &settings.tls.clients {
            ClientCertificates::None => (&[][..], &[][..]),
            ClientCertificates::Optional(one) | ClientCertificates::Required(one) => {
                (&*one.authorities, &*one.revocations)
            }
        };
        let certificates = settings.paths();
        certificates.chain(authorities).chain(revocations)
    });
    files.cloned().collect()
}
