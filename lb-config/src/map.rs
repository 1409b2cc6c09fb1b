//! Tables whose keys the user chooses. Every entry is read, even if other entries are not valid.

use toml::{Spanned, de::DeValue};

use super::{
    kind::{Complaint, Kind, Node, Text, quoted, wrong_type},
    list::Listed,
    source::{Reported, Source},
};

/// A kind of value: a table whose keys the user chooses.
pub(super) struct Map<N: 'static, K> {
    /// The kind of each key of the table.
    pub(super) key: Text<N>,
    /// The name of a key of the table in messages.
    pub(super) noun: &'static str,
    /// The kind of each value of the table.
    pub(super) of: K,
}

impl<N, K: Kind> Kind for Map<N, K> {
    type Value = Listed<(N, K::Value)>;

    fn describe(&self) -> String {
        format!("table of: {} = {}", self.key.what, self.of.describe())
    }

    fn read(
        &self,
        node: &Node<'_>,
        noun: &str,
        source: &Source<'_>,
    ) -> Result<Self::Value, Reported> {
        let DeValue::Table(table) = node.get_ref() else {
            let wanted = format!("a table, {noun} = {{ {} = … }}", self.noun);
            return Err(wrong_type(node, noun, &wanted, source));
        };
        let mut read = Listed::empty();
        for (key, value) in table {
            let text = key.get_ref();
            let parsed = (self.key.parse)(text).map_err(|Complaint { found, hint }| {
                let message = format!("{} {} {found}", self.noun, quoted(text));
                source.error(key.span(), message, hint)
            });
            let value_read = self.of.read(value, &format!("the value of {text}"), source);
            match (parsed, value_read) {
                (Ok(parsed), Ok(value)) => {
                    read.items.push(Spanned::new(key.span(), (parsed, value)));
                }
                (Err(reported), _) | (_, Err(reported)) => read.complete = Err(reported),
            }
        }
        // The parser sorts a table by its keys; sorting the entries by their places restores the
        // order in the file.
        read.items.sort_by_key(|item| item.span().start);
        Ok(read)
    }
}
