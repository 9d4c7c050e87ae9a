# Registers the machines of this lab, unless they are there already.
set -e
weft-netboot ipam set /etc/lab/ipam.yaml
weft-netboot machines list | grep -q N4 || weft-netboot machines register /etc/lab/machines.yaml
