//! The check of services and backends against the size of the kernel's tables.

use lb_common::limits;

use super::{Mode, drafts::ServiceDraft, source::Source};

/// Reports the first service that exceeds the kernel's limit on services, and the first service
/// whose backends exceed the kernel's limit on backends.
pub(super) fn check(services: &[ServiceDraft], source: &Source<'_>) {
    let most = limits::SERVICES as usize;
    if let Some(name) = services.get(most).and_then(|draft| draft.name.as_ref()) {
        let message = format!(
            "service \"{}\" exceeds the limit: the file has {} services, and at most {most} are \
             supported",
            name.get_ref(),
            services.len(),
        );
        let hint = "remove services, or divide them between two pairs of hosts";
        source.error(name.span(), message, hint.to_owned());
    }
    let most = limits::BACKENDS as usize;
    let mut backends = 0;
    for draft in services {
        let (Some(service), Some(name)) = (&draft.service, &draft.name) else {
            continue;
        };
        let steered = matches!(service.mode, Mode::Tcp { .. });
        backends += match &service.pool {
            Some(pool) if steered => pool.backends.len(),
            _ => 0,
        };
        if backends > most {
            let message = format!(
                "service \"{}\" exceeds the limit on backends: with it, the services of mode \
                 \"tcp\" have {backends}, and at most {most} are supported",
                name.get_ref(),
            );
            let hint = "a backend counts once for each service of mode \"tcp\" that uses its pool";
            source.error(name.span(), message, hint.to_owned());
            return;
        }
    }
}
