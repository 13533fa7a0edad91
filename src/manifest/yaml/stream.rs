//! Cutting a file into documents before it is parsed, as kubectl does, so that a syntax error costs one document only.

/// The text of one document (rarely several), and the line that it starts on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Chunk<'a> {
    /// Its number in the file; empty documents count.
    pub(crate) index: usize,
    pub(crate) first_line: u32,
    pub(crate) text: &'a str,
}

/// The chunks of a file that hold more than comments.
pub(crate) fn chunks(text: &str) -> Vec<Chunk<'_>> {
    let mut chunks = Vec::new();
    let (mut start, mut first_line, mut offset, mut index) = (0, 1, 0, 0);
    let (mut is_open, mut has_content) = (false, false);
    let mut json = JsonStream::default();
    for (line, number) in text.split_inclusive('\n').zip(1_u32..) {
        if json.begins_anew(line) {
            chunks.push(Chunk { index, first_line, text: &text[start..offset] });
            (start, first_line, index) = (offset, number, index + 1);
        }
        if is_separator(line) {
            if has_content {
                chunks.push(Chunk { index, first_line, text: &text[start..offset] });
            }
            if has_content || is_open {
                (start, first_line, index) = (offset, number, index + 1);
            }
            (is_open, has_content) = (true, false);
        }
        has_content |= is_content(line);
        offset += line.len();
    }
    if has_content {
        chunks.push(Chunk { index, first_line, text: &text[start..] });
    }
    chunks
}

/// JSON values that follow each other without a separator, as `jq` prints them.
#[derive(Default)]
struct JsonStream {
    is_json: bool,
    is_complete: bool,
}

impl JsonStream {
    /// Whether a value begins with this line after another has ended.
    fn begins_anew(&mut self, line: &str) -> bool {
        let is_start = line.starts_with('{');
        let begins = is_start && self.is_json && self.is_complete;
        if is_content(line) {
            self.is_json = is_start || (self.is_json && !is_separator(line));
            self.is_complete = line.trim_end().ends_with('}');
        }
        begins
    }
}

fn is_separator(line: &str) -> bool {
    line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace))
}

/// True unless the line is blank, a comment, a directive or a bare separator.
fn is_content(line: &str) -> bool {
    let rest = if is_separator(line) { &line[3..] } else { line };
    let rest = rest.trim();
    !(rest.is_empty() || rest.starts_with('#') || line.starts_with('%') || rest == "...")
}
