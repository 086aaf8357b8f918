#!/bin/bash
# Boot a real systemd as process 1 of its own namespaces, over a throw-away overlay of /, without network. Needs root and
# the packages systemd and dbus; changes nothing outside DIR and one cgroup per hierarchy, both gone when it ends.
#
#   boot-systemd.sh DIR [SOURCE:TARGET]...     DIR: an empty folder; SOURCE is bound read-only at TARGET inside
#
# DIR/root is the root it boots, to be filled through the function `prepare` of tests/machines.py before ci.target
# starts anything: what is in DIR/files is copied over it.
set -euo pipefail
dir=$1; shift

mount -t tmpfs -o size=1g,mode=0755 tmpfs "$dir/layer"
mkdir "$dir/layer/upper" "$dir/layer/work"
mount -t overlay overlay -o "lowerdir=/,upperdir=$dir/layer/upper,workdir=$dir/layer/work" "$dir/root"
groups=()
clean_up() {
  umount -l "$dir/root" "$dir/layer" || true
  for group in "${groups[@]}"; do
    echo $BASHPID > "${group%/*}/cgroup.procs" 2>/dev/null || true
    find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || true
  done
}
trap clean_up EXIT
for bind in "$@"; do
  mkdir -p "$dir/root${bind#*:}"
done
: > "$dir/root/etc/machine-id"
# No unit may touch the kernel's settings, and no daemon that happens to be installed may start.
units="$dir/root/etc/systemd/system"
mkdir -p "$units"
for unit in sysctl udevd modules-load remount-fs random-seed udev-trigger; do
  ln -sf /dev/null "$units/systemd-$unit.service"
done
printf '%s\n' '[Unit]' 'Requires=basic.target dbus.service' 'After=basic.target dbus.service' 'AllowIsolate=yes' \
  > "$units/ci.target"
cp -a "$dir/files/." "$dir/root/"

# A child of the cgroup we are in, so that every limit around us goes on holding.
while IFS=: read -r number controllers path; do
  name=${controllers#name=}
  base=/sys/fs/cgroup
  [ "$(stat -fc %T $base)" = cgroup2fs ] || base=$base/${name:-unified}
  case $name in
    systemd | memory | pids | cpu | devices | '')
      group=$base${path%/}/anomalyd-test-$$
      if mkdir "$group" 2>/dev/null; then
        groups+=("$group")
        echo $BASHPID > "$group/cgroup.procs" || true
      fi ;;
  esac
done < /proc/self/cgroup

unshare --cgroup --mount --uts --ipc --net --pid --fork --kill-child=SIGKILL --propagation private \
  bash -euc '
root=$1; shift
for bind in "$@"; do
  mount --bind "${bind%%:*}" "$root${bind#*:}"
  mount -o remount,bind,ro "$root${bind#*:}"
done
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for node in null zero full random urandom tty; do
  touch "$root/dev/$node"
  mount --bind "/dev/$node" "$root/dev/$node"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
mount -t tmpfs tmpfs "$root/dev/shm"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
for number in 0 1 2; do ln -s "/proc/self/fd/$number" "$root/dev/std$(echo in out err | cut -d" " -f$((number + 1)))"; done
if [ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ]; then
  mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
else
  mount -t tmpfs -o mode=755 tmpfs "$root/sys/fs/cgroup"
  cd "$root/sys/fs/cgroup"
  mkdir systemd unified memory pids cpu devices
  mount -t cgroup -o none,name=systemd cgroup systemd
  mount -t cgroup2 cgroup2 unified
  for one in memory pids cpu devices; do mount -t cgroup -o "$one" cgroup "$one" || rmdir "$one"; done
fi
ip link set lo up || true
hostname anomalyd-test
cd "$root"
mkdir -p .outside
pivot_root . .outside
umount -l /.outside
rmdir /.outside
mount --make-rshared /
exec env -i container=ci PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
  /lib/systemd/systemd systemd.unit=ci.target systemd.show_status=0
' boot "$dir/root" "$@" </dev/null
