# Functions that the scripts of both packages share: they are put at the head of each.

config=/etc/lb/lb.toml
socket=$(sed -n '/^\[admin\]/,/^\[[^a]/s/^socket *= *"\([^"]*\)".*/\1/p' $config 2>/dev/null || true)
socket=${socket:-/run/lb/lb.sock}

# Whether an agent answers on its admin socket, whatever started it.
agent_runs() {
    [ -S "$socket" ] && ! /usr/bin/lb status --socket "$socket" 2>&1 | grep -q 'the agent is not running'
}

# Whether systemd is the init system, as opposed to a container or a chroot.
systemd_runs() {
    [ -d /run/systemd/system ]
}

make_user_and_directories() {
    if command -v systemd-sysusers >/dev/null; then
        systemd-sysusers lb.conf
    elif ! getent passwd lb >/dev/null; then
        useradd --system --user-group --no-create-home --home-dir / --shell /usr/sbin/nologin lb
    fi
    install -d -m 0755 /etc/lb
    install -d -m 0700 -o lb -g lb /etc/lb/tls
}

# Lets the installed binary take over from the one that runs. If it cannot, the earlier one goes on, and
# the package is installed nevertheless: to undo the installation would not help the agent.
upgrade_agent() {
    if said=$(/usr/bin/lb upgrade --socket "$socket" 2>&1); then
        echo "lb: $said"
    else
        echo "lb: the agent of the earlier version continues to serve, because the new one cannot start:"
        echo "$said"
        echo "lb: correct this, then run: lb upgrade"
    fi >&2
}

say_what_is_next() {
    {
        echo "lb: installed, and not started, because $config is not a valid configuration yet."
        echo "lb: write it (an example is /usr/share/doc/lb/examples/lb.toml), then run:"
        echo "lb:   lb check && systemctl enable --now lb"
        echo "lb: before or after that, lb doctor says what is wrong with the host, and how to fix it."
    } >&2
}

# Ends forwarding, before the package is removed. Fails while an agent runs, which systemd would have stopped.
unload() {
    if agent_runs; then
        echo "lb: the agent runs, and systemd did not start it: stop it (SIGTERM), then remove the package" >&2
        return 1
    fi
    /usr/bin/lb unload || /usr/bin/lb unload --pin-path /sys/fs/bpf/lb
}
