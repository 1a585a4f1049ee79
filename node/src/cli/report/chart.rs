//! Drawings of a report as inline SVG: curves over a pair of axes, and bars in parts.
//!
//! Curves differ by dashes and bars by hatching, so that a print without colour says the same; each drawing has
//! a title for those who do not see it, and the page has a table with the same figures. **Invariants:** every
//! coordinate is within the drawing; a drawing refers to nothing but the page's own patterns. **Not here:**
//! colours (the page's style), what is drawn (`page`).

use super::markup::Markup;

/// Spans of milliseconds as people know them.
pub(crate) const MILLISECONDS: [(f64, &str); 7] = [
    (1.0, "1 ms"),
    (10.0, "10 ms"),
    (100.0, "100 ms"),
    (1e3, "1 s"),
    (1e4, "10 s"),
    (1e5, "100 s"),
    (1e6, "17 min"),
];

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 280.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 44.0;
/// Height of a bar with the space below it.
const BAR: f64 = 26.0;
/// Where bars begin: beside their names.
const BAR_LEFT: f64 = 110.0;
/// Dashes of curves, in order; the first is a whole line.
const DASHES: [&str; 5] = ["none", "7 3", "2 3", "9 3 2 3", "1 5"];
/// Kinds of hatching, each with the lines of its pattern.
const HATCHES: [&str; 5] = ["", "M0 8L8 0", "M0 0L8 8", "M0 4H8", "M4 0V8M0 4H8"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    Even,
    /// Tenfold steps are alike; what is below one is drawn as one.
    Tenfold,
}

/// One axis, with the marks that are written at it.
pub(crate) struct Axis {
    pub(crate) title: String,
    pub(crate) scale: Scale,
    pub(crate) from: f64,
    pub(crate) to: f64,
    pub(crate) marks: Vec<(f64, String)>,
}

pub(crate) struct Curve {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
    /// A value holds until the next one.
    pub(crate) is_stepped: bool,
}

pub(crate) struct Plot {
    pub(crate) title: String,
    pub(crate) across: Axis,
    pub(crate) up: Axis,
    pub(crate) curves: Vec<Curve>,
    /// From one value across to another, with what was the matter meanwhile.
    pub(crate) bands: Vec<(String, f64, f64)>,
}

/// A bar in parts.
pub(crate) struct Bar {
    pub(crate) name: String,
    /// In the order of the kinds.
    pub(crate) parts: Vec<f64>,
    /// Written behind it.
    pub(crate) note: String,
}

impl Axis {
    /// An axis from nothing to at least `most`, with even marks.
    pub(crate) fn up_to(title: &str, most: f64) -> Self {
        let mut step = 1.0;
        let mut steps = [2.0, 2.5, 2.0].into_iter().cycle();
        while most / step > 5.0 {
            step *= steps.next().unwrap_or(2.0);
        }
        let to = (most / step).ceil().max(1.0) * step;
        let count = (to / step) as u32;
        let marks = (0..=count).map(|mark| f64::from(mark) * step);
        let marks = marks.map(|value| (value, format!("{value}"))).collect();
        Self { title: title.to_owned(), scale: Scale::Even, from: 0.0, to, marks }
    }

    /// Shares of all, in a thousand.
    pub(crate) fn shares(title: &str) -> Self {
        let marks = [0_u16, 250, 500, 750, 1000];
        let marks = marks.map(|mark| (f64::from(mark), format!("{} %", mark / 10)));
        let title = title.to_owned();
        Self { title, scale: Scale::Even, from: 0.0, to: 1000.0, marks: marks.to_vec() }
    }

    /// A tenfold axis over spans of time, with marks that people know.
    pub(crate) fn spans(title: &str, most: f64, known: &[(f64, &str)]) -> Self {
        let to = known.iter().map(|(value, _)| *value).find(|value| *value >= most);
        let to = to.unwrap_or(most).max(10.0);
        let marks = known.iter().filter(|(value, _)| *value <= to);
        let marks = marks.map(|(value, name)| (*value, (*name).to_owned())).collect();
        Self { title: title.to_owned(), scale: Scale::Tenfold, from: 1.0, to, marks }
    }

    /// Where a value is, from 0 to 1.
    fn at(&self, value: f64) -> f64 {
        let value = value.clamp(self.from, self.to);
        let (value, from, to) = match self.scale {
            Scale::Even => (value, self.from, self.to),
            Scale::Tenfold => (value.log10(), self.from.log10(), self.to.log10()),
        };
        if to > from { (value - from) / (to - from) } else { 0.0 }
    }
}

impl Plot {
    fn place(&self, (across, up): (f64, f64)) -> (f64, f64) {
        let x = LEFT + self.across.at(across) * (WIDTH - LEFT - RIGHT);
        (x, HEIGHT - BOTTOM - self.up.at(up) * (HEIGHT - TOP - BOTTOM))
    }

    fn path(&self, curve: &Curve) -> String {
        let mut path = String::new();
        let mut before: Option<(f64, f64)> = None;
        for point in &curve.points {
            let (x, y) = self.place(*point);
            let step = match before {
                None => format!("M{x:.1} {y:.1}"),
                Some(_) if curve.is_stepped => format!("H{x:.1}V{y:.1}"),
                Some(_) => format!("L{x:.1} {y:.1}"),
            };
            path.push_str(&step);
            before = Some((x, y));
        }
        path
    }

    pub(crate) fn draw(&self, markup: &mut Markup) {
        let view = format!("0 0 {WIDTH} {HEIGHT}");
        markup.element("figure", &[], |markup| {
            markup.element("svg", &[("viewBox", &view), ("role", &"img")], |markup| {
                markup.say("title", &self.title);
                self.shade(markup);
                self.axes(markup);
                for (kind, curve) in self.curves.iter().enumerate() {
                    let class = format!("curve c{}", kind % DASHES.len());
                    let (path, dash) = (self.path(curve), DASHES[kind % DASHES.len()]);
                    let attributes: &[(&'static str, &dyn std::fmt::Display)] =
                        &[("class", &class), ("d", &path), ("stroke-dasharray", &dash)];
                    markup.element("path", attributes, |_| {});
                }
            });
            markup.element("figcaption", &[], |markup| {
                markup.escaped(&self.title);
                markup.escaped(&". ");
                if self.curves.len() > 1 {
                    let names = self.curves.iter().map(|curve| &*curve.name);
                    legend(markup, names, |markup, kind| {
                        let (class, dash) = (format!("curve c{kind}"), DASHES[kind]);
                        let attributes: &[(&'static str, &dyn std::fmt::Display)] =
                            &[("class", &class), ("d", &"M0 6H30"), ("stroke-dasharray", &dash)];
                        markup.element("path", attributes, |_| {});
                    });
                }
            });
        });
        markup.line();
    }

    /// Each band is at least a line wide.
    fn shade(&self, markup: &mut Markup) {
        for (name, from, to) in &self.bands {
            let (left, top) = self.place((*from, self.up.to));
            let (right, base) = self.place((*to, self.up.from));
            let [x, y] = [left, top].map(|at| format!("{at:.1}"));
            let [width, height] =
                [(right - left).max(1.0), base - top].map(|at| format!("{at:.1}"));
            let attributes: &[(&'static str, &dyn std::fmt::Display)] =
                &[("class", &"band"), ("x", &x), ("y", &y), ("width", &width), ("height", &height)];
            markup.element("rect", attributes, |markup| markup.say("title", name));
        }
    }

    fn axes(&self, markup: &mut Markup) {
        let (base, end) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
        for (value, name) in &self.across.marks {
            let (x, _) = self.place((*value, self.up.from));
            markup.element(
                "path",
                &[("class", &"grid"), ("d", &format!("M{x:.1} {TOP}V{base}"))],
                |_| {},
            );
            let y = base + 16.0;
            let attributes: &[(&'static str, &dyn std::fmt::Display)] =
                &[("x", &format!("{x:.1}")), ("y", &y), ("text-anchor", &"middle")];
            markup.say_with("text", attributes, name);
        }
        for (value, name) in &self.up.marks {
            let (_, y) = self.place((self.across.from, *value));
            markup.element(
                "path",
                &[("class", &"grid"), ("d", &format!("M{LEFT} {y:.1}H{end}"))],
                |_| {},
            );
            let attributes: &[(&'static str, &dyn std::fmt::Display)] =
                &[("x", &(LEFT - 6.0)), ("y", &format!("{:.1}", y + 4.0)), ("text-anchor", &"end")];
            markup.say_with("text", attributes, name);
        }
        let middle = f64::midpoint(LEFT, end);
        let attributes: &[(&'static str, &dyn std::fmt::Display)] =
            &[("x", &middle), ("y", &(HEIGHT - 8.0)), ("text-anchor", &"middle")];
        markup.say_with("text", attributes, &self.across.title);
        let turned = format!("translate(14 {}) rotate(-90)", f64::midpoint(TOP, base));
        markup.say_with(
            "text",
            &[("transform", &turned), ("text-anchor", &"middle")],
            &self.up.title,
        );
    }
}

/// Names with a sample of how each is drawn.
fn legend<'a>(
    markup: &mut Markup,
    names: impl Iterator<Item = &'a str>,
    sample: impl Fn(&mut Markup, usize),
) {
    for (kind, name) in names.enumerate() {
        markup.element("span", &[("class", &"key")], |markup| {
            let view = [("viewBox", &"0 0 30 12" as &dyn std::fmt::Display), ("class", &"sample")];
            markup.element("svg", &view, |markup| sample(markup, kind % DASHES.len()));
            markup.escaped(&" ");
            markup.escaped(&name);
        });
        markup.escaped(&" ");
    }
}

/// Bars, one below the other, each as long as its parts; the longest is as wide as there is space.
pub(crate) fn bars(markup: &mut Markup, title: &str, kinds: &[&str], bars: &[Bar]) {
    let most = bars.iter().map(|bar| bar.parts.iter().sum::<f64>()).fold(1.0, f64::max);
    let (space, height) = (WIDTH - BAR_LEFT - 150.0, bars.len() as f64 * BAR + 6.0);
    let view = format!("0 0 {WIDTH} {height}");
    markup.element("figure", &[], |markup| {
        markup.element("svg", &[("viewBox", &view), ("role", &"img")], |markup| {
            markup.say("title", &title);
            for (row, bar) in bars.iter().enumerate() {
                let y = row as f64 * BAR + 3.0;
                let text = y + 14.0;
                let attributes: &[(&'static str, &dyn std::fmt::Display)] =
                    &[("x", &(BAR_LEFT - 6.0)), ("y", &text), ("text-anchor", &"end")];
                markup.say_with("text", attributes, &bar.name);
                let mut x = BAR_LEFT;
                for (kind, part) in bar.parts.iter().enumerate() {
                    let width = part / most * space;
                    block(markup, kind % HATCHES.len(), [x, y, width, BAR - 6.0]);
                    x += width;
                }
                let behind = format!("{:.1}", x + 6.0);
                markup.say_with("text", &[("x", &behind), ("y", &text)], &bar.note);
            }
        });
        markup.element("figcaption", &[], |markup| {
            markup.escaped(&title);
            markup.escaped(&". ");
            legend(markup, kinds.iter().copied(), |markup, kind| {
                block(markup, kind, [0.0, 0.0, 30.0, 12.0]);
            });
        });
    });
    markup.line();
}

fn block(markup: &mut Markup, kind: usize, [x, y, width, height]: [f64; 4]) {
    if width <= 0.0 {
        return;
    }
    let (x, y) = (format!("{x:.1}"), format!("{y:.1}"));
    let (width, height) = (format!("{width:.1}"), format!("{height:.1}"));
    let class = format!("part p{kind}");
    let fill = format!("url(#hatch{kind})");
    for (class, fill) in [(class.as_str(), None), ("hatch", Some(&fill))] {
        let mut attributes: Vec<(&'static str, &dyn std::fmt::Display)> =
            vec![("class", &class), ("x", &x), ("y", &y), ("width", &width), ("height", &height)];
        if let Some(fill) = fill {
            attributes.push(("fill", fill));
        }
        markup.element("rect", &attributes, |_| {});
    }
}

/// The patterns that bars refer to: once in a page, before the first bar.
pub(crate) fn patterns(markup: &mut Markup) {
    let hidden: &[(&'static str, &dyn std::fmt::Display)] =
        &[("width", &0), ("height", &0), ("class", &"patterns"), ("aria-hidden", &"true")];
    markup.element("svg", hidden, |markup| {
        markup.element("defs", &[], |markup| {
            for (kind, lines) in HATCHES.iter().enumerate() {
                let id = format!("hatch{kind}");
                let attributes: &[(&'static str, &dyn std::fmt::Display)] = &[
                    ("id", &id),
                    ("width", &8),
                    ("height", &8),
                    ("patternUnits", &"userSpaceOnUse"),
                ];
                markup.element("pattern", attributes, |markup| {
                    markup.element("path", &[("class", &"line"), ("d", lines)], |_| {});
                });
            }
        });
    });
    markup.line();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_placed_within_the_drawing() {
        let axis = Axis::spans("minutes", 700.0, &[(1.0, "1 min"), (60.0, "1 h"), (1440.0, "1 d")]);
        assert_eq!((axis.to, axis.marks.len()), (1440.0, 3));
        assert_eq!([0.0, 1.0, 1440.0, 9e9].map(|value| axis.at(value)), [0.0, 0.0, 1.0, 1.0]);
        let even = Axis::up_to("tickets", 13.0);
        assert_eq!((even.to, even.marks.len()), (15.0, 4));
        assert_eq!(Axis::up_to("nothing", 0.0).to, 1.0);
        let plot = Plot {
            title: String::new(),
            across: even,
            up: Axis::shares(""),
            curves: vec![Curve {
                name: String::new(),
                points: vec![(0.0, 0.0), (15.0, 1000.0)],
                is_stepped: true,
            }],
            bands: Vec::new(),
        };
        assert_eq!(plot.path(&plot.curves[0]), "M62.0 236.0H708.0V12.0");
    }
}
