#!/bin/sh
# in-image.sh ROOTFS UID WRITABLE COMMAND…: runs a command of an unpacked image nearly as a container of
# compose.yaml does: own mounts and processes, read-only root, user UID without capabilities, no new
# privileges. WRITABLE names, with commas, directories below the root that may be written: NAME is memory,
# NAME=DIR is that directory of the host, - is none. The network and the environment are the caller's.
set -eu
if [ "$1" != inside ]; then
    IMAGE_PATH=${PATH-} PATH=/usr/sbin:/usr/bin:/sbin:/bin
    export IMAGE_PATH PATH
    exec unshare --mount --pid --fork "$0" inside "$@"
fi
root=$2 uid=$3 writable=$4
shift 4
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs tmpfs "$root/dev"
for device in null zero random urandom; do
    : >"$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/shm"
mount -t tmpfs tmpfs "$root/dev/shm"
for item in $(echo "$writable" | tr , ' '); do
    case $item in
        -) ;;
        *=*) mount --bind "${item#*=}" "$root/${item%%=*}" ;;
        *) mount -t tmpfs -o "uid=$uid,gid=$uid,mode=0755" tmpfs "$root/$item" ;;
    esac
done
mount -o remount,bind,ro "$root"
setpriv=$(command -v setpriv) chroot=$(command -v chroot)
PATH=$IMAGE_PATH
unset IMAGE_PATH
exec "$setpriv" --no-new-privs "$chroot" --userspec="$uid:$uid" --groups= "$root" "$@"
