# The controller of the machine: `serve` plays it at its address, and the rest is what it asks of us, as ipmi_sim asks its own script.
# /run/faults says what goes wrong (`weft-lab bmc --help`).
set -e
case $1 in 0x*) shift ;; esac
power() { sh /etc/lab/power.sh "$1" > /dev/null; }
is_on() { [ -s /run/machine.pid ] && kill -0 "$(cat /run/machine.pid)" 2> /dev/null; }
on() {
    case $(cat /run/boot 2> /dev/null) in
    pxe) power pxe ;;
    http) power http ;;
    *) power bios ;;
    esac
}
case "$*" in
serve)
    until [ -e /sys/class/net/eth1 ]; do sleep 0.1; done
    ip address add 10.72.17.39/27 dev eth1
    ip link set eth1 up
    ip route add 10.0.0.0/8 via 10.72.17.33
    (umask 077 && printf 'user: root\npassword: lab-bmc\n' > /run/bmc.secret)
    echo $$ > /run/bmc.pid
    # The first process of a node is weft-lab itself.
    exec /proc/1/exe bmc --listen 10.72.17.39:443 --credentials /run/bmc.secret --faults /run/faults \
        --serial N1 --uuid 00000000-0000-4000-8000-000000000001 sh /etc/lab/bmc.sh
    ;;
# From now on it has no Redfish: OpenIPMI's simulator is the controller, by IPMI 2.0.
ipmi)
    kill "$(cat /run/bmc.pid)"
    mkdir -p /run/ipmi
    cd /run/ipmi
    cat > lan.conf << EOF
name "N1"
set_working_mc 0x20
  startlan 1
    addr 10.72.17.39 623
    priv_limit admin
    allowed_auths_admin none md2 md5 straight
    guid 00112233445566778899aabbccddeeff
  endlan
  chassis_control "sh /etc/lab/bmc.sh 0x20"
  user 2 true "root" "lab-bmc" admin 10 none md2 md5 straight
EOF
    printf 'mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02\nmc_enable 0x20\n' > emu.cmd
    ipmi_sim -c lan.conf -f emu.cmd -s state -n < /dev/null > out 2>&1 &
    echo "ipmi_sim is the controller"
    ;;
"get power") is_on && echo power:1 || echo power:0 ;;
"get boot") echo "boot:$(cat /run/boot 2> /dev/null || echo none)" ;;
"set power 1") on ;;
"set power 0") power off ;;
"set shutdown 1") power soft ;;
"set reset 1")
    power off
    on
    ;;
"set boot "*) echo "$3" > /run/boot ;;
*)
    echo "bmc.sh serve, ipmi, get power|boot, set power|shutdown|reset|boot VALUE"
    exit 2
    ;;
esac
