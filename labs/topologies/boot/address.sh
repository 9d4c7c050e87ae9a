#!/bin/busybox sh
# What udhcpc calls.
case $1 in
bound | renew)
    ip address replace "$ip/$mask" dev "$interface"
    ip route replace default via "$router"
    echo "machine: address $ip/$mask router $router server $serverid"
    ;;
deconfig) ip address flush dev "$interface" ;;
esac
exit 0
