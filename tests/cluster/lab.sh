#!/usr/bin/env bash
# A SLURM cluster of three nodes on this one machine, for the tests: a controller, accounting and GPUs, no systemd.
#   lab.sh up FOLDER               start it (again); Debian's packages are installed where they are missing
#   lab.sh down FOLDER             end its jobs and stop it; the folder can be deleted then
#   lab.sh lose NODE               kill a node with all that runs on it, as if it crashed
#   lab.sh hang NODE               stop it all instead: nobody is told, as if its network was cut
#   lab.sh back NODE               start a lost or hanging node again, empty
#   lab.sh restart-controller [S]  stop the controller, and start it again after S seconds (0)
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin # where Debian has daemons, and many a user no path to

NODES=(n1 n2 n3)
GPUS=2 CPUS=8 MEMORY_MB=32000
PORT=17000
# Where Debian's build looks for it: Snakemake's jobs lose SLURM_CONF, as they lose all of SLURM's environment.
LINK=/etc/slurm/slurm.conf

fail() {
    echo "lab.sh: $*" >&2
    exit 1
}

install_packages() {
    command -v slurmctld slurmd sbatch slurmdbd munged mariadbd > /dev/null && return
    export DEBIAN_FRONTEND=noninteractive
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends \
        slurmctld slurmd slurm-client slurmdbd slurm-wlm-mysql-plugin munge mariadb-server; } > /dev/null
}

configure() {
    local host gpu
    host=$(hostname -s)
    mkdir -p "$LAB"/{dev,etc,log,mysql,run,spool,state}
    # A type and a count alone are registered as no GPUs at all: each needs a device, here a null device of our own.
    for ((gpu = 0; gpu < GPUS; gpu++)); do
        [ -e "$LAB/dev/gpu$gpu" ] || mknod -m 666 "$LAB/dev/gpu$gpu" c 1 3
    done
    [ -s "$LAB/etc/munge.key" ] || (umask 077 && head -c 1024 /dev/urandom > "$LAB/etc/munge.key")
    echo "Name=gpu Type=toy File=$LAB/dev/gpu[0-$((GPUS - 1))]" > "$LAB/etc/gres.conf"
    echo "CgroupAutomount=no" > "$LAB/etc/cgroup.conf"
    (umask 077 && cat > "$LAB/etc/slurmdbd.conf") << CONF
AuthType=auth/munge
AuthInfo=socket=$LAB/run/munge.socket
DbdHost=$host
DbdAddr=127.0.0.1
DbdPort=$((PORT + 19))
SlurmUser=root
PidFile=$LAB/run/slurmdbd.pid
LogFile=$LAB/log/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=$((PORT + 6))
StorageUser=slurm
StoragePass=lab
StorageLoc=slurm
CONF
    # A requeued job waits until its first credential has expired: 120 s, were cred_expire not set.
    # A node's silence is noticed after SlurmdTimeout; a killed job's processes have KillWait to end by themselves.
    cat > "$LAB/etc/slurm.conf" << CONF
ClusterName=lab
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$((PORT + 17))
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$LAB/run/munge.socket,cred_expire=10
StateSaveLocation=$LAB/state
SlurmdSpoolDir=$LAB/spool/%n
SlurmctldPidFile=$LAB/run/slurmctld.pid
SlurmdPidFile=$LAB/run/%n.pid
SlurmctldLogFile=$LAB/log/slurmctld.log
SlurmdLogFile=$LAB/log/%n.log
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=$((PORT + 19))
AccountingStoragePass=$LAB/run/munge.socket
AccountingStorageTRES=gres/gpu
JobAcctGatherType=jobacct_gather/linux
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
MailProg=/bin/true
GresTypes=gpu
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=200
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2
SlurmdParameters=config_overrides
SlurmdTimeout=6
ReturnToService=2
KillWait=5
MinJobAge=600
$(for i in "${!NODES[@]}"; do
        echo "NodeName=${NODES[i]} NodeHostname=$host NodeAddr=127.0.0.1 Port=$((PORT + 1 + i)) CPUs=$CPUS" \
            "RealMemory=$MEMORY_MB Gres=gpu:toy:$GPUS"
    done)
PartitionName=gpu Nodes=ALL DefaultTime=10 MaxTime=60
PartitionName=cpu Nodes=ALL DefaultTime=10 MaxTime=60 Default=YES
CONF
}

# alive DAEMON PIDFILE: is the file's process a DAEMON, neither dead nor another one that was given its number?
alive() {
    [ -s "$2" ] && [[ $(cat "/proc/$(cat "$2")/stat" 2> /dev/null) == *"($1) "[^XZ]* ]]
}

stop() {
    alive "$@" || return 0
    kill "$(cat "$2")"
    within 30 not_alive "$@" || kill -KILL "$(cat "$2")"
}

not_alive() { ! alive "$@"; }

# within SECONDS COMMAND...: wait until the command succeeds.
within() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@" > /dev/null 2>&1; do
        ((SECONDS < deadline)) || return 1
        sleep 0.1
    done
}

start_munge() {
    alive munged "$LAB/run/munged.pid" && return
    munged --force --key-file="$LAB/etc/munge.key" --socket="$LAB/run/munge.socket" --pid-file="$LAB/run/munged.pid" \
        --log-file="$LAB/log/munged.log" --seed-file="$LAB/run/munge.seed" 2>> "$LAB/log/munged.log"
}

sql() { mariadb --no-defaults --socket="$LAB/run/mariadb.socket" --execute="$1"; }

start_accounting() {
    if ! alive mariadbd "$LAB/run/mariadbd.pid"; then
        [ -d "$LAB/mysql/mysql" ] || mariadb-install-db --no-defaults --user=root --datadir="$LAB/mysql" \
            --auth-root-authentication-method=socket --skip-test-db > "$LAB/log/mariadb.log" 2>&1
        setsid mariadbd --no-defaults --user=root --datadir="$LAB/mysql" --bind-address=127.0.0.1 \
            --port=$((PORT + 6)) --socket="$LAB/run/mariadb.socket" --pid-file="$LAB/run/mariadbd.pid" \
            --innodb-flush-log-at-trx-commit=0 --innodb-lock-wait-timeout=900 \
            >> "$LAB/log/mariadb.log" 2>&1 < /dev/null &
        within 60 sql "select 1" || fail "MariaDB does not answer: see $LAB/log/mariadb.log"
        sql "create database if not exists slurm; grant all on slurm.* to slurm@'127.0.0.1' identified by 'lab';
             grant all on slurm.* to slurm@localhost identified by 'lab'"
    fi
    if ! alive slurmdbd "$LAB/run/slurmdbd.pid"; then
        slurmdbd
        within 60 sacctmgr --noheader show cluster || fail "slurmdbd does not answer: see $LAB/log/slurmdbd.log"
        # These fail where they have been added before.
        { sacctmgr -i add cluster lab && sacctmgr -i add account lab && sacctmgr -i add user root account=lab; } \
            > /dev/null || true
    fi
}

start_controller() { alive slurmctld "$LAB/run/slurmctld.pid" || slurmctld; }

start_node() {
    mkdir -p "$LAB/spool/$1"
    alive slurmd "$LAB/run/$1.pid" || slurmd -N "$1"
}

# What runs on a node: its daemon and those of its steps hold its log open, their tasks its name in the environment.
processes_of() {
    # A process that ends while it is looked at is an error to both, and none to us.
    { find /proc/[0-9]*/fd -lname "$LAB/log/$1.log" || true
        grep -lzx "SLURMD_NODENAME=$1" /proc/[0-9]*/environ || true
    } 2> /dev/null | cut -d/ -f3 | sort -un
}

no_jobs() { [ -z "$(squeue --noheader)" ]; }

all_ready() {
    [ "$(sinfo --noheader --Node --partition=cpu --states=idle,mixed,allocated --format=%N | wc -l)" = ${#NODES[@]} ]
}

up() {
    local node
    [ "$(id -u)" = 0 ] || fail "a cluster is started by root only"
    # `lose` finds processes by their node's name, which another cluster may have used.
    [ -z "${SLURMD_NODENAME:-}" ] || fail "not inside another cluster's job"
    ((${#LAB} <= 60)) || fail "$LAB: too long a path for the daemons' sockets; take a folder of at most 60 characters"
    if [ -e "$LINK" ] && [ "$(readlink "$LINK")" != "$LAB/etc/slurm.conf" ]; then
        fail "$LINK belongs to another cluster; one started by this script is stopped with: lab.sh down FOLDER"
    fi
    install_packages
    [ -s "$LAB/etc/slurm.conf" ] || configure
    mkdir -p /etc/slurm
    ln -sfn "$LAB/etc/slurm.conf" "$LINK"
    start_munge
    start_accounting
    start_controller
    for node in "${NODES[@]}"; do start_node "$node"; done
    within 60 all_ready || fail "not all nodes are ready: sinfo --Node --long says why, and $LAB/log"
}

down() {
    local daemon node
    [ -s "$LAB/etc/slurm.conf" ] || fail "$LAB: no cluster was started here"
    if alive slurmctld "$LAB/run/slurmctld.pid"; then
        scancel --user=root
        within 20 no_jobs || true
    fi
    for node in "${NODES[@]}"; do lose "$node"; done
    for daemon in slurmctld slurmdbd mariadbd munged; do stop "$daemon" "$LAB/run/$daemon.pid"; done
    [ "$(readlink "$LINK")" != "$LAB/etc/slurm.conf" ] || rm "$LINK"
}

# signal_all SIGNAL NODE: to everything on the node; whether there was anything.
signal_all() {
    local processes
    processes=$(processes_of "$2")
    # shellcheck disable=SC2086
    [ -n "$processes" ] && { kill -"$1" $processes 2> /dev/null || true; }
}

hang() { signal_all STOP "$1" || true; }

lose() {
    # Held first, or the step's daemon would live to report that its task was killed; again, for what was being born.
    while signal_all STOP "$1"; do
        signal_all KILL "$1" || true
        sleep 0.1
    done
}

restart_controller() {
    stop slurmctld "$LAB/run/slurmctld.pid"
    sleep "$1"
    start_controller
    within 30 squeue
}

action=${1:-} argument=${2:-}
case $action in
up | down)
    [ -n "$argument" ] || fail "$action needs a FOLDER"
    LAB=$(realpath --canonicalize-missing "$argument")
    ;;
lose | hang | back | restart-controller)
    LAB=$(readlink "$LINK") || fail "no cluster is up"
    LAB=${LAB%/etc/slurm.conf}
    ;;
*) fail "up FOLDER, down FOLDER, lose NODE, hang NODE, back NODE or restart-controller [SECONDS]" ;;
esac
if [[ " lose hang back " == *" $action "* && " ${NODES[*]} " != *" $argument "* ]]; then
    fail "$action needs a node: one of ${NODES[*]}"
fi
# The daemons, too, find their files beside this one.
export SLURM_CONF=$LAB/etc/slurm.conf
case $action in
up) up ;;
down) down ;;
lose) lose "$argument" ;;
hang) hang "$argument" ;;
back)
    lose "$argument"
    start_node "$argument"
    ;;
restart-controller) restart_controller "${argument:-0}" ;;
esac
