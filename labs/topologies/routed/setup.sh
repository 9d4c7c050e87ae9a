#!/bin/sh
# On a boot server that serves: the inventory, and weft's initial file system as the image of the machine.
set -e
files=${WEFT_BOOT_FILES:-/var/cache/weft-lab/boot}
for name in vmlinuz weft weft-init; do
    [ -s "$files/$name" ] || { echo "no $name in $files: run \`cargo static\`, then \`sh labs/topologies/boot/files.sh\`"; exit 1; }
done
weft-netboot ipam get > /dev/null 2>&1 || weft-netboot ipam set /etc/lab/ipam.netboot.yaml
weft-netboot plan get > /dev/null 2>&1 || weft-netboot plan set /etc/lab/plan.netboot.yaml
weft-netboot machines show N1 > /dev/null 2>&1 || weft-netboot machines register /etc/lab/machines.netboot.yaml
weft-netboot image build weft --kernel "$files/vmlinuz" --modules "$files" --weft "$files/weft" --init "$files/weft-init" \
    --busybox "$(command -v busybox)" --cmdline "console=ttyS0 quiet panic=5"
weft-netboot image pin weft --role cs
