# Runs in an emulated machine, started by its init: does the job, and switches the machine off.
# /job has the job: calls of the functions below. What is said goes through a port of its own to
# the machine outside, since the kernel writes on the console.
export PATH=/usr/bin:/usr/sbin HOME=/root LANG=C
box=/usr/bin/busybox

mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts -o ptmxmode=666 devpts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t tmpfs run /run
mount -t cgroup2 cgroup /sys/fs/cgroup
ln -s /proc/self/fd /dev/fd
ln -s /proc/self/fd/0 /dev/stdin
ln -s /proc/self/fd/1 /dev/stdout
ln -s /proc/self/fd/2 /dev/stderr
chmod 1777 /tmp /dev/shm
$box ifconfig lo up
# As a login has them.
ulimit -H -n 524288
ulimit -S -n 1024
ulimit -S -c 0

exec 3>"$(echo /dev/vport*)"

seconds() {
    cut -d. -f1 /proc/uptime
}

# A folder of the second disk, at the path that it has outside.
place() {
    mkdir -p "$1"
    mount --bind "/work$1" "$1"
}

# run NAME FOLDER SECONDS PROGRAM ARGUMENT...
run() {
    name=$1 folder=$2 limit=$3
    shift 3
    echo "@begin $name" >&3
    begun=$(seconds)
    export CARGO_MANIFEST_DIR="$folder"
    (cd "$folder" && exec timeout -s KILL "$limit" "$@") </dev/null >/run/said 2>&1 3>&-
    code=$?
    cat /run/said >&3
    # What is left over may hold what the next one needs.
    kill -s KILL -- -1
    echo >&3
    echo "@end $name $code $(($(seconds) - begun))" >&3
}

echo "@kernel $(uname -r)" >&3
mount -t ext4 /dev/vdb /work
. /job
echo "@done $(seconds)" >&3
sync
$box poweroff -f
