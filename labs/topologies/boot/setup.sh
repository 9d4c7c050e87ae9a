# On the boot server: the address plan, the machine, and an image of Debian's kernel with a busybox that says how it goes.
set -e
files=${WEFT_BOOT_FILES:-/var/cache/weft-lab/boot}
[ -s "$files/vmlinuz" ] || { echo "no kernel in $files: run \`sh labs/topologies/boot/files.sh\`"; exit 1; }
weft-netboot ipam get > /dev/null 2>&1 || weft-netboot ipam set /etc/lab/ipam.netboot.yaml
weft-netboot machines show N1 > /dev/null 2>&1 || weft-netboot machines register /etc/lab/machine.netboot.yaml
if ! weft-netboot image show debian > /dev/null 2>&1; then
    rm -rf /run/initrd
    mkdir -p /run/initrd/bin /run/initrd/modules
    cp "$(command -v busybox)" /run/initrd/bin/busybox
    cp "$files"/*.ko /run/initrd/modules/
    cp /etc/lab/init.sh /run/initrd/init
    cp /etc/lab/address.sh /run/initrd/address.sh
    chmod +x /run/initrd/init /run/initrd/address.sh
    (cd /run/initrd && find . | busybox cpio -o -H newc | gzip -1) > /run/initrd.gz
    weft-netboot image add debian --kernel "$files/vmlinuz" --initrd /run/initrd.gz --cmdline "console=ttyS0 quiet panic=5"
    weft-netboot image pin debian --role cs
fi
(umask 077 && printf 'user: root\npassword: lab-bmc\n' > /run/bmc.secret)
weft-netboot image list
