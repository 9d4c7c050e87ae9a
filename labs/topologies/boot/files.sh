#!/bin/sh
# Gets what the machine boots, once: Debian's kernel for clouds, unpacked and not installed. Says which packages it is made of are not there.
set -e
for file in /usr/bin/qemu-system-x86_64 /usr/lib/ipxe/qemu/pxe-virtio.rom /usr/lib/ipxe/snponly.efi /usr/share/OVMF/OVMF_CODE_4M.fd /usr/lib/systemd/boot/efi/linuxx64.efi.stub \
    /usr/bin/etcd; do
    [ -e $file ] || { echo "no $file: apt-get install qemu-system-x86 ipxe-qemu ipxe ovmf systemd-boot-efi etcd-server busybox-static"; exit 1; }
done
into=${WEFT_BOOT_FILES:-/var/cache/weft-lab/boot}
# What `cargo static` built, for lab `routed`.
for name in weft weft-init; do
    built=${CARGO_TARGET_DIR:-target}/x86_64-unknown-linux-gnu/release/$name
    [ ! -s "$built" ] || cmp -s "$built" "$into/$name" || { mkdir -p "$into" && cp "$built" "$into/$name.new" && mv "$into/$name.new" "$into/$name"; }
done
[ -s "$into/vmlinuz" ] && [ -s "$into/virtio_blk.ko" ] && { echo "$into is there"; exit 0; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
package=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
apt-get download -o APT::Sandbox::User=root "$package"
dpkg-deb -x ./*.deb all
mkdir -p "$into"
for name in virtio virtio_ring virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci failover net_failover virtio_net virtio_blk; do
    find all -name "$name.ko" -exec cp {} "$into/" \;
done
cp all/boot/vmlinuz-* "$into/vmlinuz.new"
mv "$into/vmlinuz.new" "$into/vmlinuz"
echo "$into has $package"
