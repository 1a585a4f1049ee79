//! What every page that is written here has: its head, its style, and a policy that forbids any request.
//!
//! It is HTML that a strict reader of XML takes too. Without colour it says the same, and in light and dark it is
//! readable. **Invariant:** nothing is loaded, from anywhere. **Not here:** what a page says.

use std::fmt::Display;

use super::markup::Markup;

/// No `<`, `&` or `>`: see `markup`. Contrast of each pair of text and ground is above 4.5 to 1.
const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1b1f24; --ground: #ffffff; --faint: #57606a; --line: #d0d7de;
  --soft: #f6f8fa; --c0: #0b5cad; --c1: #a3460d; --c2: #1a6e39; --c3: #7b3fb0; --c4: #6b5900; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --ground: #0d1117; --faint: #9da7b1;
  --line: #3d444d; --soft: #161b22; --c0: #6cb2ff; --c1: #ffa777; --c2: #6fdd8b; --c3: #d2a8ff; --c4: #e3c94b; } }
body { margin: 0 auto; padding: 1rem 1.25rem 4rem; max-width: 60rem; color: var(--ink);
  background: var(--ground); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.7rem; margin-bottom: 0; } h2 { margin-top: 2.5rem; font-size: 1.3rem; }
h3 { margin-top: 1.8rem; font-size: 1.05rem; } p { max-width: 46rem; }
.lead, figcaption, caption { color: var(--faint); } caption { text-align: left; padding: .3rem 0; }
table { border-collapse: collapse; margin: .75rem 0; font-size: .9rem; display: block; overflow-x: auto; }
th, td { border-bottom: 1px solid var(--line); padding: .25rem .7rem; text-align: right;
  font-variant-numeric: tabular-nums; vertical-align: top; }
th:first-child, td:first-child, .words td, .words th { text-align: left; }
thead th { background: var(--soft); } figure { margin: 1rem 0; }
figure svg { width: 100%; height: auto; display: block; } figcaption svg.sample { display: inline; width: 30px;
  height: 12px; } .key { white-space: nowrap; margin-right: 1rem; } svg.patterns { position: absolute; }
svg text { font: 11px system-ui, sans-serif; fill: var(--ink); }
.grid { stroke: var(--line); fill: none; } .curve { fill: none; stroke-width: 2; }
.c0 { stroke: var(--c0); } .c1 { stroke: var(--c1); } .c2 { stroke: var(--c2); }
.c3 { stroke: var(--c3); } .c4 { stroke: var(--c4); }
.part { stroke: var(--ink); fill-opacity: .35; } .p0 { fill: var(--c0); } .p1 { fill: var(--c1); }
.p2 { fill: var(--c2); } .p3 { fill: var(--c3); } .p4 { fill: var(--c4); }
.band { fill: var(--ink); fill-opacity: .1; }
.line { stroke: var(--ink); stroke-width: 1; fill: none; }
details { margin: .5rem 0; } summary { cursor: pointer; } code { font-size: .85em; }
@media print { body { max-width: none; } details { break-inside: avoid; } }
";

/// Nothing is loaded, from anywhere.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// A page with this title.
pub(crate) fn document(title: &str, body: impl FnOnce(&mut Markup)) -> String {
    let mut markup = Markup::default();
    markup.element("html", &[("lang", &"en")], |markup| {
        markup.element("head", &[], |markup| head(markup, title));
        markup.line();
        markup.element("body", &[], body);
    });
    markup.line();
    markup.finish()
}

fn head(markup: &mut Markup, title: &str) {
    markup.element("meta", &[("charset", &"utf-8")], |_| {});
    let policy = [("http-equiv", &"Content-Security-Policy" as &dyn Display), ("content", &POLICY)];
    markup.element("meta", &policy, |_| {});
    let view = [("name", &"viewport" as &dyn Display), ("content", &"width=device-width")];
    markup.element("meta", &view, |_| {});
    markup.say("title", &title);
    markup.say("style", &STYLE);
}
