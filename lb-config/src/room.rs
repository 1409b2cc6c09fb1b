//! What the kernel's tables have room for.

use lb_common::limits;

use super::{Mode, drafts::ServiceDraft, source::Source};

/// Reports the first service that has no room in the kernel's tables, or whose backends have none.
pub(super) fn check(services: &[ServiceDraft], source: &Source<'_>) {
    let most = limits::SERVICES as usize;
    if let Some(name) = services.get(most).and_then(|draft| draft.name.as_ref()) {
        let message = format!(
            "service \"{}\" is one too many: there are {} services, and room for {most}",
            name.get_ref(),
            services.len(),
        );
        let hint = "leave some out, or share them between two pairs of hosts";
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
                "the backends of service \"{}\" are too many: with it, the services of mode \
                 \"tcp\" have {backends} backends, and there is room for {most}",
                name.get_ref(),
            );
            let hint = "a backend counts once for each service of mode \"tcp\" that uses its pool";
            source.error(name.span(), message, hint.to_owned());
            return;
        }
    }
}
