#!/bin/sh
# What udhcpc calls: one line of what it was told, and the address on the interface.
case $1 in
bound | renew)
    ip address replace "$ip/$mask" dev "$interface"
    ip route replace default via "$router"
    echo "$1 $ip/$mask router $router server $serverid lease $lease file $boot_file"
    ;;
deconfig) ip -4 address flush dev "$interface" ;;
nak) echo "nak" ;;
esac
exit 0
