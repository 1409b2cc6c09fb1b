//! Output of `lb certificate`: the certificates that the agent obtains by ACME.

use super::table::{Align, Cell, Style, Table};
use crate::admin::{ObtainedStatus, Status};

/// Returns a table with a row for each service whose certificate the agent obtains.
pub(super) fn table(status: &Status, colour: bool) -> String {
    let mut table = Table::new(&[
        ("OBTAINED FOR", Align::Left),
        ("NEXT ORDER", Align::Left),
        ("LAST ORDER", Align::Left),
    ]);
    for one in &status.obtained {
        let last = match &one.failure {
            Some(failure) => Cell::styled(format!("failed: {failure}"), Style::Red),
            None => Cell::new("-"),
        };
        table.push(vec![
            Cell::new(one.service.as_str()),
            Cell::new(next_order(one)),
            last,
        ]);
    }
    table.render(colour)
}

/// Returns a description of the certificate that the agent obtains for a service. An error lists
/// the services whose certificates are obtained.
pub(super) fn show(status: &Status, service: &str) -> Result<String, String> {
    let one = find(&status.obtained, service)?;
    let in_use = status
        .certificates
        .iter()
        .find(|certificate| certificate.file == one.file);
    let ends = match in_use {
        Some(certificate) => format!(
            "{}, days left: {}",
            humantime::format_rfc3339_seconds(certificate.expires.0),
            certificate.days_left(status.now)
        ),
        None => "no certificate yet".to_owned(),
    };
    let failure = one.failure.as_deref().unwrap_or("none");
    Ok(format!(
        "service     {service}\ndomains     {}\nfile        {}\nends        {ends}\n\
         next order  {}\nfailure     {failure}\n",
        one.domains.join(", "),
        one.file.display(),
        next_order(one),
    ))
}

fn find<'s>(obtained: &'s [ObtainedStatus], service: &str) -> Result<&'s ObtainedStatus, String> {
    let found = obtained.iter().find(|one| one.service == service);
    found.ok_or_else(|| {
        let names: Vec<_> = obtained.iter().map(|one| one.service.as_str()).collect();
        match names.is_empty() {
            true => "no service has domains, so no certificate is obtained".to_owned(),
            false => format!(
                "no certificate is obtained for service {service:?}, only for {}",
                names.join(", ")
            ),
        }
    })
}

fn next_order(one: &ObtainedStatus) -> String {
    if one.is_standby {
        return "by the active host".to_owned();
    }
    one.next_order.map_or_else(
        || "in progress".to_owned(),
        |at| humantime::format_rfc3339_seconds(at.0).to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::examples_of_status;

    fn status() -> Status {
        let mut status = examples_of_status();
        status.obtained = vec![ObtainedStatus {
            service: "https".to_owned(),
            domains: vec!["example.org".to_owned(), "www.example.org".to_owned()],
            file: status.certificates[0].file.clone(),
            next_order: Some(status.now),
            is_standby: false,
            failure: Some("the directory: no answer".to_owned()),
        }];
        status
    }

    #[test]
    fn a_certificate_is_shown_with_its_end_and_its_next_order() {
        let status = status();
        let text = show(&status, "https").expect("obtained");
        assert!(
            text.contains("domains     example.org, www.example.org\n"),
            "{text}"
        );
        assert!(text.contains(", days left: 61\n"), "{text}");
        assert!(
            text.contains("failure     the directory: no answer\n"),
            "{text}"
        );
        assert!(table(&status, false).contains("failed: the directory: no answer"));
    }

    #[test]
    fn certificates_that_are_obtained_have_a_table_only_if_there_are_any() {
        let list = super::super::status::certificate_list;
        assert!(list(&status(), false).contains("OBTAINED FOR"));
        let without = list(&examples_of_status(), false);
        assert!(!without.contains("OBTAINED FOR"), "{without}");
        assert!(without.contains("/etc/lb/tls/example.org.pem"), "{without}");
    }

    #[test]
    fn a_service_without_one_is_refused_with_those_that_have() {
        let refused = show(&status(), "http").expect_err("not obtained");
        assert_eq!(
            refused,
            "no certificate is obtained for service \"http\", only for https"
        );
        let refused = show(&examples_of_status(), "http").expect_err("none at all");
        assert!(refused.starts_with("no service has domains"), "{refused}");
    }
}
