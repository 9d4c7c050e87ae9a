#!/bin/sh
# What dhclient calls: one line of what it was told, and the address on the interface.
case $reason in
PREINIT6) ip link set "$interface" up ;;
BOUND6 | RENEW6 | REBIND6)
    ip address replace "$new_ip6_address/128" dev "$interface" nodad
    echo "$reason $new_ip6_address lifetime $new_max_life boot $new_dhcp6_boot_from"
    ;;
EXPIRE6 | RELEASE6 | STOP6 | DEPREF6)
    test -z "$old_ip6_address" || ip address del "$old_ip6_address/128" dev "$interface"
    echo "$reason $old_ip6_address"
    ;;
*) echo "$reason" ;;
esac
exit 0
