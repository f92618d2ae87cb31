#!/bin/sh
# Builds and runs fast_driver.cpp under a sanitizer: fast_sanitize.sh thread | address,undefined [FOLDER]
set -e
here=$(cd "$(dirname "$0")" && pwd)
native=$here/../../src/native
out=${2:-$(mktemp -d)}
defined=""
[ "$(uname -m)" != x86_64 ] || defined="-DMICROGPT_AVX2 -DMICROGPT_AVX512"
flags="$defined -std=c++20 -g -O1 -fsanitize=$1 -fno-sanitize-recover=all -ffp-contract=fast -Wno-psabi"
[ "$1" = thread ] || flags="$flags -fno-omit-frame-pointer"
objects=""
compile() { # NAME SOURCE FLAGS...
    name=$1 source=$2
    shift 2
    ${CXX:-g++} $flags "$@" -c "$source" -o "$out/$name.o"
    objects="$objects $out/$name.o"
}
compile baseline "$native/fast_baseline.cpp"
if [ "$(uname -m)" = x86_64 ]; then
    compile avx2 "$native/fast_avx2.cpp" -mavx2 -mfma
    compile avx512 "$native/fast_avx512.cpp" -mavx512f -mavx512dq -mavx512vl -mavx512bw -mfma
fi
for name in model engine score; do compile $name "$native/fast_$name.cpp"; done
compile driver "$here/fast_driver.cpp"
${CXX:-g++} $flags $objects -o "$out/driver" -pthread
"$out/driver"
