//! What is packed is unpacked, and whom a daemon does not execute.

use super::*;
use std::os::unix::fs::PermissionsExt as _;

fn handover() -> Handover {
    serde_json::from_str(r#"{"form": 1, "now": 7, "upgrades": 1}"#).unwrap()
}

#[test]
fn more_sockets_than_fit_into_a_message_arrive_in_their_order() {
    let text = write(&handover()).unwrap();
    let files: Vec<(File, File)> = (0..BATCH + 3)
        .map(|number| {
            let mut file = File::from(memfd_create("t", MemfdFlags::CLOEXEC).unwrap());
            write!(file, "{number}").unwrap();
            (file.try_clone().unwrap(), file)
        })
        .collect();
    let sockets: Vec<BorrowedFd<'_>> = files.iter().map(|(file, _)| file.as_fd()).collect();
    let socket = pack(&text, &this_program().unwrap(), &sockets).unwrap();
    let all = unpack(socket.as_fd()).unwrap();
    assert_eq!(all.len(), BATCH + 5);
    for (number, descriptor) in all.into_iter().skip(2).enumerate() {
        let mut octets = vec![0; 3];
        let read = File::from(descriptor).read_at(&mut octets, 0).unwrap();
        octets.truncate(read);
        assert_eq!(String::from_utf8(octets).unwrap(), number.to_string());
    }
}

#[test]
fn a_program_that_others_may_change_is_not_executed() {
    let folder = std::env::temp_dir().join(format!("weft-handover-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let file = folder.join("weft");
    std::fs::write(&file, "").unwrap();
    let set = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    set(&folder, 0o755);
    set(&file, 0o755);
    let fine = program(Some(&file));
    set(&file, 0o775);
    let group_may = program(Some(&file));
    set(&file, 0o755);
    set(&folder, 0o777);
    let folder_of_all = program(Some(&file));
    let absent = program(Some(&folder.join("none")));
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(fine.map(|path| path.file_name().unwrap().to_owned()), Ok("weft".into()));
    assert!(group_may.unwrap_err().contains("may change"));
    assert!(folder_of_all.unwrap_err().contains("may change"));
    assert!(absent.unwrap_err().contains("none"));
    assert!(program(Some(Path::new("bin/weft"))).unwrap_err().contains("absolute"));
}

#[test]
fn a_program_is_executed_by_its_path_while_that_is_it_and_called_by_it_anyway() {
    let folder = std::env::temp_dir().join(format!("weft-program-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let file = folder.join("weft");
    std::fs::write(&file, "").unwrap();
    let open = OwnedFd::from(File::open(&file).unwrap());
    let whole = program_of(&open);
    std::fs::rename(&file, folder.join("old")).unwrap();
    std::fs::write(&file, "").unwrap();
    std::fs::remove_file(folder.join("old")).unwrap();
    let (path, _) = program_of(&open);
    let another = OwnedFd::from(File::open(&file).unwrap());
    std::fs::remove_file(&file).unwrap();
    let gone = program_of(&another);
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(whole, (file.clone(), file.clone()));
    assert!(path.starts_with("/proc/self/fd"), "{}", path.display());
    assert!(gone.0.starts_with("/proc/self/fd"), "{gone:?}");
    assert_eq!(gone.1, file);
}

#[tokio::test]
async fn what_is_no_weft_is_found_in_the_rehearsal() {
    let config = Path::new("/etc/weft/weft.yaml");
    let said = rehearse(Path::new("/bin/false"), config, &handover()).await.unwrap_err();
    assert!(said.contains("could not take over"), "{said}");
    let said = rehearse(Path::new("/nonexistent/weft"), config, &handover()).await.unwrap_err();
    assert!(said.contains("/nonexistent/weft"), "{said}");
}
