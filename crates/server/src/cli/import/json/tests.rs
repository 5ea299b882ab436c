use std::io::Cursor;

use super::*;

/// A stream that gives one byte at a time, as a slow pipe does.
struct Drops(Cursor<Vec<u8>>);

impl Read for Drops {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let length = out.len().min(1);
        self.0.read(&mut out[..length])
    }
}

/// The documents of a text, each without its spaces, and the lines of what is none.
fn read(text: &str) -> (Vec<String>, Vec<u64>) {
    let mut documents = Documents::new(Window::new(Drops(Cursor::new(text.as_bytes().to_vec()))));
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    while let Some(item) = documents.next().unwrap() {
        match item {
            Item::Document(bytes, _) => {
                good.push(String::from_utf8_lossy(bytes).split_whitespace().collect::<Vec<_>>().join(""));
            }
            Item::Bad { line, .. } => bad.push(line),
        }
    }
    (good, bad)
}

fn all_good(text: &str) -> Vec<String> {
    let (good, bad) = read(text);
    assert_eq!(bad, [0u64; 0], "{text}");
    good
}

#[test]
fn every_framing_gives_the_same_documents() {
    let expected = [r#"{"a":[1,{"b":"}\""}]}"#, r#"{"c":null}"#];
    for text in [
        "{\"a\":[1,{\"b\":\"}\\\"\"}]}\n{\"c\":null}\n",
        "{\"a\":[1,{\"b\":\"}\\\"\"}]}\r\n\r\n{\"c\":null}",
        "{\"a\":[1,{\"b\":\"}\\\"\"}]}{\"c\":null}",
        "{\n  \"a\": [\n    1,\n    {\n      \"b\": \"}\\\"\"\n    }\n  ]\n}\n{\n  \"c\": null\n}\n",
        "[{\"a\":[1,{\"b\":\"}\\\"\"}]},{\"c\":null}]",
        "[\n  {\"a\":[1,{\"b\":\"}\\\"\"}]},\n  {\"c\":null},\n]\n",
        "[[{\"a\":[1,{\"b\":\"}\\\"\"}]}],[{\"c\":null}]]",
        "{\"data\":[{\"a\":[1,{\"b\":\"}\\\"\"}]},{\"c\":null}],\"total\":0,\"errors\":null}",
        "{\"total\":2,\"data\":[{\"a\":[1,{\"b\":\"}\\\"\"}]},{\"c\":null}]}",
        "{\"result\":{\"resourceSpans\":[{\"a\":[1,{\"b\":\"}\\\"\"}]}]}}\n{\"result\":{\"resourceSpans\":[{\"c\":null}]}}",
        "{\"trace\":{\"batches\":[{\"a\":[1,{\"b\":\"}\\\"\"}]},{\"c\":null}]},\"metrics\":{\"x\":1}}",
        "\u{feff}{\"a\":[1,{\"b\":\"}\\\"\"}]}\n\u{feff}{\"c\":null}",
        "\u{1e}{\"a\":[1,{\"b\":\"}\\\"\"}]}\n\u{1e}{\"c\":null}\n",
        "{\"a\":[1,{\"b\":\"}\\\"\"}]},\n{\"c\":null},\n",
    ] {
        assert_eq!(all_good(text), expected, "{text}");
    }
    assert_eq!(all_good(""), [""; 0]);
    assert_eq!(all_good("{\"data\": [], \"total\": 0}\n[]\n"), [""; 0]);
    assert_eq!(all_good("{\"data\": null}"), ["{\"data\":null}"]);
}

#[test]
fn a_line_that_is_none_loses_itself_only() {
    let (good, bad) = read("{\"a\":1}\n10.0.0.1 - - \"POST / HTTP/1.1\" 200 -\n{\"b\":2}\n");
    assert_eq!((good, bad), (vec!["{\"a\":1}".to_owned(), "{\"b\":2}".to_owned()], vec![2]));
    // Cut off at every place: in a text, a list, behind a colon, and before the end.
    for cut in [
        "{",
        "{\"x",
        "{\"x\"",
        "{\"x\":",
        "{\"x\":[",
        "{\"x\":[1,",
        "{\"x\":{\"y\":1",
        "{\"x\":\"tex",
        "{\"x\":tr",
        "{\"x\":1,",
    ] {
        for wrapped in [cut.to_owned(), format!("{{\"data\":[{{\"x\":1}},{cut}"), format!("{{\"resourceSpans\":[{cut}")]
        {
            let text = format!("{{\"a\":1}}\n{wrapped}\n{{\"b\":2}}\n{{\"c\":3}}\n");
            let (good, bad) = read(&text);
            for expected in ["{\"a\":1}", "{\"b\":2}", "{\"c\":3}"] {
                assert_eq!(good.iter().filter(|found| *found == expected).count(), 1, "{text}: {good:?}");
            }
            assert_eq!(bad.len(), 1, "{text}: {bad:?}");
            // The same at the end of the file.
            let (good, bad) = read(&format!("{{\"a\":1}}\n{{\"b\":2}}\n{wrapped}"));
            assert_eq!(
                (&good[..2], bad.len()),
                (&["{\"a\":1}".to_owned(), "{\"b\":2}".to_owned()][..], 1),
                "{wrapped}"
            );
        }
    }
}

#[test]
fn a_broken_document_among_indented_ones_loses_itself_only() {
    let good = |name: &str| format!("{{\n  \"{name}\": [\n    {{\n      \"k\": 1\n    }}\n  ]\n}}\n");
    let cut = "{\n  \"x\": [\n    {\n      \"k\": 1\n";
    let (found, bad) = read(&format!("{}{cut}{}{}", good("a"), good("b"), good("c")));
    assert_eq!(found, ["{\"a\":[{\"k\":1}]}", "{\"b\":[{\"k\":1}]}", "{\"c\":[{\"k\":1}]}"]);
    assert_eq!(bad, [8]);
    // In a list, its neighbours are there.
    let (found, bad) = read("[\n  {\"a\": 1},\n  {\"x\": oops},\n  {\"b\": 2}\n]\n");
    assert_eq!((found, bad), (vec!["{\"a\":1}".to_owned(), "{\"b\":2}".to_owned()], vec![3]));
}

#[test]
fn depth_is_bounded() {
    for text in ["[".repeat(100_000), "{\"data\":[".repeat(100_000), format!("{{\"a\":{}", "[".repeat(100_000))] {
        let (good, bad) = read(&text);
        assert_eq!((good.len(), bad.len()), (0, 1));
    }
}
