//! Content types of the files that the front answers with.

use std::{ffi::OsStr, path::Path};

/// Returns the content type of a file, by the extension of its name.
pub fn content_type(file: &Path) -> &'static str {
    let ending = file.extension().and_then(OsStr::to_str);
    match ending.map(str::to_ascii_lowercase).as_deref() {
        Some("html" | "htm") => "text/html; charset=utf-8",
        Some("txt") => "text/plain; charset=utf-8",
        Some("json") => "application/json",
        Some("xml") => "application/xml",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("ico") => "image/x-icon",
        _ => "application/octet-stream",
    }
}
