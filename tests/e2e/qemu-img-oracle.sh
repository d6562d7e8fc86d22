#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Output and exit status of qemu-img, next to those of a stock qemu-img: the
# same commands in two folders, and a comparison of what came of them.
#
# QEMU_IMG_PROG is the program under test.
set -u

ORACLE=${ORACLE_IMG_PROG:-/usr/bin/qemu-img}
ORACLE_IO=${ORACLE_IO_PROG:-/usr/bin/qemu-io}
IMG=${QEMU_IMG_PROG:-./qemu-img}

skip() {
    echo "SKIP: $*"
    exit 77
}

[ -x "$ORACLE" ] || skip "no stock qemu-img at $ORACLE"
[ -x "$ORACLE_IO" ] || skip "no stock qemu-io at $ORACLE_IO"
[ -x "$IMG" ] || skip "no qemu-img at '$IMG': set QEMU_IMG_PROG"
case $IMG in /*) ;; *) IMG=$PWD/$IMG ;; esac
case $("$ORACLE" --version | head -n 1) in
*' version 7.2.'*) ;;
*) skip "the output to compare with is that of qemu-img 7.2" ;;
esac

dir=$(mktemp -d "${TMPDIR:-/tmp}/qemu-img-oracle.XXXXXX") || exit 1
trap 'rm -rf "$dir"' EXIT

# What differs from run to run: time stamps in CIDs, durations.  And what newer
# releases have more: "compressed" in a map, the children of an image; and less: the
# warning for a raw image that was probed.
filter() {
    sed -E -e 's/(cid"?: )[0-9]+/\1CID/' -e 's/in [0-9.]+ seconds/in TIME/' \
        -e 's/, "compressed": (true|false)//' \
        -e '/^WARNING: Image format was not specified/,/^ +Specify/d' \
        -e '/^    "children": \[$/,/^    \],$/d' \
        -e '/^        "children": \[$/,/^        \],$/d' \
        -e 's/^(disk size: ).*/\1SIZE/' -e 's/("actual-size": )[0-9]+/\1SIZE/' |
        awk '/^Child node/ { skip = 1; next }
             skip && /^    / { next }
             { skip = 0; print }'
}

# A failed command has one line to say in both, though not always the same.
run() {
    echo "\$ qemu-img $*"
    "$prog" "$@" > out 2> err < /dev/null
    status=$?
    filter < out
    case $status in
    0) ;;
    *)
        [ -s err ] && echo "(message)"
        grep -q -i -E 'sanitizer|runtime error' err && cat err
        ;;
    esac
    echo "status $status"
}

# The same words in both.
run_exact() {
    run "$@"
    filter < err
}

commands() {
    run_exact create -f raw a.raw 10M
    run_exact create -f vmdk a.vmdk 1G
    run_exact create -f vmdk -o subformat=monolithicFlat,compat6=on b.vmdk 20M
    run_exact create -f vmdk -o subformat=twoGbMaxExtentSparse s.vmdk 5G
    run_exact create -f vmdk -o subformat=streamOptimized \
        -o adapter_type=lsilogic o.vmdk 20M
    run_exact create -f vmdk -b a.vmdk -F vmdk c.vmdk
    run_exact create -f vmdk -b a.vmdk -F vmdk d.vmdk 2G
    run_exact create -f raw -o preallocation=full,nocow=on x.raw 1M
    run_exact create -q -f raw q.raw 1M
    run_exact create -f raw -o help
    run_exact create -f vmdk -o help
    run_exact create -f raw -o help a.raw
    run_exact create -f vmdk -b nx.vmdk -F vmdk e.vmdk 2G
    run_exact create -f vmdk -b e.vmdk -F vmdk e.vmdk 2G
    run_exact create -f raw -b a.raw -F raw e.raw
    run_exact create -f raw -F raw e.raw 1M
    run_exact create -f raw e.raw
    run_exact create -f raw e.raw 1Q
    run_exact create -f raw e.raw 10E
    run_exact create -f raw e.raw 1M 2M
    run_exact create -f raw -o foo=1 e.raw 1M
    run_exact create -f raw -o size=1M e.raw 2M
    run_exact create -f nx e.raw 1M
    run_exact create -f raw nx/e.raw 1M
    run_exact create
    run_exact create -f
    run_exact create --nx
    run create -f vmdk -b a.vmdk e.vmdk

    for image in a.raw a.vmdk b.vmdk s.vmdk o.vmdk c.vmdk; do
        run_exact info $image
        run_exact info --output=json $image
        run_exact info --backing-chain $image
        run_exact info --backing-chain --output=json $image
        run_exact check -q $image
    done
    run_exact info -f raw a.vmdk
    run_exact info --image-opts driver=raw,file.filename=a.raw
    run_exact info --image-opts driver=raw,file.filename=a.raw,foo=bar
    run_exact info --image-opts -f raw driver=raw,file.filename=a.raw
    run_exact info -U a.raw
    run_exact info --output=nx a.raw
    run_exact info -f nx a.raw
    run_exact info nx.raw
    run_exact info a.raw b.raw
    run info 'json:{"driver":"nx"}'

    run_exact check a.vmdk
    run_exact check --output=json a.vmdk
    run_exact check -r nx a.vmdk
    run_exact check -T nx a.vmdk
    run_exact check -f nx a.vmdk
    run_exact check --output=nx a.vmdk
    run_exact check nx.vmdk

    run_exact bench -c 100 -f raw a.raw
    run_exact bench -c 100 -f raw -o 4096 -S 8192 -s 512 -d 3 a.raw
    run_exact bench -c 10 -w --flush-interval 5 -d 5 -f raw a.raw
    run_exact bench -c 10 -w --no-drain --flush-interval 5 -d 2 -f raw a.raw
    run_exact bench -c 10 -w --pattern 0x30 -t none -i native -f raw a.raw
    run_exact bench -c 0 -f raw a.raw
    run_exact bench -c 100 -w -f vmdk a.vmdk
    run_exact bench -c 10 --image-opts driver=raw,file.filename=a.raw
    run_exact bench -c 10 -w --flush-interval 3 -d 5 -f raw a.raw
    run_exact bench -c 10 --flush-interval 5 -d 2 -f raw a.raw
    run_exact bench -c x a.raw
    run_exact bench -d x a.raw
    run_exact bench -s x a.raw
    run_exact bench -s 3G a.raw
    run_exact bench -S x a.raw
    run_exact bench -o x a.raw
    run_exact bench -i x a.raw
    run_exact bench -t x a.raw
    run_exact bench --pattern 300 a.raw
    run_exact bench --flush-interval=x a.raw
    run_exact bench nx.raw
    run bench -s 20M -c 1 -f raw a.raw
    run_exact nx
    run_exact
    compare_commands
    convert_commands
    map_commands
    resize_commands
    dd_commands
    refused_commands
    commit_commands
}

commit_commands() {
    run_exact create -q -f vmdk -b r.vmdk -F vmdk co.vmdk
    "$ORACLE_IO" -f vmdk -c 'write -q -P 9 2M 100k' co.vmdk
    "$ORACLE" convert -O raw co.vmdk co.raw
    run_exact commit co.vmdk
    "$ORACLE" compare r.vmdk co.raw
    run_exact create -q -f vmdk -b r.vmdk -F vmdk co.vmdk
    run_exact commit -q -f vmdk -d co.vmdk
    run_exact create -q -f vmdk -b r.vmdk -F vmdk co.vmdk
    run_exact create -q -f vmdk -b co.vmdk -F vmdk ct.vmdk
    "$ORACLE_IO" -f vmdk -c 'write -q -P 7 2M 100k' ct.vmdk
    "$ORACLE" convert -O raw ct.vmdk co.raw
    run_exact commit -b r.vmdk ct.vmdk
    "$ORACLE" compare r.vmdk co.raw
    run_exact commit
    run_exact commit -f raw r.raw
    run_exact commit -t x co.vmdk
    run_exact commit -r x co.vmdk
    run_exact commit nx.vmdk
    run_exact create -q -f vmdk -b r.vmdk -F vmdk co.vmdk
    run_exact commit -b nx co.vmdk
    run_exact rebase co.vmdk
    run_exact rebase
    run_exact rebase -b x -F nx co.vmdk
    run_exact rebase -t x -b x co.vmdk
    run_exact rebase -T x -b x co.vmdk
    run_exact rebase -b nx.vmdk -F vmdk co.vmdk
    run_exact rebase -u -f raw -b r.vmdk -F vmdk r.raw
    run_exact rebase -u -b r.vmdk -F vmdk nx.vmdk
}

refused_commands() {
    for image in r.raw r.vmdk; do
        run_exact snapshot -l $image
        run_exact snapshot -c x $image
        run_exact snapshot -a x $image
        run_exact snapshot -d x $image
        run_exact amend -f ${image#r.} -o compat6=on $image
        for action in --remove --clear --enable --disable '--merge y'; do
            # words
            # shellcheck disable=SC2086
            run_exact bitmap $action -f ${image#r.} $image x
        done
        run bitmap --add $image x
    done
    run_exact snapshot -l -c x r.vmdk
    run_exact snapshot
    run_exact snapshot nx.vmdk
    run_exact amend r.vmdk
    run_exact amend -o help
    run_exact amend -f vmdk -o help
    run_exact amend -o compat6=on nx.vmdk
    run_exact bitmap --add r.vmdk
    run_exact bitmap r.vmdk x
    run_exact bitmap --add nx.vmdk x
}

# Images with content, made by the stock programs for both.
make_images() {
    "$ORACLE" create -q -f raw "$1/r.raw" 4M
    "$ORACLE" create -q -f vmdk "$1/r.vmdk" 4M
    "$ORACLE" create -q -f raw "$1/l.raw" 5M
    for image in "raw $1/r.raw" "vmdk $1/r.vmdk" "raw $1/l.raw"; do
        # words
        # shellcheck disable=SC2086
        "$ORACLE_IO" -c 'write -q -P 3 1M 64k' -f $image
    done
    cp "$1/r.raw" "$1/d.raw"
    "$ORACLE_IO" -f raw -c 'write -q -P 4 1051653 3' "$1/d.raw"
    cp "$1/l.raw" "$1/ld.raw"
    "$ORACLE_IO" -f raw -c 'write -q -P 4 4609k 1k' "$1/ld.raw"
}

# convert OPTION...: and what the stock programs say of the result.
convert() {
    rm -f to.img
    run_exact convert "$@" to.img
    [ -e to.img ] || return
    "$ORACLE" compare r.raw to.img
    "$ORACLE" map --output=json -f raw to.img > map
    "$ORACLE" info to.img | grep -E 'format|virtual|type|sub'
}

convert_commands() {
    convert -f raw -O raw r.raw
    cat map
    convert -f vmdk -O raw r.vmdk
    convert -f raw -O vmdk r.raw
    convert -f raw -O vmdk -W -m 16 r.raw
    convert -f raw -O vmdk -o subformat=streamOptimized -c r.raw
    convert -f raw -O vmdk -o subformat=twoGbMaxExtentSparse r.raw
    convert -f raw -O raw -S 0 r.raw
    cat map
    convert -f raw -O raw -S 64k -t none -T none r.raw
    convert -f raw -O raw -r 100M -U r.raw
    convert -f raw -O raw -C r.raw
    convert -q -p r.vmdk
    convert --image-opts driver=vmdk,file.filename=r.vmdk
    convert -f raw -O raw -o preallocation=falloc r.raw
    convert -f raw r.raw r.raw
    convert -f vmdk -O vmdk -B r.vmdk -F vmdk r.vmdk
    convert -f vmdk -O vmdk -o backing_file=r.vmdk,backing_fmt=vmdk r.vmdk
    run_exact convert -n -f raw r.raw l.raw
    run_exact convert -n -f raw -O raw r.raw l.raw
    run_exact convert -n -f raw -O raw l.raw r.raw
    run_exact convert -n -f raw --target-image-opts r.raw \
        driver=raw,file.filename=l.raw
    run_exact convert
    run_exact convert -f raw r.raw
    run_exact convert -O raw -o help
    run_exact convert -O raw -o help r.raw x.raw
    run_exact convert -O nx -o help r.raw
    for bad in '-O nx' '-f nx' '-O raw -c' '-m 0' '-m 17' '-S x' '-S 1000' \
        '-r x' '-t x' '-T x' --target-is-zero '-n -o size=1' \
        '-C -S 4k' '-C -c' '-C --salvage' '-O raw -B r.vmdk' \
        '-O vmdk -B r.vmdk' '-o foo=1' --target-image-opts \
        '--image-opts -f raw' '-n --target-image-opts -O raw' \
        '-l snapshot.id=1' --bitmaps --skip-broken-bitmaps --nx; do
        # words
        # shellcheck disable=SC2086
        run_exact convert $bad r.raw x.raw
    done
    run_exact convert nx x.raw
    run_exact convert -f raw r.raw nx/x.raw
    run_exact convert -f raw -O vmdk -B r.vmdk -F vmdk r.raw r.raw x.vmdk
    run_exact convert -f vmdk -O vmdk -B nx.vmdk -F vmdk r.vmdk x.vmdk
    run convert -f raw -O raw r.raw r.raw
    run convert -n -f raw -O raw r.raw r.raw
}

map_commands() {
    run_exact create -f vmdk -o subformat=twoGbMaxExtentSparse ms.vmdk 3G
    run_exact create -f vmdk -o subformat=monolithicFlat mf.vmdk 3M
    run_exact create -f vmdk -b r.vmdk -F vmdk mo.vmdk
    "$ORACLE_IO" -f vmdk -c 'write -q 1088k 64k' mo.vmdk
    "$ORACLE" convert -f raw -O vmdk -o subformat=streamOptimized r.raw \
        mc.vmdk
    "$ORACLE_IO" -f vmdk -c 'write -q 2047M 2M' ms.vmdk
    for image in r.raw r.vmdk l.raw ms.vmdk mf.vmdk mo.vmdk mc.vmdk; do
        run_exact map $image
        run_exact map --output=json $image
        run_exact map -U --output=json --start-offset=1100k \
            --max-length=1M $image
    done
    run_exact map -f raw -s 1M -l 32k r.raw
    run_exact map -f raw --start-offset=10M r.raw
    run_exact map -f raw --start-offset=x r.raw
    run_exact map -f raw --max-length=x r.raw
    run_exact map --output=x r.raw
    run_exact map --image-opts driver=raw,file.filename=r.raw
    run_exact map nx
    run_exact map

    run_exact measure -f raw -O raw r.raw
    run_exact measure --output=json r.vmdk
    run_exact measure --size 1000
    run_exact measure --size 1G --output=json
    run_exact measure --size 1G -O vmdk
    run_exact measure -f raw -O vmdk r.raw
    for bad in '' 'a b' '-O raw' '--size 1G r.raw' '--size x' \
        '-O nx --size 1G' '-o foo=1 --size 1G' '-f nx r.raw' '-f raw' \
        '-l x -f raw r.raw' '--size 1G -f raw' nx.raw; do
        # words
        # shellcheck disable=SC2086
        run_exact measure $bad
    done
}

resize_commands() {
    run_exact create -f raw z.raw 4M
    for args in '-f raw z.raw 5M' '-f raw z.raw 4M' \
        '-f raw --shrink z.raw 4M' '-f raw z.raw +1M' '-f raw z.raw -1M' \
        '-f raw --shrink z.raw -1M' '-f raw z.raw +x' '-f raw z.raw 4M' \
        '-f raw --preallocation=full z.raw 5M' \
        '-f raw --preallocation=falloc z.raw 6M' \
        '-f raw --preallocation=x z.raw 7M' '-f raw z.raw -1G' \
        '-f raw --shrink --preallocation=full z.raw 4M' \
        '-q -f raw z.raw +0' '-f raw --shrink z.raw 0' 'nx +1' '' 'z.raw' \
        '-f vmdk r.vmdk 8M' '-f raw z.raw x y' \
        '--image-opts driver=raw,file.filename=z.raw +512'; do
        # words
        # shellcheck disable=SC2086
        run_exact resize $args
        stat -c %s z.raw
    done
    run resize -f raw z.raw 16E
    run resize -f raw z.raw +8E
}

dd_commands() {
    for args in 'if=r.raw' 'bs=1M' 'bs=1M count=2' 'bs=3000' \
        'bs=64k skip=15' 'bs=1M skip=4' 'bs=512 count=0'; do
        # words
        # shellcheck disable=SC2086
        run_exact dd -f raw -O raw $args if=r.raw of=dd.img
        md5sum dd.img
    done
    run_exact dd -f raw bs=1M skip=8 if=r.raw of=dd.img
    run_exact dd -f vmdk -O vmdk -U bs=1M if=r.vmdk of=dd.img
    "$ORACLE" compare r.raw dd.img
    run_exact dd --image-opts if=driver=raw,file.filename=r.raw of=dd.img
    run_exact dd if=r.raw
    run_exact dd of=r.raw
    run_exact dd
    run_exact dd x
    run_exact dd conv=x
    run_exact dd bs=0
    run_exact dd bs=x
    run_exact dd count=x
    run_exact dd skip=x
    run_exact dd if=nx of=dd.img
    run dd -O nx if=r.raw of=dd.img
    run dd -f raw if=r.raw of=nx/dd.img
}

compare_commands() {
    run_exact compare r.raw r.vmdk
    run_exact compare -f raw -F vmdk r.raw r.vmdk
    run_exact compare -s -f raw -F vmdk r.raw r.vmdk
    run_exact compare -s -f raw -F raw r.raw r.raw
    run_exact compare -f raw -F raw r.raw d.raw
    run_exact compare -q -f raw -F raw r.raw d.raw
    run_exact compare -f raw -F raw r.raw l.raw
    run_exact compare -f raw -F raw l.raw r.raw
    run_exact compare -s -f raw -F raw r.raw l.raw
    run_exact compare -f raw -F raw r.raw ld.raw
    run_exact compare -U -T none -f raw -F raw r.raw ld.raw
    run_exact compare r.raw
    run_exact compare
    run_exact compare r.raw nx.raw
    run_exact compare nx.raw r.raw
    run_exact compare -T x r.raw r.raw
    run_exact compare -f nx r.raw r.raw
    run_exact compare --image-opts -f raw r.raw r.raw
    run_exact compare --image-opts driver=raw,file.filename=r.raw \
        driver=vmdk,file.filename=r.vmdk
}

# Each option that the stock program's synopsis of a command has is in the help
# of that command.
options_in_help() {
    for command in amend bench bitmap check commit compare convert create dd \
        info map measure rebase resize snapshot; do
        "$IMG" $command --help > "$dir/help"
        for option in $("$ORACLE" --help | sed -n "s/^  $command //p" |
            tr -c 'a-zA-Z-' '\n' | grep -x -e '-[a-zA-Z]' \
                -e '--[a-z-]*[a-z]' | sort -u); do
            grep -q -e "[ ,\[(]$option\([] ,;|)]\|\$\)" "$dir/help" ||
                echo "$command --help: no '$option'"
        done
    done
}

options_in_help > "$dir/missing"
if [ -s "$dir/missing" ]; then
    echo 'FAIL: options that are not in the help'
    cat "$dir/missing"
    exit 1
fi
for name in stock ours; do
    [ $name = stock ] && prog=$ORACLE || prog=$IMG
    mkdir "$dir/$name"
    make_images "$dir/$name"
    (cd "$dir/$name" && commands) > "$dir/$name.log" 2>&1
done
if ! diff -u "$dir/stock.log" "$dir/ours.log"; then
    echo "FAIL: not what the stock qemu-img says"
    exit 1
fi
echo "PASS: $(grep -c '^\$' "$dir/ours.log") commands"
