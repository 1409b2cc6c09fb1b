//! `lb doctor` against broken set-ups, each made on purpose: a line of the output must fail and say
//! how to fix the set-up; the test follows that fix, and the line must be ok then.

mod aws;
mod beside;
mod case;
mod certificates;
mod healthy;
mod host;
mod pair;
mod report;
mod site;
