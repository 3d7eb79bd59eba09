//! What the parser makes of a whole chunk.

use super::*;

use std::path::PathBuf;

use crate::config::Config;
use crate::event::Skip;

const NOW: Now = Now {
    mono_ms: 1_000,
    wall_ms: 1_795_230_000_000,
};

/// The texts of all events of one chunk, of a source with these settings.
fn texts(settings: &str, bytes: &[u8]) -> Vec<String> {
    let config = format!(
        "[[source]]\nname = \"app\"\npaths = [\"/x.log\"]\ngroup = \"/app\"\nstream = \"s\"\n{settings}"
    );
    let (config, _) = Config::parse(&[(PathBuf::from("test.toml"), config)]).unwrap();
    let source = config.sources[0].clone();
    let mut parser = Parser::new(source, TimeZone::UTC).unwrap();
    let mut memory = Memory::at(None);
    let chunk = Chunk {
        file: FileId(1),
        start: Offset(0),
        bytes,
        ending: Ending::Final,
        text: parser.begin(&memory, bytes),
    };
    let (mut at, mut texts) = (0, Vec::new());
    while at < bytes.len() {
        let taken = match parser.next(&memory, &chunk, at, NOW) {
            Next::Event(event, taken) => {
                texts.push(event.text.to_string());
                let (_ack, _) = event.skip(Skip::Filtered);
                taken
            }
            other => panic!("no event: {other:?}"),
        };
        at += taken.bytes;
        parser.take(&mut memory, taken);
    }
    texts
}

#[test]
fn what_cleaning_takes_out_hides_no_secret() {
    // A word of which the chunk shows two halves is whole once what stood between is gone; the
    // lines around it show none, so nothing but the cleaning can have it looked at.
    let around = b"an innocent line\n".repeat(50);
    let nul = [0; text::NUL_RUN_MIN];
    for hidden in [
        [b"pas\x1b[31msword=hunter2 \xff" as &[u8], b""],
        [b"a pas\x1b[0ms", b"word: hunter2"],
        [b"\x1b[1m--pa\x1b[0m", b"ssword hunter2"],
    ]
    .map(|halves| halves.concat())
    .into_iter()
    .chain([[b"pas", &nul[..], b"sword=hunter2"].concat()])
    {
        let bytes = [&around[..], &hidden, b"\n", &around].concat();
        let texts = texts("strip_ansi = true\n", &bytes);
        assert_eq!(texts.len(), 101);
        let text = texts[50].as_str();
        assert!(text.contains("[redacted:password]"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}
