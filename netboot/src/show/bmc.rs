//! The table of management controllers.

use super::{NONE, render, span, table};
use crate::bmc::{Boot, BootFrom, Mode};
use crate::io::bmc::Shown;

/// Controllers, a line for each machine; of some only why nothing is known.
#[must_use]
pub fn bmcs(all: &[(String, Result<Shown, String>)]) -> String {
    let mut lines = table(&["Serial", "Name", "BMC", "Power", "Boots", "Model", "Wish"]);
    let none = || NONE.to_owned();
    for (serial, shown) in all {
        let shown = match shown {
            Ok(shown) => shown,
            Err(why) => {
                lines.add_row([serial.clone(), none(), none(), none(), none(), none(), why.clone()]);
                continue;
            }
        };
        let reading = shown.reading.as_ref();
        let wish = shown.task.as_ref().map(|task| {
            let how = if task.hard { " hard" } else { "" };
            let at = task.server.as_deref().unwrap_or("no server");
            let end = task.end.clone().unwrap_or_else(|| format!("under way at {at}"));
            format!("{}{how}: {end}, {} ({})", task.wish, task.says, span(task.seconds))
        });
        lines.add_row([
            serial.clone(),
            shown.name.clone(),
            shown.address.to_string(),
            reading.map_or_else(none, |reading| reading.power.to_string()),
            reading.and_then(|reading| reading.boot.as_ref()).map_or_else(none, boots),
            reading.map(|reading| reading.model.clone()).filter(|model| !model.is_empty()).unwrap_or_else(none),
            wish.unwrap_or_else(none),
        ]);
    }
    render(&lines)
}

fn boots(boot: &Boot) -> String {
    let mode = match boot.mode {
        Some(Mode::Legacy) => " (BIOS)",
        Some(Mode::Uefi) | None => "",
    };
    let how = match (boot.from, boot.once) {
        (BootFrom::None, _) => return boot.from.name().to_owned(),
        (_, true) => "once",
        (_, false) => "always",
    };
    let uri = boot.uri.as_ref().map(|uri| format!(" {uri}")).unwrap_or_default();
    format!("{} {how}{mode}{uri}", boot.from.name())
}
