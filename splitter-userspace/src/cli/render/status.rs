//! `splitter status`.

use std::net::SocketAddr;

use super::{
    Style, Tone, left,
    number::{count, measured, percent, rate},
    table::{Column, Field, layout},
};
use crate::{
    api::model::{
        Admin, BackendStatus, Health, InterfaceStatus, PoolStatus, ServiceStatus, Split, Status, TableStatus,
    },
    config::PoolName,
};

/// The whole picture; warnings at the end, where they are seen.
pub fn status(status: &Status, style: Style) -> String {
    let mut parts = vec![host(status, style)];
    parts.extend(status.services.iter().map(|one| service(one, style)));
    if !status.warnings.is_empty() {
        parts.push(warnings(&status.warnings, style));
    }
    parts.join("\n")
}

fn host(status: &Status, style: Style) -> String {
    let interfaces: Vec<_> = status.interfaces.iter().map(interface).collect();
    let tables: Vec<_> = status.tables.iter().map(|table| fill(table, style)).collect();
    format!(
        "generation {}  kernel {} {}  {}\n{}\n",
        status.generation,
        status.kernel,
        status.program,
        interfaces.join(", "),
        tables.join(", ")
    )
}

fn interface(interface: &InterfaceStatus) -> String {
    let InterfaceStatus { name, mode, why, .. } = interface;
    if why.is_empty() { format!("{name} {mode}") } else { format!("{name} {mode} ({why})") }
}

/// Above this fill a table is worth a look.
const NEARLY_FULL: f64 = 0.8;

fn fill(table: &TableStatus, style: Style) -> String {
    let share = if table.capacity == 0 { 0.0 } else { table.entries as f64 / table.capacity as f64 };
    let tone = if share > NEARLY_FULL { Tone::Alarm } else { Tone::Plain };
    let (entries, capacity) = (count(table.entries), count(table.capacity));
    style.paint(tone, &format!("{} table {entries} of {capacity} ({})", table.name, percent(share)))
}

fn service(service: &ServiceStatus, style: Style) -> String {
    let backends = service.pools.iter().flat_map(|pool| pool.backends.iter().map(|one| (pool.name, one)));
    format!(
        "{}\n  {}\n  {}\n\n{}\n{}",
        headline(service, style),
        slots(service, style),
        rollback(service.rollback_to.as_ref()),
        layout(POOL_COLUMNS, service.pools.iter().map(|one| pool(one, service.stable)), style),
        layout(BACKEND_COLUMNS, backends.map(|(pool, one)| backend(pool, one)), style),
    ) + &left::table(service, style)
}

fn headline(service: &ServiceStatus, style: Style) -> String {
    let endpoint = SocketAddr::new(service.address, service.port);
    format!(
        "{}  {endpoint}/{}  {}  generation {}  stable {}",
        style.paint(Tone::Strong, &service.name),
        service.protocol,
        service.mode,
        service.generation,
        service.stable
    )
}

fn slots(service: &ServiceStatus, style: Style) -> String {
    let slots = service.slots;
    let tone = if service.settled { Tone::Plain } else { Tone::Caution };
    let states = format!(
        "{} clean, {} dirty, {} tracked",
        count(slots.clean),
        count(slots.dirty),
        count(slots.tracked)
    );
    let rate = rate(service.connections_per_second);
    format!("{} slots: {}; {rate} connections/s", count(slots.total), style.paint(tone, &states))
}

fn rollback(to: Option<&Split>) -> String {
    let Some(split) = to else { return "nothing to roll back".into() };
    let weights: Vec<_> = split.weights.iter().map(|(pool, weight)| format!("{pool} {weight}")).collect();
    format!("rollback restores {} (stable {})", weights.join(", "), split.stable)
}

const POOL_COLUMNS: [Column; 6] = [
    Column::Text("POOL"),
    Column::Number("WANTED"),
    Column::Number("PROGRAMMED"),
    Column::Number("MEASURED"),
    Column::Number("CONN/S"),
    Column::Number("EXCEPTIONS"),
];

fn pool(pool: &PoolStatus, stable: PoolName) -> [Field; 6] {
    let tone = if pool.name == stable { Tone::Strong } else { Tone::Plain };
    [
        Field::toned(tone, pool.name.as_str()),
        percent(pool.wanted).into(),
        percent(pool.programmed).into(),
        measured(pool.measured.as_ref()).into(),
        rate(pool.connections_per_second).into(),
        count(pool.exceptions).into(),
    ]
}

const BACKEND_COLUMNS: [Column; 8] = [
    Column::Text("POOL"),
    Column::Text("BACKEND"),
    Column::Text("ADMIN"),
    Column::Text("HEALTH"),
    Column::Number("SLOTS"),
    Column::Number("CONN/S"),
    Column::Number("EXC."),
    Column::Text("NEXT HOP"),
];

fn backend(pool: PoolName, backend: &BackendStatus) -> [Field; 8] {
    [
        pool.as_str().into(),
        backend.address.to_string().into(),
        admin(backend.admin),
        health(backend.health),
        count(backend.slots).into(),
        rate(backend.connections_per_second).into(),
        count(backend.exceptions).into(),
        backend.next_hop.as_str().into(),
    ]
}

fn admin(admin: Admin) -> Field {
    match admin {
        Admin::Ready => "ready".into(),
        Admin::Drain => Field::toned(Tone::Caution, "drain"),
        Admin::Maint => Field::toned(Tone::Caution, "maint"),
    }
}

fn health(health: Health) -> Field {
    match health {
        Health::Unchecked => "unchecked".into(),
        Health::Up => "up".into(),
        Health::Down => Field::toned(Tone::Alarm, "down"),
    }
}

fn warnings(warnings: &[String], style: Style) -> String {
    warnings.iter().map(|warning| format!("{} {warning}\n", style.paint(Tone::Caution, "warning:"))).collect()
}

#[cfg(test)]
mod tests {
    use super::{super::sample, *};

    const PLAIN: Style = Style { colour: false, width: 100 };

    #[test]
    fn shows_everything_in_a_hundred_columns() {
        let text = status(&sample::status(), PLAIN);
        assert_eq!(text, include_str!("sample_status.txt"));
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    }

    #[test]
    fn colours_what_needs_attention_and_nothing_else() {
        let colour = Style { colour: true, ..PLAIN };
        let text = status(&sample::status(), colour);
        assert!(text.contains("\x1b[33mwarning:\x1b[0m"), "{text:?}");
        assert!(!status(&sample::status(), PLAIN).contains('\x1b'));
    }

    #[test]
    fn a_backend_that_is_down_is_an_alarm() {
        let mut answer = sample::status();
        answer.services[0].pools[0].backends[0].health = Health::Down;
        let text = status(&answer, Style { colour: true, ..PLAIN });
        assert!(text.contains("\x1b[38;5;1mdown"), "{text:?}");
    }

    #[test]
    fn a_table_that_fills_up_is_an_alarm() {
        let colour = Style { colour: true, ..PLAIN };
        let table = |entries| TableStatus { name: "flow".into(), entries, capacity: 1000, evicted: 0 };
        assert_eq!(fill(&table(500), colour), "flow table 500 of 1,000 (50%)");
        assert_eq!(fill(&table(900), colour), "\x1b[31mflow table 900 of 1,000 (90%)\x1b[0m");
        assert_eq!(fill(&TableStatus { capacity: 0, ..table(0) }, colour), "flow table 0 of 0 (0%)");
    }

    #[test]
    fn says_when_there_is_nothing_to_roll_back() {
        assert_eq!(rollback(None), "nothing to roll back");
    }

    #[test]
    fn names_why_an_interface_is_not_native() {
        let mut one = sample::status().interfaces[0].clone();
        assert_eq!(interface(&one), "eth0 native");
        (one.mode, one.why) = ("generic".into(), "the driver has no XDP".into());
        assert_eq!(interface(&one), "eth0 generic (the driver has no XDP)");
    }
}
