# On a boot server `image` makes the image that runs what is installed. On the machine, its disk: `make` gives it one with a system in a partition,
# and others from which nothing can run; `try NAME DISK` boots it without firmware and cards, told to run what is on DISK, and it is off when it
# would start over; `tried NAME` shows what it said, when it is; `unplug`.
set -e
files=${WEFT_BOOT_FILES:-/var/cache/weft-lab/boot}
modules="virtio virtio_ring virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci virtio_blk"
case $1 in
image)
    weft-netboot image build installed --kernel "$files/vmlinuz" --modules "$files" --weft "$files/weft" --init "$files/weft-init" \
        --disk PARTUUID=0b5d4d8a-7f3c-4c50-9f5e-2c6a54e1f0d2 --cmdline "console=ttyS0 quiet panic=5"
    weft-netboot image pin installed --role cs
    ;;
make)
    rm -rf /run/installed /run/disk
    mkdir -p /run/installed
    cd /run/installed
    mkdir bin sbin dev proc sys run usr usr/bin
    cp "$(command -v busybox)" bin/busybox
    ln -s busybox bin/sh
    cp "$files/weft" usr/bin/weft
    cp /etc/lab/installed.sh sbin/init
    chmod 755 sbin/init
    truncate -s 80M /run/disk
    # Names that people give: of the partition, and of what is in it.
    sfdisk --quiet /run/disk << END
label: gpt
name=void, start=1MiB, size=2MiB
name=system, start=4MiB, size=60MiB, uuid=0B5D4D8A-7F3C-4C50-9F5E-2C6A54E1F0D2
name=bare, start=64MiB, size=4MiB
name=copy, start=68MiB, size=4MiB
END
    mke2fs -q -t ext4 -L weft -E offset=4194304 -d /run/installed /run/disk 60M
    mkdir /run/nothing
    for at in 67108864 71303168; do mke2fs -q -t ext4 -L twice -E offset=$at -d /run/nothing /run/disk 4M; done
    rmdir /run/nothing
    # For those that are tried: nobody shares a disk.
    cp --sparse=always /run/disk /run/tried
    ;;
try)
    rm -rf "/run/$2"
    mkdir -p "/run/$2/lib/modules" "/run/$2/etc/weft" "/run/$2/dev" "/run/$2/newroot"
    cd "/run/$2"
    mknod dev/console c 5 1
    cp "$files/weft-init" init
    for name in $modules; do
        cp "$files/$name.ko" lib/modules/
        echo "$name.ko" >> lib/modules/weft.list
    done
    echo "{\"server\": \"10.72.0.1:8080\", \"serial\": \"N1\", \"orders\": {\"disk\": {\"device\": \"$3\"}}}" > etc/weft/machine.json
    find . | busybox cpio -o -H newc > "/run/$2.cpio"
    rm -rf "/run/$2"
    qemu-system-x86_64 -machine q35,accel=tcg,graphics=off -cpu qemu64 -smp 1 -m 256 -nodefaults -display none -monitor none -no-reboot \
        -serial "file:/run/try.$2" -daemonize -pidfile "/run/$2.pid" -kernel "$files/vmlinuz" -initrd "/run/$2.cpio" \
        -append "console=ttyS0 quiet panic=5" -drive file=/run/tried,format=raw,if=none,id=d0,snapshot=on -device virtio-blk-pci,drive=d0
    ;;
tried)
    ! kill -0 "$(cat "/run/$2.pid" 2> /dev/null)" 2> /dev/null || exit 1
    cat "/run/try.$2"
    ;;
unplug) rm -f /run/disk ;;
*)
    echo "disk.sh image|make|try|tried|unplug"
    exit 2
    ;;
esac
