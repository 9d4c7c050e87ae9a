# The machine's power and its cables: `cable` joins its two cards to the links, `on` powers it on (BIOS, iPXE in the card), `http` by UEFI HTTP, `stranger` as a machine that nobody registered, `off` cuts the
# power, `slow` makes its cables slow enough (60 Mbit/s) that something may break while it loads, `busy` says which cable carries most of what comes,
# `console` shows what it wrote. QEMU without KVM: it is there everywhere.
set -e
pid=/run/machine.pid
is_on() { [ -s $pid ] && kill -0 "$(cat $pid)" 2> /dev/null; }
case $1 in
cable)
    for card in 0 1; do
        ip link add br$card type bridge
        ip tuntap add tap$card mode tap
        for name in br$card tap$card eth$card; do
            echo 1 > /proc/sys/net/ipv6/conf/$name/disable_ipv6
            [ $name = br$card ] || ip link set $name master br$card
            ip link set $name up
        done
    done
    ;;
on | http | stranger)
    serial=N1
    base=1
    [ "$1" != stranger ] || { serial=X9 base=9; }
    is_on || {
        rm -f /run/console
        rom=
        way=$1
        set --
        if [ "$way" = http ]; then
            rom=,romfile=
            cp /usr/share/OVMF/OVMF_VARS_4M.fd /run/variables.fd
            set -- -drive if=pflash,format=raw,unit=0,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd \
                -drive if=pflash,format=raw,unit=1,file=/run/variables.fd \
                -fw_cfg name=opt/org.tianocore/IPv4PXESupport,string=n -fw_cfg name=opt/org.tianocore/IPv6PXESupport,string=n
        fi
        for card in 0 1; do
            set -- "$@" -netdev tap,id=n$card,ifname=tap$card,script=no,downscript=no \
                -device "virtio-net-pci,netdev=n$card,mac=52:54:00:69:0$base:0$((card + 1)),bootindex=$((card + 1))$rom"
        done
        # What `disk.sh` made: behind its cards, when it looks for something to start.
        [ ! -s /run/disk ] || set -- "$@" -drive file=/run/disk,format=raw,if=none,id=d0 -device virtio-blk-pci,drive=d0
        qemu-system-x86_64 -machine q35,accel=tcg,graphics=off -cpu qemu64 -smp 1 -m 768 -nodefaults -display none -monitor none \
            -serial file:/run/console -daemonize -pidfile $pid -boot reboot-timeout=3000 \
            -smbios type=1,manufacturer=weft,product=lab,serial=$serial,uuid=00000000-0000-4000-8000-00000000000$base "$@"
    }
    ;;
off)
    is_on && kill "$(cat $pid)"
    while is_on; do sleep 0.05; done
    rm -f $pid
    ;;
slow)
    for card in 0 1; do
        tc qdisc replace dev tap$card root tbf rate 60mbit burst 64kb limit 512kb
    done
    ;;
busy)
    octets() { cat "/sys/class/net/tap$1/statistics/tx_bytes"; }
    first=$(octets 0)
    second=$(octets 1)
    sleep 0.3
    [ $(($(octets 0) - first)) -ge $(($(octets 1) - second)) ] && echo eth0 || echo eth1
    exit
    ;;
console)
    cat /run/console
    exit
    ;;
*)
    echo "power.sh cable|on|http|stranger|off|slow|busy|console"
    exit 2
    ;;
esac
is_on && echo "the machine is on" || echo "the machine is off"
