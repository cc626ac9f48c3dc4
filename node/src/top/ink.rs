//! Colours: the terminal's own, none where `NO_COLOR` is set, and never a background.

use ratatui::style::{Color, Modifier, Style};

/// How words stand out.
#[derive(Debug, Clone, Copy)]
pub struct Ink {
    colours: bool,
}

impl Ink {
    /// With colours or without.
    pub fn new(colours: bool) -> Self {
        Self { colours }
    }

    fn of(self, colour: Color) -> Style {
        match self.colours {
            true => Style::new().fg(colour),
            false => Style::new(),
        }
    }

    /// As it should be.
    pub fn good(self) -> Style {
        self.of(Color::Green)
    }

    /// Worth a look. Not yellow, which nobody can read on white.
    pub fn doubtful(self) -> Style {
        self.of(Color::Magenta)
    }

    /// As it should not be.
    pub fn bad(self) -> Style {
        self.of(Color::Red).add_modifier(Modifier::BOLD)
    }

    /// Of less importance.
    pub fn faint(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    /// Of more importance.
    pub fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }
}
