//! Kinds of values that are percentages, such as `"20%"`.

use super::{
    Percent,
    kind::{Complaint, Text},
};

/// A value that is a percentage from 1% to 100%.
pub(super) const PART: Text<Percent> = Text {
    what: "`\"1%\"` to `\"100%\"`",
    parse: |text| parse(text, 1),
};

/// A value that is a percentage from 0% to 100%.
pub(super) const SHARE: Text<Percent> = Text {
    what: "`\"0%\"` to `\"100%\"`",
    parse: |text| parse(text, 0),
};

fn parse(text: &str, least: u8) -> Result<Percent, Complaint> {
    let hint = format!("write a whole number and a percent sign, \"{least}%\" to \"100%\"");
    let Some(digits) = text.strip_suffix('%') else {
        return Err(Complaint::new("does not end in a percent sign", hint));
    };
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    match digits.parse() {
        Ok(number) if is_number && (least..=100).contains(&number) => Ok(Percent::new(number)),
        _ if is_number => Err(Complaint::new("is out of range", hint)),
        _ => Err(Complaint::new("is not a percentage", hint)),
    }
}
