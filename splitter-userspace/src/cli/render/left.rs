//! What is left on backends that get no new connections: after a change, in `status`, and as it goes.

use super::{
    Style, Tone,
    number::{count, rate, time},
    table::{Column, Field, layout},
};
use crate::api::model::{
    Admin, BackendStatus, Change, DeadlineStatus, End, Left, Live, PoolStatus, ServiceStatus,
};

/// The change's line, and one of what it leaves.
pub fn change(change: &Change) -> String {
    let rest = change.left.as_ref().map_or_else(String::new, |rest| format!("\n{}", left(rest)));
    format!("{}{rest}", change.line)
}

/// One line.
pub fn left(left: &Left) -> String {
    let deadline = left.deadline.map_or_else(String::new, |deadline| format!("; {}", until(&deadline)));
    format!("left on {}: {}{deadline}", left.what, seen(&left.live, &left.cause))
}

fn seen(live: &Live, cause: &str) -> String {
    if live.nothing() {
        return "no live connection".into();
    }
    let mut text = match live.connections {
        1 => "1 live connection".to_owned(),
        connections => format!("{} live connections", count(connections)),
    };
    if !live.complete {
        text.push_str(&format!(" seen since the {cause}"));
    }
    if live.connections > 0 {
        text.push_str(&format!(
            ", the oldest for {}, {}/s fewer",
            time(live.oldest_s),
            rate(live.decline_per_s)
        ));
    }
    if !live.complete {
        text.push_str(&format!("; silent ones are counted within {}", time(live.complete_in_s)));
    }
    text
}

fn until(deadline: &DeadlineStatus) -> String {
    match (deadline.applied, deadline.then) {
        (false, End::Leave) => format!("left alone in {}", time(deadline.in_s)),
        (false, End::Reset) => format!("reset in {}", time(deadline.in_s)),
        (true, End::Leave) => "left alone since the deadline".into(),
        (true, End::Reset) => "reset since the deadline".into(),
    }
}

const COLUMNS: [Column; 6] = [
    Column::Text("BEING LEFT"),
    Column::Number("LIVE SEEN"),
    Column::Number("OLDEST"),
    Column::Number("FEWER/S"),
    Column::Text("COUNTED"),
    Column::Text("DEADLINE"),
];

/// Pools and backends that are being left, a blank line before; nothing where there are none.
pub fn table(service: &ServiceStatus, style: Style) -> String {
    let rows: Vec<_> = service.pools.iter().flat_map(rows).collect();
    if rows.is_empty() { String::new() } else { format!("\n{}", layout(COLUMNS, rows, style)) }
}

/// A pool of more than one backend has a line of its own, with the sums.
fn rows(pool: &PoolStatus) -> Vec<[Field; 6]> {
    let own = pool.backends.iter().filter(|backend| is_left(backend));
    let mut rows: Vec<_> =
        own.filter_map(|one| Some(row(&one.address.to_string(), &one.live?, one.deadline))).collect();
    if let Some(live) = pool.live.filter(|_| rows.len() > 1) {
        rows.insert(0, row(pool.name.as_str(), &live, None));
    }
    rows
}

/// What never had anything is not being left.
fn is_left(backend: &BackendStatus) -> bool {
    let alive = backend.live.is_some_and(|live| !live.nothing());
    alive || backend.admin == Admin::Drain || backend.deadline.is_some()
}

fn row(name: &str, live: &Live, deadline: Option<DeadlineStatus>) -> [Field; 6] {
    let counted =
        if live.complete { "all".into() } else { format!("all within {}", time(live.complete_in_s)) };
    let known = |text: String| if live.connections > 0 { text } else { "-".into() };
    let end = deadline.map_or_else(|| "-".into(), |deadline| until(&deadline));
    let tone = if deadline.is_some_and(|deadline| deadline.then == End::Reset) {
        Tone::Caution
    } else {
        Tone::Plain
    };
    [
        name.into(),
        count(live.connections).into(),
        known(time(live.oldest_s)).into(),
        known(rate(live.decline_per_s)).into(),
        counted.into(),
        Field::toned(tone, end),
    ]
}

#[cfg(test)]
mod tests {
    use super::{super::sample, *};

    const LIVE: Live = Live {
        connections: 1037,
        oldest_s: 723.0,
        decline_per_s: 1.26,
        complete: false,
        complete_in_s: 860.2,
    };

    fn line(live: Live, deadline: Option<(f64, End, bool)>) -> String {
        let deadline = deadline.map(|(in_s, then, applied)| DeadlineStatus { in_s, then, applied });
        let what = "10.0.1.11:8443".to_owned();
        left(&Left { cause: "drain".into(), what, backends: vec![], live, deadline })
    }

    #[test]
    fn the_line_says_what_is_known_and_what_is_not() {
        assert_eq!(
            line(LIVE, Some((600.0, End::Reset, false))),
            "left on 10.0.1.11:8443: 1,037 live connections seen since the drain, the oldest for 12m 3s, 1.3/s fewer; \
             silent ones are counted within 14m 20s; reset in 10m"
        );
        let complete = Live { connections: 1, complete: true, decline_per_s: 0.0, ..LIVE };
        assert_eq!(
            line(complete, Some((0.0, End::Leave, true))),
            "left on 10.0.1.11:8443: 1 live connection, the oldest for 12m 3s, 0.0/s fewer; left alone since the deadline"
        );
        let unseen = Live { connections: 0, ..LIVE };
        assert_eq!(
            line(unseen, None),
            "left on 10.0.1.11:8443: 0 live connections seen since the drain; silent ones are counted within 14m 20s"
        );
        assert_eq!(line(Live::NOTHING, None), "left on 10.0.1.11:8443: no live connection");
    }

    #[test]
    fn a_pool_of_several_backends_has_its_sums() {
        let mut service = sample::service();
        let green = &mut service.pools[1];
        green.backends.push(green.backends[0].clone());
        green.backends.iter_mut().for_each(|backend| backend.live = Some(LIVE));
        green.live = Some(LIVE.and(LIVE));
        let text = table(&service, Style { colour: false, width: 100 });
        assert!(text.contains("  canary              2,074"), "{text}");
        assert_eq!(text.matches("10.0.3.11:8443").count(), 2, "{text}");
    }

    #[test]
    fn what_is_warm_and_empty_is_not_listed() {
        let mut service = sample::service();
        service.pools.remove(0);
        service.pools[0].backends[0].live = Some(Live::NOTHING);
        assert_eq!(table(&service, Style { colour: false, width: 100 }), "");
    }
}
