//! Tests that no part of the input is lost without a note, however the lines of the input are
//! written.

use std::{fs, path::Path};

use lb_import::{File, Import, Input, import};
use proptest::prelude::*;

/// The names of the files that a folder of `tests/golden` may have.
const NAMES: [&str; 3] = ["haproxy.cfg", "keepalived.conf", "failover.sh"];

/// A word that no directive of HAProxy or Keepalived has.
const STRANGE: &str = "zzstrange";

type Texts = [Option<String>; 3];

/// A way to change the text of a line or of a word, with its name.
type Change = (&'static str, fn(&str) -> String);

fn imported(texts: &Texts) -> Import {
    let file = |at: usize| {
        let text = texts[at].as_deref();
        text.map(|text| File {
            name: NAMES[at],
            text,
        })
    };
    let input = Input {
        haproxy: file(0),
        keepalived: file(1),
        script: file(2),
        ..Input::default()
    };
    import(&input).unwrap_or_else(|errors| panic!("{errors}"))
}

/// Returns the settings of an output, without its comments.
fn settings(import: &Import) -> String {
    let lines = import.configuration.lines();
    let lines = lines.filter(|line| !line.starts_with('#'));
    lines.map(|line| format!("{line}\n")).collect()
}

/// Returns every note without the text of its directive, which a change of spelling changes too.
fn notes(import: &Import) -> Vec<(String, u32, String)> {
    let notes = import.notes.iter();
    let place = |note: &lb_import::Note| (note.directive.file.clone(), note.directive.line);
    notes
        .map(|note| (place(note).0, place(note).1, note.why.clone()))
        .collect()
}

/// Returns the files of each input in `tests/golden`, with the path of the folder of that input.
fn inputs() -> Vec<(String, Texts)> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let folders = fs::read_dir(golden).expect("the folders");
    let mut inputs: Vec<_> = folders
        .map(|entry| {
            let folder = entry.expect("a folder").path();
            let texts = NAMES.map(|name| fs::read_to_string(folder.join(name)).ok());
            (folder.display().to_string(), texts)
        })
        .collect();
    inputs.sort();
    inputs
}

/// Whether a line belongs to a backend of certbot: `[acme]` replaces such a line whatever its words
/// are.
fn is_of_certbot(line: &str) -> bool {
    line.contains("letsencrypt") || line.contains("certbot")
}

/// Whether a line is a directive, and neither empty nor a comment nor only braces.
fn is_directive(line: &str) -> bool {
    let text = line.trim().trim_matches(['{', '}', ' ']);
    !text.is_empty() && !text.starts_with(['#', '!'])
}

/// Returns where the directive of a line ends: before the comment or the brace that follows it.
fn end(line: &str) -> usize {
    let mut quoted = false;
    let ends = |(at, character): (usize, char)| {
        quoted ^= character == '"';
        let before_it = &line[..at];
        let comment = matches!(character, '#' | '!') && before_it.ends_with([' ', '\t']);
        // The braces of HAProxy's anonymous ACLs do not end a directive.
        let brace = matches!(character, '{' | '}') && !line.contains("{ ");
        (!quoted && (comment || brace)).then_some(at)
    };
    line.char_indices().find_map(ends).unwrap_or(line.len())
}

/// Returns the text with one of its lines changed.
fn changed(text: &str, number: usize, change: impl Fn(&str) -> String) -> String {
    let lines = text.lines().enumerate();
    lines
        .map(|(index, line)| {
            if index == number {
                change(line) + "\n"
            } else {
                format!("{line}\n")
            }
        })
        .collect()
}

#[test]
fn a_word_that_no_directive_knows_is_named_or_carried_over_wherever_it_stands() {
    let mut lost = Vec::new();
    for (folder, texts) in inputs() {
        for at in 0..2 {
            let Some(text) = &texts[at] else { continue };
            for (number, line) in text
                .lines()
                .enumerate()
                .filter(|(_, line)| is_directive(line))
            {
                let end = end(line);
                let strange = |line: &str| {
                    let (words, rest) = line.split_at(end);
                    format!("{} {STRANGE} {rest}", words.trim_end())
                };
                let mut texts = texts.clone();
                texts[at] = Some(changed(text, number, strange));
                let import = imported(&texts);
                let is_named = import.notes.iter().any(|note| {
                    let of_line = (note.directive.file.as_str(), note.directive.line as usize);
                    let is_about = note.why.contains(STRANGE) || !note.in_part;
                    of_line == (NAMES[at], number + 1) && is_about
                });
                if !is_named && !is_of_certbot(line) && !settings(&import).contains(STRANGE) {
                    lost.push(format!("{folder}/{}:{}: {line}", NAMES[at], number + 1));
                }
            }
        }
    }
    assert!(lost.is_empty(), "lost:\n{}", lost.join("\n"));
}

#[test]
fn line_ends_spaces_and_comments_change_nothing() {
    let all = |texts: &Texts, change: fn(&str) -> String| -> Texts {
        let each = |text: &String| text.lines().map(|line| change(line) + "\n").collect();
        [0, 1, 2].map(|at| texts[at].as_ref().map(each))
    };
    let changes: [Change; 4] = [
        ("CRLF", |line| format!("{line}\r")),
        ("tabs", |line| {
            let indented = line.trim_start_matches(' ');
            format!("\t{indented}").replacen("\t#!", "#!", 1)
        }),
        ("spaces at the end", |line| {
            if line.ends_with('\\') {
                line.to_owned()
            } else {
                format!("{line} \t ")
            }
        }),
        ("a comment at the end", |line| {
            if line.ends_with('\\') || line.starts_with("#!") {
                line.to_owned()
            } else {
                format!("{line} # server zz 10.9.9.9:80")
            }
        }),
    ];
    for (folder, texts) in inputs() {
        let plain = imported(&texts);
        for (name, change) in changes {
            let other = imported(&all(&texts, change));
            assert_eq!(settings(&plain), settings(&other), "{folder}, {name}");
            assert_eq!(notes(&plain), notes(&other), "{folder}, {name}");
        }
    }
}

#[test]
fn words_in_quotes_and_with_escapes_are_the_same_words() {
    let plain = "frontend web\n bind *:80\n mode http\n acl api path_beg /api\n \
                 http-request set-header X-Kind plain-value if TRUE\n use_backend app if api\n \
                 default_backend app\nbackend app\n balance leastconn\n server a 10.0.0.6:80 check inter 3s\n";
    let import_of = |text: String| imported(&[Some(text), None, None]);
    let expected = import_of(plain.to_owned());
    let spellings: [Change; 4] = [
        ("weak quotes", |word| format!("\"{word}\"")),
        ("strong quotes", |word| format!("'{word}'")),
        ("quotes within", |word| {
            format!("{}\"{}\"", &word[..1], &word[1..])
        }),
        ("escapes", |word| word.replace('a', "\\x61")),
    ];
    for (name, spell) in spellings {
        let spelled = plain.lines().map(|line| {
            let words: Vec<_> = line.split_whitespace().map(spell).collect();
            words.join("\t") + "\n"
        });
        let other = import_of(spelled.collect());
        assert_eq!(settings(&expected), settings(&other), "{name}");
        assert_eq!(notes(&expected), notes(&other), "{name}");
    }
}

#[test]
fn what_the_files_alone_do_not_say_is_named_with_its_line() {
    let text = "global\n setenv PORT 80\n.if version_atleast(2.4)\n maxconn 10\n.else\n maxconn 20\n.endif\n\
                defaults base\n mode http\n timeout client 5s\ndefaults fast from base\n timeout client 2s\n\
                frontend web from fast\n bind \"*:$LISTEN\"\n bind *:8080\n no option httplog\n \
                default_backend app\nbackend app from base\n no option redispatch\n server a 10.0.0.6:80\n \
                server b \"${HOST}:80\"\n server c 10.0.0.7:80 \\\n   check\n";
    let import = imported(&[Some(text.to_owned()), None, None]);
    for (line, why) in [
        (2, "lb runs no programs"),
        (3, "conditions are not evaluated"),
        (4, ""),
        (5, "conditions are not evaluated"),
        (7, "conditions are not evaluated"),
        (14, "$LISTEN"),
        (16, "access log"),
        (19, "skips a backend"),
        (21, "$HOST"),
        (22, "does not support"),
        (23, "does not support"),
    ] {
        let of_line = |note: &&lb_import::Note| note.directive.line == line;
        let named = import.notes.iter().filter(of_line);
        let whys: Vec<_> = named.map(|note| &*note.why).collect();
        assert!(
            whys.iter().any(|named| named.contains(why)),
            "line {line}: {whys:?}\n{}",
            import.configuration
        );
    }
    // The frontend inherits from `fast`, which inherits from `base`.
    let settings = settings(&import);
    assert!(
        settings.contains("mode = \"http\"") && settings.contains("body = \"2s\""),
        "{settings}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// A directive is in the notes, or in a comment above a setting, with its line.
    #[test]
    fn each_directive_of_a_shuffled_file_is_named_with_its_line(
        order in Just((0..12_usize).collect::<Vec<_>>()).prop_shuffle(),
        ending in prop::sample::select(vec!["", " # x", "\t", "\r", " zz", " \"z z\"", " z\\ z"]),
    ) {
        let lines = [
            "mode http", "bind *:80", "timeout client 5s", "timeout server 5s", "maxconn 5",
            "server a 10.0.0.6:80 check", "server b 10.0.0.7:80 weight 2", "balance source",
            "option httpchk /x", "option forwardfor", "errorfile 503 /e.http", "retries 2",
        ];
        let mut text = "listen web\n".to_owned();
        for index in &order {
            text += &format!("  {}{ending}\n", lines[*index]);
        }
        let import = imported(&[Some(text.clone()), None, None]);
        for number in 1..=13 {
            let above = format!("# haproxy.cfg:{number}: ");
            let noted = import.notes.iter().any(|note| note.directive.line == number);
            prop_assert!(noted || import.configuration.contains(&above), "{number} of\n{text}");
        }
    }
}
