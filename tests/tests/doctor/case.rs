//! Set-ups that are broken on purpose: `lb doctor` must report each, and its fix must repair it.

use anyhow::{Context as _, Result, ensure};

use crate::{report::Line, site::Site};

/// A set-up that is broken on purpose.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// The check of `lb doctor` that must fail.
    pub(crate) check: &'static str,
    /// A part of the subject in the output line of the check that must fail; empty for any subject.
    pub(crate) subject: &'static str,
    /// Other checks of `lb doctor` that may fail too when the set-up is broken in this way.
    pub(crate) also: &'static [&'static str],
    pub(crate) breaks: fn(&mut Site) -> Result<()>,
    pub(crate) mend: Mend,
    /// Restores what the broken set-up changed and the fix of `lb doctor` does not restore.
    pub(crate) tidy: fn(&mut Site) -> Result<()>,
}

/// How a test follows the fix that an output line of `lb doctor` names.
pub(crate) enum Mend {
    /// The test runs the command in the text of the fix that begins with these words.
    Run(&'static str),
    /// The test does by this function what the text of the fix says with these words.
    By(&'static str, fn(&mut Site, &Line) -> Result<()>),
}

/// A tidying function that does nothing, for broken set-ups of which the fix restores everything.
#[expect(
    clippy::unnecessary_wraps,
    reason = "the signature of every tidying function"
)]
pub(crate) fn tidy(_site: &mut Site) -> Result<()> {
    Ok(())
}

/// Breaks the set-up of the test network as each of the cases says, and follows the fix that `lb
/// doctor` then names.
pub(crate) fn all(site: &mut Site, cases: &[Case]) -> Result<()> {
    healthy(site).context("before the first set-up")?;
    for case in cases {
        one(site, case).with_context(|| format!("the set-up {:?}", case.name))?;
        println!("ok: {}: {}", case.name, case.check);
    }
    Ok(())
}

/// Checks that no line of the output of `lb doctor` fails.
fn healthy(site: &Site) -> Result<()> {
    let report = site.doctor.examine(site.host())?;
    let failed: Vec<_> = report.with_state("fail").collect();
    ensure!(failed.is_empty(), "there are failures: {failed:#?}");
    Ok(())
}

fn one(site: &mut Site, case: &Case) -> Result<()> {
    (case.breaks)(site).context("breaking it")?;
    let report = site.doctor.examine(site.host())?;
    let line = report.line(case.check, case.subject)?.clone();
    ensure!(line.state == "fail", "it did not fail: {line:#?}");
    let expected = |line: &&Line| line.check == case.check || case.also.contains(&&*line.check);
    let others: Vec<_> = report
        .with_state("fail")
        .filter(|line| !expected(line))
        .collect();
    ensure!(others.is_empty(), "other lines fail: {others:#?}");
    mend(site, &case.mend, &line).with_context(|| format!("following the fix of {line:#?}"))?;
    let report = site.doctor.examine(site.host())?;
    // Look the line up again as before: by its check and a part of its subject.
    let mended = report.line(case.check, case.subject)?;
    ensure!(
        mended.state == "ok",
        "it is not ok after its mend: {mended:#?}"
    );
    (case.tidy)(site).context("tidying up")?;
    healthy(site).context("after the mend")
}

fn mend(site: &mut Site, mend: &Mend, line: &Line) -> Result<()> {
    match mend {
        Mend::Run(words) => {
            let mut commands = line.fix.split('`').skip(1).step_by(2);
            let command = commands.find(|command| command.starts_with(words));
            site.script(command.with_context(|| format!("no command {words:?}"))?)
        }
        Mend::By(words, follow) => {
            ensure!(line.fix.contains(words), "the fix does not say {words:?}");
            follow(site, line)
        }
    }
}
