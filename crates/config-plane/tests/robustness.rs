//! Whatever the bytes, loading ends with a topology or with problems that can be shown.

use proptest::prelude::*;
use viaduct_config_plane::{Problems, load, load_file};

const CORRECT: &str = include_str!("correct.yaml");

/// Loads the text and shows what is wrong with it in every way there is.
fn load_and_show(text: &str) {
    match load("random.yaml", text) {
        Ok(loaded) => show(&loaded.warnings),
        Err(problems) => {
            assert!(!problems.is_empty());
            show(&problems);
        }
    }
}

fn show(problems: &Problems) {
    let places: Vec<_> = problems.iter().map(|problem| problem.span.start).collect();
    assert!(places.is_sorted(), "{places:?}");
    for problem in problems.iter() {
        let length = problems.source().text().len();
        assert!(problem.span.start <= problem.span.end && problem.span.end as usize <= length);
    }
    assert_eq!(problems.diagnostics().count(), problems.iter().count());
    assert_eq!(problems.render(false).is_empty(), problems.is_empty());
}

/// Pieces that a mutation puts in: those that mean something in YAML or in a topology.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "",
            " ",
            "\n",
            "\r\n",
            "\t",
            ":",
            ": ",
            "- ",
            "{",
            "}",
            "[",
            "]",
            ",",
            "#",
            "&a ",
            "*a",
            "!x ",
            "|",
            ">",
            "\"",
            "'",
            "? ",
            "---\n",
            "...\n",
            "%YAML 1.2\n",
            "~",
            "null",
            "main",
            "default",
            "instance/",
            "/",
            "0.0.0.0/0",
            "::/0",
            "10.0.1.3",
            "65536",
            "-1",
            "é",
            "\u{85}",
            "\u{2028}",
            "\u{feff}",
            "\0",
        ])
        .prop_map(str::to_owned),
        any::<String>(),
    ]
}

proptest! {
    #[test]
    fn arbitrary_text_is_survived(text in any::<String>()) {
        load_and_show(&text);
    }

    #[test]
    fn arbitrary_yaml_is_survived(pieces in prop::collection::vec(piece(), 0..40)) {
        load_and_show(&pieces.concat());
    }

    #[test]
    fn mutations_of_a_correct_topology_are_survived(
        edits in prop::collection::vec((0.0..1.0_f64, 0_usize..30, piece()), 1..6),
    ) {
        let mut text = CORRECT.to_owned();
        for (place, length, piece) in edits {
            let start = text.floor_char_boundary((place * text.len() as f64) as usize);
            let end = text.floor_char_boundary((start + length).min(text.len())).max(start);
            text.replace_range(start..end, &piece);
        }
        load_and_show(&text);
    }

    #[test]
    fn arbitrary_bytes_in_a_file_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &bytes).unwrap();
        if let Err(error) = load_file(file.path()) {
            prop_assert!(!error.to_string().is_empty());
        }
    }
}

/// Found by fuzzing: it counts for none in the route table's quota.
#[test]
fn a_route_to_an_empty_prefix_list_is_survived() {
    let list = "prefix_lists: { empty: { entries: [] } }\n";
    let route = "routes: [{ destination: empty, target: blackhole }, ";
    load_and_show(&format!("{list}{}", CORRECT.replacen("routes: [", route, 1)));
}

#[test]
fn deep_nesting_is_refused_before_it_costs_anything() {
    for open in ["[", "{a: ", "- ", "? "] {
        load_and_show(&open.repeat(100_000));
    }
}

#[test]
fn what_cannot_be_read_says_why() {
    let missing = load_file("/nonexistent/topology.yaml").unwrap_err().to_string();
    assert!(missing.starts_with("cannot read /nonexistent/topology.yaml: "), "{missing}");

    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), b"vpcs:\n  m\xff: {}\n").unwrap();
    let shown = load_file(file.path()).unwrap_err().to_string();
    assert!(shown.starts_with("error: the file is not UTF-8 text\n"), "{shown}");
    assert!(shown.contains(":2:4"), "{shown}");
}

#[test]
fn an_endless_file_is_refused() {
    let shown = load_file("/dev/zero").unwrap_err().to_string();
    assert!(shown.contains("longer than 16 MiB"), "{shown}");
}
