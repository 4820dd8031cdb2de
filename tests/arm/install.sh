#!/usr/bin/env bash
# Fill a new folder with all that runs LiteRT's ARM64 build on this machine: install.sh FOLDER PYTHON
#
# The folder then has the emulator in `qemu`, Debian's Python for ARM64 in `root`, and NumPy and the LiteRT version of
# PYTHON in `site`. apt-get reads the sources and keys of the machine but writes only to temporary folders, so nothing is
# installed on the machine, and root is not needed.
set -euo pipefail
folder=$1 python=$2

refuse() {
    echo "make test-arm needs Debian 12 or later, for apt-get with ARM64 packages: $1." >&2
    exit 1
}

command -v apt-get >/dev/null || refuse "there is no apt-get"
command -v dpkg >/dev/null || refuse "there is no dpkg"
own=$(dpkg --print-architecture)
apt=$(mktemp -d)
trap 'rm -rf "$apt"' EXIT

# An empty list of installed packages makes apt-get download all dependencies. Hooks of the machine do not run.
mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
touch "$apt/status"
cat > "$apt/conf" <<CONF
APT::Architecture "arm64";
APT::Architectures { "arm64"; "$own"; };
APT::Install-Recommends "false";
APT::Sandbox::User "";
Acquire::Retries "3";
Dir::State "$apt/";
Dir::State::Lists "$apt/lists/";
Dir::State::Status "$apt/status";
Dir::Cache "$apt/cache/";
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
CONF
apt-get --config-file "$apt/conf" -qq update || refuse "apt-get update failed"
apt-get --config-file "$apt/conf" -qq --yes --download-only install \
    python3-minimal libpython3-stdlib libstdc++6 "qemu-user-static:$own" || refuse "a package is missing"

# Debian 13 has libraries only in usr/lib.
rm -rf "$folder"
mkdir -p "$folder/root" "$folder/qemu"
for package in "$apt"/cache/archives/*_{arm64,all}.deb; do
    dpkg --extract "$package" "$folder/root"
done
[ -e "$folder/root/lib" ] || ln -s usr/lib "$folder/root/lib"
for package in "$apt"/cache/archives/qemu-user*.deb; do
    dpkg --fsys-tarfile "$package" | tar --extract --directory "$folder/qemu" --wildcards './usr/bin/qemu-aarch64*'
done

# pip takes wheels for the Python that Debian has.
litert=$("$python" -c 'from importlib.metadata import version; print(version("ai-edge-litert"))')
release=$(readlink "$folder/root/usr/bin/python3")
platforms=(--platform manylinux2014_aarch64 --platform manylinux_2_27_aarch64 --platform manylinux_2_28_aarch64)
"$python" -m pip -qq --disable-pip-version-check install --no-deps --target "$folder/site" --only-binary :all: \
    --implementation cp --python-version "${release#python}" "${platforms[@]}" "ai-edge-litert==$litert" numpy
