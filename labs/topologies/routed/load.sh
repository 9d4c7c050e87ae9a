#!/bin/sh
# On a boot server that serves: an image whose root file system is loaded once the machine is routed. The root is a busybox, the routing
# daemon, and 48 MB that do not compress; what runs in it says so.
set -e
files=/var/cache/weft-lab/boot
root=/run/root
rm -rf $root
mkdir -p $root/bin $root/sbin $root/usr/bin $root/usr/share
cp "$(command -v busybox)" $root/bin/busybox
cp "$files/weft" $root/usr/bin/weft
ln -s busybox $root/bin/sh
cp /etc/lab/system.sh $root/sbin/init
chmod 755 $root/bin/busybox $root/usr/bin/weft $root/sbin/init
head -c 48000000 /dev/urandom > $root/usr/share/filler
(cd $root && find . | busybox cpio -o -H newc) > /run/root.cpio
weft-netboot image build load --kernel "$files/vmlinuz" --modules "$files" --weft "$files/weft" --init "$files/weft-init" \
    --root /run/root.cpio --cmdline "console=ttyS0 quiet panic=5"
weft-netboot image pin load --role cs
