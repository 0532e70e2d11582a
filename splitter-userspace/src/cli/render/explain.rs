//! `splitter explain`.

use super::{Style, Tone};
use crate::api::model::{Explanation, Place};

/// The slot, where its connections go, and why.
pub fn explanation(explanation: &Explanation, style: Style) -> String {
    let Explanation { service, client, generation, slot, state, new_connection, live_connection, why } =
        explanation;
    format!(
        "{}  client {client}  generation {generation}\n\
         \x20 slot             {slot} ({state})\n\
         \x20 new connection   {}\n\
         \x20 live connection  {}\n\
         \x20 why              {why}\n",
        style.paint(Tone::Strong, service),
        place(new_connection.as_ref(), style),
        place(live_connection.as_ref(), style),
    )
}

fn place(place: Option<&Place>, style: Style) -> String {
    match place {
        Some(Place { pool, backend }) => format!("{pool} {backend}"),
        None => style.paint(Tone::Alarm, "no backend"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PoolName;

    #[test]
    fn shows_both_ways_and_why() {
        let to = |text: &str| Place { pool: PoolName::Blue, backend: text.parse().unwrap() };
        let answer = Explanation {
            service: "web".into(),
            client: "198.51.100.7:40000".parse().unwrap(),
            generation: 42,
            slot: 4711,
            state: "dirty".into(),
            new_connection: Some(to("10.0.1.11:8443")),
            live_connection: None,
            why: "the slot was shifted 3 s ago".into(),
        };
        let expected = "\
web  client 198.51.100.7:40000  generation 42
  slot             4711 (dirty)
  new connection   blue 10.0.1.11:8443
  live connection  no backend
  why              the slot was shifted 3 s ago
";
        assert_eq!(explanation(&answer, Style { colour: false, width: 100 }), expected);
    }
}
