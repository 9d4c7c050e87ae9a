# The machine's power and its cable: `cable` joins its card to the link, `bios`, `pxe` and `http` power it on with this firmware (`secure`: as `http`,
# and firmware starts only what is signed by Debian's key for tests; `tpm`: as `http`, with a TPM), `trust` gives it an authority for UEFI HTTPS, `off` cuts it, `soft` presses its button, `console` shows what it wrote. QEMU
# without KVM: it is there everywhere.
set -e
pid=/run/machine.pid
firmware=/usr/share/OVMF/OVMF_CODE_4M.fd
variables=/usr/share/OVMF/OVMF_VARS_4M.fd
machine=q35,accel=tcg,graphics=off
is_on() { [ -s $pid ] && kill -0 "$(cat $pid)" 2> /dev/null; }
on() {
    is_on && return
    rm -f /run/console /run/monitor.in /run/monitor.out
    mkfifo /run/monitor.in /run/monitor.out
    qemu-system-x86_64 -machine $machine -cpu qemu64 -smp 1 -nodefaults -display none -monitor pipe:/run/monitor -serial file:/run/console \
        -daemonize -pidfile $pid -boot reboot-timeout=3000 \
        -smbios type=1,manufacturer=weft,product=lab,serial=N1,uuid=00000000-0000-4000-8000-000000000001 \
        -netdev tap,id=n0,ifname=tap0,script=no,downscript=no "$@"
}
card="virtio-net-pci,netdev=n0,mac=52:54:00:69:01:01,bootindex=1"
case $1 in
cable)
    ip link add br0 type bridge
    ip tuntap add tap0 mode tap
    for name in br0 tap0 eth0; do
        echo 1 > /proc/sys/net/ipv6/conf/$name/disable_ipv6
        [ $name = br0 ] || ip link set $name master br0
        ip link set $name up
    done
    ;;
bios) on -m 256 -device "$card" ;;
pxe | http | secure | secure-pxe | tpm)
    way=$1
    shift
    if [ "${way%-pxe}" = secure ]; then
        firmware=/usr/share/OVMF/OVMF_CODE_4M.secboot.fd
        variables=/usr/share/OVMF/OVMF_VARS_4M.snakeoil.fd
        machine=$machine,smm=on
        set -- -global driver=cfi.pflash01,property=secure,value=on -global ICH9-LPC.disable_s3=1
    fi
    if [ "$way" = tpm ]; then
        # It ends with the machine; what it keeps stays.
        mkdir -p /run/tpm
        swtpm socket --tpm2 --tpmstate dir=/run/tpm --ctrl type=unixio,path=/run/tpm/socket --daemon --terminate
        set -- -chardev socket,id=c0,path=/run/tpm/socket -tpmdev emulator,id=t0,chardev=c0 -device tpm-tis,tpmdev=t0
    fi
    [ -s /run/variables.fd ] || cp $variables /run/variables.fd
    set -- "$@" -m 512 -device "$card,romfile=" -drive if=pflash,format=raw,unit=0,readonly=on,file=$firmware \
        -drive if=pflash,format=raw,unit=1,file=/run/variables.fd
    # What `trust` gave it.
    [ ! -s /run/ca.esl ] || set -- "$@" -fw_cfg name=etc/edk2/https/cacerts,file=/run/ca.esl -device virtio-rng-pci
    [ "${way#secure-}" = pxe ] || set -- "$@" -fw_cfg name=opt/org.tianocore/IPv4PXESupport,string=n \
        -fw_cfg name=opt/org.tianocore/IPv6PXESupport,string=n
    on "$@"
    ;;
off)
    is_on && kill "$(cat $pid)"
    while is_on; do sleep 0.05; done
    rm -f $pid /run/variables.fd
    ;;
# The only authority that its firmware knows, in PEM.
trust)
    cat > /run/ca.pem
    cert-to-efi-sig-list -g 00000000-0000-4000-8000-000000000002 /run/ca.pem /run/ca.esl
    ;;
# What its operating system does about it is its own affair.
soft) is_on && echo system_powerdown > /run/monitor.in ;;
console) cat /run/console ;;
*)
    echo "power.sh cable|bios|pxe|http|secure|secure-pxe|tpm|trust|off|soft|console"
    exit 2
    ;;
esac
[ "$1" = console ] || { is_on && echo "the machine is on"; } || echo "the machine is off"
