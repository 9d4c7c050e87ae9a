//! Modules of a kernel: which ones an image needs, and in which order they are loaded. Each says itself on which others it depends
//! (`depends=` in its section `.modinfo`), so that nobody has to have run depmod. Octets alone.

use std::collections::{BTreeMap, BTreeSet};

/// What an image has unless told otherwise, as far as the kernel has it as modules: the cards and disks of common servers and of virtual
/// machines, and what file systems are mounted with.
pub const USUAL: [&str; 28] = [
    "virtio_pci",
    "virtio_net",
    "virtio_blk",
    "virtio_scsi",
    "virtio_rng",
    "e1000",
    "e1000e",
    "igb",
    "igc",
    "ixgbe",
    "i40e",
    "ice",
    "tg3",
    "bnx2x",
    "bnxt_en",
    "mlx4_en",
    "mlx5_core",
    "r8169",
    "nvme",
    "ahci",
    "sd_mod",
    "mpt3sas",
    "megaraid_sas",
    "loop",
    "squashfs",
    "erofs",
    "overlay",
    "ext4",
];

/// The name of a module in a path: `virtio_net` of `…/virtio-net.ko`; `None` for what is no module.
#[must_use]
pub fn name(path: &str) -> Option<String> {
    let file = path.rsplit('/').next()?;
    let name = file.split_once(".ko").filter(|(_, rest)| matches!(*rest, "" | ".xz" | ".zst" | ".gz"))?.0;
    Some(name.replace('-', "_"))
}

/// On which others a module depends.
///
/// # Errors
/// When it does not say so: it is no module, or compressed.
pub fn depends(octets: &[u8]) -> Result<Vec<String>, String> {
    if !octets.starts_with(b"\x7fELF") {
        return Err("it is compressed, or no module: unpack it first, as with `xz -d` or `zstd -d`".to_owned());
    }
    let said = octets.split(|octet| *octet == 0).find_map(|words| words.strip_prefix(b"depends="));
    let said =
        said.and_then(|list| std::str::from_utf8(list).ok()).ok_or("it does not say on which others it depends")?;
    Ok(said.split(',').filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")).collect())
}

/// These modules and all on which they depend, each behind those that it needs. `needs` says it of one; `None` = it is in the kernel itself.
///
/// # Errors
/// When two need each other.
pub fn order(wanted: &[String], needs: &BTreeMap<String, Vec<String>>) -> Result<Vec<String>, String> {
    let (mut done, mut out, mut under_way) = (BTreeSet::new(), Vec::new(), BTreeSet::new());
    for name in wanted {
        visit(name, needs, &mut done, &mut under_way, &mut out)?;
    }
    Ok(out)
}

fn visit(
    name: &str,
    needs: &BTreeMap<String, Vec<String>>,
    done: &mut BTreeSet<String>,
    under_way: &mut BTreeSet<String>,
    out: &mut Vec<String>,
) -> Result<(), String> {
    let Some(before) = needs.get(name).filter(|_| !done.contains(name)) else { return Ok(()) };
    if !under_way.insert(name.to_owned()) {
        return Err(format!("module {name} needs itself"));
    }
    for other in before {
        visit(other, needs, done, under_way, out)?;
    }
    under_way.remove(name);
    done.insert(name.to_owned());
    out.push(name.to_owned());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs(pairs: &[(&str, &[&str])]) -> BTreeMap<String, Vec<String>> {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        pairs.iter().map(|(name, others)| ((*name).to_owned(), list(others))).collect()
    }

    #[test]
    fn a_module_is_loaded_after_those_that_it_needs() {
        let needs = needs(&[
            ("virtio_net", &["virtio", "net_failover"]),
            ("net_failover", &["failover"]),
            ("failover", &[]),
            ("virtio", &[]),
            ("loop", &[]),
        ]);
        let wanted = ["virtio_net", "virtio", "builtin"].map(str::to_owned);
        let order = order(&wanted, &needs).unwrap();
        assert_eq!(order, ["virtio", "failover", "net_failover", "virtio_net"]);
    }

    #[test]
    fn two_that_need_each_other_are_refused() {
        let needs = needs(&[("a", &["b"]), ("b", &["a"])]);
        assert!(order(&["a".to_owned()], &needs).is_err());
    }

    #[test]
    fn a_module_says_what_it_needs() {
        let module = b"\x7fELF\x02\0\0license=GPL\0depends=virtio,net-failover\0intree=Y\0";
        assert_eq!(depends(module), Ok(vec!["virtio".to_owned(), "net_failover".to_owned()]));
        assert_eq!(depends(b"\x7fELF\0depends=\0"), Ok(Vec::new()));
        assert!(depends(b"\xfd7zXZ\0").unwrap_err().contains("xz -d"));
        assert!(depends(b"\x7fELF\0").is_err());
        let names = ["kernel/drivers/net/virtio-net.ko", "a.ko.xz", "modules.dep", "x.ko.txt"].map(name);
        assert_eq!(names, [Some("virtio_net".to_owned()), Some("a".to_owned()), None, None]);
    }
}
