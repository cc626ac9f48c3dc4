//! Just enough SVG.

use std::fmt::Write;

/// Width of every figure: what a README column holds.
pub(super) const WIDTH: f64 = 760.0;

/// Where the plot begins from the left and ends before the right edge.
pub(super) const LEFT: f64 = 72.0;
pub(super) const RIGHT: f64 = WIDTH - 130.0;

/// Where the plot begins from above, below title and note.
pub(super) const TOP: f64 = 84.0;

const STYLE: &str = "
text { font: 13px system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif; fill: var(--soft) }
.title { font-size: 17px; font-weight: 650; fill: var(--ink) }
.value { font-weight: 600; fill: var(--ink) }
.axis { stroke: var(--line); stroke-width: 1 }
.a { --tone: var(--green) } .b { --tone: var(--grey) } .c { --tone: var(--amber) }
.line { fill: none; stroke: var(--tone); stroke-width: 2.5; stroke-linejoin: round }
.area { fill: var(--tone); opacity: .16 }
.dot { fill: var(--tone) }
.cloud { fill: var(--tone); opacity: .45 }
.name { fill: var(--tone); font-weight: 600 }
svg { --ink: #1b2420; --soft: #5b6a63; --line: #dfe5e1; --page: #fff;
      --green: #12804a; --grey: #7b8781; --amber: #b4610a }
@media (prefers-color-scheme: dark) {
  svg { --ink: #eef4f0; --soft: #9fb0a7; --line: #2e3833; --page: #0d1411;
        --green: #4fd08b; --grey: #93a19a; --amber: #f0a94e }
}
.page { fill: var(--page) }
";

/// A figure that is being drawn.
pub(super) struct Drawing {
    text: String,
    height: f64,
}

impl Drawing {
    /// Empty but for its title and a note on how it was measured.
    pub(super) fn new(height: f64, title: &str, note: &str) -> Self {
        let (title, note) = (escaped(title), escaped(note));
        let text = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
             width=\"{WIDTH}\" height=\"{height}\" role=\"img\" aria-label=\"{title}\">\n\
             <style>{STYLE}</style>\n\
             <rect class=\"page\" width=\"100%\" height=\"100%\" rx=\"8\"/>\n\
             <text class=\"title\" x=\"24\" y=\"34\">{title}</text>\n\
             <text x=\"24\" y=\"56\">{note}</text>\n"
        );
        Self { text, height }
    }

    /// Where the plot ends below, above the axis' words.
    pub(super) fn bottom(&self) -> f64 {
        self.height - 56.0
    }

    /// Words; `anchor` is `start`, `middle` or `end`.
    pub(super) fn words(&mut self, class: &str, anchor: &str, x: f64, y: f64, words: &str) {
        let words = escaped(words);
        self.add(format_args!(
            "<text class=\"{class}\" text-anchor=\"{anchor}\" x=\"{x:.1}\" y=\"{y:.1}\">{words}</text>"
        ));
    }

    /// A thin straight line of the frame.
    pub(super) fn rule(&mut self, from: (f64, f64), to: (f64, f64)) {
        self.add(format_args!(
            "<path class=\"axis\" d=\"M{:.1} {:.1}L{:.1} {:.1}\"/>",
            from.0, from.1, to.0, to.1
        ));
    }

    /// A curve through `points`.
    pub(super) fn line(&mut self, class: &str, points: &[(f64, f64)]) {
        let path = path(points);
        self.add(format_args!("<path class=\"line {class}\" d=\"{path}\"/>"));
    }

    /// What lies between two curves.
    pub(super) fn area(&mut self, class: &str, upper: &[(f64, f64)], lower: &[(f64, f64)]) {
        let around: Vec<_> = upper.iter().chain(lower.iter().rev()).copied().collect();
        let path = path(&around);
        self.add(format_args!("<path class=\"area {class}\" d=\"{path}Z\"/>"));
    }

    /// A point.
    pub(super) fn dot(&mut self, class: &str, (x, y): (f64, f64), radius: f64) {
        self.add(format_args!(
            "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\"/>"
        ));
    }

    /// The whole file.
    pub(super) fn finish(mut self) -> String {
        self.text.push_str("</svg>\n");
        self.text
    }

    fn add(&mut self, element: std::fmt::Arguments<'_>) {
        writeln!(self.text, "{element}").unwrap();
    }
}

fn path(points: &[(f64, f64)]) -> String {
    let mut path = String::new();
    for (index, (x, y)) in points.iter().enumerate() {
        let command = if index == 0 { 'M' } else { 'L' };
        write!(path, "{command}{x:.1} {y:.1}").unwrap();
    }
    path
}

fn escaped(words: &str) -> String {
    words
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
