//! `lb doctor` against broken set-ups, each made on purpose: it names the failing line, the fix in its
//! text is followed, and the line is ok.

mod aws;
mod beside;
mod case;
mod certificates;
mod healthy;
mod host;
mod pair;
mod report;
mod site;
