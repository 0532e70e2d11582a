//! The event feed: one JSON object per line, those kept in memory first.

use std::{
    convert::Infallible,
    future::Future,
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use tokio::sync::broadcast;
use tokio_stream::wrappers::{BroadcastStream, errors::BroadcastStreamRecvError};

use super::model::Event;

/// The kept events, and after them the live ones until `closing`.
pub(super) fn feed(
    kept: Vec<Event>,
    live: Option<broadcast::Receiver<Event>>,
    closing: impl Future<Output = ()> + Send + 'static,
) -> impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static {
    let mark = kept.last().map_or_else(Mark::default, Mark::of);
    let live = live.map_or_else(|| stream::empty().left_stream(), |live| follow(mark, live).right_stream());
    stream::iter(kept).chain(live.take_until(Box::pin(closing))).map(|event| Ok(line(&event)))
}

fn follow(mut mark: Mark, live: broadcast::Receiver<Event>) -> impl Stream<Item = Event> + Send {
    BroadcastStream::new(live).map(move |received| {
        let event = received.unwrap_or_else(|BroadcastStreamRecvError::Lagged(missed)| mark.gap(missed));
        mark = Mark::of(&event);
        event
    })
}

/// The last event that was sent.
#[derive(Clone, Copy, Default)]
struct Mark {
    sequence: u64,
    generation: u64,
}

impl Mark {
    fn of(event: &Event) -> Self {
        Self { sequence: event.sequence, generation: event.generation }
    }

    /// Stands for the events that a slow reader missed; carries the number of the last of them.
    fn gap(self, missed: u64) -> Event {
        Event {
            sequence: self.sequence + missed,
            time_unix_ms: now_unix_ms(),
            kind: "warning".into(),
            service: None,
            generation: self.generation,
            line: format!("{missed} events were missed because this reader was too slow"),
            reason: String::new(),
        }
    }
}

fn now_unix_ms() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    elapsed.as_millis().try_into().unwrap_or(u64::MAX)
}

fn line(event: &Event) -> Bytes {
    let mut line = serde_json::to_vec(event).unwrap_or_default();
    line.push(b'\n');
    line.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(sequence: u64) -> Event {
        Event {
            sequence,
            time_unix_ms: 5,
            kind: "change".into(),
            service: Some("web".into()),
            generation: 40 + sequence,
            line: format!("line {sequence}"),
            reason: String::new(),
        }
    }

    async fn read(feed: impl Stream<Item = Result<Bytes, Infallible>>) -> Vec<Event> {
        feed.map(|line| serde_json::from_slice(&line.unwrap()).unwrap()).collect().await
    }

    fn sequences(events: &[Event]) -> Vec<u64> {
        events.iter().map(|event| event.sequence).collect()
    }

    #[tokio::test]
    async fn without_follow_it_ends_after_the_kept_ones() {
        let events = read(feed(vec![event(1), event(2)], None, std::future::pending())).await;
        assert_eq!(sequences(&events), [1, 2]);
    }

    #[tokio::test]
    async fn live_ones_follow_until_the_sender_is_gone() {
        let (sender, live) = broadcast::channel(4);
        sender.send(event(2)).unwrap();
        drop(sender);
        let events = read(feed(vec![event(1)], Some(live), std::future::pending())).await;
        assert_eq!(sequences(&events), [1, 2]);
    }

    #[tokio::test]
    async fn a_slow_reader_is_told_how_many_it_missed() {
        let (sender, live) = broadcast::channel(2);
        (2..=6).for_each(|n| drop(sender.send(event(n))));
        drop(sender);
        let events = read(feed(vec![event(1)], Some(live), std::future::pending())).await;
        assert_eq!(sequences(&events), [1, 4, 5, 6]);
        assert_eq!((events[1].kind.as_str(), events[1].generation), ("warning", 41));
        assert!(events[1].line.starts_with("3 events were missed"));
    }

    #[tokio::test]
    async fn closing_ends_it() {
        let (_sender, live) = broadcast::channel(2);
        let events = read(feed(vec![event(1)], Some(live), std::future::ready(()))).await;
        assert_eq!(sequences(&events), [1]);
    }
}
