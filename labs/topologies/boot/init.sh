#!/bin/busybox sh
# The first process of the machine: gets an address as it is told, says to the boot server that it is there, and stays.
/bin/busybox mkdir -p /proc /sys /dev /bin /sbin /tmp
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
exec > /dev/console 2>&1
for name in virtio virtio_ring virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci failover net_failover virtio_net; do
    insmod "/modules/$name.ko"
done
ip link set lo up
ip link set eth0 up
echo "machine: up after $(cut -d ' ' -f 1 /proc/uptime) s of its kernel"
for pcr in 4 11; do
    [ ! -e /sys/class/tpm/tpm0 ] || echo "machine: PCR $pcr $(tr A-F a-f < /sys/class/tpm/tpm0/pcr-sha256/$pcr)"
done
udhcpc -i eth0 -f -q -n -t 60 -T 1 -s /address.sh
id=/sys/class/dmi/id
body="{\"serial\": \"$(cat $id/product_serial)\", \"ids\": {\"macs\": [\"$(cat /sys/class/net/eth0/address)\"]}}"
until said=$(wget -q -O - --header "Content-Type: application/json" --post-data "$body" http://10.72.0.1:10480/v1/enrol); do
    sleep 1
done
echo "machine: the boot server says $said" | tr -d '"{}' | sed 's/says .*is:/says /'
while :; do sleep 3600; done
