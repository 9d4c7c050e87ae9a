//! Weft's initial file system: built by the command line, and what each machine has of its own in it.

use super::boot::{http, ok, with_boot};
use super::{Server, ipam};
use hyper::Method;
use serde_json::{Value, json};
use std::io::Read as _;

/// The least that is a static program of Linux.
const STATIC: &[u8] = b"\x7fELF\x02\x01\x01\0static";

fn files(server: &Server) -> Vec<String> {
    let put = |name: &str, octets: &[u8]| {
        let path = server.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, octets).unwrap();
        path.display().to_string()
    };
    let (kernel, weft, init) = (put("vmlinuz", b"kernel"), put("weft", STATIC), put("weft-init", STATIC));
    put("modules/net/virtio_net.ko", b"\x7fELF\0depends=failover\0");
    put("modules/core/failover.ko", b"\x7fELF\0depends=\0");
    put("modules/odd/rare.ko", b"\x7fELF\0depends=\0");
    let modules = server.path("modules").display().to_string();
    ["--kernel", &kernel, "--modules", &modules, "--weft", &weft, "--init", &init].map(str::to_owned).to_vec()
}

fn build<'w>(files: &'w [String], more: &[&'w str]) -> Vec<&'w str> {
    [&["image", "build", "weft"], files.iter().map(String::as_str).collect::<Vec<_>>().as_slice(), more].concat()
}

/// Text of all that is in a gzip archive.
fn unzipped(octets: &[u8]) -> String {
    let mut all = Vec::new();
    flate2::read::GzDecoder::new(octets).read_to_end(&mut all).unwrap();
    String::from_utf8_lossy(&all).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_is_built_and_each_machine_has_an_archive_of_its_own() {
    let (server, port) = with_boot("own").await;
    let (status, answer) = server.ask(Method::PUT, "/v1/ipam", &ipam()).await;
    assert_eq!(status, 200, "{answer}");
    let files = files(&server);
    let out = server.path("out").display().to_string();
    let shown = ok(&server, &build(&files, &["--out", &out, "--add", &format!("{}:/etc/more", files[1])]));
    for part in ["initrd0", "weft-init", "2 modules", "/etc/more", "start: runs as the system"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let first = std::fs::read(&out).unwrap();
    let text = unzipped(&first);
    let order = text.find("failover.ko\nvirtio_net.ko\n");
    assert!(order.is_some() && text.contains("dev/console") && !text.contains("rare"), "{text}");
    ok(&server, &build(&files, &["--out", &out, "--add", &format!("{}:/etc/more", files[1])]));
    assert_eq!(std::fs::read(&out).unwrap(), first, "the same files make the same octets");
    ok(&server, &["image", "pin", "weft", "--rest"]);

    let (status, answer) = server
        .ask(Method::POST, "/v1/machines", &json!([{"serial": "N1", "name": "node1", "rack": 0, "role": "cs"}]))
        .await;
    assert!(status < 300, "{answer}");
    let own = async |who: &str| http(port, &format!("GET /boot/machine.img?serial={who}"), "").await;
    let none = own("N1").await;
    assert_eq!(none.status, 503, "without a plan of the fabric nobody is routed");
    let plan = json!({"asn": {"per_host": {"base": 4_200_000_100_u32, "per_rack": 100}}, "uplinks": ["eth0", "eth1"]});
    let (status, answer) = server.ask(Method::PUT, "/v1/plan", &plan).await;
    assert_eq!(status, 200, "{answer}");
    let known = own("N1").await;
    let text = unzipped(&known.body);
    assert_eq!(known.status, 200);
    assert!(text.contains("uplinks: [eth0, eth1]") && text.contains("\"orders\":\"run\""), "{text}");
    assert_eq!(own("N1").await.body, known.body, "it is the same each time");
    let unknown = unzipped(&own("X9").await.body);
    assert!(unknown.contains("\"orders\":\"wait\"") && !unknown.contains("uplinks"), "{unknown}");
    let script = String::from_utf8(http(port, "GET /boot/script?serial=N1", "").await.body).unwrap();
    assert!(
        script.contains("initrd --timeout 10000 --name machine /boot/machine.img?serial=${serial:uristring}"),
        "{script}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_built_says_what_is_missing_and_how_to_get_it() {
    let (server, _) = with_boot("build").await;
    let files = files(&server);
    let with = |at: usize, value: &str| {
        let mut changed = files.clone();
        value.clone_into(&mut changed[at]);
        changed
    };
    let dynamic = server.path("dynamic").display().to_string();
    std::fs::write(&dynamic, b"\x7fELF\0/lib64/ld-linux-x86-64.so.2\0").unwrap();
    std::fs::create_dir_all(server.path("empty")).unwrap();
    std::fs::create_dir_all(server.path("packed")).unwrap();
    std::fs::write(server.path("packed/loop.ko"), b"\xfd7zXZ").unwrap();
    let empty = server.path("empty").display().to_string();
    let packed = server.path("packed").display().to_string();
    for (words, more, says) in [
        (with(5, "/nowhere/weft"), vec![], "cargo static"),
        (with(5, &dynamic), vec![], "link it statically"),
        (with(7, &files[1]), vec![], "no program of Linux"),
        (with(3, &empty), vec![], "no module"),
        (with(3, &packed), vec![], "xz -d"),
        (files.clone(), vec!["--module", "absent"], "modules.builtin"),
        (files.clone(), vec!["--add", "x"], "FILE:/PATH"),
        (files.clone(), vec!["--disk", "sda1"], "/dev/vda2"),
    ] {
        let (code, _, error) = server.run(&build(&words, &more));
        assert!(code == 1 && error.contains(says), "{says}: {error}");
    }
    let boots: Value = serde_json::from_str(&ok(&server, &["--output", "json", "image", "list"])).unwrap();
    assert_eq!(boots["images"], json!({}), "nothing of it became an image");
}
