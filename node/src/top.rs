//! `banyan top`: the living tree of a stream in the terminal.

mod api;
mod columns;
mod ink;
mod model;
mod outline;
mod view;

#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use anyhow::Context;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tokio::sync::mpsc;

use self::api::TrackerApi;
use self::ink::Ink;
use self::model::{Model, Snapshot};
use self::view::{Drawn, Place, Step, draw, plain};
use crate::config::Top;

/// Pause between two questions to the tracker about a small tree.
const QUICK: Duration = Duration::from_secs(1);

/// The same about one of more peers than fit on a page: finding them costs the tracker more.
const SLOW: Duration = Duration::from_secs(4);

/// Peers from which on it is asked slowly.
const LARGE: u32 = 256;

/// Longest pause before a tracker that does not answer is asked again.
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// How often ages are drawn anew.
const REDRAW: Duration = Duration::from_secs(1);

/// How long the thread that reads keys waits before it looks whether anybody listens.
const KEY_WAIT: Duration = Duration::from_millis(200);

/// Shows the tree until the user ends it, or prints it once.
///
/// # Errors
/// When the tree cannot be had and is to be printed once, or the terminal cannot be used.
pub async fn run(options: Top) -> anyhow::Result<()> {
    let mut api = TrackerApi::new(options.link.tracker, options.link.stream);
    if options.once || !io::stdout().is_terminal() {
        let mut model = Model::default();
        let snapshot = api.snapshot().await;
        // What a tracker answers must not steer the terminal.
        let told =
            |error: anyhow::Error| anyhow::Error::msg(model::harmless(&format!("{error:#}")));
        model.apply(Instant::now(), snapshot.map_err(told)?);
        let mut out = io::stdout().lock();
        out.write_all(plain(&model).as_bytes())
            .and_then(|()| out.flush())
            .context("writing to stdout")?;
        return Ok(());
    }
    let colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let mut screen = Screen::open()?;
    screen.show(api, Ink::new(colours)).await
}

/// The terminal, which gets back how it was, also after a panic.
struct Screen(DefaultTerminal);

impl Screen {
    fn open() -> anyhow::Result<Self> {
        ratatui::try_init()
            .map(Self)
            .context("the terminal cannot be used")
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Of a terminal that is gone there is nothing to restore.
        let _ = ratatui::try_restore();
    }
}

/// What a key asks for.
enum Wish {
    Quit,
    Go(Step),
    Redraw,
}

impl Screen {
    async fn show(&mut self, api: TrackerApi, ink: Ink) -> anyhow::Result<()> {
        let (told, mut snapshots) = mpsc::channel(1);
        let (typed, mut wishes) = mpsc::channel(16);
        let asking = tokio::spawn(ask(api, told));
        let typing = std::thread::spawn(move || read_keys(&typed));
        let mut model = Model::default();
        let mut place = Place::default();
        let mut ended = std::pin::pin!(asked_to_end());
        let mut redraw = tokio::time::interval(REDRAW);
        let result = loop {
            let drawn = match self.draw(&model, &mut place, ink) {
                Ok(drawn) => drawn,
                Err(error) => break Err(error),
            };
            tokio::select! {
                Some(answer) = snapshots.recv() => match answer {
                    Ok(snapshot) => model.apply(Instant::now(), snapshot),
                    Err(error) => model.fail(format!("{error:#}")),
                },
                wish = wishes.recv() => match wish {
                    Some(Wish::Go(step)) => place.go(step, drawn),
                    Some(Wish::Redraw) => {}
                    Some(Wish::Quit) | None => break Ok(()),
                },
                () = &mut ended => break Ok(()),
                _ = redraw.tick() => {}
            }
        };
        asking.abort();
        // It leaves the terminal alone before that is put back, so that no key is lost to it.
        drop(wishes);
        let _ = tokio::task::spawn_blocking(|| typing.join()).await;
        result
    }

    fn draw(&mut self, model: &Model, place: &mut Place, ink: Ink) -> anyhow::Result<Drawn> {
        let mut drawn = Drawn::default();
        self.0
            .draw(|frame| drawn = draw(frame, Instant::now(), model, place, ink))
            .context("drawing on the terminal")?;
        Ok(drawn)
    }
}

/// Asks the tracker until nobody listens.
async fn ask(mut api: TrackerApi, told: mpsc::Sender<anyhow::Result<Snapshot>>) {
    let mut failures = 0_u32;
    loop {
        let answer = api.snapshot().await;
        let pause = match &answer {
            Ok(snapshot) => {
                failures = 0;
                if snapshot.total > LARGE { SLOW } else { QUICK }
            }
            Err(_) => {
                failures += 1;
                QUICK
                    .saturating_mul(1 << failures.min(4))
                    .min(LONGEST_PAUSE)
            }
        };
        if told.send(answer).await.is_err() {
            return;
        }
        tokio::time::sleep(pause).await;
    }
}

/// Reads keys until nobody listens or the terminal is gone.
fn read_keys(typed: &mpsc::Sender<Wish>) {
    while !typed.is_closed() {
        match event::poll(KEY_WAIT).and_then(|any| any.then(event::read).transpose()) {
            Ok(None) => {}
            Ok(Some(event)) => {
                if let Some(wish) = wish(&event)
                    && typed.blocking_send(wish).is_err()
                {
                    return;
                }
            }
            Err(_) => return,
        }
    }
}

fn wish(event: &Event) -> Option<Wish> {
    let key = match event {
        Event::Resize(..) => return Some(Wish::Redraw),
        Event::Key(key) if key.kind != KeyEventKind::Release => key,
        _ => return None,
    };
    let KeyEvent {
        code, modifiers, ..
    } = key;
    let step = match code {
        KeyCode::Char('q' | 'Q') | KeyCode::Esc => return Some(Wish::Quit),
        KeyCode::Char('c' | 'd') if modifiers.contains(KeyModifiers::CONTROL) => {
            return Some(Wish::Quit);
        }
        KeyCode::Up | KeyCode::Char('k') => Step::Rows(-1),
        KeyCode::Down | KeyCode::Char('j') => Step::Rows(1),
        KeyCode::PageUp => Step::Screens(-1),
        KeyCode::PageDown | KeyCode::Char(' ') => Step::Screens(1),
        KeyCode::Home => Step::First,
        KeyCode::End => Step::Last,
        KeyCode::Left | KeyCode::Char('-') => Step::Fold,
        KeyCode::Right | KeyCode::Char('+') => Step::Unfold,
        KeyCode::Char('0') => Step::Fit,
        _ => return None,
    };
    Some(Wish::Go(step))
}

/// SIGTERM and SIGHUP, and SIGINT from elsewhere than the keyboard, whose Ctrl-C is a key here.
async fn asked_to_end() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let kinds = [
            SignalKind::terminate(),
            SignalKind::hangup(),
            SignalKind::interrupt(),
        ];
        let mut waits: Vec<_> = kinds
            .into_iter()
            .filter_map(|kind| signal(kind).ok())
            .collect();
        std::future::poll_fn(|context| {
            match waits
                .iter_mut()
                .any(|wait| wait.poll_recv(context).is_ready())
            {
                true => std::task::Poll::Ready(()),
                false => std::task::Poll::Pending,
            }
        })
        .await;
    }
    #[cfg(not(unix))]
    {
        let _ = tokio::signal::ctrl_c().await;
    }
}
