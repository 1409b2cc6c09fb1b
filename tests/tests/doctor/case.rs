//! A broken set-up, and what happens to it.

use anyhow::{Context as _, Result, ensure};

use crate::{report::Line, site::Site};

/// A set-up that is broken on purpose.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// The check that must fail.
    pub(crate) check: &'static str,
    /// A part of the subject of the line that must fail.
    pub(crate) subject: &'static str,
    /// Checks that fail too, as a consequence.
    pub(crate) also: &'static [&'static str],
    pub(crate) breaks: fn(&mut Site) -> Result<()>,
    pub(crate) mend: Mend,
    /// Restores what neither the set-up nor its mend leave as it was.
    pub(crate) tidy: fn(&mut Site) -> Result<()>,
}

/// How the fix of a line is followed.
pub(crate) enum Mend {
    /// By running the command in its text that begins with these words.
    Run(&'static str),
    /// By doing what its text says with these words.
    By(&'static str, fn(&mut Site, &Line) -> Result<()>),
}

/// For set-ups that their mend leaves as they were.
pub(crate) fn tidy(_site: &mut Site) -> Result<()> {
    Ok(())
}

/// Breaks and mends the site in each of these ways.
pub(crate) fn all(site: &mut Site, cases: &[Case]) -> Result<()> {
    healthy(site).context("before the first set-up")?;
    for case in cases {
        one(site, case).with_context(|| format!("the set-up {:?}", case.name))?;
        println!("ok: {}: {}", case.name, case.check);
    }
    Ok(())
}

/// Checks that no line fails.
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
    // The subject is longer than what the case says, so that no other line is taken for it.
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
