//! Answers that carry their files in base64: read piece by piece, the files decoded onto the disk while
//! they arrive, so that no answer is ever in memory as a whole.
//!
//! A scanner looks for strings and for nothing else of JSON. Those of at most [`SHORT_BYTES_MAX`] stay
//! where they are. A longer one goes to a temporary file, and a mark that no base64 can be stands in its
//! place; what is then left of the answer is small, and `serde_json` reads it. A long string that is no
//! base64 is dropped: it may belong to a field that nobody asks for. Who asks for it finds no file.
//!
//! Bounds: the answer as a whole and each of its files ([`Bounds`]), and what stays in memory
//! ([`ANSWER_BYTES_MAX`]). The disk is written to on blocking threads, one piece at a time.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use reqwest::Response;
use serde_json::Value;
use tempfile::{NamedTempFile, TempPath};

use super::Content;
use super::http::{ANSWER_BYTES_MAX, NoAnswer};

/// The longest string that stays in memory, in bytes as JSON writes it.
const SHORT_BYTES_MAX: usize = 64 * 1024;
/// How much base64 is decoded at once.
const BLOCK_BYTES: usize = 64 * 1024;
/// Begins the mark that stands for a file. JSON never has the character as it is, and base64 never at all.
const MARK: char = '\0';

/// RFC 4648 §4, with or without the padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What an answer may weigh, in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// The whole of it, as it comes.
    pub answer_bytes_max: u64,
    /// One of its files, decoded.
    pub file_bytes_max: u64,
}

/// An answer whose long strings are on the disk.
#[derive(Debug)]
pub(super) struct Spilled {
    /// All of it, with marks where the files were.
    pub value: Value,
    /// By the number in the mark; none: it was no base64.
    files: Vec<Option<Arc<TempPath>>>,
}

impl Spilled {
    /// The file that a value of the answer is, in base64 or as a data URI of it, however long it is.
    /// None: the value is something else, or nothing, or broken.
    pub fn content(&self, value: &Value) -> Option<Content> {
        let text = value.as_str()?;
        if let Some(number) = text.strip_prefix(MARK) {
            let file = self.files.get(number.parse::<usize>().ok()?)?;
            return file.clone().map(Content::File);
        }
        let bytes = BASE64.decode(encoded(text.as_bytes())).ok()?;
        (!bytes.is_empty()).then(|| Content::Bytes(bytes.into()))
    }
}

/// Reads an answer in JSON.
///
/// # Errors
/// [`NoAnswer::Lost`] when it breaks off, is no JSON, or is longer than it may be.
pub(super) async fn read_json(mut response: Response, bounds: Bounds) -> Result<Spilled, NoAnswer> {
    let mut reader = Reader::new(bounds);
    while let Some(piece) = response.chunk().await.map_err(NoAnswer::cut)? {
        reader = on_disk(move || reader.push(&piece).map(|()| reader)).await?;
    }
    on_disk(move || reader.end()).await
}

/// Does something with files on a blocking thread.
async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SpillError> + Send + 'static,
) -> Result<T, NoAnswer> {
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.map_err(|error| NoAnswer::Lost(error.to_string()))?;
    done.map_err(|error| NoAnswer::Lost(error.to_string()))
}

/// Why an answer cannot be read.
#[derive(Debug, thiserror::Error)]
enum SpillError {
    #[error("the answer is too long")]
    AnswerTooLong,
    #[error("a file of the answer is too large")]
    FileTooLarge,
    #[error("the answer is no JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("a file of the answer could not be kept: {0}")]
    Disk(#[from] io::Error),
}

/// Takes an answer apart, in pieces of any length.
struct Reader {
    bounds: Bounds,
    short_bytes_max: usize,
    /// How much has come.
    answer_bytes: u64,
    /// What stays in memory.
    text: Vec<u8>,
    files: Vec<Option<Arc<TempPath>>>,
    place: Place,
}

/// Where the last piece ended.
enum Place {
    BetweenStrings,
    Short {
        /// Where in the text it begins, after its quote.
        start: usize,
        /// Whether the last byte was a backslash that escapes the next.
        escaping: bool,
    },
    Long(Decoder),
}

impl Reader {
    fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            short_bytes_max: SHORT_BYTES_MAX,
            answer_bytes: 0,
            text: Vec::new(),
            files: Vec::new(),
            place: Place::BetweenStrings,
        }
    }

    fn push(&mut self, mut piece: &[u8]) -> Result<(), SpillError> {
        self.answer_bytes += piece.len() as u64;
        if self.answer_bytes > self.bounds.answer_bytes_max {
            return Err(SpillError::AnswerTooLong);
        }
        while !piece.is_empty() {
            let taken = match &mut self.place {
                Place::BetweenStrings => self.between(piece)?,
                Place::Short { start, escaping } => {
                    let (start, escaping) = (*start, *escaping);
                    self.short(piece, start, escaping)?
                }
                Place::Long(decoder) => {
                    let (taken, ended) = decoder.take(piece)?;
                    if ended {
                        self.end_file()?;
                    }
                    taken
                }
            };
            piece = &piece[taken..];
        }
        Ok(())
    }

    fn end(self) -> Result<Spilled, SpillError> {
        Ok(Spilled {
            value: serde_json::from_slice(&self.text)?,
            files: self.files,
        })
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(), SpillError> {
        if self.text.len() + bytes.len() > ANSWER_BYTES_MAX {
            return Err(SpillError::AnswerTooLong);
        }
        self.text.extend_from_slice(bytes);
        Ok(())
    }

    /// Keeps everything to the next string; answers how much that was.
    fn between(&mut self, piece: &[u8]) -> Result<usize, SpillError> {
        let quote = piece.iter().position(|byte| *byte == b'"');
        let taken = quote.map_or(piece.len(), |at| at + 1);
        self.keep(&piece[..taken])?;
        if quote.is_some() {
            self.place = Place::Short {
                start: self.text.len(),
                escaping: false,
            };
        }
        Ok(taken)
    }

    /// Keeps a string to its end, or until it is long; answers how much of it was taken.
    fn short(
        &mut self,
        piece: &[u8],
        start: usize,
        mut escaping: bool,
    ) -> Result<usize, SpillError> {
        let room = self.short_bytes_max + start - self.text.len();
        let mut end = None;
        for (at, byte) in piece.iter().take(room + 1).enumerate() {
            match byte {
                _ if escaping => escaping = false,
                b'\\' => escaping = true,
                b'"' => {
                    end = Some(at);
                    break;
                }
                _ => {}
            }
        }
        if let Some(at) = end {
            self.keep(&piece[..=at])?;
            self.place = Place::BetweenStrings;
            return Ok(at + 1);
        }
        let taken = piece.len().min(room + 1);
        self.keep(&piece[..taken])?;
        self.place = if taken <= room {
            Place::Short { start, escaping }
        } else {
            let head = self.text.split_off(start);
            let mut decoder = Decoder::new(self.bounds.file_bytes_max)?;
            decoder.take(encoded(&head))?;
            Place::Long(decoder)
        };
        Ok(taken)
    }

    /// Puts a mark in the place of the long string that ends here.
    fn end_file(&mut self) -> Result<(), SpillError> {
        let place = std::mem::replace(&mut self.place, Place::BetweenStrings);
        if let Place::Long(decoder) = place {
            let mark = format!("\\u{:04x}{}\"", u32::from(MARK), self.files.len());
            self.files.push(decoder.end()?.map(Arc::new));
            self.keep(mark.as_bytes())?;
        }
        Ok(())
    }
}

/// What is base64 in a text that may be a data URI (RFC 2397).
fn encoded(text: &[u8]) -> &[u8] {
    if !text.starts_with(b"data:") {
        return text;
    }
    let comma = text.iter().position(|byte| *byte == b',');
    comma.map_or(text, |at| &text[at + 1..])
}

/// Decodes a string of JSON that is base64 into a file.
struct Decoder {
    escape: Escape,
    /// Came and is not decoded.
    encoded: Vec<u8>,
    /// What was decoded last.
    decoded: Vec<u8>,
    /// Whether the base64 has come to its end.
    padded: bool,
    /// None: it was no base64.
    file: Option<(File, TempPath)>,
    file_bytes: u64,
    file_bytes_max: u64,
}

/// How far an escape of JSON has come (RFC 8259 §7).
#[derive(Clone, Copy)]
enum Escape {
    None,
    Begun,
    Unicode { digits: u32, code: u32 },
}

impl Decoder {
    fn new(file_bytes_max: u64) -> io::Result<Self> {
        let (file, path) = NamedTempFile::new()?.into_parts();
        Ok(Self {
            escape: Escape::None,
            encoded: Vec::with_capacity(BLOCK_BYTES),
            decoded: Vec::with_capacity(BLOCK_BYTES),
            padded: false,
            file: Some((file, path)),
            file_bytes: 0,
            file_bytes_max,
        })
    }

    /// Takes what belongs to the string; answers how much that is, its quote included, and whether it
    /// has ended.
    fn take(&mut self, piece: &[u8]) -> Result<(usize, bool), SpillError> {
        let mut at = 0;
        while let Some(&byte) = piece.get(at) {
            match self.escape {
                Escape::None => {
                    let rest = &piece[at..];
                    let plain = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'));
                    let run = plain.unwrap_or(rest.len());
                    self.feed(&rest[..run])?;
                    match rest.get(run) {
                        None => return Ok((piece.len(), false)),
                        Some(b'"') => return Ok((at + run + 1, true)),
                        Some(_) => self.escape = Escape::Begun,
                    }
                    at += run + 1;
                    continue;
                }
                Escape::Begun if byte == b'u' => {
                    self.escape = Escape::Unicode { digits: 0, code: 0 };
                }
                Escape::Begun => {
                    self.escape = Escape::None;
                    match byte {
                        b'/' => self.feed(b"/")?,
                        // Base64 has nothing else that can be written so.
                        _ => self.file = None,
                    }
                }
                Escape::Unicode { digits, code } => match char::from(byte).to_digit(16) {
                    Some(digit) => self.digit(digits + 1, code * 16 + digit)?,
                    None => {
                        self.file = None;
                        self.escape = Escape::None;
                        continue;
                    }
                },
            }
            at += 1;
        }
        Ok((at, false))
    }

    /// Takes so many digits of `\u002b`, which make this number.
    fn digit(&mut self, digits: u32, code: u32) -> Result<(), SpillError> {
        if digits < 4 {
            self.escape = Escape::Unicode { digits, code };
            return Ok(());
        }
        self.escape = Escape::None;
        match u8::try_from(code) {
            Ok(byte) => self.feed(&[byte])?,
            Err(_) => self.file = None,
        }
        Ok(())
    }

    fn feed(&mut self, run: &[u8]) -> Result<(), SpillError> {
        if self.file.is_none() {
            return Ok(());
        }
        self.encoded.extend_from_slice(run);
        if self.encoded.len() >= BLOCK_BYTES {
            self.decode(self.encoded.len() / 4 * 4)?;
        }
        Ok(())
    }

    /// Decodes so much of what came.
    fn decode(&mut self, encoded_bytes: usize) -> Result<(), SpillError> {
        let Some((file, _)) = &mut self.file else {
            return Ok(());
        };
        self.decoded.clear();
        let block = &self.encoded[..encoded_bytes];
        let is_base64 = BASE64.decode_vec(block, &mut self.decoded).is_ok();
        if !is_base64 || (self.padded && !block.is_empty()) {
            self.file = None;
            return Ok(());
        }
        self.padded = self.decoded.len() < encoded_bytes / 4 * 3;
        self.file_bytes += self.decoded.len() as u64;
        if self.file_bytes > self.file_bytes_max {
            return Err(SpillError::FileTooLarge);
        }
        file.write_all(&self.decoded)?;
        self.encoded.drain(..encoded_bytes);
        Ok(())
    }

    fn end(mut self) -> Result<Option<TempPath>, SpillError> {
        self.decode(self.encoded.len())?;
        Ok(self.file.map(|(_, path)| path))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const BOUNDS: Bounds = Bounds {
        answer_bytes_max: 1 << 20,
        file_bytes_max: 1 << 19,
    };

    /// A reader to which 25 characters are a long string.
    fn reader(bounds: Bounds) -> Reader {
        Reader {
            short_bytes_max: 24,
            ..Reader::new(bounds)
        }
    }

    fn read(pieces: &[&[u8]]) -> Result<Spilled, SpillError> {
        let mut reader = reader(BOUNDS);
        for piece in pieces {
            reader.push(piece)?;
        }
        reader.end()
    }

    fn bytes(content: Option<Content>) -> Option<Vec<u8>> {
        match content? {
            Content::File(path) => {
                Some(std::fs::read(path.as_ref() as &std::path::Path).expect("is there"))
            }
            Content::Bytes(bytes) => Some(bytes.into()),
            Content::Remote(_) => None,
        }
    }

    /// Bytes that base64 writes with all of its letters.
    fn noise(length: usize) -> Vec<u8> {
        let mut random = fastrand::Rng::with_seed(7);
        (0..length).map(|_| random.u8(..)).collect()
    }

    /// Wherever an answer is broken into pieces, the same comes of it: escapes, data URIs, several files,
    /// strings that are just not long, and quotes in what is not base64.
    #[test]
    fn it_does_not_matter_where_pieces_end() {
        let (first, second) = (noise(97), b"ab?>cd\xff\xff\xff\xfb".to_vec());
        let escaped = BASE64
            .encode(&second)
            .replace('/', "\\/")
            .replace('+', "\\u002B");
        assert!(escaped.contains("\\/") && escaped.contains("\\u002B"));
        let answer = format!(
            r#"{{"data": [{{"b64_json": "{}"}}, {{"b64_json":"data:image\/png;base64,{escaped}"}}],
                "short": "123456781234567812345678", "words": "say \"no\" to \\ and ü, and more", "last\\": {{"n": -1.5e3, "u": null}}}}"#,
            BASE64.encode(&first)
        );
        let answer = answer.as_bytes();
        let check = |spilled: Spilled| {
            let value = &spilled.value;
            let file = |index: usize| bytes(spilled.content(&value["data"][index]["b64_json"]));
            assert_eq!(file(0).as_ref(), Some(&first));
            assert_eq!(file(1).as_ref(), Some(&second));
            assert_eq!(value["short"], "123456781234567812345678");
            assert_eq!(value["last\\"], json!({"n": -1500.0, "u": null}));
            assert!(spilled.content(&value["words"]).is_none());
            assert_eq!(spilled.files.len(), 3);
        };
        for cut in 0..=answer.len() {
            let (before, after) = answer.split_at(cut);
            check(read(&[before, after]).expect("is an answer"));
        }
        let single: Vec<_> = answer.chunks(1).collect();
        check(read(&single).expect("is an answer"));
    }

    #[test]
    fn every_length_comes_out_with_and_without_padding() {
        for length in 7..40 {
            let file = noise(length);
            let padded = BASE64.encode(&file);
            for encoded in [padded.as_str(), padded.trim_end_matches('=')] {
                let answer = json!({"data": encoded}).to_string();
                let spilled = read(&[answer.as_bytes()]).expect("is an answer");
                assert_eq!(
                    bytes(spilled.content(&spilled.value["data"])),
                    Some(file.clone())
                );
            }
        }
    }

    #[test]
    fn large_files_are_on_the_disk_and_go_with_their_last_owner() {
        let file = noise(3 * BLOCK_BYTES + 1);
        let answer = json!({"data": BASE64.encode(&file)}).to_string();
        let mut reader = Reader::new(BOUNDS);
        for piece in answer.as_bytes().chunks(10_007) {
            reader.push(piece).expect("is short enough");
            assert!(reader.text.len() <= SHORT_BYTES_MAX + 16);
        }
        let spilled = reader.end().expect("is an answer");
        let Some(Content::File(path)) = spilled.content(&spilled.value["data"]) else {
            panic!("it is on the disk");
        };
        drop(spilled);
        assert_eq!(
            std::fs::read(path.as_ref() as &std::path::Path).ok(),
            Some(file)
        );
        let place = path.to_path_buf();
        drop(path);
        assert!(!place.exists());
    }

    #[test]
    fn what_is_no_base64_is_no_file_and_spoils_nothing_else() {
        let broken = [
            "no base64 at all, but long enough",
            "ABC ABC",
            "ABCQ",
            "ABCREVG=",
            "ABCRE=VREVG",
            "ABCREU=ABC",
            r"ABC\nABC",
            r"ABC\u0142ABC",
            r"ABC\u00",
            "data:image/png;base64;and no more",
        ];
        for text in broken {
            let text = text.replace("ABC", &"QUJD".repeat(8));
            let fine = "REVG".repeat(8);
            let answer = format!(r#"{{"broken": "{text}", "fine": "{fine}"}}"#);
            let spilled = read(&[answer.as_bytes()]).expect(&text);
            assert!(
                spilled.content(&spilled.value["broken"]).is_none(),
                "{text}"
            );
            let fine = bytes(spilled.content(&spilled.value["fine"]));
            assert_eq!(fine.as_deref(), Some("DEF".repeat(8).as_bytes()), "{text}");
        }
        let spilled = read(&[br#"["", "QUI=", 7, null, "\u00009"]"#]).expect("is an answer");
        let found: Vec<_> = (0..5)
            .map(|index| bytes(spilled.content(&spilled.value[index])))
            .collect();
        assert_eq!(found, [None, Some(b"AB".to_vec()), None, None, None]);
    }

    #[test]
    fn padding_ends_a_file_even_between_blocks() {
        let mut encoded = BASE64.encode(noise(BLOCK_BYTES / 4 * 3 - 1));
        assert!(encoded.len() == BLOCK_BYTES && encoded.ends_with('='));
        encoded.push_str("QUJD");
        let answer = json!({"data": encoded}).to_string();
        // The block ends with the piece.
        let (before, after) = answer.as_bytes().split_at(answer.len() - 6);
        let spilled = read(&[before, after]).expect("is an answer");
        assert!(spilled.content(&spilled.value["data"]).is_none());
    }

    #[test]
    fn answers_that_break_off_are_none() {
        let answer = br#"{"data": "QUJDQUJDQUJDQUJDQUJDQUJDQUJD", "more": ["x"]}"#;
        for cut in 0..answer.len() {
            let read = read(&[&answer[..cut]]);
            assert!(matches!(read, Err(SpillError::Json(_))), "{cut}");
        }
    }

    #[test]
    fn nothing_is_longer_than_it_may_be() {
        let answer = json!({"data": BASE64.encode(noise(1000))}).to_string();
        let within = |answer_bytes_max, file_bytes_max| {
            let mut reader = reader(Bounds {
                answer_bytes_max,
                file_bytes_max,
            });
            reader.push(answer.as_bytes()).map(drop)
        };
        let length = answer.len() as u64;
        within(length, 1000).expect("is short enough");
        let error = within(length - 1, 1000).expect_err("the answer is too long");
        assert!(matches!(error, SpillError::AnswerTooLong));
        let error = within(length, 999).expect_err("the file is too large");
        assert!(matches!(error, SpillError::FileTooLarge));
        let many = vec![b'1'; ANSWER_BYTES_MAX + 1];
        let mut reader = Reader::new(Bounds {
            answer_bytes_max: u64::MAX,
            file_bytes_max: 1,
        });
        let error = reader.push(&many).expect_err("the text is too long");
        assert!(matches!(error, SpillError::AnswerTooLong));
    }
}
