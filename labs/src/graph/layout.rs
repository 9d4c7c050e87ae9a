//! Places on a sheet: boxes row by row, wide rows in several lines, links as curves between them that spread along the edges.

use std::collections::BTreeMap;

use super::Picture;

/// Widest line of boxes, in pixels as all lengths here.
const MAX_LINE: f64 = 1_600.0;
/// More links than this are drawn without the names of their interfaces.
const MAX_NAMED_LINKS: usize = 80;
const MARGIN: f64 = 24.0;
/// For the title.
const HEAD: f64 = 52.0;
const BOX_HEIGHT: f64 = 38.0;
const BOX_GAP: f64 = 18.0;
/// Between two lines of one row, and between two rows.
const LINE_GAP: f64 = 26.0;
const ROW_GAP: f64 = 112.0;
/// A character of a name, and of the name of an interface.
const LETTER: f64 = 7.6;
const SMALL_LETTER: f64 = 5.8;
/// How far a link between boxes of one line hangs down.
const SAG: f64 = 46.0;

/// A point.
pub(super) type Point = (f64, f64);

/// A box: its upper left corner, and its width.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
}

/// A link: both ends, whether each is at the bottom of its box, and the points that it bends towards.
#[derive(Debug, Clone, Copy)]
pub(super) struct Curve {
    pub(super) ends: [Point; 2],
    pub(super) at_bottom: [bool; 2],
    pub(super) towards: [Point; 2],
}

/// Where everything is.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) width: f64,
    pub(super) height: f64,
    /// As the picture's nodes.
    pub(super) boxes: Vec<Place>,
    /// As its links.
    pub(super) curves: Vec<Curve>,
    /// Whether interfaces are named.
    pub(super) has_names: bool,
}

impl Layout {
    /// Of a picture.
    pub(super) fn new(picture: &Picture) -> Self {
        let has_names = picture.links.len() <= MAX_NAMED_LINKS;
        let (boxes, width, height) = boxes(picture, has_names);
        let curves = curves(picture, &boxes);
        Self { width, height, boxes, curves, has_names }
    }
}

/// The height of a box.
pub(super) fn box_height() -> f64 {
    BOX_HEIGHT
}

fn boxes(picture: &Picture, has_names: bool) -> (Vec<Place>, f64, f64) {
    let mut lines: Vec<(usize, Vec<usize>, f64)> = Vec::new();
    let widths = widths(picture, has_names);
    for (at, node) in picture.nodes.iter().enumerate() {
        match lines.last_mut() {
            Some((row, line, width)) if *row == node.row && *width + BOX_GAP + widths[at] <= MAX_LINE => {
                line.push(at);
                *width += BOX_GAP + widths[at];
            }
            Some(_) | None => lines.push((node.row, vec![at], widths[at])),
        }
    }
    let widest = lines.iter().map(|(.., width)| *width).fold(320.0, f64::max);
    let mut places = vec![Place { x: 0.0, y: 0.0, width: 0.0 }; picture.nodes.len()];
    let (mut y, mut last) = (HEAD, None);
    for (row, line, width) in lines {
        match last {
            Some(before) if before == row => y += BOX_HEIGHT + LINE_GAP,
            Some(_) => y += BOX_HEIGHT + ROW_GAP,
            None => {}
        }
        last = Some(row);
        let mut x = MARGIN + (widest - width) / 2.0;
        for at in line {
            places[at] = Place { x, y, width: widths[at] };
            x += widths[at] + BOX_GAP;
        }
    }
    let hangs = picture.links.iter().any(|link| (places[link.a.at].y - places[link.z.at].y).abs() < 1.0);
    let below = if hangs { SAG } else { 0.0 };
    (places, widest + 2.0 * MARGIN, y + BOX_HEIGHT + MARGIN + below)
}

/// Wide enough for the text of a box, and for the names of its interfaces side by side.
fn widths(picture: &Picture, has_names: bool) -> Vec<f64> {
    let letters = |text: &str| text.chars().count() as f64;
    let text = picture.nodes.iter().map(|node| letters(&node.name).max(letters(&node.note())) * LETTER + 18.0);
    let mut widths: Vec<f64> = text.collect();
    if has_names {
        let mut edges = vec![[0.0; 3]; widths.len()];
        for link in &picture.links {
            for (near, far) in [(&link.a, &link.z), (&link.z, &link.a)] {
                let rows = [near, far].map(|end| picture.nodes.get(end.at).map_or(0, |node| node.row));
                let edge = match rows[0].cmp(&rows[1]) {
                    std::cmp::Ordering::Less => 0,
                    std::cmp::Ordering::Greater => 1,
                    std::cmp::Ordering::Equal => 2,
                };
                edges[near.at][edge] += letters(&near.interface) * SMALL_LETTER + 8.0;
            }
        }
        for (width, edges) in widths.iter_mut().zip(edges) {
            *width = width.max(edges[1]).max(edges[0] + edges[2]);
        }
    }
    widths
}

/// A place on the edge of a box: the middle of the far box, the link, and which of its ends it is.
type Slot = (f64, usize, usize);

fn curves(picture: &Picture, boxes: &[Place]) -> Vec<Curve> {
    let middle = |at: usize| boxes[at].x + boxes[at].width / 2.0;
    let mut edges: BTreeMap<(usize, bool), Vec<Slot>> = BTreeMap::new();
    let sides: Vec<[bool; 2]> = picture
        .links
        .iter()
        .enumerate()
        .map(|(number, link)| {
            let (a, z) = (boxes[link.a.at], boxes[link.z.at]);
            let bottom = [a.y <= z.y, z.y <= a.y];
            for (end, (near, far)) in [(&link.a, &link.z), (&link.z, &link.a)].into_iter().enumerate() {
                edges.entry((near.at, bottom[end])).or_default().push((middle(far.at), number, end));
            }
            bottom
        })
        .collect();
    let mut ends = vec![[(0.0, 0.0); 2]; picture.links.len()];
    for ((at, is_bottom), mut links) in edges {
        // side by side in the order of their far ends
        links.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let step = boxes[at].width / links.len() as f64;
        let y = boxes[at].y + if is_bottom { BOX_HEIGHT } else { 0.0 };
        for (slot, (_, number, end)) in links.into_iter().enumerate() {
            ends[number][end] = (boxes[at].x + step * (slot as f64 + 0.5), y);
        }
    }
    ends.into_iter()
        .zip(sides)
        .map(|(ends, at_bottom)| {
            let [a, z] = ends;
            let towards = if at_bottom == [true, true] {
                [(a.0, a.1 + SAG), (z.0, z.1 + SAG)]
            } else {
                let half = (a.1 + z.1) / 2.0;
                [(a.0, half), (z.0, half)]
            };
            Curve { ends, at_bottom, towards }
        })
        .collect()
}

impl Curve {
    /// The point after a part of its way, 0 to 1 (a cubic Bézier curve).
    pub(super) fn at(&self, part: f64) -> Point {
        let ([a, z], [b, c], rest) = (self.ends, self.towards, 1.0 - part);
        let weights = [rest.powi(3), 3.0 * rest * rest * part, 3.0 * rest * part * part, part.powi(3)];
        let sum = |values: [f64; 4]| values.iter().zip(weights).map(|(value, weight)| value * weight).sum();
        (sum([a.0, b.0, c.0, z.0]), sum([a.1, b.1, c.1, z.1]))
    }
}
