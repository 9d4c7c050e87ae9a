//! A drawing as an SVG: one element with its style in it; a viewer needs nothing else. Titles of boxes and links show up under a pointer.

use std::fmt::Write as _;

use super::layout::{Curve, Layout, box_height};
use super::{Link, Node, Picture, escape, rate};

/// Thinnest and thickest line, pixels.
const THIN: f64 = 1.2;
const THICK: f64 = 7.0;
/// Loads below this are no traffic but sessions and their keepalives, and are not written beside their link.
const QUIET: u64 = 100_000;
/// Where on their ways the loads of links that follow each other are written.
const LABELS: [f64; 4] = [0.32, 0.44, 0.56, 0.68];

const STYLE: &str = "\
svg{background:#fff;font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;font-size:12px}\
.box{fill:#f6f8fa;stroke:#57606a}.weft .box{fill:#ddf4ff;stroke:#0969da}.good .box{fill:#dafbe1;stroke:#1a7f37}\
.bad .box{fill:#ffebe9;stroke:#cf222e}.name{font-weight:bold;fill:#1f2328}.note{fill:#57606a;font-size:10px}\
.end{fill:#57606a;font-size:9px;stroke:#fff;stroke-width:2px;paint-order:stroke}\
.link path{fill:none;stroke:#8c959f}.link.good path{stroke:#2da44e}.link.bad path{stroke:#cf222e;stroke-dasharray:6 4}\
.link:hover path{stroke:#bf3989}.load{fill:#1f2328;font-size:10px;stroke:#fff;stroke-width:3px;paint-order:stroke}\
.head{font-size:16px;font-weight:bold;fill:#1f2328}.sub{fill:#57606a;font-size:11px}text{text-anchor:middle}.head,.sub{text-anchor:start}";

/// Draws it. Writing to a string cannot fail, so what `write!` answers is of no interest here and below.
pub(super) fn draw(picture: &Picture) -> String {
    let layout = Layout::new(picture);
    let (width, height) = (layout.width, layout.height);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" viewBox=\"0 0 {width:.0} {height:.0}\">\n\
         <style>{STYLE}</style>\n<text class=\"head\" x=\"24\" y=\"24\">{}</text>\n<text class=\"sub\" x=\"24\" y=\"41\">{}</text>\n",
        escape(&picture.name),
        escape(&summary(picture))
    );
    for (link, curve) in picture.links.iter().zip(&layout.curves) {
        draw_link(&mut svg, link, curve);
    }
    for (node, place) in picture.nodes.iter().zip(&layout.boxes) {
        let (x, y, width) = (place.x, place.y, place.width);
        let middle = x + width / 2.0;
        let _ = writeln!(
            svg,
            "<g class=\"{} {}\"><title>{}</title><rect class=\"box\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{:.0}\" rx=\"5\"/>\
             <text class=\"name\" x=\"{middle:.1}\" y=\"{:.1}\">{}</text><text class=\"note\" x=\"{middle:.1}\" y=\"{:.1}\">{}</text></g>",
            if node.runs == "weft" { "weft" } else { "other" },
            node.health().name(),
            escape(&title(node)),
            box_height(),
            y + 16.0,
            escape(&node.name),
            y + 30.0,
            escape(&node.note()),
        );
    }
    if layout.has_names {
        for (number, (link, curve)) in picture.links.iter().zip(&layout.curves).enumerate() {
            for (index, end) in [&link.a, &link.z].into_iter().enumerate() {
                let (x, y) = curve.ends[index];
                let y = if curve.at_bottom[index] { y + 11.0 } else { y - 5.0 };
                let _ =
                    writeln!(svg, "<text class=\"end\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>", escape(&end.interface));
            }
            if let Some(load) = link.load().filter(|load| *load >= QUIET) {
                // not all at one height, so that they do not cover each other
                let (x, y) = curve.at(LABELS[number % LABELS.len()]);
                let _ = writeln!(svg, "<text class=\"load\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>", rate(load));
            }
        }
    }
    svg.push_str("</svg>\n");
    svg
}

fn draw_link(svg: &mut String, link: &Link, curve: &Curve) {
    let [(ax, ay), (zx, zy)] = curve.ends;
    let [(bx, by), (cx, cy)] = curve.towards;
    let _ = writeln!(
        svg,
        "<g class=\"link {}\"><title>{}</title><path stroke-width=\"{:.1}\" d=\"M{ax:.1} {ay:.1}C{bx:.1} {by:.1} {cx:.1} {cy:.1} {zx:.1} {zy:.1}\"/></g>",
        link.health().name(),
        escape(&link.title()),
        thickness(link.load().unwrap_or(0)),
    );
}

/// One step for each power of ten from 10 kbit/s on.
fn thickness(bits_per_s: u64) -> f64 {
    let power = f64::from(bits_per_s.checked_ilog10().unwrap_or(0));
    (THIN + (power - 4.0).max(0.0)).min(THICK)
}

impl Link {
    /// What goes over it in the busier direction, bits per second.
    fn load(&self) -> Option<u64> {
        self.seen.map(|seen| seen.bits_per_s[0].max(seen.bits_per_s[1]))
    }
}

/// The sentence of a node.
pub(super) fn title(node: &Node) -> String {
    let group = node.group.as_ref().map_or_else(String::new, |group| format!(", group {group}"));
    let seen = node.seen.as_ref().map_or_else(String::new, |seen| {
        let sessions =
            seen.sessions.map_or_else(String::new, |(up, all)| format!(", {up} of {all} sessions established"));
        format!(": {}{sessions}", seen.state)
    });
    format!("{}: kind {}, runs {}{group}{seen}", node.name, node.kind, node.runs)
}

/// One sentence of the whole.
pub(super) fn summary(picture: &Picture) -> String {
    let counts = format!("{} nodes, {} links", picture.nodes.len(), picture.links.len());
    if !picture.is_live() {
        return counts;
    }
    let seen = picture.links.iter().filter_map(|link| link.seen.as_ref());
    let (up, all) = seen.fold((0, 0), |sum, link| (sum.0 + link.sessions.0, sum.1 + link.sessions.1));
    let down = picture.links.iter().filter(|link| link.seen.is_some_and(|seen| !seen.up)).count();
    let down = if down == 0 { String::new() } else { format!(", links down: {down}") };
    format!("{counts}; {up} of {all} sessions over links established{down}; width: load")
}
