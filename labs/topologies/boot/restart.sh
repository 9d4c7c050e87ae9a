# On the boot server: its daemon begins anew with /run/netboot.yaml.
# The server of this node: those of other nodes and labs are in other networks.
mine=$(readlink /proc/self/ns/net)
for process in /proc/[0-9]*; do
    [ "$(readlink "$process/ns/net")" = "$mine" ] || continue
    case $(tr '\0' ' ' < "$process/cmdline") in
    weft-netboot\ serve* | */weft-netboot\ serve*)
        kill "${process#/proc/}"
        while readlink "$process/exe" > /dev/null; do sleep 0.05; done
        ;;
    esac
done
setsid weft-netboot serve --config /run/netboot.yaml > /run/netboot.log 2>&1 < /dev/null &
until weft-netboot image list > /dev/null 2>&1; do
    kill -0 $! || { cat /run/netboot.log; exit 1; }
    sleep 0.1
done
