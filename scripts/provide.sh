# Sourced by the scripts beside it: finds or provides Rust, the three servers, and Python.

say() { echo "$*" >&2; }

need_rust() {
    if ! command -v cargo >/dev/null || ! command -v rustc >/dev/null; then
        say "Rust is not installed: install it with rustup (https://rustup.rs), at least version 1.95."
        exit 1
    fi
    local version
    version=$(rustc --version | awk '{ print $2 }')
    if [ "$(printf '%s\n1.95\n' "$version" | sort -V | head -n 1)" != 1.95 ]; then
        say "rustc is $version; at least 1.95 is needed (rustup update)."
        exit 1
    fi
    if ! command -v cc >/dev/null; then
        say "There is no C compiler (cc), which the bundled SQLite needs: install build-essential."
        exit 1
    fi
}

# Names of Debian packages whose programs are missing.
missing_servers() {
    [ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] || PATH=$PATH:/usr/local/sbin command -v rabbitmq-server >/dev/null || echo rabbitmq-server
    command -v redis-server >/dev/null || [ -x /usr/bin/redis-server ] || echo redis-server
    ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null || echo postgresql
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

may_be_root() {
    [ "$(id -u)" = 0 ] || { command -v sudo >/dev/null && sudo -n true 2>/dev/null; }
}

# Installs packages without letting them start their services. A policy of the machine's own is
# kept; else ours is there for the installation only.
apt_install() {
    local policy=/usr/sbin/policy-rc.d ours=
    if [ ! -e "$policy" ]; then
        ours=yes
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null && as_root chmod 755 "$policy"
    fi
    as_root apt-get -qq update &&
        as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends "$@" >&2
    local status=$?
    [ -z "$ours" ] || as_root rm -f "$policy"
    return "$status"
}

# provide_servers SCRIPT: returns when the servers are installed. Without them and without the
# right to install them, runs SCRIPT in a container instead and exits as it does.
provide_servers() {
    local missing
    missing=$(missing_servers | tr '\n' ' ')
    [ -n "$missing" ] || return 0
    if command -v apt-get >/dev/null && may_be_root; then
        say "Installing $missing"
        # Word splitting is meant: a list of packages.
        # shellcheck disable=SC2086
        apt_install $missing && [ -z "$(missing_servers)" ] && return 0
        say "Could not install $missing with apt-get."
    fi
    if docker info >/dev/null 2>&1 && docker compose version >/dev/null 2>&1; then
        say "Not installed: ${missing% }. Running $1 in a container instead."
        local compose="docker compose --file scripts/test-services.yml" status
        $compose run --rm --build tests "$1"
        status=$?
        $compose down --volumes --rmi local >/dev/null 2>&1
        exit "$status"
    fi
    say "The tests need ${missing% }, which could not be installed: install the Debian packages, or Docker with its compose plugin, and run this again."
    exit 1
}

# Names of Debian packages with programs that make packages.
missing_packagers() {
    command -v dpkg-deb >/dev/null || echo dpkg
    command -v rpmbuild >/dev/null || echo rpm
    { command -v strip && command -v objdump; } >/dev/null || echo binutils
}

# Names of Debian packages with programs that install from and serve rpm repositories.
missing_rpm_tools() {
    command -v rpmbuild >/dev/null || echo rpm
    command -v dnf >/dev/null || echo dnf
    command -v createrepo_c >/dev/null || echo createrepo-c
    [ -e /usr/lib/python3/dist-packages/dnf-plugins/versionlock.py ] || echo dnf-plugins-core
    # As another user than root, dnf is run in a user namespace.
    command -v unshare >/dev/null || echo util-linux
}

# Returns when .deb and .rpm can be made here.
provide_packagers() { provide_packages missing_packagers "Packages are made"; }

# Returns when the tests that install with dnf can run.
provide_rpm_tools() { provide_packages missing_rpm_tools "The tests of dnf run"; }

# provide_packages MISSING WHAT: returns when MISSING prints no name of a Debian package any more.
provide_packages() {
    local missing
    missing=$("$1" | tr '\n' ' ')
    [ -n "$missing" ] || return 0
    if command -v apt-get >/dev/null && may_be_root; then
        say "Installing $missing"
        # Word splitting is meant: a list of packages.
        # shellcheck disable=SC2086
        apt_install $missing && [ -z "$("$1")" ] && return 0
    fi
    say "$2 with ${missing% }, which could not be installed: install the Debian packages of these names."
    exit 1
}

# Sets PATCHWAVE_TEST_PYTHON to an interpreter with the clients that users have.
provide_python() {
    if [ -n "${PATCHWAVE_TEST_PYTHON:-}" ]; then return 0; fi
    local venv=target/test-python
    if ! command -v python3 >/dev/null; then
        say "The tests run the README's Python example, boto3 and the AWS CLI: install python3 and python3-venv."
        exit 1
    fi
    if ! "$venv/bin/python" -c 'import pika, boto3, awscli' 2>/dev/null; then
        rm -rf "$venv"
        if ! python3 -m venv "$venv" >/dev/null 2>&1; then
            rm -rf "$venv"
            if ! { command -v apt-get >/dev/null && may_be_root && apt_install python3-venv && python3 -m venv "$venv" >/dev/null; }; then
                say "python3 cannot make a virtual environment: install python3-venv."
                exit 1
            fi
        fi
        if ! "$venv/bin/python" -m pip install --quiet --disable-pip-version-check pika boto3 awscli >&2; then
            say "Could not install the Python packages pika, boto3 and awscli into $venv: check the network, or set PATCHWAVE_TEST_PYTHON to an interpreter that has them."
            exit 1
        fi
    fi
    PATCHWAVE_TEST_PYTHON=$PWD/$venv/bin/python
    export PATCHWAVE_TEST_PYTHON
}

# Returns when there is a zypper, and rpm repositories can be made. Debian's packages of zypper and of
# dnf's plugins exclude each other, and the tests need both: zypper is unpacked into target/, and
# only what it depends on is installed.
provide_zypper() {
    local directory=target/test-zypper missing=
    command -v createrepo_c >/dev/null || missing="createrepo-c "
    if [ -n "$missing" ] && ! { command -v apt-get >/dev/null && may_be_root && apt_install createrepo-c; }; then
        say "The tests make rpm repositories: install createrepo-c."
        exit 1
    fi
    if command -v zypper >/dev/null || "$directory/usr/bin/zypper" --version >/dev/null 2>&1; then return 0; fi
    rm -rf "$directory" && mkdir -p "$directory"
    if command -v apt-get >/dev/null && may_be_root &&
        (cd "$directory" && apt-get -qq download zypper >&2 && dpkg-deb -x zypper_*.deb .); then
        local needs
        needs=$(dpkg-deb -f "$directory"/zypper_*.deb Depends | sed 's/([^)]*)//g; s/|[^,]*//g; s/,/ /g')
        # Only what is missing: nothing that is there need be upgraded.
        # shellcheck disable=SC2086
        needs=$(for need in $needs; do dpkg-query --show "$need" >/dev/null 2>&1 || echo "$need"; done)
        # Word splitting is meant: a list of packages.
        # shellcheck disable=SC2086
        { [ -z "$needs" ] || apt_install $needs; } && "$directory/usr/bin/zypper" --version >/dev/null 2>&1 && return 0
    fi
    say "The tests patch a SUSE system in a directory: install zypper, or what it depends on."
    exit 1
}
