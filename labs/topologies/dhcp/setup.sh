# Tells one server the address plan, unless it is there already, and says it.
set -e
weft-netboot ipam get > /dev/null 2>&1 || weft-netboot ipam set /etc/lab/ipam.netboot.yaml
weft-netboot ipam get
