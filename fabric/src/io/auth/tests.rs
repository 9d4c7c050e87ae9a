//! Which key belongs to which peer, link and range.

use super::*;

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

/// linux/tcp.h: 216, 288 and 144 octets on every 64-bit machine.
#[test]
fn structs_have_the_sizes_of_the_kernel() {
    assert_eq!(md5(net("10.0.0.1/32"), b"x").len(), 216);
    assert_eq!(ao_add(net("10.0.0.1/32"), "hmac(sha1)", (1, 2), b"x").len(), 288);
    assert_eq!(ao_delete(net("10.0.0.1/32"), (1, 2)).len(), 144);
}

#[test]
fn md5_names_family_prefix_and_key() {
    let v4 = md5(net("10.1.2.0/24"), b"secret");
    assert_eq!(v4[4..8], [10, 1, 2, 0]);
    assert_eq!((v4[128], v4[129], u16::from_ne_bytes([v4[130], v4[131]])), (MD5_PREFIX, 24, 6));
    assert_eq!(&v4[136..142], b"secret");
    let v6 = md5(net("fe80::/64"), b"");
    assert_eq!(v6[8..10], [0xfe, 0x80]);
    assert_eq!(v6[130..132], [0, 0], "no key: taken away");
}

#[test]
fn ao_names_algorithm_and_ids() {
    let add = ao_add(net("10.0.0.1/32"), "cmac(aes128)", (7, 8), b"secret");
    assert_eq!(&add[128..140], b"cmac(aes128)");
    assert_eq!(add[202..208], [32, 7, 8, 12, 0, 6]);
    assert_eq!(&add[208..214], b"secret");
}

#[test]
fn a_key_is_not_printed() {
    let key = Key { secret: Secret(b"hunter2".to_vec()), ao: None };
    assert_eq!(format!("{key:?}"), "Key { secret: (secret), ao: None }");
}

#[test]
fn a_peer_has_its_own_key_before_that_of_its_range() {
    let key = |text: &str| Key { secret: Secret(text.as_bytes().to_vec()), ao: None };
    let keys = Keys(vec![
        (Place::Range(net("10.0.0.0/24")), key("range")),
        (Place::Address("10.0.0.7".parse().unwrap()), key("own")),
    ]);
    let of = |text: &str| keys.of(text.parse().unwrap(), &[]).cloned();
    assert_eq!(of("10.0.0.7:179"), Some(key("own")));
    assert_eq!(of("10.0.0.8:179"), Some(key("range")));
    assert_eq!(of("10.0.1.8:179"), None);
}
