#!/bin/sh
# Gets what the machine boots, once: Debian's kernel for clouds with the modules for disks that are encrypted; cryptsetup, `weft-key` ($1) and
# the libraries that they need are packed each time.
set -e
key=${1:?say where weft-key is: target/debug/weft-key}
for file in /usr/bin/qemu-system-x86_64 /usr/bin/etcd /usr/bin/swtpm /usr/sbin/cryptsetup /usr/share/OVMF/OVMF_CODE_4M.fd /usr/lib/systemd/boot/efi/linuxx64.efi.stub /usr/lib/ipxe/snponly.efi; do
    [ -e $file ] || { echo "no $file: apt-get install qemu-system-x86 etcd-server swtpm cryptsetup-bin ovmf systemd-boot-efi ipxe busybox-static"; exit 1; }
done
into=${WEFT_SEALED_FILES:-/var/cache/weft-lab/sealed}
modules="virtio virtio_ring virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci failover net_failover virtio_net virtio_blk dm-mod dm-crypt ecb xts af_alg algif_skcipher"
if ! [ -s "$into/vmlinuz" ]; then
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    package=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
    (cd "$folder" && apt-get download -o APT::Sandbox::User=root "$package" && dpkg-deb -x ./*.deb all)
    mkdir -p "$into/modules"
    for name in $modules; do
        find "$folder/all" -name "$name.ko" -exec cp {} "$into/modules/" \;
    done
    cp "$folder"/all/boot/vmlinuz-* "$into/vmlinuz.new"
    mv "$into/vmlinuz.new" "$into/vmlinuz"
fi
rm -rf "$into/programs"
mkdir -p "$into/programs/bin"
cp "$key" "$into/programs/bin/weft-key"
cp /usr/sbin/cryptsetup "$into/programs/bin/cryptsetup"
strip "$into/programs/bin/weft-key" 2> /dev/null || true
for library in $(ldd "$into/programs/bin/weft-key" "$into/programs/bin/cryptsetup" | grep -o '/[^ ]*\.so[^ ]*' | sort -u); do
    mkdir -p "$into/programs$(dirname "$library")"
    cp -L "$library" "$into/programs$library"
done
echo "$modules" | tr ' ' '\n' > "$into/order"
echo "$into is there"
