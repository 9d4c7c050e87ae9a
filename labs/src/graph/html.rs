//! A drawing as one page: the picture, a table of nodes, and a table of links. Nothing is fetched, and no script runs.

use std::fmt::Write as _;

use super::{Picture, escape, rate, svg};

const STYLE: &str = "body{margin:24px;font-family:system-ui,sans-serif;color:#1f2328}svg{max-width:100%;height:auto}\
table{border-collapse:collapse;margin-top:24px}td,th{text-align:left;padding:3px 14px 3px 0;border-bottom:1px solid #d0d7de;font-size:13px}\
.bad{color:#cf222e}.good{color:#1a7f37}";

/// Draws it.
pub(super) fn draw(picture: &Picture) -> String {
    let name = escape(&picture.name);
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>{name}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{}",
        svg::draw(picture)
    );
    page.push_str(
        "<table>\n<tr><th>node</th><th>kind</th><th>runs</th><th>group</th><th>state</th><th>sessions</th></tr>\n",
    );
    for node in &picture.nodes {
        let seen = node.seen.as_ref();
        let sessions =
            seen.and_then(|seen| seen.sessions).map_or_else(String::new, |(up, all)| format!("{up} of {all}"));
        row(
            &mut page,
            node.health().name(),
            &[
                &node.name,
                &node.kind,
                &node.runs,
                node.group.as_deref().unwrap_or_default(),
                seen.map_or("", |seen| seen.state.as_str()),
                &sessions,
            ],
        );
    }
    page.push_str("</table>\n<table>\n<tr><th>end</th><th>end</th><th>carrier</th><th>sessions</th><th>sends</th><th>receives</th></tr>\n");
    for link in &picture.links {
        let ends = [&link.a, &link.z].map(|end| format!("{}:{}", end.node, end.interface));
        let seen = link.seen.map(|seen| {
            let [there, back] = seen.bits_per_s.map(rate);
            let carrier = if seen.up { "up" } else { "down" };
            (carrier, format!("{} of {}", seen.sessions.0, seen.sessions.1), there, back)
        });
        let (carrier, sessions, there, back) = seen.unwrap_or_default();
        row(&mut page, link.health().name(), &[&ends[0], &ends[1], carrier, &sessions, &there, &back]);
    }
    page.push_str("</table>\n</body>\n</html>\n");
    page
}

fn row(page: &mut String, class: &str, cells: &[&str]) {
    let _ = write!(page, "<tr class=\"{class}\">");
    for cell in cells {
        let _ = write!(page, "<td>{}</td>", escape(cell));
    }
    page.push_str("</tr>\n");
}
