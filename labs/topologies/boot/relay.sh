# On the switch: relays DHCP, and answers who solicits routers, for which iPXE would wait.
set -e
running() { [ -s "/run/$1.pid" ] && kill -0 "$(cat "/run/$1.pid")"; }
running relay || dhcrelay -4 -q -a -m replace -pf /run/relay.pid -id eth2 -iu eth1 10.72.0.1
running ra || dnsmasq --port=0 --conf-file=/dev/null --no-resolv --pid-file=/run/ra.pid --enable-ra --interface=eth2 \
    --dhcp-range=fd00:69:1::,ra-stateless
echo relays
