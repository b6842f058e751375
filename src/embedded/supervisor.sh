# Runs one throw-away PostgreSQL for whoever holds the other end of our standard input.
#
# Arguments: the folder to make, the folder of the server's programs, then arguments for the server.
# Input, line by line: the superuser's password, then any number of "start PORT" and "stop SIGNAL"
# (INT is PostgreSQL's fast shutdown, QUIT its immediate one).
# Output: the file "ended" is there whenever no program runs. It holds how many have run, initdb being the first,
# and the exit status of the last.
#
# The end of input means that the owner is gone, however it went: the server is stopped, the folder removed.
# We are the leader of a process group of our own, so a terminal's signals do not come here.

folder=$1 programs=$2
shift 2
umask 077
mkdir "$folder" && cd "$folder" || exit
exec >>log 2>&1

# Signals are sent to the group, of which we and our subshells ignore them: so no process id can be a wrong one.
trap '' HUP INT QUIT TERM

# What the owner itself inherited is not for the server. Shells other than bash can name single digits only.
for descriptor in /dev/fd/*; do
    descriptor=${descriptor##*/}
    case $descriptor in
    [3-9]) eval "exec $descriptor>&-" ;;
    [1-9][0-9]*) [ -z "${BASH_VERSION-}" ] || eval "exec $descriptor>&-" ;;
    esac
done

ended() {
    echo "$runs $1" >ending
    mv ending ended
}

# Sends the signal again until it is heard: it is lost on a server that has only just been started.
stop() {
    tries=0
    while [ ! -e ended ] && [ "$((tries += 1))" -le 500 ]; do
        kill -s CONT 0
        kill -s "$1" 0
        sleep 0.02 || sleep 1
    done
}

runs=1
read -r password || password=
printf '%s\n' "$password" | "$programs/initdb" -D data --no-sync --encoding=UTF8 --no-locale \
    --username=postgres --pwfile=/dev/stdin --auth-local=trust --auth-host=scram-sha-256
ended "$?"

while read -r command argument; do
    case $command in
    start)
        rm -f ended
        runs=$((runs + 1))
        {
            "$programs/postgres" -D data "$@" -p "$argument" </dev/null
            ended "$?"
        } &
        ;;
    stop) stop "$argument" ;;
    esac
done

stop QUIT
cd / && rm -rf "$folder"
