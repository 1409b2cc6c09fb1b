//! Values that are commands: a program and its arguments, which no shell splits.

use toml::Spanned;

use super::super::{
    kind::{Complaint, Kind, Node, Text},
    list::List,
    source::{Reported, Source},
    text,
};

/// A value that is a command: a program, by its absolute path, and its arguments.
pub(crate) struct Command;

/// A value that is the program of a command, or one of its arguments.
const WORD: Text<String> = Text {
    what: "text",
    parse: |text| {
        if text.contains('\0') {
            return Err(Complaint::new(
                "has a NUL byte",
                "an argument cannot contain NUL: remove it",
            ));
        }
        Ok(text.to_owned())
    },
};

impl Kind for Command {
    type Value = Vec<String>;

    fn describe(&self) -> String {
        "list of: path of a program, its arguments".to_owned()
    }

    fn read(
        &self,
        node: &Node<'_>,
        noun: &str,
        source: &Source<'_>,
    ) -> Result<Self::Value, Reported> {
        let words = List {
            of: WORD,
            noun: "argument",
        };
        let listed = words.read(node, noun, source)?;
        if listed.complete.is_ok() && listed.items.is_empty() {
            let message = format!("{noun} is an empty list");
            let hint = format!(
                "write a program and its arguments: {noun} = [\"/usr/local/bin/check\", \"--quick\"]"
            );
            return Err(source.error(node.span(), message, hint));
        }
        check_program(listed.items.first(), source)?;
        listed.all()
    }
}

fn check_program(first: Option<&Spanned<String>>, source: &Source<'_>) -> Result<(), Reported> {
    let Some(program) = first else {
        return Ok(());
    };
    let Err(Complaint { found, hint }) = (text::PATH.parse)(program.get_ref()) else {
        return Ok(());
    };
    // The usual mistake is to write a whole command line as one text.
    let hint = match program.get_ref().split_once(' ') {
        Some(_) => format!(
            "{hint}; no shell splits the command: write each argument as a text of \
                            its own"
        ),
        None => hint,
    };
    let message = format!("program \"{}\" {found}", program.get_ref().escape_debug());
    Err(source.error(program.span(), message, hint))
}
