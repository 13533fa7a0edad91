//! The few events that we need of a YAML parser, and the one parser behind them.
//!
//! The trait keeps the parser replaceable: nothing else in the crate names it.

use super::Mark;
use granit_parser::{Event as Raw, Options, Parser, ScalarStyle, StrInput, Tag};
use std::borrow::Cow;

/// Nesting that no manifest comes near; every recursion over nodes relies on it.
pub(super) const DEPTH_MAX: usize = 100;

/// One event.
#[derive(Debug)]
pub(super) enum Event {
    DocumentStart,
    DocumentEnd,
    Scalar { text: String, plain: bool, anchor: usize, tag: Option<String> },
    ListStart { anchor: usize, tag: Option<String> },
    ListEnd,
    MapStart { anchor: usize, tag: Option<String> },
    MapEnd,
    Alias(usize),
    End,
}

/// Why a text is not YAML, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct SyntaxError {
    pub(crate) at: Mark,
    pub(crate) message: String,
}

/// A source of events.
pub(super) trait Events {
    /// The next one, and where it begins; `End` again and again at the end.
    fn next_event(&mut self) -> Result<(Event, Mark), SyntaxError>;
}

/// granit-parser.
pub(super) struct Granit<'a> {
    parser: Parser<'a, StrInput<'a>>,
    lines_before: u32,
    ended: bool,
}

impl<'a> Granit<'a> {
    pub(super) fn new(text: &'a str, first_line: u32) -> Self {
        let mut options = Options::default();
        options.set_emit_comments(false);
        options.flow_nesting_limit = DEPTH_MAX;
        options.block_nesting_limit = DEPTH_MAX;
        let parser = Parser::new_from_str_with_options(text, options);
        Self { parser, lines_before: first_line.saturating_sub(1), ended: false }
    }

    fn mark(&self, marker: &granit_parser::Marker) -> Mark {
        let narrow = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Mark { line: narrow(marker.line()).saturating_add(self.lines_before), column: narrow(marker.col()).saturating_add(1) }
    }
}

impl Events for Granit<'_> {
    fn next_event(&mut self) -> Result<(Event, Mark), SyntaxError> {
        while !self.ended {
            let Some(next) = self.parser.next_event() else { break };
            let (raw, span) = next.map_err(|error| SyntaxError { at: self.mark(error.marker()), message: error.info() })?;
            let at = self.mark(&span.start);
            if let Some(event) = translate(raw) {
                self.ended = matches!(event, Event::End);
                return Ok((event, at));
            }
        }
        Ok((Event::End, Mark::default()))
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the parser may learn new events; those that we do not ask for say nothing")]
fn translate(raw: Raw<'_>) -> Option<Event> {
    Some(match raw {
        Raw::StreamEnd => Event::End,
        Raw::DocumentStart(..) => Event::DocumentStart,
        Raw::DocumentEnd => Event::DocumentEnd,
        Raw::Alias(anchor) => Event::Alias(anchor),
        Raw::Scalar(text, style, anchor, tag) => {
            Event::Scalar { text: text.into_owned(), plain: style == ScalarStyle::Plain, anchor, tag: name(tag) }
        }
        Raw::SequenceStart(_, anchor, tag) => Event::ListStart { anchor, tag: name(tag) },
        Raw::SequenceEnd => Event::ListEnd,
        Raw::MappingStart(_, anchor, tag) => Event::MapStart { anchor, tag: name(tag) },
        Raw::MappingEnd => Event::MapEnd,
        _ => return None,
    })
}

/// The suffix of a core tag (`str`), or the whole of another.
fn name(tag: Option<Cow<'_, Tag>>) -> Option<String> {
    tag.map(|tag| tag.core_suffix().map_or_else(|| tag.original(), str::to_owned))
}
