# On the switch: answers who solicits routers, for whom iPXE would wait 13 s. The relay is weft's own.
set -e
running() { [ -s "/run/$1.pid" ] && kill -0 "$(cat "/run/$1.pid")"; }
running ra || dnsmasq --port=0 --conf-file=/dev/null --no-resolv --pid-file=/run/ra.pid --enable-ra --interface=eth2 \
    --dhcp-range=fd00:69:1::,ra-stateless
echo advertises
