#!/bin/busybox sh
# The first process of the machine: says that it is there, opens its disk as soon as it gets the key, and says what is on it.
/bin/busybox mkdir -p /proc /sys /dev /bin /sbin /tmp /run/cryptsetup
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
exec > /dev/console 2>&1
export DM_DISABLE_UDEV=1
while read -r name; do insmod "/modules/$name.ko"; done < /modules/order
ip link set lo up
ip link set eth0 up
udhcpc -i eth0 -f -q -n -t 60 -T 1 -s /address.sh
id=/sys/class/dmi/id
serial=$(cat $id/product_serial)
ek=$(weft-key show | sed -n 's/^tpm_ek *//p')
body="{\"serial\": \"$serial\", \"ids\": {\"macs\": [\"$(cat /sys/class/net/eth0/address)\"], \"tpm_ek\": \"$ek\"}}"
until said=$(wget -q -O - --header "Content-Type: application/json" --post-data "$body" http://10.72.0.1:10480/v1/enrol); do
    sleep 1
done
echo "machine: the boot server says $said" | tr -d '"{}' | sed 's/says .*is:/says /'
until weft-key open /dev/vda --name data --server 10.72.0.1:10480 --serial "$serial" --format --close; do
    sleep 1
done
echo "machine: the disk says: $(head -c 64 /dev/mapper/data | tr -d '\0')"
echo "written in boot $(cat /proc/sys/kernel/random/boot_id)" | dd of=/dev/mapper/data conv=notrunc 2> /dev/null
sync
echo "machine: it was written in boot $(cat /proc/sys/kernel/random/boot_id)"
weft-key open /dev/vda --name again --server 10.72.0.1:10480 --serial "$serial" || echo "machine: no key any more in this boot"
while :; do sleep 3600; done
