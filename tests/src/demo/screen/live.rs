//! The live picture on a terminal.

use std::time::Duration;

use anyhow::{Context, Result};
use ratatui::{
    DefaultTerminal, Frame,
    crossterm::event::{self, Event, KeyCode, KeyEvent, KeyModifiers},
    layout::{Constraint, Layout},
    style::{Color, Style, Stylize},
    text::{Line, Span},
    widgets::{Block, Paragraph},
};

use super::{Screen, bars};
use crate::demo::{picture::Picture, report::Percents, stop::Stop};

/// The terminal, which is given back as it was when this is dropped; ratatui's own hook does so on a panic.
pub struct Live {
    terminal: DefaultTerminal,
}

impl Live {
    /// Takes the terminal over.
    pub fn start() -> Result<Self> {
        let terminal = ratatui::try_init().context("cannot draw on this terminal: use --output text")?;
        let mut live = Self { terminal };
        live.terminal.clear().context("cannot clear the terminal")?;
        Ok(live)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

impl Screen for Live {
    /// The picture has all lines.
    fn line(&mut self, _: Duration, _: &str) {}

    fn draw(&mut self, picture: &Picture, stop: &Stop) -> Result<()> {
        while event::poll(Duration::ZERO).context("cannot read the keyboard")? {
            if let Event::Key(key) = event::read().context("cannot read the keyboard")?
                && means_stop(key)
            {
                stop.wish();
            }
        }
        self.terminal.draw(|frame| render(frame, picture)).context("cannot draw on the terminal")?;
        Ok(())
    }
}

/// The terminal sends Ctrl-C as a key while a picture is on it.
fn means_stop(key: KeyEvent) -> bool {
    let control_c = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    control_c || key.code == KeyCode::Char('q')
}

fn render(frame: &mut Frame<'_>, picture: &Picture) {
    let rows = picture.services.iter().map(|service| service.pools.len()).max().unwrap_or(0) * bars::ROWS + 3;
    let areas =
        Layout::vertical([Constraint::Length(5), Constraint::Length(rows as u16), Constraint::Min(3)]);
    let [head, services, lines] = areas.areas(frame.area());
    frame.render_widget(header(picture), head);
    let columns = Layout::horizontal(picture.services.iter().map(|_| Constraint::Fill(1))).split(services);
    for (service, area) in picture.services.iter().zip(columns.iter()) {
        let title = format!(" {} {} ", service.name, service.address);
        let block = Block::bordered().title(title.bold());
        let inside = block.inner(*area);
        frame.render_widget(block, *area);
        frame.render_widget(Paragraph::new(bars::service(service, inside.width)), inside);
    }
    frame.render_widget(events(picture, lines.height), lines);
}

fn header(picture: &Picture) -> Paragraph<'_> {
    let title = format!(" splitter demo  {}/{}  {} ", picture.number, picture.steps, picture.step);
    let time = format!(" {:.0} s ", picture.elapsed.as_secs_f64());
    let load = Line::from(vec![
        format!("{:>7.0} new connections/s   {:>8} requests   ", picture.per_second, picture.requests).into(),
        alarm(picture.failed, "failed"),
    ]);
    let census = &picture.census;
    let open = Line::from(vec![
        format!("{:>7} long-lived open      {:>8} finished   ", census.alive(), census.finished).into(),
        alarm(census.cut(), "cut"),
    ]);
    let seen = Line::from(format!("  seen by clients in this step: {}", Percents(&picture.seen)));
    let block = Block::bordered().title(title.bold()).title(Line::from(time).right_aligned());
    Paragraph::new(vec![load, open, seen]).block(block)
}

/// Green at nought, red above.
fn alarm(count: u64, what: &str) -> Span<'static> {
    let color = if count == 0 { Color::Green } else { Color::Red };
    Span::styled(format!("{count} {what}"), Style::new().fg(color).bold())
}

fn events(picture: &Picture, height: u16) -> Paragraph<'_> {
    let room = usize::from(height.saturating_sub(2));
    let skipped = picture.lines.len().saturating_sub(room);
    let lines: Vec<_> = picture.lines.iter().skip(skipped).map(|line| Line::from(line.as_str())).collect();
    Paragraph::new(lines).block(Block::bordered().title(" events ").title_bottom(" q: stop "))
}

#[cfg(test)]
mod tests {
    use ratatui::{Terminal, backend::TestBackend};

    use super::*;
    use crate::demo::screen::bars::sample;

    fn shown(picture: &Picture) -> String {
        let mut terminal = Terminal::new(TestBackend::new(100, 30)).expect("the test terminal never fails");
        terminal.draw(|frame| render(frame, picture)).expect("the test terminal never fails");
        terminal.backend().to_string()
    }

    #[test]
    fn the_picture_has_step_services_and_events() {
        let mut picture = Picture { step: "canary 5 %", number: 3, steps: 7, ..Picture::default() };
        picture.services = vec![sample("web"), sample("web6")];
        picture.add_line("weights web canary 1% -> 5%".into());
        let text = shown(&picture);
        for part in ["3/7  canary 5 %", "web ", "web6 ", "programmed", "0 failed", "canary 1% -> 5%"] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }

    #[test]
    fn a_picture_without_services_can_be_drawn() {
        assert!(shown(&Picture::default()).contains("0 cut"));
    }

    #[test]
    fn the_last_events_are_shown_when_there_are_too_many() {
        let mut picture = Picture::default();
        (0..40).for_each(|number| picture.add_line(format!("event {number}.")));
        let text = shown(&picture);
        assert!(text.contains("event 39.") && !text.contains("event 0."), "{text}");
    }
}
