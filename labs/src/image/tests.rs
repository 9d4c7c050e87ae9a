//! Images made here, good ones and hostile ones.

use std::io::Write as _;

use super::*;

/// A file of an archive: name, content; a name that ends with `/` is a folder, content that begins with `->` a link.
type Part<'a> = (&'a str, &'a [u8]);

fn archive(parts: &[Part<'_>]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in parts {
        let mut header = tar::Header::new_gnu();
        let target = content.strip_prefix(b"->");
        header.set_mode(0o755);
        header.set_size(if target.is_some() { 0 } else { content.len() as u64 });
        header.set_entry_type(match target {
            Some(_) => EntryType::Symlink,
            None if name.ends_with('/') => EntryType::Directory,
            None => EntryType::Regular,
        });
        if let Some(target) = target {
            header.set_link_name(std::str::from_utf8(target).unwrap()).unwrap();
        }
        // as an attacker writes it: the library refuses such names
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        builder.append(&header, if target.is_some() { &b""[..] } else { content }).unwrap();
    }
    builder.into_inner().unwrap()
}

/// A folder for a test, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("weft-image-{}-{test}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    /// Writes an image of these layers.
    fn write(&self, layers: &[Vec<u8>]) {
        let names: Vec<String> = (0..layers.len()).map(|number| format!("{number}/layer.tar")).collect();
        let manifest = serde_json::to_vec(&serde_json::json!([{"Config": "c.json", "Layers": names}])).unwrap();
        let config = br#"{"config": {"Entrypoint": ["sh", "-c"], "Cmd": ["true"], "Env": ["A=b"], "User": ""}}"#;
        let mut parts: Vec<Part<'_>> = vec![("manifest.json", &manifest), ("c.json", config)];
        parts.extend(names.iter().map(String::as_str).zip(layers.iter().map(Vec::as_slice)));
        fs::write(self.0.join("image.tar"), archive(&parts)).unwrap();
    }

    fn unpack(&self, layers: &[Vec<u8>]) -> Result<Image> {
        self.write(layers);
        unpack(&self.0.join("image.tar"), &self.0.join("root"))
    }

    fn fault(&self, layers: &[Vec<u8>]) -> String {
        format!("{:#}", self.unpack(layers).unwrap_err())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn zipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn layers_add_replace_and_take_away() {
    let folder = Folder::new("layers");
    let below = archive(&[
        ("etc/", b""),
        ("etc/a", b"1"),
        ("etc/b", b"1"),
        ("old/", b""),
        ("old/x", b"1"),
        ("old/sub/x", b"1"),
        ("bin", b"->usr/bin"),
    ]);
    // A whiteout is about the layers below, wherever in its own layer it stands.
    let above = archive(&[
        ("etc/a", b"2"),
        ("etc/.wh.b", b""),
        ("etc/.wh.a", b""),
        ("old/sub/y", b"3"),
        ("old/.wh..wh..opq", b""),
        ("old/y", b"3"),
    ]);
    let image = folder.unpack(&[below, zipped(&above)]).unwrap();
    assert_eq!(
        image,
        Image { command: vec!["sh".into(), "-c".into(), "true".into()], env: vec!["A=b".into()], user: None }
    );
    let read = |name: &str| fs::read_to_string(folder.0.join("root").join(name)).ok();
    assert_eq!(
        ["etc/a", "etc/b", "old/x", "old/y", "old/sub/x", "old/sub/y"].map(read),
        [Some("2".into()), None, None, Some("3".into()), None, Some("3".into())]
    );
    assert_eq!(fs::read_link(folder.0.join("root/bin")).unwrap(), Path::new("usr/bin"));
}

#[test]
fn an_oci_layout_is_an_image_too() {
    let folder = Folder::new("oci");
    let layer = archive(&[("hello", b"world")]);
    let parts: [Part<'_>; 4] = [
        ("index.json", br#"{"manifests": [{"digest": "sha256:aa"}]}"#),
        ("blobs/sha256/aa", br#"{"config": {"digest": "sha256:bb"}, "layers": [{"digest": "sha256:cc"}]}"#),
        ("blobs/sha256/bb", br#"{"config": {"Cmd": ["hello"]}}"#),
        ("blobs/sha256/cc", &layer),
    ];
    fs::write(folder.0.join("image.tar"), archive(&parts)).unwrap();
    let image = unpack(&folder.0.join("image.tar"), &folder.0.join("root")).unwrap();
    assert_eq!(image.command, ["hello"]);
    assert!(folder.0.join("root/hello").is_file());
}

#[test]
fn names_that_would_leave_the_root_are_refused() {
    let folder = Folder::new("escape");
    let outside = folder.0.join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("kept"), "1").unwrap();
    assert!(folder.fault(&[archive(&[("../outside/new", b"1")])]).contains("outside of the root"));
    assert!(folder.fault(&[archive(&[("a/../../outside/new", b"1")])]).contains("outside of the root"));
    let link = format!("->{}", outside.display());
    assert!(!folder.fault(&[archive(&[("l", link.as_bytes()), ("l/new", b"1")])]).is_empty());
    assert!(folder.fault(&[archive(&[("m", link.as_bytes()), ("m/.wh.kept", b"")])]).contains("outside of the root"));
    assert!(
        folder.fault(&[archive(&[("n", link.as_bytes()), ("n/.wh..wh..opq", b"")])]).contains("outside of the root")
    );
    assert!(folder.fault(&[archive(&[("x,upperdir=/", b"1")])]).contains("no comma"));
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    // an absolute name is meant in the root
    folder.unpack(&[archive(&[("/etc/", b""), ("/etc/x", b"1")])]).unwrap();
    assert!(folder.0.join("root/etc/x").is_file() && outside.join("kept").is_file());
}

#[test]
fn what_is_no_image_says_how_to_make_one() {
    let folder = Folder::new("none");
    let file = folder.0.join("image.tar");
    let fault = || format!("{:#}", unpack(&file, &folder.0.join("root")).unwrap_err());
    fs::write(&file, archive(&[("x", b"1")])).unwrap();
    assert!(fault().contains("docker save"), "{}", fault());
    fs::write(&file, zipped(b"x")).unwrap();
    assert!(fault().contains("gunzip"));
    fs::write(&file, [b'x'; 2_000]).unwrap();
    assert!(fault().contains("no tar archive"), "{}", fault());
    fs::write(&file, archive(&[("manifest.json", br#"[{"Config": "c", "Layers": ["l"]}]"#)])).unwrap();
    assert!(fault().contains("`l` is not in it"), "{}", fault());
}

#[test]
fn sizes_are_bounded_before_anything_is_written() {
    let folder = Folder::new("size");
    let mut header = tar::Header::new_gnu();
    header.set_path("large").unwrap();
    header.set_size(MAX_BYTES + 1);
    header.set_entry_type(EntryType::Regular);
    header.set_cksum();
    let layer = header.as_bytes().to_vec();
    assert!(folder.fault(&[layer]).contains("bytes"), "a layer says that it has more than it may");
    assert!(!folder.0.join("root/large").exists());
}
