//! `splitter stats`.

use super::{
    Style, Tone,
    number::count,
    table::{Column, Field, layout},
};
use crate::api::model::{BackendStats, ReasonCount, ServiceStats, Stats};

/// Every counter, service by service, then those of the tables.
pub fn stats(stats: &Stats, style: Style) -> String {
    let mut parts = vec![format!("generation {}\n", stats.generation)];
    parts.extend(stats.services.iter().map(|one| service(one, style)));
    if !stats.tables.is_empty() {
        let rows = stats.tables.iter().map(|(name, &number)| [name.as_str().into(), count(number).into()]);
        parts.push(layout([Column::Text("TABLES"), Column::Number("COUNT")], rows, style));
    }
    parts.join("\n")
}

const REASON_COLUMNS: [Column; 3] =
    [Column::Text("REASON"), Column::Text("VERDICT"), Column::Number("PACKETS")];

const BACKEND_COLUMNS: [Column; 7] = [
    Column::Text("POOL"),
    Column::Text("BACKEND"),
    Column::Number("CONNECTIONS"),
    Column::Number("PACKETS IN"),
    Column::Number("BYTES IN"),
    Column::Number("PACKETS OUT"),
    Column::Number("BYTES OUT"),
];

fn service(service: &ServiceStats, style: Style) -> String {
    format!(
        "{}\n{}\n{}",
        style.paint(Tone::Strong, &service.name),
        layout(BACKEND_COLUMNS, service.backends.iter().map(backend), style),
        layout(REASON_COLUMNS, service.reasons.iter().map(reason), style),
    )
}

fn reason(reason: &ReasonCount) -> [Field; 3] {
    let tone = if reason.packets > 0 && reason.verdict == "drop" { Tone::Caution } else { Tone::Plain };
    [Field::toned(tone, reason.reason.as_str()), reason.verdict.as_str().into(), count(reason.packets).into()]
}

fn backend(backend: &BackendStats) -> [Field; 7] {
    let counters = backend.counters;
    [
        backend.pool.as_str().into(),
        backend.address.to_string().into(),
        count(counters.connections).into(),
        count(counters.packets_in).into(),
        count(counters.bytes_in).into(),
        count(counters.packets_out).into(),
        count(counters.bytes_out).into(),
    ]
}

#[cfg(test)]
mod tests {
    use super::{super::sample, *};

    #[test]
    fn shows_every_counter() {
        let text = stats(&sample::stats(), Style { colour: false, width: 100 });
        let expected = "\
generation 42

web
  POOL  BACKEND         CONNECTIONS  PACKETS IN  BYTES IN  PACKETS OUT  BYTES OUT
  blue  10.0.1.11:8443          100       1,000    64,000          900    900,000

  REASON       VERDICT    PACKETS
  no_next_hop  pass             3
  malformed    drop     1,234,567

  TABLES              COUNT
  flow_insert_failed      0
  flow_inserted          12
";
        assert_eq!(text, expected);
    }
}
