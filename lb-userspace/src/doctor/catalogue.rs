//! The catalogue of the checks of `lb doctor`, from which docs/doctor.md is generated.

use super::{
    agent, aws, backends, certificates, check::Check, checksums, client_authorities, clock,
    configuration, discovery, files, host, interface, kernel, names, pair, ports,
};

/// Returns every check of `lb doctor`, in the order of its output.
pub fn all() -> impl Iterator<Item = &'static Check> {
    ALL.iter().copied().flatten().copied()
}

static ALL: [&[&Check]; 16] = [
    &configuration::CHECKS,
    &agent::CHECKS,
    &kernel::CHECKS,
    &interface::CHECKS,
    &checksums::CHECKS,
    &host::CHECKS,
    &ports::CHECKS,
    &clock::CHECKS,
    &discovery::CHECKS,
    &backends::CHECKS,
    &pair::CHECKS,
    &aws::CHECKS,
    &names::CHECKS,
    &certificates::CHECKS,
    &client_authorities::CHECKS,
    &files::CHECKS,
];

#[cfg(test)]
mod tests {
    use std::{env, fs, path::PathBuf};

    use super::*;

    #[test]
    fn names_are_unique_and_groups_stay_together() {
        let mut names: Vec<_> = all().map(|check| check.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(all().is_sorted_by_key(|check| check.group));
    }

    /// Returns the sections of docs/doctor.md that are generated from the catalogue.
    fn sections() -> String {
        let mut text = String::new();
        let mut group = None;
        for check in all() {
            if group.replace(check.group) != Some(check.group) {
                text.push_str(&format!("\n## {}\n", check.group.heading()));
            }
            let Check {
                name,
                looks_at,
                why,
                fix,
                ..
            } = check;
            text.push_str(&format!(
                "\n### `{name}`\n\n- **Looks at:** {looks_at}\n- **Why:** {why}\n- **Fix:** {fix}\n"
            ));
        }
        text
    }

    /// `UPDATE=1 cargo test -p lb-userspace --lib doctor` writes the sections of docs/doctor.md
    /// that are generated from the catalogue.
    #[test]
    fn the_page_has_every_check() {
        const MARK: &str = "<!-- checks -->\n";
        let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/doctor.md");
        let page = fs::read_to_string(&file).expect("docs/doctor.md");
        let (before, _) = page.split_once(MARK).expect("the mark");
        let wanted = format!("{before}{MARK}{}", sections());
        if env::var_os("UPDATE").is_some() {
            fs::write(&file, &wanted).expect("docs/doctor.md can be written");
        } else {
            assert!(
                page == wanted,
                "docs/doctor.md differs from the checks: UPDATE=1 cargo test --lib doctor"
            );
        }
    }
}
