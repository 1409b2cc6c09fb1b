//! Tests of sources that are files.

use std::{fs, path::Path, time::Duration};

use lb::{
    config::DiscoverySource,
    discovery::{Answer, Source, SourceError},
};

fn source(path: &Path) -> Source {
    Source::new(&DiscoverySource::File(path.to_owned()))
}

fn names(answer: Result<Answer, SourceError>) -> Vec<String> {
    let answer = answer.expect("an answer");
    assert_eq!(answer.valid_for, None);
    let names = answer
        .backends
        .into_iter()
        .map(|one| one.name.expect("a name"));
    names.map(|name| name.to_string()).collect()
}

#[tokio::test]
async fn a_file_that_is_being_written_is_used_when_it_no_longer_changes() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("backends");
    let mut source = source(&file);
    fs::write(&file, "10.0.0.6:80 name=a\n10.0.0.7:80 name=b\n").expect("a file");
    assert_eq!(names(source.query().await), ["a", "b"]);
    fs::write(&file, "10.0.0.6:80 name=a\n").expect("a file");
    assert_eq!(names(source.query().await), ["a", "b"]);
    fs::write(&file, "10.0.0.6:80 name=a\n10.0.0.8:80 name=c\n").expect("a file");
    assert_eq!(names(source.query().await), ["a", "b"]);
    assert_eq!(names(source.query().await), ["a", "c"]);
    fs::remove_file(&file).expect("a file");
    let error = source.query().await.expect_err("no file").to_string();
    assert!(error.contains(&*file.to_string_lossy()), "{error}");
}

#[tokio::test]
async fn the_first_query_waits_until_the_file_no_longer_changes() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("backends");
    fs::write(&file, "10.0.0.6:80 name=old\n").expect("a file");
    let mut source = source(&file);
    let query = tokio::spawn(async move { source.query().await });
    let mut text = String::new();
    for name in ["a", "b", "c", "d", "e"] {
        tokio::time::sleep(Duration::from_millis(40)).await;
        text += &format!("10.0.0.6:{} name={name}\n", 80 + text.len());
        fs::write(&file, &text).expect("a file");
    }
    let found = query.await.expect("no panic");
    assert_eq!(names(found), ["a", "b", "c", "d", "e"]);
}

#[tokio::test]
async fn what_is_not_a_short_regular_file_is_an_error_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let pipe = folder.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    let long = folder.path().join("long");
    fs::write(&long, "# 7890\n".repeat(600_000)).expect("a file");
    for (path, word) in [
        (pipe.as_path(), "not a regular file"),
        (folder.path(), "not a regular file"),
        (long.as_path(), "larger than 4 MiB"),
        (Path::new("/dev/zero"), "not a regular file"),
    ] {
        let mut source = source(path);
        let query = tokio::time::timeout(Duration::from_secs(5), source.query());
        let error = query
            .await
            .expect("an outcome")
            .expect_err("an error")
            .to_string();
        assert!(error.contains(word), "no {word} in: {error}");
        assert!(error.contains(&*path.to_string_lossy()), "{error}");
    }
    fs::write(&long, "# 7890\n".repeat(599_000)).expect("a file");
    assert_eq!(source(&long).query().await, Ok(Answer::default()));
}
