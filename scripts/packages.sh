#!/bin/bash
# Builds the .deb and .rpm packages of the agent and of the server into target/packages/.
#
#   scripts/packages.sh [--binaries DIRECTORY] [--output DIRECTORY] [--fast]
#
# Without --binaries the programs are built first, as releases; --fast compresses less. Both formats are made from one
# staged tree, so that they hold the same files. What is in a package stands in deploy/packages/.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/provide.sh

binaries= output=${CARGO_TARGET_DIR:-target}/packages
deb_compression=(-Zxz) rpm_compression=w7.xzdio
while [ $# -gt 0 ]; do
    case "$1" in
        --binaries) binaries=$2; shift 2 ;;
        --output) output=$2; shift 2 ;;
        --fast) deb_compression=(-Zgzip -z1) rpm_compression=w1.gzdio; shift ;;
        *) say "usage: scripts/packages.sh [--binaries DIRECTORY] [--output DIRECTORY] [--fast]"; exit 2 ;;
    esac
done
provide_packagers
if [ -z "$binaries" ]; then
    need_rust
    cargo build --release -p patchwave -p patchwave-agent
    binaries=${CARGO_TARGET_DIR:-target}/release
fi

version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
[ -n "$version" ] || { say "Cargo.toml has no version under [workspace.package]"; exit 1; }
# The same sources make the same packages, whenever that is.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}
export SOURCE_DATE_EPOCH
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$output"

# put MODE FILE PATH: a file of the package.
put() { install -D -m "$1" "$2" "$stage/$3"; }

# What the program's shared libraries are called in Debian. An unknown one must not be forgotten.
deb_depends() {
    local library glibc found=
    glibc=$(objdump -T "$1" | grep -o 'GLIBC_[0-9.]*' | sed 's/GLIBC_//' | sort -Vu | tail -n 1)
    for library in $(objdump -p "$1" | awk '$1 == "NEEDED" { print $2 }'); do
        case "$library" in
            libc.so.6 | libm.so.6 | ld-linux*) found+="libc6 (>= $glibc)"$'\n' ;;
            libgcc_s.so.1) found+=libgcc-s1$'\n' ;;
            *) say "$1 needs $library: say in scripts/packages.sh which Debian package has it"; exit 1 ;;
        esac
    done
    sort -u <<<"$found" | sed '/^$/d' | paste -sd, | sed 's/,/, /g'
}

# stage_tree: everything that both formats install, under $stage.
stage_tree() {
    put 0755 "$binaries/$program" "usr/bin/$program"
    strip "$stage/usr/bin/$program"
    put 0644 "deploy/systemd/$unit" "usr/lib/systemd/system/$unit"
    put 0600 "$source/$environment" "etc/patchwave/$environment"
    put 0644 "$source/$program.8" "usr/share/man/man8/$program.8"
    gzip -9n "$stage/usr/share/man/man8/$program.8"
    # Debian's form names the licence, whose text every system has; the whole text is beside it.
    put 0644 deploy/packages/copyright "usr/share/doc/$package/copyright"
    put 0644 LICENSE "usr/share/doc/$package/LICENSE"
    # The agent's holds its key and is needed before the service runs, by `register`. The server's is
    # made by systemd, which gives it to a user of the service's own.
    [ "$program" != patchwave-agent ] || install -d -m 0700 "$stage/$state"
    find "$stage" -newermt "@$SOURCE_DATE_EPOCH" -exec touch -hd "@$SOURCE_DATE_EPOCH" {} +
}

build_deb() {
    local architecture root=$work/$package.deb.d script
    architecture=$(dpkg --print-architecture)
    cp -a "$stage" "$root"
    mkdir "$root/DEBIAN"
    sed -e "s/@version@/$version/" -e "s/@architecture@/$architecture/" \
        -e "s/@depends@/$(deb_depends "$stage/usr/bin/$program")/" \
        -e "s/@size@/$(du -sk --apparent-size "$stage" | cut -f 1)/" "$source/control" >"$root/DEBIAN/control"
    echo "/etc/patchwave/$environment" >"$root/DEBIAN/conffiles"
    for script in postinst prerm postrm; do
        sed -e "s/@unit@/$unit/g" -e "s,@state@,/$state,g" -e "s,@private@,/var/lib/private/$program,g" -e "s/@registered@/$registered/g" \
            "deploy/packages/$script" >"$root/DEBIAN/$script"
        chmod 0755 "$root/DEBIAN/$script"
    done
    (cd "$stage" && find . -type f ! -path './etc/*' -printf '%P\n' | LC_ALL=C sort | xargs md5sum) >"$root/DEBIAN/md5sums"
    dpkg-deb --root-owner-group "${deb_compression[@]}" --build "$root" "$output/${package}_${version}_$architecture.deb" >/dev/null
    echo "$output/${package}_${version}_$architecture.deb"
}

build_rpm() {
    local top=$work/$package.rpm.d built
    mkdir "$top"
    # One spec for both: what differs is given. A pre-release would need a tilde; there is none yet.
    rpmbuild -bb --quiet --define "_topdir $top" --define "_binary_payload $rpm_compression" --define "name_ $package" --define "version_ $version" \
        --define "stage $stage" --define "program $program" --define "unit $unit" --define "state /$state" \
        --define "registered $registered" --define "environment $environment" \
        --define "ships_state $([ -d "$stage/$state" ] && echo 1 || echo 0)" \
        --define "summary_ $(sed -n 's/^Description: //p' "$source/control")" \
        --define "description_ $(sed -n '/^Description:/,$p' "$source/control" | sed '1d;s/^ //' | paste -sd' ')" \
        deploy/packages/package.spec >&2
    built=$(find "$top/RPMS" -name '*.rpm')
    mv "$built" "$output/"
    echo "$output/$(basename "$built")"
}

for source in deploy/packages/agent deploy/packages/server; do
    case "$source" in
        # An agent without credentials has nobody to listen to: it is not started before `register`.
        */agent) package=patchwave-agent program=patchwave-agent state=var/lib/patchwave-agent
            environment=agent.env registered=credentials.json ;;
        # The control plane needs nothing from outside; whether it should run here is not ours to say.
        */server) package=patchwave program=patchwave state=var/lib/patchwave
            environment=patchwave.env registered=patchwave.db ;;
    esac
    unit=$program.service stage=$work/$package
    stage_tree
    build_deb
    build_rpm
done
