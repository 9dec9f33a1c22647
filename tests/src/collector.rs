//! Subscribers of the `tracing` crate, for cases about what the crates tell.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Keeps each event as a line: level, target, the span that it belongs to, message and fields.
///
/// `INFO shim_spawner stop{pid=7 target=group}: stopped status=exit status: 0 killed=0 left=0`
#[derive(Clone, Debug, Default)]
pub struct Collector(Arc<Mutex<Collected>>);

#[derive(Debug, Default)]
struct Collected {
    lines: Vec<String>,
    /// Those that are not closed yet, by their numbers.
    spans: BTreeMap<u64, String>,
    last: u64,
}

thread_local! {
    /// The spans that this thread is in.
    static ENTERED: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

impl Collector {
    /// Runs `body` with a collector for what this thread tells.
    pub fn listen<T>(body: impl FnOnce() -> T) -> (Collector, T) {
        let collector = Collector::default();
        let answer = tracing::subscriber::with_default(collector.clone(), body);
        (collector, answer)
    }

    fn with<T>(&self, look: impl FnOnce(&mut Collected) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// All lines so far that have the text.
    #[must_use]
    pub fn lines(&self, text: &str) -> Vec<String> {
        let has = |line: &&String| line.contains(text);
        self.with(|collected| collected.lines.iter().filter(has).cloned().collect())
    }

    /// The spans that were not closed.
    #[must_use]
    pub fn open_spans(&self) -> Vec<String> {
        self.with(|collected| collected.spans.values().cloned().collect())
    }
}

impl Subscriber for Collector {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut fields = Fields::default();
        span.record(&mut fields);
        let text = format!("{}{{{}}}", span.metadata().name(), fields.text.trim_start());
        self.with(|collected| {
            collected.last += 1;
            collected.spans.insert(collected.last, text);
            Id::from_u64(collected.last)
        })
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let inside = || ENTERED.with_borrow(|entered| entered.last().copied());
        let parent = event.parent().map(Id::into_u64).or_else(inside);
        let mut fields = Fields::default();
        event.record(&mut fields);
        let (level, target) = (event.metadata().level(), event.metadata().target());
        self.with(|collected| {
            let span = parent.map_or(String::new(), |number| {
                let span = collected.spans.get(&number);
                format!(" {}", span.map_or("closed", String::as_str))
            });
            let Fields { message, text } = fields;
            let line = format!("{level} {target}{span}: {message}{text}");
            collected.lines.push(line);
        });
    }

    fn enter(&self, span: &Id) {
        ENTERED.with_borrow_mut(|entered| entered.push(span.into_u64()));
    }

    fn exit(&self, span: &Id) {
        ENTERED.with_borrow_mut(|entered| entered.retain(|number| *number != span.into_u64()));
    }

    /// No case clones a span: the first close is the last.
    fn try_close(&self, span: Id) -> bool {
        self.with(|collected| collected.spans.remove(&span.into_u64()).is_some())
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    text: String,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a String cannot fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.text, " {name}={value:?}"),
        };
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}

/// Does something at whatever it is told.
#[derive(Clone, Copy, Debug)]
pub struct Hostile(pub fn());

impl Hostile {
    fn act(self) {
        (self.0)();
    }
}

impl Subscriber for Hostile {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        self.act();
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {
        self.act();
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {
        self.act();
    }

    fn event(&self, _: &Event<'_>) {
        self.act();
    }

    fn enter(&self, _: &Id) {
        self.act();
    }

    fn exit(&self, _: &Id) {
        self.act();
    }

    fn try_close(&self, _: Id) -> bool {
        self.act();
        true
    }
}
