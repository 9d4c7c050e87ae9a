//! The image FROM scratch, without a container engine first: its Dockerfile is carried out here into a folder, and that folder is the root
//! of two nodes of a lab, which find each other.

use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::count::Outcome;
use crate::engine;
use crate::interop::Stage;
use crate::run::{Context, Log};

/// What the Dockerfile says, as far as such a one may say anything.
#[derive(Debug, Default, PartialEq, Eq)]
struct Image {
    /// From the build's folder, and to the image's root.
    copies: Vec<(String, String)>,
    /// What runs: entry point, then command.
    words: Vec<String>,
}

impl Image {
    /// Reads a Dockerfile; an instruction that this does not know is a fault.
    fn read(text: &str) -> Result<Self, String> {
        let mut image = Self::default();
        let lines =
            (1..).zip(text.lines().map(str::trim)).filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        for (at, (number, line)) in lines.enumerate() {
            let (instruction, rest) = line.split_once(' ').unwrap_or((line, ""));
            let rest = rest.trim();
            match instruction {
                "FROM" if at == 0 && rest == "scratch" => {}
                "COPY" if at > 0 => {
                    let pair = rest.split_once(' ').filter(|(from, to)| !from.contains("..") && to.starts_with('/'));
                    let (from, to) = pair.ok_or_else(|| format!("line {number}: COPY FILE /PATH"))?;
                    image.copies.push((from.to_owned(), to.trim_start_matches('/').to_owned()));
                }
                "ENTRYPOINT" | "CMD" if at > 0 => {
                    let words: Vec<String> = serde_json::from_str(rest)
                        .map_err(|error| format!("line {number}: no list of words: {error}"))?;
                    image.words.extend(words);
                }
                "ENV" | "STOPSIGNAL" if at > 0 && !rest.is_empty() => {}
                other => return Err(format!("line {number}: `{other}` is not of an image FROM scratch")),
            }
        }
        if image.copies.is_empty() || image.words.is_empty() {
            return Err("it copies nothing, or runs nothing".to_owned());
        }
        Ok(image)
    }
}

/// Two routers from the image, unnumbered; nothing but the program is in their roots.
fn lab(command: &str) -> String {
    format!(
        "name: scratch-{}\ntopology:\n  defaults: {{kind: linux, image: ../../image, cmd: {command}}}\n  nodes:\n    \
         a: {{binds: [\"../../image-a.yaml:/etc/weft/weft.yaml\"]}}\n    \
         b: {{binds: [\"../../image-b.yaml:/etc/weft/weft.yaml\"]}}\n  links:\n    - endpoints: [\"a:eth1\", \"b:eth1\"]\n\
         expect:\n  - {{at: a, run: /usr/bin/weft show neighbors, says: 1 of 1 neighbor Established, within: 30s}}\n  \
         - {{at: b, route: 10.255.0.1/32, via: [a], within: 30s}}\n  - {{at: a, route: 10.255.0.2/32, via: [b], within: 30s}}\n",
        std::process::id()
    )
}

/// Its configuration of node `number`.
fn config(number: u32) -> String {
    format!(
        "hostname: r{number}\nasn: {}\naddresses: [10.255.0.{number}/32]\ngroups:\n  fabric: {{import: accept-all, export: accept-all}}\n\
         peers:\n  other: {{interface: eth1, remote_asn: external, group: fabric}}\n",
        4_200_000_000_u32 + number
    )
}

/// Carries it out, and runs what came of it.
pub(crate) fn image(context: &Context, log: &Log) -> io::Result<Outcome> {
    let text = fs::read_to_string(context.root.join("fabric/deploy/Dockerfile"))?;
    let image = match Image::read(&text) {
        Ok(image) => image,
        Err(why) => return Ok(Outcome::failed(format!("fabric/deploy/Dockerfile: {why}"))),
    };
    let built: PathBuf = context.target.join("x86_64-unknown-linux-gnu/release");
    if let Some((missing, _)) = image.copies.iter().find(|(from, _)| !built.join(from).is_file()) {
        return Ok(Outcome::skipped(format!(
            "the image FROM scratch: there is no static `{missing}` (stage `static`)"
        )));
    }
    let Some(stage) = Stage::prepare(context, log)? else {
        return Ok(Outcome::failed("the lab's binaries do not build"));
    };
    for (from, to) in &image.copies {
        let place = stage.folder.join("image").join(to);
        fs::create_dir_all(place.parent().unwrap_or(&place))?;
        fs::copy(built.join(from), place)?;
    }
    for (name, number) in [("image-a.yaml", 1), ("image-b.yaml", 2)] {
        fs::write(stage.folder.join(name), config(number))?;
    }
    let command = serde_json::Value::from(image.words.join(" ")).to_string();
    let file: &Path = &stage.folder.join("topologies/clab/scratch.clab.yml");
    fs::write(file, lab(&command))?;
    let mut outcome = stage.verify(context, log, "clab/scratch", &[], false)?;
    outcome.add(&engine::image(context, log, &built)?);
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_from_scratch_copies_and_runs() {
        let text = "# why\nFROM scratch\nCOPY weft /usr/bin/weft\nENV PATH=/usr/bin\nENTRYPOINT [\"/usr/bin/weft\"]\nCMD [\"daemon\"]\n";
        let image = Image::read(text).unwrap();
        assert_eq!(image.copies, [("weft".to_owned(), "usr/bin/weft".to_owned())]);
        assert_eq!(image.words, ["/usr/bin/weft", "daemon"]);
        for (wrong, says) in [
            ("FROM debian\n", "line 1: `FROM`"),
            ("FROM scratch\nRUN apt-get update\n", "line 2: `RUN`"),
            ("FROM scratch\nCOPY ../x /x\n", "line 2: COPY"),
            ("FROM scratch\nCMD weft daemon\n", "line 2: no list"),
            ("FROM scratch\n", "copies nothing"),
        ] {
            assert!(Image::read(wrong).unwrap_err().contains(says), "{wrong}");
        }
    }
}
