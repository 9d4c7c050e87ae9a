# The machine's power and its cable: `cable` joins its card to the link, `on` powers it on (UEFI, HTTP), `off` cuts it, `console` shows what it
# wrote; `stick` plugs in what somebody made of what it is given: the same with another command line, from which it boots; `unplug`. Its disk and
# its TPM keep what they have.
set -e
pid=/run/machine.pid
is_on() { [ -s $pid ] && kill -0 "$(cat $pid)" 2> /dev/null; }
verb=${1:-}
[ $# = 0 ] || shift
case $verb in
cable)
    ip link add br0 type bridge
    ip tuntap add tap0 mode tap
    for name in br0 tap0 eth0; do
        echo 1 > /proc/sys/net/ipv6/conf/$name/disable_ipv6
        [ $name = br0 ] || ip link set $name master br0
        ip link set $name up
    done
    ;;
on)
    is_on || {
        mkdir -p /run/tpm
        [ -s /run/disk ] || truncate -s 64M /run/disk
        cp /usr/share/OVMF/OVMF_VARS_4M.fd /run/variables.fd
        rm -f /run/console /run/tpm.socket
        [ ! -d /run/stick ] || set -- -drive file=fat:/run/stick,format=raw,if=none,id=d1,readonly=on -device virtio-blk-pci,drive=d1,bootindex=0
        swtpm socket --tpm2 --tpmstate dir=/run/tpm --ctrl type=unixio,path=/run/tpm.socket --daemon --terminate
        qemu-system-x86_64 -machine q35,accel=tcg,graphics=off -cpu qemu64 -smp 1 -m 512 -nodefaults -display none -monitor none \
            -serial file:/run/console -daemonize -pidfile $pid -boot reboot-timeout=3000 \
            -smbios type=1,manufacturer=weft,product=lab,serial=N1,uuid=00000000-0000-4000-8000-000000000001 \
            -netdev tap,id=n0,ifname=tap0,script=no,downscript=no \
            -device virtio-net-pci,netdev=n0,mac=52:54:00:69:01:01,bootindex=1,romfile= \
            -drive file=/run/disk,format=raw,if=none,id=d0 -device virtio-blk-pci,drive=d0 \
            -chardev socket,id=t0,path=/run/tpm.socket -tpmdev emulator,id=tpm0,chardev=t0 -device tpm-tis,tpmdev=tpm0 \
            -drive if=pflash,format=raw,unit=0,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd \
            -drive if=pflash,format=raw,unit=1,file=/run/variables.fd \
            -fw_cfg name=opt/org.tianocore/IPv4PXESupport,string=n -fw_cfg name=opt/org.tianocore/IPv6PXESupport,string=n "$@"
    }
    ;;
off)
    is_on && kill "$(cat $pid)"
    while is_on; do sleep 0.05; done
    rm -f $pid
    ;;
stick)
    mkdir -p /run/stick/EFI/BOOT
    ip address add 10.69.1.60/26 dev br0
    ip route add 10.72.0.1 via 10.69.1.1
    busybox wget -q -O /run/given.efi "http://10.72.0.1:8080/boot/uki.efi?serial=N1"
    ip address del 10.69.1.60/26 dev br0
    LC_ALL=C sed 's/quiet panic=5/quiet panic=6/' /run/given.efi > /run/stick/EFI/BOOT/BOOTX64.EFI
    ! cmp -s /run/given.efi /run/stick/EFI/BOOT/BOOTX64.EFI || { echo "the stick has what it is given"; exit 1; }
    ;;
unplug) rm -rf /run/stick ;;
console) cat /run/console ;;
*)
    echo "power.sh cable|on|off|stick|unplug|console"
    exit 2
    ;;
esac
[ "$verb" = console ] || { is_on && echo "the machine is on"; } || echo "the machine is off"
