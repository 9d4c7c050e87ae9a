# Registers the machines of this lab, unless they are there already, and says which there are.
set -e
weft-netboot machines list | grep -q N4 || {
    weft-netboot ipam set /etc/lab/ipam.netboot.yaml
    weft-netboot plan set /etc/lab/plan.netboot.yaml
    weft-netboot enrol rules set /etc/lab/rules.netboot.yaml
    weft-netboot machines register /etc/lab/machines.netboot.yaml
}
weft-netboot machines list
