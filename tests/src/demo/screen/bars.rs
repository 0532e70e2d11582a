//! Shares as bars.

use ratatui::{
    style::{Color, Style},
    text::{Line, Span},
};
use splitter_userspace::{
    api::model::{PoolStatus, ServiceStatus},
    config::PoolName,
};

/// Lines that one pool takes.
pub const ROWS: usize = 3;

/// Columns in front of a bar and behind it.
const LABELS: u16 = 20;
const NUMBER: u16 = 8;

/// A service's pools, three bars each, and the states of its slots.
pub fn service(service: &ServiceStatus, width: u16) -> Vec<Line<'static>> {
    let room = width.saturating_sub(LABELS + NUMBER);
    let mut lines: Vec<_> = service.pools.iter().flat_map(|status| pool(status, room)).collect();
    let slots = service.slots;
    lines.push(Line::from(format!(
        "slots: {} clean, {} dirty, {} tracked",
        slots.clean, slots.dirty, slots.tracked
    )));
    lines
}

fn pool(pool: &PoolStatus, room: u16) -> [Line<'static>; ROWS] {
    let color = color(pool.name);
    let kept = if pool.exceptions > 0 { format!("{} kept", pool.exceptions) } else { String::new() };
    [
        row(pool.name.as_str(), "wanted", Some(pool.wanted), room, color),
        row(&kept, "programmed", Some(pool.programmed), room, color),
        row("", "measured", pool.measured.map(|measured| measured.share), room, color),
    ]
}

fn row(label: &str, what: &'static str, share: Option<f64>, room: u16, color: Color) -> Line<'static> {
    let number = share.map_or_else(|| "-".to_owned(), |share| format!("{:.2}%", share * 100.0));
    Line::from(vec![
        Span::styled(format!("{label:<9}"), Style::new().fg(color).bold()),
        Span::raw(format!("{what:<11}")),
        Span::styled(bar(share.unwrap_or(0.0), room), Style::new().fg(color)),
        Span::raw(format!("{number:>8}")),
    ])
}

/// Full blocks and one eighth-wide rest, padded to `room` columns; a share above nought shows at least an eighth.
fn bar(share: f64, room: u16) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let exact = (share.clamp(0.0, 1.0) * f64::from(room) * 8.0).round() as usize;
    let eighths = if share > 0.0 { exact.max(1) } else { exact };
    let text = format!("{}{}", "█".repeat(eighths / 8), EIGHTHS[eighths % 8]);
    format!("{text:<width$}", width = usize::from(room))
}

fn color(pool: PoolName) -> Color {
    match pool {
        PoolName::Blue => Color::Blue,
        PoolName::Green => Color::Green,
        PoolName::Canary => Color::Yellow,
    }
}

/// A service with blue at 95 % and canary at 5 %.
#[cfg(test)]
pub fn sample(name: &str) -> ServiceStatus {
    let pool = |name: &str, share: f64| {
        serde_json::json!({
            "name": name, "weight": share * 100.0, "wanted": share, "programmed": share, "measured": null,
            "connections_per_second": 0.0, "exceptions": 0, "live": null, "backends": [],
        })
    };
    let service = serde_json::json!({
        "name": name, "address": "192.0.2.10", "port": 80, "protocol": "tcp", "mode": "dnat", "stable": "blue",
        "generation": 1, "slots": { "total": 65536, "clean": 65536, "dirty": 0, "tracked": 0 }, "settled": true,
        "rollback_to": null, "connections_per_second": 0.0, "pools": [pool("blue", 0.95), pool("canary", 0.05)],
    });
    serde_json::from_value(service).expect("the shape of a service")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_share() {
        assert_eq!(bar(1.0, 4), "████");
        assert_eq!(bar(0.5, 4), "██  ");
        assert_eq!(bar(0.0, 4), "    ");
        assert_eq!(bar(0.0001, 4), "▏   ");
        assert_eq!(bar(2.0, 3), "███");
    }

    #[test]
    fn a_share_that_nobody_measured_is_a_dash() {
        let lines = service(&sample("web"), 60);
        assert!(lines[2].to_string().trim_end().ends_with('-'), "{}", lines[2]);
        assert!(lines[0].to_string().ends_with("95.00%"), "{}", lines[0]);
    }
}
