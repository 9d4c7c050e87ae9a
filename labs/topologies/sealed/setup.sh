# On the boot server: the address plan, and an image whose first process opens the disk. Nobody registers the machine: it says that it is there.
# `setup.sh WORD` puts WORD at the end of the command line.
set -e
files=${WEFT_SEALED_FILES:-/var/cache/weft-lab/sealed}
[ -s "$files/order" ] || { echo "no files in $files: run \`sh labs/topologies/sealed/files.sh target/debug/weft-key\`"; exit 1; }
weft-netboot ipam get > /dev/null 2>&1 || weft-netboot ipam set /etc/boot/ipam.netboot.yaml
if ! [ -s /run/initrd.gz ]; then
    mkdir -p /run/initrd/bin /run/initrd/modules
    cp "$(command -v busybox)" /run/initrd/bin/busybox
    cp -a "$files/programs/." /run/initrd/
    cp "$files"/modules/*.ko "$files/order" /run/initrd/modules/
    cp /etc/lab/init.sh /run/initrd/init
    cp /etc/boot/address.sh /run/initrd/address.sh
    chmod +x /run/initrd/init /run/initrd/address.sh
    (cd /run/initrd && find . | busybox cpio -o -H newc | gzip -1) > /run/initrd.gz
fi
weft-netboot image add sealed --kernel "$files/vmlinuz" --initrd /run/initrd.gz --cmdline "console=ttyS0 quiet panic=5${1:+ $1}"
weft-netboot image pin sealed --rest
weft-netboot image list
