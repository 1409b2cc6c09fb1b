//! Fills the sentence of a kind of event with the fields of a line.

use serde_json::{Map, Value};

/// Replaces each `{field}` of `template` by the field's value. A part in brackets is left out if a
/// field in it is missing; outside of brackets a missing field becomes `?`.
pub(super) fn fill(template: &str, fields: &Map<String, Value>) -> String {
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('[') {
        text.push_str(&replace(before, fields).unwrap_or_else(|text| text));
        let (optional, after) = after.split_once(']').unwrap_or((after, ""));
        if let Ok(part) = replace(optional, fields) {
            text.push_str(&part);
        }
        rest = after;
    }
    text.push_str(&replace(rest, fields).unwrap_or_else(|text| text));
    text
}

/// Returns the names of the fields in `template`: those that every line must have, and those in
/// brackets.
#[cfg(test)]
pub(super) fn fields_of(template: &str) -> (Vec<&str>, Vec<&str>) {
    let (mut needed, mut optional) = (Vec::new(), Vec::new());
    let mut bracketed = false;
    for part in template.split_inclusive(['[', ']', '}']) {
        if let Some((_, name)) = part.strip_suffix('}').and_then(|it| it.split_once('{')) {
            if bracketed {
                &mut optional
            } else {
                &mut needed
            }
            .push(name);
        }
        match part.chars().last() {
            Some('[') => bracketed = true,
            Some(']') => bracketed = false,
            _ => {}
        }
    }
    (needed, optional)
}

/// Replaces the fields in one part of a template. Returns the text; if a field is missing, as an
/// error, with `?` in the field's place.
fn replace(part: &str, fields: &Map<String, Value>) -> Result<String, String> {
    let mut text = String::new();
    let mut complete = true;
    let mut rest = part;
    while let Some((before, after)) = rest.split_once('{') {
        text.push_str(before);
        let (name, after) = after.split_once('}').unwrap_or((after, ""));
        match fields.get(name) {
            Some(Value::String(value)) => text.push_str(value),
            Some(value) => text.push_str(&value.to_string()),
            None => {
                complete = false;
                text.push('?');
            }
        }
        rest = after;
    }
    text.push_str(rest);
    if complete { Ok(text) } else { Err(text) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_sentence_is_filled_with_the_fields_and_without_what_is_missing() {
        let Value::Object(fields) = json!({"a": "one", "n": 7}) else {
            panic!("an object");
        };
        let filled = |template| fill(template, &fields);
        assert_eq!(filled("{a} has {n}"), "one has 7");
        assert_eq!(filled("{a}[ of {n}][: {missing}]."), "one of 7.");
        assert_eq!(filled("{a}: {missing}"), "one: ?");
        assert_eq!(
            fields_of("{a}[ of {n}] to {b}"),
            (vec!["a", "b"], vec!["n"])
        );
    }
}
