//! A [`Source`] (read access to the agent's state) that returns example values, for the tests of
//! the admin servers.

use super::{EndedEarlyStatus, Source, Status, examples_of_ended_early, status::examples};
use crate::{events, metrics::Format};

pub(super) struct Example {
    pub(super) problems: Vec<String>,
}

impl Source for Example {
    fn explain(&self, question: &crate::proxy::Question) -> Result<String, String> {
        Err(format!(
            "the example status has no service that matches {}",
            question.url
        ))
    }

    fn status(&self) -> Status {
        Status {
            problems: self.problems.clone(),
            ..examples::status()
        }
    }

    fn ended_early(&self) -> Vec<EndedEarlyStatus> {
        vec![examples_of_ended_early()]
    }

    fn events(&self, _filter: &events::Filter) -> events::Answer {
        events::Answer::default()
    }

    fn metrics(&self, format: Format) -> String {
        format!("lb_example{{format=\"{format:?}\"}} 1\n")
    }
}
