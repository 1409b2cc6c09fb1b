//! Lists as values. Every item is read, even if other items are not valid.

use toml::{Spanned, de::DeValue};

use super::{
    kind::{Kind, Node, type_name},
    source::{Reported, Source},
};

/// A kind of value: a list.
pub(super) struct List<K> {
    /// The kind of each item.
    pub(super) of: K,
    /// The name of one item in messages.
    pub(super) noun: &'static str,
}

/// The items of a list that are valid.
pub(super) struct Listed<T> {
    /// The valid items, in the order of the list.
    pub(super) items: Vec<Spanned<T>>,
    /// An error if any item of the list is not valid.
    pub(super) complete: Result<(), Reported>,
}

impl<T> Listed<T> {
    /// Makes the result of reading a list without items.
    pub(super) fn empty() -> Self {
        Self {
            items: Vec::new(),
            complete: Ok(()),
        }
    }

    /// Returns the items without their places, if all items of the list are valid.
    pub(super) fn all(self) -> Result<Vec<T>, Reported> {
        self.complete?;
        Ok(self.items.into_iter().map(Spanned::into_inner).collect())
    }
}

impl<K: Kind> Kind for List<K> {
    type Value = Listed<K::Value>;

    fn describe(&self) -> String {
        format!("list of: {}", self.of.describe())
    }

    fn read(
        &self,
        node: &Node<'_>,
        noun: &str,
        source: &Source<'_>,
    ) -> Result<Self::Value, Reported> {
        let Some(items) = node.get_ref().as_array() else {
            let message = format!("{noun} is {}; it must be a list", type_name(node.get_ref()));
            let hint = format!(
                "write it in brackets: {noun} = [{}]",
                source.text(&node.span())
            );
            let hint = matches!(node.get_ref(), DeValue::String(_)).then_some(hint);
            return Err(source.error(node.span(), message, hint));
        };
        let mut read = Listed::empty();
        for item in &**items {
            match self.of.read(item, self.noun, source) {
                Ok(value) => read.items.push(Spanned::new(item.span(), value)),
                Err(reported) => read.complete = Err(reported),
            }
        }
        Ok(read)
    }
}

/// A kind of value: a list, or a single value, which stands for a list of one item.
pub(super) struct OneOrMore<K>(pub(super) List<K>);

impl<K: Kind> Kind for OneOrMore<K> {
    type Value = Listed<K::Value>;

    fn describe(&self) -> String {
        format!("{}, or a list of them", self.0.of.describe())
    }

    fn read(
        &self,
        node: &Node<'_>,
        noun: &str,
        source: &Source<'_>,
    ) -> Result<Self::Value, Reported> {
        if node.get_ref().is_array() {
            return self.0.read(node, noun, source);
        }
        let value = self.0.of.read(node, noun, source)?;
        Ok(Listed {
            items: vec![Spanned::new(node.span(), value)],
            complete: Ok(()),
        })
    }
}
